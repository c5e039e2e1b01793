//! A NATS server, and what is said of services.

use std::fmt::Debug;
use std::time::Duration;

use micro_runtime::registry::{Action, Nats, Node, Registry, Service, Watcher};
use micro_tests::servers::{Program, Ready, Server, free_ports, http_get};
use tokio::time::{Instant, sleep, timeout};

/// The programs of `.ci/servers/nats.sh`.
pub(crate) const NEW: &str = "nats-2.15";
pub(crate) const OLD: &str = "nats-2.9";

pub(crate) struct Hub {
    pub(crate) server: Server,
    pub(crate) port: u16,
    monitor: u16,
}

impl Hub {
    pub(crate) async fn start(program: &str) -> Hub {
        Hub::with(program, &[]).await
    }

    pub(crate) async fn with(program: &str, further: &[&str]) -> Hub {
        let [port, monitor] = free_ports();
        let program = Program::find(program)
            .args(["-a", "127.0.0.1"])
            .args(["-p", &port.to_string(), "-m", &monitor.to_string()])
            .args(further.iter().copied());
        Hub {
            server: program.start(Ready::http(monitor, "/healthz", "ok")).await,
            port,
            monitor,
        }
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn registry(&self) -> Nats {
        Nats::new([self.address()])
    }

    /// How many clients are connected.
    pub(crate) async fn clients(&self) -> Result<u64, String> {
        let (_, body) = http_get(self.monitor, "/varz")
            .await
            .map_err(|error| error.to_string())?;
        let body: serde_json::Value =
            serde_json::from_str(&body).map_err(|error| error.to_string())?;
        body["connections"]
            .as_u64()
            .ok_or(format!("no number in {body}"))
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
pub(crate) async fn ids(registry: &Nats, name: &str) -> Result<Vec<String>, String> {
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
