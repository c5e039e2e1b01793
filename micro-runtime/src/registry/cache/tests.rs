//! The cache under a paused clock, over a registry that does what its script says.

mod script;
mod snapshots;
mod time;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::*;
use crate::error::ErrorKind;
use crate::registry::{Action, Registry, Service};
use script::{Panics, Script, Watching};

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

/// An entry that has found these nodes and asks this health.
async fn found(nodes: &[&str]) -> (Script, Arc<Entry>, Arc<Health>) {
    let script = Script::of(nodes);
    let entry = entry(&script);
    let health = Arc::new(Health::default());
    let listener: Weak<dyn Listener> = Arc::downgrade(&(Arc::clone(&health) as Arc<dyn Listener>));
    entry.listen(listener);
    find(&entry).await.unwrap();
    assert_eq!(ids(&entry), nodes);
    (script, entry, health)
}

/// Makes the entry query once more.
async fn query(entry: &Entry) {
    entry.look_up(soon(), || false).await.unwrap();
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

#[tokio::test(start_paused = true)]
async fn an_event_beats_an_answer_that_began_before_it() {
    let (script, entry, _health) = found(&["a", "b", "c"]).await;
    script.delay(Duration::from_secs(1));
    let querying = query(&entry);
    let leaving = async {
        sleep(Duration::from_millis(500)).await;
        script.tell(Action::Delete, service(&["b"]));
        script.tell(Action::Create, service(&["d"]));
    };
    tokio::join!(querying, leaving);
    assert_eq!(ids(&entry), ["a", "c", "d"]);
}

#[tokio::test(start_paused = true)]
async fn what_an_event_says_left_is_gone_whatever_health_says() {
    let (script, entry, health) = found(&["a", "b", "c"]).await;
    for node in ["a", "b", "c"] {
        health.set(node, Fate::Alive);
    }
    // Not all at once, which is believed of the dead alone.
    let pause = || sleep(Duration::from_secs(1));
    script.tell(Action::Delete, service(&["a"]));
    until(&entry, &["b", "c"]).await;
    pause().await;
    script.tell(Action::Delete, service(&["b"]));
    until(&entry, &["c"]).await;
    pause().await;
    // Without an address, and without nodes at all.
    let mut no_address = service(&["c"]);
    no_address.nodes[0].address.clear();
    script.tell(Action::Delete, no_address);
    until(&entry, &[]).await;
    script.tell(Action::Create, service(&["d", "e"]));
    until(&entry, &["d", "e"]).await;
    pause().await;
    let mut other_version = service(&[]);
    other_version.version = "2".into();
    script.tell(Action::Delete, other_version);
    script.tell(Action::Delete, service(&["d"]));
    until(&entry, &["e"]).await;
    pause().await;
    script.tell(Action::Delete, service(&[]));
    until(&entry, &[]).await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_none_for_ten_living_nodes_is_not_believed() {
    let nodes = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
    let (script, entry, health) = found(&nodes).await;
    health.set("c", Fate::Dead);
    script.set(&[]);
    query(&entry).await;
    let without_c = ["a", "b", "d", "e", "f", "g", "h", "i", "j"];
    assert_eq!(ids(&entry), without_c, "what cannot be reached goes");
    // One turns out dead: it goes without another answer.
    health.set("d", Fate::Dead);
    until(&entry, &["a", "b", "e", "f", "g", "h", "i", "j"]).await;
    // The answer stays: after the grace it is believed.
    let gone = Instant::now();
    until(&entry, &[]).await;
    assert!(
        (170..190).contains(&gone.elapsed().as_secs()),
        "{:?}",
        gone.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_one_of_three_is_believed_unless_it_works() {
    let (script, entry, health) = found(&["a", "b", "c"]).await;
    script.set(&["a", "b"]);
    query(&entry).await;
    assert_eq!(ids(&entry), ["a", "b"]);
    health.set("b", Fate::Alive);
    script.set(&["a"]);
    query(&entry).await;
    assert_eq!(
        ids(&entry),
        ["a", "b"],
        "it works, whatever the registry says"
    );
    script.set(&["a", "b"]);
    query(&entry).await;
    sleep(Duration::from_secs(400)).await;
    assert_eq!(
        ids(&entry),
        ["a", "b"],
        "named again, it is kept no longer for grace"
    );
}

#[tokio::test(start_paused = true)]
async fn a_deployment_that_replaces_every_node_keeps_the_old_ones_only_while_they_work() {
    let (script, entry, health) = found(&["a", "b"]).await;
    script.set(&["c", "d"]);
    query(&entry).await;
    assert_eq!(ids(&entry), ["a", "b", "c", "d"]);
    health.set("a", Fate::Dead);
    health.set("b", Fate::Dead);
    until(&entry, &["c", "d"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_flaps_is_published_no_oftener_than_the_gap() {
    let (script, entry, health) = found(&["a"]).await;
    let before = health.changes.load(Ordering::SeqCst);
    let started = Instant::now();
    for _ in 0..1000 {
        script.tell(Action::Create, service(&["b"]));
        settle().await;
        script.tell(Action::Delete, service(&["b"]));
        settle().await;
    }
    until(&entry, &["a"]).await;
    let changes = health.changes.load(Ordering::SeqCst) - before;
    let most = started.elapsed().as_millis() / 100 + 2;
    assert!(changes > 1 && changes as u128 <= most, "{changes} > {most}");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_moves_or_changes_is_one_node() {
    let (script, entry, _health) = found(&["a", "b"]).await;
    let mut moved = service(&["a"]);
    moved.version = "2".into();
    moved.nodes[0].address = "elsewhere:1".into();
    script.tell(Action::Update, moved);
    until(&entry, &["a", "b"]).await;
    let mut progress = entry.shared.progress.subscribe();
    while entry.view().nodes[0].node.address != "elsewhere:1" {
        progress.changed().await.unwrap();
    }
    let view = entry.view();
    assert_eq!(view.nodes.len(), 2);
    assert_eq!(view.nodes[0].service.version, "2");
    assert_eq!(view.nodes[1].service.version, "latest");
}

#[tokio::test(start_paused = true)]
async fn nodes_without_address_and_other_services_are_left_out() {
    let script = Script::of(&["a", "b"]);
    {
        let mut services = script.0.services.lock().unwrap();
        services[0].nodes[0].address.clear();
        let mut other = service(&["c"]);
        other.name = "other".into();
        services.push(other);
    }
    let entry = entry(&script);
    find(&entry).await.unwrap();
    assert_eq!(ids(&entry), ["b"]);
    let mut other = service(&["d"]);
    other.name = "other".into();
    script.tell(Action::Create, other);
    script.tell(Action::Create, service(&["e"]));
    until(&entry, &["b", "e"]).await;
}

#[tokio::test(start_paused = true)]
#[allow(
    clippy::await_holding_lock,
    reason = "it is what the task must not wait for"
)]
async fn a_long_answer_is_taken_over_beside_the_calls() {
    let names: Vec<String> = (0..5_000).map(|n| format!("node-{n:04}")).collect();
    let nodes: Vec<&str> = names.iter().map(String::as_str).collect();
    let (script, entry, _health) = found(&nodes).await;
    // An event that comes meanwhile is not lost, and does not wait for the model.
    for round in 0..5 {
        let id = format!("new-{round}");
        script.delay(Duration::from_millis(50));
        let querying = query(&entry);
        let telling = async {
            sleep(Duration::from_millis(150)).await;
            script.tell(Action::Create, service(&[&id]));
        };
        tokio::join!(querying, telling);
        sleep(Duration::from_millis(200)).await;
        assert!(ids(&entry).contains(&id), "{id}");
    }
    // The model is held: whoever waited for it here would do so for ever.
    let held = lock(&entry.shared.model);
    entry.shared.applying.store(true, Ordering::SeqCst);
    script.tell(Action::Create, service(&["other"]));
    settle().await;
    drop(held);
    entry.shared.applying.store(false, Ordering::SeqCst);
    script.set(&nodes[..4_000]);
    // The first may be one that was under way.
    query(&entry).await;
    query(&entry).await;
    assert_eq!(entry.view().nodes.len(), 4_000);
}

/// A watch that always has another event, of which the cache sees no end.
#[tokio::test(start_paused = true)]
async fn a_flood_of_events_hides_neither_the_answer_nor_the_clock() {
    let script = Script::of(&["a"]);
    let entry = entry(&script);
    find(&entry).await.unwrap();
    let flood = tokio::spawn({
        let script = script.clone();
        async move {
            loop {
                // As many as a task may take in before others have their turn.
                for _ in 0..64 {
                    script.tell(Action::Create, service(&["b"]));
                    script.tell(Action::Delete, service(&["b"]));
                }
                tokio::task::yield_now().await;
            }
        }
    });
    script.set(&["a", "c"]);
    let asking = entry.look_up(soon(), || ids(&entry).contains(&"c".to_owned()));
    // The clock moves by itself only when nothing else is to be done.
    let passing = async {
        for _ in 0..100 {
            tokio::time::advance(Duration::from_millis(100)).await;
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(asking, passing).0.unwrap();
    assert!(ids(&entry).contains(&"c".to_owned()));
    flood.abort();
}

#[test]
fn it_survives_the_runtime_it_was_started_in() {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().start_paused(true).build().unwrap()
    };
    let script = Script::of(&["a"]);
    let entry = entry(&script);
    entry.touch();
    assert_eq!(script.queries(), 0, "outside a runtime nothing starts");
    runtime().block_on(async { find(&entry).await.unwrap() });
    script.set(&["a", "b"]);
    runtime().block_on(async {
        entry.touch();
        until(&entry, &["a", "b"]).await;
    });
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_panics_costs_no_look_up() {
    let entry = entry(&Panics(Script::of(&["a"])));
    let started = Instant::now();
    find(&entry).await.unwrap();
    assert_eq!(started.elapsed(), Duration::ZERO);
    assert_eq!(ids(&entry), ["a"]);
}
