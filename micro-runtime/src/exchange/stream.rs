//! The two halves of an exchange: [`Incoming`] and [`Outgoing`].

use std::fmt;
use std::task::{Context, Poll};

use bytes::Bytes;

use super::broken::{Broken, Why, reset};
use super::head::{Head, OutFields, OutHead};

/// A part of what the peer sends. After [`Frame::Trailers`], and where [`Incoming::poll_frame`] gives `None`,
/// the peer has ended its side.
#[derive(Debug)]
pub enum Frame {
    /// Some bytes, in the pieces in which the engine has them.
    Data(Bytes),
    /// The trailers.
    Trailers(Head),
}

/// What an engine does to receive; one box per exchange, none per frame.
pub(crate) trait Receive: Send {
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, Broken>>;
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, Broken>>>;
    fn release(&mut self, bytes: usize);
}

/// What an engine does to send; one box per exchange, none per frame.
pub(crate) trait Transmit: Send {
    fn head(&mut self, head: OutHead, end: bool) -> Result<(), Broken>;
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, Broken>>;
    fn data(&mut self, bytes: Bytes, end: bool) -> Result<(), Broken>;
    fn trailers(&mut self, fields: OutFields) -> Result<(), Broken>;
    fn reset(&mut self, code: u32);
    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<Broken>;
}

/// The receiving half. On a client, dropping it before the peer's end cancels the exchange (reset code
/// CANCEL). On a server it says that the rest is not wanted: what still comes is thrown away, the reply goes
/// on, and once that is whole the peer is told to send no more (NO_ERROR).
pub struct Incoming(Source);

enum Source {
    Engine(Box<dyn Receive>),
    /// Everything was there when the exchange began: nothing is left to receive, nothing to allocate.
    Whole(Bytes),
    /// It never began.
    Broken(Broken),
}

// ===== impl Incoming =====

impl Incoming {
    pub(crate) fn new(receive: impl Receive + 'static) -> Incoming {
        Incoming(Source::Engine(Box::new(receive)))
    }

    /// Data that came whole, with the peer's end.
    #[must_use]
    pub fn whole(data: Bytes) -> Incoming {
        Incoming(Source::Whole(data))
    }

    /// An exchange that did not begin: everything asked of it gives this.
    #[must_use]
    pub fn broken(broken: Broken) -> Incoming {
        Incoming(Source::Broken(broken))
    }

    /// Client: the reply's head, once. Informational (1xx) heads are skipped. On a server it fails: the head came
    /// with the [`Exchange`](super::Exchange).
    ///
    /// # Errors
    /// The exchange broke.
    pub fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, Broken>> {
        match &mut self.0 {
            Source::Engine(engine) => engine.poll_head(cx),
            Source::Whole(_) => Poll::Ready(Err(Broken::new(Why::Protocol)
                .with_detail("the head of a request comes with its exchange"))),
            Source::Broken(broken) => Poll::Ready(Err(broken.clone())),
        }
    }

    /// The next frame; `None` at the peer's end.
    ///
    /// # Errors
    /// The exchange broke.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, Broken>>> {
        match &mut self.0 {
            Source::Engine(engine) => engine.poll_frame(cx),
            Source::Whole(data) if data.is_empty() => Poll::Ready(None),
            Source::Whole(data) => Poll::Ready(Some(Ok(Frame::Data(std::mem::take(data))))),
            Source::Broken(broken) => Poll::Ready(Some(Err(broken.clone()))),
        }
    }

    /// Gives window back for data that was taken: the peer may send as much again. What is not released
    /// stays charged to the peer.
    pub fn release(&mut self, bytes: usize) {
        if let Source::Engine(engine) = &mut self.0 {
            engine.release(bytes);
        }
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Incoming")
    }
}

/// The sending half. Dropping it unfinished resets the exchange: CANCEL on a client, INTERNAL_ERROR on a
/// server. Nothing that it does writes: it queues, and the connection flushes once a turn.
///
/// On a client, what breaks it breaks the [`Incoming`] half too, and that half knows best why: a whole reply
/// may have come before, and only there is a goodbye told from a reset.
///
/// Its two waits, for room and for the end, may be made in two tasks; both are woken.
pub struct Outgoing(Half);

enum Half {
    Engine(Box<dyn Transmit>),
    /// The whole request went out with its head: nothing is left to send, nothing to allocate.
    Finished,
}

// ===== impl Outgoing =====

impl Outgoing {
    pub(crate) fn new(transmit: impl Transmit + 'static) -> Outgoing {
        Outgoing(Half::Engine(Box::new(transmit)))
    }

    /// The half of an exchange whose sending side ended with its head.
    #[must_use]
    pub fn finished() -> Outgoing {
        Outgoing(Half::Finished)
    }

    /// Server: sends the reply's head, once; `end` makes it the whole reply (trailers-only).
    ///
    /// # Errors
    /// The exchange broke, or a head was sent before.
    pub fn head(&mut self, head: OutHead, end: bool) -> Result<(), Broken> {
        match &mut self.0 {
            Half::Engine(engine) => engine.head(head, end),
            Half::Finished => Err(over()),
        }
    }

    /// Ready when something may be sent, with how many bytes the window and the send queue take now.
    ///
    /// # Errors
    /// The exchange broke.
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, Broken>> {
        match &mut self.0 {
            Half::Engine(engine) => engine.poll_ready(cx),
            Half::Finished => Poll::Ready(Err(over())),
        }
    }

    /// Queues bytes; `end` ends this side. More than [`Outgoing::poll_ready`] gave is kept until the window
    /// opens.
    ///
    /// # Errors
    /// The exchange broke.
    pub fn data(&mut self, bytes: Bytes, end: bool) -> Result<(), Broken> {
        match &mut self.0 {
            Half::Engine(engine) => engine.data(bytes, end),
            Half::Finished => Err(over()),
        }
    }

    /// Ends this side with trailers.
    ///
    /// # Errors
    /// The exchange broke.
    pub fn trailers(self, fields: OutFields) -> Result<(), Broken> {
        match self.0 {
            Half::Engine(mut engine) => engine.trailers(fields),
            Half::Finished => Err(over()),
        }
    }

    /// Resets the exchange, both ways.
    pub fn reset(self, code: u32) {
        if let Half::Engine(mut engine) = self.0 {
            engine.reset(code);
        }
    }

    /// Ready when the peer has reset the exchange or the connection is gone: whoever works on it should stop.
    /// Pending for ever on a finished half.
    pub fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<Broken> {
        match &mut self.0 {
            Half::Engine(engine) => engine.poll_closed(cx),
            Half::Finished => Poll::Pending,
        }
    }
}

fn over() -> Broken {
    Broken::new(Why::Reset(reset::STREAM_CLOSED)).with_detail("this side of the exchange has ended")
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Outgoing")
    }
}
