//! The registry against a scripted etcd, with a paused clock.

mod calls;
mod registering;
mod script;
mod watching;

use std::time::Duration;

use crate::error::Error;
use crate::registry::{Node, Service};

/// go-micro's time to live.
const TTL: Duration = Duration::from_secs(90);

fn service(name: &str, node: &str, port: u16) -> Service {
    Service {
        name: name.into(),
        version: "1".into(),
        nodes: vec![Node {
            id: node.into(),
            address: format!("10.0.0.1:{port}"),
            ..Node::default()
        }],
        ..Service::default()
    }
}

fn value(name: &str, node: &str, port: u16) -> String {
    serde_json::to_string(&service(name, node, port)).unwrap()
}

/// `id address` of every node, in order.
fn shown(services: Result<Vec<Service>, Error>) -> Vec<String> {
    let nodes = services
        .unwrap()
        .into_iter()
        .flat_map(|service| service.nodes);
    let mut nodes: Vec<_> = nodes
        .map(|node| format!("{} {}", node.id, node.address))
        .collect();
    nodes.sort_unstable();
    nodes
}
