//! What the end-to-end tests share.

#[cfg(feature = "registries")]
pub mod authority;
#[cfg(feature = "_certs")]
pub mod certs;
pub mod contract;
pub mod expect;
pub mod front;
pub mod go;
pub mod mirror;
pub mod peer;
pub mod proxy;
pub mod servers;
