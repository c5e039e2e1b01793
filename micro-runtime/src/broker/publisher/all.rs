//! [`PublishAll`]: many events, side by side; [`NotKept`]: which of them were lost.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context as Task, Poll};
use std::time::Duration;

use super::publish::Publish;
use crate::broker::join::Join;
use crate::error::Error;
use crate::status::Status;

/// Many events that are published side by side when this is awaited, begun in their order. Dropping it gives
/// up on those that are not done.
///
/// # Errors
/// [`NotKept`]: which of them are not known to be kept; all others are.
#[must_use = "nothing is published until it is awaited"]
pub struct PublishAll {
    join: Join<Publish>,
    failed: Vec<(usize, Error)>,
}

/// Events of a [`PublishAll`] that are not known to be kept. All others are.
pub struct NotKept {
    failed: Vec<(usize, Error)>,
    of: usize,
}

// ===== impl PublishAll =====

impl PublishAll {
    pub(super) fn new(publishes: impl Iterator<Item = Publish>) -> PublishAll {
        PublishAll {
            join: Join::new(publishes),
            failed: Vec::new(),
        }
    }

    /// Adds a header to each event, as [`Publish::metadata`] does.
    pub fn metadata(mut self, name: impl AsRef<str>, value: impl Into<String>) -> PublishAll {
        let value = value.into();
        self.join
            .change(|publish| publish.metadata(name.as_ref(), value.as_str()));
        self
    }

    /// The key of each event, as [`Publish::key`].
    pub fn key(mut self, key: impl Into<String>) -> PublishAll {
        let key = key.into();
        self.join.change(|publish| publish.key(key.as_str()));
        self
    }

    /// How long all of it may take, from when it is first polled. Default: the publisher's.
    pub fn timeout(mut self, timeout: Duration) -> PublishAll {
        self.join.change(|publish| publish.timeout(timeout));
        self
    }
}

impl Future for PublishAll {
    type Output = Result<(), NotKept>;

    fn poll(self: Pin<&mut Self>, cx: &mut Task<'_>) -> Poll<Result<(), NotKept>> {
        let PublishAll { join, failed } = self.get_mut();
        let polled = join.poll(cx, |index, result| {
            if let Err(error) = result {
                failed.push((index, error));
            }
        });
        if polled.is_pending() {
            return Poll::Pending;
        }
        if failed.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let mut failed = std::mem::take(failed);
        failed.sort_by_key(|(index, _)| *index);
        Poll::Ready(Err(NotKept {
            failed,
            of: join.len(),
        }))
    }
}

impl fmt::Debug for PublishAll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublishAll")
            .field("events", &self.join.len())
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
