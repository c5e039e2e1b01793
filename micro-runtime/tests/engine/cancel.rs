//! A drop at every await: of the client's call, and of the server's handler.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use bytes::Bytes;
use micro_runtime::exchange::{Connection, Exchange, Frame};

use crate::kit::{
    Census, alive, app, closed, echo, frame, head, ok, quiet, ready, request, rest, spawned,
    status, whole,
};
use crate::rig::Rig;

crate::on_every_engine! {
    a_client_that_stops_anywhere
    a_server_that_stops_anywhere
    a_handler_is_told
}

/// A call with an await at each of its stages.
async fn talk(connection: &Connection) {
    let (mut outgoing, mut reply) = connection
        .try_open(request("/talk"), Some(Bytes::from_static(b"first")), false)
        .unwrap();
    tokio::task::yield_now().await;
    let _ = head(&mut reply).await;
    for _ in 0..3 {
        if ready(&mut outgoing).await.is_err() {
            return;
        }
        let _ = outgoing.data(Bytes::from_static(b"more"), false);
        let _ = frame(&mut reply).await;
    }
    let _ = outgoing.trailers(status(0));
    tokio::task::yield_now().await;
    let _ = rest(&mut reply).await;
}

async fn answer(exchange: Exchange) {
    if exchange.head.path() != "/talk" {
        return echo(exchange).await;
    }
    let (mut body, mut reply) = (exchange.body, exchange.reply);
    tokio::task::yield_now().await;
    let _ = reply.head(ok(), false);
    let converse = async {
        while let Some(Ok(Frame::Data(bytes))) = frame(&mut body).await {
            tokio::task::yield_now().await;
            if ready(&mut reply).await.is_err() || reply.data(bytes, false).is_err() {
                return;
            }
        }
        tokio::task::yield_now().await;
        let _ = reply.trailers(status(0));
    };
    converse.await;
}

/// Runs a future for so many polls, then drops it; whether it had ended.
async fn stop_after(polls: usize, future: impl Future<Output = ()>) -> bool {
    let mut future = pin!(future);
    let mut polled = 0;
    poll_fn(|cx| {
        if polled == polls {
            return Poll::Ready(false);
        }
        polled += 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(true),
            // Stops right behind the last poll, not at the next thing that happens.
            Poll::Pending if polled == polls => Poll::Ready(false),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// More polls than a call needs, however its parts come: how many that is depends on who runs first.
const MOST_POLLS: usize = 24;

async fn a_client_that_stops_anywhere(rig: &dyn Rig) {
    let census = Census::new();
    let counted = census.clone();
    let pair = rig
        .pair(app(move |exchange: Exchange| {
            let member = counted.member();
            async move {
                let _member = member;
                answer(exchange).await;
            }
        }))
        .await;
    let (mut stopped, mut ended) = (0, 0);
    for polls in 1..=MOST_POLLS {
        if stop_after(polls, talk(&pair.connection)).await {
            ended += 1;
        } else {
            stopped += 1;
        }
        // Nothing is left of it, on either side, and the connection goes on.
        quiet(&pair.connection).await;
        census.is(0).await;
        alive(&pair.connection).await;
    }
    assert!(
        stopped > 0 && ended > 0,
        "{stopped} calls stopped, {ended} ended"
    );
}

async fn a_server_that_stops_anywhere(rig: &dyn Rig) {
    let after = Arc::new(AtomicUsize::new(1));
    let (stop, ended) = (after.clone(), Arc::new(AtomicUsize::new(0)));
    let ends = ended.clone();
    let pair = rig
        .pair(spawned(move |exchange: Exchange| {
            let polls = match exchange.head.path() {
                "/talk" => stop.load(Ordering::SeqCst),
                _ => usize::MAX,
            };
            let ends = ends.clone();
            async move {
                if stop_after(polls, answer(exchange)).await && polls <= MOST_POLLS {
                    ends.fetch_add(1, Ordering::SeqCst);
                }
            }
        }))
        .await;
    for polls in 1..=MOST_POLLS {
        after.store(polls, Ordering::SeqCst);
        talk(&pair.connection).await;
        quiet(&pair.connection).await;
        alive(&pair.connection).await;
    }
    let ended = ended.load(Ordering::SeqCst);
    assert!(
        ended > 0 && ended < MOST_POLLS,
        "{ended} of {MOST_POLLS} handlers ended"
    );
}

async fn a_handler_is_told(rig: &dyn Rig) {
    // Its only sign of the end may come while another task waits for room.
    let census = Census::new();
    let counted = census.clone();
    let pair = rig
        .pair(app(move |exchange: Exchange| {
            let member = counted.member();
            async move {
                if exchange.head.path() != "/wait" {
                    return echo(exchange).await;
                }
                let mut reply = exchange.reply;
                reply.head(ok(), false).unwrap();
                let reply = Arc::new(std::sync::Mutex::new(reply));
                let sending = reply.clone();
                let sender = tokio::spawn(async move {
                    loop {
                        let room = poll_fn(|cx| sending.lock().unwrap().poll_ready(cx)).await;
                        if room.is_err() {
                            return;
                        }
                        let chunk = Bytes::from_static(&[0; 16 * 1024]);
                        if sending.lock().unwrap().data(chunk, false).is_err() {
                            return;
                        }
                    }
                });
                poll_fn(|cx| reply.lock().unwrap().poll_closed(cx)).await;
                sender.await.unwrap();
                drop(member);
            }
        }))
        .await;
    for _ in 0..10 {
        let (_, mut reply) = pair
            .connection
            .try_open(request("/wait"), None, true)
            .unwrap();
        head(&mut reply).await.unwrap();
        // Until the window is full, and both of them wait.
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
        drop(reply);
        census.is(0).await;
    }
    let (mut outgoing, mut reply) = pair.connection.try_open(request("/"), None, false).unwrap();
    let open = tokio::spawn(async move { closed(&mut outgoing).await });
    quiet_but_one(&pair.connection).await;
    open.abort();
    assert!(open.await.is_err());
    assert!(whole(&mut reply).await.is_err());
}

async fn quiet_but_one(connection: &Connection) {
    loop {
        let changed = connection.changed();
        if connection.load().in_flight <= 1 {
            return;
        }
        changed.await;
    }
}
