//! Windows: of one byte, with slow readers, and with readers that never read.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use micro_runtime::exchange::{Exchange, Frame};
use micro_runtime::transport::{ClientLimits, ServerLimits};

use crate::kit::{
    alive, app, ask, echo, frame, head, ok, quiet, ready, request, rest, status, whole,
};
use crate::rig::Rig;

crate::on_every_engine! {
    a_one_byte_window
    nothing_beyond_what_was_released
    a_slow_reader_holds_its_sender_back
    a_peer_that_never_reads
    a_server_that_never_reads
}

async fn a_one_byte_window(rig: &dyn Rig) {
    let pair = rig
        .pair_with(
            app(echo),
            ServerLimits::new().stream_window(1),
            ClientLimits::new().stream_window(1),
        )
        .await;
    let reply = whole(&mut ask(&pair.connection, "one by one")).await;
    assert_eq!(
        reply,
        Ok((200, b"one by one".to_vec(), Some("0".to_owned())))
    );

    let (mut outgoing, mut reply) = pair.connection.try_open(request("/"), None, false).unwrap();
    for part in ["ab", "cd"] {
        assert!(ready(&mut outgoing).await.unwrap() > 0);
        outgoing.data(Bytes::from(part), false).unwrap();
    }
    outgoing.data(Bytes::new(), true).unwrap();
    assert_eq!(
        whole(&mut reply).await.map(|reply| reply.1),
        Ok(b"abcd".to_vec())
    );
    quiet(&pair.connection).await;
}

async fn nothing_beyond_what_was_released(rig: &dyn Rig) {
    let pair = rig
        .pair_with(
            app(echo),
            ServerLimits::new(),
            ClientLimits::new().stream_window(1000),
        )
        .await;
    let mut reply = ask(&pair.connection, vec![7; 5000]);
    head(&mut reply).await.unwrap();
    let mut taken = 0;
    while taken < 1000 {
        match poll_fn(|cx| reply.poll_frame(cx)).await {
            Some(Ok(Frame::Data(bytes))) => taken += bytes.len(),
            other => panic!("expected data, found {other:?}"),
        }
    }
    assert_eq!(taken, 1000);
    // Whatever could have come has come when a later exchange is over.
    alive(&pair.connection).await;
    poll_fn(|cx| {
        assert!(reply.poll_frame(cx).is_pending());
        std::task::Poll::Ready(())
    })
    .await;
    reply.release(1000);
    let (data, trailers) = rest(&mut reply).await.unwrap();
    assert_eq!(data.len(), 4000);
    assert!(trailers.is_some());
}

/// Sends without end, as there is room; counts the bytes.
fn endless(sent: &Arc<AtomicUsize>) -> Arc<dyn micro_runtime::exchange::Serve> {
    let sent = sent.clone();
    app(move |exchange: Exchange| {
        let sent = sent.clone();
        async move {
            if exchange.head.path() != "/endless" {
                return echo(exchange).await;
            }
            let mut reply = exchange.reply;
            reply.head(ok(), false).unwrap();
            while let Ok(room) = ready(&mut reply).await {
                let chunk = Bytes::from(vec![1; room.min(10_000)]);
                sent.fetch_add(chunk.len(), Ordering::SeqCst);
                if reply.data(chunk, false).is_err() {
                    return;
                }
            }
        }
    })
}

async fn a_slow_reader_holds_its_sender_back(rig: &dyn Rig) {
    let sent = Arc::new(AtomicUsize::new(0));
    let client = ClientLimits::new().stream_window(50_000);
    let pair = rig
        .pair_with(endless(&sent), ServerLimits::new(), client)
        .await;
    let (_, mut reply) = pair
        .connection
        .try_open(request("/endless"), None, true)
        .unwrap();
    head(&mut reply).await.unwrap();
    let mut read = 0;
    while read < 1_000_000 {
        let Some(Ok(Frame::Data(bytes))) = frame(&mut reply).await else {
            panic!("expected data");
        };
        read += bytes.len();
        for _ in 0..5 {
            tokio::task::yield_now().await;
        }
        let ahead = sent.load(Ordering::SeqCst) - read;
        assert!(ahead < 50_000 + 50_000, "the sender is {ahead} bytes ahead");
    }
    drop(reply);
    quiet(&pair.connection).await;
    alive(&pair.connection).await;
}

async fn a_peer_that_never_reads(rig: &dyn Rig) {
    let sent = Arc::new(AtomicUsize::new(0));
    let client = ClientLimits::new().stream_window(50_000);
    let pair = rig
        .pair_with(endless(&sent), ServerLimits::new(), client)
        .await;
    let stalled: Vec<_> = (0..20)
        .map(|_| {
            let opened = pair.connection.try_open(request("/endless"), None, true);
            opened.unwrap().1
        })
        .collect();
    // The others go on as if nothing were.
    for _ in 0..200 {
        alive(&pair.connection).await;
    }
    let each = sent.load(Ordering::SeqCst) / stalled.len();
    assert!(each >= 50_000, "{each} bytes were sent");
    assert!(each < 50_000 + 50_000, "{each} bytes are buffered for each");
    drop(stalled);
    quiet(&pair.connection).await;
}

async fn a_server_that_never_reads(rig: &dyn Rig) {
    let pair = rig
        .pair_with(
            app(|exchange: Exchange| async move {
                if exchange.head.path() == "/deaf" {
                    // Holds the request without a look at it.
                    let mut reply = exchange.reply;
                    poll_fn(|cx| reply.poll_closed(cx)).await;
                    drop(exchange.body);
                } else {
                    echo(exchange).await;
                }
            }),
            ServerLimits::new().stream_window(50_000),
            ClientLimits::new(),
        )
        .await;
    let (mut outgoing, reply) = pair
        .connection
        .try_open(request("/deaf"), None, false)
        .unwrap();
    let sent = AtomicUsize::new(0);
    let fill = async {
        while ready(&mut outgoing).await.is_ok() {
            outgoing
                .data(Bytes::from_static(&[0; 1000]), false)
                .unwrap();
            sent.fetch_add(1000, Ordering::SeqCst);
        }
    };
    let others = async {
        for _ in 0..200 {
            alive(&pair.connection).await;
        }
    };
    tokio::select! {
        () = fill => panic!("the sender was not held back"),
        () = others => {}
    }
    let sent = sent.into_inner();
    assert!((50_000..100_000).contains(&sent), "{sent} bytes were sent");
    drop((outgoing, reply));
    quiet(&pair.connection).await;
    let _ = status(0);
}
