//! Services that find each other, over memory and over multicast DNS on loopback.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use micro_runtime::client::ClientOptions;
use micro_runtime::registry::{Action, Event, Mdns, Memory, Registry, Service, Watcher};
use micro_runtime::{Code, Error, ErrorKind};
use micro_tests::front::question;
use micro_tests::front::v1::{FrontService, new_front_service};
use tokio::sync::{mpsc, watch};

use crate::support::{
    client, client_with, eventually, front_client, in_time, serve_answer, service, unique,
};

/// A registry value of its own, as another process has: it shares nothing but the network.
fn mdns() -> Mdns {
    Mdns::new().loopback_only()
}

async fn who(front: &FrontService) -> String {
    in_time(front.look(question("?"))).await.unwrap().text
}

/// How many of so many calls each one answered.
async fn counted(front: &FrontService, calls: usize) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for _ in 0..calls {
        *counts.entry(who(front).await).or_default() += 1;
    }
    counts
}

/// Two nodes are found; one goes, and is not called again; another comes, and is. Everyone has the registry
/// that `make` gives.
async fn nodes_come_and_go<R: Registry + Clone>(make: impl Fn() -> R) {
    let name = unique("nodes");
    let a = serve_answer(service(&name, &make()), "a").await;
    let b = serve_answer(service(&name, &make()), "b").await;
    let front = front_client(&name, &make());
    // The first answer may be of one node alone; the other follows.
    let both = async || counted(&front, 10).await.len() == 2;
    eventually("both nodes are called", both).await;

    in_time(a.stop()).await.unwrap();
    let counts = counted(&front, 50).await;
    assert_eq!(counts, BTreeMap::from([("b".to_owned(), 50)]));

    let c = serve_answer(service(&name, &make()), "c").await;
    eventually("the new node is called", async || {
        counted(&front, 10).await.contains_key("c")
    })
    .await;
    in_time(b.stop()).await.unwrap();
    let counts = counted(&front, 20).await;
    assert_eq!(counts, BTreeMap::from([("c".to_owned(), 20)]));
    in_time(c.stop()).await.unwrap();
    let status = in_time(front.look(question("?"))).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
}

#[tokio::test]
async fn nodes_come_and_go_in_memory() {
    let memory = Memory::new();
    nodes_come_and_go(|| memory.clone()).await;
}

#[tokio::test]
async fn nodes_come_and_go_over_mdns() {
    nodes_come_and_go(mdns).await;
}

#[tokio::test]
async fn a_service_is_found_as_it_was_registered() {
    let name = unique("described");
    let running = serve_answer(
        service(&name, &mdns())
            .version("1.2.3")
            .metadata("zone", "b"),
        "a",
    )
    .await;
    let services = in_time(mdns().get(&name)).await.unwrap();
    assert_eq!(services.len(), 1);
    let found = &services[0];
    assert_eq!(
        (found.name.as_str(), found.version.as_str()),
        (name.as_str(), "1.2.3")
    );
    let endpoints: Vec<_> = found.endpoints.iter().map(|e| e.name.as_str()).collect();
    assert_eq!(endpoints, ["Front.Ask", "Front.Look"]);
    assert_eq!(found.endpoints[0].metadata["rpc"], "/e2e.v1.Front/Ask");
    let request = found.endpoints[0].request.as_ref().unwrap();
    assert_eq!(
        (request.name.as_str(), request.values[0].kind.as_str()),
        ("Question", "string")
    );
    let node = &found.nodes[0];
    assert_eq!(node.address, running.address());
    assert!(node.id.starts_with(&format!("{name}-")), "{}", node.id);
    assert_eq!(node.metadata["zone"], "b");
    assert_eq!(node.metadata["registry"], "mdns");
    let listed = in_time(mdns().list()).await.unwrap();
    assert!(listed.iter().any(|service| service.name == name));
}

#[tokio::test]
async fn filters_choose_the_version() {
    let (registry, name) = (Memory::new(), unique("versions"));
    let _one = serve_answer(service(&name, &registry).version("1"), "one").await;
    let _two = serve_answer(service(&name, &registry).version("2"), "two").await;
    for (version, who) in [("1", "one"), ("2", "two")] {
        let client = client_with(&registry, ClientOptions::new().version(version));
        let counts = counted(&new_front_service(&name, &client), 10).await;
        assert_eq!(counts, BTreeMap::from([(who.to_owned(), 10)]));
    }
    let client = client_with(&registry, ClientOptions::new().version("3"));
    let call = new_front_service(&name, &client).look(question("?"));
    let status = in_time(call).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains('3'), "{status}");
    let counts = counted(&front_client(&name, &registry), 10).await;
    assert_eq!(counts.len(), 2);
}

/// A service that is asked for before it exists is found once it does.
async fn found_late(registry: impl Registry + Clone, servers: impl Registry + Clone) {
    let name = unique("late");
    let front = front_client(&name, &registry);
    let status = in_time(front.look(question("?"))).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains(&name), "{status}");
    let _running = serve_answer(service(&name, &servers), "late").await;
    eventually("the service is found", async || {
        in_time(front.look(question("?"))).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn a_service_registered_late_is_found() {
    let memory = Memory::new();
    found_late(memory.clone(), memory).await;
    found_late(mdns(), mdns()).await;
}

#[tokio::test]
async fn what_the_registry_forgot_is_registered_again() {
    let (registry, name) = (Memory::new(), unique("forgotten"));
    let builder = service(&name, &registry).register_interval(Duration::from_millis(100));
    let _running = serve_answer(builder, "a").await;
    let mut events = registry.watch(Some(&name)).await.unwrap();
    let known = registry.get(&name).await.unwrap();
    registry.deregister(&known[0]).await.unwrap();
    let mut actions = Vec::new();
    while actions.last() != Some(&Action::Create) {
        actions.push(in_time(events.next()).await.unwrap().unwrap().action);
    }
    assert_eq!(actions, [Action::Delete, Action::Create]);
    assert_eq!(registry.get(&name).await.unwrap(), known);
}

/// A registry before another one, that can be switched off.
#[derive(Clone)]
struct Switched {
    memory: Memory,
    on: watch::Sender<bool>,
    asked: Arc<AtomicBool>,
}

impl Switched {
    fn new() -> Switched {
        Switched {
            memory: Memory::new(),
            on: watch::Sender::new(true),
            asked: Arc::default(),
        }
    }

    fn check(&self) -> Result<(), Error> {
        self.asked.store(true, Ordering::Relaxed);
        match *self.on.borrow() {
            true => Ok(()),
            false => Err(Error::new(ErrorKind::Registry, "the registry is down")),
        }
    }
}

impl Registry for Switched {
    fn name(&self) -> &'static str {
        "switched"
    }

    async fn register(&self, service: &Service, ttl: Duration) -> Result<(), Error> {
        self.check()?;
        self.memory.register(service, ttl).await
    }

    async fn deregister(&self, service: &Service) -> Result<(), Error> {
        self.check()?;
        self.memory.deregister(service).await
    }

    async fn get(&self, name: &str) -> Result<Vec<Service>, Error> {
        self.check()?;
        self.memory.get(name).await
    }

    async fn list(&self) -> Result<Vec<Service>, Error> {
        self.check()?;
        self.memory.list().await
    }

    /// Events until it is switched off, then an error and the end.
    async fn watch(&self, name: Option<&str>) -> Result<Watcher, Error> {
        self.check()?;
        let mut inner = self.memory.watch(name).await?;
        let (sender, receiver) = mpsc::channel::<Result<Event, Error>>(16);
        let mut on = self.on.subscribe();
        let this = self.clone();
        tokio::spawn(async move {
            loop {
                let event = tokio::select! {
                    event = inner.next() => event,
                    _ = on.wait_for(|on| !on) => this.check().err().map(Err),
                };
                let Some(event) = event else { return };
                let last = event.is_err();
                if sender.send(event).await.is_err() || last {
                    return;
                }
            }
        });
        Ok(Watcher::from_channel(receiver))
    }
}

#[tokio::test]
async fn an_outage_of_the_registry_fails_no_call() {
    let (registry, name) = (Switched::new(), unique("outage"));
    let interval = Duration::from_millis(100);
    let a = serve_answer(service(&name, &registry).register_interval(interval), "a").await;
    let b = serve_answer(service(&name, &registry).register_interval(interval), "b").await;
    let front = front_client(&name, &registry);
    assert_eq!(counted(&front, 20).await.len(), 2);

    registry.on.send_replace(false);
    registry.asked.store(false, Ordering::Relaxed);
    eventually("the registry is asked, and fails", async || {
        assert_eq!(counted(&front, 10).await.len(), 2);
        registry.asked.load(Ordering::Relaxed)
    })
    .await;
    // Not even those of a node whose going cannot be told.
    in_time(a.stop()).await.unwrap();
    assert_eq!(
        counted(&front, 50).await,
        BTreeMap::from([("b".to_owned(), 50)])
    );
    // And a service that starts meanwhile serves.
    let c = serve_answer(service(&name, &registry).register_interval(interval), "c").await;
    let call = front.look(question("?")).address(c.address());
    assert_eq!(in_time(call).await.unwrap().text, "c");

    registry.on.send_replace(true);
    eventually("the node that came meanwhile is called", async || {
        counted(&front, 10).await.contains_key("c")
    })
    .await;
    in_time(b.stop()).await.unwrap();
    assert_eq!(
        counted(&front, 20).await,
        BTreeMap::from([("c".to_owned(), 20)])
    );
}

#[tokio::test]
async fn who_asks_during_an_outage_is_told() {
    let (registry, name) = (Switched::new(), unique("down"));
    let _running = serve_answer(service(&name, &registry), "a").await;
    registry.on.send_replace(false);
    let front = new_front_service(&name, &client(&registry));
    let call = front.look(question("?")).timeout(Duration::from_secs(2));
    let status = in_time(call).await.unwrap_err();
    assert!(
        matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded),
        "{status}"
    );
    for part in [name.as_str(), "switched"] {
        assert!(status.message().contains(part), "{status}");
    }
    registry.on.send_replace(true);
    eventually("the service is found", async || {
        in_time(front.look(question("?"))).await.is_ok()
    })
    .await;
}
