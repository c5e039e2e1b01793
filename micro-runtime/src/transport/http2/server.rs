//! The server's end of an HTTP/2 connection.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::error::broken;
use super::head;
use super::keep::{Keep, Next};
use super::server_stream::{Body, Reply, release};
use super::turn::{Gather, Signal, Tap, Task, come_back};
use crate::exchange::{
    BoxFuture, ConnInfo, Drain, Exchange, HttpVersion, Incoming, Io, Outgoing, Serve, Work,
};
use crate::transport::{Closed, ServerLimits};

/// Serves a connection whose peer speaks HTTP/2, until it is over.
///
/// Each turn of its task reads the socket dry, polls the works of the requests that it read once each, in
/// place, and writes every reply that is ready in one go; a work that is still pending, or that asks for it
/// ([`Work::inline`]), is spawned. A turn that has polled for [`ServerLimits::turn_budget`] spawns the rest.
///
/// Dropping the future cuts the connection, as [`DrainState::Closing`](crate::exchange::DrainState::Closing)
/// does: its exchanges break and its works are dropped.
pub async fn serve(
    io: Io,
    mut info: ConnInfo,
    limits: &ServerLimits,
    app: Arc<dyn Serve>,
    drain: Drain,
) -> Closed {
    info.version = HttpVersion::Http2;
    let task = Task::new();
    let streams = Signal::new(&task);
    let waker = Waker::from(Arc::clone(&streams));
    let mut tap = Tap::new(io, &task);
    let mut back = tap.back();
    let mut keep = Keep::new(&task, tap.heard(), limits, drain);

    let mut handshake = pin!(builder(limits).handshake::<_, Bytes>(tap));
    let greeted = poll_fn(|cx| {
        task.enter(cx);
        task.leave();
        if let Next::End(closed) = keep.greeting() {
            return Poll::Ready(Err(closed));
        }
        handshake
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .map_err(|error| Closed::Broken(broken(&error)))
    });
    let mut h2 = match greeted.await {
        Ok(h2) => h2,
        Err(closed) => return closed,
    };
    keep.greeted(h2.ping_pong());

    let mut connection = Connection {
        h2,
        waker,
        streams,
        task,
        keep,
        app,
        info: Arc::new(info),
        limits,
        fresh: Vec::new(),
        works: JoinSet::new(),
        gather: Gather::new(),
        yielded: false,
        ended: false,
    };
    let closed = poll_fn(|cx| connection.turn(cx)).await;
    if connection.ended && matches!(closed, Closed::Drained | Closed::Idle) {
        let Connection { h2, keep, .. } = connection;
        drop(h2);
        if let Ok(io) = back.try_recv() {
            tokio::select! {
                _ = timeout(LINGER, linger(io)) => {}
                () = keep.further() => {}
            }
        }
    }
    closed
}

/// How long a connection that said goodbye is still listened to.
///
/// A request may have crossed the goodbye. It is not looked at, and its caller knows from the goodbye that it
/// may go elsewhere; but only if it hears that. Closed with bytes unread, or with more to come, TCP resets the
/// connection, and a caller that still writes finds that out before it reads (RFC 9112 §9.6 has the same of
/// HTTP/1). A peer that has heard closes at once.
const LINGER: Duration = Duration::from_secs(1);

/// Reads what still comes, to the peer's end.
async fn linger(mut io: Io) {
    // How it ends is nobody's matter any more.
    let _ = tokio::io::copy(&mut io, &mut tokio::io::sink()).await;
}

fn builder(limits: &ServerLimits) -> h2::server::Builder {
    let http2 = &limits.http2;
    let mut builder = h2::server::Builder::new();
    builder
        .max_concurrent_streams(http2.max_concurrent_streams)
        .initial_window_size(http2.stream_window)
        .initial_connection_window_size(http2.connection_window)
        .data_frame_budget(http2.data_frame_budget)
        .max_frame_size(http2.max_frame_size)
        .max_header_list_size(http2.max_header_list_size)
        .max_send_buffer_size(http2.max_send_buffer_size)
        .max_pending_accept_reset_streams(limits.max_pending_accept_reset_streams)
        .max_local_error_reset_streams(Some(limits.max_local_error_reset_streams));
    builder
}

/// The largest request body whose window is given back before anybody looks at it, in bytes. Each stream
/// holds at most one, so that this bounds what a connection can pile up: 200 of them are 3 MiB.
const SMALL_BODY: usize = 16 * 1024;

/// How many works a connection may have for each stream that it allows.
const WORKS_PER_STREAM: usize = 4;

struct Connection<'a> {
    h2: h2::server::Connection<Tap, Bytes>,
    /// What `h2` wakes: `streams`.
    waker: Waker,
    /// Raised when a stream was written to, or window was given back, by another task.
    streams: Arc<Signal>,
    task: Arc<Task>,
    keep: Keep,
    app: Arc<dyn Serve>,
    info: Arc<ConnInfo>,
    limits: &'a ServerLimits,
    /// The works of this turn.
    fresh: Vec<Work>,
    /// Those that were spawned; dropped with the connection.
    works: JoinSet<()>,
    gather: Gather,
    /// Whether the turn before was put off.
    yielded: bool,
    /// Whether the engine came to its end by itself, with its goodbyes said.
    ended: bool,
}

// ===== impl Connection =====

impl Connection<'_> {
    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<Closed> {
        self.task.enter(cx);
        let polled = self.poll();
        self.task.leave();
        if polled.is_pending() && (self.streams.is_raised() || self.keep.is_raised()) {
            come_back(cx);
        }
        polled
    }

    fn poll(&mut self) -> Poll<Closed> {
        match self.keep.poll(&mut self.h2) {
            Next::Go => {}
            Next::Goodbye => self.h2.graceful_shutdown(),
            Next::End(closed) => return Poll::Ready(self.cut(closed)),
        }
        while let Some(ended) = self.works.try_join_next() {
            if ended.is_err() {
                tracing::error!("a handler panicked: its exchange was reset");
            }
        }
        // Where the peer has given up on works, those get to know it before more are begun. And where one of
        // several works has written something, the others that are ready write first.
        let crowded = self.works.len() >= self.most() && !self.yielded;
        let written = self.works.len() > 1 && self.streams.is_raised();
        self.yielded = self.gather.put_off(written) || crowded;
        if self.yielded {
            self.streams.raise();
            return Poll::Pending;
        }
        let mut budget = Budget::new(self.limits.turn_budget);
        let mut busy = false;
        loop {
            self.streams.take();
            // Reads everything that there is and, when that is done, writes everything that is queued.
            loop {
                match self.h2.poll_accept(&mut Context::from_waker(&self.waker)) {
                    Poll::Ready(Some(Ok((request, respond)))) => self.begin(request, respond),
                    Poll::Ready(Some(Err(error))) => {
                        return Poll::Ready(self.keep.closed(Some(broken(&error))));
                    }
                    Poll::Ready(None) => {
                        self.ended = true;
                        return Poll::Ready(self.keep.closed(None));
                    }
                    Poll::Pending => break,
                }
            }
            if self.fresh.is_empty() {
                break;
            }
            busy = true;
            self.run(&mut budget);
        }
        if busy || self.h2.has_streams() {
            self.keep.busy();
        }
        Poll::Pending
    }

    fn most(&self) -> usize {
        self.limits.http2.max_concurrent_streams as usize
    }

    /// Takes a request in.
    fn begin(&mut self, request: http::Request<RecvStream>, respond: SendResponse<Bytes>) {
        let (parts, body) = request.into_parts();
        let mut respond = respond;
        // A work outlives its stream, if the peer resets that, until it is next polled. So it is not enough
        // that `h2` limits streams; but a peer that cancels much is honest, and gets room for it.
        if self.works.len() + self.fresh.len() >= WORKS_PER_STREAM * self.most() {
            respond.send_reset(Reason::REFUSED_STREAM);
            return;
        }
        let exchange = Exchange {
            head: head::request(&parts),
            body: incoming(body),
            reply: Outgoing::new(Reply::new(respond)),
            conn: Arc::clone(&self.info),
        };
        match catch_unwind(AssertUnwindSafe(|| self.app.call(exchange))) {
            Ok(work) => self.fresh.push(work),
            Err(_) => tracing::error!("a handler panicked: its exchange was reset"),
        }
    }

    /// Begins with the works of this turn.
    fn run(&mut self, budget: &mut Budget) {
        let mut fresh = std::mem::take(&mut self.fresh);
        budget.begin();
        for Work { run, inline } in fresh.drain(..) {
            if !inline || budget.spent {
                self.works.spawn(run);
                continue;
            }
            if let Some(pending) = poll_once(run) {
                self.works.spawn(pending);
            }
            budget.charge();
        }
        self.fresh = fresh;
    }

    /// Ends it at once: one attempt to say goodbye, nothing that waits.
    fn cut(&mut self, closed: Closed) -> Closed {
        self.fresh.clear();
        self.works.abort_all();
        self.h2.abrupt_shutdown(Reason::NO_ERROR);
        let _ = self.h2.poll_closed(&mut Context::from_waker(&self.waker));
        closed
    }
}

/// What one turn may spend on works in the connection's own task.
struct Budget {
    began: Option<Instant>,
    most: Duration,
    spent: bool,
}

// ===== impl Budget =====

impl Budget {
    fn new(most: Duration) -> Budget {
        Budget {
            began: None,
            most,
            spent: false,
        }
    }

    /// A turn without works never looks at the clock.
    fn begin(&mut self) {
        self.began.get_or_insert_with(Instant::now);
    }

    fn charge(&mut self) {
        let over = self.began.is_some_and(|began| began.elapsed() >= self.most);
        self.spent = self.spent || over;
    }
}

/// Polls a work for the first time; gives it back if it is not done.
fn poll_once(mut run: BoxFuture<'static, ()>) -> Option<BoxFuture<'static, ()>> {
    // Nobody needs to be woken: a work that is pending is polled again at once, by its own task.
    let mut cx = Context::from_waker(Waker::noop());
    match catch_unwind(AssertUnwindSafe(|| run.as_mut().poll(&mut cx))) {
        Ok(Poll::Pending) => Some(run),
        Ok(Poll::Ready(())) => None,
        Err(_) => {
            tracing::error!("a handler panicked: its exchange was reset");
            None
        }
    }
}

/// The frames of a request. A request that came whole, with one small frame, needs no engine any more.
fn incoming(mut body: RecvStream) -> Incoming {
    if body.is_end_stream() {
        return Incoming::whole(Bytes::new());
    }
    // Read together with its head, it lies ready. What is pending registers again when it is asked for.
    let first = body.poll_data(&mut Context::from_waker(Waker::noop()));
    match first {
        Poll::Pending => Incoming::new(Body::new(body, None)),
        Poll::Ready(Some(Ok(bytes))) if body.is_end_stream() && bytes.len() <= SMALL_BODY => {
            release(&mut body, bytes.len());
            Incoming::whole(bytes)
        }
        Poll::Ready(first) => Incoming::new(Body::new(body, Some(first))),
    }
}
