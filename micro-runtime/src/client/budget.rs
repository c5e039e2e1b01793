//! [`Budget`]: how many further attempts the calls of the last ten seconds pay for.
//!
//! # Why a budget, and not a number of retries alone
//! A number bounds what one call does; when every call fails, every call uses it up, and a service in trouble
//! gets a multiple of its load just then. A budget bounds what all calls together do: with 20 % of the calls,
//! a storm of failures adds at most a fifth. The ten per second beside it are for clients that call so rarely
//! that a fifth of their calls is none (Finagle's `RetryBudget` and tower's `TpsBudget` have these numbers).

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

use crate::lock::lock;

/// Over how many seconds calls and further attempts are counted.
const WINDOW: u64 = 10;

/// Seconds that have a place: more than the window, so that a second that begins does not fall on one that
/// still counts.
const SLOTS: usize = 16;

/// How much of the load may be added by further attempts (repeats and hedges), per service.
///
/// Default: 20 % of the calls of the last 10 s, and 10 for each of these seconds. Attempts after a failure
/// that leaves no doubt that nothing was processed do not count, but for those beyond the first that a node
/// refused after it had the request.
///
/// ```
/// use micro_runtime::client::{ClientOptions, RetryBudget};
///
/// let frugal = ClientOptions::new().retry_budget(RetryBudget::new().ratio(0.05).per_second(1));
/// let without_limit = ClientOptions::new().retry_budget(None);
/// # let _ = (frugal, without_limit);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[must_use = "a budget does nothing until it is given to a client's options"]
pub struct RetryBudget {
    ratio: f64,
    per_second: u32,
}

// ===== impl RetryBudget =====

impl RetryBudget {
    /// The default: 20 % and 10 per second.
    pub fn new() -> RetryBudget {
        RetryBudget {
            ratio: 0.2,
            per_second: 10,
        }
    }

    /// Further attempts as a part of the calls, from 0 to 1000; default 0.2. Anything else is refused when the
    /// client is made.
    pub fn ratio(mut self, ratio: f64) -> RetryBudget {
        self.ratio = ratio;
        self
    }

    /// Further attempts per second beside those, however few calls there are; default 10. They may be used all
    /// at once: ten seconds' worth, 100.
    pub fn per_second(mut self, attempts: u32) -> RetryBudget {
        self.per_second = attempts;
        self
    }

    pub(super) fn check(self) -> Result<(), String> {
        if (0.0..=1000.0).contains(&self.ratio) {
            return Ok(());
        }
        Err(format!(
            "the ratio of a retry budget is a number from 0 to 1000, found {}",
            self.ratio
        ))
    }
}

impl Default for RetryBudget {
    fn default() -> RetryBudget {
        RetryBudget::new()
    }
}

/// Counts calls and further attempts. Counting a call takes no lock; paying for an attempt takes one, so that
/// two cannot spend the same.
#[derive(Debug)]
pub(super) struct Budget {
    settings: RetryBudget,
    start: Instant,
    /// A [`Second`] each.
    slots: [AtomicU64; SLOTS],
    /// Held while an attempt is paid for; never across a wait.
    paying: Mutex<()>,
}

/// What happened in one second: its number in 20 bits, calls in 24 and further attempts in 20. The number
/// comes around every twelve days: what a slot kept from then would count once more, if it had not been
/// used since.
#[derive(Clone, Copy)]
struct Second(u64);

// ===== impl Budget =====

impl Budget {
    pub(super) fn new(settings: RetryBudget) -> Budget {
        Budget {
            settings,
            start: Instant::now(),
            slots: Default::default(),
            paying: Mutex::new(()),
        }
    }

    /// A call begins.
    pub(super) fn call(&self, now: Instant) {
        let second = self.second(now);
        let Some(slot) = self.slot(second) else {
            return;
        };
        let found = Second(slot.load(Ordering::Relaxed));
        if found.is(second) {
            // Far below where the next field begins: what other threads add meanwhile cannot reach it.
            if found.calls() < Second::CALLS_MAX / 2 {
                slot.fetch_add(Second::CALL, Ordering::Relaxed);
            }
        } else {
            change(slot, |found| found.at(second).plus(Second::CALL));
        }
    }

    /// Pays for a further attempt; says whether that was possible.
    pub(super) fn pay(&self, now: Instant) -> bool {
        let _paying = lock(&self.paying);
        let second = self.second(now);
        let (calls, spent) = self.count(second);
        let reserve = u64::from(self.settings.per_second) * WINDOW;
        #[expect(clippy::cast_precision_loss, reason = "at most 2^24 * 10 calls")]
        let allowed = calls as f64 * self.settings.ratio + reserve as f64;
        #[expect(clippy::cast_precision_loss, reason = "at most 2^20 * 10 attempts")]
        let wanted = (spent + 1) as f64;
        let Some(slot) = self.slot(second).filter(|_| wanted <= allowed) else {
            return false;
        };
        if Second(slot.load(Ordering::Relaxed)).spent(second) >= Second::SPENT_MAX {
            return false;
        }
        change(slot, |found| found.at(second).plus(Second::SPEND));
        true
    }

    /// Calls and further attempts of the seconds that count.
    fn count(&self, now: u64) -> (u64, u64) {
        let seconds = now.saturating_sub(WINDOW - 1)..=now;
        seconds.fold((0, 0), |(calls, spent), second| {
            let found = self.slot(second);
            match found.map(|slot| Second(slot.load(Ordering::Relaxed))) {
                Some(found) if found.is(second) => {
                    (calls + found.calls(), spent + found.spent(second))
                }
                _ => (calls, spent),
            }
        })
    }

    /// Begins at 1, so that an unused slot is of no second.
    fn second(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.start).as_secs() + 1
    }

    fn slot(&self, second: u64) -> Option<&AtomicU64> {
        let place = usize::try_from(second % SLOTS as u64).ok()?;
        self.slots.get(place)
    }
}

fn change(slot: &AtomicU64, change: impl Fn(Second) -> Second) {
    // Always changes, so that it cannot fail.
    let _ = slot.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |bits| {
        Some(change(Second(bits)).0)
    });
}

// ===== impl Second =====

impl Second {
    const SPEND: u64 = 1;
    const SPENT_BITS: u32 = 20;
    const SPENT_MAX: u64 = (1 << Self::SPENT_BITS) - 1;
    const CALL: u64 = 1 << Self::SPENT_BITS;
    const CALLS_MAX: u64 = (1 << 24) - 1;
    const NUMBER_SHIFT: u32 = Self::SPENT_BITS + 24;
    const NUMBER_MASK: u64 = (1 << 20) - 1;

    fn is(self, second: u64) -> bool {
        self.0 >> Self::NUMBER_SHIFT == second & Self::NUMBER_MASK
    }

    fn calls(self) -> u64 {
        self.0 >> Self::SPENT_BITS & Self::CALLS_MAX
    }

    fn spent(self, second: u64) -> u64 {
        if self.is(second) {
            self.0 & Self::SPENT_MAX
        } else {
            0
        }
    }

    /// This second's counts, which begin at nothing.
    fn at(self, second: u64) -> Second {
        if self.is(second) {
            self
        } else {
            Second((second & Self::NUMBER_MASK) << Self::NUMBER_SHIFT)
        }
    }

    fn plus(self, one: u64) -> Second {
        Second(self.0 + one)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const SPAN: Duration = Duration::from_secs(WINDOW);

    fn paid(budget: &Budget, at_most: u32) -> u32 {
        (0..at_most)
            .filter(|_| budget.pay(Instant::now()))
            .count()
            .try_into()
            .unwrap()
    }

    fn calls(budget: &Budget, calls: u32) {
        for _ in 0..calls {
            budget.call(Instant::now());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_reserve_is_there_from_the_start() {
        let budget = Budget::new(RetryBudget::new());
        assert_eq!(paid(&budget, 1000), 100);
        tokio::time::advance(SPAN - Duration::from_secs(1)).await;
        assert_eq!(paid(&budget, 1000), 0);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(paid(&budget, 1000), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn a_fifth_of_the_calls_may_be_added() {
        let budget = Budget::new(RetryBudget::new().per_second(0));
        assert_eq!(paid(&budget, 10), 0);
        calls(&budget, 1000);
        assert_eq!(paid(&budget, 1000), 200);
        // Calls that are older pay for nothing any more.
        tokio::time::advance(Duration::from_secs(5)).await;
        calls(&budget, 100);
        assert_eq!(paid(&budget, 1000), 20);
        tokio::time::advance(Duration::from_secs(5)).await;
        calls(&budget, 100);
        assert_eq!(paid(&budget, 1000), 20, "20 of the last 200 calls");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_pays_finds_the_last_ten_seconds_within_it() {
        let budget = Budget::new(RetryBudget::new());
        let mut history: Vec<(u32, u32)> = Vec::new();
        for second in 0..120 {
            let now = fastrand::u32(0..200);
            calls(&budget, now);
            history.push((now, paid(&budget, fastrand::u32(0..100))));
            let from = history.len().saturating_sub(10);
            let (calls, spent) = history[from..]
                .iter()
                .fold((0, 0), |(a, b), (c, d)| (a + c, b + d));
            // What was paid stays paid when the calls that it was paid by grow old.
            let paid = history.last().is_some_and(|(_, paid)| *paid > 0);
            assert!(
                !paid || f64::from(spent) <= f64::from(calls) * 0.2 + 100.0,
                "second {second}: {spent} of {calls}"
            );
            tokio::time::advance(Duration::from_secs(1)).await;
        }
    }

    #[test]
    fn threads_cannot_pass_it_together() {
        let budget = Budget::new(RetryBudget::new().per_second(0));
        let now = Instant::now();
        let paid = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        budget.call(now);
                        if budget.pay(now) {
                            paid.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        let paid = paid.into_inner();
        assert!((7_000..=8_000).contains(&paid), "{paid}");
        assert_eq!(budget.count(1), (40_000, paid));
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_that_comes_around_is_another() {
        let budget = Budget::new(RetryBudget::new().ratio(1.0).per_second(0));
        calls(&budget, 3);
        tokio::time::advance(Duration::from_secs(SLOTS as u64)).await;
        assert_eq!(paid(&budget, 10), 0);
        calls(&budget, 2);
        assert_eq!(paid(&budget, 10), 2);
    }

    #[test]
    fn a_ratio_is_checked() {
        for ratio in [-0.1, f64::NAN, f64::INFINITY, 1000.1] {
            assert!(RetryBudget::new().ratio(ratio).check().is_err(), "{ratio}");
        }
        assert!(RetryBudget::new().ratio(0.0).check().is_ok());
    }
}
