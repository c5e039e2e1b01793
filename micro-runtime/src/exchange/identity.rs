//! [`PeerIdentity`]: who a peer has proved to be.

use std::fmt;

use bytes::Bytes;

/// Who a peer has proved to be: what its certificate says, which an authority that this side trusts has
/// signed, and whose key the peer has. Without TLS, and where no certificate was asked for or given, there is
/// none. What a caller says of itself in metadata is no identity.
///
/// ```
/// use micro_runtime::{Context, Result, Status};
///
/// fn only_billing(ctx: &Context) -> Result<()> {
///     match ctx.peer_identity() {
///         Some(peer) if peer.uris().any(|uri| uri == "spiffe://shop/billing") => Ok(()),
///         Some(_) => Err(Status::permission_denied("billing only")),
///         None => Err(Status::unauthenticated("a certificate is required")),
///     }
/// }
/// # let _ = only_billing(&Context::default());
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct PeerIdentity {
    certificate: Bytes,
    names: Names,
}

/// What a certificate calls its owner.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    pub(crate) dns: Vec<Box<str>>,
    pub(crate) uris: Vec<Box<str>>,
    pub(crate) common_name: Option<Box<str>>,
}

// ===== impl PeerIdentity =====

impl PeerIdentity {
    #[cfg_attr(not(feature = "tls"), expect(dead_code, reason = "made by TLS"))]
    pub(crate) fn new(certificate: Bytes, names: Names) -> PeerIdentity {
        PeerIdentity { certificate, names }
    }

    /// The peer's own certificate, as DER, without those of the authorities.
    #[must_use]
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// The DNS names in it (subjectAltName), in its order; a wildcard as it stands there.
    pub fn dns_names(&self) -> impl Iterator<Item = &str> {
        self.names.dns.iter().map(|name| &**name)
    }

    /// The URIs in it (subjectAltName), in its order: a SPIFFE id is one.
    pub fn uris(&self) -> impl Iterator<Item = &str> {
        self.names.uris.iter().map(|uri| &**uri)
    }

    /// The common name of its subject, the last if there are several. Older authorities have no other name;
    /// where there are DNS names or URIs, decide by those.
    #[must_use]
    pub fn common_name(&self) -> Option<&str> {
        self.names.common_name.as_deref()
    }
}

impl fmt::Debug for PeerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerIdentity")
            .field("dns_names", &self.names.dns)
            .field("uris", &self.names.uris)
            .field("common_name", &self.names.common_name)
            .finish_non_exhaustive()
    }
}
