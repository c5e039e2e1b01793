//! [`Publisher`]: how events of one type get to a topic.

mod all;
mod ids;
mod publish;
#[cfg(test)]
mod tests;

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Semaphore;

use super::message::Message;
use super::payload::{Body, Payload};
use super::topic::{Delivery, check_name};
use super::{AnyBroker, Broker};
use crate::codec::Encoding;
use crate::error::{Error, ErrorKind};
use crate::json;
use crate::status::Status;

pub use all::{NotKept, PublishAll};
use ids::Ids;
pub use publish::Publish;

/// How long a publish may take, unless something else is said.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Publishes events of one type to one topic. Making and cloning it is cheap: all publishers of one [`AnyBroker`],
/// as a service's are, share its bound of publishes in flight, unless [`in_flight`](Publisher::in_flight) says
/// something else.
///
/// ```
/// use micro_runtime::broker::{AnyBroker, Delivery, Memory, Publisher};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), micro_runtime::Error> {
/// let broker = AnyBroker::new(Memory::new());
/// let greetings = Publisher::<String>::new(&broker, "greetings").delivery(Delivery::AtLeastOnce)?;
/// greetings.publish(&"hello".to_owned()).metadata("x-mood", "good").await?;
/// # Ok(())
/// # }
/// ```
pub struct Publisher<E> {
    shared: Arc<Shared>,
    event: PhantomData<fn(&E)>,
}

/// What every publish of a publisher needs.
#[derive(Clone)]
struct Shared {
    broker: AnyBroker,
    topic: String,
    /// The same, for the header of that name.
    topic_header: Bytes,
    /// What is wrong with the topic's name, found once and told by every publish.
    wrong: Option<String>,
    delivery: Delivery,
    encoding: Encoding,
    timeout: Duration,
    /// The service that publishes, for the header of that name.
    from: Option<Bytes>,
    /// A permit for each publish in flight. It is closed never.
    room: Arc<Semaphore>,
    in_flight: usize,
    ids: Arc<Ids>,
}

// ===== impl Publisher =====

impl<E: Payload> Publisher<E> {
    /// A publisher to this topic of a broker: at most once, as protobuf, 5 s for each event. A name that no
    /// broker takes is an error of every `publish`.
    #[must_use]
    pub fn new(broker: &AnyBroker, topic: impl Into<String>) -> Publisher<E> {
        let topic = topic.into();
        let (room, in_flight) = broker.room();
        Publisher {
            shared: Arc::new(Shared {
                broker: broker.clone(),
                wrong: check_name("topic", &topic)
                    .err()
                    .map(|error| error.to_string()),
                topic_header: Bytes::copy_from_slice(topic.as_bytes()),
                topic,
                delivery: Delivery::default(),
                encoding: Encoding::Proto,
                timeout: TIMEOUT,
                from: None,
                room,
                in_flight,
                ids: Arc::new(Ids::new()),
            }),
            event: PhantomData,
        }
    }

    /// What is promised when a publish resolves. Default: [`Delivery::AtMostOnce`].
    ///
    /// # Errors
    /// `Unsupported`: this broker cannot give the level; the message says which one can.
    pub fn delivery(self, delivery: Delivery) -> Result<Publisher<E>, Error> {
        self.shared.broker.check(delivery)?;
        Ok(self.with(|shared| shared.delivery = delivery))
    }

    /// Writes events in this encoding. Default: [`Encoding::Proto`], as `application/protobuf`, which every
    /// subscriber of go-micro takes.
    #[must_use]
    pub fn encoding(self, encoding: Encoding) -> Publisher<E> {
        self.with(|shared| shared.encoding = encoding)
    }

    /// Writes events as JSON, as `application/json`, with the default options.
    #[must_use]
    pub fn json(self) -> Publisher<E> {
        self.encoding(Encoding::Json(json::Options::new()))
    }

    /// How long a publish may take, everything included: the wait for room and for a broker that is away.
    /// Default: 5 s.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Publisher<E> {
        self.with(|shared| shared.timeout = timeout)
    }

    /// How many publishes may be under way at once, over all clones that are made from here, whatever other
    /// publishers do; further ones wait until their deadline. Default: 1,024 over all publishers of the broker that
    /// say nothing. Less than 1 counts as 1.
    #[must_use]
    pub fn in_flight(self, publishes: usize) -> Publisher<E> {
        let publishes = publishes.clamp(1, Semaphore::MAX_PERMITS);
        self.with(|shared| {
            shared.room = Arc::new(Semaphore::new(publishes));
            shared.in_flight = publishes;
        })
    }

    /// Tells subscribers the service that publishes.
    pub(crate) fn of_service(self, name: &str) -> Publisher<E> {
        self.with(|shared| shared.from = Some(Bytes::copy_from_slice(name.as_bytes())))
    }

    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.shared.topic
    }

    /// Publishes an event: a future that does it when it is awaited.
    ///
    /// It is written at once, and takes over the context it is made in, as a call does: the metadata that is
    /// inherited, and the deadline, which can only be shortened.
    pub fn publish(&self, event: &E) -> Publish {
        Publish::of_draft(Arc::clone(&self.shared), self.draft(event))
    }

    /// Publishes many events side by side, begun in this order, within the bound of publishes in flight.
    pub fn publish_all<'a>(&self, events: impl IntoIterator<Item = &'a E>) -> PublishAll
    where
        E: 'a,
    {
        let drafts = events.into_iter().map(|event| self.draft(event)).collect();
        PublishAll::new(Arc::clone(&self.shared), drafts)
    }

    fn draft(&self, event: &E) -> Draft {
        let body = event.encode(&self.shared.encoding).map_err(unwritten);
        Draft::new(Message::default(), body)
    }

    /// Publishes a message that is made by hand: its headers, `content-type` among them, its body, key and
    /// id. It goes to its own topic, if it has one, else to the publisher's. The headers with the topic, the id
    /// and the service that publishes are written over.
    pub fn publish_raw(&self, message: Message) -> Publish {
        Publish::of_message(Arc::clone(&self.shared), message)
    }

    fn with(mut self, change: impl FnOnce(&mut Shared)) -> Publisher<E> {
        change(Arc::make_mut(&mut self.shared));
        self
    }
}

fn unwritten(status: Status) -> Error {
    Error::new(ErrorKind::Call, "the event cannot be written").with_source(status)
}

impl<E> Clone for Publisher<E> {
    fn clone(&self) -> Publisher<E> {
        Publisher {
            shared: Arc::clone(&self.shared),
            event: PhantomData,
        }
    }
}

impl<E> fmt::Debug for Publisher<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher")
            .field("broker", &self.shared.broker.name())
            .field("topic", &self.shared.topic)
            .field("delivery", &self.shared.delivery)
            .field("timeout", &self.shared.timeout)
            .finish_non_exhaustive()
    }
}

/// What a publish begins with.
struct Draft {
    /// With the headers that its maker gave.
    message: Message,
    body: Result<Body, Error>,
    context: Option<crate::context::Context>,
    timeout: Option<Duration>,
}

impl Draft {
    /// Inherits from where it is made.
    fn new(message: Message, body: Result<Body, Error>) -> Draft {
        Draft {
            message,
            body,
            context: crate::context::Context::current(),
            timeout: None,
        }
    }
}
