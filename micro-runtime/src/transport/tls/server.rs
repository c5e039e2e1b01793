//! [`ServerTls`]: TLS of the side that listens.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tokio_rustls::rustls::sign::SingleCertAndKey;

use super::files::{Fingerprint, Identity, Source};
use super::provider;
use crate::Error;
use crate::lock::lock;

/// How often files are looked at while a server listens. Short enough for a certificate that was exchanged
/// minutes before its end, long enough to cost nothing.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// How long new files must have stayed as they are before they are used: one that is being written may end, for
/// a moment, between two certificates, and would be read as one with fewer of them.
const SETTLED: Duration = Duration::from_millis(500);

/// What the server speaks above TLS.
#[derive(Clone, Copy, Debug)]
enum Protocol {
    Http2,
    #[cfg(feature = "http")]
    Http1,
}

/// TLS of a server: who it is, and whom it lets in. TLS 1.2 and 1.3.
///
/// | | default | set by |
/// |---|---|---|
/// | who it is | must be given | [`from_files`](ServerTls::from_files), [`from_pem`](ServerTls::from_pem) |
/// | whom it lets in | everybody | [`client_ca_file`](ServerTls::client_ca_file), [`client_ca_pem`](ServerTls::client_ca_pem): who has a certificate of these authorities (mTLS) |
/// | without a certificate | nobody, once authorities are given | [`client_certificate_optional`](ServerTls::client_certificate_optional) |
///
/// Files are looked at every ten seconds while a server listens, and at once by [`reload`](ServerTls::reload).
/// What is new in them, once it has stayed the same for half a second, applies to connections made from then on; those that are open stay. New files that
/// cannot be used are logged once, and what was read before stays in use: so the two files of a certificate
/// and its key may be replaced one after the other.
///
/// The protocol above comes from ALPN: a client that asks for `h2` gets HTTP/2, one that asks only for others
/// is refused, and where a client asks for nothing its first bytes decide, as without TLS.
///
/// The client's certificate is checked with every connection: no session is resumed.
///
/// Cloning it is cheap; clones share what was read.
///
/// ```no_run
/// use micro_runtime::transport::ServerTls;
/// use micro_runtime::{Error, Service};
///
/// # fn example() -> Result<(), Error> {
/// let tls = ServerTls::from_files("/etc/hello/tls.pem", "/etc/hello/tls.key")
///     .client_ca_file("/etc/hello/clients.pem");
/// let service = Service::new("hellooo").tls(tls).build()?;
/// # drop(service);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "it does nothing until a server is given it"]
pub struct ServerTls {
    settings: Arc<Settings>,
    /// What was made of these settings; each change of them begins anew.
    made: Arc<Made>,
}

#[derive(Clone, Debug)]
struct Settings {
    identity: Identity,
    client_ca: Option<Source>,
    client_crl: Option<Source>,
    optional: bool,
    protocol: Protocol,
}

#[derive(Default)]
struct Made {
    config: ArcSwapOption<ServerConfig>,
    /// What the files held when they were looked at. Held while they are read, by threads that may block.
    seen: Mutex<Fingerprint>,
}

// ===== impl Protocol =====

impl Protocol {
    /// Its name in ALPN.
    fn alpn(self) -> &'static [u8] {
        match self {
            Protocol::Http2 => b"h2",
            #[cfg(feature = "http")]
            Protocol::Http1 => b"http/1.1",
        }
    }
}

// ===== impl ServerTls =====

impl ServerTls {
    fn new(identity: Identity) -> ServerTls {
        ServerTls {
            settings: Arc::new(Settings {
                identity,
                client_ca: None,
                client_crl: None,
                optional: false,
                protocol: Protocol::Http2,
            }),
            made: Arc::default(),
        }
    }

    /// A server with this certificate: a file with it, followed by its chain, and a file with its key (PEM;
    /// PKCS#8, RSA or EC, without a passphrase). Nothing is read yet.
    pub fn from_files(certificate: impl AsRef<Path>, key: impl AsRef<Path>) -> ServerTls {
        ServerTls::new(Identity {
            certificate: Source::file(certificate),
            key: Source::file(key),
        })
    }

    /// The same with another certificate.
    pub(crate) fn with_identity_files(
        self,
        certificate: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> ServerTls {
        let (certificate, key) = (Source::file(certificate), Source::file(key));
        self.change(|settings| settings.identity = Identity { certificate, key })
    }

    /// A server with this certificate: it, followed by its chain, and its key (PEM).
    pub fn from_pem(certificate: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> ServerTls {
        ServerTls::new(Identity {
            certificate: Source::pem(certificate),
            key: Source::pem(key),
        })
    }

    fn change(mut self, change: impl FnOnce(&mut Settings)) -> ServerTls {
        change(Arc::make_mut(&mut self.settings));
        self.made = Arc::default();
        self
    }

    /// Lets in only clients with a certificate of an authority in this file (PEM, one or more certificates).
    /// Handlers find who it is in [`Context::peer_identity`](crate::Context::peer_identity).
    pub fn client_ca_file(self, path: impl AsRef<Path>) -> ServerTls {
        self.change(|settings| settings.client_ca = Some(Source::file(path)))
    }

    /// The same with the authorities' certificates themselves (PEM).
    pub fn client_ca_pem(self, pem: impl AsRef<[u8]>) -> ServerTls {
        self.change(|settings| settings.client_ca = Some(Source::pem(pem)))
    }

    /// Refuses clients whose certificate, or an authority's below the trusted one, is in these lists (PEM).
    /// Default: none. With a list, every authority in a client's chain must have one, in date. Without
    /// authorities for clients it has no effect.
    pub fn client_crl_file(self, path: impl AsRef<Path>) -> ServerTls {
        self.change(|settings| settings.client_crl = Some(Source::file(path)))
    }

    /// Lets in clients without a certificate too; one that is shown must still be good. Handlers decide by
    /// [`Context::peer_identity`](crate::Context::peer_identity). Default: a certificate is required where
    /// authorities are given.
    pub fn client_certificate_optional(self) -> ServerTls {
        self.change(|settings| settings.optional = true)
    }

    /// The same for a server of HTTP/1.1.
    #[cfg(feature = "http")]
    pub(crate) fn for_http1(self) -> ServerTls {
        self.change(|settings| settings.protocol = Protocol::Http1)
    }

    /// Reads the files again, now, and uses what is in them for new connections. Blocks while it reads.
    ///
    /// # Errors
    /// A file cannot be read, or holds something else than it should, or a key is not that of its
    /// certificate. What was read before stays in use.
    pub fn reload(&self) -> Result<(), Error> {
        let mut seen = self.seen();
        // Before they are read: what changes meanwhile is found out with the next look.
        let now = self.settings.fingerprint();
        let config = self.settings.load()?;
        self.made.config.store(Some(Arc::new(config)));
        *seen = now;
        Ok(())
    }

    /// Reads the files if that was not done yet. Blocks while it reads.
    pub(crate) fn load(&self) -> Result<(), Error> {
        match self.config() {
            Some(_) => Ok(()),
            None => self.reload(),
        }
    }

    /// What was read; none before [`load`](ServerTls::load).
    pub(super) fn config(&self) -> Option<Arc<ServerConfig>> {
        self.made.config.load_full()
    }

    /// Looks at the files from time to time, for ever.
    pub(crate) async fn watch(self) {
        if !self.settings.sources().any(Source::is_file) {
            return std::future::pending().await;
        }
        let mut unsettled = None;
        loop {
            let wait = match unsettled {
                Some(_) => SETTLED,
                None => LOOK_AGAIN,
            };
            tokio::time::sleep(wait).await;
            let tls = self.clone();
            // It fails only if it panics, or if the runtime ends.
            let looked = tokio::task::spawn_blocking(move || tls.look(unsettled)).await;
            unsettled = looked.unwrap_or_default();
        }
    }

    /// Reads files that are new, if they are those that were `unsettled` before; gives what is unsettled now.
    fn look(&self, unsettled: Option<Fingerprint>) -> Option<Fingerprint> {
        let mut seen = self.seen();
        let now = self.settings.fingerprint();
        if now == *seen {
            return None;
        }
        if unsettled != Some(now) {
            return Some(now);
        }
        // Also if they cannot be used: that is said once, not every ten seconds.
        *seen = now;
        match self.settings.load() {
            Ok(config) => {
                self.made.config.store(Some(Arc::new(config)));
                tracing::info!(identity = ?self.settings.identity, "new TLS files are used for new connections");
            }
            Err(error) => tracing::warn!(?error, "new TLS files of the server are not used"),
        }
        None
    }

    fn seen(&self) -> MutexGuard<'_, Fingerprint> {
        lock(&self.made.seen)
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls")
            .field("identity", &self.settings.identity)
            .field("client_ca", &self.settings.client_ca)
            .field("client_crl", &self.settings.client_crl)
            .field("client_certificate_optional", &self.settings.optional)
            .finish()
    }
}

// ===== impl Settings =====

impl Settings {
    fn sources(&self) -> impl Iterator<Item = &Source> {
        let identity = [&self.identity.certificate, &self.identity.key];
        let clients = self.client_ca.iter().chain(self.client_crl.iter());
        identity.into_iter().chain(clients)
    }

    fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(self.sources())
    }

    fn load(&self) -> Result<ServerConfig, Error> {
        let key = SingleCertAndKey::from(self.identity.load()?);
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::config("no version of TLS can be spoken").with_source(error))?
            .with_client_cert_verifier(self.verifier()?)
            .with_cert_resolver(Arc::new(key));
        config.alpn_protocols = vec![self.protocol.alpn().to_vec()];
        // A session that is resumed is not checked again, and its certificate is handed on to the next: a client
        // that was good once would stay so, past the end of its certificate, for as long as it comes back.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }

    fn verifier(&self) -> Result<Arc<dyn ClientCertVerifier>, Error> {
        let Some(client_ca) = &self.client_ca else {
            return Ok(WebPkiClientVerifier::no_client_auth());
        };
        let roots = client_ca.roots("the authorities of clients")?;
        let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
        if let Some(crl) = &self.client_crl {
            let lists = crl.revocations()?;
            builder = builder.with_crls(lists).enforce_revocation_expiration();
        }
        if self.optional {
            builder = builder.allow_unauthenticated();
        }
        builder.build().map_err(|error| {
            Error::config("cannot use the authorities of clients").with_source(error)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CERTIFICATE: &str = include_str!("../../../tests/engine/tls/server.pem");
    const KEY: &str = include_str!("../../../tests/engine/tls/server.key");
    const CA: &str = include_str!("../../../tests/engine/tls/ca.pem");

    #[test]
    fn half_written_files_are_not_used() {
        let name = format!("micro-client-ca-{}.pem", std::process::id());
        let path = std::env::temp_dir().join(name);
        let write = |text: &str| std::fs::write(&path, text).unwrap();
        write(CA);
        let tls = ServerTls::from_pem(CERTIFICATE, KEY).client_ca_file(&path);
        tls.load().unwrap();
        let first = tls.config().unwrap();
        let is_first = || Arc::ptr_eq(&first, &tls.config().unwrap());
        let mut unsettled = None;
        let mut look = || {
            unsettled = tls.look(unsettled.take());
            unsettled.is_some()
        };
        assert!(!look() && is_first());

        // It ends between two certificates when it is looked at, and goes on, and is what it was.
        write(&[CA, CA].concat());
        assert!(look() && is_first());
        write(&[CA, CA, CA].concat());
        assert!(look() && is_first());
        write(CA);
        assert!(!look() && is_first());
        // New, and settled; used once.
        write(&[CA, CA].concat());
        assert!(look() && is_first());
        assert!(!look() && !is_first());
        let second = tls.config().unwrap();
        assert!(!look());
        assert!(Arc::ptr_eq(&second, &tls.config().unwrap()));
        // New, settled, and of no use.
        write("nonsense");
        assert!(look());
        assert!(!look() && !look());
        assert!(Arc::ptr_eq(&second, &tls.config().unwrap()));
        std::fs::remove_file(&path).unwrap();
    }
}
