//! [`Nats`]: events over NATS, at most once by the core, at least once by JetStream.
//!
//! | file | holds |
//! |---|---|
//! | `config` | addresses and options |
//! | `hub` | the way to the connection, and the task that keeps one |
//! | `line` | one connection: sending, flushing, what the server does not allow |
//! | `publish`, `many` | publishing one, or many together, with what each level promises |
//! | `core`, `backlog` | a subscription at most once, and what waits for its handlers |
//! | `pull`, `held` | a subscription at least once, and what is not settled of it |
//! | `consumer` | what both are to their user |
//! | `api`, `streams`, `consumers`, `names` | JetStream: requests, streams and consumers made or looked at |
//! | `wire` | events and subjects as they are on the wire |

mod api;
mod backlog;
mod config;
mod consumer;
mod consumers;
mod core;
mod held;
mod hub;
mod line;
mod many;
mod names;
mod publish;
mod pull;
mod streams;
mod wire;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use self::config::{Config, Named};
use self::hub::{Hub, broker};
use super::{Broker, Delivery, Message, Topic, check_name};
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};
use crate::nats::Login;
use crate::registry::common::task::Task;

pub use consumer::NatsConsumer;

/// What was configured, and the task that has the connection.
type Home = Task<Config, Hub>;

/// How long [`Broker::close`] waits for what is being published.
const DRAIN: Duration = Duration::from_secs(5);

/// Events over [NATS](https://nats.io), in go-micro's form and on its subjects: a topic is a subject, a queue a queue
/// group, a payload the message in JSON. Go services with go-micro's `nats` broker are on the other end.
///
/// Clones share one connection. Making one does nothing: the first call, which must be made within a tokio runtime,
/// connects. When the last clone and the last subscription is dropped, the connection ends.
///
/// # The levels
///
/// | | [`AtMostOnce`](Delivery::AtMostOnce) | [`AtLeastOnce`](Delivery::AtLeastOnce) |
/// |---|---|---|
/// | rests on | core NATS, as go-micro | JetStream (a server since 2.9, started with `-js`) |
/// | `publish` resolves when | the server has the event | a stream has stored it |
/// | a connection is lost meanwhile | an error: nobody knows | it is published again, with the same `Nats-Msg-Id` |
/// | with a queue | one of its queue group gets it | one member of a durable consumer gets it |
/// | without a queue | every subscriber that is connected | every subscriber, from a consumer of its own |
/// | handlers that are slower | **lose events**, see below | push back: no more are asked for |
/// | order | as one publisher published them, with a concurrency of 1 | as the stream stored them, with a concurrency of 1, no queue or one member, until one fails and comes again later |
///
/// There is no order by [key](Message::key) over members of a queue or over several handlers at once, at either level.
///
/// Both levels are published on the same subject, so that at-most-once subscribers, Go's too, see every event.
/// At-least-once subscribers see whatever is published on a subject that a stream has, Go's events too.
///
/// * **Slow handlers at most once.** NATS pushes back on nobody. Up to 16 MiB of events wait for their handlers;
///   what comes then is dropped, counted ([`dropped`](Nats::dropped)) and logged.
/// * **Streams.** The stream that has the topic is used, whoever made it, if it keeps what it confirms: in files,
///   with acknowledgements. If there is none, one is made: `micro-orders=placed` for the topic `orders.placed`, or
///   as [`stream`](Nats::stream) says; in files, one replica, for seven days, unless told otherwise. A stream that
///   differs from what was asked for is an error, and never changed.
/// * **Consumers.** A queue is the durable consumer `queue@topic` (`=` for each dot), made by its first member:
///   what is published from then on it keeps while nobody is there. One that differs is an error. A subscriber
///   without a queue has a consumer for itself, from now on; after the loss of a server it is made again from
///   the first event that is not acknowledged. Whoever removes consumers or streams meanwhile removes what they
///   keep.
/// * **While a handler runs** the server is told so, three times in the topic's [`ack_wait`](Topic::ack_wait). One
///   whose process died is handed to another member after that time. Acknowledgements are not confirmed unless
///   [`double_ack`](Nats::double_ack) says so: one that is lost brings its event once more.
/// * **Attempts** are counted by JetStream.
/// * **A payload that is no message** in go-micro's form is handed out as it came, with the content type
///   `application/x-micro-undecodable`, which nothing decodes: handlers of raw events see its bytes.
/// * **Connections** are made again with pauses from 100 ms to 1 s, subscriptions with them. `publish` waits for one
///   until its deadline; 16,384 publishes may be under way, further ones wait. Servers that refuse us, and what
///   they do not allow, are errors at once.
///
/// # Addresses
///
/// An address is `host:port` (4222 by default), `nats://user:password@host:port`, `nats://token@host:port`,
/// `nats://host?creds=FILE` with a file of credentials as `nsc` writes it, `nats://host?nkey=FILE` with a file
/// that has the seed of a user, or each of these with `tls://`, which takes `?ca=FILE&cert=FILE&key=FILE` too and
/// needs the Cargo feature `tls`. For a cluster give several. Files are read anew for each connection.
///
/// The user must be allowed to publish and subscribe on its topics and on `_INBOX.>`, for at least once also to
/// publish on `$JS.API.>` and `$JS.ACK.>`.
///
/// ```no_run
/// use micro_runtime::broker::{AnyBroker, Nats};
///
/// # fn example() -> Result<(), micro_runtime::Error> {
/// let broker = Nats::try_new(["nats://user:password@nats1", "nats2:4222"])?
///     .stream("ORDERS", ["orders.>"])
///     .replicas(3);
/// let broker = AnyBroker::new(broker);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Nats(Arc<Home>);

// ===== impl Nats =====

impl Nats {
    /// The broker at these servers; none means `127.0.0.1:4222`. An address that is none is an error of every call.
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
        self.login(Login::User(user.to_owned(), password.to_owned()))
    }

    /// The token to connect with; instead of an address's.
    #[must_use]
    pub fn token(self, token: &str) -> Nats {
        self.login(Login::Token(token.to_owned()))
    }

    /// The file of credentials to connect with: a JWT, and the seed of its user, as `nsc` writes them; instead of
    /// what an address says. It is read for each connection, so that a new one is taken from the next on.
    #[must_use]
    pub fn credentials_file(self, path: impl AsRef<Path>) -> Nats {
        self.login(Login::Credentials(path.as_ref().to_owned()))
    }

    /// The file with the seed of the user to connect as (`SU…`), whose public key the server knows; instead of
    /// what an address says. It is read for each connection.
    #[must_use]
    pub fn nkey_file(self, path: impl AsRef<Path>) -> Nats {
        self.login(Login::Nkey(path.as_ref().to_owned()))
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

    /// The stream for the topics that these subjects have, in which `*` stands for one part and `>` at the end for
    /// the rest. It is made if it is not there; one of the name with other subjects, or another one that has the
    /// topic, is an error. May be called for several streams. Without it each topic has a stream of its own,
    /// unless one that is there has it.
    #[must_use]
    pub fn stream<S: AsRef<str>>(self, name: &str, subjects: impl IntoIterator<Item = S>) -> Nats {
        self.set(|config| {
            config::check_name(name)?;
            let subjects: Vec<String> = subjects
                .into_iter()
                .map(|subject| subject.as_ref().to_owned())
                .collect();
            if subjects.is_empty() {
                return Err(Error::config(format_args!(
                    "expected the subjects of the stream {name:?}, such as orders.>, found none"
                )));
            }
            for subject in &subjects {
                config::check_subject(subject, true)?;
            }
            config.streams.push(Named {
                name: name.to_owned(),
                subjects,
            });
            Ok(())
        })
    }

    /// Whether streams may be in memory: those that are made are then, and others that are there are taken. Their
    /// events are lost with their server, unless there are replicas. Default: no.
    #[must_use]
    pub fn memory_storage(self, yes: bool) -> Nats {
        self.set(|config| {
            config.memory = yes;
            Ok(())
        })
    }

    /// How many servers of a cluster have each event, 1 to 5. Default: 1 for streams that are made, and any number
    /// for those that are there.
    #[must_use]
    pub fn replicas(self, servers: usize) -> Nats {
        self.set(|config| {
            if !(1..=5).contains(&servers) {
                return Err(Error::config(format_args!(
                    "expected 1 to 5 replicas of a stream, found {servers}"
                )));
            }
            config.replicas = Some(servers);
            Ok(())
        })
    }

    /// How long streams keep an event, handled or not; zero means for ever. Default: seven days for streams that
    /// are made, and any time for those that are there.
    #[must_use]
    pub fn max_age(self, age: Duration) -> Nats {
        self.set(|config| {
            // The server takes none that is shorter.
            if !age.is_zero() && age < Duration::from_millis(100) {
                return Err(Error::config(format_args!(
                    "expected a max_age of at least 100 ms, or none, found {age:?}"
                )));
            }
            config.max_age = Some(age);
            Ok(())
        })
    }

    /// The size of a stream in bytes. One that is full takes no more events, of which `publish` tells, until others
    /// are too old. Default: as large as the server allows.
    #[must_use]
    pub fn max_bytes(self, bytes: u64) -> Nats {
        self.set(|config| {
            if bytes == 0 || i64::try_from(bytes).is_err() {
                return Err(Error::config(format_args!(
                    "expected 1 to {} as max_bytes of a stream, found {bytes}",
                    i64::MAX
                )));
            }
            config.max_bytes = Some(bytes);
            Ok(())
        })
    }

    /// Whether the server confirms each acknowledgement, for which [`Event::ack`](super::Event::ack) waits up to 5 s.
    /// It spares nobody from events that come twice, since the confirmation may be lost as well; what it gives is
    /// that an `ack` which resolved is known. It costs a round trip for each event. Default: no.
    #[must_use]
    pub fn double_ack(self, yes: bool) -> Nats {
        self.set(|config| {
            config.double_ack = yes;
            Ok(())
        })
    }

    /// What the subjects begin with on which answers come, for users who may not subscribe on `_INBOX.>`. Default:
    /// `_INBOX`.
    #[must_use]
    pub fn inbox_prefix(self, prefix: &str) -> Nats {
        self.set(|config| {
            config::check_subject(prefix, false)?;
            config.inbox_prefix = Some(prefix.to_owned());
            Ok(())
        })
    }

    /// How many events were dropped here, at most once, because handlers were slower than they came. Counted from
    /// when the connection was first needed, over all subscriptions and clones.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.0.started().map_or(0, |hub| hub.dropped())
    }

    fn login(self, login: Login) -> Nats {
        self.set(|config| {
            config.servers.login = login;
            Ok(())
        })
    }

    fn set(self, change: impl FnOnce(&mut Config) -> Result<(), Error>) -> Nats {
        Nats(Arc::new(self.0.with(change)))
    }

    /// The way to the connection, whose task is started if there is none, or none any more.
    fn hub(&self) -> Result<Hub, Error> {
        let started = self.0.link("nats", |config, before, runtime| {
            let hub = match before {
                Some(hub) => hub.again(),
                None => Hub::new(config.clone()),
            };
            let task = runtime.spawn(hub.clone().run());
            (hub, task.abort_handle())
        });
        started.map_err(|error| match error.kind() {
            ErrorKind::Registry => {
                broker("the nats broker must be used within a tokio runtime").with_source(error)
            }
            _ => error,
        })
    }
}

impl Broker for Nats {
    type Consumer = NatsConsumer;

    fn name(&self) -> &'static str {
        "nats"
    }

    fn check(&self, _delivery: Delivery) -> Result<(), Error> {
        // Whether the server has JetStream is known when it is asked.
        Ok(())
    }

    async fn publish(
        &self,
        message: Message,
        delivery: Delivery,
        deadline: Deadline,
    ) -> Result<(), Error> {
        check_name("topic", &message.topic)?;
        publish::publish(&self.hub()?, &message, delivery, deadline).await
    }

    async fn publish_all(
        &self,
        messages: Vec<Message>,
        delivery: Delivery,
        deadline: Deadline,
    ) -> Vec<(usize, Error)> {
        many::publish(self.hub(), messages, delivery, deadline).await
    }

    async fn subscribe(&self, topic: &Topic) -> Result<NatsConsumer, Error> {
        topic.check()?;
        NatsConsumer::open(Arc::clone(&self.0), self.hub()?, topic).await
    }

    async fn close(&self) {
        // Nothing is open that was never used.
        if let Some(hub) = self.0.started() {
            publish::drained(&hub, DRAIN).await;
            hub.close();
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
    async fn settings_that_cannot_be_are_errors_of_every_call() {
        let good = Nats::new(["127.0.0.1:1"]);
        for bad in [
            good.clone().stream("a.b", ["a"]),
            good.clone().stream("a", Vec::<String>::new()),
            good.clone().stream("a", ["a..b"]),
            good.clone().replicas(0),
            good.clone().max_age(Duration::from_millis(1)),
            good.clone().max_bytes(0),
            good.clone().inbox_prefix("a.>"),
            Nats::new(["http://x"]),
        ] {
            let published = bad.publish(
                Message::new("t", "x"),
                Delivery::AtMostOnce,
                Deadline::after(Duration::from_secs(1)),
            );
            assert_eq!(published.await.unwrap_err().kind(), ErrorKind::Config);
            let subscribed = bad.subscribe(&Topic::new("t")).await;
            assert_eq!(subscribed.unwrap_err().kind(), ErrorKind::Config);
        }
    }

    #[tokio::test]
    async fn nobody_there_is_an_error_at_the_deadline() {
        let broker = Nats::new(["nats://me:s3cr3t@127.0.0.1:1"]);
        let published = broker.publish(
            Message::new("t", "x"),
            Delivery::AtMostOnce,
            Deadline::after(Duration::from_millis(300)),
        );
        let error = published.await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Broker);
        let error = error.to_string();
        assert!(error.contains("nats://127.0.0.1:1"), "{error}");
        assert!(!error.contains("s3cr3t") && !format!("{broker:?}").contains("s3cr3t"));
        broker.close().await;
    }

    #[test]
    fn without_a_runtime_it_is_an_error_of_the_broker() {
        let error = Nats::new(["a"]).hub().err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Broker);
    }
}
