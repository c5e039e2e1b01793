//! [`NatsConsumer`]: an open subscription.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_nats::Subscriber;
use futures_core::Stream;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::backlog::Backlog;
use super::held::Held;
use super::hub::{Hub, broker};
use super::pull::{Handed, Pull};
use super::{Home, core, names, wire};
use crate::broker::{Consumer, Delivery, Event, Receipt, Topic};
use crate::error::Error;

/// An open subscription of [`Nats`](super::Nats).
///
/// Dropping it ends it, and what it had handed out and was not settled is handed out again, by a task that tells
/// the server; without a tokio runtime any more, after the topic's [`ack_wait`](Topic::ack_wait).
pub struct NatsConsumer {
    topic: String,
    source: Source,
    stop: watch::Sender<bool>,
    task: Option<JoinHandle<()>>,
    /// Keeps the connection.
    _home: Arc<Home>,
}

enum Source {
    AtMostOnce(Arc<Backlog<Subscriber>>),
    AtLeastOnce {
        events: mpsc::Receiver<Result<Handed, Error>>,
        held: Arc<Held>,
        /// Whether acknowledgements are confirmed.
        confirm: bool,
    },
}

/// How long the confirmation of an acknowledgement is waited for.
const CONFIRM: Duration = Duration::from_secs(5);

// ===== impl NatsConsumer =====

impl NatsConsumer {
    pub(super) async fn open(
        home: Arc<Home>,
        hub: Hub,
        topic: &Topic,
    ) -> Result<NatsConsumer, Error> {
        let (stop, stopped) = watch::channel(false);
        let (ready, is_ready) = oneshot::channel();
        // The connection's task runs already, so there is a runtime.
        let runtime = Handle::try_current().map_err(|error| broker(&error).with_source(error))?;
        let (source, task) = match topic.level() {
            Delivery::AtMostOnce => {
                let backlog = Arc::new(Backlog::new(topic.name()));
                let run = core::run(hub, topic.clone(), Arc::clone(&backlog), ready, stopped);
                (Source::AtMostOnce(backlog), runtime.spawn(run))
            }
            Delivery::AtLeastOnce => {
                // One more than may be out, for an error at the end.
                let (events, receiver) = mpsc::channel(topic.in_flight().saturating_add(1));
                let queue = topic.queue_name();
                let name = match queue {
                    Some(queue) => names::durable(queue, topic.name()),
                    None => format!("micro-{}", uuid::Uuid::new_v4().simple()),
                };
                let held = Arc::new(Held::new(queue.is_none()));
                let source = Source::AtLeastOnce {
                    events: receiver,
                    held: Arc::clone(&held),
                    confirm: hub.config().double_ack,
                };
                let pull = Pull {
                    hub,
                    topic: topic.clone(),
                    name,
                    held,
                    events,
                    stop: stopped,
                    created: None,
                    place: 0,
                };
                (source, runtime.spawn(pull.run(ready)))
            }
        };
        // Dropped with this future, it ends the task.
        let consumer = NatsConsumer {
            topic: topic.name().to_owned(),
            source,
            stop,
            task: Some(task),
            _home: home,
        };
        match is_ready.await {
            Ok(ready) => ready.map(|()| consumer),
            Err(_) => Err(broker(
                "the subscription over NATS ended before it was ready",
            )),
        }
    }
}

impl Stream for NatsConsumer {
    type Item = Result<Event, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        match &mut this.source {
            Source::AtLeastOnce {
                events,
                held,
                confirm,
            } => events.poll_recv(cx).map(|handed| {
                let handed = match handed? {
                    Ok(handed) => handed,
                    Err(error) => return Some(Err(error)),
                };
                let receipt = receipt(Arc::clone(held), handed.number, *confirm);
                Some(Ok(wire::read_event(
                    &this.topic,
                    &handed.payload,
                    handed.attempt,
                    Some(receipt),
                )))
            }),
            Source::AtMostOnce(backlog) => backlog.poll_next(cx).map(|payload| {
                payload.map(|payload| {
                    payload.map(|payload| wire::read_event(&this.topic, &payload, 1, None))
                })
            }),
        }
    }
}

/// How an event is settled. The subscription's task tells the server.
fn receipt(held: Arc<Held>, number: u64, confirm: bool) -> Receipt {
    Receipt::new(move |how| {
        let settled = held.settle(number, how, confirm);
        async move {
            let Some(confirmed) = settled? else {
                return Ok(());
            };
            match timeout(CONFIRM, confirmed).await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(_)) | Err(_) => Err(broker(
                    "NATS has not confirmed the acknowledgement, the event may come again",
                )),
            }
        }
    })
}

impl Consumer for NatsConsumer {
    /// At most once, others of the queue get what this one would only lose. At least once, what was handed out needs
    /// the task until it is settled.
    fn stop(&mut self) {
        if matches!(self.source, Source::AtMostOnce(_)) {
            self.stop.send_replace(true);
        }
    }

    async fn close(mut self) {
        self.stop.send_replace(true);
        if let Some(task) = self.task.take() {
            // It looks after its own time.
            let _ = task.await;
        }
    }
}

impl Drop for NatsConsumer {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

impl fmt::Debug for NatsConsumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsConsumer")
            .field("topic", &self.topic)
            .finish_non_exhaustive()
    }
}
