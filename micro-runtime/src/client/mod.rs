//! The client: finds a service's nodes, keeps connections to them, makes calls.
//!
//! # How a call runs
//! A [`Call`] is a future. Polled first, it picks a node from the selector's snapshot, and hands request and
//! head to a connection that is there already: without a lock of the client's, without a look-up, without a
//! box. Only what is rare is slow: a service that is called first, a node without a connection, an attempt
//! that failed.
//!
//! # When a call is made again
//! What certainly was not processed (no connection, a refused stream, a connection that said goodbye) goes to
//! another node, each node once, within the call's deadline, whatever the method. What may have been processed
//! is made again only if the method is declared safe to repeat (`idempotency_level` in the proto), if the
//! failure is UNAVAILABLE or a lost connection, if no reply had begun, and as often as
//! [`ClientOptions::retries`] says.
//!
//! # Time and cancellation
//! One deadline covers everything, from the look-up to the last byte: the earliest of the call's time-out and
//! the deadline of the handler that makes the call. Dropping a call, or a half of its stream, cancels it: the
//! server is told.

mod call;
mod head;
mod intercept;
mod limit;
mod named;
mod options;
mod plan;
mod pool;
mod receive;
mod response;
mod setup;
mod streams;
mod target;

use std::fmt;
use std::sync::Arc;

use crate::error::Error;
use crate::exchange::Connection;
use crate::registry::Fixed;
use crate::registry::cache::Cache;
use crate::selector::{P2c, Selector, Strategy};

pub use call::{Bidi, Call, ClientStreaming, Kind, ServerStreaming, Unary};
pub use named::{Named, NamedCall};
pub use options::ClientOptions;
use options::Settings;
pub(crate) use pool::Dial;
use pool::Pool;
pub use response::{Response, WithResponse};
pub use target::Target;

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
