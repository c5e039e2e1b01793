//! One stream at most, load, changes.

use std::sync::Arc;

use bytes::Bytes;
use micro_runtime::exchange::{Exchange, Line, NotOpenedWhy, State};
use micro_runtime::transport::{ClientLimits, ServerLimits};
use tokio::sync::Semaphore;

use crate::kit::{alive, app, ask, echo, open, quiet, request, whole};
use crate::rig::Rig;

crate::on_every_engine! {
    one_stream_at_most_by_the_server
    one_stream_at_most_by_the_client
    load_is_counted
    many_calls_at_the_limit
}

async fn one_at_most(rig: &dyn Rig, server: ServerLimits, client: ClientLimits) {
    let gate = Arc::new(Semaphore::new(0));
    let wait = gate.clone();
    let pair = rig
        .pair_with(
            app(move |exchange: Exchange| {
                let wait = wait.clone();
                async move {
                    wait.acquire().await.unwrap().forget();
                    echo(exchange).await;
                }
            }),
            server,
            client,
        )
        .await;
    let connection = &pair.connection;
    assert_eq!(connection.load().maximum, 1);
    for _ in 0..5 {
        let mut first = ask(connection, "1");
        assert_eq!(connection.load().in_flight, 1);
        let changed = connection.changed();
        let refused = connection
            .try_open(request("/second"), Some(Bytes::from_static(b"2")), true)
            .unwrap_err();
        // All of it comes back.
        assert_eq!(refused.why, NotOpenedWhy::Full);
        assert_eq!(refused.first.as_deref(), Some(&b"2"[..]));
        let Line::Request { path, .. } = &refused.head.line else {
            panic!("expected the head that was given");
        };
        assert_eq!(path, "/second");
        assert_eq!(refused.head.fields.len(), 2);

        gate.add_permits(2);
        assert!(whole(&mut first).await.is_ok());
        changed.await;
        let (_, mut second) = connection
            .try_open(refused.head, refused.first, true)
            .unwrap();
        assert_eq!(
            whole(&mut second).await.map(|reply| reply.1),
            Ok(b"2".to_vec())
        );
        quiet(connection).await;
    }
}

async fn one_stream_at_most_by_the_server(rig: &dyn Rig) {
    let server = ServerLimits::new().max_concurrent_streams(1);
    one_at_most(rig, server, ClientLimits::new()).await;
}

async fn one_stream_at_most_by_the_client(rig: &dyn Rig) {
    let client = ClientLimits::new().max_concurrent_streams(1);
    one_at_most(rig, ServerLimits::new(), client).await;
}

async fn load_is_counted(rig: &dyn Rig) {
    let pair = rig.pair(app(echo)).await;
    let connection = &pair.connection;
    let load = connection.load();
    assert_eq!((load.in_flight, load.state), (0, State::Open));
    assert_eq!(load.maximum, 200, "the server's default");
    let (outgoing, reply) = open(connection);
    let (other, other_reply) = open(connection);
    assert_eq!(connection.load().in_flight, 2);
    // Half an exchange is an exchange.
    drop(other_reply);
    assert_eq!(connection.load().in_flight, 2);
    drop(other);
    assert_eq!(connection.load().in_flight, 1);
    let changed = connection.changed();
    drop((outgoing, reply));
    changed.await;
    assert_eq!(connection.load().in_flight, 0);
    alive(connection).await;
}

async fn many_calls_at_the_limit(rig: &dyn Rig) {
    // Callers that wait for a place get one, all of them, and nothing is refused by the peer.
    let server = ServerLimits::new().max_concurrent_streams(3);
    let pair = rig.pair_with(app(echo), server, ClientLimits::new()).await;
    let callers: Vec<_> = (0..20u8)
        .map(|n| {
            let connection = pair.connection.clone();
            tokio::spawn(async move {
                for _ in 0..50 {
                    let mut reply = loop {
                        let changed = connection.changed();
                        let opened = connection.try_open(request("/"), Some(vec![n].into()), true);
                        match opened {
                            Ok((_, reply)) => break reply,
                            Err(refused) => assert_eq!(refused.why, NotOpenedWhy::Full),
                        }
                        changed.await;
                    };
                    let reply = whole(&mut reply).await;
                    assert_eq!(reply.map(|reply| reply.1), Ok(vec![n]));
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    assert_eq!(pair.connection.load().in_flight, 0);
}
