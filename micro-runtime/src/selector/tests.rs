//! The selector over an in-process registry and under a paused clock.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

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
    let selector = Selector::new(
        Arc::new(registry.clone()),
        strategy::by_name(strategy).unwrap(),
    );
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
