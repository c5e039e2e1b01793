//! The behaviour that every registry must show, whatever stands behind it.
//!
//! ```no_run
//! # async fn example() {
//! use std::time::Duration;
//! use micro_runtime::registry::Memory;
//! use micro_tests::contract::{self, Abilities};
//!
//! let shared = Memory::new();
//! contract::run("memory", || shared.clone(), Abilities { expiry: None, ..Abilities::default() }).await;
//! # }
//! ```

mod cases;
mod cli;
mod go;
mod watching;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use micro_runtime::Error;
use micro_runtime::registry::{Endpoint, Node, Registry, Service, Value};
use tokio::time::{Instant, sleep, timeout};

pub use cli::{Cli, cli};
pub use go::go;

/// What a registry can do, as its documentation says.
#[derive(Clone, Copy, Debug)]
pub struct Abilities {
    /// The time that nodes are registered for, so short that a test can wait for its end. Default: 2 s.
    pub ttl: Duration,
    /// How long after `ttl` a node is still found whose process died; `None` if it stays. Default: 3 s.
    pub expiry: Option<Duration>,
    /// Whether metadata of the service, beside that of its nodes, is kept. Default: yes.
    pub service_metadata: bool,
    /// Whether `list` brings the nodes along. Default: yes.
    pub list_nodes: bool,
    /// Whether all services can be watched at once. Default: yes.
    pub watch_all: bool,
    /// Whether all services can be listed. Default: yes.
    pub list: bool,
    /// Whether more is kept than names and addresses: ids, versions, metadata, endpoints. Default: yes.
    pub details: bool,
    /// Whether one client may register several nodes of a service one by one. Default: yes.
    pub many_nodes: bool,
    /// Whether a name may have a slash in it. Default: yes.
    pub slashes: bool,
    /// Whether a service of 60 endpoints fits. Default: yes.
    pub large: bool,
    /// How long what one client did may take until another sees it. Default: 10 s.
    pub patience: Duration,
}

impl Default for Abilities {
    fn default() -> Abilities {
        Abilities {
            ttl: Duration::from_secs(2),
            expiry: Some(Duration::from_secs(3)),
            service_metadata: true,
            list_nodes: true,
            watch_all: true,
            list: true,
            details: true,
            many_nodes: true,
            slashes: true,
            large: true,
            patience: Duration::from_secs(10),
        }
    }
}

/// What the cases get: a way to make clients, and names that nobody else uses.
struct Kit<F> {
    make: F,
    able: Abilities,
    prefix: String,
}

/// Runs every case that a registry of these abilities must pass, one after another, and prints how many
/// passed. `make` gives a client of its own each time: with its own connections, as another process has.
/// Returns the number of cases.
///
/// # Panics
/// A case failed; all that did are named.
pub async fn run<R: Registry>(name: &str, make: impl Fn() -> R, able: Abilities) -> usize {
    static RUNS: AtomicU32 = AtomicU32::new(0);
    let run = RUNS.fetch_add(1, Ordering::Relaxed);
    let kit = Kit {
        make,
        able,
        prefix: format!("contract.{}-{run}", std::process::id()),
    };
    let mut report = Report::new(format!("contract {name}"));
    report
        .case("an unknown service", cases::unknown(&kit))
        .await;
    report.case("round trip", cases::round_trip(&kit)).await;
    report.case("odd names", cases::odd_names(&kit)).await;
    if able.list {
        report.case("list", cases::list(&kit)).await;
    }
    report.case("register again", cases::again(&kit)).await;
    report.case("change", cases::change(&kit)).await;
    report
        .case("several nodes and versions", cases::several(&kit))
        .await;
    report.case("nodes in one call", cases::at_once(&kit)).await;
    report
        .case("deregister", cases::deregister_twice(&kit))
        .await;
    report.case("no end", cases::no_end(&kit)).await;
    report
        .case("at the same time", cases::concurrent(&kit))
        .await;
    report.case("refresh", cases::refresh(&kit)).await;
    report.case("watch one", watching::one(&kit)).await;
    report
        .case("watch only one", watching::only_one(&kit))
        .await;
    report.case("watch nodes", watching::nodes(&kit)).await;
    report
        .case("watcher dropped", watching::dropped(&kit))
        .await;
    report
        .case("watchers side by side", watching::side_by_side(&kit))
        .await;
    if able.large {
        report.case("large", cases::large(&kit)).await;
    }
    if able.watch_all {
        report.case("watch all", watching::all(&kit)).await;
    }
    if able.expiry.is_some() {
        report.case("crash", cases::crash(&kit)).await;
        report.case("watch a crash", watching::crash(&kit)).await;
    }
    report.finish()
}

impl<R: Registry, F: Fn() -> R> Kit<F> {
    fn client(&self) -> R {
        (self.make)()
    }

    /// A name of this run.
    fn name(&self, what: &str) -> String {
        format!("{}.{what}", self.prefix)
    }

    /// Waits until `get` gives what is expected, with versions and nodes in order.
    async fn gets(
        &self,
        registry: &R,
        name: &str,
        what: &str,
        expected: impl Fn(&[Service]) -> bool,
    ) -> Result<(), String> {
        self.until(what, async || {
            let found = sorted(get(registry, name).await?);
            Ok(if expected(&found) { Ok(()) } else { Err(found) })
        })
        .await
    }

    /// Waits until `get` gives these services, with versions and nodes in order.
    async fn shows(&self, registry: &R, expected: &[Service]) -> Result<(), String> {
        let name = &expected[0].name;
        let expected = self.seen(expected);
        let what = format!("{expected:?}");
        self.gets(registry, name, &what, |found| self.seen(found) == expected)
            .await
    }

    /// Waits until `get` gives nothing, or versions without nodes, which go-micro's Consul has.
    async fn lost(&self, registry: &R, name: &str) -> Result<(), String> {
        self.gets(registry, name, "no nodes", |found| {
            found.iter().all(|service| service.nodes.is_empty())
        })
        .await
    }

    /// Waits until this holds, for as long as the registry may take.
    async fn until<T: Debug>(
        &self,
        what: &str,
        look: impl AsyncFn() -> Result<Result<(), T>, String>,
    ) -> Result<(), String> {
        until(self.able.patience, what, look).await
    }

    /// The parts of a service that this registry keeps.
    fn kept(&self, service: &Service) -> Service {
        let mut kept = service.clone();
        if !self.able.service_metadata {
            kept.metadata.clear();
        }
        if !self.able.details {
            kept.version = "latest".to_owned();
            kept.metadata.clear();
            kept.endpoints.clear();
            for node in &mut kept.nodes {
                node.id = format!("{}-{}", kept.name, node.address);
                node.metadata.clear();
            }
        }
        kept
    }

    /// Services as this registry shows them, with versions and nodes in order.
    fn seen(&self, services: &[Service]) -> Vec<Service> {
        let mut seen: Vec<Service> = Vec::new();
        for mut kept in services.iter().map(|service| self.kept(service)) {
            match seen.iter_mut().find(|one| one.version == kept.version) {
                Some(version) => version.nodes.append(&mut kept.nodes),
                None => seen.push(kept),
            }
        }
        sorted(seen)
    }

    /// A client for one more node of a service that another client has nodes of.
    fn one_more(&self, client: &Arc<R>) -> Arc<R> {
        if self.able.many_nodes {
            Arc::clone(client)
        } else {
            Arc::new(self.client())
        }
    }
}

/// Waits until this holds, looking again and again; fails with what was found last.
async fn until<T: Debug>(
    patience: Duration,
    what: &str,
    look: impl AsyncFn() -> Result<Result<(), T>, String>,
) -> Result<(), String> {
    let begun = Instant::now();
    loop {
        match look().await? {
            Ok(()) => return Ok(()),
            Err(found) if begun.elapsed() > patience => {
                return Err(format!(
                    "expected {what} within {patience:?}, found {found:?}"
                ));
            }
            // What another client did is seen some time later; nothing tells when.
            Err(_) => sleep(Duration::from_millis(20)).await,
        }
    }
}

/// A service with something in every field.
fn service(name: &str, version: &str, node: &str) -> Service {
    let map = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    };
    let value = |name: &str, kind: &str, values: Vec<Value>| Value {
        name: name.to_owned(),
        kind: kind.to_owned(),
        values,
    };
    let inner = value(
        "inner",
        "Inner",
        vec![value("ü <&>", "[]string", Vec::new())],
    );
    // Nodes have ports of their own, since some registries tell them apart by nothing else.
    let port = node
        .bytes()
        .fold(0, |sum: u32, byte| (sum * 31 + u32::from(byte)) % 1000);
    Service {
        name: name.to_owned(),
        version: version.to_owned(),
        metadata: map(&[("owner", "billing")]),
        endpoints: vec![
            Endpoint {
                name: "Greeter.Chat".to_owned(),
                request: Some(value("Context", "Context", Vec::new())),
                response: Some(value("Stream", "Stream", Vec::new())),
                metadata: map(&[("stream", "true"), ("rpc", "/contract.Greeter/Chat")]),
            },
            Endpoint {
                name: "Greeter.Hello".to_owned(),
                request: Some(value("Request", "Request", vec![inner])),
                response: Some(value("Response", "Response", Vec::new())),
                metadata: BTreeMap::new(),
            },
        ],
        nodes: vec![Node {
            id: format!("{name}-{node}"),
            address: format!("127.0.0.1:{}", 19_100 + port),
            metadata: map(&[
                ("protocol", "grpc"),
                ("server", "grpc"),
                ("zone", "ü=\"1\",/"),
            ]),
        }],
    }
}

/// Versions and nodes in order.
fn sorted(mut services: Vec<Service>) -> Vec<Service> {
    for service in &mut services {
        service.nodes.sort_by(|a, b| a.id.cmp(&b.id));
        service.endpoints.sort_by(|a, b| a.name.cmp(&b.name));
    }
    services.sort_by(|a, b| a.version.cmp(&b.version));
    services
}

/// The ids of all nodes, in order.
fn ids(services: &[Service]) -> Vec<&str> {
    let nodes = services.iter().flat_map(|service| &service.nodes);
    let mut ids: Vec<_> = nodes.map(|node| node.id.as_str()).collect();
    ids.sort_unstable();
    ids
}

async fn register(
    registry: &impl Registry,
    service: &Service,
    ttl: Duration,
) -> Result<(), String> {
    in_time("register", registry.register(service, ttl)).await
}

async fn deregister(registry: &impl Registry, service: &Service) -> Result<(), String> {
    in_time("deregister", registry.deregister(service)).await
}

async fn get(registry: &impl Registry, name: &str) -> Result<Vec<Service>, String> {
    in_time("get", registry.get(name)).await
}

/// How long a single request may take before it counts as hung.
const HUNG: Duration = Duration::from_secs(60);

async fn in_time<T>(
    what: &str,
    request: impl Future<Output = Result<T, Error>>,
) -> Result<T, String> {
    match timeout(HUNG, request).await {
        Ok(result) => result.map_err(|error| format!("{what}: {error:?}")),
        Err(_) => Err(format!("{what}: no answer within {HUNG:?}")),
    }
}

/// Cases counted, and what went wrong.
#[derive(Debug)]
pub(crate) struct Report {
    title: String,
    passed: usize,
    failed: Vec<String>,
}

impl Report {
    pub(crate) fn new(title: String) -> Report {
        Report {
            title,
            passed: 0,
            failed: Vec::new(),
        }
    }

    pub(crate) async fn case(
        &mut self,
        name: &str,
        case: impl Future<Output = Result<(), String>>,
    ) {
        let case: Pin<Box<dyn Future<Output = _>>> = Box::pin(case);
        let begun = Instant::now();
        match case.await {
            Ok(()) => {
                self.passed += 1;
                println!("{}: {name}: ok, {:.1?}", self.title, begun.elapsed());
            }
            Err(error) => {
                println!("{}: {name}: FAILED: {error}", self.title);
                self.failed.push(format!("{name}: {error}"));
            }
        }
    }

    pub(crate) fn finish(self) -> usize {
        let failed = self.failed.len();
        println!(
            "{}: {} cases passed, {failed} failed",
            self.title, self.passed
        );
        assert!(
            self.failed.is_empty(),
            "{}:\n{}",
            self.title,
            self.failed.join("\n")
        );
        self.passed
    }
}
