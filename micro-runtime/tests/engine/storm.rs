//! What honest peers do that looks like an attack.

use bytes::Bytes;
use micro_runtime::exchange::{Exchange, Frame};

use crate::kit::{alive, app, ask, echo, frame, head, ok, open, quiet, ready, rest, whole};
use crate::rig::Rig;

crate::on_every_engine! {
    ten_thousand_replies_dropped_early
    tiny_messages_to_a_slow_client
    tiny_messages_to_a_slow_server
    empty_pieces
}

async fn ten_thousand_replies_dropped_early(rig: &dyn Rig) {
    let pair = rig
        .pair(app(|exchange: Exchange| async move {
            let mut reply = exchange.reply;
            reply.head(ok(), false).unwrap();
            for _ in 0..5 {
                if ready(&mut reply).await.is_err() {
                    return;
                }
                if reply.data(Bytes::from_static(b"part"), false).is_err() {
                    return;
                }
                tokio::task::yield_now().await;
            }
            let _ = reply.data(Bytes::from_static(b"last"), true);
        }))
        .await;
    let tasks: Vec<_> = (0..100)
        .map(|_| {
            let connection = pair.connection.clone();
            tokio::spawn(async move {
                for n in 0..100 {
                    let mut reply = ask(&connection, "x");
                    let head = head(&mut reply).await.expect("no call fails");
                    assert_eq!(head.status(), 200);
                    if n % 2 == 0 {
                        frame(&mut reply).await.unwrap().expect("no call fails");
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    quiet(&pair.connection).await;
    let reply = whole(&mut ask(&pair.connection, "x")).await;
    assert_eq!(reply.map(|reply| reply.1.len()), Ok(24));
}

/// How many one-byte messages go through one stream, a frame each. At h2's own defaults a connection does not
/// live to see 4,000 of them.
const TINY: usize = 100_000;

async fn tiny_messages_to_a_slow_client(rig: &dyn Rig) {
    let pair = rig
        .pair(app(|exchange: Exchange| async move {
            if exchange.head.path() == "/a.B/C" {
                return echo(exchange).await;
            }
            let mut reply = exchange.reply;
            reply.head(ok(), false).unwrap();
            for _ in 0..TINY {
                ready(&mut reply).await.unwrap();
                // The five bytes of a gRPC prefix, and one of message.
                reply
                    .data(Bytes::from_static(&[0, 0, 0, 0, 1, 7]), false)
                    .unwrap();
            }
            reply.data(Bytes::new(), true).unwrap();
        }))
        .await;
    let (_, mut reply) = pair
        .connection
        .try_open(crate::kit::request("/tiny"), None, true)
        .unwrap();
    head(&mut reply).await.unwrap();
    let mut bytes = 0;
    while bytes < TINY * 6 {
        match frame(&mut reply).await {
            Some(Ok(Frame::Data(data))) => bytes += data.len(),
            other => panic!("expected data after {bytes} bytes, found {other:?}"),
        }
        // Slower than the connection, which meanwhile serves others.
        if bytes % 60_000 < 6 {
            alive(&pair.connection).await;
        }
    }
    assert_eq!(rest(&mut reply).await.map(|rest| rest.0), Ok(vec![]));
    alive(&pair.connection).await;
}

async fn tiny_messages_to_a_slow_server(rig: &dyn Rig) {
    let pair = rig
        .pair(app(|mut exchange: Exchange| async move {
            let mut bytes = 0usize;
            while let Some(Ok(Frame::Data(data))) = frame(&mut exchange.body).await {
                bytes += data.len();
                if bytes % 600 < 6 {
                    tokio::task::yield_now().await;
                }
            }
            exchange.reply.head(ok(), false).unwrap();
            let total = Bytes::from(bytes.to_string());
            exchange.reply.data(total, true).unwrap();
        }))
        .await;
    let (mut outgoing, mut reply) = open(&pair.connection);
    for _ in 0..TINY / 4 {
        ready(&mut outgoing).await.unwrap();
        outgoing
            .data(Bytes::from_static(&[0, 0, 0, 0, 1, 7]), false)
            .unwrap();
    }
    outgoing.data(Bytes::new(), true).unwrap();
    let total = whole(&mut reply).await.map(|reply| reply.1);
    assert_eq!(total, Ok((TINY / 4 * 6).to_string().into_bytes()));
}

async fn empty_pieces(rig: &dyn Rig) {
    // Sent as frames, a hundred of them would end the connection: h2 takes no more in its life.
    let pair = rig
        .pair(app(|mut exchange: Exchange| async move {
            let (data, _) = rest(&mut exchange.body).await.unwrap();
            let mut reply = exchange.reply;
            reply.head(ok(), false).unwrap();
            reply.data(Bytes::new(), false).unwrap();
            reply.data(data.into(), false).unwrap();
            reply.data(Bytes::new(), false).unwrap();
            reply.data(Bytes::new(), true).unwrap();
        }))
        .await;
    for n in 0..300u32 {
        let body: &'static str = if n % 2 == 0 { "" } else { "x" };
        let first = Some(Bytes::from_static(body.as_bytes()));
        let (mut outgoing, mut reply) = pair
            .connection
            .try_open(crate::kit::request("/"), first, false)
            .unwrap();
        outgoing.data(Bytes::new(), false).unwrap();
        outgoing.data(Bytes::new(), true).unwrap();
        let reply = whole(&mut reply).await.unwrap();
        assert_eq!(reply.1, body.as_bytes());
    }
}
