//! The two halves of a bidirectional call, which may live in two tasks.
//!
//! They share the peer's side of the exchange: its status is what ends both. Whoever finds the call over wakes
//! the other.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;

use super::{answered, reached, report};
use crate::client::limit::Limit;
use crate::client::plan::Opened;
use crate::client::pool::Pool;
use crate::client::receive::{Failure, Receiving};
use crate::codec::frame::{PREFIX, seal};
use crate::codec::{Codec, Encoding};
use crate::exchange::{Broken, Outgoing};
use crate::metadata::Metadata;
use crate::selector::Picked;
use crate::status::{Result, Status};
use crate::stream::{Inbound, Outbound, Source, Target};

/// So many bytes of replies are set aside at most, when the sending half looks for the status behind them.
const ASIDE: usize = 1024 * 1024;

struct Shared(Mutex<State>);

struct State {
    /// `None` once the call is over.
    receiving: Option<Receiving>,
    /// Replies that stood before the status.
    aside: VecDeque<Bytes>,
    over: Option<Result<()>>,
    picked: Option<Picked<Pool>>,
    receiver: Option<Waker>,
    sender: Option<Waker>,
    headers: Metadata,
    trailers: Option<Metadata>,
}

struct Replies<Rsp> {
    codec: Codec<Rsp>,
    encoding: Encoding,
    limit: Limit,
    shared: Arc<Shared>,
    headers: Option<Metadata>,
    trailers: Option<Metadata>,
}

struct Requests<Req> {
    codec: Codec<Req>,
    encoding: Encoding,
    limit: Limit,
    shared: Arc<Shared>,
    /// `None` once it was ended, or broke.
    out: Option<Outgoing>,
    finished: bool,
}

pub(in crate::client) fn duplex<Req: 'static, Rsp: 'static>(
    mut opened: Opened,
    _: Option<Bytes>,
    (request, response): (Codec<Req>, Codec<Rsp>),
) -> (Outbound<Req>, Inbound<Rsp>) {
    reached(&mut opened);
    let encoding = opened.plan.target.settings().encoding.clone();
    let limit = opened.plan.limit;
    let shared = Arc::new(Shared(Mutex::new(State {
        receiving: Some(opened.receiving),
        aside: VecDeque::new(),
        over: None,
        picked: Some(opened.picked),
        receiver: None,
        sender: None,
        headers: Metadata::new(),
        trailers: None,
    })));
    let requests = Requests {
        codec: request,
        encoding: encoding.clone(),
        limit: limit.twin(),
        shared: Arc::clone(&shared),
        out: Some(opened.out),
        finished: false,
    };
    let replies = Replies {
        codec: response,
        encoding,
        limit,
        shared,
        headers: None,
        trailers: None,
    };
    (Outbound::new(requests), Inbound::new(replies))
}

// ===== impl Shared =====

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// ===== impl State =====

impl State {
    /// The call is over. What is not read yet of the peer's side is given up, which resets the exchange
    /// unless the peer had ended it.
    fn end(&mut self, result: Result<()>) {
        if self.over.is_some() {
            return;
        }
        self.over = Some(result);
        self.picked = None;
        if let Some(receiving) = self.receiving.take() {
            let (headers, trailers) = receiving.into_metadata();
            self.headers = headers;
            self.trailers = Some(trailers);
        }
        for waker in [self.receiver.take(), self.sender.take()]
            .into_iter()
            .flatten()
        {
            waker.wake();
        }
    }

    fn fail(&mut self, failure: &Failure, limit: &Limit) {
        let status = match &self.picked {
            Some(picked) => failure.at(picked),
            None => failure.status.clone(),
        };
        report(self.picked.take(), failure);
        self.end(Err(limit.correct(status)));
    }

    /// The next message from the peer, if the call is not over.
    fn poll_message(&mut self, limit: &Limit, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let Some(receiving) = &mut self.receiving else {
            return Poll::Ready(None);
        };
        match ready!(receiving.poll_message(cx)) {
            Some(Ok(bytes)) => return Poll::Ready(Some(bytes)),
            Some(Err(failure)) => self.fail(&failure, limit),
            None => self.end(Ok(())),
        }
        Poll::Ready(None)
    }

    /// The sending half broke: the reason lies on the peer's side if it is anywhere. Replies that stand before
    /// it are set aside for the receiving half, whose waker stays the one that is woken.
    fn look_for_status(&mut self, broken: &Broken, limit: &Limit) {
        let waker = self
            .receiver
            .clone()
            .unwrap_or_else(|| Waker::noop().clone());
        let mut cx = Context::from_waker(&waker);
        let mut bytes = 0;
        while bytes < ASIDE
            && let Poll::Ready(Some(message)) = self.poll_message(limit, &mut cx)
        {
            bytes += message.len();
            self.aside.push_back(message);
        }
        if self.over.is_none() {
            self.fail(&Failure::broken(broken, true), limit);
        }
    }

    fn status(&self) -> Option<Status> {
        self.over.as_ref().map(|over| match over {
            Ok(()) => answered(),
            Err(status) => status.clone(),
        })
    }
}

fn remember(place: &mut Option<Waker>, waker: &Waker) {
    if !place.as_ref().is_some_and(|old| old.will_wake(waker)) {
        *place = Some(waker.clone());
    }
}

// ===== impl Replies =====

impl<Rsp> Source<Rsp> for Replies<Rsp> {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Rsp>>> {
        let mut state = self.shared.lock();
        let bytes = match state.aside.pop_front() {
            Some(bytes) => Some(bytes),
            None => match state.poll_message(&self.limit, cx) {
                Poll::Ready(bytes) => bytes,
                Poll::Pending => {
                    remember(&mut state.receiver, cx.waker());
                    let over = ready!(self.limit.poll(cx));
                    let status = self.limit.status(over, "the next reply was waited for");
                    state.end(Err(status));
                    None
                }
            },
        };
        if let Some(bytes) = bytes {
            if let Some(receiving) = &state.receiving {
                self.encoding = receiving.content_type().request_encoding();
            }
            drop(state);
            let message = self.codec.decode(bytes, &self.encoding);
            if let Err(status) = &message {
                self.shared.lock().end(Err(status.clone()));
            }
            return Poll::Ready(Some(message));
        }
        self.headers = Some(state.headers.clone());
        self.trailers.clone_from(&state.trailers);
        Poll::Ready(match &state.over {
            Some(Err(status)) => Some(Err(status.clone())),
            Some(Ok(())) | None => None,
        })
    }

    fn poll_headers(&mut self, cx: &mut Context<'_>) -> Poll<Result<&Metadata>> {
        if self.headers.is_none() {
            let mut state = self.shared.lock();
            let head = match &mut state.receiving {
                Some(receiving) => receiving.poll_head(cx),
                None => Poll::Ready(Ok(())),
            };
            match head {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(failure)) => state.fail(&failure, &self.limit),
                Poll::Pending => {
                    remember(&mut state.receiver, cx.waker());
                    let over = ready!(self.limit.poll(cx));
                    let status = self.limit.status(over, "the headers were waited for");
                    state.end(Err(status));
                }
            }
            self.headers = match (&state.receiving, &state.over) {
                (Some(receiving), _) => receiving.headers().cloned(),
                (None, Some(Err(status))) => return Poll::Ready(Err(status.clone())),
                (None, _) => Some(state.headers.clone()),
            };
        }
        Poll::Ready(Ok(self.headers.get_or_insert_default()))
    }

    fn trailers(&self) -> Option<&Metadata> {
        self.trailers.as_ref()
    }
}

impl<Rsp> Drop for Replies<Rsp> {
    fn drop(&mut self) {
        self.shared.lock().end(Err(Status::cancelled(
            "the caller has dropped the receiving half of the call",
        )));
    }
}

// ===== impl Requests =====

impl<Req> Target<Req, ()> for Requests<Req> {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let mut state = self.shared.lock();
        if let Some(status) = state.status() {
            return Poll::Ready(Err(status));
        }
        let Some(out) = &mut self.out else {
            return Poll::Ready(Err(answered()));
        };
        match out.poll_ready(cx) {
            Poll::Ready(Ok(_)) => Poll::Ready(Ok(())),
            Poll::Ready(Err(broken)) => {
                state.look_for_status(&broken, &self.limit);
                Poll::Ready(Err(state.status().unwrap_or_else(answered)))
            }
            Poll::Pending => {
                remember(&mut state.sender, cx.waker());
                let over = ready!(self.limit.poll(cx));
                let status = self.limit.status(over, "a request was to be sent");
                state.end(Err(status.clone()));
                Poll::Ready(Err(status))
            }
        }
    }

    fn send(&mut self, message: Req) -> Result<()> {
        let Some(out) = &mut self.out else {
            return Err(self.shared.lock().status().unwrap_or_else(answered));
        };
        let bytes = seal(self.codec.encode(&message, &self.encoding, PREFIX)?)?;
        if let Err(broken) = out.data(bytes, false) {
            let mut state = self.shared.lock();
            state.look_for_status(&broken, &self.limit);
            return Err(state.status().unwrap_or_else(answered));
        }
        Ok(())
    }

    fn poll_finish(&mut self, _: &mut Context<'_>) -> Poll<Result<()>> {
        self.finished = true;
        let mut state = self.shared.lock();
        if let Some(mut out) = self.out.take()
            && state.over.is_none()
            && let Err(broken) = out.data(Bytes::new(), true)
        {
            state.look_for_status(&broken, &self.limit);
        }
        Poll::Ready(match &state.over {
            // An end that the server did not wait for is an end.
            None | Some(Ok(())) => Ok(()),
            Some(Err(status)) => Err(status.clone()),
        })
    }
}

impl<Req> Drop for Requests<Req> {
    fn drop(&mut self) {
        if !self.finished {
            self.shared.lock().end(Err(Status::cancelled(
                "the caller has dropped the sending half of the call unfinished",
            )));
        }
    }
}
