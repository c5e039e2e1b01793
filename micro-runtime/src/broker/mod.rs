//! Publish and subscribe: what services tell each other of, and the [`Broker`]s that carry it.
//!
//! | | |
//! |---|---|
//! | [`Topic`], [`Delivery`] | what a subscription asks for, and the promise |
//! | [`subscribe`], [`subscribe_batch`], [`Subscription`] | handlers of events; also [`Service::subscribe`](crate::Service::subscribe) |
//! | [`Publisher`], [`Publish`] | publishing; also [`Service::publisher`](crate::Service::publisher) |
//! | [`Payload`], [`Event`], [`Batch`] | what handlers take: messages, raw events, several |
//! | [`Memory`] and others | the brokers, each a Cargo feature |
//! | [`Broker`], [`Consumer`], [`Message`], [`Receipt`] | what a broker of one's own implements and uses |
//!
//! # Tests
//! [`Memory`] keeps both promises, and on tokio's paused clock the pauses between attempts take no time:
//!
//! ```
//! use std::sync::atomic::{AtomicU32, Ordering};
//! use micro_runtime::broker::{self, AnyBroker, Delivery, Memory, Publisher, Topic};
//! use micro_runtime::{Context, Status};
//!
//! // Fails twice: what a test wants to see survive.
//! static CALLS: AtomicU32 = AtomicU32::new(0);
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), micro_runtime::Error> {
//! // #[tokio::test(start_paused = true)]
//! let broker = AnyBroker::new(Memory::new());
//! let topic = Topic::new("orders").queue("billing").delivery(Delivery::AtLeastOnce);
//! let subscription = broker::subscribe(&broker, topic, async |_: Context, _order: String| {
//!     match CALLS.fetch_add(1, Ordering::Relaxed) {
//!         0 | 1 => Err(Status::unavailable("not now")),
//!         _ => Ok(()),
//!     }
//! })?;
//! subscription.ready().await?;
//!
//! Publisher::new(&broker, "orders").publish(&"an order".to_owned()).await?;
//! let stats = subscription.reached(|stats| stats.handled == 1).await;
//! assert_eq!((stats.received, stats.failed), (3, 2));
//! # Ok(())
//! # }
//! ```

#[cfg(any(feature = "kafka", feature = "redis"))]
mod common;
#[cfg(any(
    test,
    feature = "http",
    feature = "kafka",
    feature = "nats",
    feature = "rabbitmq",
    feature = "redis"
))]
#[cfg_attr(
    not(any(
        feature = "http",
        feature = "kafka",
        feature = "nats",
        feature = "redis"
    )),
    allow(dead_code, reason = "RabbitMQ carries headers and body apart")
)]
mod envelope;
mod event;
#[cfg(feature = "http")]
mod http;
mod join;
#[cfg(feature = "kafka")]
mod kafka;
mod memory;
pub(crate) mod message;
#[cfg(feature = "nats")]
mod nats;
mod payload;
mod publisher;
#[cfg(feature = "rabbitmq")]
mod rabbitmq;
#[cfg(feature = "redis")]
mod redis;
mod subscription;
mod topic;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use futures_core::Stream;
use tokio::sync::Semaphore;

use self::join::Join;
use crate::deadline::Deadline;
use crate::error::Error;
use crate::exchange::BoxFuture;
use crate::registry::AnyRegistry;

#[cfg(feature = "http")]
pub use self::http::{Http, HttpConsumer};
#[cfg(feature = "kafka")]
pub use self::kafka::{Kafka, KafkaConsumer};
#[cfg(feature = "rabbitmq")]
pub use self::rabbitmq::{QueueKind, RabbitMq, RabbitMqConsumer};
#[cfg(feature = "redis")]
pub use self::redis::{Redis, RedisConsumer};
pub use event::{Event, Receipt, Settle};
pub use memory::{Memory, MemoryConsumer};
pub use message::{Message, header_name};
#[cfg(feature = "nats")]
#[cfg_attr(docsrs, doc(cfg(feature = "nats")))]
pub use nats::{Nats, NatsConsumer};
pub use payload::{Body, Payload};
pub use publisher::{NotKept, Publish, PublishAll, Publisher};
pub use subscription::{Batch, Stats, Subscription, subscribe, subscribe_batch};
pub(crate) use subscription::{Prepared, prepare, prepare_batch};
pub(crate) use topic::check_name;
pub use topic::{Delivery, Topic};

/// What carries events from publishers to subscribers.
///
/// Implementations connect by themselves, when they are first needed, and again when a connection is lost;
/// every method may be called at any time, at once and in any order. Dropping a future gives the request up.
///
/// # Errors
///
/// | [`kind`](crate::ErrorKind) | means |
/// |---|---|
/// | `Broker` | it refused, failed or was not reached; the same call may succeed later |
/// | `Config` | a setting or a name is wrong, or what is declared there differs: waiting does not mend it |
/// | `Unsupported` | this broker never can |
pub trait Broker: Send + Sync + 'static {
    /// An open subscription of it.
    type Consumer: Consumer;

    /// Its name as in `MICRO_BROKER` and in log lines, such as `http`.
    fn name(&self) -> &'static str;

    /// Tells it the registry of the service that it was given to, once, when the service is built. Does
    /// nothing by default: most brokers need none.
    fn attach(&self, registry: &AnyRegistry) {
        let _ = registry;
    }

    /// Whether it gives this level, without asking anybody.
    ///
    /// # Errors
    /// `Unsupported`, with the way out: which broker or setting gives it.
    fn check(&self, delivery: Delivery) -> Result<(), Error>;

    /// Publishes a message. At most once: resolves when it is handed over, as far as this broker knows. At
    /// least once: resolves when the broker has confirmed that it keeps the message; until then it is sent
    /// again whenever a connection is lost, under the same [`id`](Message::id). Gives up at the deadline.
    ///
    /// # Errors
    /// It is not known to be kept.
    fn publish(
        &self,
        message: Message,
        delivery: Delivery,
        deadline: Deadline,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Publishes messages side by side, begun in their order, each as [`publish`](Broker::publish) does. Gives the
    /// places of those that are not known to be kept, and why; all others are. By default each is published by
    /// itself: a broker that can do many at a time for less says how.
    fn publish_all(
        &self,
        messages: Vec<Message>,
        delivery: Delivery,
        deadline: Deadline,
    ) -> impl Future<Output = Vec<(usize, Error)>> + Send {
        let publish = |message| Box::pin(self.publish(message, delivery, deadline));
        Join::new(messages.into_iter().map(publish)).failed()
    }

    /// Subscribes. Resolves when the broker is known to keep or hand over what is published from now on;
    /// waits, with a log line now and then, while the broker is not reached.
    ///
    /// # Errors
    /// The broker refuses: `Config` or `Unsupported`, which waiting does not mend.
    fn subscribe(
        &self,
        topic: &Topic,
    ) -> impl Future<Output = Result<Self::Consumer, Error>> + Send;

    /// Ends what it keeps open for publishing, once all that was published is with the broker. Called when a
    /// service has stopped; a later call of another method connects again.
    fn close(&self) -> impl Future<Output = ()> + Send {
        async {}
    }
}

/// An open subscription: a stream of events, no more than
/// [`Topic::in_flight`] of them unsettled at a time.
///
/// A receipt that an event carries is settled when its handler is done, whatever the level. At most once, where
/// brokers acknowledge before the handler and most events carry none, one that failed is settled by
/// [`Settle::Retry`], once, and goes to no dead letter: what then becomes of it is the broker's matter (the HTTP broker
/// tells the publisher).
///
/// It outlives lost connections, which it makes again by itself. It ends when it cannot go on, with the
/// error as its last item. Dropping it ends it without waiting for anything.
pub trait Consumer: Stream<Item = Result<Event, Error>> + Send + Unpin + 'static {
    /// Says that no event more is wanted, while those that were handed out are still being handled and settled:
    /// what comes from now on, and what nobody has looked at, is better given to others. The stream is not read
    /// any more. May be called more than once. Does nothing by default: then [`close`](Consumer::close), when the
    /// handlers are done, is what tells.
    fn stop(&mut self) {}

    /// Ends it: no event more comes; acknowledgements that are on their way arrive; what was handed out and
    /// not settled goes back.
    fn close(self) -> impl Future<Output = ()> + Send;
}

/// [`Consumer`] as an object.
pub(crate) trait DynConsumer: Stream<Item = Result<Event, Error>> + Send + Unpin {
    fn stop(&mut self);
    fn close(self: Box<Self>) -> BoxFuture<'static, ()>;
}

impl<C: Consumer> DynConsumer for C {
    fn stop(&mut self) {
        Consumer::stop(self);
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(Consumer::close(*self))
    }
}

/// [`Broker`] as an object, which builders keep; every broker is one.
pub(crate) trait DynBroker: Send + Sync + 'static {
    fn name(&self) -> &'static str;
    fn attach(&self, registry: &AnyRegistry);
    fn check(&self, delivery: Delivery) -> Result<(), Error>;
    /// Owns the broker, so that a publish needs no further box to own it in.
    fn publish(
        self: Arc<Self>,
        message: Message,
        delivery: Delivery,
        deadline: Deadline,
    ) -> BoxFuture<'static, Result<(), Error>>;
    fn publish_all(
        self: Arc<Self>,
        messages: Vec<Message>,
        delivery: Delivery,
        deadline: Deadline,
    ) -> BoxFuture<'static, Vec<(usize, Error)>>;
    fn subscribe<'a>(
        &'a self,
        topic: &'a Topic,
    ) -> BoxFuture<'a, Result<Box<dyn DynConsumer>, Error>>;
    fn close(&self) -> BoxFuture<'_, ()>;
}

impl<B: Broker> DynBroker for B {
    fn name(&self) -> &'static str {
        Broker::name(self)
    }

    fn attach(&self, registry: &AnyRegistry) {
        Broker::attach(self, registry);
    }

    fn check(&self, delivery: Delivery) -> Result<(), Error> {
        Broker::check(self, delivery)
    }

    fn publish(
        self: Arc<Self>,
        message: Message,
        delivery: Delivery,
        deadline: Deadline,
    ) -> BoxFuture<'static, Result<(), Error>> {
        Box::pin(async move { Broker::publish(&*self, message, delivery, deadline).await })
    }

    fn publish_all(
        self: Arc<Self>,
        messages: Vec<Message>,
        delivery: Delivery,
        deadline: Deadline,
    ) -> BoxFuture<'static, Vec<(usize, Error)>> {
        Box::pin(async move { Broker::publish_all(&*self, messages, delivery, deadline).await })
    }

    fn subscribe<'a>(
        &'a self,
        topic: &'a Topic,
    ) -> BoxFuture<'a, Result<Box<dyn DynConsumer>, Error>> {
        Box::pin(async move {
            let consumer = Broker::subscribe(self, topic).await?;
            Ok(Box::new(consumer) as Box<dyn DynConsumer>)
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(Broker::close(self))
    }
}

/// How many publishes to one broker are under way at once, unless a publisher says something else.
const IN_FLIGHT: usize = 1_024;

/// Any broker, as one type: what a service was built with. Cloning it is cheap; the clones are one broker, whose
/// publishers share a bound of 1,024 publishes in flight.
#[derive(Clone)]
pub struct AnyBroker {
    broker: Arc<dyn DynBroker>,
    /// A permit for each publish in flight. It is closed never.
    room: Arc<Semaphore>,
}

/// An open subscription of [`AnyBroker`].
pub struct AnyConsumer(Box<dyn DynConsumer>);

// ===== impl AnyBroker =====

impl AnyBroker {
    /// This broker.
    #[must_use]
    pub fn new(broker: impl Broker) -> AnyBroker {
        AnyBroker::of(Arc::new(broker))
    }

    pub(crate) fn of(broker: Arc<dyn DynBroker>) -> AnyBroker {
        AnyBroker {
            broker,
            room: Arc::new(Semaphore::new(IN_FLIGHT)),
        }
    }

    /// The bound of its publishes in flight, and how many that are.
    fn room(&self) -> (Arc<Semaphore>, usize) {
        (Arc::clone(&self.room), IN_FLIGHT)
    }

    /// [`Broker::publish`], as a future that owns what it needs.
    pub(crate) fn start_publish(
        &self,
        message: Message,
        delivery: Delivery,
        deadline: Deadline,
    ) -> BoxFuture<'static, Result<(), Error>> {
        Arc::clone(&self.broker).publish(message, delivery, deadline)
    }

    /// [`Broker::publish_all`], likewise.
    pub(crate) fn start_publish_all(
        &self,
        messages: Vec<Message>,
        delivery: Delivery,
        deadline: Deadline,
    ) -> BoxFuture<'static, Vec<(usize, Error)>> {
        Arc::clone(&self.broker).publish_all(messages, delivery, deadline)
    }
}

impl Broker for AnyBroker {
    type Consumer = AnyConsumer;

    fn name(&self) -> &'static str {
        self.broker.name()
    }

    fn attach(&self, registry: &AnyRegistry) {
        self.broker.attach(registry);
    }

    fn check(&self, delivery: Delivery) -> Result<(), Error> {
        self.broker.check(delivery)
    }

    async fn publish(
        &self,
        message: Message,
        delivery: Delivery,
        deadline: Deadline,
    ) -> Result<(), Error> {
        self.start_publish(message, delivery, deadline).await
    }

    async fn publish_all(
        &self,
        messages: Vec<Message>,
        delivery: Delivery,
        deadline: Deadline,
    ) -> Vec<(usize, Error)> {
        self.start_publish_all(messages, delivery, deadline).await
    }

    async fn subscribe(&self, topic: &Topic) -> Result<AnyConsumer, Error> {
        self.broker.subscribe(topic).await.map(AnyConsumer)
    }

    async fn close(&self) {
        self.broker.close().await;
    }
}

impl fmt::Debug for AnyBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AnyBroker")
            .field(&self.broker.name())
            .finish()
    }
}

// ===== impl AnyConsumer =====

impl Stream for AnyConsumer {
    type Item = Result<Event, Error>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        Pin::new(&mut *self.0).poll_next(cx)
    }
}

impl Consumer for AnyConsumer {
    fn stop(&mut self) {
        self.0.stop();
    }

    async fn close(self) {
        self.0.close().await;
    }
}

impl fmt::Debug for AnyConsumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnyConsumer")
    }
}
