//! [`Mdns`]: services found by multicast DNS on the local network, with no server to run.
//!
//! It speaks as go-micro's default registry does (v2.9.1 registry/mdns_registry.go and util/mdns), so that
//! Go services and ours find one another, and does better where that costs nobody anything: questions are
//! repeated, every interface is used, what changed is announced, records are renewed before they end.
//!
//! | file | holds |
//! |---|---|
//! | `name`, `wire`, `txt` | DNS names, DNS messages, the text of an instance |
//! | `records`, `heard` | an instance as packets, packets as instances |
//! | `responder`, `cache`, `lookup`, `watch` | what we say; what peers said; who asks; who listens |
//! | `engine` | these four together, without sockets and clocks |
//! | `task`, `sockets`, `interfaces` | the task that runs the engine on the real network |

mod cache;
mod engine;
mod heard;
mod interfaces;
mod lookup;
mod name;
mod records;
mod responder;
mod sockets;
mod task;
#[cfg(test)]
mod tests;
mod txt;
mod watch;
mod wire;

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use self::engine::{Engine, Prepared};
use self::interfaces::Selection;
use self::lookup::Subject;
use self::name::Name;
use self::sockets::Sockets;
use self::task::{Command, Task};
use self::txt::Text;
use super::common::fit::LeftOut;
use crate::error::Error;
use crate::lock::lock;
use crate::registry::{Node, Registry, Service, Watcher};

/// go-micro's domain.
const DOMAIN: &str = "micro";

/// The requests that wait for the task; further ones wait for room.
const COMMANDS: usize = 64;

/// Services found by multicast DNS, go-micro's default registry.
///
/// Values made by [`new`](Mdns::new) share nothing but the network; clones share everything. Making one
/// does nothing: sockets are opened, and the task that owns them is started, by the first request, which must
/// be made within a tokio runtime. When the last clone is dropped the task ends, and with it its watchers;
/// nobody is told that the nodes are gone unless they were deregistered.
///
/// * A node's address must be an IP address with a port.
/// * Metadata of services is not carried, that of nodes is. Endpoints are left out, with a warning, if they
///   do not fit a packet.
/// * [`get`](Registry::get) asks at 0, 100, 300 and 700 ms, ends 50 ms after the first answer, and takes
///   silence of 1.5 s for "none seen". It also gives the nodes heard of earlier whose time has not passed:
///   a node is gone when it says so, or 120 s after it was last heard of.
/// * [`list`](Registry::list) gives names only.
/// * [`watch`](Registry::watch) begins with what is known already. It asks up to twelve times in the first
///   5 s, fewer where nothing is lost, goes on asking, ever more rarely up to once a minute, and again before a
///   node's time ends. A watcher that falls 1,024 events behind is ended.
/// * Interfaces may come and go: they are looked at every 5 s, and a second after something could not be sent.
///   On one that comes, nodes are announced and what is watched is asked for anew. What was heard on one that
///   went stays known for its time.
/// * Each node needs an id of its own. Where two hosts register different nodes under one id, others see one of
///   the two, as they do with go-micro, and nobody renames a node: whoever announced last is believed and stays
///   while it answers; the other is found when it says goodbye or has been silent for three quarters of its
///   time. Both hosts log a warning.
/// * Port 5353 is shared with other programs. If it cannot be had, registering fails, and says so; looking up
///   still works.
///
/// ```no_run
/// # async fn example() -> Result<(), micro_runtime::Error> {
/// use micro_runtime::registry::{Mdns, Registry};
///
/// let registry = Mdns::new();
/// for service in registry.get("greeter").await? {
///     println!("{} {:?}", service.version, service.nodes);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Mdns(Arc<Shared>);

struct Shared {
    config: Config,
    /// The way to the task. A std mutex: it is held for a look at the sender, or to start the task.
    task: Mutex<Option<mpsc::Sender<Command>>>,
}

#[derive(Clone)]
struct Config {
    domain: String,
    selection: Selection,
}

// ===== impl Mdns =====

impl Mdns {
    /// A registry in go-micro's domain, `micro`, on every interface.
    #[must_use]
    pub fn new() -> Mdns {
        Mdns::from(Config {
            domain: DOMAIN.to_owned(),
            selection: Selection::All,
        })
    }

    /// Uses this domain instead of `micro`. Registries of different domains do not see each other.
    ///
    /// Like every setting it makes a value of its own, which shares nothing with the one it is called on.
    #[must_use]
    pub fn domain(self, domain: impl Into<String>) -> Mdns {
        Mdns::from(Config {
            domain: domain.into(),
            ..self.0.config.clone()
        })
    }

    /// Uses only the interfaces with these names, such as `eth0`, or with one of these addresses, such as
    /// `10.0.0.7`; by default all. One that appears later is used from then on.
    #[must_use]
    pub fn interfaces<N: Into<String>>(self, names: impl IntoIterator<Item = N>) -> Mdns {
        let names = names.into_iter().map(Into::into).collect();
        Mdns::from(Config {
            selection: Selection::Named(names),
            ..self.0.config.clone()
        })
    }

    /// Uses only the loopback interface, whatever the system calls it: nothing leaves the machine.
    #[must_use]
    pub fn loopback_only(self) -> Mdns {
        Mdns::from(Config {
            selection: Selection::Loopback,
            ..self.0.config.clone()
        })
    }

    fn from(config: Config) -> Mdns {
        Mdns(Arc::new(Shared {
            config,
            task: Mutex::new(None),
        }))
    }

    /// Sends a command to the task and waits for its reply.
    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> Command,
    ) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        let gone = || Error::registry("the mdns registry's task has ended with its tokio runtime");
        self.task()?
            .send(command(reply))
            .await
            .map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// The way to the task, which is started if there is none, or none any more.
    fn task(&self) -> Result<mpsc::Sender<Command>, Error> {
        let mut task = lock(&self.0.task);
        if let Some(running) = task.as_ref().filter(|sender| !sender.is_closed()) {
            return Ok(running.clone());
        }
        let runtime = tokio::runtime::Handle::try_current().map_err(|error| {
            Error::registry("the mdns registry must be used within a tokio runtime")
                .with_source(error)
        })?;
        let domain = &self.0.config.domain;
        let engine = Name::from_text(domain.trim_matches('.'))
            .and_then(|domain| Engine::new(domain, host_name(), fastrand::Rng::new()))
            .map_err(|why| {
                Error::config(format_args!("the mdns domain {domain:?} is wrong: {why}"))
            })?;
        let sockets = Sockets::open(self.0.config.selection.clone());
        let (sender, commands) = mpsc::channel(COMMANDS);
        runtime.spawn(Task::new(engine, sockets, commands));
        *task = Some(sender.clone());
        Ok(sender)
    }
}

impl Registry for Mdns {
    fn name(&self) -> &'static str {
        "mdns"
    }

    /// The node is announced, and answered for until the `ttl` passes unrenewed; then it says goodbye. Others know
    /// it for 120 s from what they heard last, whatever the `ttl` is.
    ///
    /// # Errors
    ///
    /// A node has no IP address with a port, a name is none that DNS can have, or the metadata has no room; port
    /// 5353 is taken by a program that does not share it, or no interface can be used.
    async fn register(&self, service: &Service, ttl: Duration) -> Result<(), Error> {
        let nodes = prepare(service)?;
        self.ask(|reply| Command::Register {
            service: service.clone(),
            nodes,
            ttl,
            reply,
        })
        .await
    }

    async fn deregister(&self, service: &Service) -> Result<(), Error> {
        self.ask(|reply| Command::Deregister {
            service: service.clone(),
            reply,
        })
        .await
    }

    /// # Errors
    ///
    /// It could not be asked on any interface, or the name is none that DNS can have.
    async fn get(&self, name: &str) -> Result<Vec<Service>, Error> {
        let subject = Subject::Service(name.to_owned());
        self.ask(|reply| Command::LookUp { subject, reply }).await
    }

    async fn list(&self) -> Result<Vec<Service>, Error> {
        let subject = Subject::List;
        self.ask(|reply| Command::LookUp { subject, reply }).await
    }

    async fn watch(&self, name: Option<&str>) -> Result<Watcher, Error> {
        let (events, watcher) = mpsc::channel(watch::BACKLOG);
        self.ask(|reply| Command::Watch {
            service: name.map(str::to_owned),
            events,
            reply,
        })
        .await?;
        Ok(Watcher::from_channel(watcher))
    }
}

impl Default for Mdns {
    fn default() -> Mdns {
        Mdns::new()
    }
}

impl fmt::Debug for Mdns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mdns")
            .field("domain", &self.0.config.domain)
            .field("interfaces", &self.0.config.selection)
            .finish_non_exhaustive()
    }
}

/// Checks a service's nodes and writes their texts.
fn prepare(service: &Service) -> Result<Vec<Prepared>, Error> {
    let mut left_out = LeftOut::Nothing;
    let mut nodes = Vec::with_capacity(service.nodes.len());
    for node in &service.nodes {
        let address = address(node)?;
        let (text, lost) = Text::new(service, node).encode_to_fit().ok_or_else(|| {
            Error::config(format_args!(
                "mdns cannot register the node {:?}: its metadata does not fit a packet of 60 KB",
                node.id
            ))
        })?;
        left_out = left_out.max(lost);
        nodes.push(Prepared {
            node: node.clone(),
            address,
            text,
        });
    }
    left_out.tell(&service.name, "mdns", txt::ROOM);
    Ok(nodes)
}

/// The address of a node, as DNS can carry it.
fn address(node: &Node) -> Result<SocketAddr, Error> {
    let bad = |why: &str| {
        Error::config(format_args!(
            "mdns cannot register the address {:?} of the node {:?}: {why}",
            node.address, node.id
        ))
    };
    let address: SocketAddr = node.address.parse().map_err(|_| {
        bad("expected an IP address with a port, such as 192.168.1.7:8080 or [fd00::7]:8080")
    })?;
    if address.port() == 0 {
        return Err(bad(
            "the port is 0, expected the one that the server listens on",
        ));
    }
    if address.ip().is_unspecified() {
        return Err(bad(
            "nobody can dial it, expected an address of this machine",
        ));
    }
    Ok(address)
}

/// The name that SRV records point to. go-micro uses the machine's, which Linux tells in a file; elsewhere, and
/// if it is no DNS name, a random one does: it only ties records of one packet together.
fn host_name() -> Name {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .and_then(|name| Name::from_text(name.trim()).ok())
        .or_else(|| Name::from_text(&format!("micro-{:08x}", fastrand::u32(..))).ok())
        .unwrap_or_default()
}
