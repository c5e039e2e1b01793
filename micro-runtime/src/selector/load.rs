//! [`Load`]: what the calls to a node show of it, in four atomic words.
//!
//! What a node costs is its *peak-EWMA* latency times the calls it would then have (Finagle's `PeakEwma`,
//! tower's and linkerd2-proxy's `p2c`):
//!
//! - A latency above the estimate replaces it at once; what is below draws it down with a time constant of
//!   [`DECAY`]. It decays with time, not with calls, so that a node which was slow once is tried again some day.
//! - A node that answers nothing has no latencies to show. So the time since it last answered counts as one
//!   while calls wait for it: within milliseconds of its stop a node looks worse than any that answers. For a
//!   call that ends without an answer the time it took counts, since its latency would have been longer.
//! - A node that is not known yet is the cheapest, so that it is tried at once, until a call waits for it: then it
//!   is the dearest (Finagle's penalty), so that one call at a time finds out. It is known after
//!   [`TRIAL`] replies, of which the fastest counts: the first ones bear what happens only once.
//! - Failures are no latencies: a node that fails at once must not look fast for it. The rate at which it fails
//!   makes it dearer, beyond a rate that the errors of a service itself may have.
//!
//! All of it is atomic words that are read and written one by one. Of two calls that end at the same instant one
//! may be lost to an estimate, which estimates can bear.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The time constant of what is forgotten: tower's and linkerd2-proxy's, 10 s.
const DECAY: Duration = Duration::from_secs(10);

/// The latency of a node of which only failures are known, in nanoseconds: the 30 ms that tower and linkerd2-proxy
/// begin with.
const INITIAL_RTT: f32 = 30e6;

/// What a node costs while calls wait for the first replies that it ever gave: more than any that is known.
const PENALTY: f32 = 1e15;

/// So many replies make a node known.
const TRIAL: u32 = 3;

/// What one call adds to the rate of failures, as a part of what it can add.
const FAULT_SHARE: f32 = 1.0 / 8.0;

/// A rate of failures up to this one costs nothing: all nodes of a service may have it. Three failures in a row
/// are above it.
const FAULTS_FREE: f32 = 0.25;

/// How much dearer a node that only fails is.
const FAULTS_COST: f32 = 100.0;

/// A rate below this one is none.
const FAULTS_NONE: f32 = 1.0 / 256.0;

/// Calls in flight in the lower half of the word, how many of them are streams in the upper.
const ONE: u64 = 1;
const STREAM: u64 = 1 << 32;

/// What the calls to a node show. Times are nanoseconds on the selector's clock.
#[derive(Debug, Default)]
pub(super) struct Load {
    calls: AtomicU64,
    /// An [`Estimate`] of nanoseconds.
    latency: AtomicU64,
    /// An [`Estimate`] of the part of calls that fail.
    faults: AtomicU64,
    /// Since when calls wait without any answer, if calls wait.
    quiet_since: AtomicU64,
}

/// A number that is forgotten, in one word: its value, how many samples it is of up to [`TRIAL`], and the
/// millisecond that it is of, which begins anew every 12 days.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Estimate {
    value: f32,
    samples: u32,
    at: u32,
}

const STAMP_BITS: u32 = 30;
const STAMP: u32 = (1 << STAMP_BITS) - 1;

// ===== impl Load =====

impl Load {
    /// A call begins.
    pub(super) fn begin(&self, now: u64) {
        // Before it is counted, so that nobody sees it wait since long ago.
        if self.waiting() == 0 {
            self.quiet_since.store(now, Ordering::Relaxed);
        }
        self.calls.fetch_add(ONE, Ordering::Relaxed);
    }

    /// A call that began is a stream, of which no answer is expected at any time.
    pub(super) fn streams(&self) {
        self.calls.fetch_add(STREAM, Ordering::Relaxed);
    }

    /// A call ends, in whatever way.
    pub(super) fn end(&self, stream: bool) {
        let gone = if stream { ONE | STREAM } else { ONE };
        self.calls.fetch_sub(gone, Ordering::Relaxed);
    }

    /// Calls under way.
    pub(super) fn in_flight(&self) -> u32 {
        let calls = self.calls.load(Ordering::Relaxed);
        (calls & u64::from(u32::MAX)) as u32
    }

    /// Calls under way that wait for an answer.
    pub(super) fn waiting(&self) -> u32 {
        waiting(self.calls.load(Ordering::Relaxed))
    }

    /// How long calls have been waiting without an answer to any of them.
    pub(super) fn silence(&self, now: u64) -> u64 {
        match self.waiting() {
            0 => 0,
            _ => now.saturating_sub(self.quiet_since.load(Ordering::Relaxed)),
        }
    }

    /// The node has answered something.
    pub(super) fn answered(&self, now: u64) {
        self.quiet_since.store(now, Ordering::Relaxed);
    }

    /// A call that began then was given up: had the node been asked for longer it might have answered. So what came
    /// before counts no longer as silence, or a node whose calls are always overtaken would look mute.
    pub(super) fn given_up(&self, began: u64) {
        self.quiet_since.fetch_max(began, Ordering::Relaxed);
    }

    /// A call succeeded after so many nanoseconds.
    pub(super) fn succeeded(&self, now: u64, took: u64) {
        let (at, took) = (stamp(now), took as f32);
        let old = Estimate::unpack(self.latency.load(Ordering::Relaxed));
        let value = if old.samples == 0 {
            took
        } else if old.samples < TRIAL {
            took.min(old.value)
        } else {
            let keep = kept(old.age(at));
            if took < old.value && keep == 1.0 {
                // Nothing to draw down yet, and much to gain by not writing.
                return self.no_fault(at);
            }
            took.max(old.value * keep + took * (1.0 - keep))
        };
        self.latency.store(
            Estimate {
                value: value.max(1.0),
                samples: (old.samples + 1).min(TRIAL),
                at,
            }
            .pack(),
            Ordering::Relaxed,
        );
        self.no_fault(at);
    }

    /// A call failed through the node's fault.
    pub(super) fn failed(&self, now: u64) {
        let at = stamp(now);
        let old = Estimate::unpack(self.faults.load(Ordering::Relaxed));
        let rate = old.value * kept(old.age(at));
        let faults = Estimate {
            value: rate + (1.0 - rate) * FAULT_SHARE,
            samples: 0,
            at,
        };
        self.faults.store(faults.pack(), Ordering::Relaxed);
        // What is known of its latency does not get better by failing.
        let latency = Estimate::unpack(self.latency.load(Ordering::Relaxed));
        if latency.samples > 0 {
            self.latency
                .store(Estimate { at, ..latency }.pack(), Ordering::Relaxed);
        }
    }

    /// A call ended without an answer: its latency would have been longer than what it took.
    pub(super) fn took_at_least(&self, now: u64, took: u64) {
        let (at, took) = (stamp(now), took as f32);
        let old = Estimate::unpack(self.latency.load(Ordering::Relaxed));
        let known = match old.samples {
            TRIAL => old.value * kept(old.age(at)),
            // What was given up soon says nothing.
            _ => old.value.max(INITIAL_RTT),
        };
        if took > known {
            let peak = Estimate {
                value: took,
                samples: TRIAL,
                at,
            };
            self.latency.store(peak.pack(), Ordering::Relaxed);
        }
    }

    /// The node is another one than before: nothing is known of it.
    pub(super) fn forget(&self) {
        self.latency.store(0, Ordering::Relaxed);
        self.faults.store(0, Ordering::Relaxed);
    }

    /// The latency that is to be expected, in nanoseconds; `None` before the first reply.
    pub(super) fn latency(&self, now: u64) -> Option<f32> {
        let latency = Estimate::unpack(self.latency.load(Ordering::Relaxed));
        (latency.samples > 0).then(|| latency.value * kept(latency.age(stamp(now))))
    }

    /// What a call more would cost: the higher, the less it should go there.
    #[inline]
    pub(super) fn cost(&self, now: u64) -> f32 {
        let at = stamp(now);
        let calls = self.calls.load(Ordering::Relaxed);
        let in_flight = (calls & u64::from(u32::MAX)) as f32 + 1.0;
        let waits = waiting(calls) > 0;
        let latency = Estimate::unpack(self.latency.load(Ordering::Relaxed));
        let faults = match self.faults.load(Ordering::Relaxed) {
            0 => 0.0,
            bits => {
                let faults = Estimate::unpack(bits);
                faults.value * kept(faults.age(at))
            }
        };
        let base = if latency.samples >= TRIAL {
            latency.value * kept(latency.age(at))
        } else if faults > FAULTS_NONE {
            INITIAL_RTT.max(latency.value)
        } else if waits {
            return PENALTY * in_flight;
        } else {
            1.0
        };
        let base = if waits {
            base.max(now.saturating_sub(self.quiet_since.load(Ordering::Relaxed)) as f32)
        } else {
            base
        };
        let cost = base.max(1.0) * in_flight;
        if faults > FAULTS_FREE {
            cost * (1.0 + FAULTS_COST * (faults - FAULTS_FREE))
        } else {
            cost
        }
    }

    /// Whether a call there may tell what nobody knows: none is under way that would, and that the node fails is no
    /// news.
    pub(super) fn is_worth_a_look(&self, now: u64) -> bool {
        let faults = Estimate::unpack(self.faults.load(Ordering::Relaxed));
        self.in_flight() == 0 && faults.value * kept(faults.age(stamp(now))) <= FAULTS_FREE
    }

    fn no_fault(&self, at: u32) {
        let bits = self.faults.load(Ordering::Relaxed);
        if bits == 0 {
            return;
        }
        let old = Estimate::unpack(bits);
        let value = old.value * kept(old.age(at)) * (1.0 - FAULT_SHARE);
        let bits = if value < FAULTS_NONE {
            0
        } else {
            Estimate { value, at, ..old }.pack()
        };
        self.faults.store(bits, Ordering::Relaxed);
    }
}

fn waiting(calls: u64) -> u32 {
    // Two words are read at different times: a stream may be seen to begin before its call.
    ((calls & u64::from(u32::MAX)) as u32).saturating_sub((calls >> 32) as u32)
}

fn stamp(nanos: u64) -> u32 {
    (nanos / 1_000_000) as u32 & STAMP
}

/// The part of an estimate that is left after so many milliseconds.
fn kept(millis: u32) -> f32 {
    const PER_MILLI: f32 = 1.0 / DECAY.as_millis() as f32;
    let age = millis as f32 * PER_MILLI;
    if age < 0.01 {
        // As good as the exponential, and cheaper: an estimate in use is always this young.
        1.0 - age
    } else {
        (-age).exp()
    }
}

// ===== impl Estimate =====

impl Estimate {
    fn unpack(bits: u64) -> Estimate {
        let low = bits as u32;
        Estimate {
            value: f32::from_bits((bits >> 32) as u32),
            samples: low >> STAMP_BITS,
            at: low & STAMP,
        }
    }

    fn pack(self) -> u64 {
        let low = self.samples << STAMP_BITS | self.at;
        u64::from(self.value.to_bits()) << 32 | u64::from(low)
    }

    /// Milliseconds since it was made. What another thread has just made may be of a later one: it is new.
    fn age(self, at: u32) -> u32 {
        let age = at.wrapping_sub(self.at) & STAMP;
        if age > STAMP / 2 { 0 } else { age }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const SECOND: u64 = 1_000 * MS;

    /// A node of which this latency is known, in milliseconds.
    fn known(now: u64, millis: u64) -> Load {
        let load = Load::default();
        for _ in 0..TRIAL {
            load.succeeded(now, millis * MS);
        }
        load
    }

    fn millis(load: &Load, now: u64) -> f32 {
        load.latency(now).unwrap() / MS as f32
    }

    fn near(found: f32, expected: f32) {
        assert!(
            (found - expected).abs() <= expected * 0.01,
            "{found}, not {expected}"
        );
    }

    #[test]
    fn a_peak_replaces_at_once_and_decays_with_time() {
        let load = known(SECOND, 10);
        load.succeeded(SECOND, 200 * MS);
        near(millis(&load, SECOND), 200.0);
        // Without a call …
        near(millis(&load, 11 * SECOND), 200.0 / std::f32::consts::E);
        // … and towards what calls take, by time and not by their number.
        for call in 0..1_000 {
            load.succeeded(SECOND + call, 10 * MS);
        }
        near(millis(&load, SECOND), 200.0);
        let mut now = SECOND;
        for _ in 0..1_000 {
            now += 10 * MS;
            load.succeeded(now, 10 * MS);
        }
        near(millis(&load, now), 10.0 + 190.0 / std::f32::consts::E);
    }

    #[test]
    fn the_fastest_of_the_first_replies_counts() {
        let load = Load::default();
        assert_eq!(load.latency(0), None);
        for took in [80, 12, 15] {
            load.succeeded(SECOND, took * MS);
        }
        near(millis(&load, SECOND), 12.0);
    }

    #[test]
    fn silence_counts_as_latency_while_a_call_waits() {
        let load = known(SECOND, 1);
        let idle = load.cost(SECOND);
        load.begin(SECOND);
        near(load.cost(SECOND), 2.0 * idle);
        near(load.cost(SECOND + 50 * MS), 2.0 * 50.0 * idle);
        load.begin(SECOND + 50 * MS);
        near(load.cost(SECOND + 50 * MS), 3.0 * 50.0 * idle);
        // An answer to either shows that it lives.
        load.end(false);
        load.answered(SECOND + 50 * MS);
        near(load.cost(SECOND + 50 * MS), 2.0 * idle);
        load.end(false);
        assert_eq!(load.silence(90 * SECOND), 0, "nobody waits");
        load.begin(90 * SECOND);
        assert_eq!(load.silence(91 * SECOND), SECOND);
    }

    #[test]
    fn what_is_given_up_is_not_silence() {
        let load = known(SECOND, 1);
        load.begin(SECOND);
        load.begin(SECOND + 20 * MS);
        load.end(false);
        load.given_up(SECOND + 20 * MS);
        assert_eq!(load.silence(SECOND + 50 * MS), 30 * MS);
        load.given_up(SECOND);
        assert_eq!(load.silence(SECOND + 50 * MS), 30 * MS, "never longer");
    }

    #[test]
    fn nobody_waits_for_a_stream() {
        let load = known(SECOND, 1);
        load.begin(SECOND);
        load.streams();
        assert_eq!((load.in_flight(), load.waiting()), (1, 0));
        near(load.cost(2 * SECOND), 2.0 * MS as f32 * kept(1_000));
        load.end(true);
        assert_eq!((load.in_flight(), load.waiting()), (0, 0));
    }

    #[test]
    fn what_is_not_known_is_tried_by_one_call_at_a_time() {
        let (new, old) = (Load::default(), known(SECOND, 1));
        assert!(new.cost(SECOND) < old.cost(SECOND));
        new.begin(SECOND);
        for _ in 0..1_000 {
            old.begin(SECOND);
        }
        assert!(new.cost(SECOND) > old.cost(SECOND));
        // Of two that are not known, the one with fewer calls.
        let other = Load::default();
        other.begin(SECOND);
        other.begin(SECOND);
        assert!(new.cost(SECOND) < other.cost(SECOND));
    }

    #[test]
    fn failing_at_once_is_not_fast() {
        let (broken, well) = (known(SECOND, 1), known(SECOND, 1));
        let now = SECOND;
        broken.failed(now);
        near(broken.cost(now), well.cost(now));
        broken.failed(now);
        broken.failed(now);
        assert!(broken.cost(now) > 5.0 * well.cost(now), "three in a row");
        for _ in 0..50 {
            broken.failed(now);
        }
        assert!(broken.cost(now) > 50.0 * well.cost(now));
        // It is tried again after a while …
        assert!(broken.cost(now + 20 * SECOND) < well.cost(now));
        // … and forgiven by its successes.
        for _ in 0..60 {
            broken.succeeded(now, MS);
        }
        near(broken.cost(now), well.cost(now));
        // One that never gave anything but failures is no better.
        let never = Load::default();
        for _ in 0..3 {
            never.failed(now);
        }
        assert!(never.cost(now) > 100.0 * well.cost(now));
    }

    #[test]
    fn what_ends_without_an_answer_took_at_least_so_long() {
        let load = known(SECOND, 1);
        load.took_at_least(SECOND, MS / 2);
        near(millis(&load, SECOND), 1.0);
        load.took_at_least(SECOND, SECOND);
        near(millis(&load, SECOND), 1_000.0);
        // Of a node that is not known, what is given up soon says nothing.
        let new = Load::default();
        new.took_at_least(SECOND, MS);
        assert_eq!(new.latency(SECOND), None);
        new.took_at_least(SECOND, SECOND);
        near(millis(&new, SECOND), 1_000.0);
        new.forget();
        assert_eq!(new.latency(SECOND), None);
    }

    #[test]
    fn the_clock_of_an_estimate_may_begin_anew() {
        let last = u64::from(STAMP) * MS;
        let load = known(last, 8);
        near(millis(&load, last + 1_000 * MS), 8.0 * kept(1_000));
        // Made by a thread that read the clock a little later.
        near(millis(&load, last - 5 * MS), 8.0);
    }
}
