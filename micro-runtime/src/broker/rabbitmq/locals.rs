//! [`Locals`]: which subscriptions of this process read one queue of go-micro's.
//!
//! At most once a queue has go-micro's name, which is that of the queue alone. Subscriptions to several topics
//! by one queue name therefore share one queue of RabbitMQ's, and the server hands each of them events of all
//! those topics. Here each event finds the subscription that wants it. In Go it does not: whoever gets it has
//! it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use lapin::options::{BasicAckOptions, BasicNackOptions};
use tokio::runtime::Handle;
use tokio::time::sleep;
use tracing::warn;

use super::inbox::{Handed, Inbox};
use crate::broker::{Delivery, Topic};
use crate::lock::lock;

/// How long an event waits that nobody here wants, before another process may look at it: one that starts
/// subscribes to its topics one after another.
const FOREIGN: Duration = Duration::from_millis(100);

/// The subscriptions of one broker that share queues.
#[derive(Debug, Default)]
pub(super) struct Locals {
    /// By queue and topic. Held for short sections without a wait.
    places: Mutex<BTreeMap<(String, String), Vec<Numbered>>>,
}

/// An inbox, with a number that no other of its queue and topic has.
type Numbered = (u64, Arc<Inbox>);

/// Where the deliveries of a subscription go.
pub(super) struct Place {
    /// Its own inbox.
    inbox: Arc<Inbox>,
    /// The others that read the queue, if it is one of go-micro's.
    shared: Option<Shared>,
}

struct Shared {
    locals: Weak<Locals>,
    queue: String,
    topic: String,
    number: u64,
}

// ===== impl Locals =====

impl Locals {
    /// Takes a subscription in, until its place is dropped.
    pub(super) fn enter(self: &Arc<Self>, topic: &Topic, inbox: Arc<Inbox>) -> Place {
        let shared = match (topic.level(), topic.queue_name()) {
            (Delivery::AtMostOnce, Some(queue)) => {
                let key = (queue.to_owned(), topic.name().to_owned());
                let mut places = lock(&self.places);
                let all = places.entry(key).or_default();
                let number = all.iter().map(|(number, _)| number + 1).max().unwrap_or(0);
                all.push((number, Arc::clone(&inbox)));
                Some(Shared {
                    locals: Arc::downgrade(self),
                    queue: queue.to_owned(),
                    topic: topic.name().to_owned(),
                    number,
                })
            }
            _ => None,
        };
        Place { inbox, shared }
    }

    /// The inbox of one that wants this topic of this queue.
    fn find(&self, queue: &str, topic: &str) -> Option<Arc<Inbox>> {
        let key = (queue.to_owned(), topic.to_owned());
        let mut places = lock(&self.places);
        let all = places.get_mut(&key)?;
        // In turns, if there are several.
        let turns = all.len().min(1);
        all.rotate_left(turns);
        all.last().map(|(_, inbox)| Arc::clone(inbox))
    }
}

// ===== impl Place =====

impl Place {
    /// Passes a delivery on to whoever wants it.
    pub(super) fn pass_on(&self, handed: Handed, runtime: &Handle) {
        let key = handed.delivery.routing_key.as_str();
        let inbox = match &self.shared {
            Some(shared) if shared.topic != key => {
                let locals = shared.locals.upgrade();
                let Some(inbox) = locals.and_then(|locals| locals.find(&shared.queue, key)) else {
                    shared.foreign(handed, runtime);
                    return;
                };
                inbox
            }
            _ => Arc::clone(&self.inbox),
        };
        if let Err(handed) = inbox.push(handed) {
            handed.give_back();
        }
    }

    /// Is found no more by others.
    pub(super) fn leave(&self) {
        let Some(shared) = &self.shared else {
            return;
        };
        let Some(locals) = shared.locals.upgrade() else {
            return;
        };
        let key = (shared.queue.clone(), shared.topic.clone());
        let mut places = lock(&locals.places);
        if let Some(all) = places.get_mut(&key) {
            all.retain(|(number, _)| *number != shared.number);
            if all.is_empty() {
                places.remove(&key);
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.leave();
    }
}

// ===== impl Shared =====

impl Shared {
    /// Nobody here wants it. Somebody else may have another try, and then it is dropped: else it would go round
    /// for ever.
    fn foreign(&self, handed: Handed, runtime: &Handle) {
        let delivery = handed.delivery;
        let (queue, topic) = (self.queue.clone(), delivery.routing_key.clone());
        runtime.spawn(async move {
            // A channel that is gone gives it back as well.
            if delivery.redelivered {
                warn!(
                    queue,
                    topic = topic.as_str(),
                    "An event is dropped: a queue of go-micro's is bound to a topic that nobody here subscribes to; \
                     use another queue name for each topic, or Delivery::AtLeastOnce"
                );
                let _ = delivery.acker.ack(BasicAckOptions::default()).await;
            } else {
                sleep(FOREIGN).await;
                let back = BasicNackOptions {
                    requeue: true,
                    multiple: false,
                };
                let _ = delivery.acker.nack(back).await;
            }
        });
    }
}
