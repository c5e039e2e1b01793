//! The registry `consul` against real agents.
//!
//! | file | about |
//! |---|---|
//! | `agent` | starting agents, with and without a memory, with ACLs |
//! | `faults` | agents that are killed, come back, stop; tokens |
//! | `tls` | certificates both ways, and each way they can be wrong |
//! | `watching` | how soon news come, many services at once |

mod agent;
mod faults;
mod tls;
mod watching;

use std::time::Duration;

use micro_runtime::registry::{Action, Node, Service, Watcher};
use micro_tests::contract::{self, Abilities};
use tokio::time::timeout;

use agent::Agent;

/// How long anything may take that happens at once.
const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn it_behaves_as_a_registry() {
    let agent = Agent::dev().await;
    let able = Abilities {
        service_metadata: false,
        list_nodes: false,
        ..Abilities::default()
    };
    let cases = contract::run("consul", || agent.consul(), able).await;
    assert!(cases >= 20, "{cases}");
}

#[tokio::test]
async fn go_micro_and_ours_see_each_other() {
    let agent = Agent::dev().await;
    contract::go("consul", &agent.address(), || agent.consul()).await;
}

#[tokio::test]
async fn the_command_line_sees_it() {
    let agent = Agent::dev().await;
    contract::cli("consul", &agent.address(), || agent.consul(), &["consul"]).await;
}

/// A service of one node.
fn service(name: &str, node: &str) -> Service {
    Service {
        name: name.to_owned(),
        version: "1".to_owned(),
        nodes: vec![Node {
            id: format!("{name}-{node}"),
            address: "127.0.0.1:19090".to_owned(),
            metadata: [("protocol".to_owned(), "grpc".to_owned())].into(),
        }],
        ..Service::default()
    }
}

/// The ids of all nodes, in order.
fn ids(services: &[Service]) -> Vec<String> {
    let nodes = services.iter().flat_map(|service| &service.nodes);
    let mut ids: Vec<_> = nodes.map(|node| node.id.clone()).collect();
    ids.sort_unstable();
    ids
}

/// The next event of a node: whether it came, and its id. Errors are passed over.
async fn next(watcher: &mut Watcher) -> (bool, String) {
    loop {
        let event = timeout(PATIENCE, watcher.next())
            .await
            .expect("an event in time")
            .expect("the watch goes on");
        if let Ok(event) = event {
            let node = event.service.nodes.first().expect("a node");
            return (event.action != Action::Delete, node.id.clone());
        }
    }
}
