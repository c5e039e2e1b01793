//! [`Subscription`]: a consumer, as a member of a queue's group, or alone with all partitions.
//!
//! | file | holds |
//! |---|---|
//! | `state` | what was handed out, and what waits to be handed out again |
//! | `context` | what the library calls back: partitions come and go |
//! | `begin` | where a subscription begins |
//! | `run` | the loop that reads, hands out and stores |

mod begin;
mod context;
mod run;
mod state;

use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use rdkafka::consumer::StreamConsumer;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use uuid::Uuid;

use self::context::Callbacks;
use self::state::{Place, State};
use super::client::{Ear, Refusal};
use super::config::Config;
use super::names::Name;
use crate::broker::common::malformed::malformed;
use crate::broker::{Delivery, Event, Receipt, Settle, Topic, envelope};
use crate::error::{Error, ErrorKind};
use crate::lock::lock;

/// How long closing may take.
const CLOSE: Duration = Duration::from_secs(10);

type Client = StreamConsumer<Callbacks>;

/// A share in a client; the last one lets go of it on a thread of its own, and what is sent with it is dropped
/// when the client is gone.
#[derive(Clone)]
struct Share(Option<Arc<Client>>, mpsc::Sender<()>);

/// What an open subscription holds.
pub(super) struct Subscription {
    events: mpsc::Receiver<Handed>,
    leave: watch::Sender<bool>,
    task: Option<JoinHandle<()>>,
    level: Delivery,
}

/// An event on its way to the handler; without a receipt, its slot is free when it is taken.
struct Handed(Result<Event, Error>, Option<OwnedSemaphorePermit>);

/// What the parts of a subscription share.
struct Shared {
    topic: String,
    level: Delivery,
    /// Whether it is a member of a group, which remembers how far it is.
    is_member: bool,
    ear: Ear,
    slots: Arc<Semaphore>,
    /// Held for short sections without a wait.
    state: Mutex<State>,
    /// Told when there is something to store, or to hand out earlier than was thought, or partitions changed.
    changed: Notify,
    events: mpsc::Sender<Handed>,
}

// ===== impl Share =====

impl Share {
    /// The client; there is one until this is dropped.
    fn get(&self) -> Option<&Client> {
        self.0.as_deref()
    }

    fn downgrade(&self) -> Weak<Client> {
        self.0.as_ref().map(Arc::downgrade).unwrap_or_default()
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if let Some(client) = self.0.take().and_then(Arc::into_inner) {
            super::drop_apart((client, self.1.clone()));
        }
    }
}

// ===== impl Subscription =====

impl Subscription {
    /// Subscribes, and resolves when nothing that is published from now on is missed.
    pub(super) async fn open(config: &Config, topic: &Topic) -> Result<Subscription, Error> {
        let queue = topic.queue_name();
        let name = match (&config.names, queue) {
            (Some(names), Some(queue)) => Some(names.take(queue, topic.name())?),
            _ => None,
        };
        let group = queue.map_or_else(|| format!("micro-{}", Uuid::new_v4()), str::to_owned);
        let (events, receiver) = mpsc::channel(topic.in_flight() + 1);
        let shared = Arc::new(Shared {
            topic: topic.name().to_owned(),
            level: topic.level(),
            is_member: queue.is_some(),
            ear: Ear::new(format!(
                "kafka at {} (subscribed to {})",
                config.servers,
                topic.name()
            )),
            slots: Arc::new(Semaphore::new(topic.in_flight())),
            state: Mutex::new(State::new()),
            changed: Notify::new(),
            events,
        });
        let client = config
            .consumer(&group, shared.is_member, name.as_ref().map(Name::text))
            .create_with_context(Callbacks(Arc::clone(&shared)))
            .map_err(|error| Refusal::Config(error.to_string()).into_error("cannot subscribe"))?;
        let (alive, gone) = mpsc::channel(1);
        let client = Share(Some(Arc::new(client)), alive);
        let (ready, begun) = oneshot::channel();
        let (leave, leaving) = watch::channel(false);
        let running = run::run(Arc::clone(&shared), client, gone, leaving, ready);
        let task = tokio::spawn(async move {
            running.await;
            // The client is gone: another member may have its name.
            drop(name);
        });
        let subscription = Subscription {
            events: receiver,
            leave,
            task: Some(task),
            level: topic.level(),
        };
        match begun.await {
            Ok(Ok(())) => Ok(subscription),
            Ok(Err(refusal)) => {
                Err(refusal.into_error(&format!("cannot subscribe to {:?}", topic.name())))
            }
            Err(_) => Err(Error::new(
                ErrorKind::Broker,
                "the kafka broker's subscription has ended with its tokio runtime",
            )),
        }
    }

    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Event, Error>>> {
        let next = self.events.poll_recv(cx);
        next.map(|next| next.map(|Handed(event, _slot)| event))
    }

    /// Ends it, and waits until what is acknowledged is with the server and the group is left.
    pub(super) async fn close(mut self) {
        self.stop();
        if let Some(task) = self.task.take() {
            // A server that is away is not told; the group finds out by the member's silence.
            let _ = timeout(CLOSE, task).await;
        }
    }

    /// Leaves the group, unless what was handed out is to be settled first.
    pub(super) fn stop_if_nothing_is_settled(&mut self) {
        if self.level == Delivery::AtMostOnce {
            self.stop();
        }
    }

    fn stop(&mut self) {
        self.events.close();
        while self.events.try_recv().is_ok() {}
        self.leave.send_replace(true);
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.stop();
    }
}

// ===== impl Shared =====

impl Shared {
    /// Hands out what was read.
    fn hand_out(
        self: &Arc<Self>,
        place: Place,
        payload: Bytes,
        attempt: u32,
        slot: OwnedSemaphorePermit,
    ) {
        let (headers, body) =
            envelope::read(&payload).unwrap_or_else(|why| malformed(&why, payload.clone()));
        if self.level == Delivery::AtMostOnce {
            let event = Event::new(&*self.topic, headers, body, attempt, None);
            let _ = self.events.try_send(Handed(Ok(event), Some(slot)));
            return;
        }
        let shared = Arc::clone(self);
        let receipt = Receipt::new(move |how| {
            let settled = shared.settle(place, payload, attempt, how);
            drop(slot);
            async move { settled }
        });
        let event = Event::new(&*self.topic, headers, body, attempt, Some(receipt));
        // There is room for as many as there are slots; if nobody is there any more, the receipt gives it back.
        let _ = self.events.try_send(Handed(Ok(event), None));
    }

    fn settle(&self, place: Place, payload: Bytes, attempt: u32, how: Settle) -> Result<(), Error> {
        let stands = match how {
            Settle::Ack => lock(&self.state).done(place),
            Settle::Retry(delay) => {
                let next = attempt.saturating_add(1);
                lock(&self.state).wait_for(place, payload, next, delay)
            }
            // To ourselves, if we are there still; else nobody has stored it, and the next member reads it.
            Settle::Return => lock(&self.state).wait_for(place, payload, attempt, Duration::ZERO),
        };
        self.changed.notify_one();
        if stands {
            Ok(())
        } else {
            Err(Error::new(
                ErrorKind::Broker,
                format_args!(
                    "the partition {} of {:?} is another member's by now: the event comes again there",
                    place.partition, self.topic
                ),
            ))
        }
    }

    /// Ends the subscription with an error.
    fn fails(&self, refusal: Refusal) {
        let error = refusal.into_error(&format!("cannot go on with {:?}", self.topic));
        // One place more than slots is there for this.
        let _ = self.events.try_send(Handed(Err(error), None));
    }
}
