//! The first bytes of a connection, listening and dialling.

use std::sync::Arc;
use std::time::Duration;

use micro_runtime::exchange::{
    ConnInfo, DrainState, Drainer, Exchange, HttpVersion, Io, PeerAddr, Processed, State, Why,
};
use micro_runtime::transport::{
    Address, ClientLimits, Listener, ServerLimits, accept, dial, http2,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use crate::kit::{alive, app, ask, becomes, echo, soon, whole};
use crate::raw::{PREFACE, SETTINGS, connect, frame};

/// What a connection gives until it ends, after these bytes; and how long that took.
async fn answer_to(bytes: &[u8]) -> (Vec<u8>, Duration) {
    let (mut raw, _drainer, server) = connect(app(echo), ServerLimits::new());
    let began = Instant::now();
    raw.send(bytes).await;
    let mut answer = Vec::new();
    raw.io.read_to_end(&mut answer).await.unwrap();
    drop(raw);
    server.await.unwrap();
    (answer, began.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_connection_must_begin_within_ten_seconds() {
    for begin in [&b""[..], b"P", &PREFACE[..12], &PREFACE[..23], b"GET / HT"] {
        let (answer, took) = answer_to(begin).await;
        assert!(answer.is_empty(), "{begin:?}");
        assert_eq!(took.as_secs(), 10, "{begin:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn slow_bytes_do_not_buy_time() {
    let (mut raw, _drainer, server) = connect(app(echo), ServerLimits::new());
    let began = Instant::now();
    let slowly = async {
        for byte in &PREFACE[..20] {
            raw.send(&[*byte]).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            if began.elapsed().as_secs() >= 10 {
                break;
            }
        }
        let mut rest = Vec::new();
        raw.io.read_to_end(&mut rest).await.unwrap();
        assert!(rest.is_empty());
    };
    slowly.await;
    server.await.unwrap();
    assert_eq!(began.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_preface_may_come_in_pieces() {
    let (mut raw, _drainer, _server) = connect(app(echo), ServerLimits::new());
    for byte in PREFACE.iter().chain(&frame(SETTINGS, 0, 0, &[])) {
        raw.send(&[*byte]).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    raw.until(SETTINGS).await;
    raw.is_alive().await;
}

#[tokio::test]
async fn garbage_is_closed_without_a_word() {
    for begin in [
        &b"SSH-2.0-OpenSSH_9.6\r\n"[..],
        b"\0\0\0\0",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX",
        b"hello?\n",
        &[b'A'; 100],
        &[b"GET /".as_slice(), &[b'a'; 17 * 1024]].concat(),
    ] {
        let (answer, _) = soon(answer_to(begin)).await;
        assert!(answer.is_empty(), "{begin:?}");
    }
}

#[tokio::test]
async fn a_client_of_tls_is_told_that_this_is_none() {
    let (answer, _) = soon(answer_to(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc")).await;
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.contains("does not speak TLS"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn http1_is_told_what_is_spoken() {
    for begin in [
        &b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"[..],
        b"POST /a.B/C HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello",
        b"OPTIONS * HTTP/1.0\n",
    ] {
        let (answer, took) = answer_to(begin).await;
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 505 HTTP Version Not Supported\r\n"));
        assert!(head.contains("connection: close"));
        assert!(head.contains(&format!("content-length: {}", body.len())));
        assert!(
            body.contains("HTTP/2") && body.lines().count() == 1,
            "{body}"
        );
        assert!(took < Duration::from_secs(2));
    }
}

/// A server on an address of its own.
async fn server(
    address: &str,
    limits: ServerLimits,
) -> (Address, Drainer, tokio::task::JoinHandle<()>) {
    let address: Address = address.parse().unwrap();
    let listener = Listener::bind(&address).await.unwrap();
    let bound = match listener.local() {
        PeerAddr::Tcp(bound) => bound.to_string().parse().unwrap(),
        _ => address,
    };
    let (drainer, drain) = Drainer::new();
    let app = app(|exchange: Exchange| async move {
        assert_eq!(exchange.conn.version, HttpVersion::Http2);
        echo(exchange).await;
    });
    let accepting = tokio::spawn(accept(listener, Arc::new(limits), app, drain));
    (bound, drainer, accepting)
}

#[tokio::test]
async fn over_tcp_and_unix_sockets() {
    let path = std::env::temp_dir().join(format!("micro-wire-{}.sock", std::process::id()));
    let unix = format!("unix:{}", path.display());
    for address in ["127.0.0.1:0", &unix] {
        if cfg!(not(unix)) && address.starts_with("unix:") {
            continue;
        }
        let (address, drainer, accepting) = server(address, ServerLimits::new()).await;
        let connection = dial(&address, &ClientLimits::new()).await.unwrap();
        alive(&connection).await;
        match (&address, &connection.info().peer) {
            (Address::Tcp { .. }, PeerAddr::Tcp(peer)) => {
                assert_eq!(peer.to_string(), address.to_string());
            }
            (Address::Unix(path), PeerAddr::Unix(Some(peer))) => assert_eq!(path, peer),
            other => panic!("expected the address that was dialled, found {other:?}"),
        }
        // Draining stops accepting first, and finishes what runs.
        drainer.advance(DrainState::Draining);
        soon(accepting).await.unwrap();
        soon(drainer.drained()).await;
        soon(becomes(&connection, State::Closed)).await;
        let refused = dial(&address, &ClientLimits::new()).await.unwrap_err();
        assert_eq!(
            (refused.why, refused.processed),
            (Why::Closed, Processed::No)
        );
        assert!(refused.detail.contains(&address.to_string()), "{refused}");
    }
    assert!(!path.exists());
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_at_once() {
    let limits = ServerLimits::new().max_connections(2);
    let (address, _drainer, _accepting) = server("127.0.0.1:0", limits).await;
    let first = dial(&address, &ClientLimits::new()).await.unwrap();
    let second = dial(&address, &ClientLimits::new()).await.unwrap();
    let refused = soon(dial(&address, &ClientLimits::new()))
        .await
        .unwrap_err();
    assert_eq!(
        (refused.why, refused.processed),
        (Why::Closed, Processed::No)
    );
    alive(&first).await;
    drop(second);
    // A place is free as soon as the connection is gone.
    let third = soon(async {
        loop {
            match dial(&address, &ClientLimits::new()).await {
                Ok(connection) => break connection,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    });
    alive(&third.await).await;
    alive(&first).await;
}

#[tokio::test]
async fn a_bad_connection_hurts_no_other() {
    let (address, _drainer, _accepting) = server("127.0.0.1:0", ServerLimits::new()).await;
    let good = dial(&address, &ClientLimits::new()).await.unwrap();
    for bytes in [
        &b"garbage\n"[..],
        PREFACE,
        &[PREFACE, &[0xff; 100]].concat(),
    ] {
        let mut bad = TcpStream::connect(address.to_string()).await.unwrap();
        bad.write_all(bytes).await.unwrap();
        let mut reply = ask(&good, "still here");
        assert!(soon(whole(&mut reply)).await.is_ok());
        drop(bad);
    }
    alive(&good).await;
}

#[tokio::test]
async fn a_listener_of_the_callers() {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let bound = socket.local_addr().unwrap();
    let listener = Listener::from_std(socket).unwrap();
    assert_eq!(listener.local(), &PeerAddr::Tcp(bound));
    let taken: Address = bound.to_string().parse().unwrap();
    let error = Listener::bind(&taken).await.unwrap_err();
    assert!(error.to_string().contains(&bound.to_string()), "{error}");
}

#[tokio::test]
async fn a_peer_that_speaks_something_else_is_found_out() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: Address = listener.local_addr().unwrap().to_string().parse().unwrap();
    for answer in [
        &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
        b"",
        b"\0\0\0\x06\0\0\0\0\0",
    ] {
        let peer = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.read_exact(&mut [0; 24]).await.unwrap();
            stream.write_all(answer).await.unwrap();
        };
        let limits = ClientLimits::new();
        let (broken, ()) = tokio::join!(dial(&address, &limits), peer);
        let broken = broken.unwrap_err();
        assert_eq!(broken.processed, Processed::No, "{broken:?}");
        assert!(
            broken.detail.contains("does not answer in HTTP/2"),
            "{broken}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_is_given_up() {
    let (near, _far) = tokio::io::duplex(1024);
    let info = ConnInfo::new(PeerAddr::Local, PeerAddr::Local);
    let began = Instant::now();
    let limits = ClientLimits::new().connect_timeout(Duration::from_secs(3));
    let broken = http2::connect(Io::new(near), info, &limits)
        .await
        .unwrap_err();
    assert_eq!(
        (broken.why, broken.processed),
        (Why::Timeout, Processed::No)
    );
    assert_eq!(began.elapsed().as_secs(), 3);
}
