//! [`ZooKeeper`]: services in ZooKeeper, where go-micro's plugin keeps them.
//!
//! | file | holds |
//! |---|---|
//! | `config` | addresses and options |
//! | `client` | one session: ZooKeeper's protocol, over TCP or TLS |
//! | `record` | services as paths and as data |
//! | `session` | the session, and what has to be there as long as it lasts |
//! | `node` | one node: made sure of, taken out |
//! | `read`, `watch` | reading whole, and being told of changes |

mod client;
mod config;
mod node;
mod read;
mod record;
mod session;
mod watch;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch as watched};
use tokio::time::timeout;

use self::config::Config;
use self::session::{Failed, Link, Shared};
use crate::error::Error;
use crate::registry::common::task::Task;
use crate::registry::{Registry, Service, Watcher};

/// Services in [ZooKeeper](https://zookeeper.apache.org), in the layout of go-micro's plugin:
/// `/micro-registry/<service>/<node id>` with `-` for each `/` of a name, holding the JSON of the service with
/// that one node. Go services and ours find one another.
///
/// Clones share one session. Making one does nothing: the first call, which must be made within a tokio
/// runtime, connects. When the last clone is dropped, its watches end, the session is closed and with it every
/// node that was registered through it.
///
/// * **Time.** Nodes of ours are ephemeral: they live as long as the session, whatever `ttl` says, zero
///   included. A process that dies, or cannot reach ZooKeeper, is out when its session has timed out:
///   [`session_timeout`](ZooKeeper::session_timeout), 10 s by default. Nodes of go-micro are persistent, so
///   they stay until they are deregistered, whatever happens to their process. They are found all the same.
/// * [`register`](Registry::register) holds until [`deregister`](Registry::deregister): the node is made again
///   at once when the session was lost, and also when ZooKeeper could not be reached at the call, whose error
///   says so. Registering again makes sure that the node is there with these data and belongs to our session.
/// * [`get`](Registry::get) and [`list`](Registry::list) read all nodes they are about. Data that are no
///   service are left out, with one warning.
/// * [`watch`](Registry::watch) tells what changes from now on, in single events for many nodes. After a lost
///   connection everything is read again and compared. A watcher that leaves 1,024 events unread is ended.
///   Before ZooKeeper 3.6 it reads everything every 5 s.
/// * Every call ends after [`timeout`](ZooKeeper::timeout), 4 s by default.
///
/// An address is `host:port` (2181 by default) or `zk://user:password@host:port/path`: a user is presented by
/// ZooKeeper's `digest` scheme, and what is registered then may be read by everyone but written by that user
/// alone; without one, everyone may do everything, as with go-micro. `/micro-registry` lies below the path,
/// which must be the same in all addresses. SASL is not spoken.
///
/// `zks://host:2281?ca=FILE&cert=FILE&key=FILE` (2281 by default; with the Cargo feature `tls`) speaks TLS: with
/// the authorities in `ca`, without it the system's, with the certificate and key if the server asks for one, and
/// with `server_name` where the server's certificate has another name than its address. One address says it for
/// all that have no scheme. An ensemble may know users by their certificates (`x509`); what is registered is guarded
/// only if a `digest` user is given too.
///
/// ```no_run
/// # async fn example() -> Result<(), micro_runtime::Error> {
/// use micro_runtime::registry::{Registry, ZooKeeper};
///
/// let registry = ZooKeeper::new(["zk1:2181", "zk2:2181", "zk3:2181"]);
/// for service in registry.get("greeter").await? {
///     println!("{} {:?}", service.version, service.nodes);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ZooKeeper(Arc<Task<Config, Link>>);

// ===== impl ZooKeeper =====

impl ZooKeeper {
    /// The ensemble of these servers; none means `127.0.0.1:2181`. An address that is none is an error of
    /// every call.
    #[must_use]
    pub fn new<A: AsRef<str>>(addresses: impl IntoIterator<Item = A>) -> ZooKeeper {
        let addresses: Vec<A> = addresses.into_iter().collect();
        ZooKeeper(Arc::new(Task::new(Config::new(&addresses))))
    }

    /// The same, with the error now.
    ///
    /// # Errors
    ///
    /// An address is malformed, has an unknown scheme, or asks for TLS in a build without it.
    pub fn try_new<A: AsRef<str>>(
        addresses: impl IntoIterator<Item = A>,
    ) -> Result<ZooKeeper, Error> {
        let addresses: Vec<A> = addresses.into_iter().collect();
        Ok(ZooKeeper(Arc::new(Task::new(Ok(Config::new(&addresses)?)))))
    }

    /// The user and password of ZooKeeper's `digest` scheme; instead of an address's.
    ///
    /// Like every setting it makes a value of its own, which shares nothing with the one it is called on.
    #[must_use]
    pub fn credentials(self, user: &str, password: &str) -> ZooKeeper {
        self.set(|config| config.set_digest(user, password))
    }

    /// How to use TLS, with every server. An address that asks for none (`zk://`), or has parameters of TLS itself,
    /// is an error then.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(self, tls: crate::transport::ClientTls) -> ZooKeeper {
        self.set(move |config| config.set_tls(&tls))
    }

    /// The path below which services lie, instead of `/micro-registry`; an address's path is not put before it.
    #[must_use]
    pub fn prefix(self, path: &str) -> ZooKeeper {
        self.set(|config| config.set_root(path))
    }

    /// How long ZooKeeper waits for a sign of life before it takes our nodes out; 10 s by default. Servers
    /// keep it between 2 and 20 of their ticks.
    #[must_use]
    pub fn session_timeout(self, time: Duration) -> ZooKeeper {
        self.set(|config| {
            config.session_timeout =
                time.clamp(Duration::from_millis(100), Duration::from_secs(3600));
            Ok(())
        })
    }

    /// How long a call may take; 4 s by default, a day at most.
    #[must_use]
    pub fn timeout(self, time: Duration) -> ZooKeeper {
        self.set(|config| {
            config.timeout = time.min(Duration::from_secs(24 * 3600));
            Ok(())
        })
    }

    fn set(self, change: impl FnOnce(&mut Config) -> Result<(), Error>) -> ZooKeeper {
        ZooKeeper(Arc::new(self.0.with(change)))
    }

    /// The way to the session, whose task is started if there is none, or none any more.
    fn link(&self) -> Result<Link, Error> {
        self.0.link("zookeeper", |config, before, runtime| {
            // What was registered before is still to be there.
            let shared = match before {
                Some(before) => before.shared,
                None => Arc::new(Shared::new(config.clone())),
            };
            let (sender, sessions) = watched::channel(None);
            let task = runtime.spawn(session::run(Arc::clone(&shared), sender));
            (Link { shared, sessions }, task.abort_handle())
        })
    }
}

impl Registry for ZooKeeper {
    fn name(&self) -> &'static str {
        "zookeeper"
    }

    /// The `ttl` is not used: the session's time is the node's.
    async fn register(&self, service: &Service, _ttl: Duration) -> Result<(), Error> {
        let mut link = self.link()?;
        for record in record::records(service)? {
            let data: Arc<[u8]> = record.data.into();
            let (shared, path) = (Arc::clone(&link.shared), record.path);
            let before = shared.kept(&path);
            shared.keep(&path, Arc::clone(&data));
            let written = link
                .call(|session| {
                    let (shared, path, data) =
                        (Arc::clone(&shared), path.clone(), Arc::clone(&data));
                    async move { node::ensure(&shared, &session, &path, &data).await }
                })
                .await;
            match written {
                // Given up meanwhile, by another call: that was the last word.
                Ok(()) if shared.kept(&path).is_none() => {
                    link.call(|session| {
                        let (shared, path) = (Arc::clone(&shared), path.clone());
                        async move { node::remove(&shared, &session, &path).await }
                    })
                    .await?;
                }
                Ok(()) => {}
                Err(Failed::Refused(error)) if before.is_none() => {
                    shared.forget(&path);
                    return Err(error);
                }
                Err(failed) => {
                    shared.write_later();
                    return Err(failed.into());
                }
            }
        }
        Ok(())
    }

    async fn deregister(&self, service: &Service) -> Result<(), Error> {
        let mut link = self.link()?;
        for node in &service.nodes {
            let path = record::path(service, &node.id)?;
            link.shared.forget(&path);
            let shared = Arc::clone(&link.shared);
            link.call(|session| {
                let (shared, path) = (Arc::clone(&shared), path.clone());
                async move { node::remove(&shared, &session, &path).await }
            })
            .await?;
        }
        Ok(())
    }

    async fn get(&self, name: &str) -> Result<Vec<Service>, Error> {
        let mut link = self.link()?;
        let directory = record::name(name);
        if config::check_name(&directory).is_err() {
            // No service can have such a name here.
            return Ok(Vec::new());
        }
        let shared = Arc::clone(&link.shared);
        let mut nodes = link
            .call(|session| {
                let (shared, directory) = (Arc::clone(&shared), directory.clone());
                async move { read::nodes(&shared, &session, Some(&directory)).await }
            })
            .await?;
        // Another service may share the directory: `a/b` and `a-b`.
        nodes.retain(|_, (_, service)| service.name == name);
        Ok(read::services(nodes))
    }

    async fn list(&self) -> Result<Vec<Service>, Error> {
        let mut link = self.link()?;
        let shared = Arc::clone(&link.shared);
        let nodes = link
            .call(|session| {
                let shared = Arc::clone(&shared);
                async move { read::nodes(&shared, &session, None).await }
            })
            .await?;
        Ok(read::services(nodes))
    }

    async fn watch(&self, name: Option<&str>) -> Result<Watcher, Error> {
        let link = self.link()?;
        if let Some(name) = name
            && let Err(why) = config::check_name(&record::name(name))
        {
            return Err(Error::registry(format_args!(
                "the name {name:?} cannot be watched in zookeeper: {why}"
            )));
        }
        let shared = Arc::clone(&link.shared);
        let (events, watcher) = mpsc::channel(watch::BACKLOG);
        let (ready, stands) = oneshot::channel();
        let mut watcher = Watcher::from_channel(watcher);
        tokio::spawn(watch::Watch::new(link, name.map(str::to_owned), events).run(ready));
        tokio::select! {
            stands = timeout(shared.config.timeout, stands) => match stands {
                Ok(Ok(())) => Ok(watcher),
                Ok(Err(_)) => Err(session::ended()),
                Err(_) => Err(shared.late()),
            },
            // Before it stands, it only says why it cannot.
            Some(Err(error)) = watcher.next() => Err(error),
        }
    }
}

impl fmt::Debug for ZooKeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ZooKeeper").field(&self.0).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn times_may_be_as_long_as_they_can_be() {
        let registry = ZooKeeper::new(["127.0.0.1:1"])
            .timeout(Duration::MAX)
            .session_timeout(Duration::MAX);
        // Nobody is there: it waits.
        let got = timeout(Duration::from_millis(50), registry.get("a")).await;
        assert!(got.is_err());
        let watched = timeout(Duration::from_millis(50), registry.watch(None)).await;
        assert!(watched.is_err());
    }
}
