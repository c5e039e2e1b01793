//! TLS: [`ClientTls`] and [`ServerTls`], rustls over any byte stream.

mod accept;
mod client;
mod error;
mod files;
mod identity;
mod server;
mod stream;

pub(super) use accept::{Refused, goodbye_in_plain};
pub use client::ClientTls;
pub use server::ServerTls;

use std::sync::{Arc, OnceLock};

use tokio_rustls::rustls::crypto::{CryptoProvider, ring};

/// The one crypto provider of everything here, given explicitly each time: the process-wide default belongs to
/// the program, and with two providers linked rustls would not know which to take.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(ring::default_provider())))
}
