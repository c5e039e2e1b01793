//! [`PublishAll`]: many events, side by side; [`NotKept`]: which of them were lost.

use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Task, Poll};
use std::time::Duration;

use super::{Draft, Shared};
use crate::broker::join::Join;
use crate::deadline::Deadline;
use crate::error::Error;
use crate::exchange::BoxFuture;
use crate::status::Status;

/// How many events are handed to the broker together, at most.
const TOGETHER: usize = 256;

/// Many events that are published side by side when this is awaited, begun in their order. Dropping it gives
/// up on those that are not done.
///
/// # Errors
/// [`NotKept`]: which of them are not known to be kept; all others are.
#[must_use = "nothing is published until it is awaited"]
pub struct PublishAll {
    shared: Arc<Shared>,
    drafts: Vec<Draft>,
    timeout: Option<Duration>,
    of: usize,
    running: Option<Running>,
}

type Running = BoxFuture<'static, Vec<(usize, Error)>>;

/// Events of a [`PublishAll`] that are not known to be kept. All others are.
pub struct NotKept {
    failed: Vec<(usize, Error)>,
    of: usize,
}

// ===== impl PublishAll =====

impl PublishAll {
    pub(super) fn new(shared: Arc<Shared>, drafts: Vec<Draft>) -> PublishAll {
        PublishAll {
            shared,
            of: drafts.len(),
            drafts,
            timeout: None,
            running: None,
        }
    }

    /// Adds a header to each event, as [`Publish::metadata`](super::Publish::metadata) does.
    pub fn metadata(mut self, name: impl AsRef<str>, value: impl Into<String>) -> PublishAll {
        let value = value.into();
        for draft in &mut self.drafts {
            draft.message.headers.append(name.as_ref(), value.as_str());
        }
        self
    }

    /// The key of each event, as [`Publish::key`](super::Publish::key).
    pub fn key(mut self, key: impl Into<String>) -> PublishAll {
        let key = key.into();
        for draft in &mut self.drafts {
            draft.message.key = Some(key.clone());
        }
        self
    }

    /// How long all of it may take, from when it is first polled. Default: the publisher's.
    pub fn timeout(mut self, timeout: Duration) -> PublishAll {
        self.timeout = Some(timeout);
        self
    }
}

impl Future for PublishAll {
    type Output = Result<(), NotKept>;

    fn poll(self: Pin<&mut Self>, cx: &mut Task<'_>) -> Poll<Result<(), NotKept>> {
        let this = self.get_mut();
        let running = this.running.get_or_insert_with(|| {
            let drafts = std::mem::take(&mut this.drafts);
            start(&this.shared, drafts, this.timeout)
        });
        let mut failed = std::task::ready!(running.as_mut().poll(cx));
        // Polled once more it publishes nothing.
        this.running = None;
        if failed.is_empty() {
            return Poll::Ready(Ok(()));
        }
        failed.sort_by_key(|(place, _)| *place);
        Poll::Ready(Err(NotKept {
            failed,
            of: this.of,
        }))
    }
}

/// Publishes them, some together. Their time begins now.
fn start(shared: &Arc<Shared>, mut drafts: Vec<Draft>, timeout: Option<Duration>) -> Running {
    // All of them were made in the same place.
    let context = drafts.first().and_then(|draft| draft.context.as_ref());
    let deadline = match shared.deadline(context, timeout) {
        Ok(deadline) => deadline,
        Err(error) => {
            let failed = all(0..drafts.len(), &error);
            return Box::pin(std::future::ready(failed));
        }
    };
    let together = TOGETHER.min(shared.in_flight);
    if drafts.len() <= together {
        return Box::pin(publish(Arc::clone(shared), 0, drafts, deadline));
    }
    let mut parts = Vec::new();
    let mut first = 0;
    while !drafts.is_empty() {
        let rest = drafts.split_off(together.min(drafts.len()));
        let part = std::mem::replace(&mut drafts, rest);
        let places = part.len();
        parts.push(Box::pin(publish(Arc::clone(shared), first, part, deadline)));
        first += places;
    }
    Box::pin(async move {
        let mut failed = Vec::new();
        let mut parts = Join::new(parts.into_iter());
        std::future::poll_fn(|cx| parts.poll(cx, |_, part| failed.extend(part))).await;
        failed
    })
}

/// Publishes these, of which the first has this place.
async fn publish(
    shared: Arc<Shared>,
    first: usize,
    drafts: Vec<Draft>,
    deadline: Deadline,
) -> Vec<(usize, Error)> {
    let of = drafts.len();
    let room = u32::try_from(of).unwrap_or(u32::MAX);
    let _room = match shared.room_for(room, deadline).await {
        Ok(room) => room,
        Err(error) => return all(first..first + of, &error),
    };
    let mut failed = Vec::new();
    let mut messages = Vec::with_capacity(of);
    // The places of those that can be sent, as long as they are not all.
    let mut places = None;
    for (place, draft) in drafts.into_iter().enumerate() {
        match shared.message(draft) {
            Ok(message) => {
                if let Some(places) = &mut places {
                    Vec::push(places, place);
                }
                messages.push(message);
            }
            Err(error) => {
                places.get_or_insert_with(|| (0..place).collect());
                failed.push((first + place, error));
            }
        }
    }
    let published = shared
        .broker
        .start_publish_all(messages, shared.delivery, deadline);
    let lost = published.await.into_iter().map(|(place, error)| {
        let place = match &places {
            Some(places) => places.get(place).copied().unwrap_or(place),
            None => place,
        };
        (first + place, error)
    });
    failed.extend(lost);
    failed
}

/// The same error for all of these.
fn all(places: Range<usize>, error: &Error) -> Vec<(usize, Error)> {
    places.map(|place| (place, error.again())).collect()
}

impl fmt::Debug for PublishAll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublishAll")
            .field("events", &self.of)
            .finish_non_exhaustive()
    }
}

// ===== impl NotKept =====

impl NotKept {
    /// Which events they are, counted from 0 in the order they were given, and why; at least one.
    #[must_use]
    pub fn failed(&self) -> &[(usize, Error)] {
        &self.failed
    }

    /// How many events there were in all.
    #[must_use]
    pub fn of(&self) -> usize {
        self.of
    }
}

impl fmt::Display for NotKept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} events are not known to be kept",
            self.failed.len(),
            self.of
        )?;
        match self.failed.first() {
            Some((index, error)) => write!(f, "; event {index}: {error}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for NotKept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for NotKept {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.failed
            .first()
            .map(|(_, error)| error as &(dyn std::error::Error + 'static))
    }
}

impl From<NotKept> for Error {
    fn from(not_kept: NotKept) -> Error {
        match not_kept.failed.first() {
            Some((_, error)) => Error::new(error.kind(), &not_kept),
            None => Error::broker(&not_kept),
        }
    }
}

impl From<NotKept> for Status {
    fn from(not_kept: NotKept) -> Status {
        Error::from(not_kept).into()
    }
}
