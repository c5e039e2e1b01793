//! Versions that share the calls, zones, subsets and keys.

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

/// A selector over nodes of three versions, in the zones a and b.
async fn versioned() -> (Memory, Selector<()>) {
    let registry = Memory::new();
    let one = ["old0", "old1", "old2", "old3"];
    for (version, ids) in [("1", &one[..]), ("2", &["new0", "new1"]), ("3", &["next"])] {
        let mut service = service(ids);
        service.version = version.into();
        for (node, zone) in service.nodes.iter_mut().zip(["a", "b", "a", "b"]) {
            node.metadata.insert("zone".into(), zone.into());
        }
        registry.register(&service, TTL).await.unwrap();
    }
    let selector = Selector::new(Arc::new(registry.clone()), by_name("random"), || ());
    selector.service("greeter").ready(soon()).await.unwrap();
    (registry, selector)
}

/// The same, and how it splits calls among versions.
async fn split(versions: &[(&str, u32)], zone: Option<&str>) -> (Memory, Arc<Balancer<()>>) {
    let (registry, selector) = versioned().await;
    let versions: Vec<(Box<str>, u32)> = versions.iter().map(|(v, w)| ((*v).into(), *w)).collect();
    let choice = Choice::default().split(&versions).zone(zone);
    (registry, selector.chosen("greeter", choice))
}

fn share(balancer: &Balancer<()>, prefix: &str) -> usize {
    let seen = shares(balancer, 2_000);
    let of = seen.iter().filter(|(id, _)| id.starts_with(prefix));
    of.map(|(_, n)| n).sum()
}

#[tokio::test(start_paused = true)]
async fn versions_share_the_calls_by_weight_and_health() {
    fastrand::seed(5);
    let (_registry, balancer) = split(&[("1", 95), ("2", 5), ("3", 0), ("4", 0)], None).await;
    let found = share(&balancer, "new");
    assert!(found.abs_diff(100) < 40, "{found}");
    assert_eq!(share(&balancer, "next"), 0);
    // One of two is aside: 1.4 × 0.5 of its 5 %.
    fail(&balancer, &["new0"]);
    let found = share(&balancer, "new");
    assert!(found.abs_diff(70) < 35, "{found}");
    // The last node of a version is not put aside, but calls go where nodes are well.
    fail(&balancer, &["new1"]);
    assert_eq!(share(&balancer, "new"), 0);
    // When everything is out of order any node of these versions may be well.
    fail(&balancer, &["old0", "old1", "old2"]);
    assert_eq!(share(&balancer, ""), 2_000);
    assert_eq!(share(&balancer, "next"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_version_of_which_no_node_was_well_gets_its_share_back() {
    fastrand::seed(5);
    for canary in ["2", "3"] {
        let (_registry, balancer) = split(&[("1", 1), (canary, 1)], None).await;
        let ids = if canary == "2" {
            &["new0", "new1"][..]
        } else {
            &["next"]
        };
        fail(&balancer, ids);
        assert_eq!(share(&balancer, "old"), 2_000);
        tokio::time::advance(Duration::from_secs(3)).await;
        // Their probes.
        shares(&balancer, 100);
        let found = share(&balancer, "old");
        assert!(found.abs_diff(1_000) < 100, "{found}");
    }
}

/// Each version has a subset of its own, of which the others know nothing.
#[tokio::test(start_paused = true)]
async fn a_subset_of_a_version_gets_its_share_back() {
    for seed in 0..10 {
        fastrand::seed(seed);
        let (_registry, selector) = versioned().await;
        let versions = [("1".into(), 1), ("2".into(), 1)];
        let choice = Choice::default().split(&versions).subset(Some(1));
        let balancer = selector.chosen("greeter", choice);
        let seen = shares(&balancer, 100);
        assert_eq!(seen.len(), 2, "{seen:?}");
        let new = seen.keys().find(|id| id.starts_with("new")).unwrap();
        fail(&balancer, &[new]);
        assert_eq!(share(&balancer, "old"), 2_000);
        tokio::time::advance(Duration::from_secs(3)).await;
        shares(&balancer, 100);
        let found = share(&balancer, "new");
        assert!(found.abs_diff(1_000) < 150, "{found}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_version_of_a_split_goes_by_zones_itself() {
    fastrand::seed(5);
    let (_registry, balancer) = split(&[("1", 1), ("2", 1)], Some("a")).await;
    let seen = shares(&balancer, 2_000);
    let ids: BTreeSet<&str> = seen.keys().map(String::as_str).collect();
    assert_eq!(ids, BTreeSet::from(["old0", "old2", "new0"]));
    assert!(seen["new0"].abs_diff(1_000) < 100, "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn a_further_attempt_of_a_split_call_may_go_to_another_version() {
    let (_registry, balancer) = split(&[("2", 1), ("3", 1)], None).await;
    let mut tried = Tried::default();
    let mut been = BTreeSet::new();
    for _ in 0..3 {
        let picked = balancer.pick(&call().with_tried(&tried)).unwrap();
        been.insert(id(&picked));
        tried.add(&picked);
        picked.failed(Failure::Answered);
    }
    assert_eq!(been.len(), 3);
    assert!(balancer.pick(&call().with_tried(&tried)).is_err());
}

#[tokio::test(start_paused = true)]
async fn versions_that_are_not_there_get_nothing() {
    let (_registry, balancer) = split(&[("2", 1), ("9", 99)], None).await;
    assert_eq!(share(&balancer, "new"), 2_000);
    for nobody in [&[("9", 1)][..], &[("1", 0)]] {
        let (_registry, balancer) = split(nobody, None).await;
        assert!(balancer.pick(&call()).is_err());
    }
}
