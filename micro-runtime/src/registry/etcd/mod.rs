//! [`Etcd`]: a cluster of etcd, with go-micro's keys.
//!
//! | file | holds |
//! |---|---|
//! | `endpoint.rs` | the members' addresses, and how they are dialled |
//! | `link.rs` | the connection that is used, and which member is next |
//! | `auth.rs` | the token for a user and a password |
//! | `rpc.rs` | one question and its answer, whichever member gives it |
//! | `keys.rs` | go-micro's keys and values |
//! | `list.rs` | all keys of a range, in pages |
//! | `lease.rs` | the task that keeps a node registered |
//! | `stream.rs`, `watch.rs`, `view.rs` | a watch of etcd, the task of a watcher, what it knows |
//! | `gen/` | what `protoc-gen-micro` makes of `proto/etcd/` |

mod auth;
mod endpoint;
#[rustfmt::skip]
mod r#gen;
mod keys;
mod lease;
mod link;
mod list;
mod rpc;
mod stream;
#[cfg(test)]
mod tests;
mod view;
mod watch;

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use self::endpoint::{Credentials, Endpoints};
use self::lease::{Command, Done, Keeper};
use self::list::Read;
use self::rpc::Core;
use self::watch::Watch;
use super::common::{CALL_TIMEOUT, group};
use super::{Registry, Service, Watcher};
use crate::error::Error;
use crate::lock::lock;
#[cfg(feature = "tls")]
use crate::transport::ClientTls;

/// The generated code, as the files here name it.
mod pb {
    pub(super) use super::r#gen::etcdserverpb::*;
    pub(super) use super::r#gen::mvccpb::event::EventType;
    pub(super) use super::r#gen::mvccpb::{Event, KeyValue};
}

/// The longest that a call may be told to take.
const TIMEOUT_MAX: Duration = Duration::from_secs(86_400);

/// How long one connection may take to be made: four round trips around the world, with TLS.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// A member that is silent for so long is asked for a sign of life, and given up if it gives none. etcd takes
/// offence at less than 5 s (`--grpc-keepalive-min-time`).
const KEEP_ALIVE: Duration = Duration::from_secs(6);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(2);

/// Calls and watches at once; etcd sets no limit of its own.
const MAX_STREAMS: u32 = 10_000;

/// The first pause after a failure.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);

/// The longest pause before a lost connection is made again: what is lost is found again within 2 s of its
/// return.
const BACKOFF_MAX: Duration = Duration::from_millis(800);

/// Events that a watcher may leave unread. Then the watch waits, and etcd with it.
const WATCH_BUFFER: usize = 1024;

/// Services in a cluster of etcd 3, seen by go-micro's `etcd` registry and seeing it.
///
/// An address is `host`, `host:port` (default port 2379), `http://…` or `etcd://…`; with `https://…` or
/// `etcds://…` it is reached over TLS, with the parameters `ca`, `cert`, `key` (files) and `server_name`.
/// `user:password@` may stand before the host. All addresses are members of one cluster: one of them is
/// connected to with the first call, the next one when it fails. Without an address it is 127.0.0.1.
///
/// Keys and values are go-micro's: `/micro/registry/<service>/<node id>`, with a slash in either replaced by
/// `-`, and the service with that one node as JSON. A value that cannot be read is left out, with one warning.
///
/// * **register** puts the node's key with a lease of its `ttl`. Until the `ttl` passes, or the node is
///   registered anew, a task renews the lease at a third of it and watches the key; a lost lease or a removed
///   key is put back at once, and changes of the service are written. A registration that found no member
///   to write to fails, and goes on in the background until its `ttl` passes or it is deregistered.
/// * **deregister** removes the key and ends the lease.
/// * **get** is answered by any one member, even by one that lags behind or has lost its cluster.
/// * **list** tells the whole services.
/// * **watch** lists, and tells every change from that revision on. Whatever happens in between (a lost
///   connection, compaction, a cancelled watch, another member, a store put back from a backup), it goes on
///   from where it was, or lists anew and tells the differences; it does the latter every five minutes
///   anyway. An outage is told as an error, and the watch goes on after it. A watcher that does not read
///   holds its own watch up, and nothing else.
///
/// Clones share everything. When the last one is dropped, its connection and tasks end, and with them its
/// watches; what it has registered and not taken out goes when its `ttl` has passed.
///
/// ```
/// use micro_runtime::registry::Etcd;
///
/// let registry = Etcd::new(["10.0.0.7:2379", "10.0.0.8:2379", "10.0.0.9:2379"])
///     .credentials("micro", "secret");
/// # let _ = registry;
/// assert!(Etcd::try_new(["zk://10.0.0.7"]).is_err());
/// ```
#[derive(Clone)]
pub struct Etcd(Arc<Inner>);

struct Inner {
    config: Result<Config, String>,
    /// Made with the first call.
    running: OnceLock<Running>,
}

#[derive(Clone)]
struct Config {
    endpoints: Endpoints,
    credentials: Option<Credentials>,
    prefix: String,
    timeout: Duration,
}

struct Running {
    core: Arc<Core>,
    /// Dropped, it ends all of them. Held for short sections without a wait.
    tasks: Mutex<JoinSet<()>>,
}

// ===== impl Etcd =====

impl Etcd {
    /// The cluster with members at these addresses. If one of them is none, every call fails and says so;
    /// [`try_new`](Etcd::try_new) finds out at once. Nothing is connected yet.
    #[must_use]
    pub fn new<A: Into<String>>(addresses: impl IntoIterator<Item = A>) -> Etcd {
        let addresses: Vec<String> = addresses.into_iter().map(Into::into).collect();
        let config = Endpoints::parse(&addresses).map(|endpoints| Config {
            credentials: endpoints.credentials.clone(),
            endpoints,
            prefix: keys::PREFIX.to_owned(),
            timeout: CALL_TIMEOUT,
        });
        Etcd::of(config.map_err(|error| error.to_string()))
    }

    /// The cluster with members at these addresses.
    ///
    /// # Errors
    ///
    /// One of them is no address of etcd.
    pub fn try_new<A: Into<String>>(addresses: impl IntoIterator<Item = A>) -> Result<Etcd, Error> {
        let etcd = Etcd::new(addresses);
        etcd.config()?;
        Ok(etcd)
    }

    /// The user that it is used as. Default: the one that stands in the addresses, or none.
    #[must_use]
    pub fn credentials(self, user: impl Into<String>, password: impl Into<String>) -> Etcd {
        self.with(|config| {
            config.credentials = Some(Credentials {
                user: user.into(),
                password: password.into(),
            });
        })
    }

    /// Uses TLS to every member whose address does not begin with `http://` or `etcd://`, with these
    /// certificates where the address has no parameters of its own. Default: TLS with the system's roots, to
    /// the members whose addresses ask for it.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(self, tls: ClientTls) -> Etcd {
        self.with(|config| config.endpoints.use_tls(tls))
    }

    /// What every key begins with. Default: `/micro/registry/`, which go-micro has.
    #[must_use]
    pub fn prefix(self, prefix: impl Into<String>) -> Etcd {
        self.with(|config| config.prefix = prefix.into())
    }

    /// How long one call may take, whichever members are tried. Default: 4 s, at most a day; a member that does
    /// not answer within 2 s is given up for the next one.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Etcd {
        self.with(|config| config.timeout = timeout.min(TIMEOUT_MAX))
    }

    fn of(config: Result<Config, String>) -> Etcd {
        Etcd(Arc::new(Inner {
            config,
            running: OnceLock::new(),
        }))
    }

    /// One of its own, with other settings.
    fn with(self, change: impl FnOnce(&mut Config)) -> Etcd {
        let mut config = self.0.config.clone();
        if let Ok(config) = &mut config {
            change(config);
        }
        Etcd::of(config)
    }

    fn config(&self) -> Result<&Config, Error> {
        self.0.config.as_ref().map_err(Error::config)
    }

    fn running(&self) -> Result<&Running, Error> {
        let config = self.config()?;
        Ok(self.0.running.get_or_init(|| {
            Running::new(Core::new(
                config.endpoints.to_string(),
                config.endpoints.clone(),
                config.credentials.clone(),
                &config.prefix,
                config.timeout,
            ))
        }))
    }

    async fn read(&self, name: Option<&str>) -> Result<Vec<Service>, Error> {
        let core = &self.running()?.core;
        let listed = core.list(&core.keys.nodes(name), Read::Local).await;
        let listed = listed.map_err(|status| match name {
            Some(name) => core.error(format_args!("look up {name:?}"), &status),
            None => core.error("list the services", &status),
        })?;
        let mut services = Vec::with_capacity(listed.kvs.len());
        for kv in listed.kvs {
            match keys::decode(&kv.value) {
                Ok(service) if name.is_none_or(|name| name == service.name) => {
                    services.push(service);
                }
                Ok(_) => {}
                Err(why) => core.warned.warn(&kv.key, kv.mod_revision, &why),
            }
        }
        Ok(group::versions(services))
    }
}

impl Registry for Etcd {
    fn name(&self) -> &'static str {
        "etcd"
    }

    /// # Errors
    ///
    /// The service has no name or no node, or a node has no id; or etcd refuses, or is not reached.
    async fn register(&self, service: &Service, ttl: Duration) -> Result<(), Error> {
        service.check()?;
        let running = self.running()?;
        let service = service.versioned();
        let mut outcomes = Vec::with_capacity(service.nodes.len());
        for node in &service.nodes {
            let value = keys::encode(&service, node)?;
            outcomes.push(
                running.command(&service.name, &node.id, |done| Command::Register {
                    value,
                    ttl,
                    done,
                })?,
            );
        }
        all(outcomes).await
    }

    async fn deregister(&self, service: &Service) -> Result<(), Error> {
        let running = self.running()?;
        let mut outcomes = Vec::with_capacity(service.nodes.len());
        for node in &service.nodes {
            let command = |done| Command::Deregister { done };
            outcomes.push(running.command(&service.name, &node.id, command)?);
        }
        all(outcomes).await
    }

    async fn get(&self, name: &str) -> Result<Vec<Service>, Error> {
        self.read(Some(name)).await
    }

    async fn list(&self) -> Result<Vec<Service>, Error> {
        self.read(None).await
    }

    async fn watch(&self, name: Option<&str>) -> Result<Watcher, Error> {
        let running = self.running()?;
        let (events, watcher) = mpsc::channel(WATCH_BUFFER);
        let watch = Watch::begin(Arc::clone(&running.core), name, events).await;
        let watch = watch.map_err(|status| running.core.error("be watched", &status))?;
        running.spawn(watch.run());
        Ok(Watcher::from_channel(watcher))
    }
}

impl fmt::Debug for Etcd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Etcd");
        match &self.0.config {
            Ok(config) => out
                .field("endpoints", &format_args!("{}", config.endpoints))
                .field("credentials", &config.credentials)
                .field("prefix", &config.prefix)
                .field("timeout", &config.timeout),
            Err(error) => out.field("error", error),
        };
        out.finish_non_exhaustive()
    }
}

// ===== impl Running =====

impl Running {
    fn new(core: Core) -> Running {
        Running {
            core: Arc::new(core),
            tasks: Mutex::default(),
        }
    }

    /// Gives a node's keeper a command; what comes back is its outcome.
    fn command(
        &self,
        service: &str,
        node: &str,
        command: impl FnOnce(Done) -> Command,
    ) -> Result<oneshot::Receiver<Result<(), Error>>, Error> {
        let key = self.core.keys.node(service, node);
        let (done, outcome) = oneshot::channel();
        if let Some(commands) = self.core.command(&key, command(done))? {
            self.spawn(Keeper::new(Arc::clone(&self.core), key, commands).run());
        }
        Ok(outcome)
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = lock(&self.tasks);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }
}

/// Waits for every outcome; the first that is an error comes back.
async fn all(outcomes: Vec<oneshot::Receiver<Result<(), Error>>>) -> Result<(), Error> {
    let mut first = Ok(());
    for outcome in outcomes {
        let outcome = outcome.await.unwrap_or_else(|_| {
            Err(Error::registry(
                "the registry was dropped before it was done",
            ))
        });
        first = first.and(outcome);
    }
    first
}
