//! [`Backoff`]: pauses between attempts.

use std::time::Duration;

/// How each pause grows over the last: gRPC's connection back-off.
const FACTOR: f64 = 1.6;

/// Every pause is up to this much shorter or longer, so that those who lost a peer together do not come back
/// together (gRPC's connection back-off too).
const JITTER: f64 = 0.2;

/// A pause that grows each time, up to a longest one.
#[derive(Debug)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

// ===== impl Backoff =====

impl Backoff {
    pub(crate) fn new(first: Duration, longest: Duration) -> Backoff {
        let first = first.min(longest);
        Backoff {
            first,
            longest,
            next: first,
        }
    }

    /// The next pause, with jitter.
    pub(crate) fn next(&mut self) -> Duration {
        let pause = self.next;
        self.next = pause.mul_f64(FACTOR).min(self.longest);
        jittered(pause)
    }

    /// What was tried has worked: the next pause is the first again.
    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }
}

/// The same, up to a fifth shorter or longer.
pub(crate) fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(1.0 - JITTER + 2.0 * JITTER * fastrand::f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_longest_and_begin_again() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
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
