//! [`Source`]: where certificates and keys come from, and how they are read.

use std::fmt;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer, pem,
};
use tokio_rustls::rustls::sign::CertifiedKey;

use super::provider;
use crate::Error;

/// The largest file that is read. All roots of a system are about 200 KiB.
const LARGEST: u64 = 8 * 1024 * 1024;

/// PEM, in a file or given as it is.
#[derive(Clone)]
pub(super) enum Source {
    File(PathBuf),
    Pem(Arc<[u8]>),
}

/// What the files held when they were read; compared, never shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fingerprint(u64);

// ===== impl Source =====

impl Source {
    pub(super) fn file(path: impl AsRef<Path>) -> Source {
        Source::File(path.as_ref().to_owned())
    }

    pub(super) fn pem(text: impl AsRef<[u8]>) -> Source {
        Source::Pem(text.as_ref().into())
    }

    pub(super) fn is_file(&self) -> bool {
        matches!(self, Source::File(_))
    }

    /// Reads it. Blocks, where it is a file.
    fn read(&self, what: &str) -> Result<Arc<[u8]>, Error> {
        let path = match self {
            Source::Pem(text) => return Ok(Arc::clone(text)),
            Source::File(path) => path,
        };
        let failed = |error| {
            let path = path.display();
            Error::config(format_args!("cannot read {what} from {path}")).with_source(error)
        };
        let mut text = Vec::new();
        let file = File::open(path).map_err(failed)?;
        file.take(LARGEST + 1)
            .read_to_end(&mut text)
            .map_err(failed)?;
        if text.len() as u64 > LARGEST {
            let path = path.display();
            return Err(Error::config(format_args!(
                "cannot take {what} from {path}: expected at most {LARGEST} bytes, found more"
            )));
        }
        Ok(text.into())
    }

    fn certificates(&self, what: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
        let text = self.read(what)?;
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
        let certificates = read.map_err(|error| self.wrong(what, CERTIFICATE, &error))?;
        if certificates.is_empty() {
            return Err(self.wrong(what, CERTIFICATE, &"found none"));
        }
        Ok(certificates)
    }

    /// The certificates of authorities.
    pub(super) fn roots(&self, what: &str) -> Result<RootCertStore, Error> {
        let mut roots = RootCertStore::empty();
        for certificate in self.certificates(what)? {
            roots
                .add(certificate)
                .map_err(|error| self.wrong(what, "certificates of authorities", &error))?;
        }
        Ok(roots)
    }

    /// The lists of certificates that were revoked.
    pub(super) fn revocations(&self) -> Result<Vec<CertificateRevocationListDer<'static>>, Error> {
        let what = "the revocation list";
        let expected = "PEM with BEGIN X509 CRL";
        let text = self.read(what)?;
        let read: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&text).collect();
        let lists = read.map_err(|error| self.wrong(what, expected, &error))?;
        if lists.is_empty() {
            return Err(self.wrong(what, expected, &"found none"));
        }
        Ok(lists)
    }

    /// Says what is wrong with it; shows where it is, never what is in it.
    pub(super) fn wrong(&self, what: &str, expected: &str, found: &dyn fmt::Display) -> Error {
        Error::config(format_args!(
            "cannot use {what} {self}: expected {expected}, {found}"
        ))
    }
}

const CERTIFICATE: &str = "PEM with BEGIN CERTIFICATE";

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::File(path) => write!(f, "in {}", path.display()),
            Source::Pem(_) => f.write_str("given as PEM"),
        }
    }
}

/// Where it is, not what: it may be a key.
impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::File(path) => path.fmt(f),
            Source::Pem(_) => f.write_str("PEM"),
        }
    }
}

/// A certificate with its chain, and the key to it.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub(super) certificate: Source,
    pub(super) key: Source,
}

// ===== impl Identity =====

impl Identity {
    /// Reads both, and makes sure that they belong together.
    pub(super) fn load(&self) -> Result<CertifiedKey, Error> {
        let chain = self.certificate.certificates("the certificate")?;
        let what = "the key";
        let text = self.key.read(what)?;
        let expected = "PEM with BEGIN PRIVATE KEY (PKCS#8, RSA or EC), without a passphrase";
        let key = PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
            pem::Error::NoItemsFound => self.key.wrong(what, expected, &"found none"),
            error => self.key.wrong(what, expected, &error),
        })?;
        CertifiedKey::from_der(chain, key, &provider()).map_err(|error| {
            let expected = "a key that belongs to the certificate";
            self.key.wrong(what, expected, &super::error::words(&error))
        })
    }
}

// ===== impl Fingerprint =====

impl Fingerprint {
    /// That of these files as they are now; one that cannot be read is part of it as well. Blocks.
    pub(super) fn of<'a>(sources: impl Iterator<Item = &'a Source>) -> Fingerprint {
        static STATE: OnceLock<RandomState> = OnceLock::new();
        let texts: Vec<_> = sources
            .filter(|source| source.is_file())
            .map(|source| source.read("").ok())
            .collect();
        Fingerprint(STATE.get_or_init(RandomState::new).hash_one(texts))
    }
}
