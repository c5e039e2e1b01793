//! A ZooKeeper server, and what is said of services.

use std::fmt::Debug;
use std::time::Duration;

use micro_runtime::registry::{Action, Node, Registry, Service, Watcher, ZooKeeper};
use micro_tests::servers::{Program, Ready, Server, free_ports};
use tokio::time::{Instant, sleep, timeout};

/// How long a session lives without a sign of life, in most of these tests.
pub(crate) const SESSION: Duration = Duration::from_secs(2);

pub(crate) struct Keeper {
    pub(crate) server: Server,
    pub(crate) port: u16,
}

impl Keeper {
    pub(crate) async fn start() -> Keeper {
        let [port] = free_ports();
        let program = Program::find("zookeeper").args([&port.to_string(), "{dir}/zk", "500"]);
        let ready = Ready::Bytes(port, b"srvr".to_vec(), "Mode: ".to_owned());
        Keeper {
            server: program.start(ready).await,
            port,
        }
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn registry(&self) -> ZooKeeper {
        ZooKeeper::new([self.address()]).session_timeout(SESSION)
    }
}

pub(crate) fn service(name: &str, id: &str, port: u16) -> Service {
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
pub(crate) async fn ids(registry: &ZooKeeper, name: &str) -> Result<Vec<String>, String> {
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
pub(crate) async fn until<T: PartialEq + Debug>(
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
pub(crate) async fn follow(
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
