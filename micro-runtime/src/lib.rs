//! The runtime of micro: discovery, balancing, RPC server and client.

extern crate self as micro_runtime;

pub mod codec;
mod deadline;
mod error;
pub mod exchange;
pub mod json;
mod metadata;
pub mod method;
pub mod registry;
mod status;

pub use deadline::Deadline;
pub use error::{Error, ErrorKind};
pub use metadata::Metadata;
pub use status::{Code, OrStatus, Result, Status};

pub use bytes;
pub use prost;
pub use prost_types;
