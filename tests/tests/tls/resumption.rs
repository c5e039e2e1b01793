//! Certificates are checked with every connection: a session that is resumed would skip that, and let in for ever
//! who was good once.

use std::sync::Arc;

use micro_runtime::transport::{ClientLimits, dial_tls};
use micro_tests::certs::{Authority, Identity, Wish};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::server::ServerSessionMemoryCache;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{
    ClientConfig, HandshakeKind, RootCertStore, ServerConfig, SupportedProtocolVersion,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::support::{in_time, serve, server, trusting};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

fn of(identity: &Identity) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let certificate = CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
    (vec![certificate], key)
}

/// A client that offers what it can resume to a server of ours: how its second handshake went.
async fn resumed_with_ours(version: &'static SupportedProtocolVersion) -> HandshakeKind {
    let authority = Authority::new("good");
    let tls = server(&authority.sign(Wish::good())).client_ca_pem(&authority.pem);
    let running = serve(tls).await;
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap();
    roots.add(root).unwrap();
    let (chain, key) = of(&authority.sign(Wish::good()));
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let config = Arc::new(config);
    let mut last = None;
    for _ in 0..3 {
        let tcp = TcpStream::connect(running.address()).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let connector = TlsConnector::from(Arc::clone(&config));
        let mut stream = in_time(connector.connect(name, tcp)).await.unwrap();
        stream.write_all(PREFACE).await.unwrap();
        // What a server gives to resume with comes before its first frame.
        let mut settings = [0; 9];
        in_time(stream.read_exact(&mut settings)).await.unwrap();
        last = stream.get_ref().1.handshake_kind();
    }
    last.unwrap()
}

/// A server that resumes what it can, called by ours: how the last handshake went.
async fn resumed_by_ours(version: &'static SupportedProtocolVersion) -> HandshakeKind {
    let authority = Authority::new("good");
    let (chain, key) = of(&authority.sign(Wish::good()));
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    config.session_storage = ServerSessionMemoryCache::new(16);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let address = address.parse().unwrap();
    let (tls, limits) = (trusting(&authority), ClientLimits::new());
    let mut last = None;
    for _ in 0..3 {
        let serving = async {
            let (tcp, _) = listener.accept().await.unwrap();
            let mut stream = acceptor.accept(tcp).await.unwrap();
            stream.write_all(b"\0\0\0\x04\0\0\0\0\0").await.unwrap();
            stream.flush().await.unwrap();
            stream
        };
        let (stream, dialled) =
            in_time(async { tokio::join!(serving, dial_tls(&address, &limits, &tls)) }).await;
        dialled.unwrap();
        last = stream.get_ref().1.handshake_kind();
    }
    last.unwrap()
}

#[tokio::test]
async fn a_server_checks_its_clients_each_time() {
    for version in [&TLS12, &TLS13] {
        let kind = resumed_with_ours(version).await;
        assert_eq!(kind, HandshakeKind::Full, "{version:?}");
    }
}

#[tokio::test]
async fn a_client_checks_its_servers_each_time() {
    for version in [&TLS12, &TLS13] {
        let kind = resumed_by_ours(version).await;
        assert_eq!(kind, HandshakeKind::Full, "{version:?}");
    }
}
