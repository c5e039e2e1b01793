//! [`Held`]: the events of a subscription at least once that are not settled.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use super::hub::broker;
use crate::broker::Settle;
use crate::error::Error;
use crate::lock::lock;

/// How many numbers of acknowledged events are remembered: one whose acknowledgement was lost comes again, and
/// need not be handled again.
const SETTLED_MAX: usize = 8192;

/// How many numbers of events that were given back are remembered. Beyond them, one whose consumer is lost with
/// the server before it has come again is not asked for.
const BACK_MAX: usize = 262_144;

/// What is known of the events of one subscription, by their number in the stream.
pub(super) struct Held {
    /// Whether the consumer is of this subscription alone, so that what it gives back comes again here.
    alone: bool,
    /// Short sections without a wait, hence a std mutex.
    inner: Mutex<Inner>,
    /// Something has been settled.
    pub(super) settled: Notify,
}

#[derive(Default)]
struct Inner {
    /// Handed out and not settled.
    out: HashMap<u64, Out>,
    /// Given back, and not come again.
    back: HashMap<u64, Handed>,
    /// Acknowledged lately.
    done: HashSet<u64>,
    done_order: VecDeque<u64>,
    /// To be told to the server.
    said: Vec<Said>,
    /// Which consumer this is, counted from 0: one that was made anew counts deliveries from 1 again.
    generation: u32,
}

/// An event that is handed out.
struct Out {
    /// Where to answer.
    reply: String,
    handed: Handed,
}

/// How many times an event was handed out.
#[derive(Clone, Copy)]
struct Handed {
    /// By this consumer.
    count: u32,
    /// By consumers before it.
    before: u32,
    generation: u32,
}

/// What the server is to be told of an event.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) reply: String,
    pub(super) number: u64,
    pub(super) what: What,
    /// Told when the server has confirmed, if that is wanted.
    pub(super) confirmed: Option<oneshot::Sender<()>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Ack,
    Nak(Duration),
}

/// What to do with an event that has come.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Came {
    /// Hand it out, as this attempt.
    New(u32),
    /// It is handed out already, or was acknowledged: nothing.
    Known,
}

// ===== impl Held =====

impl Held {
    pub(super) fn new(alone: bool) -> Held {
        Held {
            alone,
            inner: Mutex::default(),
            settled: Notify::new(),
        }
    }

    /// Takes in an event that has come.
    pub(super) fn take(&self, number: u64, reply: &str, count: u32) -> Came {
        let mut inner = lock(&self.inner);
        let generation = inner.generation;
        if let Some(out) = inner.out.get_mut(&number) {
            // Its handler runs: the latest delivery is the one to answer.
            let before = out.handed.before_in(generation);
            out.handed = Handed {
                count,
                before,
                generation,
            };
            reply.clone_into(&mut out.reply);
            return Came::Known;
        }
        if inner.done.contains(&number) {
            inner.said.push(Said {
                reply: reply.to_owned(),
                number,
                what: What::Ack,
                confirmed: None,
            });
            drop(inner);
            self.settled.notify_one();
            return Came::Known;
        }
        let back = inner.back.remove(&number);
        let before = back.map_or(0, |handed| handed.before_in(generation));
        let out = Out {
            reply: reply.to_owned(),
            handed: Handed {
                count,
                before,
                generation,
            },
        };
        inner.out.insert(number, out);
        Came::New(before.saturating_add(count).max(1))
    }

    /// Settles an event, of which the server is told soon. With `confirm` the receiver hears when it knows.
    ///
    /// # Errors
    /// The subscription has ended, and the event has gone back.
    pub(super) fn settle(
        &self,
        number: u64,
        how: Settle,
        confirm: bool,
    ) -> Result<Option<oneshot::Receiver<()>>, Error> {
        let mut inner = lock(&self.inner);
        let Some(out) = inner.out.remove(&number) else {
            return Err(broker(
                "the event was given back when its subscription ended, it will be handed out again",
            ));
        };
        let what = match how {
            Settle::Ack => What::Ack,
            Settle::Retry(delay) => What::Nak(delay),
            Settle::Return => What::Nak(Duration::ZERO),
        };
        let (mut receiver, mut confirmed) = (None, None);
        if what == What::Ack {
            inner.done.insert(number);
            inner.done_order.push_back(number);
            if inner.done_order.len() > SETTLED_MAX
                && let Some(oldest) = inner.done_order.pop_front()
            {
                inner.done.remove(&oldest);
            }
            if confirm {
                let (sender, waiting) = oneshot::channel();
                (receiver, confirmed) = (Some(waiting), Some(sender));
            }
        } else if self.alone {
            if inner.back.len() >= BACK_MAX
                && let Some(&oldest) = inner.back.keys().min()
            {
                inner.back.remove(&oldest);
            }
            inner.back.insert(number, out.handed);
        }
        inner.said.push(Said {
            reply: out.reply,
            number,
            what,
            confirmed,
        });
        drop(inner);
        self.settled.notify_one();
        Ok(receiver)
    }

    /// What the server is to be told, now.
    pub(super) fn said(&self) -> Vec<Said> {
        std::mem::take(&mut lock(&self.inner).said)
    }

    /// What could not be told after all is told first the next time.
    pub(super) fn unsaid(&self, mut said: Vec<Said>) {
        let mut inner = lock(&self.inner);
        said.append(&mut inner.said);
        inner.said = said;
    }

    /// How many are handed out.
    pub(super) fn len(&self) -> usize {
        lock(&self.inner).out.len()
    }

    /// Where to say that handlers run.
    pub(super) fn replies(&self) -> Vec<String> {
        let inner = lock(&self.inner);
        inner.out.values().map(|out| out.reply.clone()).collect()
    }

    /// The first number that a new consumer must hand out: the first that is not settled, or `next`.
    pub(super) fn first_open(&self, next: u64) -> u64 {
        let inner = lock(&self.inner);
        let open = inner.out.keys().chain(inner.back.keys()).min();
        open.copied().map_or(next, |first| first.min(next))
    }

    /// The consumer was made anew.
    pub(super) fn made_anew(&self) {
        lock(&self.inner).generation += 1;
    }

    /// Whether an event that has come before is not settled.
    pub(super) fn is_open(&self, number: u64) -> bool {
        let inner = lock(&self.inner);
        inner.out.contains_key(&number) || inner.back.contains_key(&number)
    }

    /// The stream was made anew: its numbers begin again, and what was handed out is not of this one.
    pub(super) fn forget(&self) {
        let mut inner = lock(&self.inner);
        let generation = inner.generation + 1;
        *inner = Inner {
            generation,
            ..Inner::default()
        };
    }

    /// Gives back everything that is handed out.
    pub(super) fn end(&self) {
        let mut inner = lock(&self.inner);
        let out = std::mem::take(&mut inner.out);
        for (number, out) in out {
            inner.said.push(Said {
                reply: out.reply,
                number,
                what: What::Nak(Duration::ZERO),
                confirmed: None,
            });
        }
    }
}

// ===== impl Handed =====

impl Handed {
    /// How many times consumers before this one have handed it out.
    fn before_in(self, generation: u32) -> u32 {
        if self.generation == generation {
            self.before
        } else {
            self.before.saturating_add(self.count)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_that_is_out_is_not_handed_out_again() {
        let held = Held::new(true);
        assert_eq!(held.take(7, "r1", 1), Came::New(1));
        assert_eq!(held.take(7, "r2", 2), Came::Known);
        assert_eq!(held.replies(), ["r2"]);
        held.settle(7, Settle::Ack, false).unwrap();
        let said = held.said();
        assert_eq!((said[0].reply.as_str(), said[0].what), ("r2", What::Ack));
        // Its acknowledgement was lost.
        assert_eq!(held.take(7, "r3", 3), Came::Known);
        assert_eq!(held.said()[0].reply, "r3");
        assert!(held.settle(7, Settle::Ack, false).is_err());
    }

    #[test]
    fn attempts_are_counted_over_consumers() {
        let held = Held::new(true);
        assert_eq!(held.take(3, "a", 1), Came::New(1));
        held.settle(3, Settle::Retry(Duration::ZERO), false)
            .unwrap();
        assert_eq!(held.take(3, "b", 2), Came::New(2));
        held.settle(3, Settle::Retry(Duration::ZERO), false)
            .unwrap();
        assert_eq!(held.take(4, "c", 1), Came::New(1));
        assert_eq!(held.first_open(9), 3);
        held.made_anew();
        assert_eq!(held.take(3, "d", 1), Came::New(3));
        assert_eq!(held.take(4, "e", 1), Came::Known);
        assert!(held.is_open(4) && !held.is_open(5));
    }

    #[test]
    fn the_memory_of_what_is_done_is_bounded() {
        let held = Held::new(true);
        for number in 0..2 * SETTLED_MAX as u64 {
            held.take(number, "r", 1);
            held.settle(number, Settle::Ack, false).unwrap();
            held.said();
        }
        assert_eq!(held.take(0, "r", 2), Came::New(2));
        let inner = lock(&held.inner);
        assert_eq!(
            (inner.done.len(), inner.done_order.len()),
            (SETTLED_MAX, SETTLED_MAX)
        );
    }

    #[test]
    fn the_end_gives_everything_back() {
        let held = Held::new(true);
        held.take(1, "r", 1);
        held.end();
        assert_eq!(held.said()[0].what, What::Nak(Duration::ZERO));
        assert_eq!(held.len(), 0);
        assert!(held.settle(1, Settle::Ack, false).is_err());
    }
}
