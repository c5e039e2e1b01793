//! [`Serve`]: what a server engine gives its exchanges to, and [`Drain`], how it is told to stop.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::watch;

use super::head::Head;
use super::io::{ConnInfo, Io};
use super::stream::{Incoming, Outgoing};

/// A boxed future that can be spawned.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One request, and the means to answer it.
#[derive(Debug)]
pub struct Exchange {
    /// The request's head.
    pub head: Head,
    /// The request's frames.
    pub body: Incoming,
    /// The reply.
    pub reply: Outgoing,
    /// Who asks.
    pub conn: Arc<ConnInfo>,
}

/// What is to be run for an exchange.
pub struct Work {
    /// All of it; dropping it gives the exchange up.
    pub run: BoxFuture<'static, ()>,
    /// Whether its first poll is short, so that the connection's own task may do it: replies to requests
    /// that were read together then leave together. A method known to compute for long says `false` and is
    /// spawned at once.
    pub inline: bool,
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Work")
            .field("inline", &self.inline)
            .finish_non_exhaustive()
    }
}

/// Takes the exchanges of a server's connections.
pub trait Serve: Send + Sync + 'static {
    /// Begins with an exchange. Must be short and must not block: the connection waits for it.
    fn call(&self, exchange: Exchange) -> Work;

    /// Takes the raw byte stream of an HTTP/1.1 connection, after its first head was read; what was read
    /// lies ahead in the [`Io`].
    ///
    /// # Errors
    /// The stream comes back if it is not wanted, which is the default.
    fn raw(&self, first: &Head, io: Io) -> Result<BoxFuture<'static, ()>, Io> {
        let _ = first;
        Err(io)
    }
}

/// How far a server is on its way to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DrainState {
    /// It serves.
    Serving,
    /// Connections say goodbye (GOAWAY with 2³¹−1, then the real last stream) and close when their exchanges
    /// are over.
    Draining,
    /// Everything is cut at once.
    Closing,
}

/// The side that tells: moves every [`Drain`] forward, never back. Dropping it cuts everything.
#[derive(Debug)]
pub struct Drainer(watch::Sender<DrainState>);

/// The side that is told; cloning it is cheap.
#[derive(Clone, Debug)]
pub struct Drain(watch::Receiver<DrainState>);

// ===== impl Drainer =====

impl Drainer {
    /// A pair, serving.
    #[must_use]
    pub fn new() -> (Drainer, Drain) {
        let (sender, receiver) = watch::channel(DrainState::Serving);
        (Drainer(sender), Drain(receiver))
    }

    /// Moves to a later state; an earlier one is ignored.
    pub fn advance(&self, state: DrainState) {
        self.0.send_if_modified(|now| {
            let later = state > *now;
            if later {
                *now = state;
            }
            later
        });
    }

    /// How many are told: each connection, and whoever accepts them.
    #[must_use]
    pub fn watched(&self) -> usize {
        self.0.receiver_count()
    }

    /// Waits until every [`Drain`] is dropped: every connection is over.
    pub async fn drained(&self) {
        self.0.closed().await;
    }
}

// ===== impl Drain =====

impl Drain {
    /// How far it is.
    #[must_use]
    pub fn state(&self) -> DrainState {
        // A dropped teller leaves its last word; `reached` treats it as the end.
        *self.0.borrow()
    }

    /// Waits until this state, or a later one, is reached, or the [`Drainer`] is dropped.
    pub async fn reached(&mut self, state: DrainState) {
        // An error means that the teller is gone: everything is over.
        let _ = self.0.wait_for(|now| *now >= state).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn drains_forward_only_and_counts_the_last() {
        let (drainer, mut drain) = Drainer::new();
        drainer.advance(DrainState::Closing);
        drainer.advance(DrainState::Draining);
        assert_eq!(drain.state(), DrainState::Closing);
        drain.reached(DrainState::Draining).await;
        drop(drain);
        drainer.drained().await;
    }
}
