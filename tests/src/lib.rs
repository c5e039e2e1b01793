//! What the end-to-end tests share.

pub mod front;
pub mod mirror;
pub mod peer;
