//! [`State`]: what was handed out, what waits to be handed out again, and what is to be stored.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::super::tracker::Tracker;
use crate::broker::common::delays::Delays;

/// What may wait to be handed out again, in events and in bytes; nothing new is read while there is more.
const WAITING_EVENTS: usize = 1024;
const WAITING_BYTES: usize = 16 * 1024 * 1024;

/// How far one event that takes long may hold back what the group remembers: nothing new is read while there is
/// more behind it.
const OPEN: usize = 10_000;

/// What is due later than this is due then.
const LONGEST_DELAY: Duration = Duration::from_secs(86_400);

/// Where an event is: in which assignment of which partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) partition: i32,
    pub(super) epoch: u64,
    pub(super) offset: i64,
}

/// An event that is to be handed out again.
pub(super) struct Waiting {
    pub(super) place: Place,
    pub(super) payload: Bytes,
    pub(super) attempt: u32,
}

pub(super) struct State {
    partitions: HashMap<i32, Tracker>,
    epochs: u64,
    waiting: Delays<Waiting>,
    waiting_events: usize,
    waiting_bytes: usize,
    /// The last event in a row that is done with, of partitions where that has changed.
    to_store: BTreeMap<i32, i64>,
    /// Whether partitions were assigned, if only none.
    pub(super) is_assigned: bool,
    /// Whether there are other partitions than when it was last looked.
    pub(super) has_changed: bool,
}

// ===== impl State =====

impl State {
    pub(super) fn new() -> State {
        State {
            partitions: HashMap::new(),
            epochs: 0,
            waiting: Delays::new(),
            waiting_events: 0,
            waiting_bytes: 0,
            to_store: BTreeMap::new(),
            is_assigned: false,
            has_changed: false,
        }
    }

    /// These partitions are ours from now on.
    pub(super) fn assigned(&mut self, partitions: impl IntoIterator<Item = i32>) {
        for partition in partitions {
            self.epochs += 1;
            self.partitions.insert(partition, Tracker::new(self.epochs));
            self.to_store.remove(&partition);
        }
        self.is_assigned = true;
        self.has_changed = true;
    }

    /// These are no more. What is to be stored for them, is told now.
    pub(super) fn revoked(&mut self, partitions: impl IntoIterator<Item = i32>) -> Vec<(i32, i64)> {
        let mut to_store = Vec::new();
        for partition in partitions {
            self.partitions.remove(&partition);
            if let Some(offset) = self.to_store.remove(&partition) {
                to_store.push((partition, offset));
            }
        }
        self.has_changed = true;
        to_store
    }

    /// Our partitions.
    pub(super) fn partitions(&self) -> Vec<i32> {
        self.partitions.keys().copied().collect()
    }

    /// An event was read; where it is, unless it is with us already.
    pub(super) fn begin(&mut self, partition: i32, offset: i64) -> Option<Place> {
        let tracker = self.partitions.get_mut(&partition)?;
        tracker.begin(offset).then_some(Place {
            partition,
            epoch: tracker.epoch,
            offset,
        })
    }

    fn holds(&self, place: Place) -> bool {
        self.partitions
            .get(&place.partition)
            .is_some_and(|tracker| tracker.epoch == place.epoch)
    }

    /// An event is done with; whether it was still ours.
    pub(super) fn done(&mut self, place: Place) -> bool {
        if !self.holds(place) {
            return false;
        }
        if let Some(tracker) = self.partitions.get_mut(&place.partition)
            && let Some(last) = tracker.done(place.offset)
        {
            self.to_store.insert(place.partition, last);
        }
        true
    }

    /// An event is to be handed out again after a time; whether it was still ours.
    pub(super) fn wait_for(
        &mut self,
        place: Place,
        payload: Bytes,
        attempt: u32,
        delay: Duration,
    ) -> bool {
        if !self.holds(place) {
            return false;
        }
        let now = Instant::now();
        let due = now.checked_add(delay).unwrap_or(now + LONGEST_DELAY);
        self.waiting_events += 1;
        self.waiting_bytes += payload.len();
        let waiting = Waiting {
            place,
            payload,
            attempt,
        };
        self.waiting.push(due, waiting);
        true
    }

    /// When the next one is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.waiting.next_due()
    }

    /// The next one that is due and still ours.
    pub(super) fn due(&mut self) -> Option<Waiting> {
        let now = Instant::now();
        while let Some(waiting) = self.waiting.pop_due(now) {
            self.waiting_events -= 1;
            self.waiting_bytes -= waiting.payload.len();
            if self.holds(waiting.place) {
                return Some(waiting);
            }
        }
        None
    }

    /// What is to be stored.
    pub(super) fn take_stores(&mut self) -> BTreeMap<i32, i64> {
        std::mem::take(&mut self.to_store)
    }

    /// Whether too much is with us for more.
    pub(super) fn is_full(&self) -> bool {
        self.waiting_events >= WAITING_EVENTS
            || self.waiting_bytes >= WAITING_BYTES
            || self
                .partitions
                .values()
                .any(|tracker| tracker.len() >= OPEN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_another_members_is_let_go() {
        let mut state = State::new();
        state.assigned([0, 1]);
        let (a, b) = (state.begin(0, 5).unwrap(), state.begin(1, 7).unwrap());
        assert_eq!(state.begin(0, 5), None, "it is with us already");
        assert_eq!(state.begin(2, 5), None, "the partition is not ours");
        let second = Duration::from_secs(1);
        assert!(state.wait_for(a, Bytes::from_static(b"a"), 2, second));
        assert!(state.done(b));
        assert_eq!(state.revoked([1]), [(1, 7)]);
        assert!(!state.done(b) && !state.wait_for(b, Bytes::new(), 2, second));
        state.assigned([1]);
        assert!(!state.done(b), "in an earlier assignment");
        assert!(state.due().is_none());
        tokio::time::advance(second).await;
        assert_eq!(state.due().unwrap().attempt, 2);
        assert!(state.wait_for(a, Bytes::from_static(b"a"), 3, second));
        assert!(state.revoked([0]).is_empty());
        tokio::time::advance(second).await;
        assert!(state.due().is_none());
        assert_eq!((state.waiting_events, state.waiting_bytes), (0, 0));
    }

    #[test]
    fn it_is_full_at_each_bound() {
        let mut state = State::new();
        state.assigned([0]);
        for offset in 0..10_000 {
            assert!(!state.is_full());
            state.begin(0, offset);
        }
        assert!(state.is_full());
    }
}
