//! Peers that say nothing, little, too much, or nonsense: each is closed in time, and others go on.

use std::time::Duration;

use micro_runtime::exchange::Why;
use micro_runtime::transport::{ClientLimits, ServerLimits, dial_tls};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_rustls::rustls::version::TLS13;

use crate::support::{ask, foreign, good, in_time, serve_limited, server, trusting};
use micro_tests::certs::{Authority, Wish};

/// Reads to the end, however it comes; what was said.
async fn to_the_end(tcp: &mut TcpStream) -> Vec<u8> {
    let mut said = Vec::new();
    let _ = in_time(tcp.read_to_end(&mut said)).await;
    said
}

/// The head of a record that holds a ClientHello of so many bytes.
fn hello(len: u32) -> Vec<u8> {
    let [_, a, b, c] = len.to_be_bytes();
    let record = u16::try_from(len.saturating_add(4))
        .unwrap_or(0x4000)
        .min(0x4000);
    let [high, low] = record.to_be_bytes();
    vec![0x16, 3, 1, high, low, 1, a, b, c]
}

#[tokio::test]
async fn who_is_slow_is_closed_and_hinders_nobody() {
    let authority = Authority::new("good");
    let tls = server(&authority.sign(Wish::good()));
    let short = Duration::from_millis(700);
    // One place alone: who has begun and does not go on holds it at most for that time.
    let limits = ServerLimits::new()
        .handshake_timeout(short)
        .max_handshakes(1);
    let running = serve_limited(tls, limits).await;
    let address = running.address();
    let connect = async || TcpStream::connect(&address).await.unwrap();

    let began = Instant::now();
    let mut silent = connect().await;
    let mut halfway = connect().await;
    halfway.write_all(&hello(500)).await.unwrap();
    // A byte at a time, more often than any time-out between two bytes would be.
    let mut trickling = connect().await;
    let trickle = async {
        for byte in hello(500).into_iter().chain(std::iter::repeat_n(0, 400)) {
            if trickling.write_all(&[byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        to_the_end(&mut trickling).await
    };
    // None of them has a place yet: who has sent its whole hello is answered before they are closed.
    let served = async {
        ask(&address, Some(trusting(&authority))).await.unwrap();
        began.elapsed()
    };
    let (silent, halfway, trickled, served) = in_time(async {
        tokio::join!(
            to_the_end(&mut silent),
            to_the_end(&mut halfway),
            trickle,
            served
        )
    })
    .await;
    assert!(silent.is_empty() && halfway.is_empty() && trickled.is_empty());
    let took = began.elapsed();
    assert!(took >= short, "{took:?}");
    assert!(served < short || took > 3 * short, "{served:?} of {took:?}");
}

/// With every place taken by who has begun and does not go on, others wait for theirs.
#[tokio::test]
async fn the_handshakes_under_way_are_bounded() {
    let authority = Authority::new("good");
    let tls = server(&authority.sign(Wish::good()));
    let short = Duration::from_millis(700);
    let limits = ServerLimits::new()
        .handshake_timeout(short)
        .max_handshakes(2);
    let running = serve_limited(tls, limits).await;
    let address = running.address();

    // A whole ClientHello, taken from a client of our own.
    let recorder = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = recorder.local_addr().unwrap().to_string();
    let client = trusting(&authority);
    let asking = tokio::spawn(async move { ask(&to, Some(client)).await });
    let (mut tcp, _) = recorder.accept().await.unwrap();
    let mut head = [0; 5];
    tcp.read_exact(&mut head).await.unwrap();
    let mut hello = vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))];
    tcp.read_exact(&mut hello).await.unwrap();
    hello.splice(..0, head);
    drop((tcp, recorder));
    in_time(asking).await.unwrap().unwrap_err();

    let mut holders = Vec::new();
    for _ in 0..2 {
        let mut tcp = TcpStream::connect(&address).await.unwrap();
        tcp.write_all(&hello).await.unwrap();
        // The server's answer: it holds its place now.
        in_time(tcp.read_u8()).await.unwrap();
        holders.push(tcp);
    }
    let client = trusting(&authority);
    let mut asking = tokio::spawn(async move { ask(&address, Some(client)).await });
    let early = tokio::time::timeout(Duration::from_millis(300), &mut asking).await;
    assert!(early.is_err(), "a third handshake is under way");
    holders.pop();
    assert_eq!(in_time(asking).await.unwrap().unwrap(), "nobody");
}

/// Past the handshake the time for the first bytes counts, whatever ALPN said.
#[tokio::test]
async fn who_is_silent_after_the_handshake_is_closed() {
    let authority = Authority::new("good");
    let tls = server(&authority.sign(Wish::good()));
    let limits = ServerLimits::new().detect_timeout(Duration::from_millis(400));
    let running = serve_limited(tls, limits).await;
    let address = running.address();
    for alpn in [&[&b"h2"[..]][..], &[]] {
        for said in [&b""[..], b"PRI * HTTP/2.0\r\n"] {
            let mut stream = foreign(&address, &authority, &[&TLS13], alpn)
                .await
                .unwrap();
            stream.write_all(said).await.unwrap();
            stream.flush().await.unwrap();
            let began = Instant::now();
            // However it ends.
            let _ = in_time(stream.read_to_end(&mut Vec::new())).await;
            let took = began.elapsed();
            assert!(
                took >= Duration::from_millis(350),
                "{alpn:?} {said:?}: {took:?}"
            );
        }
    }
    ask(&address, Some(trusting(&authority))).await.unwrap();
}

/// Who has not come through the handshake yet is one of the connections that may be open.
#[tokio::test]
async fn handshakes_count_as_connections() {
    let authority = Authority::new("good");
    let tls = server(&authority.sign(Wish::good()));
    let running = serve_limited(tls, ServerLimits::new().max_connections(2)).await;
    let address = running.address();
    let mut silent = Vec::new();
    for _ in 0..2 {
        let mut tcp = TcpStream::connect(&address).await.unwrap();
        tcp.write_all(&hello(500)).await.unwrap();
        silent.push(tcp);
    }
    // Closed as soon as it is accepted.
    let mut third = TcpStream::connect(&address).await.unwrap();
    assert!(to_the_end(&mut third).await.is_empty());
    let error = ask(&address, Some(trusting(&authority))).await;
    error.expect_err("expected to be closed");
    drop(silent);
    in_time(async {
        while ask(&address, Some(trusting(&authority))).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn nonsense_is_closed() {
    let (authority, running) = good().await;
    let address = running.address();
    let mut huge = hello(0xff_ffff);
    huge.extend(vec![0; 0x4000 - 4]);
    let mut many = Vec::new();
    for _ in 0..32 {
        many.extend([0x16, 3, 1, 0x40, 0]);
        many.extend(vec![1; 0x4000]);
    }
    let empty = [0x16, 3, 1, 0, 0].repeat(200);
    for (name, said) in [
        ("no records", &b"\x00\x01\x02\x03"[..]),
        (
            "no TLS above the first byte",
            b"\x16\xff\xff\xff\xff\xff\xff",
        ),
        ("a hello of 16 MiB", &huge),
        ("records of no hello", &many),
        ("a record above 16 KiB", b"\x16\x03\x01\xff\xff"),
        ("empty records", &empty),
        ("an alert", b"\x15\x03\x01\x00\x02\x02\x28"),
        (
            "data before any handshake",
            b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00\x17\x03\x03\x00\x01\x00",
        ),
    ] {
        let mut tcp = TcpStream::connect(&address).await.unwrap();
        // It may be closed before all of it was taken.
        let _ = tcp.write_all(said).await;
        let began = Instant::now();
        let answer = to_the_end(&mut tcp).await;
        assert!(
            began.elapsed() < Duration::from_secs(8),
            "{name} is not closed at once"
        );
        // Nothing, or an alert.
        assert!(
            matches!(answer.first(), None | Some(0x15)),
            "{name}: {answer:?}"
        );
    }
    assert_eq!(
        ask(&address, Some(trusting(&authority))).await.unwrap(),
        "nobody"
    );
}

/// Connections that are cut in the middle, at each byte of a handshake, leave the server as it was.
#[tokio::test]
async fn a_cut_at_any_byte_hinders_nobody() {
    let (authority, running) = good().await;
    let address = running.address();
    let hello = hello(500);
    for len in 0..=hello.len() {
        let mut tcp = TcpStream::connect(&address).await.unwrap();
        tcp.write_all(&hello[..len]).await.unwrap();
        drop(tcp);
    }
    assert_eq!(
        ask(&address, Some(trusting(&authority))).await.unwrap(),
        "nobody"
    );
}

#[tokio::test]
async fn a_silent_server_costs_the_client_its_time_alone() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string().parse().unwrap();
    let limits = ClientLimits::new().connect_timeout(Duration::from_millis(300));
    let tls = trusting(&Authority::new("any"));
    let began = Instant::now();
    let broken = in_time(dial_tls(&address, &limits, &tls))
        .await
        .unwrap_err();
    assert_eq!(broken.why, Why::Timeout);
    assert!(
        broken
            .detail
            .contains("to answer within 300ms, found silence"),
        "{broken}"
    );
    assert!(began.elapsed() < Duration::from_secs(5));
}
