//! One exchange: two flows of data, and the four halves that hold them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;

use super::head;
use crate::exchange::{Broken, Frame, Head, OutFields, OutHead, Receive, Transmit, Why, reset};
use crate::lock::lock;

/// Anything that is to live as long as the client's side of a call.
pub(super) trait Held: Send + Sync {}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Server,
}

/// An exchange.
pub(super) struct Call(Mutex<State>);

struct State {
    request: Flow,
    reply: Flow,
    /// The reply's head, until it is taken.
    head: Option<Head>,
    head_sent: bool,
}

/// What goes one way.
struct Flow {
    queue: VecDeque<Bytes>,
    queued: usize,
    trailers: Option<Head>,
    /// Its sender has ended it; what is queued is still to be received.
    ended: bool,
    /// It was broken before that.
    broken: Option<Broken>,
    /// How many bytes may be received.
    window: usize,
    /// Its receiver is gone: what is sent is thrown away.
    unwanted: bool,
    /// Who waits for something to receive, for room to send, and for the end.
    receiver: Option<Waker>,
    room: Option<Waker>,
    end: Option<Waker>,
}

/// A half that receives.
pub(super) struct Receiver {
    call: Arc<Call>,
    side: Side,
    ended: bool,
    held: Option<Arc<dyn Held>>,
}

/// A half that sends.
pub(super) struct Sender {
    call: Arc<Call>,
    side: Side,
    ended: bool,
    held: Option<Arc<dyn Held>>,
}

// ===== impl Flow =====

impl Flow {
    fn new(window: usize) -> Flow {
        Flow {
            queue: VecDeque::new(),
            queued: 0,
            trailers: None,
            ended: false,
            broken: None,
            window,
            unwanted: false,
            receiver: None,
            room: None,
            end: None,
        }
    }

    fn room(&self) -> usize {
        if self.unwanted {
            return usize::MAX;
        }
        self.window.saturating_sub(self.queued)
    }

    fn send(&mut self, bytes: Bytes, end: bool) {
        if !self.unwanted && !bytes.is_empty() {
            self.queued += bytes.len();
            self.queue.push_back(bytes);
        }
        self.ended = end;
        wake(&mut self.receiver);
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, Broken>>> {
        if self.window > 0
            && let Some(mut first) = self.queue.pop_front()
        {
            if first.len() > self.window {
                let rest = first.split_off(self.window);
                self.queue.push_front(rest);
            }
            self.window -= first.len();
            self.queued -= first.len();
            return Poll::Ready(Some(Ok(Frame::Data(first))));
        }
        if let Some(broken) = &self.broken {
            return Poll::Ready(Some(Err(broken.clone())));
        }
        if self.ended && self.queue.is_empty() {
            let trailers = self.trailers.take();
            return Poll::Ready(trailers.map(|trailers| Ok(Frame::Trailers(trailers))));
        }
        wait(&mut self.receiver, cx);
        Poll::Pending
    }

    fn release(&mut self, bytes: usize) {
        self.window = self.window.saturating_add(bytes);
        if self.room() > 0 {
            wake(&mut self.room);
        }
        if !self.queue.is_empty() {
            wake(&mut self.receiver);
        }
    }

    fn break_off(&mut self, broken: &Broken) {
        if self.ended || self.broken.is_some() {
            return;
        }
        self.broken = Some(broken.clone());
        wake(&mut self.receiver);
        wake(&mut self.room);
        wake(&mut self.end);
    }
}

fn wait(slot: &mut Option<Waker>, cx: &Context<'_>) {
    match slot {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *slot = Some(cx.waker().clone()),
    }
}

fn wake(slot: &mut Option<Waker>) {
    if let Some(waker) = slot.take() {
        waker.wake();
    }
}

// ===== impl Call =====

impl Call {
    /// An exchange whose halves may be ahead of their receivers by these many bytes.
    pub(super) fn new(request_window: usize, reply_window: usize) -> Arc<Call> {
        Arc::new(Call(Mutex::new(State {
            request: Flow::new(request_window),
            reply: Flow::new(reply_window),
            head: None,
            head_sent: false,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No foreign code but wakers runs under this lock.
        lock(&self.0)
    }

    /// Breaks what has not ended, both ways.
    pub(super) fn cut(&self, broken: &Broken) {
        let mut state = self.state();
        state.request.break_off(broken);
        state.reply.break_off(broken);
    }

    fn reset(&self, code: u32) {
        self.cut(&Broken::new(Why::Reset(code)));
    }
}

impl State {
    /// What this side receives.
    fn inward(&mut self, side: Side) -> &mut Flow {
        match side {
            Side::Client => &mut self.reply,
            Side::Server => &mut self.request,
        }
    }

    /// What this side sends.
    fn outward(&mut self, side: Side) -> &mut Flow {
        match side {
            Side::Client => &mut self.request,
            Side::Server => &mut self.reply,
        }
    }

    /// A server whose reply is whole wants no more of a request that it does not read.
    fn settle(&mut self) {
        if self.reply.ended && self.request.unwanted {
            self.request
                .break_off(&Broken::new(Why::Reset(reset::NO_ERROR)));
        }
    }
}

// ===== impl Receiver =====

impl Receiver {
    pub(super) fn new(call: &Arc<Call>, side: Side, held: Option<Arc<dyn Held>>) -> Receiver {
        Receiver {
            call: Arc::clone(call),
            side,
            ended: false,
            held,
        }
    }

    fn end(&mut self) {
        self.ended = true;
        self.held = None;
    }
}

impl Receive for Receiver {
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, Broken>> {
        let misuse = |what| Poll::Ready(Err(Broken::new(Why::Protocol).with_detail(what)));
        if self.side == Side::Server {
            return misuse("the head of a request comes with its exchange");
        }
        let mut state = self.call.state();
        if let Some(head) = state.head.take() {
            return Poll::Ready(Ok(head));
        }
        if state.head_sent {
            return misuse("the head of the reply was taken before");
        }
        let Some(broken) = state.reply.broken.clone() else {
            wait(&mut state.reply.receiver, cx);
            return Poll::Pending;
        };
        drop(state);
        self.end();
        Poll::Ready(Err(broken))
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, Broken>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let frame = ready!(self.call.state().inward(self.side).poll_frame(cx));
        if !matches!(frame, Some(Ok(Frame::Data(_)))) {
            self.end();
        }
        Poll::Ready(frame)
    }

    fn release(&mut self, bytes: usize) {
        self.call.state().inward(self.side).release(bytes);
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        if self.side == Side::Client {
            self.call.reset(reset::CANCEL);
        }
        let mut state = self.call.state();
        let flow = state.inward(self.side);
        flow.unwanted = true;
        flow.queue.clear();
        flow.queued = 0;
        wake(&mut flow.room);
        state.settle();
    }
}

// ===== impl Sender =====

impl Sender {
    pub(super) fn new(call: &Arc<Call>, side: Side, held: Option<Arc<dyn Held>>) -> Sender {
        Sender {
            call: Arc::clone(call),
            side,
            ended: false,
            held,
        }
    }

    pub(super) fn send(&mut self, bytes: Bytes, end: bool) -> Result<(), Broken> {
        let mut state = self.open()?;
        state.outward(self.side).send(bytes, end);
        if end {
            state.settle();
            drop(state);
            self.end();
        }
        Ok(())
    }

    /// The state, if this side may send.
    fn open(&self) -> Result<MutexGuard<'_, State>, Broken> {
        let mut state = self.call.state();
        if self.ended {
            return Err(misuse("this side of the exchange has ended"));
        }
        if let Some(broken) = &state.outward(self.side).broken {
            return Err(broken.clone());
        }
        if self.side == Side::Server && !state.head_sent {
            return Err(misuse("the head of a reply comes before its messages"));
        }
        Ok(state)
    }

    fn end(&mut self) {
        self.ended = true;
        self.held = None;
    }
}

fn misuse(what: &'static str) -> Broken {
    Broken::new(Why::Reset(reset::STREAM_CLOSED)).with_detail(what)
}

impl Transmit for Sender {
    fn head(&mut self, out: OutHead, end: bool) -> Result<(), Broken> {
        if self.side == Side::Client {
            return Err(misuse("the head of a request opens its exchange"));
        }
        let mut state = self.call.state();
        if state.head_sent {
            return Err(misuse("the head of a reply is sent once"));
        }
        if let Some(broken) = &state.reply.broken {
            return Err(broken.clone());
        }
        state.head = Some(head::response(&out));
        state.head_sent = true;
        state.reply.send(Bytes::new(), end);
        state.settle();
        drop(state);
        if end {
            self.end();
        }
        Ok(())
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, Broken>> {
        let mut state = self.open()?;
        let flow = state.outward(self.side);
        match flow.room() {
            0 => {
                wait(&mut flow.room, cx);
                Poll::Pending
            }
            room => Poll::Ready(Ok(room)),
        }
    }

    fn data(&mut self, bytes: Bytes, end: bool) -> Result<(), Broken> {
        self.send(bytes, end)
    }

    fn trailers(&mut self, fields: OutFields) -> Result<(), Broken> {
        let mut state = self.open()?;
        let flow = state.outward(self.side);
        flow.trailers = Some(head::trailers(&fields));
        flow.send(Bytes::new(), true);
        state.settle();
        drop(state);
        self.end();
        Ok(())
    }

    fn reset(&mut self, code: u32) {
        if !std::mem::replace(&mut self.ended, true) {
            self.call.reset(code);
            self.held = None;
        }
    }

    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<Broken> {
        if self.ended {
            return Poll::Pending;
        }
        let mut state = self.call.state();
        let flow = state.outward(self.side);
        if let Some(broken) = &flow.broken {
            return Poll::Ready(broken.clone());
        }
        wait(&mut flow.end, cx);
        Poll::Pending
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.reset(match self.side {
            Side::Client => reset::CANCEL,
            Side::Server => reset::INTERNAL_ERROR,
        });
    }
}
