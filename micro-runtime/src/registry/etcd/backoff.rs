//! [`Backoff`]: pauses between attempts.

use std::time::Duration;

/// 100 ms first, then as gRPC's connection back-off grows.
const FIRST: Duration = Duration::from_millis(100);
const FACTOR: f64 = 1.6;

/// Every pause is up to this much shorter or longer, so that those who lost a server together do not come back
/// together.
const JITTER: f64 = 0.2;

/// Growing pauses.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
    longest: Duration,
}

// ===== impl Backoff =====

impl Backoff {
    pub(super) fn new(longest: Duration) -> Backoff {
        Backoff {
            next: FIRST.min(longest),
            longest,
        }
    }

    pub(super) fn next(&mut self) -> Duration {
        let pause = self.next;
        self.next = pause.mul_f64(FACTOR).min(self.longest);
        jittered(pause)
    }

    pub(super) fn reset(&mut self) {
        self.next = FIRST.min(self.longest);
    }
}

/// The same up to a fifth shorter or longer.
pub(super) fn jittered(time: Duration) -> Duration {
    time.mul_f64(1.0 - JITTER + 2.0 * JITTER * fastrand::f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_longest_and_begin_again() {
        let mut backoff = Backoff::new(Duration::from_secs(1));
        let mut last = Duration::ZERO;
        for _ in 0..100 {
            last = backoff.next();
            assert!(last <= Duration::from_millis(1200), "{last:?}");
        }
        assert!(last >= Duration::from_millis(800), "{last:?}");
        backoff.reset();
        assert!(backoff.next() <= Duration::from_millis(120));
    }
}
