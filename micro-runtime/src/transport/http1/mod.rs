//! HTTP/1.1: a small client for JSON APIs of back-ends, over hyper's connections.
//!
//! | file | holds |
//! |---|---|
//! | `client` | [`Client`]: one server, requests and whole answers, and what bounds them |
//! | `connect` | how a connection is made: TCP, TLS |
//! | `pool` | connections between requests |
//! | `stream` | answers that are read while they come |
//! | `servers` | [`Servers`]: several servers that are asked in turn until one answers |
//!
//! Every call has a deadline, every answer a largest size, every idle connection an end. A request that died with a
//! connection which had served others before is sent once more on a new one: the server had closed it meanwhile.
//! So requests must be such that doing them twice does no harm.

mod client;
mod connect;
mod pool;
#[cfg(feature = "consul")]
mod servers;
#[cfg(feature = "kubernetes")]
mod stream;
#[cfg(test)]
mod tests;

#[cfg(feature = "kubernetes")]
pub(crate) use client::Failure;
pub(crate) use client::{Answer, Client, Request};
#[cfg(test)]
pub(crate) use connect::Connect;
pub(crate) use connect::Origin;
#[cfg(feature = "consul")]
pub(crate) use servers::Servers;
#[cfg(feature = "kubernetes")]
pub(crate) use stream::Streaming;
