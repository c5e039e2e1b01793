//! What the end-to-end tests share.

#[cfg(feature = "registries")]
pub mod authority;
pub mod contract;
pub mod expect;
pub mod front;
pub mod go;
pub mod mirror;
pub mod peer;
pub mod proxy;
pub mod servers;
