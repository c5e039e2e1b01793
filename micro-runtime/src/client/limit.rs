//! [`Limit`]: when a call is over, whatever its peer does: at its deadline, or when the call that it was made
//! for is cancelled.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context as Task, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use crate::context::Context;
use crate::deadline::{Deadline, earliest};
use crate::exchange::BoxFuture;
use crate::status::Status;

/// Why a call is over before its peer ended it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// Its deadline has passed.
    Deadline,
    /// The call that it was made for is cancelled.
    Cancelled,
}

/// A deadline, and the context whose cancellation counts. Nothing is registered anywhere before it is polled:
/// a call that is answered at once needs no timer.
pub(super) struct Limit {
    started: Instant,
    deadline: Option<Deadline>,
    context: Option<Context>,
    alarm: Option<Alarm>,
}

enum Alarm {
    Deadline(Pin<Box<Sleep>>),
    Context(BoxFuture<'static, Over>),
    /// It has gone off, and stays so however often it is asked.
    Over(Over),
}

// ===== impl Limit =====

impl Limit {
    /// Begins now, and ends after `timeout` or with the context, whichever is first. What is inherited can be
    /// shortened, never extended.
    pub(super) fn new(timeout: Option<Duration>, context: Option<Context>) -> Limit {
        let started = Instant::now();
        let own = timeout.map(|timeout| Deadline::after_from(started, timeout));
        let inherited = context.as_ref().and_then(Context::deadline);
        Limit {
            started,
            deadline: earliest(own, inherited),
            context,
            alarm: None,
        }
    }

    pub(super) fn context(&self) -> Option<&Context> {
        self.context.as_ref()
    }

    pub(super) fn deadline(&self) -> Option<Deadline> {
        self.deadline
    }

    /// When it began.
    pub(super) fn started(&self) -> Instant {
        self.started
    }

    /// The time since it began.
    pub(super) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// All the time that it gives, from its beginning.
    pub(super) fn whole(&self) -> Option<Duration> {
        let deadline = self.deadline?.instant();
        Some(deadline.saturating_duration_since(self.started))
    }

    /// The time that is left.
    pub(super) fn left(&self) -> Option<Duration> {
        self.deadline.map(Deadline::left)
    }

    /// Whether the call was over at its beginning; reads no clock.
    pub(super) fn check_start(&self) -> Option<Over> {
        if self.context.as_ref().is_some_and(Context::is_cancelled) {
            Some(Over::Cancelled)
        } else if self
            .deadline
            .is_some_and(|deadline| deadline.instant() <= self.started)
        {
            Some(Over::Deadline)
        } else {
            None
        }
    }

    /// Whether the call is over now; without waiting.
    pub(super) fn check(&self) -> Option<Over> {
        if self.context.as_ref().is_some_and(Context::is_cancelled) {
            Some(Over::Cancelled)
        } else if self.deadline.is_some_and(Deadline::has_passed) {
            Some(Over::Deadline)
        } else {
            None
        }
    }

    /// Ready when the call is over.
    pub(super) fn poll(&mut self, cx: &mut Task<'_>) -> Poll<Over> {
        if self.alarm.is_none() {
            self.alarm = match (&self.context, self.deadline) {
                (None, None) => return Poll::Pending,
                (None, Some(deadline)) => Some(Alarm::Deadline(Box::pin(
                    tokio::time::sleep_until(deadline.instant()),
                ))),
                (Some(context), deadline) => {
                    Some(Alarm::Context(Box::pin(until(context.clone(), deadline))))
                }
            };
        }
        let over = match &mut self.alarm {
            None => return Poll::Pending,
            Some(Alarm::Deadline(sleep)) => {
                ready!(sleep.as_mut().poll(cx).map(|()| Over::Deadline))
            }
            Some(Alarm::Context(over)) => ready!(over.as_mut().poll(cx)),
            Some(Alarm::Over(over)) => *over,
        };
        self.alarm = Some(Alarm::Over(over));
        Poll::Ready(over)
    }

    /// Waits for `future`, no longer than the limit allows.
    pub(super) async fn bound<F: Future>(&mut self, future: F) -> Result<F::Output, Over> {
        let mut future = pin!(future);
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending => self.poll(cx).map(Err),
        })
        .await
    }

    /// The same limit for a part of the call that may not take longer than `most`.
    pub(super) fn at_most(&self, most: Duration) -> Limit {
        let own = Deadline::after(most);
        Limit {
            started: self.started,
            deadline: Some(own.earlier(self.deadline)),
            context: self.context.clone(),
            alarm: None,
        }
    }

    /// The same limit, for the other half of a stream.
    pub(super) fn twin(&self) -> Limit {
        Limit {
            started: self.started,
            deadline: self.deadline,
            context: self.context.clone(),
            alarm: None,
        }
    }

    /// A peer, or an engine, that says CANCELLED after the deadline has passed only saw our deadline: the
    /// caller is told of the deadline.
    pub(super) fn correct(&self, status: Status) -> Status {
        if status.code() == crate::status::Code::Cancelled
            && self.deadline.is_some_and(Deadline::has_passed)
        {
            return Status::deadline_exceeded(format_args!(
                "the deadline of the call has passed, {:?} after it began: {}",
                self.elapsed(),
                status.message()
            ));
        }
        status
    }

    /// The status of a call that is over, which `what` was done for.
    pub(super) fn status(&self, over: Over, what: impl fmt::Display) -> Status {
        let elapsed = self.elapsed();
        match over {
            Over::Deadline => Status::deadline_exceeded(format_args!(
                "the deadline of the call has passed, {elapsed:?} after it began, while {what}"
            )),
            Over::Cancelled => Status::cancelled(format_args!(
                "the call that this one was made for is cancelled, {elapsed:?} after it began, while {what}"
            )),
        }
    }
}

async fn until(context: Context, deadline: Option<Deadline>) -> Over {
    let mut cancelled = pin!(context.cancelled());
    let mut sleep = pin!(deadline.map(|deadline| tokio::time::sleep_until(deadline.instant())));
    poll_fn(|cx| {
        if cancelled.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Over::Cancelled);
        }
        match sleep.as_mut().as_pin_mut() {
            Some(sleep) => sleep.poll(cx).map(|()| Over::Deadline),
            None => Poll::Pending,
        }
    })
    .await
}

impl fmt::Debug for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limit")
            .field("deadline", &self.deadline)
            .field("inherited", &self.context.is_some())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_over_stays_over() {
        for context in [None, Some(Context::default())] {
            let mut limit = Limit::new(Some(Duration::from_millis(10)), context);
            for _ in 0..3 {
                let bound = limit.bound(std::future::pending::<()>()).await;
                assert_eq!(bound, Err(Over::Deadline));
            }
            assert_eq!(limit.bound(std::future::ready(1)).await, Ok(1));
        }
    }
}
