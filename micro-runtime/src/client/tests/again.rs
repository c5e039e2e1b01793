//! Calls that no node takes have the registry asked once more before they fail.

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::nodes::named;
use super::*;
use crate::Code;
use crate::client::Hedging;
use crate::error::Error;
use crate::exchange::reset;
use crate::registry::{Service, Watcher};

/// So much later a call may fail.
const BOUND: Duration = Duration::from_millis(250);

/// A registry that tells nobody of its changes, and counts how often it is asked.
#[derive(Clone)]
pub(super) struct Silent(Arc<Mutex<Inner>>);

struct Inner {
    name: &'static str,
    addresses: Vec<String>,
    delay: Duration,
    fails: bool,
    queries: usize,
}

impl Silent {
    pub(super) fn of(addresses: &[&str]) -> Silent {
        let silent = Silent(Arc::new(Mutex::new(Inner {
            name: "silent",
            addresses: Vec::new(),
            delay: Duration::from_millis(5),
            fails: false,
            queries: 0,
        })));
        silent.set(addresses);
        silent
    }

    pub(super) fn set(&self, addresses: &[&str]) {
        let addresses = addresses.iter().map(|address| (*address).to_owned());
        self.0.lock().unwrap().addresses = addresses.collect();
    }

    fn delay(&self, delay: Duration) {
        self.0.lock().unwrap().delay = delay;
    }

    fn fail(&self) {
        self.0.lock().unwrap().fails = true;
    }

    fn queries(&self) -> usize {
        self.0.lock().unwrap().queries
    }
}

impl Registry for Silent {
    fn name(&self) -> &'static str {
        self.0.lock().unwrap().name
    }

    async fn register(&self, _: &Service, _: Duration) -> Result<(), Error> {
        Ok(())
    }

    async fn deregister(&self, _: &Service) -> Result<(), Error> {
        Ok(())
    }

    async fn get(&self, _: &str) -> Result<Vec<Service>, Error> {
        let (delay, answer) = {
            let mut inner = self.0.lock().unwrap();
            inner.queries += 1;
            let nodes = inner.addresses.iter().map(|address| Node {
                id: address.clone(),
                address: address.clone(),
                ..Node::default()
            });
            let service = Service {
                name: "echo".into(),
                nodes: nodes.collect(),
                ..Service::default()
            };
            let answer = match inner.fails {
                true => Err(Error::registry("it is gone")),
                false => Ok(vec![service]),
            };
            (inner.delay, answer)
        };
        sleep(delay).await;
        answer
    }

    async fn list(&self) -> Result<Vec<Service>, Error> {
        self.get("").await
    }

    async fn watch(&self, _: Option<&str>) -> Result<Watcher, Error> {
        // One that stands and never says anything: the next look is a minute away.
        let (says, watcher) = mpsc::channel(1);
        tokio::spawn(async move { says.closed().await });
        Ok(Watcher::from_channel(watcher))
    }
}

/// A client that has called two nodes, which are gone since.
async fn deserted() -> (Network, Silent, Target) {
    deserted_by(Silent::of(&["a:1", "b:1"])).await
}

async fn deserted_by(silent: Silent) -> (Network, Silent, Target) {
    let network = Network::default();
    for name in ["a", "b", "c", "d"] {
        network.serve(&format!("{name}:1"), named(name));
    }
    let target = client_of(&network, silent.clone()).target("echo");
    for _ in 0..4 {
        target.unary(&ECHO, String::new()).await.unwrap();
    }
    sleep(Duration::from_secs(1)).await;
    network.kill("a:1");
    network.kill("b:1");
    (network, silent, target)
}

#[tokio::test(start_paused = true)]
async fn a_fleet_that_has_moved_is_found_by_the_first_call() {
    let (network, silent, target) = deserted().await;
    silent.set(&["c:1", "d:1"]);
    let (before, start) = (silent.queries(), Instant::now());
    // Not safe to repeat: nobody has seen it before.
    let reply = target.unary(&ECHO, String::new()).await.unwrap();
    assert!(["c", "d"].contains(&&*reply), "{reply}");
    assert!(start.elapsed() <= BOUND, "{:?}", start.elapsed());
    assert_eq!(silent.queries(), before + 1);
    for _ in 0..100 {
        target.unary(&ECHO, String::new()).await.unwrap();
    }
    assert_eq!(silent.queries(), before + 1);
    assert_eq!((network.dials("c:1"), network.dials("d:1")), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn so_it_is_by_streams_and_by_hedged_calls() {
    let (_network, silent, target) = deserted().await;
    silent.set(&["c:1"]);
    target.bidi(&CHAT).await.unwrap();

    let (_network, silent, target) = deserted().await;
    silent.set(&["c:1"]);
    let options = ClientOptions::new().hedging(Hedging::after(Duration::from_millis(10)));
    let target = target.client().with(options).unwrap().target("echo");
    assert_eq!(target.unary(&SAFE, String::new()).await.unwrap(), "c");
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_failures_asks_once_at_a_time() {
    let (network, silent, target) = deserted().await;
    let (before, start) = (silent.queries(), Instant::now());
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..1000 {
        calls.spawn(target.unary(&ECHO, String::new()));
    }
    while let Some(result) = calls.join_next().await {
        assert_eq!(result.unwrap().unwrap_err().code(), Code::Unavailable);
    }
    assert!(start.elapsed() <= BOUND, "{:?}", start.elapsed());
    assert!(
        silent.queries() <= before + 2,
        "{}",
        silent.queries() - before
    );
    assert_eq!((network.dials("a:1"), network.dials("b:1")), (2, 2));
    // For long.
    let before = silent.queries();
    let start = Instant::now();
    let mut waited = Duration::ZERO;
    for _ in 0..4000 {
        let call = Instant::now();
        target.unary(&ECHO, String::new()).await.unwrap_err();
        waited += call.elapsed();
        assert!(call.elapsed() <= BOUND, "{:?}", call.elapsed());
        sleep(Duration::from_millis(1)).await;
    }
    let most = start.elapsed().as_millis() / 200 + 1;
    let queries = silent.queries() - before;
    assert!(
        (10..=most).contains(&(queries as u128)),
        "{queries} > {most}"
    );
    // What is known to be down costs next to nothing.
    assert!(
        waited < start.elapsed() / 4,
        "{waited:?} of {:?}",
        start.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_hangs_or_fails_delays_the_failure_by_the_bound_at_most() {
    let (_network, silent, target) = deserted().await;
    silent.delay(Duration::from_secs(60));
    let call = async |timeout: Duration| {
        let start = Instant::now();
        let call = target.unary(&ECHO, String::new()).timeout(timeout);
        let status = call.await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{status}");
        start.elapsed()
    };
    let bound = BOUND.as_millis();
    let took = call(Duration::from_secs(5)).await.as_millis();
    assert!((bound - 1..=bound + 1).contains(&took), "{took} ms");
    // The call's own time is less.
    let took = call(Duration::from_millis(100)).await.as_millis();
    assert!((99..=101).contains(&took), "{took} ms");
    // Once it is known to fail nobody waits for it.
    silent.fail();
    sleep(Duration::from_secs(6)).await;
    assert!(call(Duration::from_secs(5)).await <= Duration::from_millis(1));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_older_than_the_failure_is_not_enough() {
    let (network, silent, target) = deserted().await;
    silent.set(&["c:1"]);
    assert_eq!(target.unary(&ECHO, String::new()).await.unwrap(), "c");
    // It moves once more, at once.
    sleep(Duration::from_millis(1)).await;
    network.kill("c:1");
    silent.set(&["d:1"]);
    let start = Instant::now();
    assert_eq!(target.unary(&ECHO, String::new()).await.unwrap(), "d");
    assert!(start.elapsed() <= BOUND, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_cannot_change_is_not_asked() {
    let silent = Silent::of(&["a:1", "b:1"]);
    silent.0.lock().unwrap().name = "fixed";
    let (_network, silent, target) = deserted_by(silent).await;
    let (before, start) = (silent.queries(), Instant::now());
    target.unary(&ECHO, String::new()).await.unwrap_err();
    let call = target.unary(&ECHO, String::new()).address("a:1");
    call.await.unwrap_err();
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(silent.queries(), before);
}

#[tokio::test(start_paused = true)]
async fn nodes_that_answer_are_not_gone() {
    let (network, silent, target) = deserted().await;
    let before = silent.queries();
    for name in ["a:1", "b:1"] {
        network.serve(name, |exchange: Exchange| async move {
            refuse(exchange.reply, 14, "busy");
        });
    }
    sleep(Duration::from_secs(1)).await;
    let status = target.unary(&SAFE, String::new()).await.unwrap_err();
    assert_eq!(status.message(), "busy");
    for name in ["a:1", "b:1"] {
        network.kill(name);
        network.serve(name, |exchange: Exchange| async move {
            exchange.reply.reset(reset::REFUSED_STREAM);
        });
    }
    sleep(Duration::from_secs(3)).await;
    let status = target.unary(&ECHO, String::new()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(silent.queries(), before);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_asks_too() {
    let (_network, silent, target) = deserted().await;
    let later = silent.clone();
    tokio::spawn(async move {
        sleep(Duration::from_secs(2)).await;
        later.set(&["c:1"]);
    });
    let start = Instant::now();
    let call = target.unary(&ECHO, String::new()).wait_for_ready(true);
    assert_eq!(call.await.unwrap(), "c");
    assert!(
        start.elapsed() <= Duration::from_millis(3500),
        "{:?}",
        start.elapsed()
    );
}
