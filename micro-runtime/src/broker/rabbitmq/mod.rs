//! `RabbitMq`: events over RabbitMQ.
//!
//! | file | holds |
//! |---|---|
//! | `config` | where RabbitMQ is, and what is declared there |
//! | `consume` | a subscription, whatever becomes of its connection |
//! | `declare` | exchanges, queues and bindings |
//! | `fault` | why something did not work, and whether waiting may mend it |
//! | `inbox` | what was delivered and nobody has looked at yet |
//! | `link` | a connection that is made again when it is lost |
//! | `live` | a channel that consumes |
//! | `locals` | subscriptions that share one of go-micro's queues |
//! | `publish` | a message on its way until it is confirmed |
//! | `settle` | how an event is settled, and how many are not |
//! | `socket` | our sockets and TLS, as the library wants to see them |
//! | `tags` | which events of a channel were settled |
//! | `tap` | what the server says that the library does not pass on |
//! | `trial` | the first publish on a topic, apart from all others |
//! | `wire` | a message as RabbitMQ carries it |

mod config;
mod consume;
mod declare;
mod fault;
mod inbox;
mod link;
mod live;
mod locals;
mod publish;
mod settle;
mod socket;
mod tags;
mod tap;
mod trial;
mod wire;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::topic::check_name;
use super::{Broker, Delivery, Message, Topic};
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};
#[cfg(feature = "tls")]
use crate::transport::ClientTls;

use config::Config;
use link::{Link, Role};
use locals::Locals;
use publish::Publishing;

pub use config::QueueKind;
pub use consume::RabbitMqConsumer;

/// Events over RabbitMQ (AMQP 0-9-1), at most once on go-micro's wire, and at least once.
///
/// ```
/// use micro_runtime::broker::RabbitMq;
///
/// let broker = RabbitMq::new(["amqp://shop:s3cret@rabbit-1/orders", "amqp://shop:s3cret@rabbit-2/orders"]);
/// # let _ = broker;
/// ```
///
/// An address is `amqp://user:password@host:port/vhost`; `host` alone will do. Without them the port is 5672,
/// the user and password `guest`, the virtual host `/`. `amqps://` asks for TLS (port 5671, the feature `tls`),
/// with files by `?ca=FILE&cert=FILE&key=FILE` and another name in the certificate by `&server_name=NAME`.
/// Several addresses are nodes of one cluster: the next one is tried when one is lost.
///
/// Nothing is connected before it is needed. There is one connection to publish and one to subscribe: a server
/// that runs out of memory or disk stops reading from those that publish, and acknowledgements must still
/// arrive. Each has a thread of its own, the library's.
///
/// # At most once
///
/// go-micro's wire: the topic exchange `micro`, which is not durable, the topic as the routing key, the headers
/// as strings in the table of headers, the body as it is; a queue by the name of the subscription's queue that
/// is not durable and goes with its last reader, or one that the server names. So Go services with go-micro's
/// plugin (v2) or broker (v5) are on the other end. `publish` resolves when RabbitMQ has confirmed that the event
/// is with every queue that is bound to the topic, in memory; if none is, it is gone, as in Go. An event is
/// acknowledged before its handler gets it. If a connection is lost while an acknowledgement is on its way, the
/// event may be handed out a second time.
///
/// go-micro names a queue without regard to topics. Subscriptions to several topics by one queue name share
/// one queue; this process finds the right subscription for each event, and the slower one can hold up the
/// others. Where processes with different topics use one queue name, events are lost (in Go they get to the
/// wrong handlers): give each topic a queue name of its own, as with Go, or deliver at least once.
///
/// # At least once
///
/// Events are persistent, and go to the durable exchange `micro.durable`, which leads on to `micro`, so that Go's
/// subscribers see them too. A subscription has a durable quorum queue `topic/queue` that is bound to both
/// exchanges, and so gets what Go publishes as well. `publish` resolves when RabbitMQ has confirmed that the
/// event is kept: a majority of a quorum queue's nodes has written it. Until then it is sent again, under the same
/// message id, when the connection is lost; so it may be there twice. If no queue is bound to the topic it is an
/// error, unless [`allow_unroutable`](RabbitMq::allow_unroutable) is set. A queue of a Go subscriber counts as
/// one, though it is not durable. What survives a restart of the server depends on the durable exchange and
/// queue alone; what leads through `micro` is declared again with each connection.
///
/// An event is acknowledged when its handler has returned `Ok`. The queue counts its attempts; RabbitMQ's own
/// limit of them (20 from version 4.0 on) is switched off. An event that waits for its retry is held in this
/// process, unacknowledged, and another one may come in its place, up to 256; over that it takes up the
/// place of others. With several in flight, as many again may be read ahead for a while after retries. When the process dies or loses its connection, what it held is handed out again at once.
/// RabbitMQ takes an event away from a handler that has it for 30 minutes, up to version 3.11 (its setting
/// `consumer_timeout`); for newer ones this is set to 30 days.
///
/// Without a queue a subscription has a durable queue of its own, which outlives lost connections and restarts of
/// the server. It is deleted when the subscription is closed, or when nobody has read it for ten minutes
/// ([`absence`](RabbitMq::absence)).
///
/// # Order
///
/// Events that one task publishes one after another to one topic, on one connection, are in every queue in that
/// order, and a subscription with a [concurrency](Topic::concurrency) of 1 that is alone on its queue handles
/// them so. Several subscribers on a queue, a higher concurrency, an event that is handed out again and a
/// publication that is repeated each break it. Keys are not used.
///
/// # When RabbitMQ is away
///
/// `publish` waits for it until its deadline, 1024 at once ([`in_flight`](RabbitMq::in_flight)) and the others
/// behind them; subscriptions are made again as soon as it is back. The same holds while it takes no
/// publications, since it runs out of memory or disk. A publication at most once whose connection is lost before
/// it was confirmed is an error, and not repeated. A connection that is silent for 10 s is lost.
///
/// # Errors
///
/// Refused credentials, a virtual host that is not there, and exchanges or queues that are there and differ are
/// errors of kind `Config`, with what was expected, RabbitMQ's words on what it found, and the way out. A
/// subscription that was made once and is refused later is tried on, with a log line now and then.
///
/// Cloning it is cheap; clones share the connections.
#[derive(Clone)]
pub struct RabbitMq(Arc<Inner>);

struct Inner {
    /// What was wrong with it is told by every call.
    made: Result<Made, (ErrorKind, String)>,
}

struct Made {
    config: Arc<Config>,
    publishing: Publishing,
    consuming: Arc<Link>,
    locals: Arc<Locals>,
}

// ===== impl RabbitMq =====

impl RabbitMq {
    /// RabbitMQ at these addresses; without any, at `127.0.0.1:5672`. A bad address is told by every call.
    #[must_use]
    pub fn new<A: AsRef<str>>(addresses: impl IntoIterator<Item = A>) -> RabbitMq {
        let addresses: Vec<A> = addresses.into_iter().collect();
        RabbitMq::of(Config::new(&addresses).map_err(|error| (error.kind(), error.to_string())))
    }

    /// The same, with the error now.
    ///
    /// # Errors
    /// An address is malformed, has an unknown scheme or parameter, or asks for TLS in a build without it.
    pub fn try_new<A: AsRef<str>>(
        addresses: impl IntoIterator<Item = A>,
    ) -> Result<RabbitMq, Error> {
        let addresses: Vec<A> = addresses.into_iter().collect();
        Ok(RabbitMq::of(Ok(Config::new(&addresses)?)))
    }

    fn of(config: Result<Config, (ErrorKind, String)>) -> RabbitMq {
        let made = config.map(|config| {
            let config = Arc::new(config);
            Made {
                publishing: Publishing::new(Arc::clone(&config)),
                consuming: Arc::new(Link::new(Arc::clone(&config), Role::Consume)),
                locals: Arc::default(),
                config,
            }
        });
        RabbitMq(Arc::new(Inner { made }))
    }

    fn set(&self, change: impl FnOnce(&mut Config) -> Result<(), Error>) -> RabbitMq {
        let changed = match &self.0.made {
            Ok(made) => {
                let mut config = Config::clone(&made.config);
                change(&mut config)
                    .map(|()| config)
                    .map_err(|error| (error.kind(), error.to_string()))
            }
            Err(error) => Err(error.clone()),
        };
        RabbitMq::of(changed)
    }

    fn made(&self) -> Result<&Made, Error> {
        let made = self.0.made.as_ref();
        made.map_err(|(kind, why)| Error::new(*kind, why))
    }

    /// The user and password to connect with, at every server; instead of an address's.
    ///
    /// Like every setting it makes a value of its own, which shares nothing with the one it is called on.
    #[must_use]
    pub fn credentials(self, user: &str, password: &str) -> RabbitMq {
        self.set(|config| {
            for server in &mut config.servers {
                user.clone_into(&mut server.user);
                password.clone_into(&mut server.password);
            }
            Ok(())
        })
    }

    /// Speaks TLS with every server, at the port of its address, as `amqps://` does.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(self, tls: ClientTls) -> RabbitMq {
        self.set(move |config| {
            config.tls = Some(tls);
            Ok(())
        })
    }

    /// The exchange of go-micro's wire; as its `ExchangeName`. Default: `micro`. The durable one beside it is
    /// this with `.durable` behind it. A bad name is told by every call.
    #[must_use]
    pub fn exchange(self, name: &str) -> RabbitMq {
        self.set(|config| config.set_exchange(name))
    }

    /// Declares go-micro's exchange durable, as its `DurableExchange`: every side must. Then it serves both levels,
    /// and there is no other. Default: it is not durable.
    #[must_use]
    pub fn durable_exchange(self) -> RabbitMq {
        self.set(|config| {
            config.durable_exchange = true;
            Ok(())
        })
    }

    /// The kind of queue that at-least-once subscriptions declare. Default: [`QueueKind::Quorum`].
    #[must_use]
    pub fn queue_kind(self, kind: QueueKind) -> RabbitMq {
        self.set(|config| {
            config.kind = kind;
            Ok(())
        })
    }

    /// Lets an at-least-once `publish` succeed though no queue is bound to the topic: the event is gone. Default:
    /// that is an error.
    #[must_use]
    pub fn allow_unroutable(self) -> RabbitMq {
        self.set(|config| {
            config.allow_unroutable = true;
            Ok(())
        })
    }

    /// How many publications may be on their way at once, from 1 to 65,536; the others wait until their
    /// deadlines. Default: 1024. Another number is told by every call.
    #[must_use]
    pub fn in_flight(self, publications: usize) -> RabbitMq {
        self.set(|config| config.set_in_flight(publications))
    }

    /// How long the queue of an at-least-once subscriber without a queue name is kept while nobody reads it: how
    /// long the subscriber may be away and miss nothing, and how long events gather for one that died. From a
    /// second to 49 days. Default: 10 minutes. Another time is told by every call.
    #[must_use]
    pub fn absence(self, time: Duration) -> RabbitMq {
        self.set(|config| config.set_absence(time))
    }
}

impl Broker for RabbitMq {
    type Consumer = RabbitMqConsumer;

    fn name(&self) -> &'static str {
        "rabbitmq"
    }

    fn check(&self, _delivery: Delivery) -> Result<(), Error> {
        Ok(())
    }

    async fn publish(
        &self,
        message: Message,
        delivery: Delivery,
        deadline: Deadline,
    ) -> Result<(), Error> {
        check_name("topic", &message.topic)?;
        self.made()?
            .publishing
            .publish(message, delivery, deadline)
            .await
    }

    async fn subscribe(&self, topic: &Topic) -> Result<RabbitMqConsumer, Error> {
        topic.check()?;
        let made = self.made()?;
        consume::subscribe(&made.consuming, &made.config, &made.locals, topic).await
    }

    async fn close(&self) {
        if let Ok(made) = self.made() {
            made.publishing.close().await;
        }
    }
}

impl fmt::Debug for RabbitMq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_tuple("RabbitMq");
        match &self.0.made {
            Ok(made) => debug.field(&made.config),
            Err((_, why)) => debug.field(why),
        };
        debug.finish()
    }
}
