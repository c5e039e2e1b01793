//! The runtime of micro: discovery, balancing, RPC server and client.

extern crate self as micro_runtime;

pub mod codec;
mod context;
mod deadline;
mod error;
pub mod exchange;
pub mod interceptor;
pub mod json;
mod metadata;
pub mod method;
mod protocol;
pub mod registry;
mod status;
mod stream;

pub use context::Context;
pub use deadline::Deadline;
pub use error::{Error, ErrorKind};
pub use metadata::Metadata;
pub use status::{Code, OrStatus, Result, Status};
pub use stream::{Inbound, Outbound};

pub use bytes;
pub use prost;
pub use prost_types;
