//! [`Seldom`]: an event that peers can cause as often as they like, logged now and then.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// How often one is let through.
const PAUSE: Duration = Duration::from_secs(60);

/// Lets the first event through, and then one a minute at most.
#[derive(Debug)]
pub(crate) struct Seldom {
    began: Instant,
    /// When the next may pass, in milliseconds since then.
    next: AtomicU64,
    /// How many were held back since the last that passed.
    held_back: AtomicU64,
}

impl Seldom {
    pub(crate) fn new() -> Seldom {
        Seldom {
            began: Instant::now(),
            next: AtomicU64::new(0),
            held_back: AtomicU64::new(0),
        }
    }

    /// Whether this one passes, and how many have not since the last one that did.
    pub(crate) fn pass(&self) -> Option<u64> {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let now = millis(self.began.elapsed());
        let next = self.next.load(Ordering::Relaxed);
        let then = now.saturating_add(millis(PAUSE));
        let passes = now >= next
            && self
                .next
                .compare_exchange(next, then, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if passes {
            return Some(self.held_back.swap(0, Ordering::Relaxed));
        }
        self.held_back.fetch_add(1, Ordering::Relaxed);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_a_minute_passes() {
        let seldom = Seldom::new();
        assert_eq!(seldom.pass(), Some(0));
        assert_eq!(seldom.pass(), None);
        tokio::time::advance(PAUSE / 2).await;
        assert_eq!(seldom.pass(), None);
        tokio::time::advance(PAUSE / 2).await;
        assert_eq!(seldom.pass(), Some(2));
        assert_eq!(seldom.pass(), None);
    }
}
