//! [`Redis`]: events over Redis, by channels at most once and by streams at least once.
//!
//! | file | holds |
//! |---|---|
//! | `config` | addresses and options |
//! | `connect` | one connection to one server |
//! | `gather` | writing what several have to say at once |
//! | `link` | the connection that commands share |
//! | `refusal` | what an error of the server means |
//! | `durable` | whether the server keeps what it confirms |
//! | `publish` | publishing |
//! | `channel` | subscriptions to channels |
//! | `stream` | subscriptions to streams |

mod channel;
mod config;
mod connect;
mod durable;
mod gather;
mod link;
mod publish;
mod refusal;
mod stream;

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use futures_core::Stream;
use tokio::sync::Semaphore;

use self::channel::Channel;
use self::config::Config;
use self::link::Link;
use self::stream::Subscription;
use super::common::turn::turn;
use super::{Broker, Consumer, Delivery, Event, Message, Topic};
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};
use crate::lock::lock;

/// The publishes that may be under way at once; further ones wait for their turn.
const PUBLISHING: usize = 1024;

/// Events over [Redis](https://redis.io) 6.2 or later, or Valkey: by channels [at most once](Delivery::AtMostOnce),
/// on the wire of go-micro's Redis broker, and by streams [at least once](Delivery::AtLeastOnce).
///
/// Clones share a connection. Making one does nothing: the first call, which must be made within a tokio runtime,
/// connects; what is lost is connected again after 100 ms to 1 s, and subscriptions go on.
///
/// | | at most once | at least once |
/// |---|---|---|
/// | what is used | `PUBLISH` and `SUBSCRIBE` on the channel of the topic's name | the stream `micro:` + topic ([`prefix`](Redis::prefix)) |
/// | an event | go-micro's JSON message | an entry with the fields `id` ([`Message::id`]) and `message`, the same JSON |
/// | `publish` resolves | when the server has told its subscribers | when the server has appended it; with `appendfsync always` it is on disk then |
/// | meanwhile, without a connection | waits until its deadline; what may have been sent is not sent again | waits until its deadline; sent again with the same id, which may append it twice |
/// | a queue | an error: channels have none | a group of its name |
/// | no queue | every subscriber gets every event | a group of its own for every subscriber, from its last entry on |
/// | order | as published by one publisher | as appended, as long as no event is handed out again |
/// | slow handlers | 16,384 events or 16 MiB wait, further ones are dropped, counted and logged | entries stay in the stream |
///
/// Events that are published at least once are told to the channel, too, where go-micro's subscribers and those
/// at most once get them ([`channels`](Redis::channels)). What is published at most once is in no stream.
///
/// # At least once
/// * **The server's part.** Redis keeps streams in memory and writes them to disk only with `appendonly yes`;
///   `appendfsync everysec`, its default, may lose the last second when the machine dies, `always` nothing. A
///   failover to a replica may lose what the replica did not have yet. A server with `appendonly no`, or with a
///   policy that evicts streams, is warned of once.
/// * **A new queue** begins with the oldest entry of the stream: what was published before its first subscriber
///   came is not lost.
/// * **Failing.** An event whose handler failed stays pending, and this subscriber hands it out again when its
///   time has come; other events go on. Up to 10,000 may wait so, then no new ones are read.
/// * **Dying.** What a dead subscriber had is claimed by the others after [`Topic::ack_wait`]. Living ones say
///   four times within that time what they work on, however long it takes. The attempt is counted by the server.
/// * **Memory.** Every ten seconds what all groups have acknowledged is cut off the stream. So a queue that
///   nobody subscribes to any more keeps everything from then on: remove it (`XGROUP DESTROY`). A stream that
///   nobody ever subscribed to is not cut; [`max_len`](Redis::max_len) bounds it, and may lose events.
/// * **The dead.** The group of a subscriber without a queue is removed when it is closed or dropped, and after
///   an hour's silence when it died; until then the stream keeps its events.
/// * What is no message is handed out with its bytes, at both levels, and cannot be decoded: at least once it goes
///   to the dead letter.
///
/// # Addresses
/// `host`, `host:port` (6379 by default), `redis://user:password@host:port/database`, or
/// `redis://:password@host`; with TLS `rediss://…?ca=FILE&cert=FILE&key=FILE&server_name=NAME`, which needs the
/// Cargo feature `tls`. Several addresses are servers of which one takes writes, a master and its replicas: they
/// are tried in turn. Clusters are not supported.
///
/// The user needs `PING`, `PUBLISH`, `SUBSCRIBE` and the channel of the topic; at least once `XADD`,
/// `XREADGROUP`, `XACK`, `XCLAIM`, `XAUTOCLAIM`, `XPENDING`, `XINFO`, `XGROUP`, `XTRIM` and `EVAL` on the key of
/// its stream.
///
/// ```no_run
/// # async fn example() -> Result<(), micro_runtime::Error> {
/// use std::time::Duration;
/// use micro_runtime::Deadline;
/// use micro_runtime::broker::{Broker, Delivery, Message, Redis};
///
/// let broker = Redis::try_new(["redis://user:password@redis:6379"])?;
/// let message = Message::new("orders.placed", "{}").header("content-type", "application/json");
/// broker.publish(message, Delivery::AtLeastOnce, Deadline::after(Duration::from_secs(5))).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Redis(Arc<Inner>);

struct Inner {
    /// What was wrong with it is told by every call.
    config: Result<Arc<Config>, (ErrorKind, String)>,
    /// Held for a look at the link, or to start it.
    link: Mutex<Option<Link>>,
    publishing: Semaphore,
    /// Whether it was looked after the server's settings.
    looked: AtomicBool,
}

/// An open subscription of [`Redis`].
///
/// Dropping it is as [`close`](Consumer::close), without waiting for the end of it.
pub struct RedisConsumer(Kind);

enum Kind {
    Channel(Channel),
    Stream(Subscription),
    /// It has ended with an error.
    Ended,
}

// ===== impl Redis =====

impl Redis {
    /// The broker over these servers; none means `127.0.0.1:6379`. An address that is none is an error of every
    /// call.
    #[must_use]
    pub fn new<A: AsRef<str>>(addresses: impl IntoIterator<Item = A>) -> Redis {
        let addresses: Vec<A> = addresses.into_iter().collect();
        Redis::of(Config::new(&addresses).map_err(|error| (error.kind(), error.to_string())))
    }

    /// The same, with the error now.
    ///
    /// # Errors
    /// `Config`: an address is malformed, has an unknown scheme, or asks for TLS in a build without it.
    pub fn try_new<A: AsRef<str>>(addresses: impl IntoIterator<Item = A>) -> Result<Redis, Error> {
        let addresses: Vec<A> = addresses.into_iter().collect();
        Ok(Redis::of(Ok(Config::new(&addresses)?)))
    }

    fn of(config: Result<Config, (ErrorKind, String)>) -> Redis {
        Redis(Arc::new(Inner {
            config: config.map(Arc::new),
            link: Mutex::new(None),
            publishing: Semaphore::new(PUBLISHING),
            looked: AtomicBool::new(false),
        }))
    }

    /// The user and password for every server, instead of an address's; an empty user is the default one.
    ///
    /// Like every setting it makes a value of its own, which shares nothing with the one it is called on.
    #[must_use]
    pub fn credentials(self, user: &str, password: &str) -> Redis {
        self.set(|config| {
            for server in &mut config.servers {
                server.user = (!user.is_empty()).then(|| user.to_owned());
                server.password = Some(password.to_owned());
            }
        })
    }

    /// How to use TLS, for every server; instead of what the addresses say.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(self, tls: crate::transport::ClientTls) -> Redis {
        self.set(move |config| {
            for server in &mut config.servers {
                server.tls = Some(tls.clone());
            }
        })
    }

    /// What the keys of streams begin with: `micro:` by default, so that the topic `orders` has the stream
    /// `micro:orders`. Channels have no prefix.
    #[must_use]
    pub fn prefix(self, prefix: impl Into<String>) -> Redis {
        self.set(|config| config.prefix = prefix.into())
    }

    /// The entries that a stream keeps at most, roughly: whoever publishes the next cuts the oldest off, **also
    /// those that nobody has received yet**. By default there is no such bound.
    #[must_use]
    pub fn max_len(self, entries: u64) -> Redis {
        self.set(|config| config.max_len = Some(entries))
    }

    /// Whether events that are published at least once are told to the subscribers of the channel as well, which
    /// are those of go-micro and those at most once. Default: true. Without it `publish` costs less.
    #[must_use]
    pub fn channels(self, told: bool) -> Redis {
        self.set(|config| config.channels = told)
    }

    fn set(self, change: impl FnOnce(&mut Config)) -> Redis {
        Redis::of(match &self.0.config {
            Ok(config) => {
                let mut config = Config::clone(config);
                change(&mut config);
                Ok(config)
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

    /// The link, which is started if there is none, or none any more.
    fn link(&self) -> Result<Link, Error> {
        let config = self.config()?;
        let mut link = lock(&self.0.link);
        if let Some(link) = link.as_ref().filter(|link| !link.has_ended()) {
            return Ok(link.clone());
        }
        let started = Link::start(config)?;
        *link = Some(started.clone());
        Ok(started)
    }

    /// Looks at the server's settings, once, beside whatever else is done.
    fn look(&self, link: &Link) -> Result<(), Error> {
        if !self.0.looked.swap(true, Ordering::Relaxed) {
            let (link, addresses) = (link.clone(), self.config()?.addresses());
            tokio::spawn(async move {
                if let Some(up) = link.whenever().await {
                    durable::warn_if_not(up.connection, &addresses).await;
                }
            });
        }
        Ok(())
    }
}

impl Broker for Redis {
    type Consumer = RedisConsumer;

    fn name(&self) -> &'static str {
        "redis"
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
        let config = self.config()?;
        let link = self.link()?;
        let _turn = turn(&self.0.publishing, PUBLISHING, deadline).await?;
        match delivery {
            Delivery::AtMostOnce => publish::at_most_once(&link, message, deadline).await,
            Delivery::AtLeastOnce => {
                self.look(&link)?;
                publish::at_least_once(&link, &config, message, deadline).await
            }
        }
    }

    async fn subscribe(&self, topic: &Topic) -> Result<RedisConsumer, Error> {
        let config = self.config()?;
        topic.check()?;
        Ok(RedisConsumer(match (topic.level(), topic.queue_name()) {
            (Delivery::AtMostOnce, None) => {
                Kind::Channel(Channel::open(config, topic.name()).await?)
            }
            (Delivery::AtMostOnce, Some(queue)) => {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    format_args!(
                        "channels of redis have no queues, so that the queue {queue:?} of the topic {:?} cannot share its events at most once: add .delivery(Delivery::AtLeastOnce), or leave the queue out, and every subscriber gets every event",
                        topic.name()
                    ),
                ));
            }
            (Delivery::AtLeastOnce, _) => {
                let link = self.link()?;
                self.look(&link)?;
                Kind::Stream(Subscription::open(config, link, topic).await?)
            }
        }))
    }

    async fn close(&self) {
        // Each publish waits for its own confirmation: nothing is left to be sent.
        lock(&self.0.link).take();
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Redis").field(&self.0.config).finish()
    }
}

// ===== impl RedisConsumer =====

impl RedisConsumer {
    /// How many events were dropped because handlers were too slow. Always 0 at least once.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        match &self.0 {
            Kind::Channel(channel) => channel.dropped(),
            Kind::Stream(_) | Kind::Ended => 0,
        }
    }
}

impl Stream for RedisConsumer {
    type Item = Result<Event, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = match &mut self.0 {
            Kind::Channel(channel) => channel.poll_next(cx).map(|event| event.map(Ok)),
            Kind::Stream(subscription) => subscription.poll_next(cx),
            Kind::Ended => Poll::Ready(None),
        };
        if let Poll::Ready(Some(Err(_)) | None) = next {
            self.0 = Kind::Ended;
        }
        next
    }
}

impl Consumer for RedisConsumer {
    /// At most once, the server need send nothing more. At least once, what was handed out needs the connection until
    /// it is settled.
    fn stop(&mut self) {
        if let Kind::Channel(channel) = &self.0 {
            channel.stop();
        }
    }

    async fn close(self) {
        match self.0 {
            Kind::Stream(subscription) => subscription.close().await,
            Kind::Channel(_) | Kind::Ended => {}
        }
    }
}

impl fmt::Debug for RedisConsumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RedisConsumer")
    }
}
