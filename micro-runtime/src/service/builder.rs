//! [`ServiceBuilder`]: what a service can be told in code.

use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::Service;
use super::hooks::{AllHooks, Turn};
use super::settings::{self, Settings};
use crate::broker::Broker;
use crate::client::ClientOptions;
use crate::error::Error;
use crate::interceptor::Interceptor;
use crate::registry::Registry;
use crate::selector::Strategy;
use crate::server::ServerOptions;
use crate::transport::{ClientLimits, ServerLimits};

/// What a service can be told in code, before [`init`](ServiceBuilder::init) or
/// [`build`](ServiceBuilder::build) makes it. Both only check and build: they spawn nothing, and work outside
/// of a runtime.
///
/// | call | settings from |
/// |---|---|
/// | [`build`](ServiceBuilder::build) | code alone |
/// | [`init_env`](ServiceBuilder::init_env) | code, then the environment |
/// | [`init`](ServiceBuilder::init) | code, then the environment, then the flags of the program |
/// | [`init_from`](ServiceBuilder::init_from) | code, then the environment, then these flags |
#[derive(Debug)]
#[must_use = "a builder does nothing until init or build is called"]
pub struct ServiceBuilder {
    pub(super) settings: Settings,
    pub(super) listener: Option<std::net::TcpListener>,
    pub(super) hooks: AllHooks,
    pub(super) limits: ServerLimits,
    pub(super) server: ServerOptions,
    pub(super) client: ClientOptions,
    pub(super) client_limits: ClientLimits,
    pub(super) strategy: Option<Own>,
    #[cfg(feature = "flags")]
    own_flags: Vec<String>,
}

/// A strategy that code has set.
pub(super) struct Own(pub(super) Arc<dyn Strategy>);

impl fmt::Debug for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("set in code")
    }
}

// ===== impl ServiceBuilder =====

impl ServiceBuilder {
    pub(super) fn new(name: String) -> ServiceBuilder {
        ServiceBuilder {
            settings: Settings::new(name),
            listener: None,
            hooks: AllHooks::default(),
            limits: ServerLimits::new(),
            server: ServerOptions::new(),
            client: ClientOptions::new(),
            client_limits: ClientLimits::new(),
            strategy: None,
            #[cfg(feature = "flags")]
            own_flags: Vec::new(),
        }
    }

    /// Its version; default `latest`. Callers may choose by it.
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.settings.version = version.into();
        self
    }

    /// What follows the name in its node's id, `<name>-<id>`; default a random UUID.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.settings.id = Some(id.into());
        self
    }

    /// Where to listen: `host:port`, `:port` (every interface, IPv6 and IPv4) or `unix:/path`; port 0 is a
    /// free one. Default `:0`.
    pub fn address(mut self, address: impl Into<String>) -> Self {
        self.settings.address = address.into();
        self
    }

    /// Listens on this socket instead of an address.
    pub fn listener(mut self, listener: std::net::TcpListener) -> Self {
        self.listener = Some(listener);
        self
    }

    /// The address to make known, `host:port`, `host` or `:port`; default where it listens, with the best
    /// address of the machine in the place of a wildcard.
    pub fn advertise(mut self, address: impl Into<String>) -> Self {
        self.settings.advertise = Some(address.into());
        self
    }

    /// Adds to its node's metadata. The keys that every server writes (`protocol`, `server`, `transport`,
    /// `registry`, `broker`) are refused.
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.metadata.insert(key.into(), value.into());
        self
    }

    /// Where it is made known and finds others; default multicast DNS (`registry::Mdns::new()`).
    pub fn registry(mut self, registry: impl Registry) -> Self {
        self.settings.set_registry(registry);
        self
    }

    /// What carries its events; default `broker::Http`, from program to program without a server. A build without
    /// the feature `http` has no default, and a service without a broker has no events.
    pub fn broker(mut self, broker: impl Broker) -> Self {
        self.settings.set_broker(broker);
        self
    }

    /// A directory in which the client keeps what the registry said of the services it calls, so that it can
    /// start while the registry is down; default none. One file per service, replaced as a whole, which may be
    /// shared by processes of one registry. It stands in for a registry that has not answered within 50 ms of the first call,
    /// or failed, if it is no more than 24 hours old; the registry's own answer takes its place.
    pub fn registry_snapshot(mut self, directory: impl Into<PathBuf>) -> Self {
        self.settings.registry_snapshot = Some(directory.into());
        self
    }

    /// How long a registration holds; default 90 s, zero means without an end.
    pub fn register_ttl(mut self, ttl: Duration) -> Self {
        self.settings.register_ttl = ttl;
        self
    }

    /// The time between two registrations; default 30 s, and at most a third of the TTL. Zero registers once.
    pub fn register_interval(mut self, interval: Duration) -> Self {
        self.settings.register_interval = Some(interval);
        self
    }

    /// The time of a unary call from look-up to trailers, if the call says nothing; default 5 s. `None`: no
    /// limit.
    pub fn request_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.settings.request_timeout = timeout.into();
        self
    }

    /// Further attempts of a call that may be made twice; default 1. Only methods that the proto calls
    /// idempotent are tried again after they may have run.
    pub fn retries(mut self, retries: u32) -> Self {
        self.settings.retries = retries;
        self
    }

    /// Picks any node ([`Random`](crate::selector::Random)), rather than the better of two.
    pub fn pick_random(self) -> Self {
        self.strategy(crate::selector::Random)
    }

    /// Picks one node after the other ([`RoundRobin`](crate::selector::RoundRobin)), rather than the better of two.
    pub fn pick_round_robin(self) -> Self {
        self.strategy(crate::selector::RoundRobin)
    }

    /// Picks nodes by the weight in their metadata ([`Weighted`](crate::selector::Weighted)), rather than the
    /// better of two.
    pub fn pick_weighted(self) -> Self {
        self.strategy(crate::selector::Weighted)
    }

    /// How the node of a call is picked; default [`P2c`](crate::selector::P2c), the faster and less busy of two.
    /// A name in `MICRO_SELECTOR` or `--selector` wins over it.
    pub fn strategy(mut self, strategy: impl Strategy) -> Self {
        self.settings.strategy = settings::Strategy::Own;
        self.strategy = Some(Own(Arc::new(strategy)));
        self
    }

    /// Connections to one node, at most.
    pub fn max_connections_per_node(mut self, connections: usize) -> Self {
        self.settings.max_connections_per_node = Some(connections);
        self
    }

    /// Limits of the server's connections.
    pub fn server_limits(mut self, limits: ServerLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Limits of the client's connections.
    pub fn client_limits(mut self, limits: ClientLimits) -> Self {
        self.client_limits = limits;
        self
    }

    /// Speaks TLS, and nothing else, with callers: who this service is, and whom it lets in. Default: plain
    /// text. Its node's metadata then says `secure=true`, for people: callers have to be told by
    /// [`client_tls`](ServiceBuilder::client_tls).
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: crate::transport::ServerTls) -> Self {
        self.settings.tls.server = Some(tls);
        self
    }

    /// Speaks TLS with every node that it calls, whatever the registry says of it: nodes of go-micro do not say
    /// whether they speak TLS, and who wrote to the registry must not decide whether calls are encrypted.
    /// Default: plain text.
    #[cfg(feature = "tls")]
    pub fn client_tls(mut self, tls: crate::transport::ClientTls) -> Self {
        self.settings.tls.client = Some(tls);
        self
    }

    /// Limits and interceptors of the server's calls; replaces what was set before.
    pub fn server_options(mut self, options: ServerOptions) -> Self {
        self.server = options;
        self
    }

    /// Adds an interceptor around every call that comes in, inside those that were added before.
    pub fn server_interceptor(mut self, interceptor: impl Interceptor) -> Self {
        self.server = self.server.interceptor(interceptor);
        self
    }

    /// What the client is told beside the settings above, which win: forwarded credentials, filters by
    /// version, the content type, interceptors; replaces what was set before.
    pub fn client_options(mut self, options: ClientOptions) -> Self {
        self.client = options;
        self
    }

    /// Adds an interceptor around every call that goes out, inside those that were added before.
    pub fn client_interceptor(mut self, interceptor: impl Interceptor) -> Self {
        self.client = self.client.interceptor(interceptor);
        self
    }

    /// How long to serve on after SIGTERM, once the node is taken out of the registry, while there are
    /// connections: callers learn meanwhile that it goes. Default 2 s.
    pub fn drain_delay(mut self, delay: Duration) -> Self {
        self.settings.drain_delay = delay;
        self
    }

    /// How long running calls, and handlers of events, may take to finish when the service stops; default 30 s.
    /// Then they are cut.
    pub fn stop_grace(mut self, grace: Duration) -> Self {
        self.settings.stop_grace = grace;
        self
    }

    /// Runs before the server listens. An error ends the start.
    pub fn before_start<F, Fut>(mut self, hook: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), Error>> + Send + 'static,
    {
        self.hooks.add(Turn::BeforeStart, hook);
        self
    }

    /// Runs once the server serves and was made known. An error stops it again.
    pub fn after_start<F, Fut>(mut self, hook: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), Error>> + Send + 'static,
    {
        self.hooks.add(Turn::AfterStart, hook);
        self
    }

    /// Runs before the node is taken out of the registry. An error is told at the end, and stops nothing.
    pub fn before_stop<F, Fut>(mut self, hook: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), Error>> + Send + 'static,
    {
        self.hooks.add(Turn::BeforeStop, hook);
        self
    }

    /// Runs when the last connection is closed. An error is told at the end.
    pub fn after_stop<F, Fut>(mut self, hook: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), Error>> + Send + 'static,
    {
        self.hooks.add(Turn::AfterStop, hook);
        self
    }

    /// Names flags of the program's own, without dashes, that [`init`](ServiceBuilder::init) leaves alone
    /// even where they look like misspelt ones of ours.
    #[cfg(feature = "flags")]
    pub fn own_flags<I, S>(mut self, flags: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: Into<String>,
    {
        self.own_flags.extend(flags.into_iter().map(Into::into));
        self
    }

    /// The service, by what code says alone. Installs no logging.
    ///
    /// # Errors
    /// A setting that is wrong: which one, what was expected and what was found.
    pub fn build(self) -> Result<Service, Error> {
        Service::from_builder(self)
    }

    /// The service, by what code says and then the environment (`MICRO_…`). Logs to stderr, unless the
    /// program has a `tracing` subscriber of its own.
    ///
    /// # Errors
    /// A setting that is wrong: which one, what was expected and what was found.
    pub fn init_env(mut self) -> Result<Service, Error> {
        self.settings
            .read_environment(|name| std::env::var_os(name))?;
        self.initialised()
    }

    /// The service, by what code says, then the environment (`MICRO_…`), then the program's flags: the long
    /// ones in the table of [this module](crate::service), up to `--`. Flags that are not ours are left to the
    /// program; one that nearly spells one of ours is an error. Logs to stderr, unless the program has a
    /// `tracing` subscriber of its own.
    ///
    /// # Errors
    /// A setting that is wrong: which one, what was expected and what was found.
    #[cfg(feature = "flags")]
    pub fn init(self) -> Result<Service, Error> {
        self.init_from(std::env::args_os().skip(1))
    }

    /// As [`init`](ServiceBuilder::init), with these arguments instead of the program's; without its name.
    ///
    /// # Errors
    /// A setting that is wrong: which one, what was expected and what was found.
    #[cfg(feature = "flags")]
    pub fn init_from<I, S>(mut self, arguments: I) -> Result<Service, Error>
    where
        I: IntoIterator<Item = S>,
        S: Into<std::ffi::OsString>,
    {
        self.settings
            .read_environment(|name| std::env::var_os(name))?;
        let arguments = arguments.into_iter().map(Into::into);
        self.settings.read_flags(arguments, &self.own_flags)?;
        self.initialised()
    }

    fn initialised(self) -> Result<Service, Error> {
        #[cfg(feature = "flags")]
        super::logs::install(self.settings.log_level);
        for (variable, why) in &self.settings.ignored {
            crate::events::no_effect(variable, why);
        }
        self.build()
    }
}
