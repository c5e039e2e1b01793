//! A service as a program: its settings, its log, its life from start to stop.
//!
#![doc = include_str!("settings/settings.md")]

pub(crate) mod advertise;
mod builder;
mod events;
mod hooks;
#[cfg(feature = "flags")]
mod logs;
mod running;
mod settings;
mod signals;

use std::fmt;
use std::net::TcpListener;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::broker::{AnyBroker, Broker};
use crate::client::{Client, Dial};
use crate::error::Error;
use crate::exchange::{BoxFuture, Broken, Connection, Why};
use crate::lock::lock;
use crate::registry::AnyRegistry;
use crate::registry::cache::Cache;
use crate::selector::{P2c, Random, RoundRobin, Weighted};
use crate::server::Server;
#[cfg(feature = "tls")]
use crate::transport::ClientTls;
use crate::transport::{self, Address, ClientLimits, ServerLimits};

pub use builder::ServiceBuilder;
use events::Subscriptions;
use hooks::AllHooks;
pub use running::Running;
use settings::{Proxy, Resolved, Settings, Strategy};

/// A service: a server, a client, the registry that both use, and a broker for events. Cloning it is cheap, and the clones are one
/// service; dropping it stops neither its server nor its clients.
///
/// ```no_run
/// use micro_runtime::{Error, Service};
///
/// # async fn example() -> Result<(), Error> {
/// let service = Service::new("hellooo").init()?;
/// // register_hello_handler(service.server(), Hello)?;
/// service.run().await
/// # }
/// ```
#[derive(Clone)]
pub struct Service(Arc<Inner>);

struct Inner {
    settings: Settings,
    listen: Address,
    node_id: String,
    register_interval: Duration,
    #[cfg(feature = "tls")]
    tls: settings::Tls,
    registry: AnyRegistry,
    broker: AnyBroker,
    subscriptions: Subscriptions,
    server: Server,
    client: Client,
    limits: ServerLimits,
    hooks: AllHooks,
    listener: Mutex<Option<TcpListener>>,
    started: AtomicBool,
}

// ===== impl Service =====

impl Service {
    /// Begins a service of this name, by which others find it: dots, letters and digits, as
    /// `go.micro.srv.greeter`.
    #[expect(clippy::new_ret_no_self, reason = "what comes first are its settings")]
    #[must_use = "a builder does nothing until init or build is called"]
    pub fn new(name: impl Into<String>) -> ServiceBuilder {
        ServiceBuilder::new(name.into())
    }

    fn from_builder(builder: ServiceBuilder) -> Result<Service, Error> {
        let Resolved {
            settings,
            registry,
            broker,
            listen,
            node_id,
            register_interval,
            #[cfg(feature = "tls")]
            tls,
        } = builder.settings.resolve()?;
        broker.attach(&registry);
        let server = Server::new(&settings.name, builder.server);

        let mut options = builder
            .client
            .timeout(settings.request_timeout)
            .retries(settings.retries);
        if let Some(connections) = settings.max_connections_per_node {
            options = options.max_connections_per_node(connections);
        }
        if let Some(proxy) = &settings.proxy {
            let (Proxy::Address(proxy) | Proxy::Service(proxy)) = proxy;
            options = options.proxy(proxy);
        }
        let strategy: Arc<dyn crate::selector::Strategy> = match settings.strategy {
            Strategy::Random => Arc::new(Random),
            Strategy::RoundRobin => Arc::new(RoundRobin),
            Strategy::Weighted => Arc::new(Weighted),
            Strategy::P2c => Arc::new(P2c),
            Strategy::Own => match builder.strategy {
                Some(own) => own.0,
                None => Arc::new(P2c),
            },
        };
        let dial = Arc::new(Network {
            limits: builder.client_limits,
            #[cfg(feature = "tls")]
            tls: tls.client.clone(),
        });
        let mut cache = Cache::new(Arc::clone(registry.object()));
        if let Some(directory) = &settings.registry_snapshot {
            cache = cache.with_snapshots(directory);
        }
        let client = Client::with_cache(cache, strategy, dial, options)?;
        Ok(Service(Arc::new(Inner {
            settings,
            listen,
            node_id,
            register_interval,
            #[cfg(feature = "tls")]
            tls,
            registry,
            broker,
            subscriptions: Subscriptions::default(),
            server,
            client,
            limits: builder.limits,
            hooks: builder.hooks,
            listener: Mutex::new(builder.listener),
            started: AtomicBool::new(false),
        })))
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.settings.name
    }

    /// Its node's id in the registry, `<name>-<id>`.
    #[must_use]
    pub fn node_id(&self) -> &str {
        &self.0.node_id
    }

    /// Its server, to which handlers are added.
    #[must_use]
    pub fn server(&self) -> &Server {
        &self.0.server
    }

    /// Its client, with which others are called; it works whether the service runs or not.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.0.client
    }

    /// Its registry.
    #[must_use]
    pub fn registry(&self) -> &AnyRegistry {
        &self.0.registry
    }
}

/// Dials nodes over the network.
struct Network {
    limits: ClientLimits,
    #[cfg(feature = "tls")]
    tls: Option<ClientTls>,
}

impl Dial for Network {
    fn dial(&self, address: Arc<str>) -> BoxFuture<'static, Result<Connection, Broken>> {
        let limits = self.limits.clone();
        #[cfg(feature = "tls")]
        let tls = self.tls.clone();
        Box::pin(async move {
            let address: Address = address.parse().map_err(|error: Error| {
                Broken::new(Why::Closed).unprocessed().with_detail(error)
            })?;
            #[cfg(feature = "tls")]
            if let Some(tls) = &tls {
                return transport::dial_tls(&address, &limits, tls).await;
            }
            transport::dial(&address, &limits).await
        })
    }
}

impl Inner {
    fn take_listener(&self) -> Option<TcpListener> {
        lock(&self.listener).take()
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("name", &self.name())
            .field("node_id", &self.node_id())
            .field("registry", &self.0.registry)
            .field("server", &self.0.server)
            .finish_non_exhaustive()
    }
}
