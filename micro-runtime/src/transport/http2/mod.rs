//! HTTP/2, on the `h2` crate.
//!
//! Both ends gather: what many tasks queue in one turn of the connection leaves in one write. A server polls
//! handlers where their requests were read ([`serve`]); a client's connection, woken by a call, lets the
//! calls that are ready come first ([`connect`]).

mod client;
mod client_stream;
mod error;
mod head;
mod keep;
mod pulse;
mod server;
mod server_stream;
mod turn;
mod wakers;

pub use client::connect;
pub use server::serve;
