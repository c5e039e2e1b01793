//! An authority of a test's own, with its certificates as the files that servers want.

use crate::certs::{self, Folder, Wish};

/// An authority with a folder: `ca.pem` is its certificate, `other.pem` that of an authority which signed nothing.
/// Dropping it removes the folder.
#[derive(Debug)]
pub struct Authority {
    folder: Folder,
    authority: certs::Authority,
}

impl Authority {
    /// Makes one.
    ///
    /// # Panics
    /// The folder cannot be written.
    #[must_use]
    pub fn new() -> Authority {
        let folder = Folder::new();
        let authority = certs::Authority::new("ca");
        folder.write("ca.pem", &authority.pem);
        folder.write("other.pem", certs::Authority::new("other").pem);
        Authority { folder, authority }
    }

    /// Writes `NAME.pem`, a certificate for servers and clients of these hosts, `NAME.key`, and `NAME.both.pem`,
    /// which has the two.
    ///
    /// # Panics
    /// A host is none, or a file cannot be written.
    pub fn sign(&self, name: &str, hosts: &[&str]) {
        let wish = Wish::good().nameless().common_name(name);
        let wish = hosts.iter().fold(wish, |wish, host| {
            if host.parse::<std::net::IpAddr>().is_ok() {
                wish.ip(host)
            } else {
                wish.dns(host)
            }
        });
        let identity = self.authority.sign(wish);
        let both = format!("{}{}", identity.certificate, identity.key);
        self.folder.write(&format!("{name}.both.pem"), both);
        let _ = self.folder.identity(name, &identity);
    }

    /// The path of one of the files.
    #[must_use]
    pub fn file(&self, name: &str) -> String {
        self.folder.path(name).to_string_lossy().into_owned()
    }
}

impl Default for Authority {
    fn default() -> Authority {
        Authority::new()
    }
}
