//! [`Publish`]: one event on its way, before and while it is published.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Task, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout_at;

use super::{Draft, Shared};
use crate::broker::message::{CONTENT_TYPE, MICRO_FROM_SERVICE, MICRO_ID, MICRO_TOPIC, Message};
use crate::broker::payload::Body;
use crate::broker::topic::{Delivery, check_name};
use crate::context::Context;
use crate::deadline::Deadline;
use crate::error::Error;
use crate::exchange::BoxFuture;
use crate::metadata::{Metadata, can_be_sent, is_value};

/// An event that is published when this is awaited. It owns all that it needs, so that it can be spawned,
/// joined or kept; its time begins when it is first polled. Dropping it gives up: what is with the broker by
/// then may be delivered.
///
/// Resolves when the [promise](Delivery) of its publisher holds.
///
/// # Errors
/// The event is not known to be kept: `Broker` when the broker refused it or was not reached in time,
/// `Config` and `Call` when the event cannot be published at all, in which case nothing was sent.
///
/// # Panics
/// Polled outside a tokio runtime.
#[must_use = "nothing is published until it is awaited"]
pub struct Publish {
    shared: Arc<Shared>,
    state: State,
}

#[allow(
    clippy::large_enum_variant,
    reason = "the large one is how each begins, and a box for it would be one more for each event"
)]
enum State {
    Start(Draft),
    Running(
        BoxFuture<'static, Result<(), Error>>,
        Option<OwnedSemaphorePermit>,
    ),
    Over,
}

// ===== impl Publish =====

impl Publish {
    pub(super) fn of_draft(shared: Arc<Shared>, draft: Draft) -> Publish {
        Publish {
            shared,
            state: State::Start(draft),
        }
    }

    pub(super) fn of_message(shared: Arc<Shared>, mut message: Message) -> Publish {
        let body = Body {
            content_type: message
                .headers
                .get(CONTENT_TYPE)
                .map(|text| text.to_owned().into()),
            bytes: std::mem::take(&mut message.body),
        };
        message.headers.remove(CONTENT_TYPE);
        Publish::of_draft(shared, Draft::new(message, Ok(body)))
    }

    /// Adds a header, instead of an inherited one of the name; given twice, the event has both.
    pub fn metadata(mut self, name: impl AsRef<str>, value: impl Into<String>) -> Publish {
        self.draft(|draft| draft.message.headers.append(name, value));
        self
    }

    /// The key: events of one key keep their order, where the broker says so. Default: none.
    pub fn key(mut self, key: impl Into<String>) -> Publish {
        self.draft(|draft| draft.message.key = Some(key.into()));
        self
    }

    /// The event's id, by which brokers and subscribers may tell that they have it already. Default: a new
    /// one where the event is delivered at least once, else none.
    pub fn id(mut self, id: impl Into<String>) -> Publish {
        self.draft(|draft| draft.message.id = id.into());
        self
    }

    /// How long it may take, from when it is first polled. Default: the publisher's. A deadline that it
    /// inherits holds all the same.
    pub fn timeout(mut self, timeout: Duration) -> Publish {
        self.draft(|draft| draft.timeout = Some(timeout));
        self
    }

    /// Inherits from this context, instead of the one that it was made in.
    pub fn context(mut self, context: &Context) -> Publish {
        self.draft(|draft| draft.context = Some(context.clone()));
        self
    }

    fn draft(&mut self, change: impl FnOnce(&mut Draft)) {
        if let State::Start(draft) = &mut self.state {
            change(draft);
        }
    }
}

impl Future for Publish {
    type Output = Result<(), Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Task<'_>) -> Poll<Result<(), Error>> {
        let this = self.get_mut();
        loop {
            match std::mem::replace(&mut this.state, State::Over) {
                State::Start(draft) => this.state = this.shared.begin(draft)?,
                State::Running(mut future, permit) => {
                    let polled = future.as_mut().poll(cx);
                    if polled.is_pending() {
                        this.state = State::Running(future, permit);
                    }
                    return polled;
                }
                State::Over => {
                    return Poll::Ready(Err(Error::broker(
                        "the publish was polled again after it was done",
                    )));
                }
            }
        }
    }
}

impl fmt::Debug for Publish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publish")
            .field("topic", &self.shared.topic)
            .finish_non_exhaustive()
    }
}

// ===== impl Shared =====

impl Shared {
    fn begin(self: &Arc<Shared>, draft: Draft) -> Result<State, Error> {
        let deadline = self.deadline(draft.context.as_ref(), draft.timeout)?;
        let message = self.message(draft)?;
        if let Ok(permit) = Arc::clone(&self.room).try_acquire_owned() {
            let future = self.broker.start_publish(message, self.delivery, deadline);
            return Ok(State::Running(future, Some(permit)));
        }
        let shared = Arc::clone(self);
        let future = async move {
            let permit = shared.room_for(1, deadline).await?;
            let future = shared
                .broker
                .start_publish(message, shared.delivery, deadline);
            let result = future.await;
            drop(permit);
            result
        };
        Ok(State::Running(Box::pin(future), None))
    }

    /// When a publish must be done that begins now.
    pub(super) fn deadline(
        &self,
        context: Option<&Context>,
        timeout: Option<Duration>,
    ) -> Result<Deadline, Error> {
        let inherited = context.and_then(Context::deadline);
        if inherited.is_some_and(Deadline::has_passed) {
            return Err(Error::broker(format_args!(
                "cannot publish to the topic {:?}: the deadline of the call that does has passed",
                self.topic
            )));
        }
        Ok(Deadline::after(timeout.unwrap_or(self.timeout)).earlier(inherited))
    }

    /// Waits until so many may be published.
    pub(super) async fn room_for(
        &self,
        publishes: u32,
        deadline: Deadline,
    ) -> Result<OwnedSemaphorePermit, Error> {
        let room = Arc::clone(&self.room).acquire_many_owned(publishes);
        // It is never closed.
        let room = timeout_at(deadline.instant(), room).await;
        room.ok().and_then(Result::ok).ok_or_else(|| {
            Error::broker(format_args!(
                "cannot publish to the topic {:?}: there were {} publishes in flight until the deadline",
                self.topic, self.in_flight
            ))
        })
    }

    /// What goes to the broker, checked.
    pub(super) fn message(&self, draft: Draft) -> Result<Message, Error> {
        let Draft {
            mut message,
            body,
            context,
            timeout: _,
        } = draft;
        let topic = if !message.topic.is_empty() {
            check_name("topic", &message.topic)?;
            Bytes::copy_from_slice(message.topic.as_bytes())
        } else if let Some(wrong) = &self.wrong {
            return Err(Error::config(wrong));
        } else {
            message.topic.clone_from(&self.topic);
            self.topic_header.clone()
        };
        let body = body?;
        message.headers.check().map_err(Error::config)?;
        let headers = &mut message.headers;
        if let Some(context) = context.filter(Context::has_metadata) {
            add_inherited(headers, &context.inherited_metadata(&[]));
        }
        if let Some(content_type) = body.content_type {
            headers.insert_bin(
                CONTENT_TYPE,
                match content_type {
                    std::borrow::Cow::Borrowed(text) => Bytes::from_static(text.as_bytes()),
                    std::borrow::Cow::Owned(text) => Bytes::from(text),
                },
            );
        }
        headers.insert_bin(MICRO_TOPIC, topic);
        if message.id.is_empty() {
            match headers.get(MICRO_ID) {
                Some(id) => message.id = id.to_owned(),
                None if self.delivery == Delivery::AtLeastOnce => message.id = self.ids.next(),
                None => {}
            }
        }
        if !message.id.is_empty() {
            headers.insert(MICRO_ID, message.id.as_str());
        }
        if let Some(from) = &self.from {
            headers.insert_bin(MICRO_FROM_SERVICE, from.clone());
        }
        // Once more for what came from elsewhere: the id, and a content type of the user's own.
        check_values(headers)?;
        message.body = body.bytes;
        Ok(message)
    }
}

/// Adds what a handler's own event or call had, where the publish does not say something else. A value that
/// cannot be sent, which Go takes, stays behind.
fn add_inherited(headers: &mut Metadata, inherited: &Metadata) {
    let own = headers.len();
    for (name, value) in inherited.iter() {
        let given = headers.iter().take(own).any(|(own, _)| own == name);
        if !given && can_be_sent(name, value) {
            headers.append_bin(name, value.clone());
        }
    }
}

fn check_values(headers: &Metadata) -> Result<(), Error> {
    for (name, value) in headers.iter() {
        if !is_value(name, value) {
            return Err(Error::config(format_args!(
                "expected visible ASCII and spaces in the header {name:?} of an event, found another character; a \
                 name that ends in \"-bin\" takes any bytes"
            )));
        }
    }
    Ok(())
}
