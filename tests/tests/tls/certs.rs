//! Certificates, made anew by each test.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};

/// An authority.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate.
    pub(crate) pem: String,
}

/// A certificate with its chain, and its key.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(crate) certificate: String,
    pub(crate) key: String,
    pub(crate) der: Vec<u8>,
}

/// What a certificate is to be.
pub(crate) struct Wish {
    names: Vec<SanType>,
    usage: Vec<ExtendedKeyUsagePurpose>,
    common_name: Option<&'static str>,
    from: i32,
    to: i32,
    serial: u64,
    is_authority: bool,
}

// ===== impl Wish =====

impl Wish {
    /// Good for both roles, for `localhost` and 127.0.0.1, for long.
    pub(crate) fn good() -> Wish {
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

    pub(crate) fn nameless(mut self) -> Wish {
        self.names.clear();
        self
    }

    pub(crate) fn dns(mut self, name: &str) -> Wish {
        self.names.push(SanType::DnsName(name.try_into().unwrap()));
        self
    }

    pub(crate) fn ip(mut self, ip: &str) -> Wish {
        self.names.push(SanType::IpAddress(ip.parse().unwrap()));
        self
    }

    pub(crate) fn uri(mut self, uri: &str) -> Wish {
        self.names.push(SanType::URI(uri.try_into().unwrap()));
        self
    }

    pub(crate) fn common_name(mut self, name: &'static str) -> Wish {
        self.common_name = Some(name);
        self
    }

    pub(crate) fn years(mut self, from: i32, to: i32) -> Wish {
        (self.from, self.to) = (from, to);
        self
    }

    pub(crate) fn only(mut self, usage: ExtendedKeyUsagePurpose) -> Wish {
        self.usage = vec![usage];
        self
    }

    pub(crate) fn serial(mut self, serial: u64) -> Wish {
        self.serial = serial;
        self
    }

    pub(crate) fn authority(mut self) -> Wish {
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
    pub(crate) fn self_signed(self) -> Identity {
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
    pub(crate) fn new(name: &str) -> Authority {
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

    pub(crate) fn sign(&self, wish: Wish) -> Identity {
        let key = KeyPair::generate().unwrap();
        let certificate = wish.params().signed_by(&key, &self.issuer).unwrap();
        Identity {
            certificate: certificate.pem(),
            der: certificate.der().to_vec(),
            key: key.serialize_pem(),
        }
    }

    /// A list of revoked certificates, by their serial numbers.
    pub(crate) fn revoke(&self, serials: &[u64]) -> String {
        let revoked = |&serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(serial),
            revocation_time: date_time_ymd(2021, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2021, 1, 1),
            next_update: date_time_ymd(2100, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).unwrap().pem().unwrap()
    }
}

/// A directory that goes with its owner.
pub(crate) struct Folder(PathBuf);

// ===== impl Folder =====

impl Folder {
    pub(crate) fn new() -> Folder {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("micro-tls-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Folder(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Writes `<name>.pem` and `<name>.key`.
    pub(crate) fn identity(&self, name: &str, identity: &Identity) -> (PathBuf, PathBuf) {
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
