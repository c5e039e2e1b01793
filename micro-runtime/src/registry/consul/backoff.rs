//! Pauses.

use std::time::Duration;

/// As gRPC's connection back-off grows.
const FACTOR: f64 = 1.6;

/// Each pause is up to this much shorter or longer, so that clients which lost an agent together do not come back
/// together.
const JITTER: f64 = 0.2;

/// A pause that grows each time.
#[derive(Debug)]
pub(super) struct Backoff {
    first: Duration,
    most: Duration,
    next: Duration,
}

// ===== impl Backoff =====

impl Backoff {
    pub(super) fn new(first: Duration, most: Duration) -> Backoff {
        Backoff {
            first,
            most,
            next: first,
        }
    }

    pub(super) fn next(&mut self) -> Duration {
        let pause = jittered(self.next);
        self.next = self.next.mul_f64(FACTOR).min(self.most);
        pause
    }

    pub(super) fn reset(&mut self) {
        self.next = self.first;
    }
}

pub(super) fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(1.0 - JITTER + 2.0 * JITTER * fastrand::f64())
}
