//! Service discovery: the [`Registry`] trait, and what it speaks of.

pub(crate) mod cache;
pub(crate) mod common;
#[cfg(feature = "consul")]
mod consul;
#[cfg(feature = "dns")]
mod dns;
#[cfg(feature = "etcd")]
mod etcd;
mod fixed;
#[cfg(feature = "kubernetes")]
mod kubernetes;
#[cfg(feature = "mdns")]
pub mod mdns;
mod memory;
mod multi;
#[cfg(feature = "nats")]
mod nats;
mod types;
#[cfg(feature = "zookeeper")]
mod zookeeper;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::error::Error;
use crate::exchange::BoxFuture;

#[cfg(feature = "consul")]
pub use consul::Consul;
#[cfg(feature = "dns")]
pub use dns::Dns;
#[cfg(feature = "etcd")]
pub use etcd::Etcd;
pub use fixed::Fixed;
#[cfg(feature = "kubernetes")]
pub use kubernetes::Kubernetes;
#[cfg(feature = "mdns")]
pub use mdns::Mdns;
pub use memory::Memory;
pub use multi::Multi;
#[cfg(feature = "nats")]
pub use nats::Nats;
pub use types::{Action, Endpoint, Event, Node, Service, Value};
pub(crate) use types::{LATEST, keys};
#[cfg(feature = "zookeeper")]
pub use zookeeper::ZooKeeper;

/// Where services are made known and found.
///
/// The model is go-micro's: a [`Service`] has a name, a version, endpoints and nodes. Implementations keep
/// whatever connection they need themselves; every method may be called at any time, at once and in any
/// order. Dropping a future gives the request up.
///
/// Servers and clients wait 5 s for a call. A registry that gives up a little before can say why.
///
/// # Errors
///
/// | [`kind`](crate::ErrorKind) | means |
/// |---|---|
/// | `Registry` | it refused, failed or was not reached; the same call may succeed later |
/// | `Config` | a setting or a name is wrong: waiting does not mend it |
/// | `Unsupported` | this registry never can |
///
/// # Example
///
/// One of one's own, which reads what others write and has no way to tell of changes:
///
/// ```
/// use std::time::Duration;
///
/// use micro_runtime::registry::{Registry, Service, Watcher};
/// use micro_runtime::{Error, ErrorKind};
///
/// struct Listed(Vec<Service>);
///
/// impl Registry for Listed {
///     fn name(&self) -> &'static str {
///         "listed"
///     }
///
///     async fn register(&self, _service: &Service, _ttl: Duration) -> Result<(), Error> {
///         Ok(())
///     }
///
///     async fn deregister(&self, _service: &Service) -> Result<(), Error> {
///         Ok(())
///     }
///
///     async fn get(&self, name: &str) -> Result<Vec<Service>, Error> {
///         let all = self.0.iter();
///         Ok(all.filter(|service| service.name == name).cloned().collect())
///     }
///
///     async fn list(&self) -> Result<Vec<Service>, Error> {
///         Ok(self.0.clone())
///     }
///
///     async fn watch(&self, _name: Option<&str>) -> Result<Watcher, Error> {
///         Err(Error::new(ErrorKind::Unsupported, "the list does not tell of changes"))
///     }
/// }
///
/// let service = micro_runtime::Service::new("hellooo").registry(Listed(Vec::new())).build()?;
/// # drop(service);
/// # Ok::<_, Error>(())
/// ```
pub trait Registry: Send + Sync + 'static {
    /// Its name as in `MICRO_REGISTRY` and in log lines, such as `mdns`.
    fn name(&self) -> &'static str;

    /// Makes a service's nodes known, or refreshes them, for `ttl`; zero means without an end. Registering
    /// what is there already renews it and takes over what changed.
    fn register(
        &self,
        service: &Service,
        ttl: Duration,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Takes a service's nodes out. That they are not there is no error.
    fn deregister(&self, service: &Service) -> impl Future<Output = Result<(), Error>> + Send;

    /// A service's versions with their nodes. An empty list is the answer "there is none", which is not the
    /// error "I could not find out".
    fn get(&self, name: &str) -> impl Future<Output = Result<Vec<Service>, Error>> + Send;

    /// Every service; a registry that knows only names gives services without nodes.
    fn list(&self) -> impl Future<Output = Result<Vec<Service>, Error>> + Send;

    /// What happens from now on, to one service or to all. A registry may begin with what is there already, as
    /// [`Create`](Action::Create). Of one that does not offer it, [`ErrorKind::Unsupported`](crate::ErrorKind),
    /// clients look a service up again every 15 s.
    fn watch(&self, name: Option<&str>) -> impl Future<Output = Result<Watcher, Error>> + Send;
}

/// The events of a [`Registry::watch`]; dropping it ends the watch.
pub struct Watcher(mpsc::Receiver<Result<Event, Error>>);

// ===== impl Watcher =====

impl Watcher {
    /// A watcher over a channel: what an implementation's task sends is what its user gets. Dropping the
    /// sender ends the watch; the sender finds out when the watcher is dropped.
    #[must_use]
    pub fn from_channel(receiver: mpsc::Receiver<Result<Event, Error>>) -> Watcher {
        Watcher(receiver)
    }

    /// The next event; `None` when the registry has ended the watch. After an error the watch goes on if it
    /// can, and gives `None` if it cannot. A dropped future has taken no event.
    pub async fn next(&mut self) -> Option<Result<Event, Error>> {
        self.0.recv().await
    }
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watcher")
    }
}

/// [`Registry`] as an object, which builders keep; every registry is one.
pub(crate) trait DynRegistry: Send + Sync + 'static {
    fn name(&self) -> &'static str;
    fn register<'a>(
        &'a self,
        service: &'a Service,
        ttl: Duration,
    ) -> BoxFuture<'a, Result<(), Error>>;
    fn deregister<'a>(&'a self, service: &'a Service) -> BoxFuture<'a, Result<(), Error>>;
    fn get<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<Service>, Error>>;
    fn list(&self) -> BoxFuture<'_, Result<Vec<Service>, Error>>;
    fn watch<'a>(&'a self, name: Option<&'a str>) -> BoxFuture<'a, Result<Watcher, Error>>;
}

impl<R: Registry> DynRegistry for R {
    fn name(&self) -> &'static str {
        Registry::name(self)
    }

    fn register<'a>(
        &'a self,
        service: &'a Service,
        ttl: Duration,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(Registry::register(self, service, ttl))
    }

    fn deregister<'a>(&'a self, service: &'a Service) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(Registry::deregister(self, service))
    }

    fn get<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<Service>, Error>> {
        Box::pin(Registry::get(self, name))
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<Service>, Error>> {
        Box::pin(Registry::list(self))
    }

    fn watch<'a>(&'a self, name: Option<&'a str>) -> BoxFuture<'a, Result<Watcher, Error>> {
        Box::pin(Registry::watch(self, name))
    }
}

/// Any registry, as one type: what a service was built with. Cloning it is cheap.
#[derive(Clone)]
pub struct AnyRegistry(Arc<dyn DynRegistry>);

// ===== impl AnyRegistry =====

impl AnyRegistry {
    /// This registry.
    #[must_use]
    pub fn new(registry: impl Registry) -> AnyRegistry {
        AnyRegistry(Arc::new(registry))
    }

    pub(crate) fn of(registry: Arc<dyn DynRegistry>) -> AnyRegistry {
        AnyRegistry(registry)
    }

    pub(crate) fn object(&self) -> &Arc<dyn DynRegistry> {
        &self.0
    }
}

impl Registry for AnyRegistry {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    async fn register(&self, service: &Service, ttl: Duration) -> Result<(), Error> {
        self.0.register(service, ttl).await
    }

    async fn deregister(&self, service: &Service) -> Result<(), Error> {
        self.0.deregister(service).await
    }

    async fn get(&self, name: &str) -> Result<Vec<Service>, Error> {
        self.0.get(name).await
    }

    async fn list(&self) -> Result<Vec<Service>, Error> {
        self.0.list().await
    }

    async fn watch(&self, name: Option<&str>) -> Result<Watcher, Error> {
        self.0.watch(name).await
    }
}

impl fmt::Debug for AnyRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AnyRegistry").field(&self.0.name()).finish()
    }
}
