//! Which node each strategy picks, and what it sees of them.

use super::*;

#[tokio::test(start_paused = true)]
async fn every_strategy_reaches_every_node() {
    for strategy in ["random", "round_robin", "weighted", "p2c"] {
        let (_registry, _selector, balancer) = ready(strategy, &["a", "b", "c", "d"]).await;
        let shares = shares(&balancer, 4000);
        for (node, share) in &shares {
            assert!((850..=1150).contains(share), "{strategy}: {node} {share}");
        }
        assert_eq!(shares.len(), 4, "{strategy}");
    }
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
    shares(&balancer, 100);
    let held: Vec<Picked<()>> = (0..50)
        .map(|_| Picked::new(Arc::clone(&busy), Instant::now(), pick::Kind::Well))
        .collect();
    let shares = shares(&balancer, 1000);
    assert!(!shares.contains_key("a"), "{shares:?}");
    // Calls that stay spread evenly. By chance alone the nodes would be some twenty apart.
    drop(held);
    let calls: Vec<Picked<()>> = (0..400).map(|_| pick(&balancer)).collect();
    let mut busy: HashMap<String, i32> = HashMap::new();
    for call in &calls {
        *busy.entry(id(call)).or_default() += 1;
    }
    let (least, most) = (busy.values().min().unwrap(), busy.values().max().unwrap());
    assert!(most - least <= 8, "{busy:?}");
}

/// What nobody calls nobody knows: a node that was slow once is called now and then all the same, as long as none of
/// those calls waits there.
#[tokio::test(start_paused = true)]
async fn p2c_looks_now_and_then_at_what_was_slow() {
    let (_registry, _selector, balancer) = ready("p2c", &["a", "b", "c", "d"]).await;
    shares(&balancer, 100);
    let slow = slot(&balancer, "a");
    let picked = Picked::new(Arc::clone(&slow), Instant::now(), pick::Kind::Well);
    sleep(Duration::from_millis(200)).await;
    picked.succeeded();
    // Half of the comparisons have it among them, and one of 128 of those goes there: 0.39 %.
    let found = shares(&balancer, 20_000);
    let share = found.get("a").copied().unwrap_or_default();
    assert!((30..=140).contains(&share), "{found:?}");
    // One call waits there: no other one joins it.
    let waits = Picked::new(slow, Instant::now(), pick::Kind::Well);
    let found = shares(&balancer, 20_000);
    assert!(!found.contains_key("a"), "{found:?}");
    drop(waits);
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

/// Two of three are more than half: one of them stays in use, but gets no calls by which it could show that it is well.
#[tokio::test(start_paused = true)]
async fn what_stays_in_use_in_panic_is_probed_all_the_same() {
    let (_registry, _selector, balancer) = ready("p2c", &["a", "b", "c"]).await;
    fail(&balancer, &["a", "b"]);
    for back in ["a", "b"] {
        let mut answered = false;
        // For 100 s: the longest pause between two probes is 90.
        for _ in 0..5_000 {
            let picked = pick(&balancer);
            match id(&picked).as_str() {
                node if node == back => {
                    answered = true;
                    picked.succeeded();
                }
                "c" => picked.succeeded(),
                _ => picked.failed(Failure::Connection),
            }
            tokio::time::advance(Duration::from_millis(20)).await;
        }
        assert!(answered, "{back} is never called");
        fail(&balancer, &[back]);
    }
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
        let selector: Selector<()> =
            Selector::new(Arc::new(registry), Arc::new(Declines(answer)), || ());
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
async fn latency_is_of_replies_and_of_what_is_longer_than_a_reply() {
    let (_registry, _selector, balancer) = ready("p2c", &["a"]).await;
    let state = Arc::clone(pick(&balancer).slot().state());
    let call = async |millis, failure: Option<Failure>| {
        let mut picked = pick(&balancer);
        // It waits for a connection first.
        sleep(Duration::from_secs(1)).await;
        picked.sent();
        sleep(Duration::from_millis(millis)).await;
        match failure {
            None => picked.succeeded(),
            Some(failure) => picked.failed(failure),
        }
        state
            .load
            .latency(state.clock().nanos())
            .map(|nanos| (nanos / 1e6).round())
    };
    assert_eq!(call(500, Some(Failure::Answered)).await, None);
    assert_eq!(call(80, None).await, Some(80.0));
    assert_eq!(call(70, None).await, Some(70.0));
    assert_eq!(call(90, None).await, Some(70.0));
    // Known from now on: a peak counts at once.
    assert_eq!(call(160, None).await, Some(160.0));
    assert_eq!(call(1_000, Some(Failure::TimedOut)).await, Some(1_000.0));
}

/// Nodes with these texts as weights.
async fn weighted(weights: &[(&str, &str)]) -> (Memory, Arc<Balancer<()>>) {
    let registry = Memory::new();
    let ids: Vec<&str> = weights.iter().map(|(id, _)| *id).collect();
    let mut service = service(&ids);
    for (node, (_, weight)) in service.nodes.iter_mut().zip(weights) {
        if !weight.is_empty() {
            node.metadata.insert("weight".into(), (*weight).into());
        }
    }
    registry.register(&service, TTL).await.unwrap();
    let strategy = by_name("weighted");
    let selector = Selector::new(Arc::new(registry.clone()), strategy, || ());
    let balancer = selector.service("greeter");
    balancer.ready(soon()).await.unwrap();
    (registry, balancer)
}

#[tokio::test(start_paused = true)]
async fn weights_are_followed() {
    fastrand::seed(7);
    // One that says nothing, and one that says nonsense, count as 1.
    let weights = [
        ("a", "3"),
        ("b", "0.5"),
        ("c", ""),
        ("d", "much"),
        ("e", "0"),
    ];
    let (_registry, balancer) = weighted(&weights).await;
    let seen = shares(&balancer, 11_000);
    for (id, expected) in [("a", 6_000), ("b", 1_000), ("c", 2_000), ("d", 2_000)] {
        let found = seen[id];
        assert!(found.abs_diff(expected) < 200, "{id}: {found}");
    }
    assert_eq!(seen.get("e"), None);
    // The others share what one aside leaves.
    fail(&balancer, &["a"]);
    let seen = shares(&balancer, 5_000);
    assert!(
        !seen.contains_key("a") && seen["b"].abs_diff(1_000) < 150,
        "{seen:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn where_every_weight_is_zero_all_are_equal() {
    let (_registry, balancer) = weighted(&[("a", "0"), ("b", "0")]).await;
    assert_eq!(shares(&balancer, 100).len(), 2);
    // Also if it is so of those that are left.
    let (_registry, balancer) = weighted(&[("a", "1"), ("b", "0")]).await;
    assert_eq!(shares(&balancer, 100).get("b"), None);
    fail(&balancer, &["a"]);
    assert_eq!(shares(&balancer, 100)["b"], 100);
}

#[tokio::test(start_paused = true)]
async fn weights_count_among_those_that_the_call_has_not_been_to() {
    let weights = [("a", "5"), ("b", "1"), ("c", "3"), ("d", "1"), ("e", "0")];
    for seed in 0..200 {
        fastrand::seed(seed);
        let (_registry, balancer) = weighted(&weights).await;
        let mut tried = Tried::default();
        let mut been = Vec::new();
        for _ in 0..weights.len() {
            let picked = balancer.pick(&call().with_tried(&tried)).unwrap();
            been.push(id(&picked));
            tried.add(&picked);
            picked.failed(Failure::Answered);
        }
        // Each once, and the one without weight last.
        assert_eq!(been.pop().as_deref(), Some("e"));
        been.sort();
        assert_eq!(been.concat(), "abcd");
    }
}
