//! [`Backlog`]: events of core NATS that wait for their handler.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use async_nats::Message;
use bytes::Bytes;
use futures_core::Stream;
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::warn;

use super::hub::TELL;
use super::line::RECEIVE_MAX;
use crate::error::Error;
use crate::lock::lock;

/// The most that waits for a handler, with what each event takes besides its payload: half of what a process
/// may grow by, since the library holds some too.
const BYTES_MAX: usize = 16 * 1024 * 1024;
const OVERHEAD: usize = 256;

/// From so many on, payloads are copied out of the connection's buffers, whole ones of which they would keep
/// alive while others of the buffer are dropped.
const COPIED_FROM: usize = 64;

/// How often what the library has is moved to where its bytes are counted, while events come. In this time a fast
/// publisher sends a fifth of what there is room for in the library.
pub(super) const LOOK: Duration = Duration::from_millis(5);

/// Payloads in the order in which they came, up to a number of bytes. Those that come when it is full are
/// dropped, counted and told of.
///
/// Who handles events takes them from the library directly: one task less that is woken for them. What it does not
/// take in time, the subscription's task moves here, by [`Backlog::look`].
pub(super) struct Backlog<S> {
    inner: Mutex<Inner<S>>,
    signal: Arc<Signal>,
    /// Of the signal.
    waker: Waker,
}

struct Inner<S> {
    topic: String,
    /// The library's, of the connection that there is.
    source: Option<S>,
    waiting: VecDeque<Bytes>,
    bytes: usize,
    /// One was taken from the library directly since the last look.
    is_taken: bool,
    dropped: u64,
    told: Option<Instant>,
    end: Option<Option<Error>>,
}

/// What the library wakes when an event comes, whoever has looked last.
#[derive(Default)]
struct Signal {
    consumer: Mutex<Option<Waker>>,
    /// The subscription's task looks now and then: it need not be woken.
    is_watched: AtomicBool,
    come: Notify,
}

/// What was found by a look.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Events come, of which so many were dropped.
    Some(u64),
    /// None has come since the last look; the next one wakes the subscription's task.
    Nothing,
    /// None will come from the library any more.
    End,
}

// ===== impl Backlog =====

impl<S: Stream<Item = Message> + Unpin> Backlog<S> {
    pub(super) fn new(topic: &str) -> Backlog<S> {
        let signal = Arc::<Signal>::default();
        Backlog {
            inner: Mutex::new(Inner {
                topic: topic.to_owned(),
                source: None,
                waiting: VecDeque::new(),
                bytes: 0,
                is_taken: false,
                dropped: 0,
                told: None,
                end: None,
            }),
            waker: Waker::from(Arc::clone(&signal)),
            signal,
        }
    }

    /// Takes events from this from now on. The subscription's task must look soon.
    pub(super) fn attach(&self, source: S) {
        self.signal.is_watched.store(true, Ordering::SeqCst);
        lock(&self.inner).source = Some(source);
        self.signal.wake_consumer();
    }

    /// Takes what has come, and nothing from the library any more. Gives back what it took from, and how many
    /// events were dropped.
    pub(super) fn detach(&self) -> (Option<S>, u64) {
        let (source, dropped) = {
            let mut inner = lock(&self.inner);
            let (_, dropped) = inner.take_in(&self.waker);
            (inner.source.take(), dropped)
        };
        self.signal.wake_consumer();
        (source, dropped)
    }

    /// Resolves when an event has come while nobody was looking.
    pub(super) async fn come(&self) {
        self.signal.come.notified().await;
    }

    /// Takes in what nobody has taken from the library. Must not be kept from it by tokio's count of a task's steps.
    pub(super) fn look(&self) -> Seen {
        let (taken, dropped, seen) = {
            let mut inner = lock(&self.inner);
            // Before the look, so that what comes behind it wakes.
            self.signal.is_watched.store(false, Ordering::SeqCst);
            let (taken, dropped) = inner.take_in(&self.waker);
            let is_taken = std::mem::take(&mut inner.is_taken);
            let seen = if inner.source.is_none() {
                Seen::End
            } else if taken > 0 || is_taken {
                self.signal.is_watched.store(true, Ordering::SeqCst);
                Seen::Some(dropped)
            } else {
                Seen::Nothing
            };
            (taken, dropped, seen)
        };
        debug_assert!(dropped <= taken as u64, "what is dropped was taken");
        if taken > 0 {
            self.signal.wake_consumer();
        }
        seen
    }

    /// Nothing comes any more.
    pub(super) fn end(&self, error: Option<Error>) {
        lock(&self.inner).end.get_or_insert(error);
        self.signal.wake_consumer();
    }

    /// The next one; the error with which it ended, once; then `None`.
    pub(super) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        let mut inner = lock(&self.inner);
        if let Some(payload) = inner.waiting.pop_front() {
            inner.bytes -= payload.len() + OVERHEAD;
            if inner.waiting.is_empty() {
                // What a flood has taken is given back.
                inner.waiting.shrink_to(COPIED_FROM);
            }
            return Poll::Ready(Some(Ok(payload)));
        }
        if let Some(end) = &mut inner.end {
            return Poll::Ready(end.take().map(Err));
        }
        // Before the look, so that what comes behind it wakes.
        self.signal.waits(cx.waker());
        let Some(source) = &mut inner.source else {
            return Poll::Pending;
        };
        match Pin::new(source).poll_next(&mut Context::from_waker(&self.waker)) {
            Poll::Ready(Some(message)) => {
                inner.is_taken = true;
                Poll::Ready(Some(Ok(message.payload)))
            }
            Poll::Ready(None) => {
                // The subscription's task finds it gone.
                inner.source = None;
                drop(inner);
                self.signal.wake_by_ref();
                Poll::Pending
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

// ===== impl Inner =====

impl<S: Stream<Item = Message> + Unpin> Inner<S> {
    /// Takes in what the library has: how many, and how many of them were dropped.
    fn take_in(&mut self, waker: &Waker) -> (usize, u64) {
        let (mut taken, mut dropped) = (0, 0);
        // It may bring new ones as fast as they are taken.
        while taken < RECEIVE_MAX {
            let Some(source) = &mut self.source else {
                break;
            };
            match Pin::new(source).poll_next(&mut Context::from_waker(waker)) {
                Poll::Ready(Some(message)) => dropped += self.push(message.payload),
                Poll::Ready(None) => {
                    self.source = None;
                    break;
                }
                Poll::Pending => break,
            }
            taken += 1;
        }
        (taken, dropped)
    }

    /// Takes one in; how many have been dropped by that.
    fn push(&mut self, payload: Bytes) -> u64 {
        let size = payload.len() + OVERHEAD;
        if self.bytes + size > BYTES_MAX && !self.waiting.is_empty() {
            self.dropped += 1;
            if self.told.is_none_or(|told| told.elapsed() >= TELL) {
                self.told = Some(Instant::now());
                warn!(
                    topic = self.topic,
                    dropped = self.dropped,
                    waiting = self.waiting.len(),
                    "Events are dropped, since handlers are slower than they come"
                );
            }
            return 1;
        }
        let payload = if self.waiting.len() >= COPIED_FROM {
            Bytes::copy_from_slice(&payload)
        } else {
            payload
        };
        self.bytes += size;
        self.waiting.push_back(payload);
        0
    }
}

// ===== impl Signal =====

impl Signal {
    fn waits(&self, waker: &Waker) {
        let mut consumer = lock(&self.consumer);
        if !consumer
            .as_ref()
            .is_some_and(|known| known.will_wake(waker))
        {
            *consumer = Some(waker.clone());
        }
    }

    fn wake_consumer(&self) {
        let consumer = lock(&self.consumer).take();
        if let Some(consumer) = consumer {
            consumer.wake();
        }
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.wake_consumer();
        if !self.is_watched.swap(true, Ordering::SeqCst) {
            self.come.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;
    use crate::error::ErrorKind;

    /// In the library's place.
    struct Source(mpsc::UnboundedReceiver<Message>);

    impl Stream for Source {
        type Item = Message;

        fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Message>> {
            self.0.poll_recv(cx)
        }
    }

    fn backlog() -> (Backlog<Source>, mpsc::UnboundedSender<Message>) {
        let backlog = Backlog::new("t");
        let (sender, receiver) = mpsc::unbounded_channel();
        backlog.attach(Source(receiver));
        (backlog, sender)
    }

    fn message(payload: impl Into<Bytes>) -> Message {
        let payload = payload.into();
        Message {
            subject: "t".into(),
            reply: None,
            length: payload.len(),
            payload,
            headers: None,
            status: None,
            description: None,
        }
    }

    fn poll(backlog: &Backlog<Source>) -> Poll<Option<Result<Bytes, Error>>> {
        backlog.poll_next(&mut Context::from_waker(Waker::noop()))
    }

    fn is(polled: Poll<Option<Result<Bytes, Error>>>, payload: &'static [u8]) -> bool {
        matches!(polled, Poll::Ready(Some(Ok(found))) if found == payload)
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_too_much_is_dropped_and_counted() {
        let (backlog, sender) = backlog();
        let payload = Bytes::from(vec![0; 1024 * 1024]);
        for _ in 0..100 {
            sender.send(message(payload.clone())).unwrap();
        }
        assert_eq!(backlog.look(), Seen::Some(100 - 15));
        for _ in 0..15 {
            assert!(matches!(poll(&backlog), Poll::Ready(Some(Ok(_)))));
        }
        assert!(poll(&backlog).is_pending());
        // One that is larger than everything has its turn when nothing else waits.
        sender.send(message(vec![0; BYTES_MAX])).unwrap();
        assert_eq!(backlog.look(), Seen::Some(0));
        sender.send(message("")).unwrap();
        assert_eq!(backlog.look(), Seen::Some(1));
    }

    #[tokio::test]
    async fn what_waits_comes_before_what_is_new() {
        let (backlog, sender) = backlog();
        sender.send(message("1")).unwrap();
        assert_eq!(backlog.look(), Seen::Some(0));
        sender.send(message("2")).unwrap();
        assert!(is(poll(&backlog), b"1"));
        assert!(is(poll(&backlog), b"2"));
        assert!(poll(&backlog).is_pending());
        // One that was taken directly counts as well, once.
        assert_eq!(backlog.look(), Seen::Some(0));
        assert_eq!(backlog.look(), Seen::Nothing);
        sender.send(message("3")).unwrap();
        backlog.come().await;
        sender.send(message("4")).unwrap();
        let (source, dropped) = backlog.detach();
        assert!(source.is_some() && dropped == 0);
        assert!(is(poll(&backlog), b"3") && is(poll(&backlog), b"4"));
        assert!(poll(&backlog).is_pending());
    }

    #[tokio::test]
    async fn who_waits_is_woken_whoever_has_looked_last() {
        let (backlog, sender) = backlog();
        let next = std::future::poll_fn(|cx| backlog.poll_next(cx));
        let send = async {
            assert_eq!(backlog.look(), Seen::Nothing);
            sender.send(message("1")).unwrap();
        };
        let (next, ()) = tokio::join!(next, send);
        assert!(is(Poll::Ready(next), b"1"));
        // The library is gone: whoever keeps the subscription finds out, by whoever found it.
        assert_eq!(backlog.look(), Seen::Some(0));
        assert_eq!(backlog.look(), Seen::Nothing);
        drop(sender);
        assert!(poll(&backlog).is_pending());
        backlog.come().await;
        assert_eq!(backlog.look(), Seen::End);
    }

    #[tokio::test]
    async fn it_ends_with_what_there_is_and_the_error_once() {
        let (backlog, sender) = backlog();
        sender.send(message("1")).unwrap();
        backlog.detach();
        backlog.end(Some(Error::config("x")));
        backlog.end(None);
        assert!(matches!(poll(&backlog), Poll::Ready(Some(Ok(_)))));
        let Poll::Ready(Some(Err(error))) = poll(&backlog) else {
            panic!("expected the error");
        };
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(matches!(poll(&backlog), Poll::Ready(None)));
    }
}
