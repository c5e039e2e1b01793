//! The two halves of a bidirectional call, which may live in two tasks.
//!
//! They share the exchange: its status is what ends both. Whoever finds the call over wakes the other.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use tokio::task::AbortHandle;

use super::{answered, reached};
use crate::client::limit::Limit;
use crate::client::plan::{Opened, Plan};
use crate::client::pool::Pool;
use crate::client::receive::{Failure, Receiving};
use crate::codec::frame::{PREFIX, seal};
use crate::codec::{Codec, Encoding};
use crate::exchange::{Broken, Outgoing};
use crate::lock::lock;
use crate::metadata::Metadata;
use crate::selector::Picked;
use crate::status::{Result, Status};
use crate::stream::{Inbound, Outbound, Source, Target};

/// So many bytes of replies are set aside at most, when the sending half looks for the status behind them.
const ASIDE: usize = 1024 * 1024;

struct Shared(Mutex<State>);

struct State {
    phase: Phase,
    /// Replies that stood before the status.
    aside: VecDeque<Bytes>,
    /// A request was handed to a connection: the call cannot go elsewhere any more.
    sent: bool,
    finished: bool,
    receiver: Option<Waker>,
    sender: Option<Waker>,
    headers: Metadata,
    trailers: Option<Metadata>,
    me: Weak<Shared>,
}

enum Phase {
    Open(Box<Open>),
    /// The node has certainly processed nothing: a task takes the call to another, for both halves.
    Again(AbortHandle),
    Over(Result<()>),
}

struct Open {
    plan: Plan,
    picked: Picked<Pool>,
    /// `None` once it was ended.
    out: Option<Outgoing>,
    receiving: Receiving,
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
}

pub(in crate::client) fn duplex<Req: 'static, Rsp: 'static>(
    opened: Opened,
    _: Option<Bytes>,
    (request, response): (Codec<Req>, Codec<Rsp>),
) -> (Outbound<Req>, Inbound<Rsp>) {
    let encoding = opened.plan.target.settings().encoding.clone();
    let limits = (opened.plan.limit.twin(), opened.plan.limit.twin());
    let shared = Arc::new_cyclic(|me| {
        Shared(Mutex::new(State {
            phase: Phase::Open(Box::new(Open::new(opened))),
            aside: VecDeque::new(),
            sent: false,
            finished: false,
            receiver: None,
            sender: None,
            headers: Metadata::new(),
            trailers: None,
            me: me.clone(),
        }))
    });
    let requests = Requests {
        codec: request,
        encoding: encoding.clone(),
        limit: limits.0,
        shared: Arc::clone(&shared),
    };
    let replies = Replies {
        codec: response,
        encoding,
        limit: limits.1,
        shared,
        headers: None,
        trailers: None,
    };
    (Outbound::new(requests), Inbound::new(replies))
}

// ===== impl Shared =====

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }
}

// ===== impl Open =====

impl Open {
    fn new(mut opened: Opened) -> Open {
        reached(&mut opened);
        Open {
            plan: opened.plan,
            picked: opened.picked,
            out: Some(opened.out),
            receiving: opened.receiving,
        }
    }
}

// ===== impl State =====

impl State {
    /// The call is over. What is not read yet of the peer's side is given up, which resets the exchange
    /// unless the peer had ended it.
    fn end(&mut self, result: Result<()>) {
        match &mut self.phase {
            Phase::Over(_) => return,
            Phase::Again(task) => task.abort(),
            Phase::Open(_) => {}
        }
        let well = result.is_ok();
        let phase = std::mem::replace(&mut self.phase, Phase::Over(result));
        if let Phase::Open(open) = phase {
            if well {
                open.plan.ended_well();
            }
            let (headers, trailers) = open.receiving.into_metadata();
            self.headers = headers;
            self.trailers = Some(trailers);
        }
        self.wake();
    }

    fn wake(&mut self) {
        let wakers = [self.receiver.take(), self.sender.take()];
        for waker in wakers.into_iter().flatten() {
            waker.wake();
        }
    }

    fn fail(&mut self, failure: &Failure) {
        let Phase::Open(open) = &mut self.phase else {
            return;
        };
        if !self.sent && open.plan.again(failure, &open.picked) {
            return self.again(failure);
        }
        let status = failure.at(&open.picked);
        let status = open.plan.limit.correct(status);
        self.report(failure);
        self.phase = Phase::Over(Err(status));
        self.wake();
    }

    /// Takes the exchange out, and tells the selector how it ended.
    fn report(&mut self, failure: &Failure) -> Option<Plan> {
        let over = Phase::Over(Ok(()));
        let Phase::Open(open) = std::mem::replace(&mut self.phase, over) else {
            return None;
        };
        open.picked.failed(failure.report());
        let (headers, trailers) = open.receiving.into_metadata();
        self.headers = headers;
        self.trailers = Some(trailers);
        Some(open.plan)
    }

    fn again(&mut self, failure: &Failure) {
        let Some(plan) = self.report(failure) else {
            return;
        };
        let mut again = Again(Weak::clone(&self.me));
        let task = tokio::spawn(async move {
            let opened = plan.open(None, false).await;
            if let Some(shared) = std::mem::take(&mut again.0).upgrade() {
                shared.lock().opened(opened);
            }
        });
        self.phase = Phase::Again(task.abort_handle());
    }

    fn opened(&mut self, opened: Result<Opened>) {
        if !matches!(self.phase, Phase::Again(_)) {
            return;
        }
        match opened {
            Ok(opened) => {
                let mut open = Open::new(opened);
                if self.finished
                    && let Some(mut out) = open.out.take()
                {
                    // Should it break just now, the peer's side says why.
                    let _ = out.data(Bytes::new(), true);
                }
                self.phase = Phase::Open(Box::new(open));
                self.wake();
            }
            Err(status) => self.end(Err(status)),
        }
    }

    /// The next message from the peer, if the call is not over.
    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let Phase::Open(open) = &mut self.phase else {
            return match self.phase {
                Phase::Over(_) => Poll::Ready(None),
                _ => Poll::Pending,
            };
        };
        match ready!(open.receiving.poll_message(cx)) {
            Some(Ok(bytes)) => return Poll::Ready(Some(bytes)),
            Some(Err(failure)) => self.fail(&failure),
            None => self.end(Ok(())),
        }
        match self.phase {
            Phase::Over(_) => Poll::Ready(None),
            _ => Poll::Pending,
        }
    }

    /// The sending half broke: the reason lies on the peer's side if it is anywhere. Replies that stand before
    /// it are set aside for the receiving half, whose waker stays the one that is woken.
    fn broke(&mut self, broken: &Broken) {
        let receiver = self.receiver.clone();
        let waker = receiver.unwrap_or_else(|| Waker::noop().clone());
        let mut cx = Context::from_waker(&waker);
        let mut bytes = 0;
        while bytes < ASIDE
            && let Poll::Ready(Some(message)) = self.poll_message(&mut cx)
        {
            bytes += message.len();
            self.aside.push_back(message);
        }
        // Does nothing if that has led to the end, or to another node.
        self.fail(&Failure::broken(broken, self.sent));
    }

    fn status(&self) -> Option<Status> {
        match &self.phase {
            Phase::Over(Ok(())) => Some(answered()),
            Phase::Over(Err(status)) => Some(status.clone()),
            Phase::Open(_) | Phase::Again(_) => None,
        }
    }
}

/// The task that takes the call to another node. However it ends, the halves hear of it: a strategy may panic in it,
/// or its runtime end.
struct Again(Weak<Shared>);

impl Drop for Again {
    fn drop(&mut self) {
        if let Some(shared) = self.0.upgrade() {
            let status = Status::internal(
                "the stream was not opened at another node: its task has panicked, or its runtime has ended",
            );
            shared.lock().opened(Err(status));
        }
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
            None => match state.poll_message(cx) {
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
            if let Phase::Open(open) = &state.phase {
                let json = &open.plan.target.settings().json;
                self.encoding = open.receiving.content_type().encoding(json);
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
        Poll::Ready(match &state.phase {
            Phase::Over(Err(status)) => Some(Err(status.clone())),
            _ => None,
        })
    }

    fn poll_headers(&mut self, cx: &mut Context<'_>) -> Poll<Result<&Metadata>> {
        if self.headers.is_none() {
            let mut state = self.shared.lock();
            let head = match &mut state.phase {
                Phase::Open(open) => open.receiving.poll_head(cx),
                Phase::Again(_) => Poll::Pending,
                Phase::Over(_) => Poll::Ready(Ok(())),
            };
            let pending = match head {
                Poll::Ready(Ok(())) => false,
                Poll::Ready(Err(failure)) => {
                    state.fail(&failure);
                    matches!(state.phase, Phase::Again(_))
                }
                Poll::Pending => true,
            };
            if pending {
                remember(&mut state.receiver, cx.waker());
                let over = ready!(self.limit.poll(cx));
                let status = self.limit.status(over, "the headers were waited for");
                state.end(Err(status));
            }
            self.headers = match &state.phase {
                Phase::Open(open) => open.receiving.headers().cloned(),
                Phase::Over(Err(status)) => return Poll::Ready(Err(status.clone())),
                Phase::Over(Ok(())) | Phase::Again(_) => Some(state.headers.clone()),
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
        let ready = match &mut state.phase {
            Phase::Open(open) => match &mut open.out {
                Some(out) => out.poll_ready(cx),
                None => return Poll::Ready(Err(answered())),
            },
            Phase::Again(_) | Phase::Over(_) => Poll::Pending,
        };
        match ready {
            Poll::Ready(Ok(_)) => return Poll::Ready(Ok(())),
            Poll::Ready(Err(broken)) => {
                state.broke(&broken);
                if let Some(status) = state.status() {
                    return Poll::Ready(Err(status));
                }
            }
            Poll::Pending => {}
        }
        remember(&mut state.sender, cx.waker());
        let over = ready!(self.limit.poll(cx));
        let status = self.limit.status(over, "a request was to be sent");
        state.end(Err(status.clone()));
        Poll::Ready(Err(status))
    }

    fn send(&mut self, message: Req) -> Result<()> {
        let bytes = seal(self.codec.encode(&message, &self.encoding, PREFIX)?)?;
        let mut state = self.shared.lock();
        let Phase::Open(open) = &mut state.phase else {
            return Err(state.status().unwrap_or_else(answered));
        };
        let Some(out) = &mut open.out else {
            return Err(answered());
        };
        let sent = out.data(bytes, false);
        state.sent = true;
        let Err(broken) = sent else {
            return Ok(());
        };
        state.broke(&broken);
        Err(state.status().unwrap_or_else(answered))
    }

    fn poll_finish(&mut self, _: &mut Context<'_>) -> Poll<Result<()>> {
        let mut state = self.shared.lock();
        state.finished = true;
        if let Phase::Open(open) = &mut state.phase
            && let Some(mut out) = open.out.take()
            && let Err(broken) = out.data(Bytes::new(), true)
        {
            state.broke(&broken);
        }
        Poll::Ready(match &state.phase {
            Phase::Over(Err(status)) => Err(status.clone()),
            // An end that the server did not wait for is an end.
            _ => Ok(()),
        })
    }
}

impl<Req> Drop for Requests<Req> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if !state.finished {
            state.end(Err(Status::cancelled(
                "the caller has dropped the sending half of the call unfinished",
            )));
        }
    }
}
