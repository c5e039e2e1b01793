//! [`Delays`]: things that are to be done, each not before its time.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use tokio::time::Instant;

/// Things with the instant from which each is due. Those due at one instant come in the order they went in.
#[derive(Debug)]
pub(crate) struct Delays<T> {
    heap: BinaryHeap<Delayed<T>>,
    pushed: u64,
}

#[derive(Debug)]
struct Delayed<T> {
    due: Instant,
    number: u64,
    item: T,
}

// ===== impl Delays =====

impl<T> Delays<T> {
    pub(crate) fn new() -> Delays<T> {
        Delays {
            heap: BinaryHeap::new(),
            pushed: 0,
        }
    }

    /// Takes a thing that is due at this instant.
    pub(crate) fn push(&mut self, due: Instant, item: T) {
        let number = self.pushed;
        self.pushed += 1;
        self.heap.push(Delayed { due, number, item });
    }

    /// When the next one is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.heap.peek().map(|next| next.due)
    }

    /// The next one, if it is due by now.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<T> {
        if self.next_due()? > now {
            return None;
        }
        self.heap.pop().map(|next| next.item)
    }
}

// ===== impl Delayed =====

impl<T> PartialEq for Delayed<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for Delayed<T> {}

impl<T> PartialOrd for Delayed<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Delayed<T> {
    /// The earliest is the greatest: a heap gives its greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.due, other.number).cmp(&(self.due, self.number))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_comes_at_its_time_and_equals_in_order() {
        let now = Instant::now();
        let second = Duration::from_secs(1);
        let mut delays = Delays::new();
        delays.push(now + 2 * second, "late");
        delays.push(now + second, "first");
        delays.push(now + second, "second");
        assert_eq!(delays.pop_due(now), None);
        assert_eq!(delays.next_due(), Some(now + second));
        tokio::time::advance(second).await;
        let now = Instant::now();
        assert_eq!(delays.pop_due(now), Some("first"));
        assert_eq!(delays.pop_due(now), Some("second"));
        assert_eq!(delays.pop_due(now), None);
        assert_eq!(delays.pop_due(now + second), Some("late"));
        assert_eq!(delays.next_due(), None);
    }
}
