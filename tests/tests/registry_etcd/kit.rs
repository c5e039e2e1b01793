//! Members of etcd, `etcdctl`, and looking at what is registered.

use std::collections::BTreeMap;
use std::time::Duration;

use micro_runtime::registry::{Action, Etcd, Node, Registry, Service, Watcher};
use micro_tests::servers::{Program, Ready, Server, free_ports};
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};

/// The programs of both versions.
pub(crate) const VERSIONS: [&str; 2] = ["etcd-3.4", "etcd-3.6"];

/// Long enough for anything; a test that waits for so long has failed.
pub(crate) const LONG: Duration = Duration::from_secs(30);

/// A member that listens on a port of its own.
pub(crate) struct Member {
    pub(crate) server: Server,
    pub(crate) port: u16,
}

impl Member {
    /// A cluster of one.
    pub(crate) async fn start(version: &str) -> Member {
        let [port, peers] = free_ports();
        let program = program(version, "t", port, peers).arg("--initial-cluster");
        let program = program.arg(format!("t=http://127.0.0.1:{peers}"));
        Member {
            server: program.start(healthy(port)).await,
            port,
        }
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) async fn ctl(&self, arguments: &[&str]) -> String {
        ctl(&self.address(), None, arguments).await
    }

    /// Forgets all changes so far, as a server does by itself every few minutes.
    pub(crate) async fn compact(&self) {
        let status = self.ctl(&["endpoint", "status", "--write-out=json"]).await;
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        let revision = status[0]["Status"]["header"]["revision"].as_i64().unwrap();
        self.ctl(&["compact", &revision.to_string()]).await;
    }
}

/// A member with a folder and ports of its own, that still has to be told its cluster.
pub(crate) fn program(version: &str, name: &str, port: u16, peers: u16) -> Program {
    program_at(version, name, &format!("http://127.0.0.1:{port}"), peers)
}

/// The same, with the URL that it serves clients at.
pub(crate) fn program_at(version: &str, name: &str, url: &str, peers: u16) -> Program {
    Program::find(version)
        .args(["--name", name, "--data-dir", "{dir}/data"])
        .args(["--logger", "zap", "--log-level", "warn"])
        .arg(format!("--listen-client-urls={url}"))
        .arg(format!("--advertise-client-urls={url}"))
        .arg(format!("--listen-peer-urls=http://127.0.0.1:{peers}"))
        .arg(format!(
            "--initial-advertise-peer-urls=http://127.0.0.1:{peers}"
        ))
}

pub(crate) fn healthy(port: u16) -> Ready {
    Ready::http(port, "/health", "true")
}

/// Runs `etcdctl`; what it prints.
pub(crate) async fn ctl(address: &str, user: Option<&str>, arguments: &[&str]) -> String {
    let folder = std::env::var("MICRO_SERVERS")
        .expect("MICRO_SERVERS is not set: .ci/servers.sh says how to install the servers");
    let mut command = Command::new(format!("{folder}/etcdctl"));
    command
        .env("ETCDCTL_API", "3")
        .args(["--endpoints", address]);
    if let Some(user) = user {
        command.args(["--user", user]);
    }
    let output = command.args(arguments).kill_on_drop(true).output();
    let output = timeout(LONG, output).await.expect("etcdctl hangs").unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "etcdctl {arguments:?}: {text} {error}"
    );
    text
}

/// A service with one node.
pub(crate) fn service(name: &str, node: &str, port: u16) -> Service {
    Service {
        name: name.to_owned(),
        version: "1".to_owned(),
        nodes: vec![Node {
            id: format!("{name}-{node}"),
            address: format!("127.0.0.1:{port}"),
            ..Node::default()
        }],
        ..Service::default()
    }
}

/// The addresses by node: what there is.
pub(crate) type Nodes = BTreeMap<String, String>;

pub(crate) async fn nodes(registry: &Etcd, name: &str) -> Nodes {
    let services = registry.get(name).await.unwrap();
    let nodes = services.into_iter().flat_map(|service| service.nodes);
    nodes.map(|node| (node.id, node.address)).collect()
}

/// Waits until this many nodes are there; how long that took.
pub(crate) async fn until(registry: &Etcd, name: &str, count: usize) -> Duration {
    let begun = Instant::now();
    loop {
        let found = registry.get(name).await.map(|services| {
            services
                .iter()
                .map(|service| service.nodes.len())
                .sum::<usize>()
        });
        if matches!(found, Ok(found) if found == count) {
            return begun.elapsed();
        }
        let waited = begun.elapsed();
        assert!(
            waited < LONG,
            "expected {count} nodes of {name}, found {found:?}"
        );
        sleep(Duration::from_millis(20)).await;
    }
}

/// What a watcher was told, put together.
pub(crate) struct View {
    pub(crate) nodes: Nodes,
    pub(crate) errors: usize,
    watcher: Watcher,
}

impl View {
    pub(crate) async fn of(registry: &Etcd, name: &str) -> View {
        let watcher = registry.watch(Some(name)).await.unwrap();
        // What is there before is not told.
        let nodes = nodes(registry, name).await;
        View {
            nodes,
            errors: 0,
            watcher,
        }
    }

    /// Takes in one event; `false` if the watch is over.
    pub(crate) async fn next(&mut self) -> bool {
        match self.watcher.next().await {
            None => return false,
            Some(Err(_)) => self.errors += 1,
            Some(Ok(event)) => {
                for node in event.service.nodes {
                    if event.action == Action::Delete {
                        self.nodes.remove(&node.id);
                    } else {
                        self.nodes.insert(node.id, node.address);
                    }
                }
            }
        }
        true
    }

    /// Takes in events until the nodes are these; how long that took.
    pub(crate) async fn becomes(&mut self, expected: &Nodes) -> Duration {
        let begun = Instant::now();
        let equal = async {
            while self.nodes != *expected {
                assert!(self.next().await, "the watch ended");
            }
        };
        if timeout(LONG, equal).await.is_err() {
            let missing = expected
                .iter()
                .filter(|&(id, at)| self.nodes.get(id) != Some(at))
                .count();
            panic!(
                "expected {} nodes, found {}; {missing} are wrong",
                expected.len(),
                self.nodes.len()
            );
        }
        begun.elapsed()
    }
}
