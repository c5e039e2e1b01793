//! [`Slots`]: how many blocking queries wait at the agent at once.
//!
//! Each holds a connection, and an agent takes 200 of one address unless told otherwise
//! (`limits.http_max_conns_per_client`), of all processes of a machine together. So followers share a number of
//! slots; if there are more followers than slots, they take turns, and wait more briefly.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// The most blocking queries at once.
const SLOTS: usize = 64;

/// How long an agent may wait for news; it adds up to a sixteenth.
pub(super) const WAIT: Duration = Duration::from_secs(300);

/// The same where followers take turns.
pub(super) const TURN: Duration = Duration::from_secs(2);

/// The slots of one registry.
#[derive(Clone, Debug)]
pub(super) struct Slots {
    slots: Arc<Semaphore>,
    followers: Arc<watch::Sender<usize>>,
}

/// One that makes a blocking query after the other, as long as it lives.
#[derive(Debug)]
pub(super) struct Follower {
    slots: Slots,
    followers: watch::Receiver<usize>,
}

/// A query's right to wait.
pub(super) struct Slot {
    /// For how long.
    pub(super) wait: Duration,
    _permit: Option<OwnedSemaphorePermit>,
}

// ===== impl Slots =====

impl Slots {
    pub(super) fn new() -> Slots {
        Slots {
            slots: Arc::new(Semaphore::new(SLOTS)),
            followers: Arc::new(watch::Sender::new(0)),
        }
    }

    pub(super) fn join(&self) -> Follower {
        self.followers.send_modify(|count| *count += 1);
        Follower {
            slots: self.clone(),
            followers: self.followers.subscribe(),
        }
    }
}

// ===== impl Follower =====

impl Follower {
    /// Waits for a slot.
    pub(super) async fn slot(&self) -> Slot {
        let permit = Arc::clone(&self.slots.slots).acquire_owned().await;
        Slot {
            wait: if self.crowded() { TURN } else { WAIT },
            // The semaphore is never closed.
            _permit: permit.ok(),
        }
    }

    /// Resolves when a query with this slot has to make room for others.
    pub(super) async fn give_way(&self, slot: &Slot) {
        if slot.wait == TURN {
            return std::future::pending().await;
        }
        let mut followers = self.followers.clone();
        // The sender lives in `self`.
        let _crowded = followers.wait_for(|count| *count > SLOTS).await;
    }

    fn crowded(&self) -> bool {
        *self.followers.borrow() > SLOTS
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.slots.followers.send_modify(|count| *count -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_crowd_takes_turns() {
        let slots = Slots::new();
        let followers: Vec<_> = (0..SLOTS).map(|_| slots.join()).collect();
        let mut held = Vec::new();
        for follower in &followers {
            held.push(follower.slot().await);
        }
        assert!(held.iter().all(|slot| slot.wait == WAIT));
        let late = slots.join();
        tokio::time::timeout(Duration::from_secs(1), late.slot())
            .await
            .err()
            .expect("every slot is taken");
        followers[0].give_way(&held[0]).await;
        held.pop();
        assert_eq!(late.slot().await.wait, TURN);
        drop(followers);
        assert_eq!(late.slot().await.wait, WAIT);
    }
}
