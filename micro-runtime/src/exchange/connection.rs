//! [`Connection`]: a client's end of a connection, whatever the engine.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;

use super::head::OutHead;
use super::io::ConnInfo;
use super::serve::BoxFuture;
use super::stream::{Incoming, Outgoing};

/// What an engine does for a client.
#[expect(
    clippy::result_large_err,
    reason = "what was not sent is given back as it is, without an allocation"
)]
pub(crate) trait Dialled: Send + Sync + 'static {
    fn try_open(
        &self,
        head: OutHead,
        first: Option<Bytes>,
        end: bool,
    ) -> Result<(Outgoing, Incoming), NotOpened>;
    fn load(&self) -> Load;
    /// Ready once after anything of [`Load`] changed since the call.
    fn changed(&self) -> BoxFuture<'_, ()>;
    fn drain(&self);
    fn info(&self) -> &ConnInfo;
}

/// Whether a connection takes calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It does.
    Open,
    /// It finishes those that it has, and takes no more.
    Draining,
    /// It is gone.
    Closed,
}

/// How busy a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Exchanges that are open.
    pub in_flight: usize,
    /// As many as the peer, or a limit of ours, allows.
    pub maximum: usize,
    /// Whether it takes calls.
    pub state: State,
}

/// Why [`Connection::try_open`] sent nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotOpenedWhy {
    /// As many exchanges are open as may be; another may fit soon.
    Full,
    /// The connection takes no more.
    Draining,
    /// It is gone.
    Closed,
}

/// Nothing was sent; head and first bytes come back, for another connection.
#[derive(Debug)]
pub struct NotOpened {
    /// Why.
    pub why: NotOpenedWhy,
    /// The head as it was given.
    pub head: OutHead,
    /// The first bytes as they were given.
    pub first: Option<Bytes>,
}

/// A handle on a connection to a peer; cloning it is cheap. Its own task reads, drains the queue and flushes
/// once a turn. Dropping the last handle closes it once its exchanges are over.
#[derive(Clone)]
pub struct Connection(Arc<dyn Dialled>);

// ===== impl Connection =====

impl Connection {
    pub(crate) fn new(engine: Arc<dyn Dialled>) -> Connection {
        Connection(engine)
    }

    /// Opens an exchange without waiting: queues its head, the first bytes if there are any, and the end of
    /// this side if `end` is set.
    ///
    /// # Errors
    /// What was given comes back unsent if the connection takes no exchange now.
    #[expect(
        clippy::result_large_err,
        reason = "what was not sent is given back as it is, without an allocation"
    )]
    pub fn try_open(
        &self,
        head: OutHead,
        first: Option<Bytes>,
        end: bool,
    ) -> Result<(Outgoing, Incoming), NotOpened> {
        self.0.try_open(head, first, end)
    }

    /// How busy it is; read without a lock.
    #[must_use]
    pub fn load(&self) -> Load {
        self.0.load()
    }

    /// Resolves when something of [`Connection::load`] has changed since this was called, not since it was
    /// first polled: a slot was freed, the peer's settings came, it drains or is closed. Resolves at once if it
    /// is closed.
    pub fn changed(&self) -> impl Future<Output = ()> + Send + '_ {
        self.0.changed()
    }

    /// Takes no more exchanges, and closes when those that are open are over.
    pub fn drain(&self) {
        self.0.drain();
    }

    /// Who is at the other end.
    #[must_use]
    pub fn info(&self) -> &ConnInfo {
        self.0.info()
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("peer", &self.info().peer)
            .field("load", &self.load())
            .finish()
    }
}
