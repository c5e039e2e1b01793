//! What tests of registries say of services, and wait for.

use std::fmt::Debug;
use std::time::Duration;

use micro_runtime::registry::{Action, Node, Registry, Service, Watcher};
use tokio::time::{Instant, sleep, timeout};

/// A service of one node on this machine.
#[must_use]
pub fn service(name: &str, id: &str, port: u16) -> Service {
    Service {
        name: name.to_owned(),
        version: "latest".to_owned(),
        nodes: vec![Node {
            id: id.to_owned(),
            address: format!("127.0.0.1:{port}"),
            ..Node::default()
        }],
        ..Service::default()
    }
}

/// The ids of a service's nodes, in order.
pub async fn ids(registry: &impl Registry, name: &str) -> Result<Vec<String>, String> {
    let services = registry
        .get(name)
        .await
        .map_err(|error| error.to_string())?;
    let nodes = services.into_iter().flat_map(|service| service.nodes);
    let mut ids: Vec<_> = nodes.map(|node| node.id).collect();
    ids.sort();
    Ok(ids)
}

/// Waits until this is what is found, and says how long that took.
pub async fn until<T: PartialEq + Debug>(
    limit: Duration,
    expected: T,
    found: impl AsyncFn() -> Result<T, String>,
) -> Duration {
    let begun = Instant::now();
    let mut last = None;
    while begun.elapsed() <= limit {
        let now = found().await;
        if now.as_ref() == Ok(&expected) {
            return begun.elapsed();
        }
        last = Some(now);
        sleep(Duration::from_millis(20)).await;
    }
    panic!("expected {expected:?} within {limit:?}, found {last:?} at last")
}

/// What a watch tells until the nodes that it leaves are these.
pub async fn follow(
    watcher: &mut Watcher,
    known: &mut Vec<String>,
    expected: &[&str],
    limit: Duration,
) -> Vec<Action> {
    let mut actions = Vec::new();
    let watching = async {
        while known != expected {
            let event = watcher.next().await.expect("the watch ended").unwrap();
            actions.push(event.action);
            for node in event.service.nodes {
                known.retain(|id| *id != node.id);
                if event.action != Action::Delete {
                    known.push(node.id);
                }
            }
            known.sort();
        }
    };
    let done = timeout(limit, watching).await;
    assert!(
        done.is_ok(),
        "expected {expected:?} within {limit:?}, the watch says {known:?}"
    );
    actions
}
