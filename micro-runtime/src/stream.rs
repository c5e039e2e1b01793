//! [`Inbound`] and [`Outbound`]: the two sides of a stream of messages, on clients and servers alike.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;
use futures_sink::Sink;

use crate::metadata::Metadata;
use crate::status::{Result, Status};

/// Where the messages of an [`Inbound`] come from; one box per stream, none per message.
pub(crate) trait Source<T>: Send {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<T>>>;

    /// The leading metadata of the peer.
    fn poll_headers(&mut self, cx: &mut Context<'_>) -> Poll<Result<&Metadata>>;

    /// The trailing metadata, once the end was reached.
    fn trailers(&self) -> Option<&Metadata>;
}

/// Where the messages of an [`Outbound`] go to.
pub(crate) trait Target<T, R>: Send {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>>;
    fn send(&mut self, message: T) -> Result<()>;
    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<R>>;
}

/// Messages that come in.
///
/// Also a [`Stream`], whose items are what [`Inbound::recv`] gives. Messages are read when they are asked
/// for: one that is not waits in the peer's window, and a slow reader slows the sender.
///
/// Dropping it on a client before its end cancels the call. On a server it says that further requests are
/// not wanted; the call goes on.
pub struct Inbound<T> {
    source: Box<dyn Source<T>>,
    ended: bool,
}

// ===== impl Inbound =====

impl<T> Inbound<T> {
    pub(crate) fn new(source: impl Source<T> + 'static) -> Inbound<T> {
        Inbound {
            source: Box::new(source),
            ended: false,
        }
    }

    /// The next message; `None` when the peer has ended its stream, cleanly.
    ///
    /// # Cancel safety
    /// Dropping the future loses no message.
    ///
    /// # Errors
    /// The status with which the call ended, or what broke it. Nothing comes after an error.
    pub async fn recv(&mut self) -> Result<Option<T>> {
        poll_fn(|cx| self.poll_recv(cx)).await.transpose()
    }

    /// The leading metadata of the peer; on a server that of the request, at once. On a client it waits for
    /// the peer's headers, which some servers (go-micro's) send with their first message only.
    ///
    /// # Errors
    /// The call failed before headers came.
    pub async fn headers(&mut self) -> Result<Metadata> {
        poll_fn(|cx| self.source.poll_headers(cx).map_ok(Metadata::clone)).await
    }

    /// The trailing metadata; `None` before the end was reached, and where the peer sent none.
    #[must_use]
    pub fn trailers(&self) -> Option<&Metadata> {
        self.source.trailers()
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<T>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let next = self.source.poll_next(cx);
        self.ended = matches!(next, Poll::Ready(None | Some(Err(_))));
        next
    }
}

impl<T> Stream for Inbound<T> {
    type Item = Result<T>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<T>>> {
        self.poll_recv(cx)
    }
}

impl<T> fmt::Debug for Inbound<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbound").finish_non_exhaustive()
    }
}

/// Messages that go out.
///
/// Also a [`Sink`]. Sending waits while the peer's window, or the send queue, is full.
///
/// On a client it must be [finished](Outbound::finish): dropping it unfinished cancels the call, since a task
/// that dies must not look like a complete upload. On a server the handler's return ends the stream, and
/// dropping it before is no error.
pub struct Outbound<T, R = ()> {
    target: Box<dyn Target<T, R>>,
}

// ===== impl Outbound =====

impl<T, R> Outbound<T, R> {
    pub(crate) fn new(target: impl Target<T, R> + 'static) -> Outbound<T, R> {
        Outbound {
            target: Box::new(target),
        }
    }

    /// Sends a message: waits until there is room for it, and hands it to the connection.
    ///
    /// # Cancel safety
    /// Dropping the future before it resolves sends nothing of the message.
    ///
    /// # Errors
    /// The status of a call that is over; INTERNAL if the message cannot be encoded.
    pub async fn send(&mut self, message: T) -> Result<()> {
        poll_fn(|cx| self.target.poll_ready(cx)).await?;
        self.target.send(message)
    }

    /// Ends this side of the stream. For a client-streaming call it brings the reply; for a bidirectional
    /// one it resolves when the end is handed to the connection, and replies go on. On a server it resolves
    /// when everything is handed to the connection.
    ///
    /// # Errors
    /// The status with which the call failed.
    pub async fn finish(mut self) -> Result<R> {
        poll_fn(|cx| self.target.poll_finish(cx)).await
    }
}

impl<T, R> Sink<T> for Outbound<T, R> {
    type Error = Status;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.target.poll_ready(cx)
    }

    fn start_send(mut self: Pin<&mut Self>, message: T) -> Result<()> {
        self.target.send(message)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.target.poll_ready(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.target.poll_finish(cx).map_ok(drop)
    }
}

impl<T, R> fmt::Debug for Outbound<T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbound").finish_non_exhaustive()
    }
}
