//! Messages by prost-build itself.

/// The package `shop.v1`, with prost's own code, which has no documentation for everything.
#[allow(missing_docs)]
pub mod pb {
    include!(concat!(env!("OUT_DIR"), "/shop.v1.rs"));
}

/// Its client, whose name a message has taken at the package's level.
pub use pb::__orders::OrdersService as OrdersClient;
