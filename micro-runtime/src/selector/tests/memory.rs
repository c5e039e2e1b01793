//! What is remembered of nodes and services, and for how long.

use super::*;

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
    assert_eq!(held_slot.state().load.in_flight(), 1);
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
async fn the_selector_forgets_services_that_nobody_holds() {
    let selector: Selector<()> = Selector::new(Arc::new(Memory::new()), Arc::new(P2c), || ());
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
