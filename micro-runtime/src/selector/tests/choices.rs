//! Zones, subsets and keys.

use std::collections::BTreeSet;

use super::*;
use crate::metadata::Metadata;
use crate::selector::ByKey;

/// A selector over nodes of these zones.
async fn zoned(nodes: &[(&str, &str)]) -> (Memory, Selector<()>) {
    let registry = Memory::new();
    let ids: Vec<&str> = nodes.iter().map(|(id, _)| *id).collect();
    let mut service = service(&ids);
    for (node, (_, zone)) in service.nodes.iter_mut().zip(nodes) {
        node.metadata.insert("zone".into(), (*zone).into());
    }
    registry.register(&service, TTL).await.unwrap();
    let selector = Selector::new(Arc::new(registry.clone()), by_name("random"), || ());
    selector.service("greeter").ready(soon()).await.unwrap();
    (registry, selector)
}

#[tokio::test(start_paused = true)]
async fn the_own_zone_comes_first_and_spills_over_by_health() {
    fastrand::seed(3);
    let nodes: Vec<(String, &str)> = (0..10)
        .map(|n| (format!("a{n}"), "a"))
        .chain((0..10).map(|n| (format!("b{n}"), "b")))
        .collect();
    let nodes: Vec<(&str, &str)> = nodes
        .iter()
        .map(|(id, zone)| (id.as_str(), *zone))
        .collect();
    let (_registry, selector) = zoned(&nodes).await;
    let in_a = selector.chosen("greeter", Choice::default().zone(Some("a")));
    let share = |balancer: &Balancer<()>| {
        let seen = shares(balancer, 2_000);
        seen.iter()
            .filter(|(id, _)| id.starts_with('a'))
            .map(|(_, n)| n)
            .sum::<usize>()
    };
    assert_eq!(share(&in_a), 2_000);
    // 8 of 10 can bear it: 1.4 × 0.8 > 1.
    fail(&in_a, &["a0", "a1"]);
    assert_eq!(share(&in_a), 2_000);
    // 6 of 10 take 84 %, and 6 of the 16 that are left of all the rest.
    fail(&in_a, &["a2", "a3"]);
    let found = share(&in_a);
    assert!(found.abs_diff(1_800) < 60, "{found}");
    // 4 of 10 are less than half: all nodes are equal.
    fail(&in_a, &["a4", "a5"]);
    let found = share(&in_a);
    assert!(found.abs_diff(571) < 100, "{found}");
    // Without a zone, and in one that has no node.
    let plain = share(&selector.service("greeter"));
    assert!(plain.abs_diff(571) < 100, "{plain}");
    let elsewhere = selector.chosen("greeter", Choice::default().zone(Some("c")));
    assert_eq!(shares(&elsewhere, 1_000).len(), 14);
}

#[tokio::test(start_paused = true)]
async fn a_further_attempt_leaves_the_zone_when_it_has_been_everywhere_in_it() {
    let (_registry, selector) = zoned(&[("a0", "a"), ("a1", "a"), ("b0", "b")]).await;
    let in_a = selector.chosen("greeter", Choice::default().zone(Some("a")));
    let mut tried = Tried::default();
    let mut been = Vec::new();
    for _ in 0..3 {
        let picked = in_a.pick(&call().with_tried(&tried)).unwrap();
        been.push(id(&picked));
        tried.add(&picked);
        picked.failed(Failure::Answered);
    }
    been[..2].sort();
    assert_eq!(been, ["a0", "a1", "b0"]);
}

#[tokio::test(start_paused = true)]
async fn a_subset_keeps_to_itself() {
    let ids: Vec<String> = (0..100).map(|n| format!("n{n}")).collect();
    let nodes: Vec<(&str, &str)> = ids.iter().map(|id| (id.as_str(), "a")).collect();
    let (registry, selector) = zoned(&nodes).await;
    let few = selector.chosen("greeter", Choice::default().subset(Some(20)));
    let seen = |balancer: &Balancer<()>| -> BTreeSet<String> {
        shares(balancer, 2_000).into_keys().collect()
    };
    let before = seen(&few);
    assert_eq!(before.len(), 20);
    let gone = before.first().unwrap().clone();
    registry.deregister(&service(&[&gone])).await.unwrap();
    until_seen(&few, 99).await;
    let after = seen(&few);
    assert_eq!((after.len(), after.intersection(&before).count()), (20, 19));
}

/// Where a key goes.
fn to(balancer: &Balancer<()>, key: &str) -> Picked<()> {
    let mut metadata = Metadata::new();
    metadata.insert("user-id", key);
    balancer.pick(&call().with_metadata(&metadata)).unwrap()
}

async fn by_key(nodes: &[&str]) -> (Memory, Arc<Balancer<()>>) {
    let registry = Memory::new();
    registry.register(&service(nodes), TTL).await.unwrap();
    let strategy = Arc::new(ByKey::of_metadata("user-id"));
    let selector = Selector::new(Arc::new(registry.clone()), strategy, || ());
    let balancer = selector.service("greeter");
    balancer.ready(soon()).await.unwrap();
    (registry, balancer)
}

#[tokio::test(start_paused = true)]
async fn a_key_stays_at_its_node_when_others_come_and_go() {
    let (registry, balancer) = by_key(&["a", "b", "c", "d"]).await;
    let places = || -> Vec<String> {
        let place = |key: u32| {
            let picked = to(&balancer, &key.to_string());
            let id = id(&picked);
            picked.succeeded();
            id
        };
        (0..2_000).map(place).collect()
    };
    let before = places();
    assert_eq!(before, places());
    for node in ["a", "b", "c", "d"] {
        let share = before.iter().filter(|place| *place == node).count();
        assert!(share.abs_diff(500) < 100, "{node}: {share}");
    }
    registry.register(&service(&["e"]), TTL).await.unwrap();
    until_seen(&balancer, 5).await;
    let after = places();
    let moved: Vec<_> = before.iter().zip(&after).filter(|(b, a)| b != a).collect();
    assert!(moved.iter().all(|(_, to)| *to == "e"));
    assert!(moved.len().abs_diff(400) < 90, "{}", moved.len());
    registry.deregister(&service(&["e"])).await.unwrap();
    until_seen(&balancer, 4).await;
    assert_eq!(places(), before);
    // Only the keys of one that is put aside move.
    fail(&balancer, &["b"]);
    for (before, after) in before.iter().zip(places()) {
        assert!(*before == after || before == "b");
        assert_ne!(after, "b");
    }
}

#[tokio::test(start_paused = true)]
async fn no_node_gets_more_than_its_bound() {
    let (_registry, balancer) = by_key(&["a", "b", "c", "d"]).await;
    let calls: Vec<Picked<()>> = (0..400).map(|_| to(&balancer, "the same")).collect();
    let mut busy: HashMap<String, usize> = HashMap::new();
    for call in &calls {
        *busy.entry(id(call)).or_default() += 1;
    }
    // A quarter, and a quarter of that.
    assert!(busy.values().all(|busy| *busy <= 126), "{busy:?}");
    assert_eq!(busy.values().max(), Some(&125));
    drop(calls);
    // Few calls at once stay together.
    let few: BTreeSet<String> = (0..8)
        .map(|_| to(&balancer, "the same"))
        .collect::<Vec<_>>()
        .iter()
        .map(id)
        .collect();
    assert_eq!(few.len(), 1);
    // Without a key, anywhere.
    assert_eq!(shares(&balancer, 400).len(), 4);
}
