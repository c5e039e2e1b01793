//! The cache under a paused clock, over a registry that does what its script says.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, advance, sleep, timeout};

use super::*;
use crate::error::{Error, ErrorKind};
use crate::registry::{Action, Event, Memory, Registry, Service, Watcher};

/// Answers with what was put in; counts the queries.
#[derive(Clone, Default)]
struct Script(Arc<ScriptInner>);

#[derive(Default)]
struct ScriptInner {
    services: Mutex<Vec<Service>>,
    error: Mutex<Option<ErrorKind>>,
    delay: Mutex<Duration>,
    watch: Mutex<Watching>,
    watchers: Mutex<Vec<mpsc::Sender<Result<Event, Error>>>>,
    queries: AtomicUsize,
    together: AtomicUsize,
    most_together: AtomicUsize,
    watches: AtomicUsize,
}

#[derive(Clone, Copy, Default)]
enum Watching {
    #[default]
    Works,
    Unsupported,
    Fails,
}

impl Script {
    fn of(nodes: &[&str]) -> Script {
        let script = Script::default();
        script.set(nodes);
        script
    }

    fn set(&self, nodes: &[&str]) {
        *self.0.services.lock().unwrap() = vec![service(nodes)];
    }

    fn fail(&self, kind: impl Into<Option<ErrorKind>>) {
        *self.0.error.lock().unwrap() = kind.into();
    }

    fn delay(&self, delay: Duration) {
        *self.0.delay.lock().unwrap() = delay;
    }

    fn watching(&self, watching: Watching) {
        *self.0.watch.lock().unwrap() = watching;
    }

    fn queries(&self) -> usize {
        self.0.queries.load(Ordering::SeqCst)
    }

    fn tell(&self, action: Action, service: Service) {
        let event = Event { action, service };
        self.0
            .watchers
            .lock()
            .unwrap()
            .retain(|watcher| watcher.try_send(Ok(event.clone())).is_ok());
    }

    fn end_watches(&self) {
        self.0.watchers.lock().unwrap().clear();
    }

    fn error(&self) -> Option<Error> {
        let kind = *self.0.error.lock().unwrap();
        kind.map(|kind| Error::new(kind, "the agent is gone"))
    }
}

impl Registry for Script {
    fn name(&self) -> &'static str {
        "script"
    }

    async fn register(&self, _service: &Service, _ttl: Duration) -> Result<(), Error> {
        Ok(())
    }

    async fn deregister(&self, _service: &Service) -> Result<(), Error> {
        Ok(())
    }

    async fn get(&self, _name: &str) -> Result<Vec<Service>, Error> {
        self.0.queries.fetch_add(1, Ordering::SeqCst);
        let together = self.0.together.fetch_add(1, Ordering::SeqCst) + 1;
        self.0.most_together.fetch_max(together, Ordering::SeqCst);
        let delay = *self.0.delay.lock().unwrap();
        // What a query sees is what was there when it began, so that it can be overtaken by events.
        let answer = match self.error() {
            None => Ok(self.0.services.lock().unwrap().clone()),
            Some(error) => Err(error),
        };
        if !delay.is_zero() {
            sleep(delay).await;
        }
        self.0.together.fetch_sub(1, Ordering::SeqCst);
        answer
    }

    async fn list(&self) -> Result<Vec<Service>, Error> {
        Registry::get(self, "").await
    }

    async fn watch(&self, _name: Option<&str>) -> Result<Watcher, Error> {
        self.0.watches.fetch_add(1, Ordering::SeqCst);
        let watching = *self.0.watch.lock().unwrap();
        match watching {
            Watching::Works => {
                if let Some(error) = self.error() {
                    return Err(error);
                }
                let (events, watcher) = mpsc::channel(4096);
                self.0.watchers.lock().unwrap().push(events);
                Ok(Watcher::from_channel(watcher))
            }
            Watching::Unsupported => Err(Error::new(ErrorKind::Unsupported, "no watch")),
            Watching::Fails => Err(Error::registry("no watch today")),
        }
    }
}

/// What health says of each node.
#[derive(Default)]
struct Health {
    fates: Mutex<HashMap<String, Fate>>,
    changes: AtomicUsize,
}

impl Health {
    fn set(&self, node: &str, fate: Fate) {
        self.fates.lock().unwrap().insert(node.to_owned(), fate);
    }
}

impl Listener for Health {
    fn changed(&self) {
        self.changes.fetch_add(1, Ordering::SeqCst);
    }

    fn tick(&self) {}

    fn fate(&self, node: &Node) -> Fate {
        let fates = self.fates.lock().unwrap();
        fates.get(&node.id).copied().unwrap_or(Fate::Unknown)
    }
}

fn service(nodes: &[&str]) -> Service {
    Service {
        name: "greeter".into(),
        version: "latest".into(),
        nodes: nodes.iter().map(|id| node(id)).collect(),
        ..Service::default()
    }
}

fn node(id: &str) -> Node {
    Node {
        id: id.into(),
        address: format!("{id}:5000"),
        ..Node::default()
    }
}

fn entry(registry: &(impl Registry + Clone)) -> Arc<Entry> {
    Cache::new(Arc::new(registry.clone())).entry("greeter")
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(5))
}

fn ids(entry: &Entry) -> Vec<String> {
    let view = entry.view();
    view.nodes.iter().map(|n| n.node.id.clone()).collect()
}

async fn find(entry: &Entry) -> Result<(), LookUpError> {
    entry
        .look_up(soon(), || !entry.view().nodes.is_empty())
        .await
}

/// Waits until the entry's nodes are these.
async fn until(entry: &Entry, nodes: &[&str]) {
    let mut progress = entry.shared.progress.subscribe();
    let reached = timeout(Duration::from_secs(600), async {
        while ids(entry) != nodes {
            progress.changed().await.unwrap();
        }
    });
    assert!(reached.await.is_ok(), "{:?} is not {nodes:?}", ids(entry));
}

/// Lets the task do all it can at this moment of the paused clock.
async fn settle() {
    sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn finds_a_service_and_follows_the_watch() {
    let script = Script::of(&["a"]);
    let entry = entry(&script);
    find(&entry).await.unwrap();
    assert_eq!(ids(&entry), ["a"]);
    script.tell(Action::Create, service(&["b"]));
    until(&entry, &["a", "b"]).await;
    script.tell(Action::Delete, service(&["a"]));
    until(&entry, &["b"]).await;
    assert_eq!(script.queries(), 1, "events alone told");
}

#[tokio::test(start_paused = true)]
async fn one_query_serves_all_who_ask_and_outlives_who_asked_first() {
    let script = Script::of(&["a"]);
    script.delay(Duration::from_millis(300));
    let entry = entry(&script);
    let first = Deadline::after(Duration::from_millis(10));
    let given_up = entry.look_up(first, || false).await;
    assert_eq!(given_up, Err(LookUpError::Deadline));
    let mut callers = JoinSet::new();
    for _ in 0..1000 {
        let entry = Arc::clone(&entry);
        callers.spawn(async move { find(&entry).await });
    }
    while let Some(found) = callers.join_next().await {
        found.unwrap().unwrap();
    }
    assert_eq!(script.queries(), 1);
    settle().await;
    assert_eq!(script.queries(), 1, "nobody has asked since");
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_a_minute_loses_no_node() {
    let script = Script::of(&["a", "b"]);
    let entry = entry(&script);
    find(&entry).await.unwrap();
    script.fail(ErrorKind::Registry);
    script.end_watches();
    let before = script.queries();
    for _ in 0..600 {
        sleep(Duration::from_millis(100)).await;
        assert_eq!(ids(&entry), ["a", "b"]);
    }
    let stale = entry.view().stale.clone().expect("it is marked stale");
    assert!(stale.since.elapsed() > Duration::from_secs(50));
    assert_eq!(&*stale.error, "the agent is gone");
    assert!(script.queries() > before, "it kept asking");
    assert!(
        script.queries() - before < 80,
        "but not often: {}",
        script.queries() - before
    );
    script.set(&["a", "b", "c"]);
    script.fail(None);
    let back = Instant::now();
    until(&entry, &["a", "b", "c"]).await;
    assert!(
        back.elapsed() < Duration::from_secs(2),
        "{:?}",
        back.elapsed()
    );
    assert!(entry.view().stale.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_for_a_registry_that_is_down_and_not_beyond_its_deadline() {
    let script = Script::of(&["a"]);
    script.fail(ErrorKind::Registry);
    let entry = entry(&script);
    let started = Instant::now();
    assert_eq!(find(&entry).await, Err(LookUpError::Deadline));
    assert_eq!(started.elapsed(), Duration::from_secs(5));
    let waiting = find(&entry);
    let returning = async {
        sleep(Duration::from_secs(2)).await;
        script.fail(None);
    };
    let started = Instant::now();
    let (found, ()) = tokio::join!(waiting, returning);
    found.unwrap();
    assert!(
        started.elapsed() < Duration::from_secs(4),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_none_is_given_at_once_and_not_asked_for_in_a_loop() {
    let script = Script::of(&[]);
    let entry = entry(&script);
    let started = Instant::now();
    find(&entry).await.unwrap();
    assert!(ids(&entry).is_empty());
    assert_eq!(started.elapsed(), Duration::ZERO);
    for _ in 0..100 {
        let entry = Arc::clone(&entry);
        let mut callers = JoinSet::new();
        for _ in 0..10 {
            let entry = Arc::clone(&entry);
            callers.spawn(async move { find(&entry).await });
        }
        callers.join_all().await;
    }
    assert!(ids(&entry).is_empty());
    let most = started.elapsed().as_millis() / 100 + 1;
    assert!(
        script.queries() as u128 <= most,
        "{} > {most}",
        script.queries()
    );
    // What comes after the answer is found, though the watch has not said so.
    script.set(&["a"]);
    find(&entry).await.unwrap();
    assert_eq!(ids(&entry), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_refuses_fails_the_call_at_once() {
    let script = Script::of(&["a"]);
    script.fail(ErrorKind::Config);
    let entry = entry(&script);
    let started = Instant::now();
    assert_eq!(find(&entry).await, Err(LookUpError::Refused));
    assert_eq!(find(&entry).await, Err(LookUpError::Refused));
    assert_eq!(started.elapsed(), Duration::ZERO);
    script.fail(None);
    until(&entry, &["a"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_query_that_hangs_is_given_up_and_made_again() {
    let script = Script::of(&["a"]);
    script.delay(Duration::from_secs(86_400));
    let entry = entry(&script);
    assert_eq!(find(&entry).await, Err(LookUpError::Deadline));
    script.delay(Duration::ZERO);
    find(&entry).await.unwrap();
    assert_eq!(ids(&entry), ["a"]);
}
