//! The client: finds a service's nodes, keeps connections to them, makes calls.
//!
//! # How a call runs
//! A [`Call`] is a future. Polled first, it picks a node from the selector's snapshot, and hands request and
//! head to a connection that is there already: without a lock of the client's, without a look-up, without a
//! box. Only what is rare is slow: a service that is called first, a node without a connection, an attempt
//! that failed.
//!
//! # When a call is made again
//! **Transparently**: what certainly was not processed (no connection, a refused stream, a connection that said
//! goodbye) goes to another node, each node once, within the call's deadline, whatever the method. A node that
//! did not answer a moment ago is passed over without an attempt, so that a fleet that is down costs a call
//! next to nothing. Of the refusals by nodes that had the request only the first is free; the others are paid
//! for as below, so that a fleet that refuses everything gets twice its load at most, and a fifth.
//!
//! **Repeated**: what may have been processed is made again only if the method is safe to repeat
//! (`idempotency_level` in the proto, or [`MethodOptions::safe`]), if the failure is UNAVAILABLE or a lost
//! connection, if no reply had begun (the reply's head settles it), and as often as [`ClientOptions::retries`]
//! says. It goes to another node at once; to one that it has been to only when there is no other, and after a
//! pause of 100 ms that grows. No attempt begins when less time is left than the pause before it. The server
//! has a say: with `grpc-retry-pushback-ms` in its answer it names the pause (one of more than two minutes
//! ends a call without a deadline), or forbids another attempt (a negative number, or anything else). It is told
//! how often the call was repeated, in `grpc-previous-rpc-attempts`.
//!
//! **Hedged**: with [`ClientOptions::hedging`], a unary call that is safe to repeat goes to a second node when
//! the first is slow, and the first good reply wins; see [`Hedging`].
//!
//! **Asked once more**: when no node that a call knows of can be reached, it has the registry asked for others
//! before it fails, so that a fleet that has moved since is found by the first call that misses it. All calls to a
//! service share one such look-up at a time, at most five in a second, and each waits 250 ms for it at most; nodes
//! that are known to be down, and a registry that is known to fail, are waited for by nobody.
//!
//! Repeats and hedges are bounded for all calls to a service together, by a budget ([`RetryBudget`]: 20 % of
//! the calls and 10 per second, over 10 s) and by a throttle ([`RetryThrottle`]: none while too much fails).
//! Transparent attempts pass the throttle. What was left undone for these reasons fails with the status of the
//! last attempt.
//!
//! **Waiting**: with [`ClientOptions::wait_for_ready`] a call that finds no node to go to waits for one, until
//! its deadline, where it would fail with UNAVAILABLE. What the registry tells, and a node that is back, wake it at
//! once; without a word of either it looks by itself, after 100 ms at first and every second later on.
//!
//! Every attempt is shown: by [`Response::attempts`], and to interceptors by
//! [`Invocation::attempts`](crate::interceptor::Invocation::attempts).
//!
//! # Time and cancellation
//! One deadline covers everything, from the look-up to the last byte: the earliest of the call's time-out and
//! the deadline of the handler that makes the call. Each attempt tells its server what is left of it. Dropping a
//! call, or a half of its stream, cancels it: the server is told.

mod budget;
mod call;
mod gate;
mod head;
mod intercept;
mod latencies;
mod limit;
mod named;
mod options;
mod plan;
mod policy;
mod pool;
mod receive;
mod response;
mod setup;
mod streams;
mod target;
mod throttle;

use std::fmt;
use std::sync::Arc;

use crate::error::Error;
use crate::exchange::Connection;
use crate::registry::Fixed;
use crate::registry::cache::Cache;
use crate::selector::{P2c, Selector, Strategy};

pub use crate::interceptor::{Attempt, AttemptKind, Attempts};
pub use budget::RetryBudget;
pub use call::{Bidi, Call, ClientStreaming, Kind, ServerStreaming, Unary};
pub use named::{Named, NamedCall};
pub use options::ClientOptions;
use options::Settings;
pub use policy::{Hedging, MethodOptions};
pub(crate) use pool::Dial;
use pool::Pool;
pub use response::{Response, WithResponse};
pub use target::Target;
pub use throttle::RetryThrottle;

/// Makes calls. Cloning it is cheap, and clones share what they know of nodes, and their connections; with the
/// last clone, and the last [`Target`] and call made with it, its connections close.
///
/// It needs a tokio runtime with time and I/O when calls are made, not before.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    settings: Settings,
}

/// What clients made from one another share.
struct Shared {
    selector: Selector<Pool>,
    mode: Mode,
}

enum Mode {
    Registry,
    /// Every call goes over one given connection, which stands for this address.
    Over(Arc<str>),
}

// ===== impl Client =====

impl Client {
    /// A client of this registry.
    #[cfg(test)]
    pub(crate) fn new(
        registry: Arc<dyn crate::registry::DynRegistry>,
        strategy: Arc<dyn Strategy>,
        dial: Arc<dyn Dial>,
        options: ClientOptions,
    ) -> Result<Client, Error> {
        Client::with_cache(Cache::new(registry), strategy, dial, options)
    }

    pub(crate) fn with_cache(
        cache: Cache,
        strategy: Arc<dyn Strategy>,
        dial: Arc<dyn Dial>,
        options: ClientOptions,
    ) -> Result<Client, Error> {
        let settings = Settings::default().with(options)?;
        let selector = Selector::with_cache(cache, strategy, move || Pool::new(Arc::clone(&dial)));
        Ok(Client::of(selector, Mode::Registry, settings))
    }

    /// A client whose every call, to whatever service, goes over this connection. It looks nothing up, and
    /// when the connection is gone, calls fail with UNAVAILABLE.
    #[must_use]
    pub fn over(connection: Connection) -> Client {
        let mode = Mode::Over(connection.info().peer.to_string().into());
        let none = Arc::new(Fixed::new([""; 0]));
        let dial: Arc<dyn Dial> = Arc::new(pool::Given(connection));
        let make = move || Pool::new(Arc::clone(&dial));
        let selector = Selector::new(none, Arc::new(P2c), make);
        Client::of(selector, mode, Settings::default())
    }

    fn of(selector: Selector<Pool>, mode: Mode, settings: Settings) -> Client {
        Client(Arc::new(Inner {
            shared: Arc::new(Shared { selector, mode }),
            settings,
        }))
    }

    /// A client with other settings, that shares nodes and connections with this one.
    ///
    /// # Errors
    /// A setting has a value that it cannot have.
    pub fn with(&self, options: ClientOptions) -> Result<Client, Error> {
        Ok(Client(Arc::new(Inner {
            shared: Arc::clone(&self.0.shared),
            settings: self.0.settings.with(options)?,
        })))
    }

    /// A service to be called, by its name in the registry; it is looked up with the first call. Generated
    /// clients do this in their `new_…_service`.
    #[must_use]
    pub fn target(&self, name: &str) -> Target {
        Target::new(self, name)
    }

    /// A call without generated code, by the names of a service and of an endpoint, both as in the registry.
    pub fn request(&self, service: &str, endpoint: &str) -> NamedCall {
        NamedCall::new(self, service, endpoint)
    }

    fn selector(&self) -> &Selector<Pool> {
        &self.0.shared.selector
    }

    fn settings(&self) -> &Settings {
        &self.0.settings
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("registry", &self.selector().registry_name())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
