//! [`Event`]: what a subscription receives, and the [`Receipt`] by which it is settled.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;

use super::message::{CONTENT_TYPE, Message};
use super::payload;
use crate::codec::Encoding;
use crate::error::Error;
use crate::exchange::BoxFuture;
use crate::lock::lock;
use crate::metadata::Metadata;
use crate::status::Status;

/// An event as a broker hands it out: the topic, the headers, the body's bytes, and which attempt this is.
///
/// A handler that takes an `Event` instead of a message gets it undecoded. When it returns `Ok` the event is
/// acknowledged, when it returns an error or panics it is not, unless the handler has settled it itself by
/// [`ack`](Event::ack) or [`nack`](Event::nack). Clones are one event.
#[derive(Clone)]
pub struct Event(Arc<Inner>);

struct Inner {
    content: Content,
    attempt: u32,
    receipt: Mutex<Option<Receipt>>,
    /// It was settled by [`Settle::Retry`].
    given_back: AtomicBool,
}

enum Content {
    Own {
        topic: String,
        headers: Metadata,
        body: Bytes,
    },
    /// What one message brought to several subscribers.
    Shared(Arc<Message>),
}

/// What becomes of an event that was handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Settle {
    /// It is done with: the broker may forget it.
    Ack,
    /// It failed: it is to be handed out again, not before this time has passed, with an attempt more.
    Retry(Duration),
    /// Nobody worked on it, since its subscription ends: it goes back at once, to whoever comes.
    Return,
}

/// How an event is settled with its broker: a function that is called at most once.
///
/// Dropped unused, it is called with [`Settle::Return`].
pub struct Receipt(Option<Box<Settler>>);

type Settler = dyn FnOnce(Settle) -> BoxFuture<'static, Result<(), Error>> + Send;

// ===== impl Event =====

impl Event {
    /// An event of a broker; `attempt` counts from 1. Without a receipt it is acknowledged already.
    #[must_use]
    pub fn new(
        topic: impl Into<String>,
        headers: Metadata,
        body: impl Into<Bytes>,
        attempt: u32,
        receipt: Option<Receipt>,
    ) -> Event {
        let content = Content::Own {
            topic: topic.into(),
            headers,
            body: body.into(),
        };
        Event::of(content, attempt, receipt)
    }

    /// An event of a message that others receive too.
    pub(crate) fn of_message(
        message: Arc<Message>,
        attempt: u32,
        receipt: Option<Receipt>,
    ) -> Event {
        Event::of(Content::Shared(message), attempt, receipt)
    }

    fn of(content: Content, attempt: u32, receipt: Option<Receipt>) -> Event {
        Event(Arc::new(Inner {
            content,
            attempt,
            receipt: Mutex::new(receipt),
            given_back: AtomicBool::new(false),
        }))
    }

    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &str {
        match &self.0.content {
            Content::Own { topic, .. } => topic,
            Content::Shared(message) => &message.topic,
        }
    }

    /// The headers, `content-type` among them.
    #[must_use]
    pub fn headers(&self) -> &Metadata {
        match &self.0.content {
            Content::Own { headers, .. } => headers,
            Content::Shared(message) => &message.headers,
        }
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        match &self.0.content {
            Content::Own { body, .. } => body,
            Content::Shared(message) => &message.body,
        }
    }

    /// How the body is written, by the header `content-type`: `application/protobuf`,
    /// `application/octet-stream`, `application/grpc`, any `…+proto` and none at all are protobuf;
    /// `application/json` and any `…+json` are JSON. A body is never framed, whatever its content type.
    ///
    /// # Errors
    /// INVALID_ARGUMENT: another content type.
    pub fn encoding(&self) -> Result<Encoding, Status> {
        payload::encoding(self.headers().get(CONTENT_TYPE))
    }

    /// Which attempt this is, from 1: how many times the broker knows to have handed it out. A broker that
    /// does not count says 1 the first time and 2 from then on.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.0.attempt
    }

    /// Acknowledges it: it will not come again. Resolves when the broker has confirmed, where it does.
    ///
    /// # Errors
    /// The broker could not be told: the event comes again. One that is settled already is no error.
    pub async fn ack(&self) -> Result<(), Error> {
        self.settle(Settle::Ack).await
    }

    /// Gives it back: it is handed out again, as if the handler had failed, not before this time has passed; at
    /// least once, up to [`Topic::max_attempts`](super::Topic::max_attempts) times.
    ///
    /// # Errors
    /// The broker could not be told: the event comes again all the same, when the broker finds out.
    pub async fn nack(&self, after: Duration) -> Result<(), Error> {
        self.settle(Settle::Retry(after)).await
    }

    /// Settles it, unless it is settled.
    pub(crate) async fn settle(&self, settle: Settle) -> Result<(), Error> {
        let receipt = lock(&self.0.receipt).take();
        match receipt {
            Some(receipt) => {
                let given_back = matches!(settle, Settle::Retry(_));
                self.0.given_back.store(given_back, Ordering::Relaxed);
                receipt.settle(settle).await
            }
            None => Ok(()),
        }
    }

    /// Whether it is to be handed out again, since it failed.
    pub(crate) fn is_given_back(&self) -> bool {
        self.0.given_back.load(Ordering::Relaxed)
    }

    /// Settles it, unless it is settled, with nobody waiting for what the broker says.
    pub(crate) fn settle_unheard(&self, settle: Settle) {
        let receipt = lock(&self.0.receipt).take();
        if let Some(function) = receipt.and_then(|mut receipt| receipt.0.take()) {
            drop(function(settle));
        }
    }

    /// Whether it is settled.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        lock(&self.0.receipt).is_none()
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("topic", &self.topic())
            .field("headers", self.headers())
            .field("body_len", &self.body().len())
            .field("attempt", &self.attempt())
            .finish_non_exhaustive()
    }
}

// ===== impl Receipt =====

impl Receipt {
    /// A receipt that calls this function. Whatever has to happen even if nobody waits for the future must
    /// happen in the function itself: the future of a receipt that is dropped is never polled.
    #[must_use]
    pub fn new<F, Fut>(settle: F) -> Receipt
    where
        F: FnOnce(Settle) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), Error>> + Send + 'static,
    {
        Receipt(Some(Box::new(move |how| Box::pin(settle(how)))))
    }

    /// Settles the event.
    ///
    /// # Errors
    /// The broker could not be told.
    pub async fn settle(mut self, settle: Settle) -> Result<(), Error> {
        match self.0.take() {
            Some(function) => function(settle).await,
            None => Ok(()),
        }
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        if let Some(function) = self.0.take() {
            drop(function(Settle::Return));
        }
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Receipt")
    }
}
