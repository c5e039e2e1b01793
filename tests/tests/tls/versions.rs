//! Versions of TLS, and the protocol above it.

use std::io::ErrorKind;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ProtocolVersion, ServerConfig, SupportedProtocolVersion};

use crate::support::{ask, foreign, good, in_time, refusal, trusting};
use micro_tests::certs::{Authority, Wish};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

#[tokio::test]
async fn a_client_of_either_version_is_served() {
    let (authority, running) = good().await;
    for (version, expected) in [
        (&TLS12, ProtocolVersion::TLSv1_2),
        (&TLS13, ProtocolVersion::TLSv1_3),
    ] {
        let connected = foreign(&running.address(), &authority, &[version], &[b"h2"]).await;
        let mut stream = connected.unwrap();
        assert_eq!(stream.get_ref().1.protocol_version(), Some(expected));
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        stream.write_all(PREFACE).await.unwrap();
        let mut settings = [0; 9];
        in_time(stream.read_exact(&mut settings)).await.unwrap();
        assert_eq!(settings[3], 4, "expected SETTINGS, found {settings:?}");
    }
}

/// A server that is not ours, of one version, with these protocols: says what it agreed on with one client,
/// and reads what that says first.
async fn foreign_server(
    version: &'static SupportedProtocolVersion,
    alpn: &[&[u8]],
) -> (Authority, String, tokio::task::JoinHandle<Option<Vec<u8>>>) {
    let authority = Authority::new("good");
    let identity = authority.sign(Wish::good());
    let chain = vec![CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
    let provider = std::sync::Arc::new(ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let served = tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        let acceptor = TlsAcceptor::from(std::sync::Arc::new(config));
        let mut stream = acceptor.accept(tcp).await.ok()?;
        let mut preface = [0; 24];
        stream.read_exact(&mut preface).await.ok()?;
        assert_eq!(preface, PREFACE[..24]);
        assert_eq!(stream.get_ref().1.server_name(), Some("localhost"));
        stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec)
    });
    (authority, address.replace("127.0.0.1", "localhost"), served)
}

#[tokio::test]
async fn a_server_of_either_version_is_called() {
    for version in [&TLS12, &TLS13] {
        let (authority, address, served) = foreign_server(version, &[b"http/1.1", b"h2"]).await;
        // It hangs up once it has seen what it wanted to.
        refusal(ask(&address, Some(trusting(&authority))).await);
        let agreed = in_time(served).await.unwrap();
        assert_eq!(agreed.as_deref(), Some(&b"h2"[..]));
    }
}

/// Older servers of Go's gRPC, among others, agree on no protocol and speak HTTP/2 all the same.
#[tokio::test]
async fn a_server_without_alpn_is_called() {
    let (authority, address, served) = foreign_server(&TLS13, &[]).await;
    refusal(ask(&address, Some(trusting(&authority))).await);
    assert_eq!(in_time(served).await.unwrap(), None);
}

#[tokio::test]
async fn a_server_with_other_protocols_is_named() {
    let (authority, address, _served) = foreign_server(&TLS13, &[b"http/1.1"]).await;
    let words = refusal(ask(&address, Some(trusting(&authority))).await);
    let why = "the peer refused the connection: it speaks no protocol that we speak (ALPN)";
    assert!(words.contains(why), "{words}");
}

#[tokio::test]
async fn a_client_with_other_protocols_is_refused() {
    let (authority, running) = good().await;
    let error = foreign(&running.address(), &authority, &[&TLS13], &[b"http/1.1"]).await;
    let error = error.expect_err("expected to be refused").to_string();
    assert!(error.contains("NoApplicationProtocol"), "{error}");
}

/// Without ALPN the first bytes decide.
#[tokio::test]
async fn a_client_without_alpn_is_served() {
    let (authority, running) = good().await;
    let address = running.address();
    let mut stream = foreign(&address, &authority, &[&TLS13], &[]).await.unwrap();
    stream.write_all(PREFACE).await.unwrap();
    let mut settings = [0; 9];
    in_time(stream.read_exact(&mut settings)).await.unwrap();
    assert_eq!(settings[3], 4);
    let mut stream = foreign(&address, &authority, &[&TLS13], &[]).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    in_time(stream.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 505 "), "{answer}");
}

/// Once ALPN said HTTP/2, nothing else is tried: what is no HTTP/2 is an error of HTTP/2.
#[tokio::test]
async fn what_alpn_said_holds() {
    let (authority, running) = good().await;
    let connected = foreign(&running.address(), &authority, &[&TLS13], &[b"h2"]).await;
    let mut stream = connected.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    match in_time(stream.read_to_end(&mut answer)).await {
        Ok(_) => {}
        // Hung up on in the middle of what it said.
        Err(error) => assert!(
            matches!(
                error.kind(),
                ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof
            ),
            "{error}"
        ),
    }
    assert!(!answer.starts_with(b"HTTP/1"), "{answer:?}");
}

/// A ClientHello of TLS 1.1, which knows nothing newer, written by hand (RFC 4346 §7.4.1.2).
#[tokio::test]
async fn older_versions_are_refused() {
    let (_, running) = good().await;
    for version in [0u8, 1, 2] {
        let mut hello = vec![3, version];
        hello.extend([7; 32]);
        hello.extend([0, 0, 4, 0xc0, 0x13, 0, 0x2f, 1, 0]);
        let len = u8::try_from(hello.len()).unwrap();
        let mut record = vec![0x16, 3, version.min(1), 0, len + 4, 1, 0, 0, len];
        record.extend(hello);
        let mut tcp = TcpStream::connect(running.address()).await.unwrap();
        tcp.write_all(&record).await.unwrap();
        let mut answer = Vec::new();
        in_time(tcp.read_to_end(&mut answer)).await.unwrap();
        // A fatal alert: protocol_version, or decode_error and their like.
        assert_eq!(answer.first(), Some(&0x15), "{answer:?}");
        assert_eq!(
            answer.get(5..7).map(|alert| alert[0]),
            Some(2),
            "{answer:?}"
        );
    }
}
