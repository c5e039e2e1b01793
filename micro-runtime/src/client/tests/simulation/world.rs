//! The nodes, what becomes of them, and what they saw of each call.

use std::collections::{BTreeMap, HashMap};
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::super::{framed, head, script, status};
use crate::client::Dial;
use crate::exchange::{
    BoxFuture, Broken, Connection, DrainState, Drainer, Exchange, FieldValue, OutHead, Slot, Why,
    reset,
};
use crate::transport::{ClientLimits, ServerLimits, local};

/// What a node does with what reaches it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Mood {
    Well,
    Slow(Duration),
    /// Its process is gone: connections break, and new ones are refused.
    Crashed,
    /// Nothing reaches it, and nothing comes back.
    Cut,
    /// It refuses streams.
    Refuses,
    /// It answers UNAVAILABLE, with this pushback if there is one.
    Busy(Option<&'static str>),
    /// It drops the connection in the middle of a call that it has processed.
    Drops,
}

#[derive(Clone)]
pub(super) struct World(Arc<Inner>);

struct Inner {
    start: Instant,
    sites: Mutex<BTreeMap<String, Arc<Site>>>,
    calls: Mutex<HashMap<u32, Call>>,
    wrong: Mutex<Vec<String>>,
    trace: Mutex<Vec<String>>,
    tally: Mutex<Tally>,
}

/// What happened, which proves that the checks had something to check.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) calls: u32,
    pub(super) failed: u32,
    pub(super) repeats: u32,
    /// Executed more than once.
    pub(super) again: u32,
    /// Picks while nodes were offered that are not well.
    pub(super) panics: u32,
    /// Picks while a node was put aside.
    pub(super) aside: u32,
}

struct Site {
    mood: watch::Sender<Mood>,
    drainers: Mutex<Vec<Drainer>>,
    dials: Mutex<Vec<Instant>>,
    served: Mutex<u32>,
}

/// One call as the world sees it.
#[derive(Clone, Copy)]
pub(super) struct Call {
    pub(super) deadline: Instant,
    pub(super) safe: bool,
    /// How often it may be executed.
    pub(super) most: u32,
    pub(super) executed: u32,
    /// How often attempts that arrived said that it was repeated.
    pub(super) repeated: u32,
}

// ===== impl World =====

impl World {
    pub(super) fn new() -> World {
        World(Arc::new(Inner {
            start: Instant::now(),
            sites: Mutex::default(),
            calls: Mutex::default(),
            wrong: Mutex::default(),
            trace: Mutex::default(),
            tally: Mutex::default(),
        }))
    }

    pub(super) fn add(&self, address: &str) {
        let site = Site {
            mood: watch::Sender::new(Mood::Well),
            drainers: Mutex::default(),
            dials: Mutex::default(),
            served: Mutex::default(),
        };
        lock(&self.0.sites).insert(address.to_owned(), Arc::new(site));
    }

    pub(super) fn mood(&self, address: &str, mood: Mood) {
        self.trace(format!("{address} is {mood:?}"));
        let Some(site) = self.site(address) else {
            return;
        };
        let before = site.mood.send_replace(mood);
        // What was cut off loses its connections when it is back: nobody there knows of them any more.
        if mood == Mood::Crashed || (before == Mood::Cut && mood != Mood::Cut) {
            lock(&site.drainers).clear();
        }
    }

    /// Tells every connection of a node to take no more calls.
    pub(super) fn goodbye(&self, address: &str) {
        self.trace(format!("{address} says goodbye"));
        if let Some(site) = self.site(address) {
            for drainer in lock(&site.drainers).iter() {
                drainer.advance(DrainState::Draining);
            }
        }
    }

    pub(super) fn call(&self, id: u32, call: Call) {
        lock(&self.0.calls).insert(id, call);
    }

    pub(super) fn tally(&self) -> MutexGuard<'_, Tally> {
        lock(&self.0.tally)
    }

    /// How many calls a node has answered well since it was last asked.
    pub(super) fn take_served(&self, address: &str) -> u32 {
        let site = self.site(address);
        site.map_or(0, |site| std::mem::take(&mut *lock(&site.served)))
    }

    pub(super) fn dials(&self, address: &str) -> Vec<Instant> {
        let site = self.site(address);
        site.map_or_else(Vec::new, |site| lock(&site.dials).clone())
    }

    pub(super) fn wrong(&self, what: String) {
        self.trace(format!("WRONG: {what}"));
        lock(&self.0.wrong).push(what);
    }

    pub(super) fn trace(&self, what: impl Into<String>) {
        let at = self.0.start.elapsed();
        lock(&self.0.trace).push(format!("{:>9.3} {}", at.as_secs_f64(), what.into()));
    }

    /// What was found wrong, and the last that happened.
    pub(super) fn verdict(&self) -> Result<(), String> {
        let wrong = lock(&self.0.wrong);
        let Some(first) = wrong.first() else {
            return Ok(());
        };
        let trace = lock(&self.0.trace);
        let end = trace.iter().position(|line| line.contains("WRONG"));
        let end = end.map_or(trace.len(), |end| end + 1);
        let last = trace[end.saturating_sub(60)..end].join("\n");
        Err(format!("{first} ({} in all)\n{last}", wrong.len()))
    }

    fn site(&self, address: &str) -> Option<Arc<Site>> {
        lock(&self.0.sites).get(address).cloned()
    }

    fn arrived(&self, address: &str, exchange: &Exchange) -> Option<u32> {
        let field = |name: &str| {
            let mut rest = exchange.head.rest();
            let (_, value) = rest.find(|(found, _)| *found == name)?;
            std::str::from_utf8(value).ok()?.parse::<u32>().ok()
        };
        let id = field("x-call")?;
        let repeats = field("grpc-previous-rpc-attempts").unwrap_or_default();
        self.trace(format!("{address} gets {id}, repeated {repeats} times"));
        let now = Instant::now();
        let call = lock(&self.0.calls).get(&id).copied()?;
        if now > call.deadline {
            let late = now - call.deadline;
            self.wrong(format!(
                "call {id} was sent to {address} {late:?} after its deadline"
            ));
        }
        if repeats > 0 {
            if !call.safe {
                self.wrong(format!("call {id} is unsafe and was repeated"));
            }
            // The same number may come twice: of what a node refused, and its replacement.
            let before = call.repeated;
            if let Some(call) = lock(&self.0.calls).get_mut(&id) {
                call.repeated = before.max(repeats);
            }
            self.tally().repeats += repeats.saturating_sub(before);
        }
        Some(id)
    }

    fn executed(&self, id: u32) {
        let mut calls = lock(&self.0.calls);
        let Some(call) = calls.get_mut(&id) else {
            return;
        };
        call.executed += 1;
        let (executed, most) = (call.executed, call.most);
        drop(calls);
        self.tally().again += u32::from(executed == 2);
        if executed > most {
            self.wrong(format!(
                "call {id} was executed {executed} times, at most {most} are allowed"
            ));
        }
    }

    async fn serve(self, address: String, site: Arc<Site>, exchange: Exchange) {
        let Some(id) = self.arrived(&address, &exchange) else {
            return;
        };
        let mut out = exchange.reply;
        let mut moods = site.mood.subscribe();
        loop {
            let mood = *moods.borrow_and_update();
            match mood {
                Mood::Cut => tokio::select! {
                    _ = moods.changed() => {}
                    _ = poll_fn(|cx| out.poll_closed(cx)) => return,
                },
                Mood::Crashed => return,
                Mood::Refuses => return out.reset(reset::REFUSED_STREAM),
                Mood::Busy(pushback) => {
                    let _ = out.head(busy(pushback), true);
                    return;
                }
                Mood::Drops => {
                    self.executed(id);
                    lock(&site.drainers).clear();
                    return;
                }
                Mood::Well | Mood::Slow(_) => {
                    self.executed(id);
                    let time = match mood {
                        Mood::Slow(time) => time,
                        _ => Duration::from_millis(fastrand::u64(1..8)),
                    };
                    sleep(time).await;
                    // It may have been cut off meanwhile.
                    while *moods.borrow_and_update() == Mood::Cut {
                        let _ = moods.changed().await;
                    }
                    let _ = out.head(head(), false);
                    let _ = out.data(framed(&address), false);
                    let _ = out.trailers(status(0, ""));
                    *lock(&site.served) += 1;
                    return;
                }
            }
        }
    }
}

impl Dial for World {
    fn dial(&self, address: Arc<str>) -> BoxFuture<'static, Result<Connection, Broken>> {
        let world = self.clone();
        Box::pin(async move {
            world.trace(format!("{address} is dialled"));
            let refused = || {
                let broken = Broken::new(Why::Closed).unprocessed();
                broken.with_detail("connection refused")
            };
            let site = world.site(&address).ok_or_else(refused)?;
            lock(&site.dials).push(Instant::now());
            let mut moods = site.mood.subscribe();
            let patience = sleep(Duration::from_secs(5));
            tokio::pin!(patience);
            while *moods.borrow_and_update() == Mood::Cut {
                tokio::select! {
                    _ = moods.changed() => {}
                    () = &mut patience => return Err(Broken::new(Why::Timeout).unprocessed()),
                }
            }
            if *moods.borrow() == Mood::Crashed {
                return Err(refused());
            }
            let (drainer, drain) = Drainer::new();
            let app = {
                let (world, site) = (world.clone(), Arc::clone(&site));
                let address = address.to_string();
                script(move |exchange| {
                    world
                        .clone()
                        .serve(address.clone(), Arc::clone(&site), exchange)
                })
            };
            let limits = (ServerLimits::new(), ClientLimits::new());
            let connection = local::connect_with(app, &limits.0, &limits.1, drain);
            lock(&site.drainers).push(drainer);
            Ok(connection)
        })
    }
}

fn busy(pushback: Option<&'static str>) -> OutHead {
    let mut head = head();
    head.fields.slot(Slot::GrpcStatus, FieldValue::Number(14));
    head.fields
        .slot(Slot::GrpcMessage, FieldValue::Static("busy"));
    if let Some(pushback) = pushback {
        let name = Bytes::from_static(b"grpc-retry-pushback-ms");
        head.fields.text(name, FieldValue::Static(pushback));
    }
    head
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}
