//! Plain text where TLS is spoken, and the other way round.

use micro_runtime::exchange::Processed;
use micro_runtime::transport::{ClientLimits, dial, dial_tls};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{ask, good, in_time, refusal, serve_with, trusting};
use micro_tests::certs::Authority;

const USE_TLS: &str = "this port speaks TLS, and was dialled without it: use TLS";

#[tokio::test]
async fn a_plain_client_is_told_that_the_server_speaks_tls() {
    let (authority, running) = good().await;
    let address = running.address();
    let words = refusal(ask(&address, None).await);
    let why = format!(
        "{address} speaks TLS, and was dialled without it: give the client TLS (ClientTls, MICRO_TLS_CA_FILE)"
    );
    assert!(words.contains(&why), "{words}");
    // Others go on.
    ask(&address, Some(trusting(&authority))).await.unwrap();
    // Nothing of the call was looked at, so it may go elsewhere.
    let dialled = dial(&address.parse().unwrap(), &ClientLimits::new()).await;
    assert_eq!(dialled.unwrap_err().processed, Processed::No);
}

#[tokio::test]
async fn a_tls_client_is_told_that_the_server_speaks_plain_text() {
    let running = serve_with(|builder| builder).await;
    let address = running.address();
    let authority = Authority::new("any");
    let words = refusal(ask(&address, Some(trusting(&authority))).await);
    let why = "the server speaks plain text on this port, not TLS: dial it without TLS, or give the server a certificate";
    assert!(words.contains(why), "{words}");
    assert_eq!(ask(&address, None).await.unwrap(), "nobody");
    let tls = trusting(&authority);
    let dialled = dial_tls(&address.parse().unwrap(), &ClientLimits::new(), &tls).await;
    assert_eq!(dialled.unwrap_err().processed, Processed::No);
}

/// What any gRPC client shows: the goodbye's text.
#[tokio::test]
async fn another_client_of_http2_is_told_in_http2() {
    let (_, running) = good().await;
    let mut tcp = TcpStream::connect(running.address()).await.unwrap();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    tcp.write_all(preface).await.unwrap();
    let mut answer = Vec::new();
    in_time(tcp.read_to_end(&mut answer)).await.unwrap();
    let (settings, goodbye) = answer.split_at(9);
    assert_eq!(settings, b"\0\0\0\x04\0\0\0\0\0");
    let len = u8::try_from(8 + USE_TLS.len()).unwrap();
    assert_eq!(goodbye[..9], [0, 0, len, 7, 0, 0, 0, 0, 0]);
    // After stream 0, INADEQUATE_SECURITY.
    assert_eq!(goodbye[9..17], [0, 0, 0, 0, 0, 0, 0, 0xc]);
    assert_eq!(&goodbye[17..], USE_TLS.as_bytes());
}

#[tokio::test]
async fn a_client_of_http1_is_told_in_http1() {
    let (_, running) = good().await;
    let mut tcp = TcpStream::connect(running.address()).await.unwrap();
    tcp.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    in_time(tcp.read_to_string(&mut answer)).await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 400 Bad Request\r\n"),
        "{answer}"
    );
    assert!(
        answer.ends_with(&format!("\r\n\r\n{USE_TLS}\n")),
        "{answer}"
    );
}

/// A server that is not ours answers with an alert, or with nothing.
#[tokio::test]
async fn a_plain_client_knows_the_alert_of_any_tls_server() {
    for (said, expected) in [
        (
            &b"\x15\x03\x03\x00\x02\x02\x46"[..],
            "speaks TLS, and was dialled without it",
        ),
        // What Go's servers do.
        (b"", "if it speaks TLS there, give the client TLS"),
        (
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            "does not answer in HTTP/2",
        ),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let answering = tokio::spawn(async move {
            let (mut tcp, _) = listener.accept().await.unwrap();
            let mut preface = [0; 24];
            tcp.read_exact(&mut preface).await.unwrap();
            tcp.write_all(said).await.unwrap();
            tcp.shutdown().await.unwrap();
            tokio::io::copy(&mut tcp, &mut tokio::io::sink()).await.ok();
        });
        let words = refusal(ask(&address, None).await);
        assert!(
            words.contains(expected),
            "expected {expected}, found {words}"
        );
        answering.abort();
    }
}

/// What a peer says in its goodbye is told, but not all of it: it travels on in the status of whoever made the call,
/// and a peer takes no more than some KiB of trailers.
#[tokio::test]
async fn of_a_long_goodbye_the_beginning_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let answering = tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        let mut said = b"\0\0\0\x04\0\0\0\0\0\0\x3f\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\x02".to_vec();
        said.extend([7; 0x3f00]);
        tcp.write_all(&said).await.unwrap();
        tokio::io::copy(&mut tcp, &mut tokio::io::sink()).await.ok();
    });
    let words = refusal(ask(&address, None).await);
    assert!(words.contains("\\x07\\x07"), "{words}");
    assert!(words.len() < 2000, "{} bytes: {words}", words.len());
    answering.abort();
}

/// A server that is not ours, in plain text: one that hangs up on what it does not know, and one that greets
/// first.
#[tokio::test]
async fn a_tls_client_knows_plain_text_of_any_server() {
    for (said, expected) in [
        (
            &b""[..],
            "the server closed the connection; if the server speaks plain text there, dial it without TLS",
        ),
        (
            b"\0\0\0\x04\0\0\0\0\0",
            "the server speaks plain text on this port, not TLS",
        ),
        (
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            "the server speaks plain text on this port, not TLS",
        ),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let answering = tokio::spawn(async move {
            let (mut tcp, _) = listener.accept().await.unwrap();
            let mut hello = [0; 5];
            tcp.read_exact(&mut hello).await.unwrap();
            tcp.write_all(said).await.unwrap();
            tcp.shutdown().await.unwrap();
            tokio::io::copy(&mut tcp, &mut tokio::io::sink()).await.ok();
        });
        let words = refusal(ask(&address, Some(trusting(&Authority::new("any")))).await);
        assert!(
            words.contains(expected),
            "expected {expected}, found {words}"
        );
        answering.abort();
    }
}
