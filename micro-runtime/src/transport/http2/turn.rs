//! The turns of a connection's task: who woke it, and how it waits for others to be ready.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

use crate::exchange::Io;
use crate::lock::lock;

/// The task of a connection. A wake-up that comes from within its own turn costs nothing.
#[derive(Debug)]
pub(super) struct Task {
    waker: Mutex<Waker>,
    in_turn: AtomicBool,
    /// The number of the turn.
    turn: AtomicU64,
}

/// One of the reasons to wake a [`Task`]: raised by whoever wakes it, lowered by the task.
#[derive(Debug)]
pub(super) struct Signal {
    raised: AtomicBool,
    task: Arc<Task>,
}

/// Puts turns off, so that others who are ready to write do so first, and all of it leaves in one write.
///
/// That is worth a write, some microseconds. Where those others compute for long between their writes, a turn
/// would come late for it: so after a turn that came back late some are not put off, twice as many after each
/// further one, and half as many after each that came in time.
#[derive(Debug)]
pub(super) struct Gather {
    /// When the turn was put off.
    since: Option<Instant>,
    /// How many more turns are not put off.
    skip: u32,
    /// How many that will be after the next one that comes back late.
    next: u32,
}

/// How late a turn may come back: dozens of short tasks run in this time, and few calls would notice it.
const LATEST: Duration = Duration::from_millis(1);

/// How many turns are not put off after the first one that came back late, and at most.
const FEWEST: u32 = 4;
const MOST: u32 = 256;

/// The byte stream of a connection. It wakes the task itself, whatever waker it is polled with, so that a
/// readable socket is told from a stream that was written to.
#[derive(Debug)]
pub(super) struct Tap {
    io: Io,
    task: Arc<Task>,
    heard: Arc<AtomicBool>,
    /// Where the byte stream goes when the engine drops it.
    back: Option<oneshot::Sender<Io>>,
    /// The last turn in which there was nothing more to read. It is asked once a turn: `h2` would for each
    /// request that it hands over.
    dry: u64,
}

// ===== impl Task =====

impl Task {
    pub(super) fn new() -> Arc<Task> {
        Arc::new(Task {
            waker: Mutex::new(Waker::noop().clone()),
            in_turn: AtomicBool::new(false),
            turn: AtomicU64::new(0),
        })
    }

    fn waker(&self) -> Waker {
        // Cloned, not borrowed: nothing foreign runs under the lock.
        lock(&self.waker).clone()
    }

    /// Begins a turn.
    pub(super) fn enter(&self, cx: &Context<'_>) {
        {
            let mut waker = lock(&self.waker);
            if !waker.will_wake(cx.waker()) {
                waker.clone_from(cx.waker());
            }
        }
        self.turn.fetch_add(1, Ordering::Relaxed);
        self.in_turn.store(true, Ordering::SeqCst);
    }

    /// Ends a turn. Signals must be looked at once more afterwards.
    pub(super) fn leave(&self) {
        self.in_turn.store(false, Ordering::SeqCst);
    }
}

// ===== impl Signal =====

impl Signal {
    pub(super) fn new(task: &Arc<Task>) -> Arc<Signal> {
        Arc::new(Signal {
            raised: AtomicBool::new(false),
            task: Arc::clone(task),
        })
    }

    pub(super) fn is_raised(&self) -> bool {
        self.raised.load(Ordering::SeqCst)
    }

    /// Lowers it; whether it was raised.
    pub(super) fn take(&self) -> bool {
        self.raised.swap(false, Ordering::SeqCst)
    }

    pub(super) fn raise(&self) {
        // Either this sees that the turn is over, or the end of the turn sees the signal.
        if !self.raised.swap(true, Ordering::SeqCst) && !self.task.in_turn.load(Ordering::SeqCst) {
            self.task.waker().wake();
        }
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.raise();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.raise();
    }
}

/// Has the task polled again, behind every task that is ready now.
pub(super) fn come_back(cx: &mut Context<'_>) {
    // The first poll of this future hands the waker to the scheduler, which wakes it when it has run out of
    // other work or a few dozen tasks have passed; nothing is lost with the future. Waking the task by hand
    // would put it before the tasks that it is to wait for, or wake a sleeping worker for it.
    let _ = pin!(tokio::task::yield_now()).poll(cx);
}

// ===== impl Gather =====

impl Gather {
    pub(super) fn new() -> Gather {
        Gather {
            since: None,
            skip: 0,
            next: FEWEST,
        }
    }

    /// Whether to put this turn off, as others are `wanted`. It is put off once.
    pub(super) fn put_off(&mut self, wanted: bool) -> bool {
        if let Some(since) = self.since.take() {
            if since.elapsed() > LATEST {
                self.skip = self.next;
                self.next = (self.next * 2).min(MOST);
            } else {
                self.next = (self.next / 2).max(FEWEST);
            }
            return false;
        }
        if !wanted {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        self.since = Some(Instant::now());
        true
    }
}

// ===== impl Tap =====

impl Tap {
    pub(super) fn new(io: Io, task: &Arc<Task>) -> Tap {
        Tap {
            io,
            task: Arc::clone(task),
            heard: Arc::new(AtomicBool::new(false)),
            back: None,
            dry: u64::MAX,
        }
    }

    /// Gives the byte stream back when the tap is dropped: an engine that is done with a connection keeps what
    /// it ran on to itself.
    pub(super) fn back(&mut self) -> oneshot::Receiver<Io> {
        let (back, given) = oneshot::channel();
        self.back = Some(back);
        given
    }

    /// Set whenever bytes arrive.
    pub(super) fn heard(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.heard)
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        if let Some(back) = self.back.take() {
            let io = std::mem::replace(&mut self.io, Io::new(tokio::io::empty()));
            // Nobody waits for it where the connection was cut: then it is closed here.
            let _ = back.send(io);
        }
    }
}

impl AsyncRead for Tap {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let turn = self.task.turn.load(Ordering::Relaxed);
        if self.dry == turn {
            // The task's waker is with the byte stream already.
            return Poll::Pending;
        }
        let waker = self.task.waker();
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(&mut Context::from_waker(&waker), buf);
        if polled.is_pending() {
            self.dry = turn;
        }
        if buf.filled().len() > before {
            self.heard.store(true, Ordering::Relaxed);
        }
        polled
    }
}

impl AsyncWrite for Tap {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let waker = self.task.waker();
        Pin::new(&mut self.io).poll_write(&mut Context::from_waker(&waker), buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let waker = self.task.waker();
        Pin::new(&mut self.io).poll_write_vectored(&mut Context::from_waker(&waker), bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let waker = self.task.waker();
        Pin::new(&mut self.io).poll_flush(&mut Context::from_waker(&waker))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let waker = self.task.waker();
        Pin::new(&mut self.io).poll_shutdown(&mut Context::from_waker(&waker))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_signal_wakes_once_and_not_within_a_turn() {
        let count = Arc::new(Count::default());
        let waker = Waker::from(count.clone());
        let woken = || count.0.load(Ordering::SeqCst);
        let (task, cx) = (Task::new(), Context::from_waker(&waker));
        let signal = Signal::new(&task);
        task.enter(&cx);
        signal.raise();
        task.leave();
        assert_eq!(woken(), 0);
        assert!(signal.take() && !signal.take());
        signal.raise();
        signal.raise();
        assert_eq!(woken(), 1);
        assert!(signal.is_raised());
    }

    #[test]
    fn a_turn_is_put_off_once_and_not_after_a_late_one() {
        let mut gather = Gather::new();
        assert!(!gather.put_off(false));
        assert!(gather.put_off(true));
        assert!(!gather.put_off(true), "it was put off already");
        for skipped in [FEWEST, FEWEST * 2, FEWEST * 4] {
            assert!(gather.put_off(true));
            gather.since = Instant::now().checked_sub(2 * LATEST);
            assert!(!gather.put_off(true));
            for _ in 0..skipped {
                assert!(!gather.put_off(true));
            }
        }
        assert!(gather.put_off(true));
    }
}
