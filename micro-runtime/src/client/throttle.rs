//! [`Throttle`]: no repeats while too much fails (gRPC's retry throttling, proposal A6).

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::time::Instant;

use crate::lock::lock;

/// Tokens are counted in thousandths: gRPC's ratios have three decimals.
const TOKEN: u32 = 1000;

/// So many nodes that lost calls are remembered.
const LOSSES: usize = 16;

/// When nothing is repeated because too much fails, per service: each failure takes a token, each success
/// gives a part of one back, and while no more than half of them are left no call is repeated and none is
/// hedged.
///
/// What counts as a failure is what a call would be repeated for: UNAVAILABLE, or a lost connection, of a
/// method that is safe to repeat. The calls that were lost together with one node count as one failure, or
/// the loss of a single busy connection would keep its calls from going elsewhere.
///
/// Default: 10 tokens, 0.1 for each success.
///
/// ```
/// use micro_runtime::client::{ClientOptions, RetryThrottle};
///
/// let lenient = ClientOptions::new().retry_throttle(RetryThrottle::new().tokens(100).ratio(0.5));
/// let off = ClientOptions::new().retry_throttle(None);
/// # let _ = (lenient, off);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[must_use = "a throttle does nothing until it is given to a client's options"]
pub struct RetryThrottle {
    tokens: u32,
    ratio: f64,
}

// ===== impl RetryThrottle =====

impl RetryThrottle {
    /// The default: 10 tokens, 0.1 for each success.
    pub fn new() -> RetryThrottle {
        RetryThrottle {
            tokens: 10,
            ratio: 0.1,
        }
    }

    /// The tokens that there are at most, and at the start: 1 to 1000, default 10. Anything else is refused
    /// when the client is made.
    pub fn tokens(mut self, tokens: u32) -> RetryThrottle {
        self.tokens = tokens;
        self
    }

    /// What a success gives back, in tokens: from 0.001 to 1000, default 0.1; decimals after the third are
    /// dropped. Anything else is refused when the client is made.
    pub fn ratio(mut self, ratio: f64) -> RetryThrottle {
        self.ratio = ratio;
        self
    }

    pub(super) fn check(self) -> Result<(), String> {
        if !(1..=1000).contains(&self.tokens) {
            return Err(format!(
                "the tokens of a retry throttle are a number from 1 to 1000, found {}",
                self.tokens
            ));
        }
        if !(0.001..=1000.0).contains(&self.ratio) {
            return Err(format!(
                "the ratio of a retry throttle is a number from 0.001 to 1000, found {}",
                self.ratio
            ));
        }
        Ok(())
    }
}

impl Default for RetryThrottle {
    fn default() -> RetryThrottle {
        RetryThrottle::new()
    }
}

/// The tokens of one service. While all goes well it is only read.
#[derive(Debug)]
pub(super) struct Throttle {
    most: u32,
    gain: u32,
    left: AtomicU32,
    /// Which nodes lost calls last, and when. Held for short sections without a wait, when a call is lost.
    losses: Mutex<Losses>,
}

#[derive(Debug, Default)]
struct Losses {
    last: [Option<(usize, Instant)>; LOSSES],
    next: usize,
}

// ===== impl Throttle =====

impl Throttle {
    pub(super) fn new(settings: RetryThrottle) -> Throttle {
        let most = settings.tokens.clamp(1, 1000) * TOKEN;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked to lie between 0.001 and 1000"
        )]
        let gain = (settings.ratio * f64::from(TOKEN)) as u32;
        Throttle {
            most,
            gain,
            left: AtomicU32::new(most),
            losses: Mutex::default(),
        }
    }

    pub(super) fn succeeded(&self) {
        if self.left.load(Ordering::Relaxed) < self.most {
            self.change(|left| left.saturating_add(self.gain).min(self.most));
        }
    }

    pub(super) fn failed(&self) {
        self.change(|left| left.saturating_sub(TOKEN));
    }

    /// An attempt that began then was lost with its connection to a node, which a number tells from others.
    pub(super) fn lost(&self, node: usize, began: Instant, now: Instant) {
        let mut losses = lock(&self.losses);
        let known = losses.last.iter_mut().flatten();
        if let Some((_, at)) = known.into_iter().find(|(known, _)| *known == node) {
            if began <= *at {
                return;
            }
            *at = now;
        } else {
            let next = losses.next % LOSSES;
            losses.next = next + 1;
            if let Some(place) = losses.last.get_mut(next) {
                *place = Some((node, now));
            }
        }
        drop(losses);
        self.failed();
    }

    /// Whether calls may be repeated.
    pub(super) fn is_open(&self) -> bool {
        self.left.load(Ordering::Relaxed) > self.most / 2
    }

    fn change(&self, change: impl Fn(u32) -> u32) {
        // Always changes, so that it cannot fail.
        let _ = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                Some(change(left))
            });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn half_of_the_tokens_are_too_few() {
        let throttle = Throttle::new(RetryThrottle::new());
        for _ in 0..4 {
            throttle.failed();
            assert!(throttle.is_open());
        }
        throttle.failed();
        assert!(!throttle.is_open());
        throttle.succeeded();
        assert!(throttle.is_open(), "5.1");
    }

    #[test]
    fn there_are_bounds_at_both_ends() {
        let throttle = Throttle::new(RetryThrottle::new());
        for _ in 0..100 {
            throttle.failed();
        }
        for _ in 0..50 {
            assert!(!throttle.is_open());
            throttle.succeeded();
        }
        assert!(!throttle.is_open(), "5.0");
        for _ in 0..1000 {
            throttle.succeeded();
        }
        assert_eq!(throttle.left.load(Ordering::Relaxed), 10 * TOKEN);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_lost_together_counts_once() {
        let throttle = Throttle::new(RetryThrottle::new());
        let left = || throttle.left.load(Ordering::Relaxed) / TOKEN;
        let began = Instant::now();
        tokio::time::advance(Duration::from_millis(10)).await;
        for _ in 0..20 {
            throttle.lost(1, began, Instant::now());
        }
        assert_eq!(left(), 9);
        throttle.lost(2, began, Instant::now());
        assert_eq!(left(), 8, "another node");
        tokio::time::advance(Duration::from_millis(10)).await;
        throttle.lost(1, began, Instant::now());
        assert_eq!(left(), 8, "it had begun before the first was lost");
        throttle.lost(1, Instant::now(), Instant::now());
        assert_eq!(left(), 7, "it had begun after that");
        for node in 0..100 {
            throttle.lost(node, Instant::now(), Instant::now());
        }
        assert_eq!(left(), 0);
    }

    #[test]
    fn settings_are_checked() {
        for wrong in [
            RetryThrottle::new().tokens(0),
            RetryThrottle::new().tokens(1001),
            RetryThrottle::new().ratio(0.0),
            RetryThrottle::new().ratio(f64::NAN),
        ] {
            assert!(wrong.check().is_err(), "{wrong:?}");
        }
        assert!(RetryThrottle::new().check().is_ok());
    }
}
