//! Our client against servers that misbehave.

use std::time::Duration;

use bytes::Bytes;
use micro_runtime::exchange::{
    ConnInfo, Connection, Io, NotOpenedWhy, PeerAddr, Processed, Slot, State, Why, reset,
};
use micro_runtime::transport::{ClientLimits, http2};
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, timeout};

use crate::kit::{ask, becomes, head, quiet, request, rest, soon, whole};
use crate::raw::{
    ACK, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PREFACE, RST_STREAM, Raw, SETTINGS,
    block, frame,
};

/// A client of ours, and a raw server that has greeted it.
async fn greeted() -> (Connection, Raw) {
    greeted_with(ClientLimits::new()).await
}

async fn greeted_with(limits: ClientLimits) -> (Connection, Raw) {
    let (near, far) = tokio::io::duplex(1 << 20);
    let mut raw = Raw { io: far };
    let info = ConnInfo::new(PeerAddr::Local, PeerAddr::Local);
    let server = async {
        let mut preface = [0; 24];
        raw.io.read_exact(&mut preface).await.unwrap();
        assert_eq!(preface, PREFACE);
        raw.send(&frame(SETTINGS, 0, 0, &[])).await;
    };
    let (connection, ()) = tokio::join!(http2::connect(Io::new(near), info, &limits), server);
    (connection.unwrap(), raw)
}

fn reply(stream: u32, status: &str, flags: u8) -> Vec<u8> {
    let fields = [(":status", status), ("content-type", "application/grpc")];
    frame(HEADERS, END_HEADERS | flags, stream, &block(&fields))
}

fn setting(number: u16, value: u32) -> Vec<u8> {
    let payload = [&number.to_be_bytes()[..], &value.to_be_bytes()].concat();
    frame(SETTINGS, 0, 0, &payload)
}

fn goaway(last: u32, code: u32) -> Vec<u8> {
    let payload = [last.to_be_bytes(), code.to_be_bytes()].concat();
    frame(GOAWAY, 0, 0, &payload)
}

#[tokio::test]
async fn informational_heads_are_skipped() {
    let (connection, mut raw) = greeted().await;
    let mut incoming = ask(&connection, "x");
    raw.until(HEADERS).await;
    for status in ["100", "103"] {
        let fields = block(&[(":status", status)]);
        raw.send(&frame(HEADERS, END_HEADERS, 1, &fields)).await;
    }
    raw.send(&reply(1, "200", 0)).await;
    raw.send(&frame(DATA, 0, 1, b"")).await;
    raw.send(&frame(DATA, 0, 1, b"data")).await;
    let trailers = block(&[("grpc-status", "0"), ("grpc-status", "7")]);
    raw.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &trailers))
        .await;
    let head = soon(head(&mut incoming)).await.unwrap();
    assert_eq!(head.status(), 200);
    let (data, trailers) = soon(rest(&mut incoming)).await.unwrap();
    let trailers = trailers.unwrap();
    assert_eq!(data, b"data");
    assert_eq!(trailers.get(Slot::GrpcStatus), Some(&b"0"[..]));
    assert_eq!(
        trailers.rest().collect::<Vec<_>>(),
        [("grpc-status", &b"7"[..])]
    );
}

#[tokio::test]
async fn a_goodbye_parts_what_was_processed_from_what_was_not() {
    let (connection, mut raw) = greeted().await;
    let mut asked: Vec<_> = (0..4).map(|_| ask(&connection, "x")).collect();
    for _ in 0..4 {
        raw.until(HEADERS).await;
    }
    raw.send(&goaway(3, reset::ENHANCE_YOUR_CALM)).await;
    soon(becomes(&connection, State::Draining)).await;
    let refused = connection.try_open(request("/"), None, true).unwrap_err();
    assert_eq!(refused.why, NotOpenedWhy::Draining);
    for late in &mut asked[2..] {
        let broken = soon(head(late)).await.unwrap_err();
        assert_eq!(broken.why, Why::GoAway(reset::ENHANCE_YOUR_CALM));
        assert_eq!(broken.processed, Processed::No);
    }
    // The first still gets its answer, the second is lost with the connection.
    raw.send(&reply(1, "200", END_STREAM)).await;
    assert_eq!(soon(whole(&mut asked[0])).await.unwrap().0, 200);
    drop(raw);
    let broken = soon(head(&mut asked[1])).await.unwrap_err();
    assert_eq!(
        (broken.why, broken.processed),
        (Why::Closed, Processed::Maybe)
    );
    soon(becomes(&connection, State::Closed)).await;
}

#[tokio::test]
async fn a_refusal_is_unprocessed() {
    let (connection, mut raw) = greeted().await;
    for (code, processed) in [
        (reset::REFUSED_STREAM, Processed::No),
        (reset::INTERNAL_ERROR, Processed::Maybe),
    ] {
        let mut incoming = ask(&connection, "x");
        let stream = raw.until(HEADERS).await.stream;
        raw.send(&frame(RST_STREAM, 0, stream, &code.to_be_bytes()))
            .await;
        let broken = soon(head(&mut incoming)).await.unwrap_err();
        assert_eq!(
            (broken.why, broken.processed),
            (Why::Reset(code), processed)
        );
    }
}

#[tokio::test]
async fn a_reply_before_the_request_was_read() {
    // The whole reply, then NO_ERROR: the reply counts (RFC 9113 §8.1).
    let (connection, mut raw) = greeted().await;
    let mut incoming = ask(&connection, vec![0; 1 << 20]);
    raw.until(HEADERS).await;
    raw.send(&reply(1, "413", END_STREAM)).await;
    raw.send(&frame(RST_STREAM, 0, 1, &0u32.to_be_bytes()))
        .await;
    assert_eq!(soon(whole(&mut incoming)).await.unwrap().0, 413);
    soon(quiet(&connection)).await;
}

#[tokio::test]
async fn the_servers_maximum_may_change() {
    let (connection, mut raw) = greeted().await;
    assert_eq!(connection.load().maximum, 1000, "the client's own");
    let mut changed = connection.changed();
    for maximum in [3, 0, 5] {
        raw.send(&setting(3, maximum)).await;
        soon(changed).await;
        assert_eq!(connection.load().maximum, maximum as usize);
        changed = connection.changed();
        if maximum == 0 {
            let refused = connection.try_open(request("/"), None, true).unwrap_err();
            assert_eq!(refused.why, NotOpenedWhy::Full);
        }
    }
}

#[tokio::test]
async fn a_malformed_reply_breaks_one_exchange() {
    let (connection, mut raw) = greeted().await;
    for fields in [
        vec![("content-type", "application/grpc")],
        vec![(":status", "200"), ("connection", "close")],
    ] {
        let mut incoming = ask(&connection, "x");
        let stream = raw.until(HEADERS).await.stream;
        let reply = frame(HEADERS, END_HEADERS, stream, &block(&fields));
        raw.send(&reply).await;
        let broken = soon(head(&mut incoming)).await.unwrap_err();
        assert_eq!(broken.why, Why::Protocol, "{fields:?}: {broken:?}");
        assert_eq!(broken.processed, Processed::Maybe);
        assert_eq!(connection.load().state, State::Open);
    }
    let mut incoming = ask(&connection, "x");
    let stream = raw.until(HEADERS).await.stream;
    raw.send(&reply(stream, "200", END_STREAM)).await;
    assert!(soon(whole(&mut incoming)).await.is_ok());
}

#[tokio::test]
async fn a_broken_server_breaks_the_connection() {
    for bytes in [
        frame(DATA, 0, 0, b"x"),
        frame(SETTINGS, 0, 0, &[0; 5]),
        frame(HEADERS, END_HEADERS, 1, &[0xff; 5]),
        frame(HEADERS, END_HEADERS, 1, &block(&[(":status", "abc")])),
        b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
    ] {
        let (connection, mut raw) = greeted().await;
        let mut incoming = ask(&connection, "x");
        raw.until(HEADERS).await;
        raw.send(&bytes).await;
        let broken = soon(head(&mut incoming)).await.unwrap_err();
        assert_eq!(
            (broken.why, broken.processed),
            (Why::Protocol, Processed::Maybe)
        );
        soon(becomes(&connection, State::Closed)).await;
        soon(connection.changed()).await;
        let refused = connection.try_open(request("/"), None, true).unwrap_err();
        assert_eq!(refused.why, NotOpenedWhy::Closed);
    }
}

#[tokio::test]
async fn a_reply_cut_short_is_no_reply() {
    let (connection, mut raw) = greeted().await;
    let mut incoming = ask(&connection, "x");
    raw.until(HEADERS).await;
    raw.send(&reply(1, "200", 0)).await;
    raw.send(&frame(DATA, 0, 1, b"half")).await;
    soon(head(&mut incoming)).await.unwrap();
    drop(raw);
    let broken = soon(rest(&mut incoming)).await.unwrap_err();
    assert_eq!(
        (broken.why, broken.processed),
        (Why::Closed, Processed::Maybe)
    );
}

#[tokio::test]
async fn what_is_dropped_is_cancelled_on_the_wire() {
    let (connection, mut raw) = greeted().await;
    drop(ask(&connection, "x"));
    let cancelled = soon(raw.until(RST_STREAM)).await;
    assert_eq!((cancelled.stream, cancelled.code()), (1, reset::CANCEL));
    let (mut outgoing, incoming) = connection.try_open(request("/"), None, false).unwrap();
    outgoing.data(Bytes::from_static(b"x"), false).unwrap();
    raw.until(DATA).await;
    drop(incoming);
    let cancelled = soon(raw.until(RST_STREAM)).await;
    assert_eq!((cancelled.stream, cancelled.code()), (3, reset::CANCEL));
    drop(outgoing);
    quiet(&connection).await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_is_asked_while_it_has_calls_and_cut() {
    let limits = ClientLimits::new().keep_alive(Duration::from_secs(10), Duration::from_secs(4));
    let (connection, mut raw) = greeted_with(limits).await;
    // Without a call it is left alone.
    let idle = timeout(Duration::from_secs(3601), raw.until(PING)).await;
    assert!(idle.is_err());
    let mut incoming = ask(&connection, "x");
    raw.until(HEADERS).await;
    let begun = Instant::now();
    let ping = raw.until(PING).await;
    assert!(
        begun.elapsed() <= Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
    raw.send(&frame(PING, ACK, 0, &ping.payload)).await;
    // Answered, it is asked again an interval later, and not sooner.
    let begun = Instant::now();
    let ping = raw.until(PING).await;
    assert_eq!((ping.flags, begun.elapsed().as_secs()), (0, 10));
    // Anything is a sign of life; a question that was never answered is still open, and counts again.
    raw.send(&reply(1, "200", 0)).await;
    soon(head(&mut incoming)).await.unwrap();
    let begun = Instant::now();
    let broken = rest(&mut incoming).await.unwrap_err();
    let waited = begun.elapsed().as_secs();
    assert!((14..=19).contains(&waited), "{waited}");
    assert_eq!(broken.why, Why::Closed);
    assert_eq!(connection.load().state, State::Closed);
}
