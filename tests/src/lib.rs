//! What the end-to-end tests share.

#[cfg(feature = "registries")]
pub mod authority;
pub mod broker_contract;
#[cfg(feature = "brokers")]
pub mod broker_handlers;
#[cfg(feature = "brokers")]
pub mod brokers;
#[cfg(feature = "_certs")]
pub mod certs;
#[cfg(feature = "brokers")]
pub mod consumer;
pub mod contract;
pub mod events;
pub mod expect;
pub mod front;
pub mod go;
pub mod mirror;
#[cfg(feature = "registries")]
pub mod nats;
pub mod peer;
pub mod proxy;
pub mod servers;
pub mod small_broker;
