//! [`Trials`]: the first publish on each topic goes over a channel of its own.
//!
//! A server closes the channel on which something is published that it does not allow, with all that is on its way
//! there. So others share a channel only with topics that the server has taken something on.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::lock::lock;

/// The topics that are remembered; from then on each is tried once more.
const TOPICS_MAX: usize = 4096;

/// How many are tried at a time, each over a channel.
const AT_ONCE: usize = 64;

/// Which topics the server is known to take, over one connection and at one level.
pub(super) struct Trials {
    topics: Mutex<HashMap<String, Arc<Topic>>>,
    channels: Arc<Semaphore>,
}

struct Topic {
    is_taken: AtomicBool,
    /// One publish tries, the others wait for it.
    turn: Arc<Semaphore>,
}

/// The right to try a topic. Dropped without a word, the next one has it.
pub(super) struct Trial {
    topic: Arc<Topic>,
    _turn: OwnedSemaphorePermit,
    _channel: OwnedSemaphorePermit,
}

// ===== impl Trials =====

impl Trials {
    pub(super) fn new() -> Trials {
        Trials {
            topics: Mutex::default(),
            channels: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    /// Waits for the right to try the topic; `None` if the server is known to take it.
    pub(super) async fn of(&self, topic: &str) -> Option<Trial> {
        let topic = self.topic(topic);
        if topic.is_taken.load(Ordering::Acquire) {
            return None;
        }
        // The semaphores are never closed.
        let turn = Arc::clone(&topic.turn).acquire_owned().await.ok()?;
        if topic.is_taken.load(Ordering::Acquire) {
            return None;
        }
        let channel = Arc::clone(&self.channels).acquire_owned().await.ok()?;
        Some(Trial {
            topic,
            _turn: turn,
            _channel: channel,
        })
    }

    fn topic(&self, name: &str) -> Arc<Topic> {
        let mut topics = lock(&self.topics);
        if let Some(topic) = topics.get(name) {
            return Arc::clone(topic);
        }
        if topics.len() >= TOPICS_MAX {
            topics.clear();
        }
        let topic = Arc::new(Topic {
            is_taken: AtomicBool::new(false),
            turn: Arc::new(Semaphore::new(1)),
        });
        topics.insert(name.to_owned(), Arc::clone(&topic));
        topic
    }
}

// ===== impl Trial =====

impl Trial {
    /// The server has taken something on the topic.
    pub(super) fn is_taken(&self) {
        self.topic.is_taken.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_tries_and_the_others_wait() {
        let trials = Arc::new(Trials::new());
        let first = trials.of("t").await.unwrap();
        let waits = |trials: &Arc<Trials>| {
            let trials = Arc::clone(trials);
            tokio::spawn(async move { trials.of("t").await.is_some() })
        };
        let (second, other) = (waits(&trials), trials.of("other").await);
        tokio::task::yield_now().await;
        assert!(other.is_some() && !second.is_finished());
        // It says nothing: the next one tries.
        drop(first);
        assert!(second.await.unwrap());
        let third = trials.of("t").await.unwrap();
        let fourth = waits(&trials);
        third.is_taken();
        drop(third);
        assert!(!fourth.await.unwrap() && trials.of("t").await.is_none());
        for topic in 0..=TOPICS_MAX {
            trials.topic(&topic.to_string());
        }
        assert!(trials.of("t").await.is_some(), "it is tried once more");
    }
}
