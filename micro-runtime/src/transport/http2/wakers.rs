//! Two waits on one stream.

use std::sync::Arc;
use std::task::{Context, Wake, Waker};

/// A stream of `h2` remembers one waker for everything about its sending side, while the end of a call and
/// the room for its next message may be waited for in two tasks. This remembers both, and makes one of them
/// where they differ.
#[derive(Debug, Default)]
pub(super) struct Wakers {
    closed: Option<Waker>,
    ready: Option<Waker>,
}

struct Both(Waker, Waker);

// ===== impl Wakers =====

impl Wakers {
    /// Waits for the end with the waker of `cx`; runs `poll` with one that also wakes whoever waits for room.
    pub(super) fn closed<T>(
        &mut self,
        cx: &Context<'_>,
        poll: impl FnOnce(&mut Context<'_>) -> T,
    ) -> T {
        with_both(&mut self.closed, self.ready.as_ref(), cx, poll)
    }

    /// Waits for room with the waker of `cx`; runs `poll` with one that also wakes whoever waits for the end.
    pub(super) fn ready<T>(
        &mut self,
        cx: &Context<'_>,
        poll: impl FnOnce(&mut Context<'_>) -> T,
    ) -> T {
        with_both(&mut self.ready, self.closed.as_ref(), cx, poll)
    }

    /// Nobody waits for room any more.
    pub(super) fn is_ready(&mut self) {
        self.ready = None;
    }
}

fn with_both<T>(
    mine: &mut Option<Waker>,
    other: Option<&Waker>,
    cx: &Context<'_>,
    poll: impl FnOnce(&mut Context<'_>) -> T,
) -> T {
    match mine {
        Some(waker) if waker.will_wake(cx.waker()) => {}
        Some(waker) => waker.clone_from(cx.waker()),
        None => *mine = Some(cx.waker().clone()),
    }
    match other {
        Some(other) if !other.will_wake(cx.waker()) => {
            let both = Waker::from(Arc::new(Both(cx.waker().clone(), other.clone())));
            poll(&mut Context::from_waker(&both))
        }
        _ => poll(&mut Context::from_waker(cx.waker())),
    }
}

// ===== impl Both =====

impl Wake for Both {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.wake_by_ref();
        self.1.wake_by_ref();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn the_second_to_wait_wakes_the_first_too() {
        let (one, two) = (Arc::new(Count::default()), Arc::new(Count::default()));
        let (first, second) = (Waker::from(one.clone()), Waker::from(two.clone()));
        let mut wakers = Wakers::default();
        let kept = wakers.closed(&Context::from_waker(&first), |cx| cx.waker().clone());
        assert!(kept.will_wake(&first));
        let kept = wakers.ready(&Context::from_waker(&second), |cx| cx.waker().clone());
        kept.wake();
        assert_eq!(one.0.load(Ordering::SeqCst), 1);
        assert_eq!(two.0.load(Ordering::SeqCst), 1);
        wakers.is_ready();
        let kept = wakers.closed(&Context::from_waker(&first), |cx| cx.waker().clone());
        assert!(kept.will_wake(&first));
    }
}
