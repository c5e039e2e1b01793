//! News: how soon, and how many.

use std::collections::BTreeMap;
use std::time::Duration;

use micro_runtime::registry::{Action, Endpoint, Registry, Value};
use tokio::time::{Instant, timeout};

use crate::agent::Agent;
use crate::{PATIENCE, next, service};

const TTL: Duration = Duration::from_secs(90);

#[tokio::test]
async fn news_come_at_once() {
    let agent = Agent::dev().await;
    let (ours, theirs) = (agent.consul(), agent.consul());
    let mut watcher = theirs.watch(Some("news")).await.unwrap();
    let mut times = Vec::new();
    for round in 0..20 {
        let service = service("news", &format!("{round}"));
        let id = &service.nodes[0].id;
        let begun = Instant::now();
        ours.register(&service, TTL).await.unwrap();
        assert_eq!(next(&mut watcher).await, (true, id.clone()));
        times.push(begun.elapsed());
        let begun = Instant::now();
        ours.deregister(&service).await.unwrap();
        assert_eq!(next(&mut watcher).await, (false, id.clone()));
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    let (median, most) = (times[times.len() / 2], times[times.len() - 1]);
    println!("consul: a change is seen after {median:.0?} (median), {most:.0?} at most");
    // The least time between two queries, and room for a busy machine.
    assert!(median < Duration::from_secs(1), "{times:?}");
}

#[tokio::test]
async fn a_hundred_services_change_while_all_are_watched() {
    const SERVICES: usize = 100;
    let agent = Agent::dev().await;
    let (ours, theirs) = (agent.consul(), agent.consul());
    let services: Vec<_> = (0..SERVICES)
        .map(|number| service(&format!("many{number}"), "a"))
        .collect();
    // Half of them are there at the start.
    for service in &services[..SERVICES / 2] {
        ours.register(service, TTL).await.unwrap();
    }
    let mut watcher = theirs.watch(None).await.unwrap();
    for service in &services[SERVICES / 2..] {
        ours.register(service, TTL).await.unwrap();
    }
    let mut known = BTreeMap::new();
    let mut view = async |what: &str, holds: &dyn Fn(&BTreeMap<String, String>) -> bool| {
        let begun = Instant::now();
        while !holds(&known) {
            let event = timeout(PATIENCE, watcher.next())
                .await
                .unwrap_or_else(|_| panic!("{what}: no event in time, {} known", known.len()))
                .expect("the watch goes on")
                .expect("no error");
            for node in event.service.nodes {
                let zone = node.metadata.get("zone").cloned().unwrap_or_default();
                match event.action {
                    Action::Delete => known.remove(&node.id),
                    Action::Create | Action::Update => known.insert(node.id, zone),
                };
            }
        }
        println!(
            "consul: {what} of {SERVICES} services seen after {:.1?}",
            begun.elapsed()
        );
    };
    let ours_only = |known: &BTreeMap<String, String>, zone: &str| {
        known
            .iter()
            .filter(|(id, found)| id.starts_with("many") && *found == zone)
            .count()
    };
    view("the arrival", &|known| ours_only(known, "") == SERVICES).await;
    for service in &services {
        let mut changed = service.clone();
        changed.nodes[0].metadata.insert("zone".into(), "b".into());
        ours.register(&changed, TTL).await.unwrap();
    }
    view("a change", &|known| ours_only(known, "b") == SERVICES).await;
    for service in &services {
        ours.deregister(service).await.unwrap();
    }
    view("the departure", &|known| ours_only(known, "b") == 0).await;
}

/// More watches than an agent takes connections of one address (200).
#[tokio::test]
async fn many_watches_share_the_connections_that_an_agent_allows() {
    const WATCHES: usize = 250;
    let agent = Agent::dev().await;
    let (ours, theirs) = (agent.consul(), agent.consul());
    let mut watchers = Vec::new();
    for number in 0..WATCHES {
        let name = format!("crowd{number}");
        watchers.push(theirs.watch(Some(&name)).await.unwrap());
    }
    for number in [0, 99, 249] {
        let service = service(&format!("crowd{number}"), "a");
        let begun = Instant::now();
        ours.register(&service, TTL).await.unwrap();
        let came = next(&mut watchers[number]).await;
        assert_eq!(came, (true, service.nodes[0].id.clone()));
        println!(
            "consul: with {WATCHES} watches a change is seen after {:.1?}",
            begun.elapsed()
        );
    }
}

/// More endpoints than anybody has.
#[tokio::test]
async fn a_node_of_many_endpoints() {
    let agent = Agent::dev().await;
    let (ours, theirs) = (agent.consul(), agent.consul());
    let mut service = service("wide", "a");
    let value = |name: &str| Value {
        name: name.to_owned(),
        kind: "string".to_owned(),
        values: Vec::new(),
    };
    service.endpoints = (0..300)
        .map(|number| Endpoint {
            name: format!("Wide.Method{number:03}"),
            request: Some(Value {
                values: (0..20)
                    .map(|field| value(&format!("field{number}_{field}")))
                    .collect(),
                ..value("Request")
            }),
            response: Some(value("Response")),
            metadata: BTreeMap::new(),
        })
        .collect();
    ours.register(&service, TTL).await.unwrap();
    let mut watcher = theirs.watch(Some("wide")).await.unwrap();
    assert_eq!(next(&mut watcher).await, (true, "wide-a".to_owned()));
    let found = theirs.get("wide").await.unwrap();
    assert_eq!(found[0].endpoints.len(), 300);
    let first = &found[0].endpoints[0];
    assert_eq!(
        first.request.as_ref().map(|value| value.kind.as_str()),
        Some("string")
    );
    let log = agent.server.log();
    assert!(!log.contains("large raft entry"), "{log}");
}
