//! Agents that fail, and tokens.

use std::time::Duration;

use micro_runtime::ErrorKind;
use micro_runtime::registry::{Consul, Registry};
use micro_tests::proxy::Proxy;
use tokio::time::{Instant, sleep, timeout};

use crate::agent::{Agent, ROOT};
use crate::{PATIENCE, ids, next, service};

const TTL: Duration = Duration::from_secs(90);

/// How soon after its agent a node is back.
const BACK: Duration = Duration::from_secs(3);

/// Waits until the service has these nodes.
async fn has(registry: &Consul, name: &str, nodes: &[&str]) {
    let begun = Instant::now();
    loop {
        let found = registry.get(name).await.map(|found| ids(&found));
        if found.as_ref().is_ok_and(|found| found == nodes) {
            return;
        }
        assert!(
            begun.elapsed() < PATIENCE,
            "expected {nodes:?}, found {found:?}"
        );
        sleep(Duration::from_millis(10)).await;
    }
}

/// The agent is killed for some seconds; whatever it remembers, the nodes are there again soon after it, and no
/// watcher is told that they were gone.
async fn survives_its_agent(mut agent: Agent) {
    let (ours, theirs) = (agent.consul(), agent.consul());
    let name = "survivor";
    for node in ["a", "b", "c"] {
        ours.register(&service(name, node), TTL).await.unwrap();
    }
    let nodes = ["survivor-a", "survivor-b", "survivor-c"];
    has(&theirs, name, &nodes).await;
    let mut watcher = theirs.watch(Some(name)).await.unwrap();
    for _ in 0..2 {
        agent.server.kill9().await;
        sleep(Duration::from_secs(2)).await;
        let error = theirs.get(name).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Registry);
        assert!(error.to_string().contains("cannot connect"), "{error}");
        agent.server.restart().await;
        let back = Instant::now();
        has(&theirs, name, &nodes).await;
        let passed = back.elapsed();
        println!("consul: three nodes are back {passed:.1?} after their agent");
        assert!(passed < BACK, "{passed:?}");
    }
    // A node that comes now is the next event of nodes: the watch goes on, and nothing was deleted.
    ours.register(&service(name, "d"), TTL).await.unwrap();
    loop {
        let (came, id) = next(&mut watcher).await;
        assert!(came, "{id} is said to be gone");
        if id == "survivor-d" {
            break;
        }
    }
    ours.deregister(&service(name, "d")).await.unwrap();
    assert_eq!(next(&mut watcher).await, (false, "survivor-d".to_owned()));
}

#[tokio::test]
async fn an_agent_is_killed_and_has_forgotten() {
    survives_its_agent(Agent::dev().await).await;
}

#[tokio::test]
async fn an_agent_is_killed_and_remembers() {
    survives_its_agent(Agent::lasting().await).await;
}

#[tokio::test]
async fn an_agent_that_is_not_there_yet() {
    let mut agent = Agent::dev().await;
    agent.server.kill9().await;
    let ours = agent.consul();
    ours.register(&service("early", "a"), TTL)
        .await
        .unwrap_err();
    agent.server.restart().await;
    let back = Instant::now();
    has(&agent.consul(), "early", &["early-a"]).await;
    assert!(back.elapsed() < BACK);
    ours.deregister(&service("early", "a")).await.unwrap();
    has(&agent.consul(), "early", &[]).await;
}

#[tokio::test]
async fn what_somebody_else_takes_out_is_back_at_once() {
    let agent = Agent::dev().await;
    let (ours, theirs) = (agent.consul(), agent.consul());
    ours.register(&service("taken", "a"), TTL).await.unwrap();
    has(&theirs, "taken", &["taken-a"]).await;
    theirs.deregister(&service("taken", "a")).await.unwrap();
    let gone = Instant::now();
    has(&theirs, "taken", &["taken-a"]).await;
    assert!(gone.elapsed() < BACK, "{:?}", gone.elapsed());
    // Its owner takes it out for good.
    ours.deregister(&service("taken", "a")).await.unwrap();
    has(&theirs, "taken", &[]).await;
    sleep(Duration::from_secs(2)).await;
    has(&theirs, "taken", &[]).await;
}

#[tokio::test]
async fn a_stopped_agent_is_an_error_in_time_and_a_second_one_takes_over() {
    let agent = Agent::dev().await;
    let spare = Proxy::to(agent.address()).await;
    let name = "stopped";
    let ours = agent.consul();
    ours.register(&service(name, "a"), TTL).await.unwrap();
    has(&ours, name, &["stopped-a"]).await;
    let stopped = Proxy::to(agent.address()).await;
    let one = Consul::new([stopped.address()]);
    let two = Consul::new([stopped.address(), spare.address()]);
    let mut watcher = two.watch(Some(name)).await.unwrap();
    assert!(next(&mut watcher).await.0);
    // What passes through it goes nowhere, and its connections stay open.
    stopped.hold();
    let begun = Instant::now();
    let error = one.get(name).await.unwrap_err();
    assert!(error.to_string().contains("no answer within"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(5));
    let begun = Instant::now();
    assert_eq!(ids(&two.get(name).await.unwrap()), ["stopped-a"]);
    assert!(begun.elapsed() < Duration::from_secs(4));
    // The agent itself stops, and goes on.
    stopped.heal();
    agent.server.pause();
    let begun = Instant::now();
    let error = ours.get(name).await.unwrap_err();
    assert!(error.to_string().contains("no answer within"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(5));
    agent.server.resume();
    has(&ours, name, &["stopped-a"]).await;
    // Its watchers saw nothing of it.
    ours.register(&service(name, "b"), TTL).await.unwrap();
    assert_eq!(next(&mut watcher).await, (true, "stopped-b".to_owned()));
}

#[tokio::test]
async fn an_agent_that_slept_through_the_renewals_takes_nothing_away() {
    let agent = Agent::dev().await;
    let (ours, theirs) = (agent.consul(), agent.consul());
    let name = "slept";
    let ttl = Duration::from_secs(2);
    let services: Vec<_> = ["a", "b", "c", "d"]
        .iter()
        .map(|node| service(name, node))
        .collect();
    for service in &services {
        ours.register(service, ttl).await.unwrap();
    }
    let mut watcher = theirs.watch(Some(name)).await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < 4 {
        let event = timeout(PATIENCE, watcher.next()).await.unwrap().unwrap();
        seen.extend(event.unwrap().service.nodes.into_iter().map(|node| node.id));
    }
    agent.server.pause();
    sleep(ttl * 2).await;
    agent.server.resume();
    // Every check has run out by now, and is critical; half of the nodes at most are said to be gone.
    let mut gone = 0;
    while let Ok(Some(Ok(event))) = timeout(Duration::from_secs(2), watcher.next()).await {
        gone += event.service.nodes.len();
    }
    assert!(gone <= 2, "{gone}");
    for service in &services {
        ours.register(service, TTL).await.unwrap();
    }
    let all = ["slept-a", "slept-b", "slept-c", "slept-d"];
    has(&theirs, name, &all).await;
}

#[tokio::test]
async fn tokens() {
    let agent = Agent::with_acl().await;
    let root = agent.consul().token(ROOT);
    let without = agent.consul();
    let wrong = agent.consul().token("3f1c0e57-0000-4bb1-8a53-9a8a0d4a7f01");
    let name = "guarded";
    root.register(&service(name, "a"), TTL).await.unwrap();
    has(&root, name, &["guarded-a"]).await;
    // Without a token all looks empty.
    assert!(without.get(name).await.unwrap().is_empty());
    assert!(without.list().await.unwrap().is_empty());
    for (registry, hint) in [
        (&without, "set one with Consul::token"),
        (&wrong, "the agent does not know it"),
    ] {
        let error = registry
            .register(&service(name, "b"), TTL)
            .await
            .unwrap_err();
        let text = format!("{error:?}");
        assert!(text.contains("403") && text.contains(hint), "{text}");
        assert!(!text.contains("3f1c0e57"), "{text}");
    }
    let error = wrong.get(name).await.unwrap_err().to_string();
    assert!(error.contains("does not know it"), "{error}");
    // As the password of an address.
    let by_address = Consul::new([format!("http://:{ROOT}@{}", agent.address())]);
    has(&by_address, name, &["guarded-a"]).await;
    let error = without
        .deregister(&service(name, "a"))
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("403"), "{error}");
    root.deregister(&service(name, "a")).await.unwrap();
    has(&root, name, &[]).await;
}
