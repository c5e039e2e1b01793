//! How busy a client's connection is: counted without a lock, and told to those who wait for a change.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use tokio::sync::Notify;

use crate::exchange::{BoxFuture, Load, NotOpenedWhy, State};

const OPEN: u8 = 0;
const DRAINING: u8 = 1;
const CLOSED: u8 = 2;

/// The [`Load`] of one connection.
#[derive(Debug)]
pub(crate) struct Gauge {
    in_flight: AtomicUsize,
    /// What the peer allows.
    maximum: AtomicUsize,
    /// What this side allows.
    most: usize,
    state: AtomicU8,
    changed: Notify,
    /// How many wait for a change: without one, nobody is notified.
    waiting: AtomicUsize,
}

/// A place among the exchanges of a connection, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Slot(Arc<Gauge>);

struct Waiting<'a>(&'a Gauge);

// ===== impl Gauge =====

impl Gauge {
    /// An open connection whose peer allows `maximum` exchanges, and this side `most`.
    pub(crate) fn new(maximum: usize, most: usize) -> Arc<Gauge> {
        Arc::new(Gauge {
            in_flight: AtomicUsize::new(0),
            maximum: AtomicUsize::new(maximum),
            most,
            state: AtomicU8::new(OPEN),
            changed: Notify::new(),
            waiting: AtomicUsize::new(0),
        })
    }

    pub(crate) fn load(&self) -> Load {
        Load {
            in_flight: self.in_flight(),
            maximum: self.maximum(),
            state: self.state(),
        }
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::SeqCst)
    }

    fn maximum(&self) -> usize {
        self.maximum.load(Ordering::SeqCst).min(self.most)
    }

    pub(crate) fn state(&self) -> State {
        match self.state.load(Ordering::SeqCst) {
            OPEN => State::Open,
            DRAINING => State::Draining,
            _ => State::Closed,
        }
    }

    /// The peer allows this many from now on.
    pub(crate) fn allow(&self, maximum: usize) {
        if self.maximum.swap(maximum, Ordering::SeqCst) != maximum {
            self.notify();
        }
    }

    /// Goes on to draining; whether that is a change.
    pub(crate) fn drain(&self) -> bool {
        let was = self
            .state
            .compare_exchange(OPEN, DRAINING, Ordering::SeqCst, Ordering::SeqCst);
        if was.is_ok() {
            self.notify();
        }
        was.is_ok()
    }

    /// Goes on to closed.
    pub(crate) fn close(&self) {
        self.state.store(CLOSED, Ordering::SeqCst);
        self.notify();
    }

    /// Takes a place.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) fn slot(self: &Arc<Self>) -> Result<Slot, NotOpenedWhy> {
        if let Some(why) = self.refusal() {
            return Err(why);
        }
        let maximum = self.maximum();
        let taken = self
            .in_flight
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |taken| {
                (taken < maximum).then_some(taken + 1)
            });
        match taken {
            Ok(_) => Ok(Slot(Arc::clone(self))),
            Err(_) => Err(NotOpenedWhy::Full),
        }
    }

    /// Why nothing can be opened, if that is so whatever is in flight.
    pub(crate) fn refusal(&self) -> Option<NotOpenedWhy> {
        match self.state() {
            State::Open => None,
            State::Draining => Some(NotOpenedWhy::Draining),
            State::Closed => Some(NotOpenedWhy::Closed),
        }
    }

    /// Resolves when anything has changed since the call, or at once on a closed connection.
    pub(crate) fn changed(&self) -> BoxFuture<'_, ()> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let waiting = Waiting(self);
        // Counts notifications from here on, not from its first poll.
        let changed = self.changed.notified();
        Box::pin(async move {
            let _waiting = waiting;
            if self.state() != State::Closed {
                changed.await;
            }
        })
    }

    fn notify(&self) {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.changed.notify_waiters();
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::SeqCst);
        self.0.notify();
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::{Context, Waker};

    #[test]
    fn gives_as_many_places_as_both_sides_allow() {
        let gauge = Gauge::new(5, 2);
        let one = gauge.slot().unwrap();
        let two = gauge.slot().unwrap();
        assert_eq!(gauge.slot().unwrap_err(), NotOpenedWhy::Full);
        gauge.allow(1);
        drop(two);
        assert_eq!(gauge.slot().unwrap_err(), NotOpenedWhy::Full);
        drop(one);
        assert!(gauge.slot().is_ok());
        assert!(gauge.drain() && !gauge.drain());
        assert_eq!(gauge.slot().unwrap_err(), NotOpenedWhy::Draining);
        gauge.close();
        assert_eq!(gauge.slot().unwrap_err(), NotOpenedWhy::Closed);
        assert!(!gauge.drain());
        assert_eq!(gauge.state(), State::Closed);
    }

    #[test]
    fn a_change_is_seen_from_the_call_on() {
        let gauge = Gauge::new(1, 1);
        let slot = gauge.slot().unwrap();
        let mut cx = Context::from_waker(Waker::noop());
        let mut early = gauge.changed();
        drop(slot);
        let mut late = gauge.changed();
        assert!(early.as_mut().poll(&mut cx).is_ready());
        assert!(late.as_mut().poll(&mut cx).is_pending());
        gauge.close();
        assert!(late.as_mut().poll(&mut cx).is_ready());
        assert!(gauge.changed().as_mut().poll(&mut cx).is_ready());
    }
}
