//! Knot, and what writes records into it.

use std::collections::HashMap;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use micro_runtime::Error;
use micro_runtime::registry::{Dns, Node, Registry, Service, Watcher};
use micro_tests::servers::{Program, Ready, Server, free_ports};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

const CONFIG: &str = "\
server:
  rundir: {dir}
  listen: 127.0.0.1@{port}
  udp-workers: 1
  tcp-workers: 1
  background-workers: 1
database:
  storage: {dir}
  journal-db-max-size: 16M
  timer-db-max-size: 8M
  kasp-db-max-size: 8M
  catalog-db-max-size: 8M
acl:
  - id: local
    address: 127.0.0.1
    action: [update, transfer]
zone:
  - domain: micro.test
    storage: {dir}
    file: micro.test.zone
    acl: local
    semantic-checks: off
  - domain: broken.test
    storage: {dir}
    file: there.is.none
log:
  - target: stderr
    any: warning
";

const ZONE: &str = "\
$ORIGIN micro.test.
$TTL 1
@ 1 SOA ns hostmaster 1 2 2 60 1
@ 1 NS ns
ns 1 A 127.0.0.1
";

pub(crate) struct Knot {
    pub(crate) server: Server,
    pub(crate) port: u16,
}

impl Knot {
    pub(crate) async fn start() -> Knot {
        let [port] = free_ports();
        let server = Program::find("knotd")
            .file("knot.conf", &CONFIG.replace("{port}", &port.to_string()))
            .file("micro.test.zone", ZONE)
            .args(["-c", "{dir}/knot.conf"])
            .start(Ready::check(move || async move {
                let dns = Dns::new([
                    "{service}.micro.test:1".to_owned(),
                    format!("127.0.0.1:{port}"),
                ]);
                matches!(dns.get("ns").await, Ok(found) if !found.is_empty())
            }))
            .await;
        Knot { server, port }
    }

    pub(crate) fn registry(&self, pattern: &str) -> Dns {
        dns(self.port, pattern)
    }

    /// Changes records: `add NAME TTL TYPE DATA`, `del NAME [TYPE [DATA]]`.
    pub(crate) async fn update(&self, lines: &[String]) {
        update(self.port, lines).await;
    }
}

fn dns(port: u16, pattern: &str) -> Dns {
    // TTLs of a second are to be seen.
    Dns::try_new([pattern.to_owned(), format!("127.0.0.1:{port}")])
        .unwrap()
        .min_interval(Duration::from_millis(100))
}

async fn update(port: u16, lines: &[String]) {
    let folder = std::env::var_os("MICRO_SERVERS").unwrap();
    let mut child = Command::new(std::path::Path::new(&folder).join("knsupdate"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let script = format!(
        "server 127.0.0.1 {port}\nzone micro.test.\norigin micro.test.\n{}\nsend\nquit\n",
        lines.join("\n")
    );
    child
        .stdin
        .take()
        .unwrap()
        .write_all(script.as_bytes())
        .await
        .unwrap();
    let output = child.wait_with_output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// Writes the records of what is registered, as whoever runs the services does.
pub(crate) struct Published {
    port: u16,
    ports: Arc<Ports>,
}

/// The port of each node that is registered.
type Ports = Mutex<HashMap<String, u16>>;

/// What finds services by DNS, and is found by it.
pub(crate) struct Records {
    port: u16,
    ports: Arc<Ports>,
    dns: Dns,
}

impl Published {
    pub(crate) fn new(knot: &Knot) -> Published {
        Published {
            port: knot.port,
            ports: Arc::default(),
        }
    }

    pub(crate) fn registry(&self, pattern: &str) -> Records {
        Records {
            port: self.port,
            ports: Arc::clone(&self.ports),
            dns: dns(self.port, pattern),
        }
    }
}

impl Records {
    fn ports(&self) -> MutexGuard<'_, HashMap<String, u16>> {
        self.ports.lock().unwrap()
    }

    fn record(&self, verb: &str, service: &Service, port: u16) -> String {
        let ttl = if verb == "add" { "1 " } else { "" };
        format!("{verb} {} {ttl}SRV 0 0 {port} ns.micro.test.", service.name)
    }
}

impl Registry for Records {
    fn name(&self) -> &'static str {
        "dns"
    }

    async fn register(&self, service: &Service, _ttl: Duration) -> Result<(), Error> {
        let mut lines = Vec::new();
        for node in &service.nodes {
            let (_, port) = node.address.rsplit_once(':').unwrap();
            let port = port.parse().unwrap();
            let old = self.ports().insert(node.id.clone(), port);
            lines.extend(old.map(|old| self.record("del", service, old)));
            lines.push(self.record("add", service, port));
        }
        update(self.port, &lines).await;
        Ok(())
    }

    async fn deregister(&self, service: &Service) -> Result<(), Error> {
        let known = |node: &Node| self.ports().remove(&node.id);
        let ports = service.nodes.iter().filter_map(known);
        let lines: Vec<_> = ports
            .map(|port| self.record("del", service, port))
            .collect();
        update(self.port, &lines).await;
        Ok(())
    }

    async fn get(&self, name: &str) -> Result<Vec<Service>, Error> {
        self.dns.get(name).await
    }

    async fn list(&self) -> Result<Vec<Service>, Error> {
        self.dns.list().await
    }

    async fn watch(&self, name: Option<&str>) -> Result<Watcher, Error> {
        self.dns.watch(name).await
    }
}
