//! [`Latencies`]: how long the calls of one method took of late, for a hedge at a percentile.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// Each power of two is parted into so many: a bucket is at most an eighth wide.
const PARTS_SHIFT: u32 = 3;
const PARTS: u64 = 1 << PARTS_SHIFT;

/// Microseconds up to 2^36, which is 19 hours, have a bucket.
const POWERS: u32 = 36;
const BUCKETS: usize = (POWERS - PARTS_SHIFT + 1) as usize * PARTS as usize;

/// The percentile is worked out anew after so many calls; before the first of these times it is not known.
const EVERY: u32 = 64;

/// With so many calls seen, each counts half from then on: what was long ago fades.
const HALVE: u32 = 4096;

/// Counts in buckets that grow with the time, which takes no lock. Threads that meet may lose a call now and
/// then, which an estimate can bear.
pub(super) struct Latencies {
    /// From 0 to 1.
    percentile: f64,
    buckets: [AtomicU32; BUCKETS],
    seen: AtomicU32,
    /// The percentile in microseconds; zero until it is known.
    known: AtomicU64,
}

// ===== impl Latencies =====

impl Latencies {
    pub(super) fn new(percentile: f64) -> Latencies {
        Latencies {
            percentile,
            buckets: [const { AtomicU32::new(0) }; BUCKETS],
            seen: AtomicU32::new(0),
            known: AtomicU64::new(0),
        }
    }

    pub(super) fn record(&self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        if let Some(bucket) = self.buckets.get(bucket(micros)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        let seen = self.seen.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        if seen.is_multiple_of(EVERY) {
            self.work_out();
        }
        if seen == HALVE {
            for bucket in &self.buckets {
                let half = bucket.load(Ordering::Relaxed) / 2;
                bucket.store(half, Ordering::Relaxed);
            }
            self.seen.store(HALVE / 2, Ordering::Relaxed);
        }
    }

    /// What this part of the calls took no longer than; `None` until enough of them were seen.
    pub(super) fn percentile(&self) -> Option<Duration> {
        match self.known.load(Ordering::Relaxed) {
            0 => None,
            micros => Some(Duration::from_micros(micros)),
        }
    }

    fn work_out(&self) {
        let counts = self.buckets.iter();
        let counts = counts.map(|bucket| u64::from(bucket.load(Ordering::Relaxed)));
        let all: u64 = counts.clone().sum();
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a few thousand, and the percentile lies between 0 and 1"
        )]
        let rank = (all as f64 * self.percentile).ceil() as u64;
        let mut below = 0;
        for (place, count) in counts.enumerate() {
            below += count;
            if below >= rank.max(1) {
                self.known.store(upper(place).max(1), Ordering::Relaxed);
                return;
            }
        }
    }
}

impl std::fmt::Debug for Latencies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Latencies")
            .field("seen", &self.seen)
            .field("percentile", &self.percentile())
            .finish_non_exhaustive()
    }
}

fn bucket(micros: u64) -> usize {
    let micros = micros.min((1 << POWERS) - 1);
    let place = if micros < PARTS {
        micros
    } else {
        let power = micros.ilog2() - PARTS_SHIFT;
        u64::from(power + 1) * PARTS + ((micros >> power) - PARTS)
    };
    usize::try_from(place).unwrap_or(usize::MAX)
}

/// The largest time in a bucket.
fn upper(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let (power, part) = (bucket / PARTS, bucket % PARTS);
    match power.checked_sub(1) {
        None => part,
        Some(power) => ((PARTS + part + 1) << power) - 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_has_its_bucket() {
        let mut last = 0;
        for micros in (0..5000).chain([1 << 20, (1 << 36) - 1]) {
            let place = bucket(micros);
            assert!(place >= last && place < BUCKETS, "{micros}: {place}");
            last = place;
            let upper = upper(place);
            assert!(
                upper >= micros && upper - micros <= micros / 8,
                "{micros}: {upper}"
            );
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn a_percentile_is_known_after_enough_calls_and_follows_them() {
        let latencies = Latencies::new(0.95);
        for call in 1..=63 {
            latencies.record(Duration::from_millis(call));
        }
        assert_eq!(latencies.percentile(), None);
        for call in 64..=200 {
            latencies.record(Duration::from_millis(call));
        }
        let known = latencies.percentile().unwrap().as_millis();
        // Of the 192 calls when it was last worked out.
        assert!((182..=206).contains(&known), "{known}");
        for _ in 0..20_000 {
            latencies.record(Duration::from_millis(1));
        }
        let known = latencies.percentile().unwrap();
        assert!(known < Duration::from_millis(2), "{known:?}");
        let seen = latencies.seen.load(Ordering::Relaxed);
        assert!(seen < HALVE, "{seen}");
    }
}
