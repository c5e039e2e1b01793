//! [`Watched`]: a connection that is closed when its peer keeps it waiting.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, sleep};

use crate::exchange::Io;
use crate::lock::lock;

/// What a server's connection does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// It waits for a request.
    Idle,
    /// A request has begun, and its head is not there yet.
    Head,
    /// A request is worked on.
    Busy,
}

/// What a connection does, and since when. Clones are one.
#[derive(Clone)]
pub(super) struct Activity(Arc<Mutex<(Phase, Instant)>>);

/// A byte stream that tells when a request begins.
pub(super) struct Watched {
    io: Io,
    activity: Activity,
}

// ===== impl Activity =====

impl Activity {
    /// A connection whose first request must come as soon as its head must.
    pub(super) fn new() -> Activity {
        Activity(Arc::new(Mutex::new((Phase::Head, Instant::now()))))
    }

    pub(super) fn set(&self, phase: Phase) {
        *lock(&self.0) = (phase, Instant::now());
    }

    fn begin(&self) {
        let mut now = lock(&self.0);
        if now.0 == Phase::Idle {
            *now = (Phase::Head, Instant::now());
        }
    }

    /// Resolves when the peer has been idle, or has sent a head, for longer than it may. Looks now and then,
    /// so that a request costs no timer: a quarter of the shorter time late at most.
    pub(super) async fn overdue(&self, head: Duration, idle: Duration) -> Phase {
        let pause = (head.min(idle) / 4).max(Duration::from_millis(10));
        loop {
            sleep(pause).await;
            let (phase, since) = *lock(&self.0);
            let may = match phase {
                Phase::Idle => idle,
                Phase::Head => head,
                Phase::Busy => continue,
            };
            if since.elapsed() >= may {
                return phase;
            }
        }
    }
}

// ===== impl Watched =====

impl Watched {
    pub(super) fn new(io: Io, activity: Activity) -> Watched {
        Watched { io, activity }
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.activity.begin();
        }
        polled
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: Duration = Duration::from_secs(10);
    const IDLE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn the_peer_may_take_so_long_and_no_longer() {
        let activity = Activity::new();
        let began = Instant::now();
        assert_eq!(activity.overdue(HEAD, IDLE).await, Phase::Head);
        assert_eq!(began.elapsed().as_secs(), 10);
        activity.set(Phase::Idle);
        let began = Instant::now();
        assert_eq!(activity.overdue(HEAD, IDLE).await, Phase::Idle);
        assert_eq!(began.elapsed().as_secs(), 60);
        // Work takes as long as it takes.
        activity.set(Phase::Busy);
        let overdue = tokio::time::timeout(10 * IDLE, activity.overdue(HEAD, IDLE));
        overdue.await.unwrap_err();
        // What comes meanwhile is the next request's matter.
        activity.begin();
        assert_eq!(lock(&activity.0).0, Phase::Busy);
        activity.set(Phase::Idle);
        activity.begin();
        assert_eq!(lock(&activity.0).0, Phase::Head);
    }
}
