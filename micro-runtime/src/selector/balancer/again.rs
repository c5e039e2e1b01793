//! What a call does that finds no node to go to: it waits for news, or has the registry asked once more.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::super::core::Source;
use super::super::nodes::Tried;
use super::super::table::Connections;
use super::Balancer;
use crate::deadline::Deadline;

/// The least time between two look-ups of one service that were asked for because its nodes fail: many calls that
/// fail at once are one look-up, and many that fail for long are five in a second.
const GAP: Duration = Duration::from_millis(200);

/// The same on the selector's clock.
const GAP_NANOS: u64 = GAP.as_secs() * 1_000_000_000 + GAP.subsec_nanos() as u64;

/// The registry whose addresses never change, so that it has nothing new to say.
const FIXED: &str = "fixed";

/// Wakes whoever waits for a node: at a new view, and when a node has a connection again or has answered again.
#[derive(Debug)]
pub(crate) struct News(watch::Receiver<()>);

/// When the registry was last asked because the nodes of a service fail: a time on the selector's clock, and 0 if
/// it never was.
#[derive(Debug, Default)]
pub(in crate::selector) struct Asked(AtomicU64);

/// What a call may do that wants the registry to be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// Ask.
    Ask,
    /// It has been asked for this call too, and the answer is still to come.
    Join,
    /// It has just answered.
    Done,
    /// It was asked a moment ago, and will not be asked again before this time.
    Not(u64),
}

// ===== impl Balancer =====

impl<C: Connections> Balancer<C> {
    /// The news from now on. What is asked for first and looked at then misses nothing in between.
    pub(crate) fn news(&self) -> News {
        News(self.core.news())
    }

    /// Whether there is a node that a call could go to that has been to these. Asks nothing of the strategy, and
    /// takes up no probe.
    pub(crate) fn offers(&self, tried: &Tried) -> bool {
        let snapshot = self.snapshot.load();
        let been = snapshot.been(tried);
        let nodes = snapshot.nodes(been.places(), &self.turn, 0);
        !nodes.is_empty()
    }

    /// Asks the registry for nodes beyond those that a call has been to, none of which could be reached: it may know
    /// of others although no watch has said so. All calls share one look-up at a time, and two of them begin at
    /// least [`GAP`] apart: within it a `patient` call waits for the next one, any other is told at once that there
    /// is none. An answer serves that is younger than `since` and than [`GAP`]. Nobody is asked while the registry
    /// fails, which is asked again anyway; nor one that never changes, nor for an address.
    ///
    /// Says whether there is a node now that the call has not been to.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives up the wait alone; the query goes on for whoever else asks.
    pub(crate) async fn look_again(
        &self,
        tried: &Tried,
        since: Instant,
        patient: bool,
        deadline: Deadline,
    ) -> bool {
        let Source::Registry(entry) = &self.core.source else {
            return false;
        };
        if self.core.registry == FIXED {
            return false;
        }
        let enough = || self.offers(tried) || entry.view().stale.is_some();
        let clock = self.core.clock;
        let since = clock
            .nanos_at(since)
            .max(clock.nanos().saturating_sub(GAP_NANOS));
        while !enough() {
            let answered = entry.view().answered.map(|at| clock.nanos_at(at));
            match self.core.asked.turn(since, clock.nanos(), answered) {
                Turn::Ask | Turn::Join => {
                    // Whatever stopped it: what counts is what is known now.
                    let _ = entry.look_up(deadline, enough).await;
                    break;
                }
                Turn::Done => break,
                Turn::Not(until) => {
                    let until = clock.instant(until);
                    if !patient || until >= deadline.instant() {
                        break;
                    }
                    sleep_until(until).await;
                }
            }
        }
        self.offers(tried)
    }
}

// ===== impl News =====

impl News {
    /// Ready when there was any since this was last ready, or since the beginning.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub(crate) async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            // Nobody is left who could tell; whoever waits has a time to look by itself.
            std::future::pending::<()>().await;
        }
    }

    /// With who tells it.
    #[cfg(test)]
    pub(crate) fn pair() -> (watch::Sender<()>, News) {
        let (says, hears) = watch::channel(());
        (says, News(hears))
    }

    /// Waits for news, no longer than until then; says whether there were any.
    pub(crate) async fn until(&mut self, instant: Instant) -> bool {
        tokio::time::timeout_at(instant, self.changed())
            .await
            .is_ok()
    }
}

// ===== impl Asked =====

impl Asked {
    /// What a call may do for which an answer serves that is as young as `since`, by the time it is now and that of
    /// the registry's last answer.
    fn turn(&self, since: u64, now: u64, answered: Option<u64>) -> Turn {
        if answered.is_some_and(|answered| answered >= since) {
            return Turn::Done;
        }
        let mut last = self.0.load(Ordering::Acquire);
        while last == 0 || now >= last.saturating_add(GAP_NANOS) {
            // 0 means never.
            let asked = now.max(1);
            match self
                .0
                .compare_exchange(last, asked, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => return Turn::Ask,
                Err(other) => last = other,
            }
        }
        if answered.is_none_or(|answered| answered < last) {
            Turn::Join
        } else {
            Turn::Not(last.saturating_add(GAP_NANOS))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{Fixed, Registry};

    const MILLI: u64 = 1_000_000;

    #[test]
    fn one_asks_and_the_others_share_its_answer() {
        let at = |millis: u64| millis * MILLI;
        let turn = |asked: &Asked, since, now, answered| {
            asked.turn(at(since), at(now), Some(at(answered)))
        };
        let asked = Asked::default();
        assert_eq!(asked.turn(0, 0, None), Turn::Ask, "the clock may be at 0");
        let asked = Asked::default();
        assert_eq!(turn(&asked, 2, 5, 2), Turn::Done);
        assert_eq!(turn(&asked, 2, 5, 1), Turn::Ask);
        assert_eq!(turn(&asked, 2, 6, 1), Turn::Join);
        assert_eq!(turn(&asked, 9, 9, 8), Turn::Not(at(205)));
        assert_eq!(turn(&asked, 8, 9, 8), Turn::Done);
        assert_eq!(turn(&asked, 9, 205, 8), Turn::Ask);
        assert_eq!(turn(&asked, 9, 205, 8), Turn::Join);
    }

    #[test]
    fn threads_ask_once() {
        let asked = Asked::default();
        let asks = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for now in 1..1000 {
                        if asked.turn(now * MILLI, now * MILLI, None) == Turn::Ask {
                            asks.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        assert!((1..=5).contains(&asks.into_inner()));
    }

    #[test]
    fn the_fixed_registry_has_this_name() {
        assert_eq!(Registry::name(&Fixed::new(["127.0.0.1:1"])), FIXED);
    }
}
