//! [`Memory`]: a registry in this process.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, timeout_at};

use super::{Action, Event, Node, Registry, Service, Watcher};
use crate::error::Error;
use crate::lock::lock;

/// Events that a watcher may leave unread. One that falls further behind loses its watch: it has to look anew.
const WATCH_BUFFER: usize = 1024;

/// A registry in this process: for tests, and for programs that hold several services.
///
/// Each `Memory::new()` is a world of its own; clones share it. Nothing is written anywhere, and when the last
/// clone and the last watcher are dropped, it is gone.
///
/// Nodes whose `ttl` passes unrenewed are out at that moment, and watchers are told with a `delete` (go-micro's
/// looks once a second and tells nobody). Watchers are told of what changed alone: a renewal that says nothing
/// new is no event. A watcher with 1024 unread events loses its watch.
///
/// ```
/// use micro_runtime::registry::{Memory, Node, Registry, Service};
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), micro_runtime::Error> {
/// let registry = Memory::new();
/// let greeter = Service {
///     name: "greeter".into(),
///     nodes: vec![Node { id: "greeter-1".into(), address: "10.0.0.7:5000".into(), ..Node::default() }],
///     ..Service::default()
/// };
/// registry.register(&greeter, Duration::from_secs(90)).await?;
/// assert_eq!(registry.clone().get("greeter").await?[0].version, "latest");
/// assert!(Memory::new().get("greeter").await?.is_empty());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct Memory(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// Held for short sections without a wait.
    state: Mutex<State>,
    /// The sweeper has to look again at what expires when. It holds this alone while it waits, so that it
    /// keeps nothing alive.
    sooner: Arc<Notify>,
}

#[derive(Default)]
struct State {
    services: BTreeMap<String, BTreeMap<String, Version>>,
    watches: Vec<Watch>,
    /// Nothing expires before; what does may expire later, if it was renewed.
    earliest: Option<Instant>,
    /// A task waits for the next node to expire.
    sweeping: bool,
}

/// A version; it has at least one node.
struct Version {
    /// Without its nodes.
    service: Service,
    nodes: BTreeMap<String, Lease>,
}

struct Lease {
    node: Node,
    /// `None` means never.
    expires: Option<Instant>,
}

struct Watch {
    name: Option<String>,
    events: mpsc::Sender<Result<Event, Error>>,
}

// ===== impl Memory =====

impl Memory {
    /// An empty registry that nobody else sees.
    #[must_use]
    pub fn new() -> Memory {
        Memory::default()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }

    /// Has a task wait for what expires, as long as anything does and anyone has the registry.
    fn sweep(&self, state: &mut State) {
        if state.sweeping {
            self.0.sooner.notify_one();
        } else if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            state.sweeping = true;
            let sweeping = Sweeping(Arc::downgrade(&self.0));
            runtime.spawn(sweep(sweeping, Arc::clone(&self.0.sooner)));
        }
        // Without a runtime nothing waits; what has expired is left out when anyone looks.
    }
}

impl Registry for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    /// # Errors
    ///
    /// The service has no name or no node, or a node has no id or no address.
    async fn register(&self, service: &Service, ttl: Duration) -> Result<(), Error> {
        service.check()?;
        let now = Instant::now();
        // A time beyond what the clock can say is as good as never.
        let expires = (!ttl.is_zero()).then(|| now.checked_add(ttl)).flatten();
        let mut state = self.lock();
        state.expire(now);
        state.register(service, expires);
        if let Some(expires) = expires
            && state.earliest.is_none_or(|earliest| expires < earliest)
        {
            state.earliest = Some(expires);
            self.sweep(&mut state);
        }
        Ok(())
    }

    async fn deregister(&self, service: &Service) -> Result<(), Error> {
        let mut state = self.lock();
        state.expire(Instant::now());
        state.deregister(service);
        Ok(())
    }

    async fn get(&self, name: &str) -> Result<Vec<Service>, Error> {
        let mut state = self.lock();
        state.expire(Instant::now());
        let versions = state.services.get(name);
        Ok(versions
            .into_iter()
            .flat_map(BTreeMap::values)
            .map(Version::whole)
            .collect())
    }

    async fn list(&self) -> Result<Vec<Service>, Error> {
        let mut state = self.lock();
        state.expire(Instant::now());
        let versions = state.services.values().flat_map(BTreeMap::values);
        Ok(versions.map(Version::whole).collect())
    }

    async fn watch(&self, name: Option<&str>) -> Result<Watcher, Error> {
        let (events, watcher) = mpsc::channel(WATCH_BUFFER);
        let mut state = self.lock();
        // Watches whose watcher is gone are found here too, where no event ever comes.
        state.watches.retain(|watch| !watch.events.is_closed());
        state.watches.push(Watch {
            name: name.map(str::to_owned),
            events,
        });
        Ok(Watcher::from_channel(watcher))
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Memory")
            .field("services", &state.services.keys())
            .field("watches", &state.watches.len())
            .finish()
    }
}

// ===== impl Shared =====

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

// ===== impl State =====

impl State {
    fn register(&mut self, service: &Service, expires: Option<Instant>) {
        let mut head = service.versioned();
        head.nodes.clear();
        let version = self
            .services
            .entry(head.name.clone())
            .or_default()
            .entry(head.version.clone())
            .or_insert_with(|| Version {
                service: head.clone(),
                nodes: BTreeMap::new(),
            });
        let head_changed = version.service != head;
        version.service = head.clone();
        let mut created = Vec::new();
        let mut updated = Vec::new();
        for node in &service.nodes {
            let lease = Lease {
                node: node.clone(),
                expires,
            };
            match version.nodes.insert(node.id.clone(), lease) {
                None => created.push(node.clone()),
                Some(old) if head_changed || old.node != *node => updated.push(node.clone()),
                Some(_) => {}
            }
        }
        self.tell(Action::Create, &head, created);
        self.tell(Action::Update, &head, updated);
    }

    fn deregister(&mut self, service: &Service) {
        let version = service.version_or_latest();
        self.remove(|of, node, _| {
            of.name == service.name
                && of.version == version
                && service.nodes.iter().any(|other| other.id == node.id)
        });
    }

    fn expire(&mut self, now: Instant) {
        if self.earliest.is_none_or(|earliest| now < earliest) {
            return;
        }
        self.remove(|_, _, expires| expires.is_some_and(|expires| expires <= now));
        let versions = self.services.values().flat_map(BTreeMap::values);
        self.earliest = versions
            .flat_map(|version| version.nodes.values())
            .filter_map(|lease| lease.expires)
            .min();
    }

    /// Removes nodes, tells the watchers, and leaves no version without nodes.
    fn remove(&mut self, goes: impl Fn(&Service, &Node, Option<Instant>) -> bool) {
        let mut events = Vec::new();
        self.services.retain(|_, versions| {
            versions.retain(|_, version| {
                let mut gone = Vec::new();
                let service = &version.service;
                version.nodes.retain(|_, lease| {
                    let goes = goes(service, &lease.node, lease.expires);
                    if goes {
                        gone.push(lease.node.clone());
                    }
                    !goes
                });
                if !gone.is_empty() {
                    events.push((version.service.clone(), gone));
                }
                !version.nodes.is_empty()
            });
            !versions.is_empty()
        });
        for (service, gone) in events {
            self.tell(Action::Delete, &service, gone);
        }
    }

    fn tell(&mut self, action: Action, service: &Service, nodes: Vec<Node>) {
        if nodes.is_empty() || self.watches.is_empty() {
            return;
        }
        let event = Event {
            action,
            service: Service {
                nodes,
                ..service.clone()
            },
        };
        self.watches.retain(|watch| {
            let concerns = watch.name.as_ref().is_none_or(|name| *name == service.name);
            // Full or closed: either way the watch is over.
            !concerns || watch.events.try_send(Ok(event.clone())).is_ok()
        });
    }
}

// ===== impl Version =====

impl Version {
    fn whole(&self) -> Service {
        let nodes = self.nodes.values().map(|lease| lease.node.clone());
        Service {
            nodes: nodes.collect(),
            ..self.service.clone()
        }
    }
}

/// The mark that a sweeper runs, taken back when it is dropped: at its end, or with its runtime.
struct Sweeping(Weak<Shared>);

impl Drop for Sweeping {
    fn drop(&mut self) {
        if let Some(shared) = self.0.upgrade() {
            shared.lock().sweeping = false;
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.sooner.notify_one();
    }
}

/// Removes nodes as they expire; ends with the registry. One timer for all of them costs nothing while it
/// waits, so it stays when there is nothing to wait for.
async fn sweep(sweeping: Sweeping, sooner: Arc<Notify>) {
    loop {
        let next = {
            let Some(shared) = sweeping.0.upgrade() else {
                return;
            };
            let mut state = shared.lock();
            state.expire(Instant::now());
            state.earliest
        };
        match next {
            Some(next) => {
                // Either way, look again.
                let _ = timeout_at(next, sooner.notified()).await;
            }
            None => sooner.notified().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{advance, sleep};

    use super::*;

    const TTL: Duration = Duration::from_secs(90);

    fn service(version: &str, nodes: &[&str]) -> Service {
        Service {
            name: "greeter".into(),
            version: version.into(),
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

    async fn found(registry: &Memory) -> Vec<String> {
        let services = Registry::get(registry, "greeter").await.unwrap();
        let nodes = services.iter().flat_map(|service| &service.nodes);
        nodes.map(|node| node.id.clone()).collect()
    }

    async fn register(registry: &Memory, service: &Service, ttl: Duration) {
        Registry::register(registry, service, ttl).await.unwrap();
    }

    async fn next(watcher: &mut Watcher) -> (Action, Vec<String>) {
        let event = watcher.next().await.unwrap().unwrap();
        let nodes = event.service.nodes.iter().map(|node| node.id.clone());
        (event.action, nodes.collect())
    }

    #[tokio::test(start_paused = true)]
    async fn clones_share_and_others_do_not() {
        let registry = Memory::new();
        register(&registry, &service("1", &["a"]), TTL).await;
        assert_eq!(found(&registry.clone()).await, ["a"]);
        assert!(found(&Memory::new()).await.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn versions_stand_side_by_side_and_go_with_their_last_node() {
        let registry = Memory::new();
        register(&registry, &service("", &["a"]), TTL).await;
        register(&registry, &service("2", &["b", "c"]), TTL).await;
        let services = Registry::list(&registry).await.unwrap();
        let versions: Vec<&str> = services.iter().map(|s| s.version.as_str()).collect();
        assert_eq!(versions, ["2", "latest"]);
        Registry::deregister(&registry, &service("2", &["b"]))
            .await
            .unwrap();
        assert_eq!(found(&registry).await, ["c", "a"]);
        Registry::deregister(&registry, &service("", &["a", "unknown"]))
            .await
            .unwrap();
        Registry::deregister(&registry, &service("2", &["c"]))
            .await
            .unwrap();
        assert!(Registry::list(&registry).await.unwrap().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_expires_unless_renewed_and_zero_never_does() {
        let registry = Memory::new();
        register(&registry, &service("1", &["a", "b"]), TTL).await;
        register(&registry, &service("1", &["c"]), Duration::ZERO).await;
        register(&registry, &service("1", &["d"]), Duration::MAX).await;
        advance(Duration::from_secs(60)).await;
        register(&registry, &service("1", &["a"]), TTL).await;
        advance(Duration::from_secs(29)).await;
        assert_eq!(found(&registry).await, ["a", "b", "c", "d"]);
        advance(Duration::from_secs(1)).await;
        assert_eq!(found(&registry).await, ["a", "c", "d"]);
        advance(Duration::from_secs(86_400 * 365)).await;
        assert_eq!(found(&registry).await, ["c", "d"]);
    }

    #[tokio::test(start_paused = true)]
    async fn watchers_are_told_what_changed_and_of_expiry() {
        let registry = Memory::new();
        let mut watcher = Registry::watch(&registry, Some("greeter")).await.unwrap();
        let mut all = Registry::watch(&registry, None).await.unwrap();
        let started = Instant::now();
        let mut other = service("1", &["x"]);
        other.name = "other".into();
        register(&registry, &other, Duration::ZERO).await;
        register(&registry, &service("1", &["a"]), TTL).await;
        register(&registry, &service("1", &["a"]), TTL).await;
        register(&registry, &service("1", &["a", "b"]), TTL * 2).await;
        let mut changed = service("1", &["b"]);
        changed.nodes[0].metadata.insert("k".into(), "v".into());
        register(&registry, &changed, TTL).await;
        assert_eq!(next(&mut watcher).await, (Action::Create, vec!["a".into()]));
        assert_eq!(next(&mut watcher).await, (Action::Create, vec!["b".into()]));
        assert_eq!(next(&mut watcher).await, (Action::Update, vec!["b".into()]));
        assert_eq!(next(&mut watcher).await, (Action::Delete, vec!["b".into()]));
        assert_eq!(started.elapsed().as_secs(), 90, "told when it expired");
        Registry::deregister(&registry, &service("1", &["a"]))
            .await
            .unwrap();
        assert_eq!(next(&mut watcher).await, (Action::Delete, vec!["a".into()]));
        assert_eq!(next(&mut all).await, (Action::Create, vec!["x".into()]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_shorter_ttl_than_those_before_is_kept() {
        let registry = Memory::new();
        let mut watcher = Registry::watch(&registry, None).await.unwrap();
        register(&registry, &service("1", &["a"]), TTL).await;
        sleep(Duration::from_secs(1)).await;
        register(&registry, &service("1", &["b"]), Duration::from_secs(5)).await;
        let started = Instant::now();
        next(&mut watcher).await;
        next(&mut watcher).await;
        assert_eq!(next(&mut watcher).await, (Action::Delete, vec!["b".into()]));
        assert_eq!(started.elapsed().as_secs(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_watcher_that_does_not_read_loses_its_watch_and_others_do_not() {
        let registry = Memory::new();
        let mut lazy = Registry::watch(&registry, None).await.unwrap();
        let mut eager = Registry::watch(&registry, None).await.unwrap();
        for _ in 0..=WATCH_BUFFER {
            register(&registry, &service("1", &["a"]), TTL).await;
            assert_eq!(next(&mut eager).await.0, Action::Create);
            Registry::deregister(&registry, &service("1", &["a"]))
                .await
                .unwrap();
            assert_eq!(next(&mut eager).await.0, Action::Delete);
        }
        let mut read = 0;
        while lazy.next().await.is_some() {
            read += 1;
        }
        assert_eq!(read, WATCH_BUFFER);
    }

    #[tokio::test(start_paused = true)]
    async fn dropping_the_registry_ends_watches_and_its_task() {
        let registry = Memory::new();
        register(&registry, &service("1", &["a"]), TTL).await;
        let mut watcher = Registry::watch(&registry, None).await.unwrap();
        let sooner = Arc::downgrade(&registry.0.sooner);
        drop(registry);
        assert!(watcher.next().await.is_none());
        sleep(Duration::from_millis(1)).await;
        assert!(sooner.upgrade().is_none(), "the task still waits");
    }

    #[test]
    fn expiry_outlives_the_runtime_it_was_started_in() {
        let runtime = || {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            builder.enable_time().start_paused(true).build().unwrap()
        };
        let registry = Memory::new();
        runtime().block_on(register(&registry, &service("1", &["a"]), TTL));
        runtime().block_on(async {
            register(&registry, &service("1", &["b"]), Duration::from_secs(1)).await;
            let mut watcher = Registry::watch(&registry, None).await.unwrap();
            assert_eq!(next(&mut watcher).await, (Action::Delete, vec!["b".into()]));
        });
    }

    #[tokio::test]
    async fn what_could_never_be_called_is_refused_and_says_why() {
        let registry = Memory::new();
        let no_name = Service {
            nodes: service("1", &["a"]).nodes,
            ..Service::default()
        };
        let mut no_address = service("1", &["a"]);
        no_address.nodes[0].address.clear();
        for (service, message) in [
            (no_name, "a service needs a name to be registered"),
            (
                service("1", &[]),
                "the service \"greeter\" needs a node to be registered, it has none",
            ),
            (
                no_address,
                "a node of the service \"greeter\" needs an id and an address, it has the id \"a\" and the address \"\"",
            ),
        ] {
            let error = Registry::register(&registry, &service, TTL)
                .await
                .unwrap_err();
            assert_eq!(error.to_string(), message);
        }
        assert!(Registry::list(&registry).await.unwrap().is_empty());
    }
}
