//! [`MemoryConsumer`]: an open subscription of [`Memory`](super::Memory).

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use futures_core::Stream;
use tokio::time::{Instant, Sleep, sleep_until};

use super::Shared;
use super::queue::{Entry, Found, Queue};
use super::topic::Subscribed;
use crate::broker::Consumer;
use crate::broker::event::{Event, Receipt};
use crate::broker::topic::{Delivery, Topic};
use crate::error::Error;

/// An open subscription of [`Memory`](super::Memory).
pub struct MemoryConsumer {
    broker: Weak<Shared>,
    subscribed: Arc<Subscribed>,
    topic: String,
    queue: Arc<Queue>,
    /// Its number in the queue.
    id: u64,
    /// Whether its events are settled.
    keep: bool,
    timer: Option<Pin<Box<Sleep>>>,
}

// ===== impl MemoryConsumer =====

impl MemoryConsumer {
    pub(super) fn new(
        broker: Weak<Shared>,
        subscribed: Arc<Subscribed>,
        queue: Arc<Queue>,
        topic: &Topic,
    ) -> MemoryConsumer {
        let keep = topic.level() == Delivery::AtLeastOnce;
        MemoryConsumer {
            broker,
            subscribed,
            topic: topic.name().to_owned(),
            id: queue.join(topic.in_flight(), keep),
            queue,
            keep,
            timer: None,
        }
    }

    fn event(&self, entry: Entry) -> Event {
        let Entry {
            number,
            attempt,
            message,
        } = entry;
        if !self.keep {
            self.subscribed.freed();
            return Event::of_message(message, attempt, None);
        }
        let (queue, subscribed, id) = (
            Arc::clone(&self.queue),
            Arc::clone(&self.subscribed),
            self.id,
        );
        let receipt = Receipt::new(move |how| {
            queue.settle(id, number, attempt, how);
            subscribed.freed();
            std::future::ready(Ok(()))
        });
        Event::of_message(message, attempt, Some(receipt))
    }

    /// Whether this moment has come; if not, the task is woken when it does.
    fn has_come(&mut self, at: Instant, cx: &mut Context<'_>) -> bool {
        let timer = match &mut self.timer {
            Some(timer) => {
                timer.as_mut().reset(at);
                timer
            }
            None => self.timer.insert(Box::pin(sleep_until(at))),
        };
        timer.as_mut().poll(cx).is_ready()
    }
}

impl Stream for MemoryConsumer {
    type Item = Result<Event, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            match this.queue.poll(this.id, this.keep, cx) {
                Found::Entry(entry) => return Poll::Ready(Some(Ok(this.event(entry)))),
                Found::Nothing(None) => return Poll::Pending,
                Found::Nothing(Some(at)) => {
                    if !this.has_come(at, cx) {
                        return Poll::Pending;
                    }
                }
            }
        }
    }
}

impl MemoryConsumer {
    /// Takes a queue that is of no more use out of its topic, and tells who waits for room.
    fn left(&self, useless: bool) {
        if useless && let Some(broker) = self.broker.upgrade() {
            broker.forget(&self.subscribed, &self.topic, &self.queue);
        }
        self.subscribed.freed();
    }
}

impl Consumer for MemoryConsumer {
    /// A queue that ends with its consumers fills up no more.
    fn stop(&mut self) {
        self.left(self.queue.stop(self.id));
    }

    async fn close(self) {}
}

impl Drop for MemoryConsumer {
    fn drop(&mut self) {
        self.left(self.queue.leave(self.id));
    }
}

impl fmt::Debug for MemoryConsumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryConsumer")
            .field("topic", &self.topic)
            .field("queue", &self.queue.name())
            .finish_non_exhaustive()
    }
}
