//! Certificates of an authority of a test's own, as files.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};

/// An authority with a folder: `ca.pem` is its certificate, `other.pem` that of an authority which signed nothing.
/// Dropping it removes the folder.
#[derive(Debug)]
pub struct Authority {
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Makes one.
    ///
    /// # Panics
    /// The folder cannot be written.
    #[must_use]
    pub fn new() -> Authority {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder =
            std::env::temp_dir().join(format!("micro-authority-{}-{count}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder for certificates");
        let (_, _) = authority(&folder, "other");
        let (params, key) = authority(&folder, "ca");
        Authority {
            folder,
            issuer: Issuer::new(params, key),
        }
    }

    /// Writes `NAME.pem`, a certificate for servers and clients of these hosts, `NAME.key`, and `NAME.both.pem`,
    /// which has the two.
    ///
    /// # Panics
    /// A host is none, or a file cannot be written.
    pub fn sign(&self, name: &str, hosts: &[&str]) {
        let hosts: Vec<_> = hosts.iter().map(|&host| host.to_owned()).collect();
        let mut params = CertificateParams::new(hosts).expect("hosts");
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let (certificate, key) = (certificate.pem(), key.serialize_pem());
        write(
            &self.folder,
            &format!("{name}.both.pem"),
            &format!("{certificate}{key}"),
        );
        write(&self.folder, &format!("{name}.pem"), &certificate);
        write(&self.folder, &format!("{name}.key"), &key);
    }

    /// The path of one of the files.
    #[must_use]
    pub fn file(&self, name: &str) -> String {
        self.folder.join(name).to_string_lossy().into_owned()
    }
}

impl Default for Authority {
    fn default() -> Authority {
        Authority::new()
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        // What is left of it is in a folder for temporary files.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn authority(folder: &Path, name: &str) -> (CertificateParams, KeyPair) {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let certificate = params.self_signed(&key).expect("a certificate");
    write(folder, &format!("{name}.pem"), &certificate.pem());
    (params, key)
}

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).expect("a file with a certificate");
}
