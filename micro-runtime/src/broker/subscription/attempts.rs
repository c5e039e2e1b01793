//! [`Attempts`]: how often an event failed here, for brokers that do not count.

use std::collections::hash_map::{Entry, RandomState};
use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;
use std::sync::Mutex;

use crate::broker::event::Event;
use crate::broker::message::MICRO_ID;
use crate::lock::lock;

/// The events whose failures are remembered; of more, the oldest are forgotten, which gives them further
/// attempts.
const REMEMBERED: usize = 4_096;

/// What a broker that does not count says of an event that it hands out again.
const UNCOUNTED: u32 = 2;

/// How often events failed here. Only those are remembered that fail twice or more.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    hasher: RandomState,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    attempts: HashMap<u64, u32>,
    order: VecDeque<u64>,
}

// ===== impl Attempts =====

impl Attempts {
    /// Which attempt this is: what the broker says, or what is known here where the broker counts no further.
    pub(super) fn of(&self, event: &Event) -> u32 {
        let said = event.attempt();
        if said != UNCOUNTED {
            return said;
        }
        let known = lock(&self.known);
        if known.attempts.is_empty() {
            return said;
        }
        let before = known.attempts.get(&self.key(event)).copied();
        before.map_or(said, |before| said.max(before.saturating_add(1)))
    }

    /// Remembers that this attempt failed and that the event will come again.
    pub(super) fn failed(&self, event: &Event, attempt: u32) {
        if event.attempt() != UNCOUNTED {
            return;
        }
        let key = self.key(event);
        let mut known = lock(&self.known);
        let known = &mut *known;
        match known.attempts.entry(key) {
            Entry::Occupied(mut entry) => {
                entry.insert(attempt);
            }
            Entry::Vacant(entry) => {
                entry.insert(attempt);
                known.order.push_back(key);
                if known.order.len() > REMEMBERED
                    && let Some(oldest) = known.order.pop_front()
                {
                    known.attempts.remove(&oldest);
                }
            }
        }
    }

    /// Forgets an event that is done with.
    pub(super) fn done(&self, event: &Event) {
        if event.attempt() != UNCOUNTED {
            return;
        }
        let mut known = lock(&self.known);
        if known.attempts.is_empty() {
            return;
        }
        let key = self.key(event);
        if known.attempts.remove(&key).is_some() {
            known.order.retain(|other| *other != key);
        }
    }

    fn key(&self, event: &Event) -> u64 {
        match event.headers().get(MICRO_ID) {
            Some(id) => self.hasher.hash_one(("id", id)),
            None => self.hasher.hash_one(("body", event.body())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::Metadata;

    fn event(id: u32, attempt: u32) -> Event {
        let headers = Metadata::from_iter([(MICRO_ID, id.to_string())]);
        Event::new("t", headers, "", attempt, None)
    }

    #[test]
    fn a_broker_that_counts_is_believed() {
        let attempts = Attempts::default();
        for attempt in [1, 3, 4] {
            let event = event(7, attempt);
            assert_eq!(attempts.of(&event), attempt);
            attempts.failed(&event, attempt);
        }
        assert!(lock(&attempts.known).attempts.is_empty());
    }

    #[test]
    fn one_that_does_not_count_is_counted_for() {
        let attempts = Attempts::default();
        attempts.failed(&event(7, 1), 1);
        for expected in 2..6 {
            let event = event(7, 2);
            assert_eq!(attempts.of(&event), expected);
            attempts.failed(&event, expected);
        }
        assert_eq!(attempts.of(&event(8, 2)), 2);
        attempts.done(&event(7, 2));
        assert_eq!(attempts.of(&event(7, 2)), 2);
        assert!(lock(&attempts.known).order.is_empty());
    }

    #[test]
    fn events_without_an_id_are_told_apart_by_their_bodies() {
        let attempts = Attempts::default();
        let bare = |body: &'static str| Event::new("t", Metadata::new(), body, 2, None);
        attempts.failed(&bare("a"), 2);
        assert_eq!(attempts.of(&bare("a")), 3);
        assert_eq!(attempts.of(&bare("b")), 2);
    }

    #[test]
    fn no_more_are_remembered_than_said() {
        let attempts = Attempts::default();
        for id in 0..=4_096 {
            attempts.failed(&event(id, 2), 2);
        }
        assert_eq!(lock(&attempts.known).attempts.len(), REMEMBERED);
        assert_eq!(attempts.of(&event(0, 2)), 2);
        assert_eq!(attempts.of(&event(1, 2)), 3);
    }
}
