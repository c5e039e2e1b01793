//! [`Health`]: a circuit breaker per node, in one atomic word.
//!
//! *Closed*: calls pass. *Open*: the node is put aside until a time. *Half-open*: that time has passed and
//! exactly one call, the probe, is on its way; what becomes of it decides. These are the words of the circuit
//! breaker as Nygard, Finagle ("failure accrual") and Envoy use them.
//!
//! A node opens as soon as a connection to it is refused or fails, after some calls in a row that fail, or when it
//! answers nothing any more. The probe comes after 1 s; each one that fails doubles the pause up to 60 s, and each
//! pause is up to half as long again (linkerd2-proxy's failure accrual: 1 s → 60 s, jitter 0.5), so that clients
//! which lost a node together do not probe it together.
//!
//! A node without a connection that can be trusted is *dialled* before it is probed, while calls go elsewhere: no
//! call waits for a host that may be gone. A dial that fails costs no call, so for its first half minute a node is
//! dialled again after the shortest pause, and one that is restarted has its traffic back within 2 s; from then on
//! the pause doubles with every fourth dial, up to the longest.
//! A node that comes back starts with the pause it had, less a step for each 10 s of health (Envoy's outlier
//! detection lowers its multiplier by one per healthy interval of 10 s): one that flaps is probed more and
//! more rarely.

use std::sync::atomic::{AtomicU64, Ordering};

/// The pause before the first probe, in milliseconds.
const PROBE_FIRST: u64 = 1_000;

/// The longest pause without its jitter, in milliseconds.
const PROBE_MAX: u64 = 60_000;

/// How much longer a pause may be, as a part of itself.
const JITTER: f64 = 0.5;

/// Doublings from the first pause to the longest.
const STEPS: u64 = 6;

/// So many milliseconds of health take one doubling back.
const STEP_HEALS: u64 = 10_000;

/// So many dials in a row are tried after the shortest pause: for some 40 s.
const DIALS_SOON: u64 = 30;

/// So many of those after them with each further pause.
const DIALS_EACH: u64 = 4;

/// State in 2 bits, doublings in 6, failed dials in 6, a time in milliseconds in 50.
#[derive(Debug, Default)]
pub(super) struct Health(AtomicU64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Calls pass.
    Closed,
    /// Put aside until then.
    Open(u64),
    /// The probe is on its way.
    HalfOpen,
    /// It is dialled; the probe comes when it has answered.
    Dialling,
}

#[derive(Clone, Copy)]
struct Word {
    state: u64,
    steps: u64,
    /// Dials that failed in a row.
    dials: u64,
    at: u64,
}

const CLOSED: u64 = 0;
const OPEN: u64 = 1;
const HALF_OPEN: u64 = 2;
const DIALLING: u64 = 3;

const BITS_6: u64 = 0x3f;
const BITS_50: u64 = (1 << 50) - 1;

// ===== impl Health =====

impl Health {
    pub(super) fn state(&self) -> State {
        let word = Word::unpack(self.0.load(Ordering::Acquire));
        match word.state {
            CLOSED => State::Closed,
            OPEN => State::Open(word.at),
            DIALLING => State::Dialling,
            _ => State::HalfOpen,
        }
    }

    /// Whether calls pass, by a single load.
    pub(super) fn is_closed(&self) -> bool {
        self.0.load(Ordering::Relaxed) >> 62 == CLOSED
    }

    /// The node has failed. If it is open this counts only once its time has passed, so that calls which failed
    /// together count as one failure; if it is half-open or dialled only if that was the probe's, or the dial's.
    pub(super) fn failed(&self, now: u64, probe: bool) -> bool {
        self.change(|word| {
            let steps = match word.state {
                CLOSED => {
                    let healed = now.saturating_sub(word.at) / STEP_HEALS;
                    word.steps.saturating_sub(healed)
                }
                OPEN if now >= word.at => word.steps,
                HALF_OPEN if probe => word.steps,
                DIALLING if probe => {
                    let dials = word.dials;
                    return Some(Word {
                        state: OPEN,
                        dials: (dials + 1).min(BITS_6),
                        at: now + pause(dials.saturating_sub(DIALS_SOON).div_ceil(DIALS_EACH)),
                        ..word
                    });
                }
                _ => return None,
            };
            Some(Word {
                state: OPEN,
                steps: (steps + 1).min(STEPS),
                dials: word.dials,
                at: now + pause(steps),
            })
        })
    }

    /// A call that was made while the node was not closed has been answered.
    pub(super) fn recovered(&self, now: u64) -> bool {
        self.change(|word| {
            (word.state != CLOSED).then_some(Word {
                state: CLOSED,
                steps: word.steps,
                dials: 0,
                at: now,
            })
        })
    }

    /// Takes the right to probe; only one gets it.
    pub(super) fn claim(&self, now: u64) -> bool {
        self.change(|word| {
            (word.state == OPEN && now >= word.at).then_some(Word {
                state: HALF_OPEN,
                ..word
            })
        })
    }

    /// Takes the right to dial; only one gets it.
    pub(super) fn claim_dial(&self, now: u64) -> bool {
        self.change(|word| {
            (word.state == OPEN && now >= word.at).then_some(Word {
                state: DIALLING,
                ..word
            })
        })
    }

    /// A connection stands: the next call is the probe.
    pub(super) fn connected(&self, now: u64) -> bool {
        self.change(|word| {
            (word.state == DIALLING || word.state == OPEN && word.at > now).then_some(Word {
                state: OPEN,
                dials: 0,
                at: now,
                ..word
            })
        })
    }

    /// The probe was given up before it showed anything: another one after the shortest pause.
    pub(super) fn released(&self, now: u64) -> bool {
        self.change(|word| {
            (word.state == HALF_OPEN || word.state == DIALLING).then(|| Word {
                state: OPEN,
                at: now + pause(0),
                ..word
            })
        })
    }

    fn change(&self, change: impl Fn(Word) -> Option<Word>) -> bool {
        self.0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |bits| {
                change(Word::unpack(bits)).map(Word::pack)
            })
            .is_ok()
    }
}

// ===== impl Word =====

impl Word {
    fn unpack(bits: u64) -> Word {
        Word {
            state: bits >> 62,
            steps: bits >> 56 & BITS_6,
            dials: bits >> 50 & BITS_6,
            at: bits & BITS_50,
        }
    }

    fn pack(self) -> u64 {
        // 2^50 ms are 35,000 years.
        self.state << 62 | self.steps << 56 | self.dials << 50 | self.at & BITS_50
    }
}

fn pause(steps: u64) -> u64 {
    let base = (PROBE_FIRST << steps.min(STEPS)).min(PROBE_MAX);
    let jitter = base as f64 * JITTER * fastrand::f64();
    // The clock counts whole milliseconds that have passed: one more keeps the pause from falling short.
    base + jitter as u64 + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open_until(health: &Health) -> u64 {
        match health.state() {
            State::Open(at) => at,
            state => panic!("{state:?}"),
        }
    }

    #[test]
    fn a_failed_connection_opens_and_one_probe_comes_back() {
        let health = Health::default();
        assert!(health.is_closed());
        assert!(health.failed(5_000, false));
        let until = open_until(&health);
        assert!((6_001..=6_501).contains(&until), "{until}");
        assert!(!health.claim(until - 1));
        assert!(health.claim(until));
        assert!(!health.claim(until), "a second probe");
        assert_eq!(health.state(), State::HalfOpen);
        assert!(health.recovered(until));
        assert!(health.is_closed());
        assert!(!health.recovered(until), "nothing changed");
    }

    #[test]
    fn pauses_double_up_to_a_minute() {
        let health = Health::default();
        let mut now = 0;
        for base in [1, 2, 4, 8, 16, 32, 60, 60, 60] {
            assert!(health.failed(now, true));
            let pause = open_until(&health) - now;
            assert!(
                (base * 1_000..=base * 1_500 + 1).contains(&pause),
                "{base} s: {pause} ms"
            );
            now += pause;
            assert!(health.claim(now));
        }
    }

    #[test]
    fn failures_that_come_together_count_once() {
        let health = Health::default();
        assert!(health.failed(0, false));
        let until = open_until(&health);
        assert!(!health.failed(10, false));
        assert_eq!(open_until(&health), until);
        assert!(health.claim(until));
        assert!(!health.failed(until, false), "not the probe's");
        assert!(health.failed(until, true));
        assert!(open_until(&health) >= until + 2_000);
    }

    #[test]
    fn a_restarted_node_is_found_soon_and_a_dead_one_left_alone() {
        let health = Health::default();
        health.failed(0, false);
        let mut now = open_until(&health);
        let mut pauses = Vec::new();
        for _ in 0..80 {
            assert!(health.claim_dial(now));
            assert!(health.failed(now, true));
            let until = open_until(&health);
            pauses.push(until - now);
            now = until;
        }
        let soon = &pauses[..=DIALS_SOON as usize];
        assert!(
            soon.iter().all(|pause| (1_000..=1_501).contains(pause)),
            "{soon:?}"
        );
        let seldom = &pauses[60..];
        assert!(
            seldom.iter().all(|pause| (60_000..=90_001).contains(pause)),
            "{seldom:?}"
        );
        // What its connections are worth, the probes say: their pause is as if it had not been dialled.
        assert!(health.claim_dial(now) && health.connected(now));
        assert!(health.claim(now));
        assert!(health.failed(now, true));
        let pause = open_until(&health) - now;
        assert!((2_000..=3_001).contains(&pause), "{pause}");
    }

    #[test]
    fn one_dial_and_then_one_probe() {
        let health = Health::default();
        health.failed(0, false);
        let until = open_until(&health);
        assert!(!health.claim_dial(until - 1));
        assert!(health.claim_dial(until));
        assert!(!health.claim_dial(until) && !health.claim(until), "twice");
        assert!(!health.failed(until, false), "not the dial's");
        assert!(health.connected(until + 7));
        assert_eq!(health.state(), State::Open(until + 7));
        assert!(!health.connected(until + 9), "nothing changed");
        assert!(health.claim(until + 9));
        assert!(!health.connected(until + 9), "the probe decides");
        assert!(health.failed(until + 9, true));
        let until = open_until(&health);
        assert!(health.claim_dial(until));
        assert!(health.failed(until, true));
        assert!(open_until(&health) <= until + 1_501, "a dial costs no call");
        // A connection that somebody else made is as good.
        assert!(health.connected(until + 1));
        assert!(health.claim(until + 1));
    }

    #[test]
    fn a_probe_given_up_does_not_double() {
        let health = Health::default();
        health.failed(0, false);
        let until = open_until(&health);
        assert!(health.claim(until));
        assert!(health.released(until));
        let pause = open_until(&health) - until;
        assert!((1_000..=1_501).contains(&pause), "{pause}");
    }

    #[test]
    fn flapping_keeps_the_pause_and_health_heals_it() {
        let health = Health::default();
        let mut now = 0;
        for _ in 0..3 {
            health.failed(now, false);
            now = open_until(&health);
            health.claim(now);
            health.recovered(now);
        }
        health.failed(now, false);
        assert!(open_until(&health) - now >= 8_000);
        now = open_until(&health);
        health.claim(now);
        health.recovered(now);
        now += 4 * STEP_HEALS;
        health.failed(now, false);
        assert!(open_until(&health) - now <= 1_501);
    }
}
