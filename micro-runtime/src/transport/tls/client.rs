//! [`ClientTls`]: TLS of the side that dials.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::client::{Resumption, WebPkiServerVerifier};
use tokio_rustls::rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::sign::SingleCertAndKey;
use tokio_rustls::rustls::{
    self, ClientConfig, DigitallySignedStruct, InvalidMessage, RootCertStore, SignatureScheme,
};

use super::files::{Fingerprint, Identity, Source};
use super::{error, provider, stream};
use crate::Error;
use crate::exchange::{Broken, Io, Why};
use crate::lock::lock;

/// How old what was read from files may be before they are looked at again, with the next connection.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// How long new files must have stayed as they are before they are used: one that is being written may end, for
/// a moment, between two certificates, and would be read as one with fewer of them.
const SETTLED: Duration = Duration::from_millis(500);

/// So many sets of protocols have their configuration kept. Each user of a [`ClientTls`] has one set, always
/// the same.
const KEPT: usize = 8;

/// TLS of a client: whom it trusts, and who it is. TLS 1.2 and 1.3.
///
/// | | default | set by |
/// |---|---|---|
/// | whom it trusts | the system's authorities | [`ca_file`](ClientTls::ca_file), [`ca_pem`](ClientTls::ca_pem) |
/// | who it is (mTLS) | nobody | [`identity_files`](ClientTls::identity_files), [`identity_pem`](ClientTls::identity_pem) |
/// | the name that a server's certificate must have | the host that is dialled | [`server_name`](ClientTls::server_name) |
///
/// Nothing is read before the first connection; a file that cannot be read, or holds something else, is told
/// by every connection that is tried, and by [`check`](ClientTls::check). Files are looked at again with the
/// first connection after ten seconds; new ones, once they have stayed the same for half a second, apply to
/// connections made from then on, those that are open stay. New files that cannot be used are logged, and what was read before stays in use.
///
/// The server's certificate is checked with every connection: no session is resumed.
///
/// # Which nodes speak TLS
///
/// A service's client speaks TLS with every node that it calls, or with none, whatever the registry says of
/// them: nodes of go-micro do not say whether they speak TLS, and who can write to the registry must not decide
/// whether calls are encrypted. Where some nodes of a service speak TLS and others do not, a client reaches those
/// that speak as it does. The others refuse it before anything was processed: they are put aside, and the call
/// goes on to another node. So a fleet changes over without a stop: nodes with TLS are started beside those
/// without it, then clients are given TLS, then the nodes without it go. If no node speaks as the client does,
/// calls fail with UNAVAILABLE, and say why.
///
/// Nodes of micro with TLS say `secure=true` in their metadata:
/// [`Filter::label("secure", "true")`](crate::selector::Filter::label) keeps a client from dialling any others.
///
/// Cloning it is cheap; clones share what was read.
///
/// ```
/// use micro_runtime::transport::ClientTls;
///
/// let tls = ClientTls::new()
///     .ca_file("/etc/hello/ca.pem")
///     .identity_files("/etc/hello/client.pem", "/etc/hello/client.key");
/// # let _ = tls;
/// ```
#[derive(Clone, Default)]
#[must_use = "it does nothing until a client or a registry is given it"]
pub struct ClientTls {
    settings: Arc<Settings>,
    /// What was made of these settings; each change of them begins anew.
    made: Arc<Made>,
}

#[derive(Clone, Debug, Default)]
struct Settings {
    ca: Option<Source>,
    crl: Option<Source>,
    identity: Option<Identity>,
    server_name: Option<String>,
    insecure: bool,
}

#[derive(Default)]
struct Made {
    /// Held while files are read, by threads that may block.
    reading: Mutex<()>,
    /// Held for short sections without a wait.
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// Without protocols.
    base: Option<ClientConfig>,
    /// With them.
    configs: Vec<(Vec<Vec<u8>>, Arc<ClientConfig>)>,
    fingerprint: Fingerprint,
    /// What is new, and may be half written.
    unsettled: Option<Fingerprint>,
    looked: Option<Instant>,
}

// ===== impl ClientTls =====

impl ClientTls {
    /// Trusts the system's authorities, and is nobody.
    ///
    /// The system's authorities are where OpenSSL would look for them, or in the file or directory that
    /// `SSL_CERT_FILE` or `SSL_CERT_DIR` names; on macOS and Windows those of the system's key store.
    pub fn new() -> ClientTls {
        ClientTls::default()
    }

    fn change(mut self, change: impl FnOnce(&mut Settings)) -> ClientTls {
        change(Arc::make_mut(&mut self.settings));
        self.made = Arc::default();
        self
    }

    /// Trusts the system's authorities, and no others; the default.
    pub fn system_ca(self) -> ClientTls {
        self.change(|settings| settings.ca = None)
    }

    /// Trusts the authorities in this file (PEM, one or more certificates), and no others.
    pub fn ca_file(self, path: impl AsRef<Path>) -> ClientTls {
        self.change(|settings| settings.ca = Some(Source::file(path)))
    }

    /// Trusts these authorities (PEM, one or more certificates), and no others.
    pub fn ca_pem(self, pem: impl AsRef<[u8]>) -> ClientTls {
        self.change(|settings| settings.ca = Some(Source::pem(pem)))
    }

    /// Refuses servers whose certificate, or an authority's below the trusted one, is in these lists (PEM).
    /// Default: none. With a list, every authority in a server's chain must have one, in date.
    pub fn crl_file(self, path: impl AsRef<Path>) -> ClientTls {
        self.change(|settings| settings.crl = Some(Source::file(path)))
    }

    /// Shows this certificate to servers that ask for one: a file with it, followed by its chain, and a file
    /// with its key (PEM, without a passphrase). Default: none.
    pub fn identity_files(self, certificate: impl AsRef<Path>, key: impl AsRef<Path>) -> ClientTls {
        let (certificate, key) = (Source::file(certificate), Source::file(key));
        self.change(|settings| settings.identity = Some(Identity { certificate, key }))
    }

    /// Shows this certificate to servers that ask for one: it, followed by its chain, and its key (PEM).
    pub fn identity_pem(self, certificate: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> ClientTls {
        let (certificate, key) = (Source::pem(certificate), Source::pem(key));
        self.change(|settings| settings.identity = Some(Identity { certificate, key }))
    }

    /// Expects certificates for this name (or IP address), whatever host is dialled: for nodes that are known
    /// by address alone, with a certificate of the service's name. Default: the host that is dialled.
    pub fn server_name(self, name: impl Into<String>) -> ClientTls {
        self.change(|settings| settings.server_name = Some(name.into()))
    }

    /// Takes any certificate of any server: whoever is between the two can read and change everything. For
    /// tries, and for servers that make themselves a certificate at each start, as go-micro's HTTP transport
    /// does. Said in the log, once.
    pub fn insecure_skip_verify(self) -> ClientTls {
        self.change(|settings| settings.insecure = true)
    }

    /// Reads everything, and says what is wrong with it. Blocks while it reads.
    ///
    /// # Errors
    /// A file cannot be read, or holds something else than it should; a key is not that of its certificate;
    /// the server name is none; the system has no authorities and none were given.
    pub fn check(&self) -> Result<(), Error> {
        if let Some(name) = &self.settings.server_name {
            server_name(name)?;
        }
        self.config(&[]).map(drop)
    }

    /// The configuration for a user of these application protocols, who may want none. Reads files, and so
    /// may block, when it is called first, and when what was read is ten seconds old.
    ///
    /// # Errors
    /// Those of [`check`](ClientTls::check), as long as nothing good was read before.
    pub(crate) fn config(&self, alpn: &[&[u8]]) -> Result<Arc<ClientConfig>, Error> {
        if let Some(config) = self.kept(alpn) {
            return Ok(config);
        }
        // One reads, the others wait for what it finds; nobody who waits here runs a task.
        let _reading = self.made.reading.lock();
        if let Some(config) = self.kept(alpn) {
            return Ok(config);
        }
        if !self.is_young() {
            self.look()?;
            if let Some(config) = self.kept(alpn) {
                return Ok(config);
            }
        }
        let mut known = self.known();
        let Some(base) = &known.base else {
            return Err(Error::config("TLS files were not read"));
        };
        // Everything but the protocols is shared.
        let mut config = base.clone();
        config.alpn_protocols = owned(alpn);
        let config = Arc::new(config);
        if known.configs.len() < KEPT {
            known.configs.push((owned(alpn), Arc::clone(&config)));
        }
        Ok(config)
    }

    /// Looks at the files, and reads them if they have changed.
    fn look(&self) -> Result<(), Error> {
        let fingerprint = Fingerprint::of(self.settings.sources());
        let (is_first, is_new) = {
            let mut known = self.known();
            let is_new = known.fingerprint != fingerprint;
            let is_settled = known.unsettled.take() == Some(fingerprint);
            if known.base.is_some() && is_new && !is_settled {
                known.unsettled = Some(fingerprint);
                known.looked = Some(Instant::now());
                return Ok(());
            }
            (known.base.is_none(), is_new)
        };
        let read = (is_first || is_new).then(|| self.settings.load());
        let mut known = self.known();
        match read {
            Some(Err(error)) if is_first => return Err(error),
            Some(Err(error)) => tracing::warn!(?error, "new TLS files of a client are not used"),
            Some(Ok(config)) => {
                known.base = Some(config);
                known.configs.clear();
            }
            None => {}
        }
        known.fingerprint = fingerprint;
        known.looked = Some(Instant::now());
        Ok(())
    }

    /// Whether what was read needs no further look.
    fn is_young(&self) -> bool {
        let known = self.known();
        let young = match known.unsettled {
            Some(_) => SETTLED,
            None => LOOK_AGAIN,
        };
        known
            .looked
            .is_some_and(|looked| looked.elapsed() < young || !self.settings.has_files())
    }

    /// The configuration, if it is there and young enough.
    fn kept(&self, alpn: &[&[u8]]) -> Option<Arc<ClientConfig>> {
        if !self.is_young() {
            return None;
        }
        let known = self.known();
        let found = known.configs.iter().find(|(kept, _)| kept == alpn);
        found.map(|(_, config)| Arc::clone(config))
    }

    /// Speaks TLS over a byte stream that reaches `host`, with one of these application protocols, or none
    /// where the server names none. It has no time-out of its own.
    ///
    /// # Errors
    /// The server does not speak TLS, or not with this client; the words say why. Nothing was processed.
    pub(crate) async fn connect(&self, io: Io, host: &str, alpn: &[&[u8]]) -> Result<Io, Broken> {
        let failed = |detail: String| Broken::new(Why::Closed).unprocessed().with_detail(detail);
        let name = self.settings.server_name.as_deref().unwrap_or(host);
        let name = server_name(name).map_err(|error| failed(error.to_string()))?;
        let config = match self.kept(alpn) {
            Some(config) => config,
            None => {
                let (tls, alpn) = (self.clone(), owned(alpn));
                let read = tokio::task::spawn_blocking(move || {
                    let alpn: Vec<&[u8]> = alpn.iter().map(Vec::as_slice).collect();
                    tls.config(&alpn)
                });
                match read.await {
                    Ok(config) => config.map_err(|error| failed(format!("{error:?}")))?,
                    Err(error) => return Err(failed(format!("cannot read TLS files: {error}"))),
                }
            }
        };
        let connecting = TlsConnector::from(config).connect(name, io);
        let stream = connecting.await.map_err(|error| failed(why(&error)))?;
        Ok(Io::new(stream::Stream::new(stream)))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        lock(&self.made.known)
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls")
            .field("ca", &self.settings.ca)
            .field("crl", &self.settings.crl)
            .field("identity", &self.settings.identity)
            .field("server_name", &self.settings.server_name)
            .field("insecure_skip_verify", &self.settings.insecure)
            .finish()
    }
}

fn owned(alpn: &[&[u8]]) -> Vec<Vec<u8>> {
    alpn.iter().map(|protocol| protocol.to_vec()).collect()
}

/// A host, or the text of an IP address, as a name that a certificate may have.
fn server_name(host: &str) -> Result<ServerName<'static>, Error> {
    let host = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    // No certificate has the zone of a link-local address.
    let host = host.split_once('%').map_or(host, |(host, _)| host);
    ServerName::try_from(host.to_owned()).map_err(|_| {
        Error::config(format_args!(
            "TLS needs a name to expect in the certificate: expected a host name or an IP address, found {host:?}"
        ))
    })
}

/// Why a handshake failed.
fn why(error: &io::Error) -> String {
    let plain = "if the server speaks plain text there, dial it without TLS";
    match error::inside(error) {
        Some(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
            "the server speaks plain text on this port, not TLS: dial it without TLS, or give the server a certificate"
                .to_owned()
        }
        Some(error) => format!("the TLS handshake failed: {}", error::words(error)),
        None if error.kind() == io::ErrorKind::UnexpectedEof
            || error.kind() == io::ErrorKind::ConnectionReset =>
        {
            format!("the TLS handshake failed: the server closed the connection; {plain}")
        }
        None => format!("the TLS handshake failed: {error}"),
    }
}

// ===== impl Settings =====

impl Settings {
    fn sources(&self) -> impl Iterator<Item = &Source> {
        let identity = self.identity.iter();
        let identity = identity.flat_map(|identity| [&identity.certificate, &identity.key]);
        self.ca.iter().chain(self.crl.iter()).chain(identity)
    }

    fn has_files(&self) -> bool {
        self.sources().any(Source::is_file)
    }

    fn load(&self) -> Result<ClientConfig, Error> {
        let provider = provider();
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::config("no version of TLS can be spoken").with_source(error))?
            .dangerous()
            .with_custom_certificate_verifier(self.verifier()?);
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let key = SingleCertAndKey::from(identity.load()?);
                builder.with_client_cert_resolver(Arc::new(key))
            }
        };
        // A session that is resumed is not checked again, and hands its peer's certificate on to the next: who
        // was good once would stay so, past the end of its certificate. Connections are few and live long.
        config.resumption = Resumption::disabled();
        Ok(config)
    }

    fn verifier(&self) -> Result<Arc<dyn ServerCertVerifier>, Error> {
        if self.insecure {
            tracing::warn!("a client of TLS takes any certificate: insecure_skip_verify is set");
            return Ok(Arc::new(Anybody));
        }
        let roots = match &self.ca {
            Some(ca) => ca.roots("the authorities")?,
            None => system_roots()?,
        };
        let mut builder = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider());
        if let Some(crl) = &self.crl {
            let lists = crl.revocations()?;
            builder = builder.with_crls(lists).enforce_revocation_expiration();
        }
        let verifier = builder
            .build()
            .map_err(|error| Error::config("cannot use the authorities").with_source(error))?;
        Ok(verifier)
    }
}

/// The system's authorities; those that cannot be read, or used, are left out.
fn system_roots() -> Result<RootCertStore, Error> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, ignored) = roots.add_parsable_certificates(found.certs);
    tracing::debug!(added, ignored, errors = ?found.errors, "read the system's authorities");
    if roots.is_empty() {
        let mut error = Error::config(
            "this system has no authorities to trust: install its certificates (package ca-certificates), or give a file of them",
        );
        if let Some(cause) = found.errors.into_iter().next() {
            error = error.with_source(cause);
        }
        return Err(error);
    }
    Ok(roots)
}

/// Takes any certificate, of whose key the server must have the private half all the same.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = provider().signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = provider().signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CA: &str = include_str!("../../../tests/engine/tls/ca.pem");

    #[tokio::test(start_paused = true)]
    async fn files_are_looked_at_again() {
        let name = format!("micro-ca-{}.pem", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, CA).unwrap();
        let tls = ClientTls::new().ca_file(&path);
        let config = |alpn: &[&[u8]]| tls.config(alpn).unwrap();
        let (first, http1) = (config(&[b"h2"]), config(&[b"http/1.1"]));
        assert_eq!(first.alpn_protocols, [b"h2"]);
        assert_eq!(http1.alpn_protocols, [b"http/1.1"]);
        let is_first = || Arc::ptr_eq(&first, &config(&[b"h2"]));
        assert!(is_first() && tls.clone().kept(&[b"h2"]).is_some());

        // As it was; broken; gone: what there is stays in use.
        for change in [Some(CA), Some("nonsense"), None] {
            match change {
                Some(text) => std::fs::write(&path, text).unwrap(),
                None => std::fs::remove_file(&path).unwrap(),
            }
            assert!(is_first());
            tokio::time::advance(LOOK_AGAIN).await;
            assert!(is_first());
        }
        // Half written, up to the end of a certificate: what is there when it is looked at again counts.
        tokio::time::advance(LOOK_AGAIN).await;
        std::fs::write(&path, [CA, CA].concat()).unwrap();
        assert!(is_first());
        std::fs::write(&path, CA).unwrap();
        tokio::time::advance(SETTLED).await;
        assert!(is_first());
        // Another one, though of the same authority.
        std::fs::write(&path, [CA, CA].concat()).unwrap();
        tokio::time::advance(LOOK_AGAIN).await;
        assert!(is_first());
        tokio::time::advance(SETTLED).await;
        assert!(!is_first());
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_failure_is_not_kept() {
        let name = format!("micro-late-ca-{}.pem", std::process::id());
        let path = std::env::temp_dir().join(name);
        let tls = ClientTls::new().ca_file(&path);
        tls.check().unwrap_err();
        std::fs::write(&path, CA).unwrap();
        tls.check().unwrap();
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn reads_hosts_as_names() {
        for (host, expected) in [
            ("shop.example", "shop.example"),
            ("10.0.0.7", "10.0.0.7"),
            ("[::1]", "::1"),
            ("fe80::1%eth0", "fe80::1"),
        ] {
            assert_eq!(server_name(host).unwrap().to_str(), expected);
        }
        for host in ["", "a b", "-", "[::1", "a..b"] {
            let error = server_name(host).unwrap_err().to_string();
            assert!(
                error.contains("expected a host name or an IP address"),
                "{error}"
            );
        }
    }

    #[test]
    fn shows_no_secrets() {
        let tls = ClientTls::new().identity_pem("certificate", "secret");
        let shown = format!("{tls:?}");
        assert!(
            shown.contains("PEM") && !shown.contains("secret"),
            "{shown}"
        );
    }
}
