//! Calls ⇄ exchanges: the protocols that a call can travel in.

pub(crate) mod grpc;
