//! [`Kafka`]: events over Kafka, at both levels.
//!
//! | file | holds |
//! |---|---|
//! | `config` | addresses and options, and what the library is told |
//! | `security` | TLS and credentials |
//! | `names` | what members of queues are called over restarts |
//! | `client` | what a client of the library says, and what its errors mean |
//! | `topics` | making sure that a topic is there |
//! | `publish` | publishing |
//! | `tracker` | how far a partition is done with |
//! | `consume` | subscriptions |

mod client;
mod config;
mod consume;
mod names;
mod publish;
mod security;
mod topics;
mod tracker;

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use tokio::sync::Semaphore;

use self::config::Config;
use self::consume::Subscription;
use self::publish::Publishing;
use self::topics::Topics;
use super::common::turn::turn;
use super::{Broker, Consumer, Delivery, Event, Message, Topic};
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};
use crate::lock::lock;

/// The first and the longest pause between attempts.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// The publishes that may be under way at once; further ones wait for their turn.
const PUBLISHING: usize = 4096;

/// How long a subscriber waits for its topic: as long as it takes.
const EVER: Duration = Duration::MAX;

/// Events over [Kafka](https://kafka.apache.org), on the wire of go-micro's Kafka broker: the topic is the topic,
/// the value is go-micro's JSON message, a queue is a consumer group.
///
/// Clones share a producer. Making one does nothing: the first call, which must be made within a tokio runtime,
/// connects; what is lost is connected again after 100 ms to 1 s, and subscriptions go on.
///
/// | | at most once | at least once |
/// |---|---|---|
/// | `publish` resolves | when all replicas in sync have it (`acks=all`, idempotent) | the same |
/// | it fails at the server, or takes a minute | an error: it may have arrived | it is sent again until the deadline, which may append it twice |
/// | an event counts as received | when it is handed out | when it is acknowledged, and all before it in its partition are |
/// | a new queue begins | with the next event, as go-micro's | with the oldest event that the topic has |
/// | no queue | every event from subscribing on, from all partitions, without a group | the same; failures are tried again as long as the subscriber lives |
///
/// * **Order.** Events of one [`key`](Message::key) go to one partition and keep their order, as long as no event
///   is handed out again and the topic gets no more partitions; those without a key are spread. A queue's members
///   share the partitions: more members than partitions are idle.
/// * **Failing.** Kafka cannot take one event back. So an event whose handler failed waits here, and is handed
///   out again when its time has come; other events of the partition go on, and the group's place stays before
///   the failed one. 1,024 events or 16 MiB may wait so, and 10,000 be done with behind one that is not; then no
///   new ones are read.
/// * **Attempts** are counted by the subscriber that has the partition; another one that takes it over begins
///   with 1. A queue's events that were handled within the last 200 ms, and those behind an event that was
///   not, come again after a crash, also at most once.
/// * **Dying.** A member that dies is found out after its [`session`](Kafka::session), 6 s by default, whatever
///   [`Topic::ack_wait`] says, and until then the group cannot share its partitions anew, so that one that comes
///   back waits as long; with a name ([`instance`](Kafka::instance)) it need not. A handler may take as long as
///   it likes.
/// * **A deadline that passes** leaves the event in the producer's queue for a minute: it may still be sent.
/// * **Topics** that are not there are made when they are first used, with [`partitions`](Kafka::partitions) and
///   the server's default replication. Two names must not differ in `.` and `_` alone, which the server refuses. A user who must not make them finds an error, if the topic is not there.
/// * **The server's part.** Nothing is lost with a broker if the topic has 3 replicas and `min.insync.replicas=2`;
///   with one replica a server that loses its disk loses events. Retention counts for unread events, too.
/// * A value that is no message is handed out with its bytes, and cannot be decoded: it goes to the dead letter.
///
/// # Addresses
/// `host`, `host:port` (9092 by default), or `kafka://user:password@host:port`, which is SASL PLAIN without TLS;
/// several are servers of one cluster. Parameters: `?sasl=SCRAM-SHA-512` ([`mechanism`](Kafka::mechanism)),
/// `session=10s` ([`session`](Kafka::session)), `instance=NAME` ([`instance`](Kafka::instance)).
///
/// With TLS `kafkas://user:password@host:port?ca=FILE&cert=FILE&key=FILE`; without `ca` the system's roots count.
/// TLS and SCRAM need OpenSSL, by which alone the library has them, and which this crate does not ask for. A
/// program that wants them asks for it in its own `Cargo.toml`, as
/// `rdkafka = { version = "0.39", features = ["ssl"] }`, or `ssl-vendored`, which compiles it; Cargo's features
/// add up. Without it such an address is an error of kind `Unsupported`.
///
/// With ACLs the user needs `Write` on topics that it publishes to, `Read` on those that it subscribes to and on
/// the groups of its queues (without a queue: on groups with the prefix `micro-`), `Describe` on all of them,
/// `IdempotentWrite` on clusters before 2.8, and `Create` where topics are to be made.
///
/// ```no_run
/// # async fn example() -> Result<(), micro_runtime::Error> {
/// use std::time::Duration;
/// use micro_runtime::Deadline;
/// use micro_runtime::broker::{Broker, Delivery, Kafka, Message};
///
/// let broker = Kafka::try_new(["kafka1:9092", "kafka2:9092"])?;
/// let message = Message::new("orders.placed", "{}").key("customer 7").header("content-type", "application/json");
/// broker.publish(message, Delivery::AtLeastOnce, Deadline::after(Duration::from_secs(5))).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Kafka(Arc<Inner>);

struct Inner {
    /// What was wrong with it is told by every call.
    config: Result<Arc<Config>, (ErrorKind, String)>,
    /// Held for a look at it, or to make it.
    working: Mutex<Option<Working>>,
    slots: Semaphore,
}

#[derive(Clone)]
struct Working {
    topics: Topics,
    publishing: Arc<Publishing>,
}

/// An open subscription of [`Kafka`].
///
/// Dropping it is as [`close`](Consumer::close), without waiting for the end of it.
pub struct KafkaConsumer(Option<Subscription>);

// ===== impl Kafka =====

impl Kafka {
    /// The broker over these servers; none means `127.0.0.1:9092`. An address that is none is an error of every
    /// call.
    #[must_use]
    pub fn new<A: AsRef<str>>(addresses: impl IntoIterator<Item = A>) -> Kafka {
        let addresses: Vec<A> = addresses.into_iter().collect();
        Kafka::of(Config::new(&addresses).map_err(|error| (error.kind(), error.to_string())))
    }

    /// The same, with the error now.
    ///
    /// # Errors
    /// `Config`: an address is malformed. `Unsupported`: it asks for TLS.
    pub fn try_new<A: AsRef<str>>(addresses: impl IntoIterator<Item = A>) -> Result<Kafka, Error> {
        let addresses: Vec<A> = addresses.into_iter().collect();
        Ok(Kafka::of(Ok(Config::new(&addresses)?)))
    }

    fn of(config: Result<Config, (ErrorKind, String)>) -> Kafka {
        Kafka(Arc::new(Inner {
            config: config.map(Arc::new),
            working: Mutex::new(None),
            slots: Semaphore::new(PUBLISHING),
        }))
    }

    /// The user and password, instead of an address's.
    ///
    /// Like every setting it makes a value of its own, which shares nothing with the one it is called on.
    #[must_use]
    pub fn credentials(self, user: &str, password: &str) -> Kafka {
        self.set(|config| config.security.login = Some((user.to_owned(), password.to_owned())))
    }

    /// How the password is proved: `PLAIN`, which is the default and sends it, `SCRAM-SHA-256` or
    /// `SCRAM-SHA-512`, which do not; `?sasl=NAME` in an address.
    #[must_use]
    pub fn mechanism(self, name: &str) -> Kafka {
        self.try_set(|config| config.security.set_mechanism(name))
    }

    /// How many partitions a topic gets that is made; by default as many as the server's setting says
    /// (`num.partitions`). Topics that are there are left as they are. 0 counts as 1.
    #[must_use]
    pub fn partitions(self, partitions: u16) -> Kafka {
        self.set(|config| config.partitions = Some(partitions.max(1)))
    }

    /// Whether queues share their partitions out by ranges, as go-micro's consumers do. All members of a queue
    /// must do alike: say true where Go services are members of the same queue. Default: false, which lets
    /// members keep their partitions when another one comes (cooperative-sticky).
    #[must_use]
    pub fn range(self, range: bool) -> Kafka {
        self.set(|config| config.range = range)
    }

    /// How long a member of a queue may be silent until it counts as dead, and others get its partitions;
    /// `?session=10s` in an address. Default: 6 s, the shortest that servers allow unless their
    /// `group.min.session.timeout.ms` says otherwise. Anything from 1 s to 1 h; heartbeats are sent four times
    /// within it, and at least every 3 s.
    #[must_use]
    pub fn session(self, session: Duration) -> Kafka {
        self.try_set(|config| config.set_session(session))
    }

    /// What this process is called in its queues, over its restarts; `?instance=NAME` in an address. By default
    /// it has no name.
    ///
    /// A process that dies and comes back under its name within the [`session`](Kafka::session) has its
    /// partitions again at once, and the queue's other members are not disturbed; without a name it waits until
    /// the session of its dead self has passed. On the other hand one that is closed keeps its partitions, too,
    /// until it comes back or the session has passed. So name processes whose names last and that are started
    /// again, such as the pods of a stateful set, and give them a session as long as a restart takes.
    ///
    /// Two that run under one name take turns: each that subscribes ends the subscription of the other, which is
    /// opened again after a while, and both say so in their logs. Letters, digits, `.`, `_` and `-`.
    #[must_use]
    pub fn instance(self, name: &str) -> Kafka {
        self.try_set(|config| config.set_instance(name))
    }

    fn set(self, change: impl FnOnce(&mut Config)) -> Kafka {
        self.try_set(|config| {
            change(config);
            Ok(())
        })
    }

    fn try_set(self, change: impl FnOnce(&mut Config) -> Result<(), Error>) -> Kafka {
        Kafka::of(match &self.0.config {
            Ok(config) => {
                let mut config = Config::clone(config);
                change(&mut config)
                    .map(|()| config)
                    .map_err(|error| (error.kind(), error.to_string()))
            }
            Err(wrong) => Err(wrong.clone()),
        })
    }

    fn config(&self) -> Result<Arc<Config>, Error> {
        match &self.0.config {
            Ok(config) => Ok(Arc::clone(config)),
            Err((kind, why)) => Err(Error::new(*kind, why)),
        }
    }

    fn working(&self) -> Result<Working, Error> {
        let config = self.config()?;
        let mut working = lock(&self.0.working);
        if let Some(working) = &*working {
            return Ok(working.clone());
        }
        let made = Working {
            topics: Topics::new(&config)?,
            publishing: Arc::new(Publishing::new(config)),
        };
        *working = Some(made.clone());
        Ok(made)
    }
}

impl Broker for Kafka {
    type Consumer = KafkaConsumer;

    fn name(&self) -> &'static str {
        "kafka"
    }

    fn check(&self, _: Delivery) -> Result<(), Error> {
        self.config().map(drop)
    }

    async fn publish(
        &self,
        message: Message,
        delivery: Delivery,
        deadline: Deadline,
    ) -> Result<(), Error> {
        super::check_name("topic", &message.topic)?;
        let working = self.working()?;
        let _turn = turn(&self.0.slots, PUBLISHING, deadline).await?;
        working.topics.ensure(&message.topic, deadline).await?;
        working
            .publishing
            .publish(&working.topics, &message, delivery, deadline)
            .await
    }

    async fn subscribe(&self, topic: &Topic) -> Result<KafkaConsumer, Error> {
        topic.check()?;
        let (config, working) = (self.config()?, self.working()?);
        working
            .topics
            .ensure(topic.name(), Deadline::after(EVER))
            .await?;
        let subscription = Subscription::open(&config, topic).await?;
        Ok(KafkaConsumer(Some(subscription)))
    }

    async fn close(&self) {
        let working = lock(&self.0.working).take();
        if let Some(working) = working {
            working.publishing.close().await;
            working.topics.close();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(working) = lock(&self.working).take() {
            working.topics.close();
        }
    }
}

impl fmt::Debug for Kafka {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Kafka").field(&self.0.config).finish()
    }
}

// ===== impl KafkaConsumer =====

impl Stream for KafkaConsumer {
    type Item = Result<Event, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(subscription) = &mut self.0 else {
            return Poll::Ready(None);
        };
        let next = subscription.poll_next(cx);
        if let Poll::Ready(Some(Err(_)) | None) = next {
            self.0 = None;
        }
        next
    }
}

impl Consumer for KafkaConsumer {
    /// At most once, others of the queue get what this one would only lose. At least once, what was handed out needs
    /// the membership until it is settled.
    fn stop(&mut self) {
        if let Some(subscription) = &mut self.0 {
            subscription.stop_if_nothing_is_settled();
        }
    }

    async fn close(self) {
        if let Some(subscription) = self.0 {
            subscription.close().await;
        }
    }
}

impl fmt::Debug for KafkaConsumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KafkaConsumer")
    }
}

/// Drops a client of the library on a thread of its own: it waits for its threads and for answers, without end
/// where the server is away, and neither a runtime nor a process may wait for that.
fn drop_apart<T: Send + 'static>(client: T) {
    // Without a thread it is dropped where we are: the closure is.
    let _ = std::thread::Builder::new()
        .name("micro-kafka-close".to_owned())
        .spawn(move || drop(client));
}
