//! [`Memory`]: events within one process, with both promises.

mod consumer;
mod queue;
#[cfg(test)]
mod tests;
mod topic;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use tokio::time::timeout_at;

use super::message::Message;
use super::topic::{Delivery, Topic};
use super::{Broker, check_name};
use crate::deadline::Deadline;
use crate::error::Error;
use crate::lock::lock;

pub use consumer::MemoryConsumer;
use queue::Queue;
use topic::Subscribed;

/// The events that one queue holds, unless something else is said.
const CAPACITY: usize = 1_024;

/// Events within this process: for tests, and for programs that hold several services.
///
/// Each `Memory::new()` is a world of its own; clones share it. Both levels are kept as long as the process
/// lives: a handler that fails gets its event again, with its delay and its number of attempts, and an event
/// that was published at least once stays until a handler has returned `Ok` for it.
///
/// * A queue that was subscribed at least once outlives its subscribers: what is published meanwhile waits
///   for the next one. Without a queue, each subscriber has one of its own, which ends with it.
/// * A queue holds 1,024 events ([`with_capacity`](Memory::with_capacity)), those that are being handled
///   included. Where one is full, `publish` to its topic waits for room until its deadline.
/// * Events of a topic keep their order, as long as a subscription handles one at a time and nothing fails.
/// * Time is tokio's: in a test with a paused clock, delays pass at once.
///
/// ```
/// use micro_runtime::broker::{self, AnyBroker, Delivery, Memory, Publisher, Topic};
/// use micro_runtime::Context;
/// use tokio::sync::mpsc;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), micro_runtime::Error> {
/// let broker = AnyBroker::new(Memory::new());
/// let (seen, mut all) = mpsc::unbounded_channel();
/// let topic = Topic::new("greetings").queue("greeters").delivery(Delivery::AtLeastOnce);
/// let subscription = broker::subscribe(&broker, topic, move |_ctx: Context, greeting: String| {
///     let seen = seen.clone();
///     async move {
///         let _ = seen.send(greeting);
///         Ok(())
///     }
/// })?;
/// subscription.ready().await?;
///
/// Publisher::new(&broker, "greetings").publish(&"hello".to_owned()).await?;
/// assert_eq!(all.recv().await.as_deref(), Some("hello"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Memory(Arc<Shared>);

struct Shared {
    capacity: usize,
    /// The topics that somebody has subscribed. Held for short sections without a wait.
    topics: Mutex<HashMap<String, Arc<Subscribed>>>,
}

// ===== impl Memory =====

impl Memory {
    /// A broker that nobody else sees.
    #[must_use]
    pub fn new() -> Memory {
        Memory::with_capacity(CAPACITY)
    }

    /// The same, with queues of this many events; less than 1 counts as 1.
    #[must_use]
    pub fn with_capacity(events: usize) -> Memory {
        Memory(Arc::new(Shared {
            capacity: events.max(1),
            topics: Mutex::new(HashMap::new()),
        }))
    }
}

impl Default for Memory {
    fn default() -> Memory {
        Memory::new()
    }
}

impl Broker for Memory {
    type Consumer = MemoryConsumer;

    fn name(&self) -> &'static str {
        "memory"
    }

    fn check(&self, _: Delivery) -> Result<(), Error> {
        Ok(())
    }

    /// # Errors
    /// A queue of the topic was full until the deadline.
    async fn publish(
        &self,
        message: Message,
        _: Delivery,
        deadline: Deadline,
    ) -> Result<(), Error> {
        check_name("topic", &message.topic)?;
        let Some(topic) = lock(&self.0.topics).get(&message.topic).cloned() else {
            return Ok(());
        };
        let message = Arc::new(message);
        if topic.try_push(&message) {
            return Ok(());
        }
        match timeout_at(deadline.instant(), topic.push(&message)).await {
            Ok(()) => Ok(()),
            Err(_) => Err(Error::broker(format_args!(
                "cannot publish to the topic {:?}: a queue of it was full with {} events until the deadline",
                message.topic, self.0.capacity
            ))),
        }
    }

    async fn subscribe(&self, topic: &Topic) -> Result<MemoryConsumer, Error> {
        topic.check()?;
        let mut topics = lock(&self.0.topics);
        let subscribed = topics.entry(topic.name().to_owned()).or_default();
        let queue = subscribed.queue(topic.queue_name(), self.0.capacity);
        Ok(MemoryConsumer::new(
            Arc::downgrade(&self.0),
            Arc::clone(subscribed),
            queue,
            topic,
        ))
    }
}

impl Shared {
    /// Forgets a queue that nobody has any more.
    fn forget(&self, topic: &Arc<Subscribed>, name: &str, queue: &Arc<Queue>) {
        let mut topics = lock(&self.topics);
        // Under this lock consumers are made: nobody joins it now.
        if !queue.is_useless() {
            return;
        }
        if topic.remove(queue)
            && topics
                .get(name)
                .is_some_and(|known| Arc::ptr_eq(known, topic))
        {
            topics.remove(name);
        }
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory")
            .field("capacity", &self.0.capacity)
            .finish_non_exhaustive()
    }
}
