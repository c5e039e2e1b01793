//! Certificates, made anew by each test: an authority of its own, and certificates with one fault each.
//!
//! # Panics
//! Everything here does where the system has no memory, disk or randomness left, or a name is none.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};

/// An authority.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate.
    pub pem: String,
}

/// A certificate with its chain, and its key.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate (PEM).
    pub certificate: String,
    /// Its key (PEM).
    pub key: String,
    /// The certificate (DER).
    pub der: Vec<u8>,
}

/// What a certificate is to be.
#[derive(Debug)]
pub struct Wish {
    names: Vec<SanType>,
    usage: Vec<ExtendedKeyUsagePurpose>,
    common_name: Option<String>,
    from: i32,
    to: i32,
    serial: u64,
    is_authority: bool,
}

// ===== impl Wish =====

impl Wish {
    /// Good for both roles, for `localhost` and 127.0.0.1, for long.
    #[must_use]
    pub fn good() -> Wish {
        let wish = Wish {
            names: Vec::new(),
            usage: vec![
                ExtendedKeyUsagePurpose::ServerAuth,
                ExtendedKeyUsagePurpose::ClientAuth,
            ],
            common_name: None,
            from: 2020,
            to: 2100,
            serial: 1,
            is_authority: false,
        };
        wish.dns("localhost").ip("127.0.0.1")
    }

    /// For no name at all.
    #[must_use]
    pub fn nameless(mut self) -> Wish {
        self.names.clear();
        self
    }

    /// For this host name too.
    #[must_use]
    pub fn dns(mut self, name: &str) -> Wish {
        self.names.push(SanType::DnsName(name.try_into().unwrap()));
        self
    }

    /// For this IP address too.
    #[must_use]
    pub fn ip(mut self, ip: &str) -> Wish {
        self.names.push(SanType::IpAddress(ip.parse().unwrap()));
        self
    }

    /// For this URI too.
    #[must_use]
    pub fn uri(mut self, uri: &str) -> Wish {
        self.names.push(SanType::URI(uri.try_into().unwrap()));
        self
    }

    /// With this common name in the owner's name.
    #[must_use]
    pub fn common_name(mut self, name: impl Into<String>) -> Wish {
        self.common_name = Some(name.into());
        self
    }

    /// Good from the beginning of one year to that of another.
    #[must_use]
    pub fn years(mut self, from: i32, to: i32) -> Wish {
        (self.from, self.to) = (from, to);
        self
    }

    /// Good for this use alone.
    #[must_use]
    pub fn only(mut self, usage: ExtendedKeyUsagePurpose) -> Wish {
        self.usage = vec![usage];
        self
    }

    /// With this serial number; 1 otherwise.
    #[must_use]
    pub fn serial(mut self, serial: u64) -> Wish {
        self.serial = serial;
        self
    }

    /// One of an authority (CA:TRUE).
    #[must_use]
    pub fn authority(mut self) -> Wish {
        self.is_authority = true;
        self
    }

    fn params(self) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.subject_alt_names = self.names;
        params.extended_key_usages = self.usage;
        params.distinguished_name = Default::default();
        if let Some(name) = self.common_name {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        params.not_before = date_time_ymd(self.from, 1, 1);
        params.not_after = date_time_ymd(self.to, 1, 1);
        if self.is_authority {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        params.serial_number = Some(SerialNumber::from(self.serial));
        params
    }

    /// Signed by itself.
    #[must_use]
    pub fn self_signed(self) -> Identity {
        let key = KeyPair::generate().unwrap();
        let certificate = self.params().self_signed(&key).unwrap();
        Identity {
            certificate: certificate.pem(),
            der: certificate.der().to_vec(),
            key: key.serialize_pem(),
        }
    }
}

// ===== impl Authority =====

impl Authority {
    /// An authority of this name, with a new key.
    #[must_use]
    pub fn new(name: &str) -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let pem = params.self_signed(&key).unwrap().pem();
        Authority {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// A certificate of this authority, with a new key.
    #[must_use]
    pub fn sign(&self, wish: Wish) -> Identity {
        let key = KeyPair::generate().unwrap();
        let certificate = wish.params().signed_by(&key, &self.issuer).unwrap();
        Identity {
            certificate: certificate.pem(),
            der: certificate.der().to_vec(),
            key: key.serialize_pem(),
        }
    }

    /// A list of revoked certificates, by their serial numbers, good for long.
    #[must_use]
    pub fn revoke(&self, serials: &[u64]) -> String {
        self.revoke_until(serials, 2100)
    }

    /// The same, good until the beginning of a year.
    #[must_use]
    pub fn revoke_until(&self, serials: &[u64], year: i32) -> String {
        let revoked = |&serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(serial),
            revocation_time: date_time_ymd(2021, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2021, 1, 1),
            next_update: date_time_ymd(year, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).unwrap().pem().unwrap()
    }
}

/// A directory that goes with its owner.
#[derive(Debug)]
pub struct Folder(PathBuf);

// ===== impl Folder =====

impl Default for Folder {
    fn default() -> Folder {
        Folder::new()
    }
}

impl Folder {
    /// A new directory, among those for temporary files.
    #[must_use]
    pub fn new() -> Folder {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("micro-tls-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Folder(path)
    }

    /// The path of a file in it.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file, and gives its path.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Writes `<name>.pem` and `<name>.key`.
    #[must_use]
    pub fn identity(&self, name: &str, identity: &Identity) -> (PathBuf, PathBuf) {
        (
            self.write(&format!("{name}.pem"), &identity.certificate),
            self.write(&format!("{name}.key"), &identity.key),
        )
    }
}

impl AsRef<Path> for Folder {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
