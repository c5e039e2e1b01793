//! What keeps a client's connection: signs of life of the server while calls are under way.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::time::{Instant, Sleep};

use super::turn::{Signal, Task};
use crate::transport::ClientLimits;

/// The timer of one connection. It is looked at only when it woke the task.
pub(super) struct Pulse {
    signal: Arc<Signal>,
    waker: Waker,
    sleep: Pin<Box<Sleep>>,
    /// Whether bytes came since this was last lowered.
    heard: Arc<AtomicBool>,
    ping: PingPong,
    interval: Duration,
    timeout: Duration,
    /// A ping is under way: the timer is that of its answer.
    asked: bool,
    /// The last half of the interval was silent.
    silent: bool,
}

// ===== impl Pulse =====

impl Pulse {
    /// `None` where no signs of life are wanted.
    pub(super) fn new(
        task: &Arc<Task>,
        heard: Arc<AtomicBool>,
        ping: Option<PingPong>,
        limits: &ClientLimits,
    ) -> Option<Pulse> {
        let interval = limits.keep_alive_interval?;
        let signal = Signal::new(task);
        signal.raise();
        Some(Pulse {
            waker: Waker::from(Arc::clone(&signal)),
            signal,
            sleep: Box::pin(tokio::time::sleep(interval / 2)),
            heard,
            ping: ping?,
            interval,
            timeout: limits.keep_alive_timeout,
            asked: false,
            silent: false,
        })
    }

    pub(super) fn is_raised(&self) -> bool {
        self.signal.is_raised()
    }

    /// Ready when the server gave no sign of life in time. It is asked for one only while it has calls:
    /// others count pings without any as a nuisance (gRPC A8).
    pub(super) fn poll(&mut self, busy: bool) -> Poll<()> {
        if !self.signal.take() {
            return Poll::Pending;
        }
        let waker = self.waker.clone();
        let mut cx = Context::from_waker(&waker);
        if self.asked && self.ping.poll_pong(&mut cx).is_ready() {
            self.asked = false;
            self.silent = false;
            // The answer itself is no reason to put the next question off.
            self.heard.store(false, Ordering::Relaxed);
            self.sleep
                .as_mut()
                .reset(Instant::now() + self.interval / 2);
        }
        while self.sleep.as_mut().poll(&mut cx).is_ready() {
            // Anything that came is a sign of life. It is looked for twice an interval, so that an interval of
            // silence is noticed at most half of one late.
            let silent = !self.heard.swap(false, Ordering::Relaxed);
            if self.asked && silent {
                return Poll::Ready(());
            }
            self.asked = silent && self.silent && busy;
            self.silent = silent;
            if self.asked {
                // It fails if the one before is still unanswered, whose answer is as good.
                let _ = self.ping.send_ping(Ping::opaque());
            }
            let wait = if self.asked {
                self.timeout
            } else {
                self.interval / 2
            };
            self.sleep.as_mut().reset(Instant::now() + wait);
            if self.asked {
                // Registers for the answer; it cannot be there yet.
                let _ = self.ping.poll_pong(&mut cx);
            }
        }
        Poll::Pending
    }
}
