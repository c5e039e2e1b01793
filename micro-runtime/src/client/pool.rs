//! [`Pool`]: the connections to one node.
//!
//! One is made ahead for each node that joins a service while it is called, if the service has few
//! ([`Balancer`](crate::selector::Balancer) says how few), else by the first call; another one is dialled whenever
//! the least busy has [`BUSY`] calls under way, up to the client's limit. Dialling is shared work: it runs in a task
//! of its own, without the deadline or the cancellation of any caller, and callers wait for it as long as they may.
//!
//! The pool lies in the selector's place for the node, so that a picked node leads to its connections without
//! a look-up, and lives as long: a node that the registry no longer names keeps its connections for three
//! minutes, in case it returns, also as a node with another id at the same address. When they are dropped, running
//! calls go on to their end.
//!
//! A node that stopped answering may have lost its connections without a word (a host that was cut off, a proxy
//! that forgot them). While it is suspect no call goes over them, and the next one that is made replaces them.

use std::fmt;
use std::future::{Future, poll_fn};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, Weak};
use std::task::Poll;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::exchange::{
    BoxFuture, Broken, Connection, Incoming, NotOpenedWhy, OutHead, Outgoing, State, Why,
};
use crate::lock::lock;
use crate::selector::{Connections, Slot};

/// So many calls under way on the least busy connection call for another one. Servers commonly allow 100 to
/// 250 at once, and a connection has one task, which is one core at most.
const BUSY: usize = 100;

/// A connection without a call for so long is closed: before the quarter of an hour after which our servers
/// close theirs, so that no call meets a connection that is being closed.
const IDLE: Duration = Duration::from_secs(600);

/// How often that is looked at.
const IDLE_CHECK: Duration = Duration::from_secs(60);

/// So many calls may wait for room on the connections of one node; one more fails with RESOURCE_EXHAUSTED.
const MAX_WAITING: usize = 1024;

/// The pause after the first connection that failed: a restart heals within it.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);

/// The pause after the second, and how it grows: gRPC's connection back-off.
const BACKOFF_SECOND: Duration = Duration::from_secs(1);
const BACKOFF_FACTOR: f64 = 1.6;
const BACKOFF_JITTER: f64 = 0.2;
const BACKOFF_MAX: Duration = Duration::from_secs(120);

/// Makes connections.
pub(crate) trait Dial: Send + Sync + 'static {
    /// A connection to an address as the registry has it.
    fn dial(&self, address: Arc<str>) -> BoxFuture<'static, Result<Connection, Broken>>;
}

/// Gives the one connection that there is, whatever the address.
pub(super) struct Given(pub(super) Connection);

impl Dial for Given {
    fn dial(&self, _: Arc<str>) -> BoxFuture<'static, Result<Connection, Broken>> {
        let connection = self.0.clone();
        Box::pin(async move {
            match connection.load().state {
                State::Open => Ok(connection),
                State::Draining | State::Closed => Err(Broken::new(Why::Closed).unprocessed()),
            }
        })
    }
}

/// The connections to one node.
pub(crate) struct Pool {
    dial: Arc<dyn Dial>,
    links: ArcSwap<Vec<Arc<Link>>>,
    authority: OnceLock<Bytes>,
    /// Calls that wait for room: while there are any, none overtakes them.
    waiting: AtomicUsize,
    /// Whose turn it is among them.
    turn: tokio::sync::Mutex<()>,
    /// Held for short sections without a wait.
    dialling: Mutex<Dialling>,
    /// Counts what happened to the connections.
    changes: watch::Sender<u64>,
}

struct Link {
    connection: Connection,
    opened: AtomicU64,
}

#[derive(Default)]
struct Dialling {
    under_way: bool,
    /// The nodes at this address that the selector has asked to dial, and of which it waits to hear. There is
    /// more than one if a node has another id than the one before it.
    asked: Vec<Arc<Slot<Pool>>>,
    failures: u32,
    /// How the last attempt failed, and when another one may be made.
    failed: Option<(Broken, Instant)>,
}

/// The first bytes that were given to [`Pool::try_open`], unsent.
pub(super) struct Unsent(pub(super) Option<Bytes>);

/// Why a node gives no connection.
#[derive(Debug)]
pub(super) enum NoConnection {
    /// It was dialled, by this call or at the same time, and did not answer.
    Failed(Broken),
    /// It did not answer a moment ago, and is not dialled again before this time.
    BackingOff(Broken, Instant),
    /// Too many calls wait for room.
    Crowded,
}

/// How a call asks for a connection.
#[derive(Clone, Copy)]
pub(super) struct Terms {
    pub(super) max_connections: usize,
}

/// Why a connection is dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum For {
    /// A call waits for it.
    Call,
    /// The others are busy. Waits out the pause after a failure, which says nothing of the node.
    Company,
    /// The selector wants to know whether the node is back.
    Probe,
    /// A call may want it.
    Ahead,
}

// ===== impl Pool =====

impl Connections for Pool {
    fn is_connected(&self) -> bool {
        least_busy(&self.links.load()).is_some()
    }

    fn dial(slot: &Arc<Slot<Pool>>) {
        slot.payload().begin(slot, For::Probe);
    }

    fn renewed(&self) {
        let mut dialling = self.lock();
        dialling.failures = 0;
        dialling.failed = None;
    }

    fn ahead(slot: &Arc<Slot<Pool>>) {
        let pool = slot.payload();
        if !pool.is_connected() {
            pool.begin(slot, For::Ahead);
        }
    }
}

impl Pool {
    pub(super) fn new(dial: Arc<dyn Dial>) -> Pool {
        Pool {
            dial,
            links: ArcSwap::default(),
            authority: OnceLock::new(),
            waiting: AtomicUsize::new(0),
            turn: tokio::sync::Mutex::default(),
            dialling: Mutex::default(),
            changes: watch::Sender::default(),
        }
    }

    /// The node's address as requests name it.
    pub(super) fn authority(&self, slot: &Slot<Pool>) -> Bytes {
        let authority = self
            .authority
            .get_or_init(|| Bytes::copy_from_slice(authority_of(&slot.node().address).as_bytes()));
        authority.clone()
    }

    /// Opens an exchange on the least busy connection, if one takes it now. Takes no lock of its own.
    pub(super) fn try_open(
        &self,
        slot: &Arc<Slot<Pool>>,
        terms: Terms,
        head: OutHead,
        first: Option<Bytes>,
        end: bool,
    ) -> Result<(Outgoing, Incoming), Unsent> {
        if self.waiting.load(Ordering::Relaxed) > 0 {
            return Err(Unsent(first));
        }
        self.open_now(slot, terms, head, first, end)
    }

    fn open_now(
        &self,
        slot: &Arc<Slot<Pool>>,
        terms: Terms,
        mut head: OutHead,
        mut first: Option<Bytes>,
        end: bool,
    ) -> Result<(Outgoing, Incoming), Unsent> {
        if slot.is_suspect() {
            return Err(Unsent(first));
        }
        let links = self.links.load();
        // Twice at most: a connection may close between the look at it and the call.
        for _ in 0..2 {
            let Some((link, in_flight)) = least_busy(&links) else {
                break;
            };
            if in_flight >= BUSY && links.len() < terms.max_connections {
                self.begin(slot, For::Company);
            }
            match link.connection.try_open(head, first, end) {
                Ok(opened) => {
                    link.opened.fetch_add(1, Ordering::Relaxed);
                    return Ok(opened);
                }
                Err(not_opened) => {
                    head = not_opened.head;
                    first = not_opened.first;
                    if not_opened.why == NotOpenedWhy::Full {
                        break;
                    }
                }
            }
        }
        Err(Unsent(first))
    }

    /// Opens an exchange, waiting for room or for a connection. `eager` dials even within the pause that
    /// follows a failure.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the wait; nothing was sent. A connection that is being made goes on.
    pub(super) async fn open(
        &self,
        slot: &Arc<Slot<Pool>>,
        terms: Terms,
        head: impl Fn() -> OutHead,
        mut first: Option<Bytes>,
        end: bool,
        eager: bool,
    ) -> Result<(Outgoing, Incoming), NoConnection> {
        match self.try_open(slot, terms, head(), first, end) {
            Ok(opened) => return Ok(opened),
            Err(Unsent(unsent)) => first = unsent,
        }
        let waiting = Waiting::new(&self.waiting);
        if waiting.place >= MAX_WAITING {
            return Err(NoConnection::Crowded);
        }
        let _turn = self.turn.lock().await;
        let mut changes = self.changes.subscribe();
        let mut dialled = false;
        loop {
            changes.borrow_and_update();
            match self.open_now(slot, terms, head(), first, end) {
                Ok(opened) => return Ok(opened),
                Err(Unsent(unsent)) => first = unsent,
            }
            self.prune();
            let links = self.links.load_full();
            if let Some((link, _)) = least_busy(&links)
                && !slot.is_suspect()
            {
                // Full. Should there be room for another connection, it is being dialled by now.
                if links.len() < terms.max_connections {
                    self.begin(slot, For::Company);
                }
                // Begins to watch before it looks, so that nothing is missed in between.
                let room = any_changes(&links);
                let load = link.connection.load();
                if load.in_flight < load.maximum || load.state != State::Open {
                    tokio::task::yield_now().await;
                    continue;
                }
                tokio::select! {
                    () = room => {}
                    _ = changes.changed() => {}
                }
                continue;
            }
            if let Some(failed) = self.failed(dialled, eager) {
                return Err(failed);
            }
            self.begin(slot, For::Call);
            dialled = true;
            // The sender is in the pool itself: it cannot be gone.
            let _ = changes.changed().await;
        }
    }

    /// Whether, without any connection, there is no point in waiting for one.
    fn failed(&self, dialled: bool, eager: bool) -> Option<NoConnection> {
        let dialling = self.lock();
        if dialling.under_way {
            return None;
        }
        let (broken, retry_at) = dialling.failed.as_ref()?;
        if dialled {
            Some(NoConnection::Failed(broken.clone()))
        } else if !eager && Instant::now() < *retry_at {
            Some(NoConnection::BackingOff(broken.clone(), *retry_at))
        } else {
            None
        }
    }

    /// Begins to dial, unless that is under way already.
    fn begin(&self, slot: &Arc<Slot<Pool>>, reason: For) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            // Calls are made in a runtime; what is made ahead of them can wait for it.
            return if reason == For::Probe {
                slot.dial_released();
            };
        };
        let mut dialling = self.lock();
        if reason == For::Probe && !holds(&dialling.asked, slot) {
            dialling.asked.push(Arc::clone(slot));
        }
        let pausing = dialling
            .failed
            .as_ref()
            .is_some_and(|(_, retry_at)| Instant::now() < *retry_at);
        let waits_out = matches!(reason, For::Company | For::Ahead);
        if dialling.under_way || (waits_out && pausing) {
            return;
        }
        dialling.under_way = true;
        drop(dialling);
        let dial = Arc::clone(&self.dial);
        runtime.spawn(make(Under(Arc::clone(slot)), dial));
    }

    fn dialled(&self, slot: &Arc<Slot<Pool>>, result: Result<Connection, Broken>) {
        let mut dialling = self.lock();
        let asked = std::mem::take(&mut dialling.asked);
        match result {
            Ok(connection) => {
                dialling.failures = 0;
                dialling.failed = None;
                let link = Arc::new(Link {
                    connection,
                    opened: AtomicU64::new(0),
                });
                let suspect = slot.is_suspect() || asked.iter().any(|slot| slot.is_suspect());
                self.links.rcu(|links| {
                    let mut links = match suspect {
                        // Calls that are under way on them go on to their end.
                        true => Vec::new(),
                        false => Vec::clone(links),
                    };
                    links.push(Arc::clone(&link));
                    links
                });
                drop(dialling);
                slot.connected();
                asked.iter().for_each(|slot| slot.connected());
                tokio::spawn(keep(Arc::downgrade(slot), Arc::downgrade(&link)));
            }
            Err(broken) => {
                let pause = backoff(dialling.failures);
                dialling.failures = dialling.failures.saturating_add(1);
                tracing::debug!(address = %slot.node().address, error = %broken, ?pause, "No connection");
                dialling.failed = Some((broken, Instant::now() + pause));
                drop(dialling);
                self.prune();
                asked.iter().for_each(|slot| slot.connection_failed(true));
                // A node that has other connections is only busy.
                let only_busy = !slot.is_suspect() && !self.links.load().is_empty();
                if !only_busy && !holds(&asked, slot) {
                    slot.connection_failed(false);
                }
            }
        }
    }

    /// Takes out the connections that take no more calls.
    fn prune(&self) {
        let takes_calls = |link: &Arc<Link>| link.connection.load().state == State::Open;
        if self.links.load().iter().all(takes_calls) {
            return;
        }
        self.links.rcu(|links| {
            let links = links.iter().filter(|link| takes_calls(link));
            links.cloned().collect::<Vec<_>>()
        });
    }

    fn remove(&self, gone: &Arc<Link>) {
        self.links.rcu(|links| {
            let links = links.iter().filter(|link| !Arc::ptr_eq(link, gone));
            links.cloned().collect::<Vec<_>>()
        });
    }

    fn lock(&self) -> MutexGuard<'_, Dialling> {
        lock(&self.dialling)
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let links = self.links.load();
        f.debug_list()
            .entries(links.iter().map(|link| &link.connection))
            .finish()
    }
}

fn holds(slots: &[Arc<Slot<Pool>>], slot: &Arc<Slot<Pool>>) -> bool {
    slots.iter().any(|held| Arc::ptr_eq(held, slot))
}

/// The connection with the fewest calls under way, of those that take calls, and how many it has.
fn least_busy(links: &[Arc<Link>]) -> Option<(&Arc<Link>, usize)> {
    let mut best = None;
    for link in links {
        let load = link.connection.load();
        if load.state == State::Open && best.is_none_or(|(_, least)| load.in_flight < least) {
            best = Some((link, load.in_flight));
        }
    }
    best
}

/// Ready when anything has changed on any of the connections since this was called.
fn any_changes(links: &[Arc<Link>]) -> impl Future<Output = ()> + Send {
    let mut changes: Vec<_> = links
        .iter()
        .map(|link| Box::pin(link.connection.changed()))
        .collect();
    poll_fn(move |cx| {
        let mut changes = changes.iter_mut();
        if changes.any(|changed| changed.as_mut().poll(cx).is_ready()) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
}

fn authority_of(address: &str) -> &str {
    // A path is no authority; gRPC sends this in its place.
    if address.starts_with("unix:") || address.starts_with('/') {
        "localhost"
    } else {
        address
    }
}

/// The pause after so many failures before this one.
fn backoff(failures: u32) -> Duration {
    let Some(growth) = failures.checked_sub(1) else {
        return BACKOFF_FIRST;
    };
    let growth = i32::try_from(growth.min(64)).unwrap_or(64);
    let pause = BACKOFF_SECOND.as_secs_f64() * BACKOFF_FACTOR.powi(growth);
    let pause = pause.min(BACKOFF_MAX.as_secs_f64());
    let jitter = 1.0 - BACKOFF_JITTER + 2.0 * BACKOFF_JITTER * fastrand::f64();
    Duration::from_secs_f64(pause * jitter)
}

/// A pool that is being dialled for; however the task ends, the pool finds out.
struct Under(Arc<Slot<Pool>>);

impl Drop for Under {
    fn drop(&mut self) {
        let pool = self.0.payload();
        if std::thread::panicking() {
            // Were it no failure, whoever waits for the connection would have it dialled again at once, for ever.
            let broken = Broken::new(Why::Closed).unprocessed();
            pool.dialled(&self.0, Err(broken.with_detail("the dial panicked")));
        }
        let mut dialling = pool.lock();
        dialling.under_way = false;
        let unheard = std::mem::take(&mut dialling.asked);
        drop(dialling);
        unheard.iter().for_each(|slot| slot.dial_released());
        pool.changes.send_modify(|changes| *changes += 1);
    }
}

async fn make(under: Under, dial: Arc<dyn Dial>) {
    let address = under.0.node().address.as_str().into();
    let result = dial.dial(address).await;
    under.0.payload().dialled(&under.0, result);
}

/// Closes a connection that is not used any more.
async fn keep(slot: Weak<Slot<Pool>>, link: Weak<Link>) {
    let mut opened = 0;
    let mut idle = Duration::ZERO;
    loop {
        tokio::time::sleep(IDLE_CHECK).await;
        let (Some(slot), Some(link)) = (slot.upgrade(), link.upgrade()) else {
            return;
        };
        let load = link.connection.load();
        let now = link.opened.load(Ordering::Relaxed);
        if load.in_flight == 0 && now == opened {
            idle += IDLE_CHECK;
        } else {
            idle = Duration::ZERO;
        }
        if load.state != State::Open || idle >= IDLE {
            slot.payload().remove(&link);
            link.connection.drain();
            return;
        }
        opened = now;
    }
}

/// Counts a call that waits.
struct Waiting<'a> {
    count: &'a AtomicUsize,
    place: usize,
}

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Waiting<'a> {
        Waiting {
            count,
            place: count.fetch_add(1, Ordering::Relaxed),
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_grows_as_grpcs_after_a_short_first_one() {
        assert_eq!(backoff(0), Duration::from_millis(100));
        let near = |failures, seconds: f64| {
            let pause = backoff(failures).as_secs_f64();
            assert!(
                (seconds * 0.8..=seconds * 1.2).contains(&pause),
                "{failures}: {pause}"
            );
        };
        near(1, 1.0);
        near(2, 1.6);
        near(3, 2.56);
        near(1000, 120.0);
    }

    #[test]
    fn a_path_is_no_authority() {
        assert_eq!(authority_of("10.0.0.7:5000"), "10.0.0.7:5000");
        assert_eq!(authority_of("unix:/run/a"), "localhost");
    }
}
