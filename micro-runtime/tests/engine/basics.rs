//! Heads, frames, ends, half-close.

use bytes::Bytes;
use micro_runtime::exchange::{
    Exchange, FieldValue, Frame, Line, OutFields, OutHead, Slot, Verb, Why, reset,
};
use micro_runtime::transport::{ClientLimits, ServerLimits};

use crate::kit::{
    alive, app, ask, closed, echo, frame, head, ok, open, quiet, ready, request, rest, spawned,
    status, whole,
};
use crate::rig::Rig;

crate::on_every_engine! {
    a_unary_exchange
    a_spawned_handler
    heads_keep_order_and_repeats
    an_empty_request
    trailers_only
    an_end_without_trailers
    trailers_of_a_request
    half_close
    a_reply_before_the_end_of_the_request
    a_conversation
    a_long_body_both_ways
    misuse_is_an_error
    a_head_that_cannot_be_sent
}

async fn a_unary_exchange(rig: &dyn Rig) {
    let pair = rig.pair(app(echo)).await;
    for _ in 0..3 {
        let reply = whole(&mut ask(&pair.connection, "hello")).await;
        assert_eq!(reply, Ok((200, b"hello".to_vec(), Some("0".to_owned()))));
    }
    quiet(&pair.connection).await;
}

async fn a_spawned_handler(rig: &dyn Rig) {
    let pair = rig.pair(spawned(echo)).await;
    let mut replies: Vec<_> = (0..50u8).map(|n| ask(&pair.connection, vec![n])).collect();
    for (n, reply) in (0..50u8).zip(&mut replies) {
        assert_eq!(whole(reply).await.map(|reply| reply.1), Ok(vec![n]));
    }
}

async fn heads_keep_order_and_repeats(rig: &dyn Rig) {
    let pair = rig
        .pair(app(|exchange: Exchange| async move {
            let asked = &exchange.head;
            assert_eq!(asked.verb(), Verb::Get);
            assert_eq!(asked.path(), "/a.B/C?q=1");
            assert_eq!(asked.authority(), "host:1");
            assert_eq!(asked.get_str(Slot::GrpcTimeout), Some("5S"));
            assert_eq!(asked.get(Slot::ContentType), None);
            let rest: Vec<_> = asked.rest().collect();
            assert_eq!(
                rest,
                [("x-a", &b"1"[..]), ("x-a", &b"\xff"[..]), ("x-b", &b""[..])]
            );
            let mut reply = exchange.reply;
            let mut out = ok();
            out.fields
                .text(Bytes::from_static(b"x-c"), FieldValue::Number(7));
            reply.head(out, false).unwrap();
            let mut trailers = status(5);
            trailers.slot(Slot::GrpcMessage, FieldValue::Static(""));
            trailers.text(Bytes::from_static(b"x-d"), FieldValue::Static("d"));
            reply.trailers(trailers).unwrap();
        }))
        .await;
    let mut fields = OutFields::default();
    fields.text(Bytes::from_static(b"x-a"), FieldValue::Static("1"));
    fields.slot(Slot::GrpcTimeout, FieldValue::Static("5S"));
    fields.text(
        Bytes::from_static(b"x-a"),
        FieldValue::Bytes(Bytes::from_static(b"\xff")),
    );
    fields.text(Bytes::from_static(b"x-b"), FieldValue::Static(""));
    let line = Line::Request {
        verb: Verb::Get,
        path: Bytes::from_static(b"/a.B/C?q=1"),
        authority: Bytes::from_static(b"host:1"),
    };
    let out = OutHead { line, fields };
    let (_, mut reply) = pair.connection.try_open(out, None, true).unwrap();
    let got = head(&mut reply).await.unwrap();
    assert_eq!((got.status(), got.path(), got.authority()), (200, "", ""));
    assert_eq!(got.get_str(Slot::ContentType), Some("application/grpc"));
    assert_eq!(got.rest().collect::<Vec<_>>(), [("x-c", &b"7"[..])]);
    let (data, trailers) = rest(&mut reply).await.unwrap();
    let trailers = trailers.unwrap();
    assert!(data.is_empty());
    assert_eq!(trailers.get_str(Slot::GrpcStatus), Some("5"));
    assert_eq!(trailers.get_str(Slot::GrpcMessage), Some(""));
    assert_eq!(trailers.rest().collect::<Vec<_>>(), [("x-d", &b"d"[..])]);
    assert!(frame(&mut reply).await.is_none(), "an end stays an end");
}

async fn an_empty_request(rig: &dyn Rig) {
    let pair = rig.pair(app(echo)).await;
    let (_, mut reply) = pair.connection.try_open(request("/"), None, true).unwrap();
    assert_eq!(whole(&mut reply).await.map(|reply| reply.1), Ok(vec![]));
    let reply = whole(&mut ask(&pair.connection, "")).await;
    assert_eq!(reply.map(|reply| reply.1), Ok(vec![]));
}

async fn trailers_only(rig: &dyn Rig) {
    let pair = rig
        .pair(app(|mut exchange: Exchange| async move {
            let fields = status(12);
            let line = Line::Status(200);
            exchange.reply.head(OutHead { line, fields }, true).unwrap();
        }))
        .await;
    let mut reply = ask(&pair.connection, "hello");
    let head = head(&mut reply).await.unwrap();
    assert_eq!(head.get_str(Slot::GrpcStatus), Some("12"));
    assert!(frame(&mut reply).await.is_none());
    quiet(&pair.connection).await;
}

async fn an_end_without_trailers(rig: &dyn Rig) {
    let pair = rig
        .pair(app(|mut exchange: Exchange| async move {
            exchange.reply.head(ok(), false).unwrap();
            exchange
                .reply
                .data(Bytes::from_static(b"a"), false)
                .unwrap();
            exchange.reply.data(Bytes::from_static(b"b"), true).unwrap();
        }))
        .await;
    let reply = whole(&mut ask(&pair.connection, "hello")).await;
    assert_eq!(reply, Ok((200, b"ab".to_vec(), None)));
}

async fn trailers_of_a_request(rig: &dyn Rig) {
    let pair = rig
        .pair(app(|mut exchange: Exchange| async move {
            let (data, trailers) = rest(&mut exchange.body).await.unwrap();
            assert_eq!(data, b"x");
            let code = trailers
                .unwrap()
                .get_str(Slot::GrpcStatus)
                .map(str::to_owned);
            assert_eq!(code.as_deref(), Some("3"));
            exchange.reply.head(ok(), true).unwrap();
        }))
        .await;
    let (mut outgoing, mut reply) = open(&pair.connection);
    outgoing.data(Bytes::from_static(b"x"), false).unwrap();
    outgoing.trailers(status(3)).unwrap();
    assert_eq!(whole(&mut reply).await.map(|reply| reply.0), Ok(200));
}

async fn half_close(rig: &dyn Rig) {
    // The client ends its side long before the server does.
    let pair = rig
        .pair(app(|mut exchange: Exchange| async move {
            exchange.reply.head(ok(), false).unwrap();
            let (data, _) = rest(&mut exchange.body).await.unwrap();
            assert_eq!(data, b"abc");
            for _ in 0..3 {
                ready(&mut exchange.reply).await.unwrap();
                exchange
                    .reply
                    .data(Bytes::from_static(b"r"), false)
                    .unwrap();
            }
            exchange.reply.trailers(status(0)).unwrap();
        }))
        .await;
    let (mut outgoing, mut reply) = open(&pair.connection);
    assert_eq!(head(&mut reply).await.unwrap().status(), 200);
    for part in ["a", "b"] {
        ready(&mut outgoing).await.unwrap();
        outgoing.data(Bytes::from(part), false).unwrap();
    }
    outgoing.data(Bytes::from("c"), true).unwrap();
    let (data, trailers) = rest(&mut reply).await.unwrap();
    assert_eq!(data, b"rrr");
    assert!(trailers.is_some());
    quiet(&pair.connection).await;
}

async fn a_reply_before_the_end_of_the_request(rig: &dyn Rig) {
    let pair = rig
        .pair(app(|mut exchange: Exchange| async move {
            if exchange.head.path() == "/early" {
                drop(exchange.body);
                exchange.reply.head(ok(), false).unwrap();
                exchange.reply.trailers(status(8)).unwrap();
            } else {
                echo(exchange).await;
            }
        }))
        .await;
    let (mut outgoing, mut reply) = pair
        .connection
        .try_open(request("/early"), Some(Bytes::from_static(b"x")), false)
        .unwrap();
    let got = whole(&mut reply).await;
    assert_eq!(got, Ok((200, vec![], Some("8".to_owned()))));
    assert_eq!(closed(&mut outgoing).await.why, Why::Reset(reset::NO_ERROR));
    assert!(ready(&mut outgoing).await.is_err());
    drop(outgoing);
    quiet(&pair.connection).await;
    alive(&pair.connection).await;
}

async fn a_conversation(rig: &dyn Rig) {
    let pair = rig
        .pair(app(|exchange: Exchange| async move {
            let (mut body, mut reply) = (exchange.body, exchange.reply);
            reply.head(ok(), false).unwrap();
            while let Some(Ok(Frame::Data(bytes))) = frame(&mut body).await {
                ready(&mut reply).await.unwrap();
                reply.data(bytes, false).unwrap();
            }
            reply.trailers(status(0)).unwrap();
        }))
        .await;
    let (mut outgoing, mut reply) = open(&pair.connection);
    assert_eq!(head(&mut reply).await.unwrap().status(), 200);
    for n in 0..100u8 {
        ready(&mut outgoing).await.unwrap();
        outgoing.data(Bytes::from(vec![n]), false).unwrap();
        let Some(Ok(Frame::Data(bytes))) = frame(&mut reply).await else {
            panic!("expected data");
        };
        assert_eq!(bytes[..], [n]);
    }
    outgoing.data(Bytes::new(), true).unwrap();
    let (data, trailers) = rest(&mut reply).await.unwrap();
    assert!(data.is_empty() && trailers.is_some());
}

async fn a_long_body_both_ways(rig: &dyn Rig) {
    let server = ServerLimits::new()
        .stream_window(70_000)
        .connection_window(300_000);
    let client = ClientLimits::new()
        .stream_window(70_000)
        .connection_window(300_000);
    let pair = rig.pair_with(app(echo), server, client).await;
    let body: Vec<u8> = (0..1_000_000u32).map(|n| (n % 251) as u8).collect();
    let mut replies: Vec<_> = (0..3)
        .map(|_| ask(&pair.connection, body.clone()))
        .collect();
    for reply in &mut replies {
        // One after the other: the others wait for window, and lose nothing by it.
        let (_, data, code) = whole(reply).await.unwrap();
        assert!(data == body, "{} bytes of {}", data.len(), body.len());
        assert_eq!(code.as_deref(), Some("0"));
    }
}

async fn misuse_is_an_error(rig: &dyn Rig) {
    let pair = rig
        .pair(app(|mut exchange: Exchange| async move {
            let reply = &mut exchange.reply;
            assert!(reply.data(Bytes::from_static(b"early"), false).is_err());
            assert!(ready(reply).await.is_err());
            assert!(head(&mut exchange.body).await.is_err());
            // A reply that is whole before the request would have it stopped.
            assert!(frame(&mut exchange.body).await.is_none());
            reply.head(ok(), false).unwrap();
            assert!(reply.head(ok(), false).is_err());
            reply.data(Bytes::from_static(b"x"), true).unwrap();
            assert!(reply.data(Bytes::from_static(b"late"), false).is_err());
            assert!(ready(reply).await.is_err());
            assert!(exchange.reply.trailers(status(0)).is_err());
        }))
        .await;
    let (mut outgoing, mut reply) = open(&pair.connection);
    assert!(outgoing.head(ok(), false).is_err());
    outgoing.data(Bytes::new(), true).unwrap();
    assert!(outgoing.data(Bytes::from_static(b"late"), true).is_err());
    assert!(ready(&mut outgoing).await.is_err());
    drop(outgoing);
    let got = whole(&mut reply).await;
    assert_eq!(got, Ok((200, b"x".to_vec(), None)));
    assert!(head(&mut reply).await.is_err());

    // Frames may be asked for before the head.
    let mut reply = ask(&pair.connection, "");
    assert!(matches!(frame(&mut reply).await, Some(Ok(Frame::Data(_)))));
    assert_eq!(head(&mut reply).await.unwrap().status(), 200);
    assert!(frame(&mut reply).await.is_none());
}

async fn a_head_that_cannot_be_sent(rig: &dyn Rig) {
    let pair = rig.pair(app(echo)).await;
    for (path, line) in [
        (&b"no slash"[..], None),
        (b"/\xff", None),
        (b"/", Some(Line::Status(200))),
    ] {
        let line = line.unwrap_or_else(|| Line::Request {
            verb: Verb::Post,
            path: Bytes::from_static(path),
            authority: Bytes::from_static(b"test"),
        });
        let fields = OutFields::default();
        let (_, mut reply) = pair
            .connection
            .try_open(OutHead { line, fields }, None, true)
            .unwrap();
        let broken = head(&mut reply).await.unwrap_err();
        assert_eq!(broken.processed, micro_runtime::exchange::Processed::No);
        assert!(broken.detail.contains("expected") || broken.detail.contains("cannot be sent"));
    }
    quiet(&pair.connection).await;
    alive(&pair.connection).await;
}
