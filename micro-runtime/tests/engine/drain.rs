//! Goodbyes under load, and cuts.

use std::sync::Arc;

use bytes::Bytes;
use micro_runtime::exchange::{DrainState, Exchange, NotOpenedWhy, Processed, State, Why};
use tokio::sync::Semaphore;

use crate::kit::{Census, alive, app, ask, becomes, echo, head, open, quiet, request, whole};
use crate::rig::{Pair, Rig};

crate::on_every_engine! {
    a_drain_finishes_what_runs
    a_drain_under_load_loses_nothing
    a_drain_with_nothing_to_do
    a_cut_breaks_what_runs
    a_dropped_drainer_cuts
    a_client_that_drains
    the_last_handle
}

/// Handlers that wait at a gate, and are counted.
async fn gated(rig: &dyn Rig) -> (Pair, Arc<Semaphore>, Census) {
    let (gate, census) = (Arc::new(Semaphore::new(0)), Census::new());
    let (wait, counted) = (gate.clone(), census.clone());
    let pair = rig
        .pair(app(move |exchange: Exchange| {
            let (wait, member) = (wait.clone(), counted.member());
            async move {
                let _member = member;
                wait.acquire().await.unwrap().forget();
                echo(exchange).await;
            }
        }))
        .await;
    (pair, gate, census)
}

async fn a_drain_finishes_what_runs(rig: &dyn Rig) {
    let (pair, gate, census) = gated(rig).await;
    let mut replies: Vec<_> = (0..50).map(|_| ask(&pair.connection, "x")).collect();
    let (mut outgoing, mut long) = open(&pair.connection);
    census.is(51).await;
    pair.drainer.advance(DrainState::Draining);
    becomes(&pair.connection, State::Draining).await;
    let refused = pair
        .connection
        .try_open(request("/late"), Some(Bytes::from_static(b"late")), true)
        .unwrap_err();
    assert_eq!(refused.why, NotOpenedWhy::Draining);
    assert_eq!(refused.first.as_deref(), Some(&b"late"[..]));
    gate.add_permits(51);
    for reply in &mut replies {
        assert_eq!(whole(reply).await.map(|reply| reply.1), Ok(b"x".to_vec()));
    }
    // A call that runs may still send.
    outgoing.data(Bytes::from_static(b"y"), true).unwrap();
    assert_eq!(
        whole(&mut long).await.map(|reply| reply.1),
        Ok(b"y".to_vec())
    );
    pair.drainer.drained().await;
    becomes(&pair.connection, State::Closed).await;
    pair.connection.changed().await;
    let refused = pair.connection.try_open(request("/"), None, true);
    assert_eq!(refused.unwrap_err().why, NotOpenedWhy::Closed);
}

async fn a_drain_under_load_loses_nothing(rig: &dyn Rig) {
    let mut answered = 0;
    for round in 0..20 {
        let pair = rig.pair(app(echo)).await;
        let callers: Vec<_> = (0..20)
            .map(|_| {
                let connection = pair.connection.clone();
                tokio::spawn(async move {
                    let mut answered = 0;
                    loop {
                        let opened = connection.try_open(request("/"), Some("x".into()), true);
                        let Ok((_, mut reply)) = opened else {
                            return answered;
                        };
                        match whole(&mut reply).await {
                            Ok(_) => answered += 1,
                            // It may be tried again elsewhere: that is what the goodbye promises.
                            Err(broken) => {
                                assert_eq!(broken.processed, Processed::No, "{broken:?}");
                            }
                        }
                    }
                })
            })
            .collect();
        for _ in 0..round {
            alive(&pair.connection).await;
        }
        pair.drainer.advance(DrainState::Draining);
        pair.drainer.drained().await;
        for caller in callers {
            answered += caller.await.unwrap();
        }
    }
    // In an early round the callers may not have begun.
    assert!(answered > 0);
}

async fn a_drain_with_nothing_to_do(rig: &dyn Rig) {
    let pair = rig.pair(app(echo)).await;
    alive(&pair.connection).await;
    pair.drainer.advance(DrainState::Draining);
    pair.drainer.drained().await;
    becomes(&pair.connection, State::Closed).await;
}

async fn a_cut_breaks_what_runs(rig: &dyn Rig) {
    let (pair, _gate, census) = gated(rig).await;
    let mut replies: Vec<_> = (0..10).map(|_| ask(&pair.connection, "x")).collect();
    let (mut outgoing, mut long) = open(&pair.connection);
    census.is(11).await;
    pair.drainer.advance(DrainState::Closing);
    for reply in replies.iter_mut().chain([&mut long]) {
        let broken = head(reply).await.unwrap_err();
        assert_eq!(broken.why, Why::Closed, "{broken:?}");
        assert_eq!(broken.processed, Processed::Maybe);
    }
    let broken = crate::kit::closed(&mut outgoing).await;
    assert_eq!(broken.why, Why::Closed, "{broken:?}");
    // The handlers are gone, though nothing woke them.
    census.is(0).await;
    pair.drainer.drained().await;
    becomes(&pair.connection, State::Closed).await;
}

async fn a_dropped_drainer_cuts(rig: &dyn Rig) {
    let (pair, _gate, census) = gated(rig).await;
    let mut reply = ask(&pair.connection, "x");
    census.is(1).await;
    drop(pair.drainer);
    assert!(head(&mut reply).await.is_err());
    census.is(0).await;
    becomes(&pair.connection, State::Closed).await;
}

async fn a_client_that_drains(rig: &dyn Rig) {
    let (pair, gate, census) = gated(rig).await;
    let mut reply = ask(&pair.connection, "x");
    census.is(1).await;
    pair.connection.drain();
    pair.connection.drain();
    assert_eq!(pair.connection.load().state, State::Draining);
    let refused = pair.connection.try_open(request("/"), None, true);
    assert_eq!(refused.unwrap_err().why, NotOpenedWhy::Draining);
    gate.add_permits(1);
    assert!(whole(&mut reply).await.is_ok());
    drop(reply);
    becomes(&pair.connection, State::Closed).await;
    pair.drainer.drained().await;
}

async fn the_last_handle(rig: &dyn Rig) {
    let (pair, gate, census) = gated(rig).await;
    let Pair {
        connection,
        drainer,
    } = pair;
    let mut reply = ask(&connection, "x");
    census.is(1).await;
    drop(connection.clone());
    drop(connection);
    gate.add_permits(1);
    assert!(whole(&mut reply).await.is_ok());
    drop(reply);
    drainer.drained().await;

    // Never used, it goes as well.
    let pair = rig.pair(app(echo)).await;
    quiet(&pair.connection).await;
    drop(pair.connection);
    pair.drainer.drained().await;
}
