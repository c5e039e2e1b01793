//! [`Nats`]: services that tell of themselves over NATS, as go-micro's NATS registry does.
//!
//! | file | holds |
//! |---|---|
//! | `config` | addresses and options |
//! | `wire` | what is said, as JSON |
//! | `own` | what is registered here |
//! | `view` | what watches have heard of, and whose silence is too long |
//! | `ask` | asking everybody, gathering answers |
//! | `task` | the connection, and the task that has it |

mod ask;
mod config;
mod connect;
mod own;
mod task;
mod view;
mod wire;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, timeout};

use self::config::Config;
use self::task::{Command, Shared};
use self::wire::Query;
use crate::error::Error;
use crate::nats::Login;
use crate::registry::common::group;
use crate::registry::common::task::Task;
use crate::registry::{Action, Registry, Service, Watcher};

/// Commands that wait for the task; further ones wait for room.
const COMMANDS: usize = 64;

/// The most of a time that is set: what is waited for longer is not waited for.
const TIME_MAX: Duration = Duration::from_secs(24 * 3600);

/// The pause before a question is asked again whose connection was lost.
const AGAIN: Duration = Duration::from_millis(50);

/// Services that tell of themselves over [NATS](https://nats.io), as go-micro's NATS registry does. There is no
/// store: each process answers for what it has registered.
///
/// Clones share one connection. Making one does nothing: the first call, which must be made within a tokio
/// runtime, connects. When the last clone is dropped, its watches end, and nobody answers any more for what was
/// registered through it.
///
/// * Both families of go-micro's subjects are spoken, `micro.nats.*` (v5, v6) and `micro.registry.nats.*` (the
///   plugins for v2 and v4): asked on, answered on, listened to.
/// * **Answers.** [`get`](Registry::get) and [`list`](Registry::list) ask everybody and gather what comes
///   within [`window`](Nats::window), 100 ms by default: nobody knows how many will answer, so the time is always
///   used up, unless nobody at all listens. An answer later than that is not seen.
/// * **Time.** A node whose `ttl` passes unrenewed is no longer answered for, and watchers are told. A `ttl` of
///   zero has no end. A process that dies is absent from answers at once; a watch takes its nodes out when they
///   have been silent for their `ttl`, if a node of ours said it, or for [`silence`](Nats::silence), 90 s by
///   default, and do not answer when asked once more. Time without a connection counts as nobody's silence.
/// * [`register`](Registry::register) holds until [`deregister`](Registry::deregister) or its `ttl`, also when
///   NATS could not be reached at the call, whose error says so. After each new connection everything registered
///   is told again at once.
/// * [`watch`](Registry::watch) tells what changes from now on. Every 30 s it is asked who is there, which finds
///   what was not heard. A watcher that leaves 1,024 events unread is ended.
/// * What others publish on these subjects is believed, as with go-micro: who may do so is the business of
///   NATS' permissions. What is no service is passed over, with one warning.
/// * Every call ends after [`timeout`](Nats::timeout), 4 s by default.
///
/// An address is `host:port` (4222 by default), `nats://user:password@host:port`, `nats://token@host:port`,
/// `nats://host?creds=FILE` with a file of credentials as `nsc` writes it, `nats://host?nkey=FILE` with a file
/// that has the seed of a user, or each of these with `tls://`, which takes `?ca=FILE&cert=FILE&key=FILE` too and
/// needs the Cargo feature `tls`. For a cluster give several: servers that others tell of are not used, and all
/// are told the same user, the last that an address names. Files are read anew for each connection.
///
/// ```no_run
/// # async fn example() -> Result<(), micro_runtime::Error> {
/// use micro_runtime::registry::{Nats, Registry};
///
/// let registry = Nats::new(["nats://user:password@nats1", "nats2:4222"]);
/// for service in registry.get("greeter").await? {
///     println!("{} {:?}", service.version, service.nodes);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Nats(Arc<Task<Config, Link>>);

/// The way to the task.
#[derive(Clone)]
struct Link {
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
    clients: watch::Receiver<Option<Client>>,
}

// ===== impl Nats =====

impl Nats {
    /// The registry over these servers; none means `127.0.0.1:4222`. An address that is none is an error of
    /// every call.
    #[must_use]
    pub fn new<A: AsRef<str>>(addresses: impl IntoIterator<Item = A>) -> Nats {
        let addresses: Vec<A> = addresses.into_iter().collect();
        Nats(Arc::new(Task::new(Config::new(&addresses))))
    }

    /// The same, with the error now.
    ///
    /// # Errors
    ///
    /// An address is malformed, has an unknown scheme, or asks for TLS in a build without it.
    pub fn try_new<A: AsRef<str>>(addresses: impl IntoIterator<Item = A>) -> Result<Nats, Error> {
        let addresses: Vec<A> = addresses.into_iter().collect();
        Ok(Nats(Arc::new(Task::new(Ok(Config::new(&addresses)?)))))
    }

    /// The user and password to connect with; instead of an address's.
    ///
    /// Like every setting it makes a value of its own, which shares nothing with the one it is called on.
    #[must_use]
    pub fn credentials(self, user: &str, password: &str) -> Nats {
        self.set(|config| {
            config.servers.login = Login::User(user.to_owned(), password.to_owned());
            Ok(())
        })
    }

    /// The token to connect with; instead of an address's.
    #[must_use]
    pub fn token(self, token: &str) -> Nats {
        self.set(|config| {
            config.servers.login = Login::Token(token.to_owned());
            Ok(())
        })
    }

    /// The file of credentials to connect with: a JWT, and the seed of its user, as `nsc` writes them; instead of
    /// what an address says. It is read for each connection, so that a new one is taken from the next on.
    #[must_use]
    pub fn credentials_file(self, path: impl AsRef<Path>) -> Nats {
        self.set(|config| {
            config.servers.login = Login::Credentials(path.as_ref().to_owned());
            Ok(())
        })
    }

    /// The file with the seed of the user to connect as (`SU…`), whose public key the server knows; instead of
    /// what an address says. It is read for each connection.
    #[must_use]
    pub fn nkey_file(self, path: impl AsRef<Path>) -> Nats {
        self.set(|config| {
            config.servers.login = Login::Nkey(path.as_ref().to_owned());
            Ok(())
        })
    }

    /// How to use TLS, for every server; instead of what the addresses say.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(self, tls: crate::transport::ClientTls) -> Nats {
        self.set(|config| {
            config.servers.set_tls(tls);
            Ok(())
        })
    }

    /// The subjects of questions and of news, instead of both families of go-micro's; for fleets that have
    /// configured others.
    #[must_use]
    pub fn subjects(self, query: &str, watch: &str) -> Nats {
        self.set(|config| {
            config::check_subject(query)?;
            config::check_subject(watch)?;
            config.query_subjects = vec![query.to_owned()];
            config.watch_subjects = vec![watch.to_owned()];
            Ok(())
        })
    }

    /// How long answers to a question are waited for; 100 ms by default, as with go-micro. A day at most, as the
    /// other times here.
    #[must_use]
    pub fn window(self, time: Duration) -> Nats {
        self.set(|config| {
            config.window = time.min(TIME_MAX);
            Ok(())
        })
    }

    /// How long nodes that do not say their `ttl`, which are go-micro's, may be silent; 90 s by default, three
    /// of its renewals.
    #[must_use]
    pub fn silence(self, time: Duration) -> Nats {
        self.set(|config| {
            config.silence = time.min(TIME_MAX);
            Ok(())
        })
    }

    /// How long a call may take; 4 s by default.
    #[must_use]
    pub fn timeout(self, time: Duration) -> Nats {
        self.set(|config| {
            config.timeout = time.min(TIME_MAX);
            Ok(())
        })
    }

    fn set(self, change: impl FnOnce(&mut Config) -> Result<(), Error>) -> Nats {
        Nats(Arc::new(self.0.with(change)))
    }

    /// The way to the task, which is started if there is none, or none any more.
    fn link(&self) -> Result<Link, Error> {
        self.0.link("nats", |config, before, runtime| {
            // What was registered before is still to be answered for.
            let shared = match before {
                Some(before) => before.shared,
                None => Arc::new(Shared::new(config.clone())),
            };
            let (sender, clients) = watch::channel(None);
            let (commands, receiver) = mpsc::channel(COMMANDS);
            let task = runtime.spawn(task::run(Arc::clone(&shared), receiver, sender));
            let link = Link {
                shared,
                commands,
                clients,
            };
            (link, task.abort_handle())
        })
    }

    /// Asks, and again if the connection is lost meanwhile.
    async fn ask(&self, query: Query) -> Result<Vec<Service>, Error> {
        let mut link = self.link()?;
        let queries = [query].into();
        let deadline = Instant::now() + link.shared.config.timeout;
        loop {
            let client = link.client(deadline).await?;
            let left = deadline.saturating_duration_since(Instant::now());
            match ask::ask(&link.shared, &client, &queries, left).await {
                Ok(answers) => {
                    return Ok(group::versions(
                        answers.into_iter().map(|said| said.service),
                    ));
                }
                Err(_) if Instant::now() + AGAIN < deadline => sleep(AGAIN).await,
                Err(_) => return Err(link.shared.late()),
            }
        }
    }

    /// Tells that what is registered here has changed, and resolves when the server has passed that on.
    async fn tell(
        &self,
        link: &Link,
        action: Action,
        service: &Service,
        ttl: Option<Duration>,
    ) -> Result<(), Error> {
        let shared = &link.shared;
        let limit = shared.config.timeout;
        let told = async {
            loop {
                let (reply, stands) = oneshot::channel();
                let sent = link.commands.send(Command::Answer(reply)).await;
                sent.map_err(|_| ended())?;
                let client = stands.await.map_err(|_| ended())?;
                let subjects = &shared.config.watch_subjects;
                let published = ask::publish(&client, subjects, limit, |also_on| {
                    wire::write_event(action, service, ttl, also_on)
                });
                if published.await.is_ok() && ask::carried(shared, &client, limit).await.is_ok() {
                    return Ok(());
                }
                sleep(AGAIN).await;
            }
        };
        timeout(limit, told)
            .await
            .unwrap_or_else(|_| Err(shared.late()))
    }
}

// ===== impl Link =====

impl Link {
    async fn client(&mut self, deadline: Instant) -> Result<Client, Error> {
        let client = async {
            let client = self.clients.wait_for(Option::is_some).await;
            let client = client.ok()?.clone();
            // What was said last stays to be read after the task has ended.
            self.clients.has_changed().ok()?;
            client
        };
        match tokio::time::timeout_at(deadline, client).await {
            Ok(Some(client)) => Ok(client),
            Ok(None) => Err(ended()),
            Err(_) => Err(self.shared.late()),
        }
    }
}

fn ended() -> Error {
    Error::registry("the nats registry's task has ended with its tokio runtime")
}

impl Registry for Nats {
    fn name(&self) -> &'static str {
        "nats"
    }

    async fn register(&self, service: &Service, ttl: Duration) -> Result<(), Error> {
        let link = self.link()?;
        service.check()?;
        let service = service.versioned();
        let ttl = (!ttl.is_zero()).then_some(ttl);
        let size = wire::write_event(Action::Create, &service, ttl, None).len();
        if size > wire::MESSAGE_MAX {
            return Err(Error::registry(format_args!(
                "NATS carries messages of at most {} bytes, the service {:?} has {size}",
                wire::MESSAGE_MAX,
                service.name
            )));
        }
        link.shared
            .own(|own| own.register(&service, ttl, Instant::now()));
        link.shared.own_changed();
        self.tell(&link, Action::Create, &service, ttl).await
    }

    async fn deregister(&self, service: &Service) -> Result<(), Error> {
        let link = self.link()?;
        let service = service.versioned();
        link.shared.own(|own| own.deregister(&service));
        link.shared.own_changed();
        self.tell(&link, Action::Delete, &service, None).await
    }

    async fn get(&self, name: &str) -> Result<Vec<Service>, Error> {
        let mut services = self.ask(Query::Get(name.to_owned())).await?;
        services.retain(|service| service.name == name);
        Ok(services)
    }

    async fn list(&self) -> Result<Vec<Service>, Error> {
        self.ask(Query::List).await
    }

    async fn watch(&self, name: Option<&str>) -> Result<Watcher, Error> {
        let link = self.link()?;
        let (events, watcher) = mpsc::channel(view::BACKLOG);
        let (stands, standing) = oneshot::channel();
        let command = Command::Watch {
            name: name.map(str::to_owned),
            events,
            stands,
        };
        let asked = async {
            link.commands.send(command).await.map_err(|_| ended())?;
            standing.await.map_err(|_| ended())
        };
        match timeout(link.shared.config.timeout, asked).await {
            Ok(stands) => stands.map(|()| Watcher::from_channel(watcher)),
            Err(_) => Err(link.shared.late()),
        }
    }
}

impl fmt::Debug for Nats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Nats").field(&self.0).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn times_may_be_as_long_as_they_can_be() {
        let registry = Nats::new(["127.0.0.1:1"])
            .timeout(Duration::MAX)
            .window(Duration::MAX)
            .silence(Duration::MAX);
        // Nobody is there: it waits.
        let got = timeout(Duration::from_millis(50), registry.get("a")).await;
        assert!(got.is_err());
        let watched = timeout(Duration::from_millis(50), registry.watch(None)).await;
        assert!(watched.is_err());
    }
}
