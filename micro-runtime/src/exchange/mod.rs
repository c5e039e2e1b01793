//! The seam between calls and connections.
//!
//! Everything above (protocols, router, client, interceptors) speaks to everything below (TCP, Unix sockets,
//! HTTP/2, HTTP/1.1, in-process) through the types of this module, and through nothing else. They carry what
//! RPC needs and no engine's habits, so that an engine can be replaced without a change above `transport`.
//!
//! An [`Exchange`] is one request and its reply: a [`Head`] each way, [`Frame`]s, and an end that is clean,
//! with trailers, or [`Broken`]. A server engine hands exchanges to a [`Serve`]; a client engine gives a
//! [`Connection`] that opens them.

mod broken;
mod connection;
mod head;
mod identity;
mod io;
mod serve;
mod stream;

pub use broken::{Broken, Processed, Why, reset};
pub(crate) use connection::Dialled;
pub use connection::{Connection, Load, NotOpened, NotOpenedWhy, State};
pub use head::{FieldName, FieldValue, Head, HeadBuilder, Line, OutFields, OutHead, Slot, Verb};
#[cfg(feature = "tls")]
pub(crate) use identity::Names;
pub use identity::PeerIdentity;
pub(crate) use io::FIRST_BYTES;
pub use io::{ConnInfo, HttpVersion, Io, PeerAddr};
pub use serve::{BoxFuture, Drain, DrainState, Drainer, Exchange, Serve, Work};
pub use stream::{Frame, Incoming, Outgoing};
pub(crate) use stream::{Receive, Transmit};
