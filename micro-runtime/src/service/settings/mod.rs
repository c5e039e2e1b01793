//! Every setting of a service, and where it may come from: code, then the environment, then flags, the later
//! winning. Nothing else of the runtime reads the environment.

mod address;
mod broker;
mod chosen;
mod duration;
mod environment;
#[cfg(feature = "flags")]
mod flags;
mod multi;
#[cfg(feature = "kubernetes")]
mod pod;
mod registry;
mod table;
#[cfg(test)]
mod tests;
mod tls;
mod value;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::broker::{AnyBroker, Broker};
use crate::error::Error;
use crate::registry::{AnyRegistry, LATEST, Registry};
use crate::transport::Address;

pub(crate) use address::{join, split};
use chosen::Request;
use registry::Chosen;
#[cfg(feature = "tls")]
pub(crate) use tls::Tls;
use value::Given;
pub(crate) use value::{Origin, shown};

/// Every interface and a free port, as go-micro.
const ADDRESS: &str = ":0";

/// How long a registration holds (go-micro: 90 s in code, 60 s through its flags).
const REGISTER_TTL: Duration = Duration::from_secs(90);

/// The longest time between two registrations; a shorter TTL shortens it to a third of that.
const REGISTER_INTERVAL: Duration = Duration::from_secs(30);

/// The time of a unary call, from look-up to trailers (go-micro v2: 5 s).
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Further attempts of a call that may be made twice (go-micro v2: 1).
const RETRIES: u32 = 1;

/// How long a server that was asked to terminate serves on, so that callers learn that it goes.
const DRAIN_DELAY: Duration = Duration::from_secs(2);

/// How long running calls may take to finish after that.
const STOP_GRACE: Duration = Duration::from_secs(30);

/// What every server writes into its node's metadata, over the user's (go-micro server/grpc/grpc.go).
const RESERVED_METADATA: [&str; 5] = ["broker", "protocol", "registry", "server", "transport"];

/// Every setting, with its default until something sets it.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The service's name.
    pub(crate) name: String,
    /// Its version.
    pub(crate) version: String,
    /// What follows the name in the node's id; a random UUID if nothing is said.
    pub(crate) id: Option<String>,
    /// Where to listen.
    pub(crate) address: String,
    /// What to write into the registry, if not where it listens.
    pub(crate) advertise: Option<String>,
    /// The node's metadata.
    pub(crate) metadata: BTreeMap<String, String>,
    /// How long a registration holds; zero: without an end.
    pub(crate) register_ttl: Duration,
    /// The time between registrations; zero: only one. Follows the TTL if nothing is said.
    pub(crate) register_interval: Option<Duration>,
    /// Where the client keeps what the registry said.
    pub(crate) registry_snapshot: Option<PathBuf>,
    /// The way a node is picked.
    pub(crate) strategy: Strategy,
    /// The time of a unary call; `None`: without an end.
    pub(crate) request_timeout: Option<Duration>,
    /// Further attempts of a call that may be made twice.
    pub(crate) retries: u32,
    /// Connections to one node; `None`: as the client has it.
    pub(crate) max_connections_per_node: Option<usize>,
    /// Where all calls go instead of to their service.
    pub(crate) proxy: Option<Proxy>,
    /// The least level of what `init` logs.
    pub(crate) log_level: LogLevel,
    /// How long a server that was asked to terminate serves on.
    pub(crate) drain_delay: Duration,
    /// How long running calls may take to finish after that.
    pub(crate) stop_grace: Duration,
    /// Variables that were set and do nothing, each with the reason.
    pub(crate) ignored: Vec<(&'static str, &'static str)>,
    /// The registry that code has set.
    registry: Option<Chosen>,
    /// What environment and flags say of it.
    request: Request,
    /// The broker that code has set.
    broker: Option<broker::Chosen>,
    /// What environment and flags say of it.
    broker_request: Request,
    /// The TLS that code has set.
    #[cfg(feature = "tls")]
    pub(crate) tls: Tls,
    /// What environment and flags say of it.
    tls_request: tls::Request,
}

/// Settings that have been checked and belong together.
#[derive(Debug)]
pub(crate) struct Resolved {
    /// As they were, with `id` filled in.
    pub(crate) settings: Settings,
    /// The registry.
    pub(crate) registry: AnyRegistry,
    /// The broker.
    pub(crate) broker: AnyBroker,
    /// `settings.address`, read.
    pub(crate) listen: Address,
    /// `<name>-<id>`.
    pub(crate) node_id: String,
    /// `settings.register_interval`, or what follows from the TTL.
    pub(crate) register_interval: Duration,
    /// TLS, with its files read.
    #[cfg(feature = "tls")]
    pub(crate) tls: Tls,
}

/// The ways to pick a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Strategy {
    /// Any of them.
    Random,
    /// One after the other.
    RoundRobin,
    /// By the nodes' metadata.
    Weighted,
    /// The better of two.
    #[default]
    P2c,
    /// What code has set, which has no name.
    Own,
}

/// `MICRO_PROXY`: where all calls go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Proxy {
    /// To this address.
    Address(String),
    /// To the nodes of this service.
    Service(String),
}

/// The levels of `MICRO_LOG_LEVEL`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum LogLevel {
    /// Everything.
    Trace,
    /// What helps to find a fault.
    Debug,
    /// What happens.
    #[default]
    Info,
    /// What may need a look.
    Warn,
    /// What failed.
    Error,
    /// go-micro's last; nothing of ours is above an error, so it is the same as `Error`.
    Fatal,
}

// ===== impl Settings =====

impl Settings {
    /// The defaults.
    pub(crate) fn new(name: impl Into<String>) -> Settings {
        Settings {
            name: name.into(),
            version: LATEST.to_owned(),
            id: None,
            address: ADDRESS.to_owned(),
            advertise: None,
            metadata: BTreeMap::new(),
            register_ttl: REGISTER_TTL,
            register_interval: None,
            registry_snapshot: None,
            strategy: Strategy::default(),
            request_timeout: Some(REQUEST_TIMEOUT),
            retries: RETRIES,
            max_connections_per_node: None,
            proxy: None,
            log_level: LogLevel::default(),
            drain_delay: DRAIN_DELAY,
            stop_grace: STOP_GRACE,
            ignored: Vec::new(),
            registry: None,
            request: Request::default(),
            broker: None,
            broker_request: Request::default(),
            #[cfg(feature = "tls")]
            tls: Tls::default(),
            tls_request: tls::Request::default(),
        }
    }

    /// The registry that code sets; one of ours can be given other addresses from outside.
    pub(crate) fn set_registry<R: Registry>(&mut self, registry: R) {
        self.registry = Some(registry::set(registry));
    }

    /// The broker that code sets; the same holds.
    pub(crate) fn set_broker<B: Broker>(&mut self, broker: B) {
        self.broker = Some(broker::set(broker));
    }

    /// Takes over what the environment says. An empty variable is one that is not set, as in go-micro.
    ///
    /// # Errors
    /// The first variable whose value is not what it has to be, or which must not be ignored and cannot be
    /// followed.
    pub(crate) fn read_environment(
        &mut self,
        lookup: impl Fn(&str) -> Option<std::ffi::OsString>,
    ) -> Result<(), Error> {
        environment::read(self, lookup)
    }

    /// Takes over what flags say, and gives what is left to the program, in order. To be called after
    /// [`read_environment`](Settings::read_environment), over which flags win. `args` is without the
    /// program's name; `own` are flags of the program's, without dashes, that are left to it even if their
    /// names are ours or close to them.
    ///
    /// # Errors
    /// The first flag of ours with a wrong or a missing value, or without effect here, and the first that
    /// nearly spells one of ours.
    #[cfg(feature = "flags")]
    pub(crate) fn read_flags(
        &mut self,
        args: impl IntoIterator<Item = std::ffi::OsString>,
        own: &[String],
    ) -> Result<Vec<std::ffi::OsString>, Error> {
        flags::read(self, args, own)
    }

    /// Checks everything, also what code has set, and what belongs together.
    ///
    /// # Errors
    /// The first setting that is wrong, or that contradicts another.
    pub(crate) fn resolve(mut self) -> Result<Resolved, Error> {
        table::check_word(&self.name, &Origin::Code("Service::new"), "a name")?;
        table::check_word(
            &self.version,
            &Origin::Code("ServiceBuilder::version"),
            "a version",
        )?;
        for (key, value) in &self.metadata {
            table::check_metadata(key, value, &Origin::Code("ServiceBuilder::metadata"))?;
        }
        if let Some(advertise) = &self.advertise {
            table::check_advertise(&Given {
                text: advertise,
                origin: Origin::Code("ServiceBuilder::advertise"),
            })?;
        }
        let listen = address::listen(&Given {
            text: &self.address,
            origin: Origin::Code("ServiceBuilder::address"),
        })?;
        let id = match self.id.take() {
            Some(id) => id,
            None => uuid::Uuid::new_v4().to_string(),
        };
        table::check_word(&id, &Origin::Code("ServiceBuilder::id"), "an id")?;
        let register_interval = self.interval()?;
        let registry =
            registry::resolve(self.registry.as_ref(), &self.request, registry::BUILT_IN)?;
        let broker = broker::resolve(self.broker.as_ref(), &self.broker_request)?;
        #[cfg(not(feature = "tls"))]
        self.tls_request.check()?;
        #[cfg(feature = "tls")]
        let tls = self.tls_request.resolve(&self.tls)?;
        let node_id = format!("{}-{id}", self.name);
        self.id = Some(id);
        Ok(Resolved {
            settings: self,
            registry: AnyRegistry::of(registry),
            broker,
            listen,
            node_id,
            register_interval,
            #[cfg(feature = "tls")]
            tls,
        })
    }

    /// The time between two registrations: a third of the TTL leaves two further attempts before it is over.
    fn interval(&self) -> Result<Duration, Error> {
        let ttl = self.register_ttl;
        let interval = match self.register_interval {
            Some(interval) => interval,
            None if ttl.is_zero() => REGISTER_INTERVAL,
            None => REGISTER_INTERVAL.min(ttl / 3),
        };
        if !ttl.is_zero() && (interval.is_zero() || interval >= ttl) {
            return Err(Error::config(format_args!(
                "register_ttl and register_interval: expected an interval shorter than the ttl, found {interval:?} and \
                 {ttl:?}, with which the registration would run out; set the interval to a third of the ttl"
            )));
        }
        Ok(interval)
    }
}
