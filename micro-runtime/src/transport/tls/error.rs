//! What went wrong in a handshake, in words that say what to do.

use std::fmt;
use std::io;

use tokio_rustls::rustls::{
    AlertDescription, CertificateError, Error, InvalidMessage, OtherError, PeerIncompatible,
};

/// What rustls reports, in words for people.
pub(super) fn words(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(error) => certificate(error),
        Error::NoCertificatesPresented => {
            "the peer gave no certificate, and one is required".to_owned()
        }
        Error::AlertReceived(alert) => refused(*alert),
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "the peer does not speak TLS".to_owned()
        }
        Error::NoApplicationProtocol => {
            "the two sides have no protocol in common (ALPN)".to_owned()
        }
        Error::PeerIncompatible(PeerIncompatible::Tls12NotOfferedOrEnabled)
        | Error::PeerIncompatible(PeerIncompatible::SupportedVersionsExtensionRequired)
        | Error::PeerIncompatible(PeerIncompatible::Tls12NotOffered)
        | Error::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13) => {
            "expected TLS 1.2 or 1.3, found neither".to_owned()
        }
        error => error.to_string(),
    }
}

fn certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the peer's certificate has expired".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the peer's certificate is not valid yet".to_owned()
        }
        CertificateError::Revoked => "the peer's certificate was revoked".to_owned(),
        CertificateError::UnknownIssuer => {
            "the peer's certificate comes from an authority that is not trusted here".to_owned()
        }
        CertificateError::NotValidForName => {
            "the peer's certificate is for other names than the one that was dialled".to_owned()
        }
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => format!(
            "the peer's certificate is for other names: expected {}, found {}",
            expected.to_str(),
            some_of(presented)
        ),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "the peer's certificate may not be used for this (extended key usage)".to_owned()
        }
        CertificateError::ExpiredRevocationList
        | CertificateError::ExpiredRevocationListContext { .. } => {
            "the list of revoked certificates has expired".to_owned()
        }
        CertificateError::Other(other) if is_of_an_authority(other) => {
            "the peer's certificate is one of an authority (CA:TRUE), which may sign others and not stand for a peer: make \
             one with CA:FALSE"
                .to_owned()
        }
        error => format!("the peer's certificate cannot be used: {error}"),
    }
}

/// The first of a certificate's names, of which there may be thousands.
fn some_of(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let shown = names.get(..SHOWN).unwrap_or(names).join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// What `openssl req -x509` makes unless it is told otherwise.
fn is_of_an_authority(error: &OtherError) -> bool {
    let error = error.0.downcast_ref::<webpki::Error>();
    matches!(error, Some(webpki::Error::CaUsedAsEndEntity))
}

/// What the peer says that it did not like.
fn refused(alert: AlertDescription) -> String {
    let about = match alert {
        AlertDescription::CertificateRequired => "it requires a certificate and was given none",
        AlertDescription::CertificateExpired => "our certificate has expired",
        AlertDescription::CertificateRevoked => "our certificate was revoked",
        AlertDescription::UnknownCA => "it does not trust the authority of our certificate",
        // Java's servers, and all of TLS 1.2, say so of none too.
        AlertDescription::BadCertificate => {
            "it does not accept our certificate, or wants one and was given none"
        }
        AlertDescription::CertificateUnknown | AlertDescription::UnsupportedCertificate => {
            "it does not accept our certificate"
        }
        AlertDescription::ProtocolVersion => "it speaks no version of TLS that we speak (1.2, 1.3)",
        AlertDescription::NoApplicationProtocol => "it speaks no protocol that we speak (ALPN)",
        AlertDescription::UnrecognisedName => "it has no certificate for the name that was dialled",
        AlertDescription::HandshakeFailure => "it found no terms that suit both sides",
        alert => return format!("the peer refused the connection: TLS alert {alert:?}"),
    };
    format!("the peer refused the connection: {about}")
}

/// The error of rustls inside an I/O error.
pub(super) fn inside(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

/// A failure of the TLS layer in our words, which stays an I/O error.
#[derive(Debug)]
struct Worded {
    words: String,
    source: Error,
}

impl fmt::Display for Worded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

impl std::error::Error for Worded {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// The same error with our words, if it comes from rustls.
pub(super) fn reword(error: io::Error) -> io::Error {
    match inside(&error) {
        Some(source) => {
            let words = words(source);
            let source = source.clone();
            io::Error::new(error.kind(), Worded { words, source })
        }
        None => error,
    }
}
