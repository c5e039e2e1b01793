//! Publishing: a message on its way until the server has confirmed it.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::ShortString;
use lapin::{BasicProperties, Channel, Confirmation, ErrorKind as Kind};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout, timeout_at};

use super::config::Config;
use super::declare;
use super::fault::{ACCESS_REFUSED, Fault, PRECONDITION_FAILED, reply, shown};
use super::link::{Connected, Link, Role};
use super::wire;
use crate::backoff::Backoff;
use crate::broker::{Delivery, Message};
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};
use crate::lock::lock;

/// The pauses before a message is sent again that the server refused.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// How long closing waits for what is on its way.
const LAST: Duration = Duration::from_secs(5);

/// Publishes over a connection of its own.
pub(super) struct Publishing {
    link: Link,
    config: Arc<Config>,
    /// One permit for each publication on its way.
    slots: Arc<Semaphore>,
}

/// A channel that publishes at one level.
pub(super) struct Outlet {
    channel: Channel,
    exchange: ShortString,
    mandatory: bool,
    /// The library numbers a message and puts it in line in two steps: with two at once the numbers would be
    /// mixed up, and a confirm would be that of another message. Held for the two, which wait for nothing.
    turn: Mutex<()>,
}

/// What is known of a publication, for the error when its time is up.
#[derive(Default)]
struct Trail {
    why: Option<String>,
    connected: Option<Arc<Connected>>,
}

/// What became of one attempt.
enum Outcome {
    Kept,
    /// No queue is bound to the topic.
    Unroutable,
    /// The server took it, and could not keep it.
    Nacked,
    /// It was not sent.
    Unsent(String),
    /// It may have been kept.
    Lost(String),
    /// Sending it again is of no use.
    Refused(String),
    /// We may not publish it.
    Denied(String),
}

type Sending = Pin<Box<dyn Future<Output = lapin::Result<Confirmation>> + Send>>;

/// A message that the library has. Dropped before it is confirmed it keeps its slot until it is, or is lost:
/// the library keeps it as long.
struct Sent {
    sending: Option<Sending>,
    begun: bool,
    rest: Option<Rest>,
    runtime: Handle,
}

/// What outlives the caller.
struct Rest {
    permit: OwnedSemaphorePermit,
    connected: Arc<Connected>,
    outlet: Arc<Outlet>,
    key: String,
    id: String,
}

// ===== impl Publishing =====

impl Publishing {
    pub(super) fn new(config: Arc<Config>) -> Publishing {
        Publishing {
            link: Link::new(Arc::clone(&config), Role::Publish),
            slots: Arc::new(Semaphore::new(config.in_flight)),
            config,
        }
    }

    pub(super) async fn publish(
        &self,
        mut message: Message,
        level: Delivery,
        deadline: Deadline,
    ) -> Result<(), Error> {
        if message.id.is_empty() && level == Delivery::AtLeastOnce {
            message.id = uuid::Uuid::new_v4().to_string();
        }
        let properties = wire::properties(&message, level)?;
        let mut trail = Trail::default();
        if deadline.has_passed() {
            return Err(self.late(&message, &trail));
        }
        let attempts = self.attempts(&message, Some(properties), level, &mut trail);
        match timeout_at(deadline.instant(), attempts).await {
            Ok(result) => result,
            Err(_) => Err(self.late(&message, &trail)),
        }
    }

    async fn attempts(
        &self,
        message: &Message,
        mut written: Option<BasicProperties>,
        level: Delivery,
        trail: &mut Trail,
    ) -> Result<(), Error> {
        let runtime = Handle::try_current().map_err(|error| {
            Error::new(
                ErrorKind::Broker,
                "broker::RabbitMq must be used within a tokio runtime",
            )
            .with_source(error)
        })?;
        let routing_key = wire::short("a topic", message.topic.clone())?;
        let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
        let mut permit = self.slot(trail).await?;
        loop {
            let connected = self.link.up(&mut trail.why).await?;
            trail.connected = Some(Arc::clone(&connected));
            let trial = of_level(&connected.trials, level).of(&message.topic).await;
            let outlet = match trial {
                Some(_) => Outlet::open(&connected, &self.config, level).await,
                None => self.outlet(&connected, level).await,
            };
            let outlet = match outlet {
                Ok(outlet) => outlet,
                Err(Fault::Lost(why)) => {
                    trail.why = Some(why);
                    connected.give_up();
                    sleep(backoff.next()).await;
                    continue;
                }
                Err(fault) => return Err(fault.into()),
            };
            let body = message.body.clone();
            let (channel, exchange) = (outlet.channel.clone(), outlet.exchange.clone());
            // Written again for another attempt, which is rare, and not copied for the first.
            let properties = match written.take() {
                Some(properties) => properties,
                None => wire::properties(message, level)?,
            };
            let routing_key = routing_key.clone();
            let options = BasicPublishOptions {
                mandatory: outlet.mandatory,
                ..BasicPublishOptions::default()
            };
            let sending = async move {
                let sent = channel.basic_publish(exchange, routing_key, options, &body, properties);
                sent.await?.await
            };
            let sent = Sent {
                sending: Some(Box::pin(sending)),
                begun: false,
                rest: Some(Rest {
                    permit,
                    connected: Arc::clone(&connected),
                    outlet,
                    key: message.topic.clone(),
                    id: message.id.clone(),
                }),
                runtime: runtime.clone(),
            };
            let (outcome, returned) = sent.settled(message.body.len()).await?;
            permit = returned;
            if let (Some(trial), Outcome::Kept | Outcome::Unroutable | Outcome::Nacked) =
                (&trial, &outcome)
            {
                trial.is_taken();
            }
            drop(trial);
            let again = level == Delivery::AtLeastOnce;
            match outcome {
                Outcome::Kept => return Ok(()),
                Outcome::Unroutable if self.config.allow_unroutable => return Ok(()),
                Outcome::Unroutable => return Err(self.unroutable(message)),
                Outcome::Refused(text) => return Err(Error::new(ErrorKind::Broker, text)),
                Outcome::Denied(text) => return Err(Error::new(ErrorKind::Config, text)),
                Outcome::Nacked if again => {
                    trail.why = Some("RabbitMQ cannot keep it, as when a queue is full".to_owned());
                    sleep(backoff.next()).await;
                }
                Outcome::Nacked => {
                    return Err(Error::new(
                        ErrorKind::Broker,
                        format_args!(
                            "RabbitMQ took the event on {:?} and could not pass it on to every queue",
                            message.topic
                        ),
                    ));
                }
                Outcome::Lost(why) if !again => {
                    return Err(Error::new(
                        ErrorKind::Broker,
                        format_args!(
                            "the connection was lost before RabbitMQ confirmed the event on {:?}, which may have \
                             arrived: {why}; publish it at least once if it must",
                            message.topic
                        ),
                    ));
                }
                Outcome::Lost(why) | Outcome::Unsent(why) => {
                    trail.why = Some(why);
                    connected.give_up();
                    connected.lost().await;
                }
            }
        }
    }

    /// Waits for room among those that are on their way.
    async fn slot(&self, trail: &mut Trail) -> Result<OwnedSemaphorePermit, Error> {
        if let Ok(permit) = Arc::clone(&self.slots).try_acquire_owned() {
            return Ok(permit);
        }
        trail.why = Some(format!(
            "{} publications are on their way already, which is as many as are allowed",
            self.config.in_flight
        ));
        let permit = Arc::clone(&self.slots).acquire_owned().await;
        permit.map_err(|error| {
            Error::new(ErrorKind::Broker, "publishing is closed").with_source(error)
        })
    }

    async fn outlet(
        &self,
        connected: &Arc<Connected>,
        level: Delivery,
    ) -> Result<Arc<Outlet>, Fault> {
        let cell = of_level(&connected.outlets, level);
        let outlet = cell.get_or_try_init(|| Outlet::open(connected, &self.config, level));
        outlet.await.map(Arc::clone)
    }

    /// Its time is up.
    fn late(&self, message: &Message, trail: &Trail) -> Error {
        let servers = self.config.shown();
        let blocked = trail.connected.as_ref().and_then(|on| on.blocked());
        let why = match (blocked, &trail.why) {
            (Some(reason), _) => format!(": it takes no publications for now: {reason}"),
            (None, Some(why)) => format!(": {why}"),
            (None, None) => String::new(),
        };
        Error::new(
            ErrorKind::Broker,
            format_args!(
                "RabbitMQ at {servers} has not confirmed the event on {:?} by its deadline{why}",
                message.topic
            ),
        )
    }

    fn unroutable(&self, message: &Message) -> Error {
        Error::new(
            ErrorKind::Broker,
            format_args!(
                "no queue is bound to the topic {:?} of the exchange {:?}, so that nobody would ever get the event; \
                 subscribe first, or allow it by RabbitMq::allow_unroutable",
                message.topic,
                self.config.durable()
            ),
        )
    }

    /// Waits for what is on its way, for a while, and ends the connection.
    pub(super) async fn close(&self) {
        let all = u32::try_from(self.config.in_flight).unwrap_or(u32::MAX);
        // What is not confirmed by then is the callers' to know of.
        let _ = timeout(LAST, self.slots.acquire_many(all)).await;
        self.link.stop().await;
    }
}

// ===== impl Outlet =====

impl Outlet {
    async fn open(
        connected: &Connected,
        config: &Config,
        level: Delivery,
    ) -> Result<Arc<Outlet>, Fault> {
        declare::exchanges(connected, config, level).await?;
        let lost = |error: lapin::Error| Fault::Lost(shown(&error));
        let channel = connected.connection.create_channel().await.map_err(lost)?;
        let confirms = channel.confirm_select(ConfirmSelectOptions::default());
        confirms.await.map_err(lost)?;
        let exchange = match level {
            Delivery::AtMostOnce => config.exchange.clone(),
            Delivery::AtLeastOnce => config.durable(),
        };
        let exchange = ShortString::try_new(exchange)
            .map_err(|error| Fault::Config(format!("an exchange's name: {error}")))?;
        Ok(Arc::new(Outlet {
            channel,
            exchange,
            mandatory: level == Delivery::AtLeastOnce,
            turn: Mutex::new(()),
        }))
    }
}

// ===== impl Sent =====

impl Sent {
    /// Waits until it is known what became of it.
    async fn settled(mut self, length: usize) -> Result<(Outcome, OwnedSemaphorePermit), Error> {
        let result = poll_fn(|cx| self.poll(cx)).await;
        let Some(rest) = self.rest.take() else {
            // It is taken when this is dropped, and here.
            return Err(Error::new(ErrorKind::Broker, "a publication was dropped"));
        };
        let outcome = match result {
            Ok(confirmation) => {
                // The library's own word on what came back may be another message's.
                let unroutable = rest.connected.tap.take_returned(&rest.key, &rest.id);
                match confirmation {
                    _ if unroutable => Outcome::Unroutable,
                    Confirmation::Ack(_) => Outcome::Kept,
                    Confirmation::Nack(_) => Outcome::Nacked,
                    Confirmation::NotRequested => {
                        Outcome::Lost("the channel confirms nothing".to_owned())
                    }
                }
            }
            Err(error) => lost(&error, length, &rest.key),
        };
        Ok((outcome, rest.permit))
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<lapin::Result<Confirmation>> {
        let Some(sending) = &mut self.sending else {
            return Poll::Pending;
        };
        let polled = match &self.rest {
            Some(rest) if !self.begun => {
                self.begun = true;
                let _turn = lock(&rest.outlet.turn);
                sending.as_mut().poll(cx)
            }
            _ => sending.as_mut().poll(cx),
        };
        if polled.is_ready() {
            self.sending = None;
        }
        polled
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        if let (Some(sending), Some(rest), true) =
            (self.sending.take(), self.rest.take(), self.begun)
        {
            self.runtime.spawn(async move {
                // Nobody wants to know any more.
                let _ = sending.await;
                rest.connected.tap.take_returned(&rest.key, &rest.id);
                drop(rest.permit);
            });
        }
    }
}

/// What there is for publications at this level.
fn of_level<T>([at_most_once, at_least_once]: &[T; 2], level: Delivery) -> &T {
    match level {
        Delivery::AtMostOnce => at_most_once,
        Delivery::AtLeastOnce => at_least_once,
    }
}

/// What an error says of a message of this length, for this topic.
fn lost(error: &lapin::Error, length: usize, topic: &str) -> Outcome {
    let text = shown(error);
    match (error.kind(), reply(error)) {
        (Kind::InvalidChannelState(_, "basic.publish"), _) => Outcome::Unsent(text),
        // It closes the channel for all that are on their way: this is the one that is meant.
        (_, Some((PRECONDITION_FAILED, said)))
            if said.contains(&format!("message size {length} ")) =>
        {
            Outcome::Refused(format!("RabbitMQ does not take so large an event: {said}"))
        }
        // So does this. Without the name of a topic all are meant.
        (_, Some((ACCESS_REFUSED, said)))
            if !said.contains("topic '") || said.contains(&format!("topic '{topic}'")) =>
        {
            Outcome::Denied(format!(
                "RabbitMQ does not let us publish on {topic:?}: {said}; give the user the right to write there"
            ))
        }
        _ => Outcome::Lost(text),
    }
}
