//! Keep-alive, idleness, draining, with a paused clock.

use std::time::Duration;

use micro_runtime::exchange::{DrainState, Exchange, reset};
use micro_runtime::transport::ServerLimits;
use tokio::time::{Instant, sleep, timeout};

use crate::kit::{Census, app, closed, echo, ok};
use crate::raw::{
    ACK, DATA, END_STREAM, GOAWAY, HEADERS, PING, RST_STREAM, frame, greeted, request,
};

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_asked_and_cut() {
    let (mut raw, drainer, server) = greeted(app(echo), ServerLimits::new()).await;
    let began = Instant::now();
    // The greeting was a sign of life: the first minute goes by in silence.
    let ping = raw.until(PING).await;
    assert_eq!((ping.flags, began.elapsed().as_secs()), (0, 120));
    // Answered, it lives. The answer, too, is a sign of life.
    raw.send(&frame(PING, ACK, 0, &ping.payload)).await;
    let ping = raw.until(PING).await;
    assert_eq!((ping.flags, began.elapsed().as_secs()), (0, 240));
    let asked = Instant::now();
    server.await.unwrap();
    assert_eq!(asked.elapsed().as_secs(), 20);
    drainer.drained().await;
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_with_a_goodbye() {
    let limits = ServerLimits::new()
        .keep_alive(None, Duration::from_secs(20))
        .idle_timeout(Duration::from_secs(15 * 60));
    let (mut raw, _drainer, server) = greeted(app(echo), limits).await;
    sleep(Duration::from_secs(10 * 60)).await;
    raw.send(&request(1, "/", END_STREAM)).await;
    raw.until(HEADERS).await;
    let began = Instant::now();
    let goodbye = raw.until(GOAWAY).await;
    assert_eq!(began.elapsed().as_secs(), 15 * 60);
    assert_eq!(goodbye.last_stream(), i32::MAX as u32);
    assert_eq!(goodbye.code(), reset::NO_ERROR);
    let ping = raw.until(PING).await;
    raw.send(&frame(PING, ACK, 0, &ping.payload)).await;
    assert_eq!(raw.until(GOAWAY).await.last_stream(), 1);
    assert!(raw.next().await.is_none());
    server.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_idle_peer_that_does_not_answer_is_cut() {
    let limits = ServerLimits::new().keep_alive(None, Duration::from_secs(20));
    let (mut raw, _drainer, server) = greeted(app(echo), limits).await;
    raw.until(GOAWAY).await;
    let began = Instant::now();
    server.await.unwrap();
    assert_eq!(began.elapsed().as_secs(), 20);
}

#[tokio::test(start_paused = true)]
async fn a_connection_with_a_stream_is_not_idle() {
    let handler = |exchange: Exchange| async move {
        let mut reply = exchange.reply;
        reply.head(ok(), false).unwrap();
        closed(&mut reply).await;
    };
    let limits = ServerLimits::new().keep_alive(None, Duration::from_secs(20));
    let (mut raw, _drainer, _server) = greeted(app(handler), limits).await;
    raw.send(&request(1, "/", END_STREAM)).await;
    raw.until(HEADERS).await;
    let hours = timeout(Duration::from_secs(5 * 3600), raw.until(GOAWAY)).await;
    assert!(hours.is_err());
    raw.send(&frame(RST_STREAM, 0, 1, &8u32.to_be_bytes()))
        .await;
    let began = Instant::now();
    raw.until(GOAWAY).await;
    assert!((14 * 60..=15 * 60).contains(&began.elapsed().as_secs()));
}

#[tokio::test(start_paused = true)]
async fn a_drain_says_goodbye_twice() {
    let census = Census::new();
    let counted = census.clone();
    let handler = move |exchange: Exchange| {
        let member = counted.member();
        async move {
            echo(exchange).await;
            drop(member);
        }
    };
    let (mut raw, drainer, server) = greeted(app(handler), ServerLimits::new()).await;
    raw.send(&request(1, "/", 0)).await;
    census.is(1).await;
    drainer.advance(DrainState::Draining);
    let first = raw.until(GOAWAY).await;
    assert_eq!((first.last_stream(), first.code()), (i32::MAX as u32, 0));
    let ping = raw.until(PING).await;
    // On its way already when the goodbye came: it is served.
    raw.send(&request(3, "/", END_STREAM)).await;
    raw.send(&frame(PING, ACK, 0, &ping.payload)).await;
    let second = raw.until(GOAWAY).await;
    assert_eq!((second.last_stream(), second.code()), (3, 0));
    // Too late: it is ignored, as was said.
    raw.send(&request(5, "/", END_STREAM)).await;
    raw.send(&frame(DATA, END_STREAM, 1, b"end")).await;
    let mut ended = Vec::new();
    while let Some(next) = raw.next().await {
        if next.kind == HEADERS && next.flags & END_STREAM != 0 {
            ended.push(next.stream);
        }
    }
    ended.sort_unstable();
    // The reply of stream 3 may have come before the second goodbye was read.
    assert!(ended == [1, 3] || ended == [1], "{ended:?}");
    server.await.unwrap();
    drainer.drained().await;
}

#[tokio::test(start_paused = true)]
async fn a_cut_does_not_wait() {
    let handler = |_: Exchange| std::future::pending::<()>();
    for cut in ["told", "the teller is gone"] {
        let (mut raw, drainer, server) = greeted(app(handler), ServerLimits::new()).await;
        raw.send(&request(1, "/", 0)).await;
        raw.is_alive().await;
        match cut {
            "told" => {
                drainer.advance(DrainState::Draining);
                raw.until(GOAWAY).await;
                drainer.advance(DrainState::Closing);
                server.await.unwrap();
                drainer.drained().await;
            }
            _ => {
                drop(drainer);
                server.await.unwrap();
            }
        }
        assert!(raw.ends_without(HEADERS).await);
    }
}
