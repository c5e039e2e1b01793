//! TLS, both sides of it, on loopback. Certificates come from [`micro_tests::certs`].
//!
//! - [`support`]: services over TLS, and peers that are not ours
//! - [`servers`]: each kind of server certificate, seen by the client
//! - [`clients`]: each kind of client certificate, seen by the server; the identity in the handler
//! - [`versions`]: TLS 1.2 and 1.3 alone, older ones, ALPN
//! - [`plain`]: plain text where TLS is spoken, and the other way round
//! - [`abuse`]: peers that say nothing, little, too much, or nonsense
//! - [`ends`]: goodbyes and cut-off ends
//! - [`reload`]: new files, broken files, under calls that run
//! - [`resumption`]: certificates are checked with every connection
//! - [`fleet`]: nodes with TLS beside nodes without it
//! - [`settings`]: the same by flags
//! - [`outside`]: `openssl` and `curl`

mod abuse;
mod clients;
mod ends;
mod fleet;
mod outside;
mod plain;
mod reload;
mod resumption;
mod servers;
mod settings;
mod support;
mod versions;
