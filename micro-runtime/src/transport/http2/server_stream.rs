//! The two halves of an exchange that a server was asked.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};

use super::error::{broken, refused};
use super::head;
use super::wakers::Wakers;
use crate::exchange::{Broken, Frame, Head, OutFields, OutHead, Receive, Transmit, Why, reset};

/// How many bytes a stream with room is said to take. The window decides whether there is room; what is
/// queued beyond it waits in the stream's own queue, which is at most the send buffer and this much more.
pub(super) const ALLOWANCE: usize = 16 * 1024;

/// RFC 9113 §6.9.1: the largest window.
const LONGEST_PIECE: usize = (1 << 31) - 1;

/// The request's frames.
#[derive(Debug)]
pub(super) struct Body {
    stream: RecvStream,
    /// What was polled already; `Some(None)` is the end of the data.
    first: Option<Option<Result<Bytes, h2::Error>>>,
    ended: bool,
}

/// The reply.
#[derive(Debug)]
pub(super) struct Reply {
    state: State,
    allowance: usize,
    wakers: Wakers,
}

#[derive(Debug)]
enum State {
    Awaiting(SendResponse<Bytes>),
    Streaming(SendStream<Bytes>),
    Over,
}

// ===== impl Body =====

impl Body {
    pub(super) fn new(stream: RecvStream, first: Option<Option<Result<Bytes, h2::Error>>>) -> Body {
        Body {
            stream,
            first,
            ended: false,
        }
    }
}

impl Receive for Body {
    fn poll_head(&mut self, _: &mut Context<'_>) -> Poll<Result<Head, Broken>> {
        Poll::Ready(Err(
            Broken::new(Why::Protocol).with_detail("the head of a request comes with its exchange")
        ))
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, Broken>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let frame = match self.first.take() {
            Some(Some(Ok(bytes))) if !bytes.is_empty() => Some(Ok(Frame::Data(bytes))),
            Some(Some(Err(error))) => Some(Err(broken(&error))),
            // After the end of the data, and after an empty frame, the stream goes on by itself.
            Some(_) | None => ready!(poll_frame(&mut self.stream, cx)),
        };
        self.ended = !matches!(frame, Some(Ok(Frame::Data(_))));
        Poll::Ready(frame)
    }

    fn release(&mut self, bytes: usize) {
        release(&mut self.stream, bytes);
    }
}

/// The next frame of a stream; `None` at its end.
pub(super) fn poll_frame(
    stream: &mut RecvStream,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame, Broken>>> {
    loop {
        return Poll::Ready(match ready!(stream.poll_data(cx)) {
            // An empty frame says nothing; how many may come is the engine's to limit.
            Some(Ok(bytes)) if bytes.is_empty() => continue,
            Some(Ok(bytes)) => Some(Ok(Frame::Data(bytes))),
            Some(Err(error)) => Some(Err(broken(&error))),
            None => match ready!(stream.poll_trailers(cx)) {
                Ok(Some(fields)) => Some(Ok(Frame::Trailers(head::trailers(&fields)))),
                Ok(None) => None,
                Err(error) => Some(Err(broken(&error))),
            },
        });
    }
}

/// Gives window back.
pub(super) fn release(stream: &mut RecvStream, bytes: usize) {
    if let Err(error) = stream.flow_control().release_capacity(bytes) {
        tracing::debug!(%error, bytes, "more window was released than was taken");
    }
}

// ===== impl Reply =====

impl Reply {
    pub(super) fn new(respond: SendResponse<Bytes>) -> Reply {
        Reply {
            state: State::Awaiting(respond),
            allowance: 0,
            wakers: Wakers::default(),
        }
    }

    fn stream(&mut self) -> Result<&mut SendStream<Bytes>, Broken> {
        match &mut self.state {
            State::Streaming(stream) => Ok(stream),
            State::Awaiting(_) => Err(misuse("the head of a reply comes before its messages")),
            State::Over => Err(misuse("the reply has ended")),
        }
    }
}

fn misuse(what: &'static str) -> Broken {
    Broken::new(Why::Reset(reset::STREAM_CLOSED)).with_detail(what)
}

/// Queues data on a stream.
pub(super) fn send(stream: &mut SendStream<Bytes>, bytes: Bytes, end: bool) -> Result<(), Broken> {
    // A frame that says nothing, and of which a peer on `h2` takes a hundred in the life of a connection.
    if bytes.is_empty() && !end {
        return Ok(());
    }
    // What the largest window there is could never take at once.
    if bytes.len() > LONGEST_PIECE {
        return Err(Broken::new(Why::Limit("2 GiB in one piece")));
    }
    stream.send_data(bytes, end).map_err(|_| refused(stream))
}

/// Ready when a stream has room.
pub(super) fn poll_room(
    stream: &mut SendStream<Bytes>,
    cx: &mut Context<'_>,
) -> Poll<Result<(), Broken>> {
    // One byte more than what is queued: more would be taken from the connection's window, which all of its
    // streams share, and kept for as long as nothing is sent.
    stream.reserve_capacity(1);
    loop {
        if stream.capacity() > 0 {
            return Poll::Ready(Ok(()));
        }
        match ready!(stream.poll_capacity(cx)) {
            Some(Ok(_)) => {}
            Some(Err(error)) => return Poll::Ready(Err(broken(&error))),
            None => return Poll::Ready(Err(refused(stream))),
        }
    }
}

impl Transmit for Reply {
    fn head(&mut self, out: OutHead, end: bool) -> Result<(), Broken> {
        let State::Awaiting(respond) = &mut self.state else {
            return Err(misuse("the head of a reply is sent once"));
        };
        match respond.send_response(head::to_response(&out), end) {
            Ok(_) if end => self.state = State::Over,
            Ok(stream) => self.state = State::Streaming(stream),
            Err(error) => {
                let reset = respond.poll_reset(&mut Context::from_waker(std::task::Waker::noop()));
                return Err(match reset {
                    Poll::Ready(Ok(reason)) => Broken::new(Why::Reset(reason.into())),
                    Poll::Ready(Err(error)) => broken(&error),
                    Poll::Pending => broken(&error),
                });
            }
        }
        Ok(())
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, Broken>> {
        if self.allowance == 0 {
            let State::Streaming(stream) = &mut self.state else {
                return Poll::Ready(Err(misuse("the reply has ended, or has not begun")));
            };
            ready!(self.wakers.ready(cx, |cx| poll_room(stream, cx)))?;
            self.wakers.is_ready();
            self.allowance = ALLOWANCE;
        }
        Poll::Ready(Ok(self.allowance))
    }

    fn data(&mut self, bytes: Bytes, end: bool) -> Result<(), Broken> {
        self.allowance = self.allowance.saturating_sub(bytes.len());
        send(self.stream()?, bytes, end)?;
        if end {
            self.state = State::Over;
        }
        Ok(())
    }

    fn trailers(&mut self, fields: OutFields) -> Result<(), Broken> {
        let stream = self.stream()?;
        if stream.send_trailers(head::to_headers(&fields)).is_err() {
            return Err(refused(stream));
        }
        self.state = State::Over;
        Ok(())
    }

    fn reset(&mut self, code: u32) {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Awaiting(mut respond) => respond.send_reset(code.into()),
            State::Streaming(mut stream) => stream.send_reset(code.into()),
            State::Over => {}
        }
    }

    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<Broken> {
        let state = &mut self.state;
        let reset = self.wakers.closed(cx, |cx| match state {
            State::Awaiting(respond) => respond.poll_reset(cx),
            State::Streaming(stream) => stream.poll_reset(cx),
            State::Over => Poll::Pending,
        });
        Poll::Ready(match ready!(reset) {
            Ok(reason) => Broken::new(Why::Reset(reason.into())),
            Err(error) => broken(&error),
        })
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.reset(Reason::INTERNAL_ERROR.into());
    }
}
