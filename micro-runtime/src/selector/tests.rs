//! The selector over an in-process registry and under a paused clock.

mod promises;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::*;
use crate::deadline::Deadline;
use crate::registry::{Memory, Node, Registry, Service};
use crate::status::{Code, Status};

const TTL: Duration = Duration::ZERO;

fn service(nodes: &[&str]) -> Service {
    Service {
        name: "greeter".into(),
        version: "latest".into(),
        nodes: nodes
            .iter()
            .map(|id| Node {
                id: (*id).into(),
                address: format!("{id}:5000"),
                ..Node::default()
            })
            .collect(),
        ..Service::default()
    }
}

fn by_name(name: &str) -> Arc<dyn Strategy> {
    match name {
        "p2c" => Arc::new(P2c),
        "random" => Arc::new(Random),
        "round_robin" => Arc::new(RoundRobin),
        _ => panic!("{name}"),
    }
}

fn call() -> CallInfo<'static> {
    CallInfo::new("greeter", "/Greeter/Hello")
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(5))
}

/// A selector whose strategy is named, over a registry with these nodes, which it has looked up.
async fn ready(strategy: &str, nodes: &[&str]) -> (Memory, Selector<()>, Arc<Balancer<()>>) {
    let registry = Memory::new();
    registry.register(&service(nodes), TTL).await.unwrap();
    let selector = Selector::new(Arc::new(registry.clone()), by_name(strategy));
    let balancer = selector.service("greeter");
    balancer.ready(soon()).await.unwrap();
    (registry, selector, balancer)
}

fn pick(balancer: &Balancer<()>) -> Picked<()> {
    balancer.pick(&call()).unwrap()
}

fn id<C>(picked: &Picked<C>) -> String {
    picked.slot().node().id.clone()
}

/// How often each node is picked in `n` calls that end at once.
fn shares(balancer: &Balancer<()>, n: usize) -> HashMap<String, usize> {
    let mut shares = HashMap::new();
    for _ in 0..n {
        let picked = pick(balancer);
        *shares.entry(id(&picked)).or_default() += 1;
        picked.succeeded();
    }
    shares
}

#[tokio::test(start_paused = true)]
async fn an_unknown_service_is_looked_up_and_then_picked() {
    let registry = Memory::new();
    let selector: Selector<()> = Selector::new(Arc::new(registry.clone()), Arc::new(P2c));
    let balancer = selector.service("greeter");
    assert!(balancer.pick(&call()).unwrap_err().is_unknown());
    let status = Status::from(balancer.ready(soon()).await.unwrap_err());
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(
        status.message(),
        "service \"greeter\" is not in the registry memory: looked for 0.0 s; \
         nodes: 0 seen, 0 filtered out, 0 put aside, 0 tried"
    );
    registry.register(&service(&["a"]), TTL).await.unwrap();
    balancer.ready(soon()).await.unwrap();
    assert_eq!(id(&pick(&balancer)), "a");
}

#[tokio::test(start_paused = true)]
async fn every_strategy_reaches_every_node() {
    for strategy in ["random", "round_robin", "p2c"] {
        let (_registry, _selector, balancer) = ready(strategy, &["a", "b", "c", "d"]).await;
        let shares = shares(&balancer, 4000);
        for (node, share) in &shares {
            assert!((850..=1150).contains(share), "{strategy}: {node} {share}");
        }
        assert_eq!(shares.len(), 4, "{strategy}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_connection_puts_the_node_aside_at_once() {
    let (_registry, _selector, balancer) = ready("round_robin", &["a", "b"]).await;
    let picked = pick(&balancer);
    let dead = id(&picked);
    picked.failed(Failure::Connection);
    let shares = shares(&balancer, 100);
    assert!(!shares.contains_key(&dead), "{shares:?}");
}

/// Waits until the balancer knows so many nodes; the registry's event is on its way.
async fn until_seen(balancer: &Balancer<()>, nodes: usize) {
    for _ in 0..1000 {
        if balancer.seen() == nodes {
            return;
        }
        sleep(Duration::from_millis(1)).await;
    }
    panic!("{} nodes, not {nodes}", balancer.seen());
}

fn slot(balancer: &Balancer<()>, id: &str) -> Arc<Slot<()>> {
    let mut slots = balancer.slots().into_iter();
    slots.find(|slot| slot.node().id == id).unwrap()
}

/// Puts aside the nodes of these ids, each by a failed connection.
fn fail(balancer: &Balancer<()>, ids: &[&str]) {
    let mut left: Vec<&str> = ids.to_vec();
    for _ in 0..100_000 {
        if left.is_empty() {
            return;
        }
        let picked = pick(balancer);
        if let Some(place) = left.iter().position(|left| *left == id(&picked)) {
            left.remove(place);
            picked.failed(Failure::Connection);
        }
    }
    panic!("{left:?} are never picked");
}

#[tokio::test(start_paused = true)]
async fn round_robin_takes_turns_for_each_service_by_itself() {
    let (registry, selector, balancer) = ready("round_robin", &["a", "b", "c"]).await;
    let mut other = service(&["x", "y"]);
    other.name = "other".into();
    registry.register(&other, TTL).await.unwrap();
    let others = selector.service("other");
    others.ready(soon()).await.unwrap();
    let mut before = Vec::new();
    for _ in 0..30 {
        let picked = id(&pick(&balancer));
        // The last two differ from this one and from each other.
        before.push(picked);
        pick(&others).succeeded();
    }
    for three in before.windows(3) {
        assert!(three[0] != three[1] && three[1] != three[2] && three[0] != three[2]);
    }
    assert_eq!(shares(&others, 100)["x"], 50);
}

#[tokio::test(start_paused = true)]
async fn p2c_leaves_the_busy_alone() {
    let (_registry, _selector, balancer) = ready("p2c", &["a", "b", "c", "d"]).await;
    let busy = slot(&balancer, "a");
    let held: Vec<Picked<()>> = (0..50)
        .map(|_| Picked::new(Arc::clone(&busy), Instant::now(), pick::Kind::Well))
        .collect();
    let shares = shares(&balancer, 1000);
    assert!(!shares.contains_key("a"), "{shares:?}");
    // Calls that stay spread evenly: no node has more than two above another.
    drop(held);
    let calls: Vec<Picked<()>> = (0..400).map(|_| pick(&balancer)).collect();
    let mut busy: HashMap<String, i32> = HashMap::new();
    for call in &calls {
        *busy.entry(id(call)).or_default() += 1;
    }
    let (least, most) = (busy.values().min().unwrap(), busy.values().max().unwrap());
    assert!(most - least <= 4, "{busy:?}");
}

#[tokio::test(start_paused = true)]
async fn a_dead_node_gets_one_probe_a_second_at_most_and_fewer_later() {
    let (_registry, _selector, balancer) = ready("p2c", &["a", "b", "c"]).await;
    fail(&balancer, &["b"]);
    let dead = Instant::now();
    let mut probes = Vec::new();
    while dead.elapsed() < Duration::from_secs(300) {
        let calls: Vec<Picked<()>> = (0..10).map(|_| pick(&balancer)).collect();
        for call in calls {
            if id(&call) == "b" {
                assert!(call.is_probe());
                probes.push(dead.elapsed());
                call.failed(Failure::Connection);
            } else {
                assert!(!call.is_probe());
                call.succeeded();
            }
        }
        sleep(Duration::from_millis(10)).await;
    }
    assert!(probes[0] >= Duration::from_secs(1) && probes[0] < Duration::from_millis(1520));
    for two in probes.windows(2) {
        assert!(two[1] - two[0] >= Duration::from_secs(1), "{probes:?}");
    }
    // 1 + 2 + 4 + 8 + 16 + 32 s, then each minute or so.
    assert!((6..=11).contains(&probes.len()), "{probes:?}");
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_succeeds_brings_the_node_back() {
    let (_registry, _selector, balancer) = ready("p2c", &["a", "b"]).await;
    fail(&balancer, &["b"]);
    let no_b = shares(&balancer, 100);
    assert_eq!(no_b.get("b"), None);
    sleep(Duration::from_millis(1502)).await;
    let probe = pick(&balancer);
    assert!(probe.is_probe() && id(&probe) == "b");
    // While it is on its way, nobody else goes there.
    assert_eq!(shares(&balancer, 100).get("b"), None);
    probe.succeeded();
    assert!(shares(&balancer, 100)["b"] > 20);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_streams_brings_the_node_back_at_its_start() {
    let (_registry, _selector, balancer) = ready("p2c", &["a", "b"]).await;
    fail(&balancer, &["b"]);
    sleep(Duration::from_secs(2)).await;
    let mut stream = pick(&balancer);
    assert!(stream.is_probe());
    stream.connected();
    assert!(!stream.is_probe() && !stream.slot().is_aside());
    drop(stream);
    assert!(shares(&balancer, 100)["b"] > 20, "its end is no judgement");
}

#[tokio::test(start_paused = true)]
async fn a_probe_given_up_lets_another_follow() {
    let (_registry, _selector, balancer) = ready("p2c", &["a", "b"]).await;
    fail(&balancer, &["b"]);
    for _ in 0..5 {
        sleep(Duration::from_millis(1502)).await;
        let probe = pick(&balancer);
        assert!(probe.is_probe());
        drop(probe);
        assert_eq!(
            shares(&balancer, 100).get("b"),
            None,
            "not before a second has passed"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_probe_meets_decides() {
    for (failure, back) in [
        (Failure::Answered, true),
        (Failure::Lost, false),
        (Failure::TimedOut, false),
        (Failure::Connection, false),
    ] {
        let (_registry, _selector, balancer) = ready("p2c", &["a", "b"]).await;
        fail(&balancer, &["b"]);
        sleep(Duration::from_secs(2)).await;
        let probe = pick(&balancer);
        assert!(probe.is_probe());
        probe.failed(failure);
        assert_eq!(
            shares(&balancer, 100).contains_key("b"),
            back,
            "{failure:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn only_a_failed_connection_puts_a_node_aside() {
    let (_registry, _selector, balancer) = ready("random", &["a", "b"]).await;
    for failure in [Failure::Lost, Failure::TimedOut, Failure::Answered] {
        for _ in 0..100 {
            pick(&balancer).failed(failure);
        }
    }
    assert_eq!(shares(&balancer, 100).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_connection_made_behind_the_calls_counts_too() {
    let (_registry, _selector, balancer) = ready("p2c", &["a", "b"]).await;
    let picked = pick(&balancer);
    let (slot, node) = (Arc::clone(picked.slot()), id(&picked));
    picked.succeeded();
    slot.connection_failed();
    assert!(slot.is_aside());
    assert_eq!(shares(&balancer, 100).get(&node), None);
    slot.connected();
    assert!(shares(&balancer, 100).contains_key(&node));
}

#[tokio::test(start_paused = true)]
async fn the_state_of_a_node_survives_what_the_registry_says() {
    let (registry, _selector, balancer) = ready("p2c", &["a", "b"]).await;
    fail(&balancer, &["b"]);
    let held = pick(&balancer);
    let held_slot = Arc::clone(held.slot());
    let mut changed = service(&["a", "b"]);
    changed.version = "2".into();
    changed.nodes[0].metadata.insert("zone".into(), "x".into());
    changed.nodes[1].metadata.insert("zone".into(), "x".into());
    registry.register(&changed, TTL).await.unwrap();
    registry.register(&service(&["c", "d"]), TTL).await.unwrap();
    until_seen(&balancer, 4).await;
    assert_eq!(shares(&balancer, 100).get("b"), None, "still aside");
    assert_eq!(held_slot.state().in_flight(), 1);
    assert_eq!(held_slot.node().metadata["zone"], "x");
    // It goes, in both versions, and comes: its connections and what is known of it are as they were.
    registry.deregister(&service(&["a", "b"])).await.unwrap();
    registry.deregister(&changed).await.unwrap();
    until_seen(&balancer, 2).await;
    sleep(Duration::from_secs(60)).await;
    registry.register(&changed, TTL).await.unwrap();
    until_seen(&balancer, 4).await;
    assert!(Arc::ptr_eq(&slot(&balancer, "a"), &held_slot));
    // After the grace it is another node.
    registry.deregister(&changed).await.unwrap();
    until_seen(&balancer, 2).await;
    sleep(Duration::from_secs(300)).await;
    registry.register(&changed, TTL).await.unwrap();
    until_seen(&balancer, 4).await;
    assert!(!Arc::ptr_eq(&slot(&balancer, "a"), &held_slot));
}

#[tokio::test(start_paused = true)]
async fn each_departure_has_a_grace_of_its_own() {
    let (registry, _selector, balancer) = ready("p2c", &["a", "b"]).await;
    let first = slot(&balancer, "b");
    for _ in 0..10 {
        // In use, so that its watch does not go to sleep.
        pick(&balancer).succeeded();
        registry.deregister(&service(&["b"])).await.unwrap();
        until_seen(&balancer, 1).await;
        sleep(Duration::from_secs(100)).await;
        registry.register(&service(&["b"]), TTL).await.unwrap();
        until_seen(&balancer, 2).await;
        assert!(Arc::ptr_eq(&first, &slot(&balancer, "b")));
        sleep(Duration::from_secs(100)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn departed_nodes_are_kept_in_bounds() {
    let (registry, _selector, balancer) = ready("p2c", &["a"]).await;
    let first = Arc::downgrade(pick(&balancer).slot());
    registry.deregister(&service(&["a"])).await.unwrap();
    for n in 0..200 {
        registry
            .register(&service(&[&format!("n{n}")]), TTL)
            .await
            .unwrap();
        until_seen(&balancer, 1).await;
        registry
            .deregister(&service(&[&format!("n{n}")]))
            .await
            .unwrap();
        until_seen(&balancer, 0).await;
        sleep(Duration::from_millis(1)).await;
    }
    assert!(first.upgrade().is_none(), "the oldest is forgotten");
    assert!(balancer.remembered() <= 64, "{}", balancer.remembered());
}

#[tokio::test(start_paused = true)]
async fn never_more_than_half_are_put_aside_and_never_the_only_one() {
    let (_registry, _selector, balancer) = ready("p2c", &["a"]).await;
    for _ in 0..10 {
        let picked = pick(&balancer);
        assert!(!picked.is_probe());
        picked.failed(Failure::Connection);
    }
    let (_registry, _selector, balancer) = ready("random", &["a", "b", "c", "d", "e"]).await;
    fail(&balancer, &["a", "b", "c", "d"]);
    let shares = shares(&balancer, 1000);
    assert_eq!(
        shares.len(),
        3,
        "two aside, two in use though they are ill: {shares:?}"
    );
    assert!(shares.contains_key("e"));
}

#[tokio::test(start_paused = true)]
async fn in_panic_p2c_still_prefers_what_is_well() {
    let (_registry, _selector, balancer) = ready("p2c", &["a", "b", "c"]).await;
    fail(&balancer, &["a", "b"]);
    for _ in 0..100 {
        let picked = pick(&balancer);
        assert_eq!(id(&picked), "c");
        drop(picked);
    }
}

#[tokio::test(start_paused = true)]
async fn an_ill_node_in_use_that_answers_is_well_again() {
    let (_registry, _selector, balancer) = ready("random", &["a", "b"]).await;
    fail(&balancer, &["a"]);
    fail(&balancer, &["b"]);
    // One of them is in use; calls that began before it fell ill say nothing of it.
    let picked = pick(&balancer);
    let slot = Arc::clone(picked.slot());
    assert!(slot.is_aside() && !picked.is_probe());
    picked.succeeded();
    assert!(!slot.is_aside());
}

#[tokio::test(start_paused = true)]
async fn the_end_of_an_earlier_call_does_not_bring_a_node_back() {
    let (_registry, _selector, balancer) = ready("random", &["a", "b"]).await;
    let earlier = std::iter::repeat_with(|| pick(&balancer))
        .find(|p| id(p) == "a")
        .unwrap();
    fail(&balancer, &["a"]);
    earlier.succeeded();
    assert_eq!(shares(&balancer, 100).get("a"), None);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_does_not_go_where_the_call_has_been() {
    for strategy in ["random", "round_robin", "p2c"] {
        let names: Vec<String> = (0..12).map(|n| format!("n{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (_registry, _selector, balancer) = ready(strategy, &names).await;
        let mut tried = Tried::default();
        let mut been = std::collections::BTreeSet::new();
        for attempt in 0..12 {
            let call = call().with_tried(&tried);
            assert_eq!(call.tried(), attempt);
            let picked = balancer.pick(&call).unwrap();
            assert!(
                been.insert(id(&picked)),
                "{strategy}: {} again",
                id(&picked)
            );
            tried.add(&picked);
            picked.failed(Failure::Answered);
        }
        let none = balancer.pick(&call().with_tried(&tried)).unwrap_err();
        assert!(!none.is_unknown());
        assert_eq!(
            none.to_string(),
            "service \"greeter\" has no node to call in the registry memory: looked for 0.0 s; \
             nodes: 12 seen, 0 filtered out, 0 put aside, 12 tried"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_has_been_everywhere_is_told_when_the_next_probe_is() {
    let (_registry, _selector, balancer) = ready("p2c", &["a", "b"]).await;
    fail(&balancer, &["b"]);
    let mut tried = Tried::default();
    let picked = pick(&balancer);
    tried.add(&picked);
    picked.failed(Failure::Answered);
    let none = balancer.pick(&call().with_tried(&tried)).unwrap_err();
    let text = none.to_string();
    let numbers = "2 seen, 0 filtered out, 1 put aside, 1 tried, the next probe in 1.";
    assert!(text.contains(numbers), "{text}");
    sleep(Duration::from_millis(1502)).await;
    let probe = balancer.pick(&call().with_tried(&tried)).unwrap();
    assert!(probe.is_probe() && id(&probe) == "b");
}

#[tokio::test(start_paused = true)]
async fn filters_keep_what_they_name_and_share_the_nodes() {
    let (registry, selector, balancer) = ready("round_robin", &["a", "b"]).await;
    let mut second = service(&["c", "d"]);
    second.version = "2".into();
    second.nodes[0].metadata.insert("zone".into(), "x".into());
    registry.register(&second, TTL).await.unwrap();
    until_seen(&balancer, 4).await;
    let v2 = selector.filtered("greeter", &[Filter::version("2")]);
    assert_eq!(shares(&v2, 100).len(), 2);
    let c = selector.filtered(
        "greeter",
        &[Filter::label("zone", "x"), Filter::version("2")],
    );
    let same = selector.filtered(
        "greeter",
        &[Filter::version("2"), Filter::label("zone", "x")],
    );
    assert!(Arc::ptr_eq(&c, &same), "the order of filters is nothing");
    let by_c = pick(&c);
    assert_eq!(id(&by_c), "c");
    // Its state is the same whichever way it is reached.
    by_c.failed(Failure::Connection);
    assert_eq!(shares(&v2, 10).get("c"), None);
    assert_eq!(shares(&balancer, 100).get("c"), None);
    assert!(Arc::ptr_eq(&selector.filtered("greeter", &[]), &balancer));
    let none = selector.filtered("greeter", &[Filter::endpoint("Greeter.Hello")]);
    let error = none.pick(&call()).unwrap_err();
    assert!(error.is_unknown());
    let error = none.ready(soon()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "service \"greeter\" has no node to call in the registry memory: looked for 0.0 s; \
         nodes: 4 seen, 4 filtered out, 0 put aside, 0 tried"
    );
}

#[tokio::test(start_paused = true)]
async fn an_address_needs_no_registry() {
    let selector: Selector<()> = Selector::new(Arc::new(Memory::new()), Arc::new(P2c));
    let balancer = selector.address("10.0.0.7:5000");
    balancer.ready(soon()).await.unwrap();
    assert_eq!(pick(&balancer).slot().node().address, "10.0.0.7:5000");
    assert!(Arc::ptr_eq(&balancer, &selector.address("10.0.0.7:5000")));
}

struct Declines(Option<usize>);

impl Strategy for Declines {
    fn pick(&self, nodes: &Nodes<'_>, call: &CallInfo<'_>) -> Option<usize> {
        assert_eq!((nodes.len(), nodes.is_empty()), (2, false));
        assert_eq!(
            (call.service(), call.method()),
            ("greeter", "/Greeter/Hello")
        );
        assert!(call.metadata().is_none());
        let seen: Vec<&str> = nodes.iter().map(|node| node.node().id.as_str()).collect();
        assert_eq!(seen, ["a", "b"]);
        let first = nodes.get(0).unwrap();
        assert_eq!(
            (first.version(), first.in_flight(), first.is_well()),
            ("latest", 0, true)
        );
        assert!(first.latency().is_none() && nodes.get(2).is_none());
        self.0
    }
}

#[tokio::test(start_paused = true)]
async fn a_strategy_that_chooses_nothing_or_nobody_fails_the_attempt() {
    for answer in [None, Some(2), Some(usize::MAX)] {
        let registry = Memory::new();
        registry.register(&service(&["a", "b"]), TTL).await.unwrap();
        let selector: Selector<()> = Selector::new(Arc::new(registry), Arc::new(Declines(answer)));
        let balancer = selector.service("greeter");
        balancer.ready(soon()).await.unwrap();
        let error = balancer.pick(&call()).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("the selector's strategy chose none"),
            "{error}"
        );
        assert!(!error.is_unknown());
    }
}

#[tokio::test(start_paused = true)]
async fn latency_is_a_moving_average_of_what_succeeded() {
    let (_registry, _selector, balancer) = ready("p2c", &["a"]).await;
    let slot = Arc::clone(pick(&balancer).slot());
    let call = async |millis, failure: Option<Failure>| {
        let picked = pick(&balancer);
        sleep(Duration::from_millis(millis)).await;
        match failure {
            None => picked.succeeded(),
            Some(failure) => picked.failed(failure),
        }
        slot.state().latency()
    };
    assert_eq!(call(500, Some(Failure::Answered)).await, None);
    assert_eq!(call(80, None).await, Some(Duration::from_millis(80)));
    assert_eq!(call(160, None).await, Some(Duration::from_millis(90)));
    assert_eq!(
        call(500, Some(Failure::TimedOut)).await,
        Some(Duration::from_millis(90))
    );
}

#[tokio::test(start_paused = true)]
async fn the_selector_forgets_services_that_nobody_holds() {
    let selector: Selector<()> = Selector::new(Arc::new(Memory::new()), Arc::new(P2c));
    let held = selector.service("held");
    for n in 0..3000 {
        let _dropped = selector.service(&format!("s{n}"));
        let _dropped = selector.address(&format!("10.0.0.7:{n}"));
    }
    assert_eq!(selector.sizes(), (1024, 1024));
    assert!(Arc::ptr_eq(&held, &selector.service("held")));
    for n in 0..100 {
        let _dropped = selector.filtered("held", &[Filter::version(n.to_string())]);
    }
    let filtered = selector.filtered("held", &[Filter::version("99")]);
    assert!(Arc::ptr_eq(
        &filtered,
        &selector.filtered("held", &[Filter::version("99")])
    ));
}
