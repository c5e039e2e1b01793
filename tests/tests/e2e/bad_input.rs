//! Bytes that are no HTTP/2, and packets that are no mDNS: whoever sends them is turned away, and the others
//! notice nothing.

use std::net::{Ipv4Addr, SocketAddr};

use micro_runtime::registry::Mdns;
use micro_tests::front::question;
use micro_tests::peer::v1::{PeerService, Req};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{
    eventually, front_client, in_time, peer_over_tcp, serve_answer, service, unique,
};
use crate::wire::*;

fn call_without(name: &str) -> Vec<u8> {
    headers(CALL.into_iter().filter(|(found, _)| *found != name))
}

fn call_with(name: &str, value: &str) -> Vec<u8> {
    headers(CALL.into_iter().chain([(name, value)]))
}

/// Sends bytes and reads whatever comes, until the server closes or `until` says that it is enough.
async fn answer(address: &str, bytes: &[u8], until: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let (mut reader, mut writer) = stream.split();
    let mut read = Vec::new();
    let reading = async {
        // A server that turns bytes away may do so with a reset.
        while !until(&read) && matches!(reader.read_buf(&mut read).await, Ok(1..)) {}
    };
    let writing = async {
        // And may have closed before everything was sent.
        let _ = writer.write_all(bytes).await;
        std::future::pending::<()>().await;
    };
    in_time(async {
        tokio::select! {
            () = reading => {}
            () = writing => {}
        }
    })
    .await;
    read
}

fn has(kind: u8) -> impl Fn(&[u8]) -> bool {
    move |bytes| frames(bytes).iter().any(|frame| frame.0 == kind)
}

/// A call on a connection that was there before, and one on a new one.
async fn others_go_on(address: &str, peer: &PeerService, after: &str) {
    in_time(peer.unary(Req::default()))
        .await
        .unwrap_or_else(|status| panic!("after {after}: {status}"));
    let end = frame(DATA, END_STREAM, 1, &[0; 5]);
    let good = [
        PREFACE,
        &frame(SETTINGS, 0, 0, &[]),
        &frame(HEADERS, END_HEADERS, 1, &headers(CALL)),
        &end,
    ];
    let ended = |bytes: &[u8]| {
        frames(bytes)
            .iter()
            .any(|f| f.0 == HEADERS && f.1 & END_STREAM != 0)
    };
    let bytes = answer(address, &good.concat(), ended).await;
    let frames = frames(&bytes);
    assert!(
        frames.iter().any(|f| f.0 == DATA),
        "after {after}: {frames:?}"
    );
}

#[tokio::test]
async fn what_is_no_http2_is_closed() {
    let (running, peer) = peer_over_tcp().await;
    let address = running.address();
    let cut = &PREFACE[..PREFACE.len() - 1];
    let wrong = [cut, b"x"].concat();
    let long = [b"GET /", vec![b'a'; 64 * 1024].as_slice()].concat();
    let random: Vec<u8> = (0..4096_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let cases: &[(&str, &[u8])] = &[
        ("zeros", &[0; 64]),
        ("random bytes", &random),
        ("a preface with a wrong end", &wrong),
        ("a request line without an end", &long),
        ("SSH", b"SSH-2.0-OpenSSH_9.6\r\n"),
    ];
    for (what, bytes) in cases {
        let said = answer(&address, bytes, |_| false).await;
        assert!(said.is_empty(), "{what}: {said:?}");
        others_go_on(&address, &peer, what).await;
    }
    // Who speaks TLS is told that this is none.
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    let said = answer(&address, hello, |_| false).await;
    assert!(said.starts_with(b"HTTP/1.1 400 "), "{said:?}");
    others_go_on(&address, &peer, "a TLS hello").await;
    // A peer that hangs up in the middle.
    for bytes in [b"", cut, &[PREFACE, b"\0"].concat()] {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        drop(stream);
        others_go_on(&address, &peer, "hanging up").await;
    }
}

#[tokio::test]
async fn http1_is_told_what_is_spoken_here() {
    let (running, peer) = peer_over_tcp().await;
    let address = running.address();
    for request in [
        "GET / HTTP/1.1\r\nhost: localhost\r\n\r\n",
        "POST /peer.v1.Peer/Unary HTTP/1.0\r\ncontent-length: 5\r\n\r\n\0\0\0\0\0",
    ] {
        let said = answer(&address, request.as_bytes(), |_| false).await;
        let said = String::from_utf8(said).unwrap();
        assert!(said.starts_with("HTTP/1.1 505 "), "{said}");
        assert!(said.contains("gRPC"), "{said}");
        assert_eq!(
            said.trim_end()
                .lines()
                .rev()
                .take_while(|line| !line.is_empty())
                .count(),
            1
        );
        others_go_on(&address, &peer, request).await;
    }
}

#[tokio::test]
async fn frames_that_break_the_protocol_end_their_connection() {
    let (running, peer) = peer_over_tcp().await;
    let address = running.address();
    let open = frame(HEADERS, END_HEADERS, 1, &headers(CALL));
    // RFC 9113, by the section that forbids it.
    let cases: &[(&str, Vec<u8>)] = &[
        ("6.1: DATA on stream 0", frame(DATA, 0, 0, b"x")),
        ("5.1: DATA on an idle stream", frame(DATA, 0, 5, b"x")),
        (
            "6.1: padding beyond the frame",
            [open.clone(), frame(DATA, 8, 1, &[200, 0])].concat(),
        ),
        (
            "5.1.1: HEADERS on an even stream",
            frame(HEADERS, END_HEADERS, 2, &headers(CALL)),
        ),
        (
            "6.2: HEADERS on stream 0",
            frame(HEADERS, END_HEADERS, 0, &headers(CALL)),
        ),
        ("6.3: PRIORITY on stream 0", frame(PRIORITY, 0, 0, &[0; 5])),
        (
            "6.4: RST_STREAM of an idle stream",
            frame(RST_STREAM, 0, 9, &[0; 4]),
        ),
        (
            "6.4: RST_STREAM of a wrong size",
            [open.clone(), frame(RST_STREAM, 0, 1, &[0; 3])].concat(),
        ),
        (
            "6.5: SETTINGS of a wrong size",
            frame(SETTINGS, 0, 0, &[0; 5]),
        ),
        ("6.5: SETTINGS on a stream", frame(SETTINGS, 0, 1, &[])),
        ("6.5: an ACK with a payload", frame(SETTINGS, 1, 0, &[0; 6])),
        (
            "6.5.2: a window beyond the limit",
            frame(SETTINGS, 0, 0, &[0, 4, 0xff, 0xff, 0xff, 0xff]),
        ),
        (
            "6.5.2: a frame size below the limit",
            frame(SETTINGS, 0, 0, &[0, 5, 0, 0, 0, 1]),
        ),
        (
            "8.4: PUSH_PROMISE from a client",
            [
                open.clone(),
                frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2]),
            ]
            .concat(),
        ),
        ("6.7: PING of a wrong size", frame(PING, 0, 0, &[0; 7])),
        ("6.7: PING on a stream", frame(PING, 0, 3, &[0; 8])),
        ("6.8: GOAWAY on a stream", frame(GOAWAY, 0, 1, &[0; 8])),
        (
            "6.9: WINDOW_UPDATE of a wrong size",
            frame(WINDOW_UPDATE, 0, 0, &[0; 3]),
        ),
        (
            "6.9: WINDOW_UPDATE by nothing",
            frame(WINDOW_UPDATE, 0, 0, &[0; 4]),
        ),
        (
            "6.9.1: WINDOW_UPDATE beyond the limit",
            frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]),
        ),
        (
            "6.10: CONTINUATION of nothing",
            frame(CONTINUATION, END_HEADERS, 1, &headers(CALL)),
        ),
        (
            "6.10: DATA among headers",
            [
                frame(HEADERS, 0, 1, &headers(CALL)),
                frame(DATA, 0, 1, b"x"),
            ]
            .concat(),
        ),
        (
            "4.2: a frame beyond the limit",
            frame(DATA, 0, 1, &vec![0; 17 * 1024 * 1024 / 2]),
        ),
        (
            "4.3: HPACK with an index that does not exist",
            frame(HEADERS, END_HEADERS, 1, &[0xff, 0xff, 0x7f]),
        ),
        (
            "4.3: HPACK that is cut",
            frame(HEADERS, END_HEADERS, 1, &[0, 0x7f]),
        ),
        (
            "4.3: HPACK with an endless integer",
            frame(HEADERS, END_HEADERS, 1, &[0xff; 32]),
        ),
    ];
    for (what, bytes) in cases {
        let bytes = [PREFACE, &frame(SETTINGS, 0, 0, &[]), bytes].concat();
        let said = answer(&address, &bytes, |_| false).await;
        let said = frames(&said);
        let (.., goodbye) = said.iter().find(|frame| frame.0 == GOAWAY).expect(what);
        assert_ne!(goodbye[4..8], [0; 4], "{what}: NO_ERROR is no reason");
        assert!(
            !said.iter().any(|frame| frame.0 == DATA),
            "{what}: {said:?}"
        );
        others_go_on(&address, &peer, what).await;
    }
}

#[tokio::test]
async fn heads_that_break_the_protocol_reach_no_handler() {
    let (running, peer) = peer_over_tcp().await;
    let address = running.address();
    // RFC 9113 §8.1.1: malformed requests are stream errors.
    let cases: &[(&str, Vec<u8>)] = &[
        ("no method", call_without(":method")),
        ("no scheme", call_without(":scheme")),
        ("no path", call_without(":path")),
        ("an unknown pseudo-header", call_with(":status", "200")),
        (
            "a pseudo-header after the others",
            call_with(":path", "/a/B"),
        ),
        ("a name in capitals", call_with("X-Upper", "1")),
        ("a name with a blank", call_with("a b", "1")),
        ("an empty name", call_with("", "1")),
        ("a value with a line break", call_with("x-a", "a\r\nb: c")),
        ("a value with a zero", call_with("x-a", "a\0b")),
        ("a header of one hop", call_with("connection", "close")),
        (
            "a header of one hop with another value",
            call_with("te", "deflate"),
        ),
        (
            "a length that is wrong",
            call_with("content-length", "99999"),
        ),
        ("a length that is none", call_with("content-length", "-1")),
    ];
    for (what, block) in cases {
        let bytes = [
            PREFACE,
            &frame(SETTINGS, 0, 0, &[]),
            &frame(HEADERS, END_HEADERS, 1, block),
            &frame(DATA, END_STREAM, 1, &[0; 5]),
            // A good call behind it, on the same connection.
            &frame(HEADERS, END_HEADERS, 3, &headers(CALL)),
            &frame(DATA, END_STREAM, 3, &[0; 5]),
        ];
        let settled = |bytes: &[u8]| {
            frames(bytes).iter().any(|&(kind, flags, stream, _)| {
                kind == GOAWAY || (stream == 3 && (kind == HEADERS && flags & END_STREAM != 0))
            })
        };
        let said = answer(&address, &bytes.concat(), settled).await;
        let said = frames(&said);
        assert!(
            !said.iter().any(|f| f.0 == DATA && f.2 == 1),
            "{what}: {said:?}"
        );
        // The connection goes on, or ends: a stream error may be treated as one of the connection (§5.4).
        let goes_on = said.iter().any(|f| f.0 == DATA && f.2 == 3);
        let ends = said.iter().any(|f| f.0 == GOAWAY && f.3[4..8] != [0; 4]);
        assert!(goes_on != ends, "{what}: {said:?}");
        others_go_on(&address, &peer, what).await;
    }
}

#[tokio::test]
async fn bombs_of_headers_are_refused() {
    let (running, peer) = peer_over_tcp().await;
    let address = running.address();
    let value = "v".repeat(8_000);
    let large = headers(
        CALL.into_iter()
            .chain((0..64).map(|_| ("x-large", value.as_str()))),
    );
    // One header that is put into the table, then named 16,000 times: 64 MB of headers in 20 KB.
    let mut small = headers(CALL);
    small.push(0x40);
    integer(1, &mut small);
    small.push(b'x');
    integer(4_000, &mut small);
    small.extend_from_slice(&[b'v'; 4_000]);
    small.extend(std::iter::repeat_n(0xbe, 12_000));
    let settled = |bytes: &[u8]| {
        frames(bytes).iter().any(|&(kind, flags, ..)| {
            matches!(kind, GOAWAY | RST_STREAM) || (kind == HEADERS && flags & END_STREAM != 0)
        })
    };
    for (what, block) in [("large", &large), ("small", &small)] {
        let mut bytes = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
        let pieces: Vec<&[u8]> = block.chunks(16_000).collect();
        for (number, piece) in pieces.iter().enumerate() {
            let kind = if number == 0 { HEADERS } else { CONTINUATION };
            let last = number + 1 == pieces.len();
            bytes.extend(frame(kind, if last { END_HEADERS } else { 0 }, 1, piece));
        }
        bytes.extend(frame(DATA, END_STREAM, 1, &[0; 5]));
        let said = answer(&address, &bytes, settled).await;
        assert!(!frames(&said).iter().any(|frame| frame.0 == DATA), "{what}");
        others_go_on(&address, &peer, what).await;
    }
    // Headers that never end.
    let mut bytes = [
        PREFACE,
        &frame(SETTINGS, 0, 0, &[]),
        &frame(HEADERS, 0, 1, &headers(CALL)),
    ]
    .concat();
    for _ in 0..20_000 {
        bytes.extend(frame(CONTINUATION, 0, 1, &[]));
    }
    for _ in 0..200 {
        bytes.extend(frame(
            CONTINUATION,
            0,
            1,
            &headers([("x-large", value.as_str())]),
        ));
    }
    answer(&address, &bytes, |bytes| has(GOAWAY)(bytes)).await;
    others_go_on(&address, &peer, "headers without an end").await;
}

#[tokio::test]
async fn storms_of_resets_and_pings_end_their_connection_alone() {
    let (running, peer) = peer_over_tcp().await;
    let address = running.address();
    let begin = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    // CVE-2023-44487: streams that are opened and reset at once.
    let mut resets = begin.clone();
    for number in 0..5_000 {
        let stream = number * 2 + 1;
        resets.extend(frame(
            HEADERS,
            END_HEADERS | END_STREAM,
            stream,
            &headers(CALL),
        ));
        resets.extend(frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]));
    }
    resets.extend(frame(PING, 0, 0, b"the end."));
    answer(&address, &resets, |bytes| {
        has(GOAWAY)(bytes) || has(PING)(bytes)
    })
    .await;
    others_go_on(&address, &peer, "resets").await;

    for (what, flood) in [
        ("pings", frame(PING, 0, 0, &[0; 8])),
        ("settings", frame(SETTINGS, 0, 0, &[])),
        ("empty data", frame(DATA, 0, 1, &[])),
    ] {
        let mut bytes = begin.clone();
        bytes.extend(frame(HEADERS, END_HEADERS, 1, &headers(CALL)));
        for _ in 0..20_000 {
            bytes.extend_from_slice(&flood);
        }
        bytes.extend(frame(DATA, END_STREAM, 1, &[0; 5]));
        let settled = |bytes: &[u8]| {
            frames(bytes).iter().any(|&(kind, flags, ..)| {
                matches!(kind, GOAWAY | RST_STREAM) || (kind == HEADERS && flags & END_STREAM != 0)
            })
        };
        answer(&address, &bytes, settled).await;
        others_go_on(&address, &peer, what).await;
    }
}

/// A socket whose packets go to the mDNS group, on loopback.
fn to_the_group() -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP)).unwrap();
    socket.set_multicast_if_v4(&Ipv4Addr::LOCALHOST).unwrap();
    socket
        .bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())
        .unwrap();
    (
        socket,
        SocketAddr::from((Ipv4Addr::new(224, 0, 0, 251), 5353)),
    )
}

#[tokio::test]
async fn packets_that_are_no_mdns_hurt_no_lookup() {
    let name = unique("garbage");
    let mdns = || Mdns::new().loopback_only();
    let a = serve_answer(service(&name, &mdns()), "a").await;
    let front = front_client(&name, &mdns());
    assert_eq!(in_time(front.look(question("?"))).await.unwrap().text, "a");

    let (socket, group) = to_the_group();
    let label = format!("\x03{}\x05micro\0", "abc");
    let mut packets: Vec<Vec<u8>> = vec![
        Vec::new(),
        vec![0],
        vec![0xff; 12],
        vec![0; 9_000],
        vec![0xc0; 512],
        // A response that announces 65,535 of everything.
        [
            &[
                0, 0, 0x84, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
            ],
            label.as_bytes(),
        ]
        .concat(),
        // A name that points at itself.
        [
            &[0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0],
            &[0xc0, 12, 0, 12, 0, 1][..],
        ]
        .concat(),
        // A record whose length is beyond the end.
        [
            &[0, 0, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 0][..],
            label.as_bytes(),
            &[0, 16, 0, 1, 0, 0, 0, 9, 0xff, 0xff, 1],
        ]
        .concat(),
        // A TXT record that is no zlib, in hex that is none.
        [
            &[0, 0, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 0][..],
            label.as_bytes(),
            &[0, 16, 0, 1, 0, 0, 0, 9, 0, 4, 3, b'x', b'y', b'z'],
        ]
        .concat(),
    ];
    for seed in 0..200_u32 {
        let random = (0..seed * 7 % 600)
            .map(|n| ((n ^ seed).wrapping_add(1).wrapping_mul(2_654_435_761) >> 23) as u8);
        packets.push(random.collect());
    }
    for packet in &packets {
        // The system may have no room for a packet; the next one is as good.
        let _ = socket.send_to(packet, &group.into());
    }

    // A client that asks now, a service that comes now, and those of before.
    let late = front_client(&name, &mdns());
    assert_eq!(in_time(late.look(question("?"))).await.unwrap().text, "a");
    let _b = serve_answer(service(&name, &mdns()), "b").await;
    for client in [&front, &late] {
        eventually("the new node is called", async || {
            in_time(client.look(question("?"))).await.unwrap().text == "b"
        })
        .await;
    }
    in_time(a.stop()).await.unwrap();
    assert_eq!(in_time(front.look(question("?"))).await.unwrap().text, "b");
}
