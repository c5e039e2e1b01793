//! [`Stats`]: what a subscription has done.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::Notify;

/// What a subscription has done since it was made. Every event that was received is, in the end, counted in
/// one of `handled`, `retried`, `dead_lettered`, `dropped` and `returned`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Events that the broker handed out; one that comes again counts again.
    pub received: u64,
    /// Events whose handler returned `Ok` or settled them by hand, whether the broker could be told or not.
    pub handled: u64,
    /// Events whose handler returned an error, panicked or took too long.
    pub failed: u64,
    /// Events that the broker was asked to hand out again.
    pub retried: u64,
    /// Events that could not be decoded.
    pub undecodable: u64,
    /// Events that went to the dead letter topic.
    pub dead_lettered: u64,
    /// Events that were given up: delivered at most once, or for the last time without a dead letter topic.
    pub dropped: u64,
    /// Events whose handler was cut short when the subscription ended. At least once, they go back to the
    /// broker; at most once, they are lost.
    pub returned: u64,
    /// How often the subscription was lost and had to be opened again.
    pub lost: u64,
}

/// The counters, and who waits for them.
#[derive(Debug, Default)]
pub(super) struct Counters {
    waiting: AtomicUsize,
    changed: Notify,
    pub(super) received: Counter,
    pub(super) handled: Counter,
    pub(super) failed: Counter,
    pub(super) retried: Counter,
    pub(super) undecodable: Counter,
    pub(super) dead_lettered: Counter,
    pub(super) dropped: Counter,
    pub(super) returned: Counter,
    pub(super) lost: Counter,
}

/// One who waits for the counters.
struct Waiting<'a>(&'a Counters);

#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

// ===== impl Counters =====

impl Counters {
    pub(super) fn add(&self, counter: impl FnOnce(&Counters) -> &Counter) {
        // Of this and the waiter's two accesses, one comes first in an order that both see.
        counter(self).0.fetch_add(1, Ordering::SeqCst);
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.changed.notify_waiters();
        }
    }

    /// Resolves when the counters are so.
    pub(super) async fn reached(&self, enough: impl Fn(&Stats) -> bool) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let _waiting = Waiting(self);
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if enough(&self.stats()) {
                return;
            }
            changed.await;
        }
    }

    pub(super) fn stats(&self) -> Stats {
        Stats {
            received: self.received.get(),
            handled: self.handled.get(),
            failed: self.failed.get(),
            retried: self.retried.get(),
            undecodable: self.undecodable.get(),
            dead_lettered: self.dead_lettered.get(),
            dropped: self.dropped.get(),
            returned: self.returned.get(),
            lost: self.lost.get(),
        }
    }
}

impl Counter {
    fn get(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}
