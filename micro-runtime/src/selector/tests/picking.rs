//! From a name to a node: look-up, filters, further attempts.

use super::*;

#[tokio::test(start_paused = true)]
async fn an_unknown_service_is_looked_up_and_then_picked() {
    let registry = Memory::new();
    let selector: Selector<()> = Selector::new(Arc::new(registry.clone()), Arc::new(P2c), || ());
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
async fn an_attempt_does_not_go_where_the_call_has_been() {
    for strategy in ["random", "round_robin", "weighted", "p2c"] {
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
    let selector: Selector<()> = Selector::new(Arc::new(Memory::new()), Arc::new(P2c), || ());
    let balancer = selector.address("10.0.0.7:5000");
    balancer.ready(soon()).await.unwrap();
    assert_eq!(pick(&balancer).slot().node().address, "10.0.0.7:5000");
    assert!(Arc::ptr_eq(&balancer, &selector.address("10.0.0.7:5000")));
}
