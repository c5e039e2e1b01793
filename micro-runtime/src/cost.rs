//! How long a handler's first poll takes: what decides whether it runs in the task that brings its calls or events.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The first calls of a handler are all measured, so that a slow one is known early.
const ALWAYS_BELOW: u32 = 8;

/// After them one call in this many.
const EVERY: u32 = 16;

/// Weight of a new measurement in the moving average: one in this many.
const WEIGHT: u32 = 4;

/// A moving average of a handler's first polls, sampled.
#[derive(Debug, Default)]
pub(crate) struct PollCost {
    calls: AtomicU32,
    nanos: AtomicU32,
}

// ===== impl PollCost =====

impl PollCost {
    /// Whether the first poll is short enough for the task that brings the calls.
    pub(crate) fn is_below(&self, limit: Duration) -> bool {
        u128::from(self.nanos.load(Ordering::Relaxed)) <= limit.as_nanos()
    }

    /// The start of a measurement, if this call is one of those that are measured.
    pub(crate) fn start(&self) -> Option<Instant> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        (call < ALWAYS_BELOW || call.is_multiple_of(EVERY)).then(Instant::now)
    }

    /// Takes a measurement in. Two at once may lose one of them: it is an estimate.
    pub(crate) fn record(&self, taken: Duration) {
        let new = u32::try_from(taken.as_nanos()).unwrap_or(u32::MAX);
        let old = self.nanos.load(Ordering::Relaxed);
        let average = if new >= old {
            old + (new - old) / WEIGHT
        } else {
            old - (old - new) / WEIGHT
        };
        self.nanos.store(average, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_what_is_measured() {
        let cost = PollCost::default();
        let limit = Duration::from_micros(50);
        assert!(cost.is_below(limit));
        cost.record(Duration::from_millis(1));
        assert!(
            !cost.is_below(limit),
            "one slow poll in a row of none is enough"
        );
        for _ in 0..20 {
            cost.record(Duration::from_micros(1));
        }
        assert!(cost.is_below(limit), "and fast ones make it good again");
    }

    #[test]
    fn samples_the_first_and_then_a_few() {
        let cost = PollCost::default();
        let measured = (0..160).filter(|_| cost.start().is_some()).count();
        assert_eq!(measured, 8 + 9);
    }
}
