//! Connections: bytes below, exchanges above.
//!
//! [`accept`] takes connections from a [`Listener`], finds out what each speaks and serves it; [`dial`] makes
//! one to an [`Address`]. Engines carry [exchanges](crate::exchange) over a byte stream, or without one:
//!
//! | engine | server | client |
//! |---|---|---|
//! | HTTP/2 | [`http2::serve`] | [`http2::connect`] |
//! | in-process | [`local::connect`] | the same |
//!
//! Beside them, `http1` is a client for the JSON APIs of back-ends, and a client and a server for the HTTP broker:
//! no exchanges, whole bodies.
//!
//! What a connection may do to this process is bounded by [`ServerLimits`] and [`ClientLimits`].

mod accept;
mod address;
mod detect;
mod dial;
mod gauge;
#[cfg(any(feature = "consul", feature = "http", feature = "kubernetes"))]
#[cfg_attr(
    not(all(feature = "consul", feature = "http", feature = "kubernetes")),
    allow(dead_code, unused_imports, reason = "each needs another part of it")
)]
pub(crate) mod http1;
pub mod http2;
mod limits;
mod listener;
pub mod local;
mod tcp;
#[cfg(feature = "tls")]
mod tls;
#[cfg(unix)]
mod unix;

pub use accept::{accept, serve};
pub use address::Address;
pub use dial::dial;
#[cfg(feature = "tls")]
pub use dial::dial_tls;
pub use limits::{ClientLimits, ServerLimits};
pub use listener::Listener;
#[cfg(any(feature = "rabbitmq", feature = "redis", feature = "zookeeper"))]
pub(crate) use tcp::dial as dial_tcp;
#[cfg(feature = "tls")]
pub use tls::{ClientTls, ServerTls};

use crate::exchange::Broken;

/// How a server's connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Closed {
    /// The peer closed it, with everything answered.
    ByPeer,
    /// It was drained: everything was answered, and goodbye was said.
    Drained,
    /// It was cut by [`DrainState::Closing`](crate::exchange::DrainState::Closing).
    Cut,
    /// It had no exchange for [`ServerLimits::idle_timeout`].
    Idle,
    /// The peer gave no sign of life within [`ServerLimits::keep_alive`].
    Unanswered,
    /// It broke, or the peer broke the protocol.
    Broken(Broken),
}
