//! The selector over an in-process registry and under a paused clock.

mod choices;
mod health;
mod memory;
mod picking;
mod promises;
mod simulation;
mod strategies;

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
        "weighted" => Arc::new(Weighted),
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
    let selector = Selector::new(Arc::new(registry.clone()), by_name(strategy), || ());
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
