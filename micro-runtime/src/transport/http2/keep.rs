//! What keeps a server's connection: signs of life, idleness, and the way to its end.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::time::{Instant, Sleep};

use super::turn::{Signal, Tap, Task};
use crate::exchange::{BoxFuture, Broken, Drain, DrainState, Why};
use crate::transport::{Closed, ServerLimits};

/// What a connection is to do next.
pub(super) enum Next {
    /// Go on.
    Go,
    /// Say goodbye, and go on until every exchange is over.
    Goodbye,
    /// End at once.
    End(Closed),
}

/// Timers and the drain of one connection. They are looked at only when one of them woke the task, so that
/// they cost an ordinary turn nothing.
pub(super) struct Keep {
    signal: Arc<Signal>,
    waker: Waker,
    drain: BoxFuture<'static, Drain>,
    stage: Stage,
    sleep: Pin<Box<Sleep>>,
    /// Whether bytes came since this was last lowered.
    heard: Arc<AtomicBool>,
    ping: Option<PingPong>,
    interval: Option<Duration>,
    timeout: Duration,
    /// When the peer is next asked for a sign of life.
    ask_at: Option<Instant>,
    /// When it must have given one.
    answer_by: Option<Instant>,
    idle: Option<Duration>,
    last_busy: Instant,
    /// When the greeting, or the goodbye, must be over.
    over_by: Option<Instant>,
    /// The drain began within the greeting.
    early: bool,
}

/// How much longer a greeting may take once the drain has begun. A client that has our settings already may
/// have sent calls, and learns from the goodbye alone that it may go elsewhere with them: its preface is on
/// the way.
const LAST_GREETING: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Greeting,
    Serving,
    /// Goodbye was said, for want of anything to do.
    Leaving,
    /// Goodbye was said, as the server was told to.
    Draining,
}

// ===== impl Keep =====

impl Keep {
    pub(super) fn new(
        task: &Arc<Task>,
        heard: Arc<AtomicBool>,
        limits: &ServerLimits,
        drain: Drain,
    ) -> Keep {
        let signal = Signal::new(task);
        signal.raise();
        let now = Instant::now();
        Keep {
            waker: Waker::from(Arc::clone(&signal)),
            signal,
            drain: reached(drain, DrainState::Draining),
            stage: Stage::Greeting,
            sleep: Box::pin(tokio::time::sleep_until(now + limits.detect_timeout)),
            heard,
            ping: None,
            interval: limits.keep_alive_interval,
            timeout: limits.keep_alive_timeout,
            ask_at: None,
            answer_by: None,
            idle: limits.idle_timeout,
            last_busy: now,
            over_by: Some(now + limits.detect_timeout),
            early: false,
        }
    }

    pub(super) fn is_raised(&self) -> bool {
        self.signal.is_raised()
    }

    /// Before the preface was read.
    pub(super) fn greeting(&mut self) -> Next {
        if !self.signal.take() {
            return Next::Go;
        }
        let mut cx = Context::from_waker(&self.waker);
        if !self.early
            && let Poll::Ready(drain) = self.drain.as_mut().poll(&mut cx)
        {
            if drain.state() != DrainState::Draining {
                return Next::End(Closed::Cut);
            }
            self.early = true;
            // Once greeted, it is looked at again.
            self.drain = Box::pin(std::future::ready(drain));
            let by = Instant::now() + LAST_GREETING;
            if by < self.sleep.deadline() {
                self.sleep.as_mut().reset(by);
            }
        }
        match self.sleep.as_mut().poll(&mut cx) {
            Poll::Ready(()) if self.early => Next::End(Closed::Drained),
            Poll::Ready(()) => Next::End(Closed::Broken(
                Broken::new(Why::Timeout).with_detail("the peer sent no HTTP/2 preface"),
            )),
            Poll::Pending => Next::Go,
        }
    }

    /// The preface was read.
    pub(super) fn greeted(&mut self, ping: Option<PingPong>) {
        let now = Instant::now();
        self.stage = Stage::Serving;
        self.over_by = None;
        self.ping = ping;
        self.ask_at = self.interval.map(|interval| now + interval);
        self.last_busy = now;
        self.signal.raise();
    }

    /// There are exchanges.
    pub(super) fn busy(&mut self) {
        self.last_busy = Instant::now();
    }

    pub(super) fn poll(&mut self, h2: &mut h2::server::Connection<Tap, bytes::Bytes>) -> Next {
        if !self.signal.take() {
            return Next::Go;
        }
        let waker = self.waker.clone();
        let mut cx = Context::from_waker(&waker);
        let mut next = Next::Go;
        if let Poll::Ready(drain) = self.drain.as_mut().poll(&mut cx) {
            // A teller that is gone leaves an early word behind: that, too, is the end.
            if self.stage == Stage::Draining || drain.state() != DrainState::Draining {
                return Next::End(Closed::Cut);
            }
            self.stage = Stage::Draining;
            self.over_by = None;
            next = Next::Goodbye;
            self.drain = reached(drain, DrainState::Closing);
            // Registers; if the end has come already, the signal is up again.
            if let Poll::Ready(drain) = self.drain.as_mut().poll(&mut cx) {
                drop(drain);
                return Next::End(Closed::Cut);
            }
        }
        if self.answer_by.is_some()
            && let Some(ping) = &mut self.ping
            && ping.poll_pong(&mut cx).is_ready()
        {
            self.answer_by = None;
        }
        loop {
            match self.due(h2.has_streams()) {
                Next::End(closed) => return Next::End(closed),
                Next::Goodbye => next = Next::Goodbye,
                Next::Go => {}
            }
            let Some(at) = self.deadline() else {
                return next;
            };
            if self.sleep.deadline() != at {
                self.sleep.as_mut().reset(at);
            }
            if self.sleep.as_mut().poll(&mut cx).is_pending() {
                return next;
            }
        }
    }

    /// The next moment at which something is due.
    fn deadline(&self) -> Option<Instant> {
        let idle = match self.stage {
            Stage::Serving => self.idle.map(|idle| self.last_busy + idle),
            _ => None,
        };
        [self.ask_at, self.answer_by, self.over_by, idle]
            .into_iter()
            .flatten()
            .min()
    }

    /// Does what is due now.
    fn due(&mut self, busy: bool) -> Next {
        let now = Instant::now();
        let past = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if past(self.over_by) {
            return Next::End(Closed::Idle);
        }
        if past(self.answer_by) {
            if !self.heard.swap(false, Ordering::Relaxed) {
                return Next::End(Closed::Unanswered);
            }
            // Anything that came is a sign of life.
            self.answer_by = None;
        }
        if past(self.ask_at) {
            self.ask_at = self.interval.map(|interval| now + interval);
            if !self.heard.swap(false, Ordering::Relaxed)
                && self.answer_by.is_none()
                && let Some(ping) = &mut self.ping
                && ping.send_ping(Ping::opaque()).is_ok()
            {
                self.answer_by = Some(now + self.timeout);
                // Registers for the answer.
                let _ = ping.poll_pong(&mut Context::from_waker(&self.waker));
            }
        }
        if busy {
            self.last_busy = now;
        } else if self.stage == Stage::Serving
            && self.idle.is_some_and(|idle| self.last_busy + idle <= now)
        {
            self.stage = Stage::Leaving;
            self.over_by = Some(now + self.timeout);
            return Next::Goodbye;
        }
        Next::Go
    }

    /// Resolves when the drain goes further than it has.
    pub(super) async fn further(self) {
        self.drain.await;
    }

    /// How a connection that ended by itself ended.
    pub(super) fn closed(&self, error: Option<Broken>) -> Closed {
        match (error, self.stage) {
            (None, Stage::Draining) => Closed::Drained,
            (None, Stage::Leaving) => Closed::Idle,
            (None, _) => Closed::ByPeer,
            (Some(error), _) => Closed::Broken(error),
        }
    }
}

/// Resolves when a state is reached, with the drain itself.
fn reached(mut drain: Drain, state: DrainState) -> BoxFuture<'static, Drain> {
    Box::pin(async move {
        drain.reached(state).await;
        drain
    })
}
