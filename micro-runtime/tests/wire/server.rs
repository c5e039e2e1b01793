//! Malformed frames and heads, floods, limits.

use micro_runtime::exchange::{Exchange, reset};
use micro_runtime::transport::ServerLimits;

use crate::kit::{Census, app, closed, echo, rest, soon, spawned};
use crate::raw::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, block, frame, greeted, request,
};

/// A request that is answered, on a stream of its own.
async fn works(raw: &mut crate::raw::Raw, stream: u32) {
    raw.send(&request(stream, "/", END_STREAM)).await;
    loop {
        let head = raw.until(HEADERS).await;
        if head.stream == stream && head.flags & END_STREAM != 0 {
            return;
        }
    }
}

#[tokio::test]
async fn a_broken_connection_is_told_why_and_closed() {
    const PROTOCOL: u32 = reset::PROTOCOL_ERROR;
    for (what, bytes, code) in [
        (
            "settings of 5 bytes",
            frame(SETTINGS, 0, 0, &[0; 5]),
            PROTOCOL,
        ),
        ("settings on a stream", frame(SETTINGS, 0, 1, &[]), PROTOCOL),
        ("a head on stream 0", request(0, "/", 0), PROTOCOL),
        ("a head on an even stream", request(2, "/", 0), PROTOCOL),
        ("data on an idle stream", frame(DATA, 0, 1, b"x"), PROTOCOL),
        (
            "a reset of an idle stream",
            frame(RST_STREAM, 0, 1, &[0; 4]),
            PROTOCOL,
        ),
        (
            "a window of an idle stream",
            frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]),
            PROTOCOL,
        ),
        (
            "a frame that is too long",
            frame(DATA, 0, 1, &[0; 16 * 1024 + 1]),
            reset::FRAME_SIZE_ERROR,
        ),
        (
            "a head that cannot be decoded",
            frame(HEADERS, END_HEADERS, 1, &[0xff, 0xff, 0xff, 0xff, 0xff]),
            PROTOCOL,
        ),
        (
            "a name with a capital letter",
            frame(HEADERS, END_HEADERS, 1, &block(&[("X-Capital", "1")])),
            PROTOCOL,
        ),
        (
            "an unknown pseudo-header",
            frame(HEADERS, END_HEADERS, 1, &block(&[(":what", "1")])),
            PROTOCOL,
        ),
        (
            "something within a head",
            [frame(HEADERS, 0, 1, &[]), frame(DATA, 0, 1, b"x")].concat(),
            PROTOCOL,
        ),
        (
            "more window than there can be",
            frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]),
            reset::FLOW_CONTROL_ERROR,
        ),
    ] {
        let (mut raw, drainer, server) = greeted(app(echo), ServerLimits::new()).await;
        raw.send(&bytes).await;
        let goodbye = soon(raw.until(GOAWAY)).await;
        assert_eq!(goodbye.code(), code, "{what}");
        assert!(soon(raw.ends_without(HEADERS)).await, "{what}");
        soon(server).await.unwrap();
        soon(drainer.drained()).await;
    }
}

#[tokio::test]
async fn a_malformed_request_is_reset_alone() {
    let (mut raw, _drainer, _server) = greeted(app(echo), ServerLimits::new()).await;
    let good = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "a"),
    ];
    let mut stream = 1;
    let with = |field| good.iter().copied().chain([field]).collect::<Vec<_>>();
    for (what, fields) in [
        ("no method", good[1..].to_vec()),
        ("no path", vec![good[0], good[1], good[3]]),
        ("a field of a connection", with(("connection", "close"))),
        ("te", with(("te", "gzip"))),
        ("two paths", with((":path", "/"))),
        (
            "a pseudo-header after a field",
            [&with(("x-a", "1"))[..], &[(":path", "/")]].concat(),
        ),
    ] {
        raw.send(&frame(
            HEADERS,
            END_HEADERS | END_STREAM,
            stream,
            &block(&fields),
        ))
        .await;
        let reset = soon(raw.until(RST_STREAM)).await;
        assert_eq!(
            (reset.stream, reset.code()),
            (stream, reset::PROTOCOL_ERROR),
            "{what}"
        );
        works(&mut raw, stream + 2).await;
        stream += 4;
    }
}

#[tokio::test]
async fn a_head_that_is_too_large() {
    let (mut raw, _drainer, _server) = greeted(app(echo), ServerLimits::new()).await;
    let large = "a".repeat(15 * 1024);
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "a"),
        ("x-a", &large),
        ("x-b", "b".repeat(2 * 1024).leak()),
    ];
    let block = block(&fields);
    let (first, second) = block.split_at(16 * 1024);
    raw.send(&frame(HEADERS, END_STREAM, 1, first)).await;
    raw.send(&frame(CONTINUATION, END_HEADERS, 1, second)).await;
    // 431 Request Header Fields Too Large, and the connection lives.
    let head = soon(raw.until(HEADERS)).await;
    assert_eq!((head.stream, head.flags), (1, END_HEADERS | END_STREAM));
    works(&mut raw, 3).await;
}

#[tokio::test]
async fn streams_beyond_the_limit_are_refused() {
    let census = Census::new();
    let counted = census.clone();
    let handler = move |exchange: Exchange| {
        let member = counted.member();
        async move {
            let _member = member;
            let mut reply = exchange.reply;
            closed(&mut reply).await;
        }
    };
    let limits = ServerLimits::new().max_concurrent_streams(5);
    let (mut raw, _drainer, _server) = greeted(app(handler), limits).await;
    for n in 0..20 {
        raw.send(&request(n * 2 + 1, "/", END_STREAM)).await;
    }
    for n in 5..20 {
        let refused = soon(raw.until(RST_STREAM)).await;
        assert_eq!(
            (refused.stream, refused.code()),
            (n * 2 + 1, reset::REFUSED_STREAM)
        );
    }
    census.is(5).await;
    // A place is free again with the end of a stream.
    raw.send(&frame(RST_STREAM, 0, 1, &8u32.to_be_bytes()))
        .await;
    soon(census.is(4)).await;
    raw.send(&request(101, "/", END_STREAM)).await;
    soon(census.is(5)).await;
    drop(raw);
    soon(census.is(0)).await;
}

/// Handlers that never look at their exchange, and are counted.
fn deaf(census: &Census) -> std::sync::Arc<dyn micro_runtime::exchange::Serve> {
    let counted = census.clone();
    spawned(move |exchange: Exchange| {
        let member = counted.member();
        async move {
            let _member = member;
            std::future::pending::<()>().await;
            drop(exchange);
        }
    })
}

#[tokio::test]
async fn works_go_with_their_connection() {
    // Whoever ends it, and however deaf they are.
    for end in [
        "the peer closes",
        "the peer breaks the protocol",
        "it is dropped",
    ] {
        let census = Census::new();
        let (mut raw, drainer, server) = greeted(deaf(&census), ServerLimits::new()).await;
        for n in 0..10 {
            raw.send(&request(n * 2 + 1, "/", 0)).await;
        }
        soon(census.is(10)).await;
        match end {
            "the peer closes" => drop(raw),
            "the peer breaks the protocol" => {
                raw.send(&frame(DATA, 0, 0, b"x")).await;
                soon(raw.until(GOAWAY)).await;
            }
            _ => {
                server.abort();
                drop(raw);
            }
        }
        soon(census.is(0)).await;
        soon(drainer.drained()).await;
    }
}

#[tokio::test]
async fn deaf_works_are_limited_though_their_streams_are_gone() {
    let census = Census::new();
    let limits = ServerLimits::new().max_concurrent_streams(5);
    let (mut raw, _drainer, _server) = greeted(deaf(&census), limits).await;
    let mut refused = 0;
    for n in 0..100u32 {
        raw.send(&request(n * 2 + 1, "/", 0)).await;
        // It has been looked at when the connection answers: this is no rapid reset.
        raw.is_alive().await;
        raw.send(&frame(RST_STREAM, 0, n * 2 + 1, &8u32.to_be_bytes()))
            .await;
        refused = n;
    }
    assert_eq!(refused, 99);
    // Four for each stream.
    census.is(20).await;
}

#[tokio::test]
async fn rapid_resets_end_the_connection() {
    let census = Census::new();
    let counted = census.clone();
    let handler = move |exchange: Exchange| {
        let member = counted.member();
        async move {
            let _member = member;
            let mut reply = exchange.reply;
            closed(&mut reply).await;
        }
    };
    let (mut raw, _drainer, server) = greeted(app(handler), ServerLimits::new()).await;
    let mut flood = Vec::new();
    for n in 0..400 {
        flood.extend(request(n * 2 + 1, "/", END_STREAM));
        flood.extend(frame(RST_STREAM, 0, n * 2 + 1, &8u32.to_be_bytes()));
    }
    raw.try_send(&flood).await;
    let goodbye = soon(raw.until(GOAWAY)).await;
    assert_eq!(goodbye.code(), reset::ENHANCE_YOUR_CALM);
    soon(server).await.unwrap();
    soon(census.is(0)).await;
}

#[tokio::test]
async fn floods_end_the_connection() {
    let empty_data = [request(1, "/", 0), frame(DATA, 0, 1, &[]).repeat(200)].concat();
    let continuations = [
        frame(HEADERS, 0, 1, &[]),
        frame(CONTINUATION, 0, 1, &block(&[("x-a", "a")])).repeat(200),
    ]
    .concat();
    for (what, flood) in [("empty data", empty_data), ("continuations", continuations)] {
        let (mut raw, _drainer, server) = greeted(app(echo), ServerLimits::new()).await;
        raw.try_send(&flood).await;
        let goodbye = soon(raw.until(GOAWAY)).await;
        assert_eq!(goodbye.code(), reset::ENHANCE_YOUR_CALM, "{what}");
        soon(server).await.unwrap();
    }
}

#[tokio::test]
async fn a_request_cut_short_is_no_request() {
    // The peer goes away in the middle of a body: that must not look like its end.
    let (report, mut reports) = tokio::sync::mpsc::unbounded_channel();
    let handler = move |mut exchange: Exchange| {
        let report = report.clone();
        async move {
            let read = rest(&mut exchange.body).await;
            report.send(read.map(|read| read.0)).unwrap();
        }
    };
    // Dropped with the connection, unless it reads on at once: so it is read in a task of its own.
    let detached = move |exchange: Exchange| {
        let read = handler(exchange);
        async move {
            tokio::spawn(read);
        }
    };
    let (mut raw, _drainer, _server) = greeted(app(detached), ServerLimits::new()).await;
    raw.send(&request(1, "/", 0)).await;
    raw.send(&frame(DATA, 0, 1, b"half of i")).await;
    raw.is_alive().await;
    drop(raw);
    let read = soon(reports.recv()).await.unwrap();
    assert!(read.is_err(), "{read:?}");
}
