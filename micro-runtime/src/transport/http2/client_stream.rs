//! The two halves of an exchange that a client opened.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream, SendStream};

use super::error::{broken, refused};
use super::head;
use super::server_stream::{ALLOWANCE, poll_frame, poll_room, release, send};
use super::wakers::Wakers;
use crate::exchange::{Broken, Frame, Head, OutFields, OutHead, Receive, Transmit, Why, reset};
use crate::lock::lock;
use crate::transport::gauge::Slot;

/// What both halves of an exchange hold while both are open.
#[derive(Debug)]
pub(super) struct Call {
    stream: Mutex<SendStream<Bytes>>,
    _slot: Slot,
}

/// What holds an exchange open, on the receiving side.
#[derive(Debug)]
pub(super) enum Hold {
    /// The request is whole. Once nobody holds the stream any more, `h2` cancels it.
    Alone { _slot: Slot },
    /// The other half may be open still.
    Shared(Arc<Call>),
}

/// The reply.
#[derive(Debug)]
pub(super) struct Reply {
    state: State,
    /// Gone with the peer's end.
    hold: Option<Hold>,
}

#[derive(Debug)]
enum State {
    Awaiting(ResponseFuture),
    /// The frames, and the head if they were asked for before it.
    Body(RecvStream, Option<Box<Head>>),
    Over,
}

/// The request, from its second part on.
#[derive(Debug)]
pub(super) struct Request {
    /// Gone with this side's end.
    call: Option<Arc<Call>>,
    allowance: usize,
    wakers: Wakers,
}

// ===== impl Call =====

impl Call {
    pub(super) fn new(stream: SendStream<Bytes>, slot: Slot) -> Call {
        Call {
            stream: Mutex::new(stream),
            _slot: slot,
        }
    }

    fn stream(&self) -> MutexGuard<'_, SendStream<Bytes>> {
        // Both halves may be in use at once; what runs under the lock is short and never waits.
        lock(&self.stream)
    }
}

// ===== impl Reply =====

impl Reply {
    pub(super) fn new(response: ResponseFuture, hold: Hold) -> Reply {
        Reply {
            state: State::Awaiting(response),
            hold: Some(hold),
        }
    }

    /// The head, when it comes.
    fn poll_response(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Head>, Broken>> {
        let State::Awaiting(response) = &mut self.state else {
            return Poll::Ready(Ok(None));
        };
        match ready!(Pin::new(response).poll(cx)) {
            Ok(response) => {
                let (parts, body) = response.into_parts();
                self.state = State::Body(body, None);
                Poll::Ready(Ok(Some(head::response(&parts))))
            }
            Err(error) => {
                self.end();
                Poll::Ready(Err(broken(&error)))
            }
        }
    }

    fn end(&mut self) {
        self.state = State::Over;
        self.hold = None;
    }
}

impl Receive for Reply {
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, Broken>> {
        if let Some(head) = ready!(self.poll_response(cx))? {
            return Poll::Ready(Ok(head));
        }
        let head = match &mut self.state {
            State::Body(_, head) => head.take(),
            _ => None,
        };
        Poll::Ready(match head {
            Some(head) => Ok(*head),
            None => Err(over("the head of the reply was taken before")),
        })
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, Broken>>> {
        let early = match ready!(self.poll_response(cx)) {
            Ok(early) => early,
            Err(error) => return Poll::Ready(Some(Err(error))),
        };
        let State::Body(stream, head) = &mut self.state else {
            return Poll::Ready(None);
        };
        if let Some(early) = early {
            *head = Some(Box::new(early));
        }
        let frame = ready!(poll_frame(stream, cx));
        if !matches!(frame, Some(Ok(Frame::Data(_)))) {
            // The stream stays while its head was not asked for: it may still be.
            if head.is_none() {
                self.state = State::Over;
            }
            self.hold = None;
        }
        Poll::Ready(frame)
    }

    fn release(&mut self, bytes: usize) {
        if let State::Body(stream, _) = &mut self.state {
            release(stream, bytes);
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(Hold::Shared(call)) = &self.hold {
            call.stream().send_reset(Reason::CANCEL);
        }
    }
}

fn over(what: &'static str) -> Broken {
    Broken::new(Why::Reset(reset::STREAM_CLOSED)).with_detail(what)
}

// ===== impl Request =====

impl Request {
    pub(super) fn new(call: Arc<Call>) -> Request {
        Request {
            call: Some(call),
            allowance: 0,
            wakers: Wakers::default(),
        }
    }

    fn call(&self) -> Result<&Arc<Call>, Broken> {
        self.call
            .as_ref()
            .ok_or_else(|| over("the request has ended"))
    }
}

impl Transmit for Request {
    fn head(&mut self, _: OutHead, _: bool) -> Result<(), Broken> {
        Err(over("the head of a request opens its exchange"))
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, Broken>> {
        if self.allowance == 0 {
            let Some(call) = &self.call else {
                return Poll::Ready(Err(over("the request has ended")));
            };
            let wakers = &mut self.wakers;
            ready!(wakers.ready(cx, |cx| poll_room(&mut call.stream(), cx)))?;
            wakers.is_ready();
            self.allowance = ALLOWANCE;
        }
        Poll::Ready(Ok(self.allowance))
    }

    fn data(&mut self, bytes: Bytes, end: bool) -> Result<(), Broken> {
        self.allowance = self.allowance.saturating_sub(bytes.len());
        let mut stream = self.call()?.stream();
        send(&mut stream, bytes, end)?;
        drop(stream);
        if end {
            self.call = None;
        }
        Ok(())
    }

    fn trailers(&mut self, fields: OutFields) -> Result<(), Broken> {
        let mut stream = self.call()?.stream();
        if stream.send_trailers(head::to_headers(&fields)).is_err() {
            return Err(refused(&mut stream));
        }
        drop(stream);
        self.call = None;
        Ok(())
    }

    fn reset(&mut self, code: u32) {
        if let Some(call) = self.call.take() {
            call.stream().send_reset(code.into());
        }
    }

    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<Broken> {
        let Some(call) = &self.call else {
            return Poll::Pending;
        };
        let reset = self.wakers.closed(cx, |cx| call.stream().poll_reset(cx));
        Poll::Ready(match ready!(reset) {
            Ok(reason) => Broken::new(Why::Reset(reason.into())),
            Err(error) => broken(&error),
        })
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        self.reset(Reason::CANCEL.into());
    }
}
