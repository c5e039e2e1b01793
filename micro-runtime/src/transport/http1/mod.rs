//! HTTP/1.1 over hyper's connections: a small client for JSON APIs of back-ends and for the nodes of the HTTP
//! broker, and a small server for that broker.
//!
//! | file | holds |
//! |---|---|
//! | `client` | [`Client`]: one server, requests and whole answers, and what bounds them |
//! | `connect` | how a connection is made: TCP, TLS |
//! | `pool` | connections between requests |
//! | `stream` | answers that are read while they come |
//! | `servers` | [`Servers`]: several servers that are asked in turn until one answers |
//! | `server` | `serve`: a server of POST requests |
//! | `watched` | when a server's connection was last heard of |
//!
//! Every call has a deadline, every answer a largest size, every idle connection an end. A request that died with a
//! connection which had served others before is sent once more on a new one: the server had closed it meanwhile.
//! So requests must be such that doing them twice does no harm; a POST is repeated only if nothing of it was sent.

mod client;
mod connect;
mod pool;
#[cfg(feature = "http")]
mod server;
#[cfg(feature = "consul")]
mod servers;
#[cfg(feature = "kubernetes")]
mod stream;
#[cfg(test)]
mod tests;
#[cfg(feature = "http")]
mod watched;

#[cfg(any(feature = "http", feature = "kubernetes"))]
pub(crate) use client::Failure;
pub(crate) use client::{Answer, Client, Request};
#[cfg(test)]
pub(crate) use connect::Connect;
pub(crate) use connect::Origin;
#[cfg(feature = "http")]
pub(crate) use server::{Answerer, BodyLimits, Received, Refusal, Reply, serve};
#[cfg(feature = "consul")]
pub(crate) use servers::Servers;
#[cfg(feature = "kubernetes")]
pub(crate) use stream::Streaming;
