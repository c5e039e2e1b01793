//! The client's end of an HTTP/2 connection.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use h2::SendStream;
use h2::client::{ResponseFuture, SendRequest};

use super::client_stream::{Call, Hold, Reply, Request};
use super::error::broken;
use super::head;
use super::pulse::Pulse;
use super::turn::{Gather, Signal, Tap, Task, come_back};
use crate::exchange::{
    BoxFuture, Broken, ConnInfo, Connection, Dialled, HttpVersion, Incoming, Io, Load, NotOpened,
    NotOpenedWhy, OutHead, Outgoing, Processed, Why,
};
use crate::lock::lock;
use crate::transport::ClientLimits;
use crate::transport::gauge::Gauge;

/// What the engine takes for the peer's maximum until the peer has said one. Nothing that a peer can say.
const UNKNOWN: usize = usize::MAX - 1;

/// Makes a connection to a peer that speaks HTTP/2, over a byte stream that reaches it; waits for its
/// greeting, so that a peer that speaks something else is found out before any call is sent.
///
/// The connection runs in a task of its own, spawned here: it reads, and what the calls of many tasks have
/// queued it writes together. Dropping the future closes the byte stream.
///
/// # Errors
/// The peer does not answer in HTTP/2 within [`ClientLimits::connect_timeout`], or at all. Nothing was
/// processed.
///
/// # Panics
/// Outside a tokio runtime.
pub async fn connect(
    io: Io,
    mut info: ConnInfo,
    limits: &ClientLimits,
) -> Result<Connection, Broken> {
    info.version = HttpVersion::Http2;
    let task = Task::new();
    let calls = Signal::new(&task);
    let waker = Waker::from(Arc::clone(&calls));
    let tap = Tap::new(io, &task);
    let heard = tap.heard();

    let greeting = async {
        let mut handshake = pin!(builder(limits).handshake::<_, Bytes>(tap));
        let (send, h2) = poll_fn(|cx| {
            task.enter(cx);
            task.leave();
            handshake.as_mut().poll(&mut Context::from_waker(&waker))
        })
        .await
        .map_err(|error| broken(&error))?;
        let mut h2 = h2;
        let mut driver = Driver {
            pulse: Pulse::new(&task, heard, h2.ping_pong(), limits),
            h2,
            waker: waker.clone(),
            calls,
            task: Arc::clone(&task),
            shared: Arc::new(Shared {
                info,
                send: Mutex::new(Some(send)),
                gauge: Gauge::new(UNKNOWN, limits.http2.max_concurrent_streams as usize),
            }),
            gather: Gather::new(),
        };
        poll_fn(|cx| driver.greet(cx)).await?;
        Ok(driver)
    };
    let driver = match tokio::time::timeout(limits.connect_timeout, greeting).await {
        Ok(greeted) => greeted.map_err(Broken::unprocessed)?,
        Err(_) => {
            return Err(Broken::new(Why::Timeout).unprocessed().with_detail(format!(
                "expected the HTTP/2 greeting of a server within {:?}, found none",
                limits.connect_timeout
            )));
        }
    };
    let client = Client(Arc::clone(&driver.shared));
    tokio::spawn(driver);
    Ok(Connection::new(Arc::new(client)))
}

fn builder(limits: &ClientLimits) -> h2::client::Builder {
    let http2 = &limits.http2;
    let mut builder = h2::client::Builder::new();
    builder
        .enable_push(false)
        .initial_max_send_streams(UNKNOWN)
        .initial_window_size(http2.stream_window)
        .initial_connection_window_size(http2.connection_window)
        .data_frame_budget(http2.data_frame_budget)
        .max_frame_size(http2.max_frame_size)
        .max_header_list_size(http2.max_header_list_size)
        .max_send_buffer_size(http2.max_send_buffer_size)
        // It counts, for the life of the connection, what arrives for streams that were given up and
        // forgotten: thousands of cancelled calls would end it (hyperium/h2#856).
        .max_local_error_reset_streams(None)
        .max_concurrent_reset_streams(limits.max_concurrent_reset_streams);
    builder
}

/// The task of a connection.
struct Driver {
    h2: h2::client::Connection<Tap, Bytes>,
    /// What `h2` wakes: `calls`.
    waker: Waker,
    /// Raised when a call queued something, or gave window back.
    calls: Arc<Signal>,
    task: Arc<Task>,
    shared: Arc<Shared>,
    gather: Gather,
    /// `None` if no signs of life are asked for.
    pulse: Option<Pulse>,
}

/// What the task and the handles share.
#[derive(Debug)]
struct Shared {
    info: ConnInfo,
    /// Opens streams. Gone when it is to open no more: then the engine says goodbye after the last stream.
    send: Mutex<Option<SendRequest<Bytes>>>,
    gauge: Arc<Gauge>,
}

type Opened = Result<(ResponseFuture, SendStream<Bytes>), h2::Error>;

/// The handles' side; with the last of them the connection says goodbye.
struct Client(Arc<Shared>);

// ===== impl Driver =====

impl Driver {
    /// Runs until the peer's settings are there.
    fn greet(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.task.enter(cx);
        self.calls.take();
        let polled = Pin::new(&mut self.h2).poll(&mut Context::from_waker(&self.waker));
        self.task.leave();
        match polled {
            Poll::Ready(Err(error)) => return Poll::Ready(Err(broken(&error))),
            Poll::Ready(Ok(())) => {
                return Poll::Ready(Err(Broken::new(Why::Closed)
                    .with_detail("the peer closed the connection without a greeting")));
            }
            Poll::Pending => {}
        }
        if self.look() {
            return Poll::Ready(Ok(()));
        }
        if self.calls.is_raised() {
            come_back(cx);
        }
        Poll::Pending
    }

    /// Takes over what the peer has said; whether its settings are there.
    fn look(&mut self) -> bool {
        let maximum = self.h2.max_concurrent_send_streams();
        let shared = &self.shared;
        shared.gauge.allow(maximum);
        if shared.gauge.refusal().is_none() {
            // Fails once the peer has said goodbye, or has gone. A clone remembers no stream that it would
            // wait for.
            let send = shared.send().clone();
            let goodbye = send.is_some_and(|mut send| {
                let ready = send.poll_ready(&mut Context::from_waker(Waker::noop()));
                matches!(ready, Poll::Ready(Err(_)))
            });
            if goodbye {
                shared.drain();
            }
        }
        maximum != UNKNOWN
    }

    fn turn(&mut self) -> Poll<()> {
        if let Some(pulse) = &mut self.pulse
            && pulse.poll(self.shared.gauge.in_flight() > 0).is_ready()
        {
            tracing::debug!(peer = %self.shared.info.peer, "a server gave no sign of life, its connection is cut");
            return Poll::Ready(());
        }
        // Woken by one of several calls: the others that are ready come first, so that all of them leave
        // together. A call that is alone does not wait.
        let written = self.calls.is_raised() && self.shared.gauge.in_flight() > 1;
        if self.gather.put_off(written) {
            return Poll::Pending;
        }
        self.calls.take();
        match Pin::new(&mut self.h2).poll(&mut Context::from_waker(&self.waker)) {
            Poll::Pending => {
                self.look();
                Poll::Pending
            }
            Poll::Ready(ended) => {
                if let Err(error) = ended {
                    tracing::debug!(peer = %self.shared.info.peer, %error, "a connection broke");
                }
                Poll::Ready(())
            }
        }
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.task.enter(cx);
        let polled = self.turn();
        self.task.leave();
        let raised = self.calls.is_raised() || self.pulse.as_ref().is_some_and(Pulse::is_raised);
        if polled.is_pending() && raised {
            come_back(cx);
        }
        polled
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.shared.send().take();
        self.shared.gauge.close();
    }
}

// ===== impl Shared =====

impl Shared {
    fn send(&self) -> MutexGuard<'_, Option<SendRequest<Bytes>>> {
        // Held for a call's opening, which never waits.
        lock(&self.send)
    }

    /// Opens no more; without what opens streams, the engine ends after the last one.
    fn drain(&self) {
        if self.gauge.drain() {
            self.send().take();
        }
    }

    /// Opens a stream, if streams are opened at all. The outer error says what was wrong with the head.
    fn open(&self, head: &OutHead, end: bool) -> Result<Option<Opened>, String> {
        let request = head::to_request(head, self.info.secure)?;
        let mut send = self.send();
        let Some(send) = send.as_mut() else {
            return Ok(None);
        };
        let opened = send.send_request(request, end);
        // At the peer's maximum the handle remembers the last stream that it opened, and refuses to open
        // another until that one was written. How many may be open is decided by the gauge, and a clone
        // remembers nothing.
        if matches!(&opened, Err(error) if error.reason().is_none() && !error.is_io()) {
            *send = send.clone();
            return Ok(Some(
                send.send_request(head::to_request(head, self.info.secure)?, end),
            ));
        }
        Ok(Some(opened))
    }
}

// ===== impl Client =====

impl Dialled for Client {
    fn try_open(
        &self,
        head: OutHead,
        first: Option<Bytes>,
        end: bool,
    ) -> Result<(Outgoing, Incoming), NotOpened> {
        let shared = &self.0;
        let slot = match shared.gauge.slot() {
            Ok(slot) => slot,
            Err(why) => return Err(NotOpened { why, head, first }),
        };
        let empty = first.as_ref().is_none_or(Bytes::is_empty);
        let opened = match shared.open(&head, end && empty) {
            Ok(Some(opened)) => opened,
            Ok(None) => {
                let why = shared.gauge.refusal().unwrap_or(NotOpenedWhy::Closed);
                return Err(NotOpened { why, head, first });
            }
            Err(why) => return Ok(never(why)),
        };
        let (response, mut stream) = match opened {
            Ok(opened) => opened,
            // The peer has said goodbye, the connection is gone, or its stream numbers are used up.
            Err(error) => {
                tracing::debug!(peer = %shared.info.peer, %error, "a connection takes no more calls");
                shared.drain();
                let why = shared.gauge.refusal().unwrap_or(NotOpenedWhy::Draining);
                return Err(NotOpened { why, head, first });
            }
        };
        if let Some(bytes) = first.filter(|_| !empty) {
            // It fails only if the stream was closed meanwhile; the reply's half says why.
            let _ = stream.send_data(bytes, end);
        }
        Ok(if end {
            let hold = Hold::Alone { _slot: slot };
            (
                Outgoing::finished(),
                Incoming::new(Reply::new(response, hold)),
            )
        } else {
            let call = Arc::new(Call::new(stream, slot));
            let hold = Hold::Shared(Arc::clone(&call));
            (
                Outgoing::new(Request::new(call)),
                Incoming::new(Reply::new(response, hold)),
            )
        })
    }

    fn load(&self) -> Load {
        self.0.gauge.load()
    }

    fn changed(&self) -> BoxFuture<'_, ()> {
        self.0.gauge.changed()
    }

    fn drain(&self) {
        self.0.drain();
    }

    fn info(&self) -> &ConnInfo {
        &self.0.info
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.0.send().take();
    }
}

/// An exchange that cannot be sent, to anybody.
fn never(why: String) -> (Outgoing, Incoming) {
    let broken = Broken {
        processed: Processed::No,
        ..Broken::new(Why::Protocol).with_detail(why)
    };
    (Outgoing::finished(), Incoming::broken(broken))
}
