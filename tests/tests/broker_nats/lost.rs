//! Servers that die, stand still, or are not there yet.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use micro_runtime::ErrorKind;
use micro_runtime::broker::{Nats, Topic};
use micro_tests::nats::{Hub, NEW, OLD};
use micro_tests::proxy::Proxy;
use tokio::task::JoinSet;

use crate::kit::{
    LEAST, LONG, ONCE, broker, close, next, number, numbered, publish, subscribe, topic,
    try_publish, until,
};

/// Kill -9 of the server while events are published and consumed: nothing that was confirmed is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_loses_nothing() {
    for program in [NEW, OLD] {
        for queue in [true, false] {
            let mut hub = Hub::jetstream(program).await;
            let ours = broker(&hub);
            let wanted = topic("t").concurrency(32).ack_wait(Duration::from_secs(2));
            let wanted = if queue { wanted.queue("q") } else { wanted };
            let mut consumer = subscribe(&broker(&hub), &wanted).await;
            let confirmed = Arc::new(AtomicU32::new(0));
            let mut publishers = JoinSet::new();
            for part in 0..8 {
                let (ours, confirmed) = (ours.clone(), Arc::clone(&confirmed));
                publishers.spawn(async move {
                    for n in 0..250 {
                        publish(&ours, numbered("t", part * 250 + n), LEAST).await;
                        confirmed.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            let received = tokio::spawn(async move {
                let (mut missing, mut twice) = ((0..2000).collect::<BTreeSet<u32>>(), 0);
                while !missing.is_empty() {
                    let event = next(&mut consumer).await;
                    if !missing.remove(&number(&event)) {
                        twice += 1;
                    }
                    event.ack().await.unwrap();
                }
                close(consumer).await;
                twice
            });
            for part in 1..=2 {
                until("a third is published", async || {
                    confirmed.load(Ordering::Relaxed) >= part * 600
                })
                .await;
                hub.server.restart().await;
            }
            while let Some(published) = publishers.join_next().await {
                published.unwrap();
            }
            let twice = received.await.unwrap();
            println!("{program}, queue {queue}: 2000 events, 2 kills, lost 0, twice {twice}");
            assert!(twice <= 2 * 32, "{twice} came twice");
        }
    }
}

/// A subscriber without a queue goes on where it was when the server has forgotten its consumer, and what it
/// has not settled comes again, with its attempts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_of_its_own_is_made_again() {
    let mut hub = Hub::jetstream(NEW).await;
    let ours = broker(&hub);
    let mut consumer = subscribe(&ours, &topic("t").concurrency(3)).await;
    for n in 0..3 {
        publish(&ours, numbered("t", n), LEAST).await;
    }
    let failed = next(&mut consumer).await;
    let running = next(&mut consumer).await;
    next(&mut consumer).await.ack().await.unwrap();
    failed.nack(Duration::from_secs(60)).await.unwrap();
    hub.server.restart().await;
    for n in 3..5 {
        publish(&ours, numbered("t", n), LEAST).await;
    }
    // The one that failed, since the new consumer knows of no delay; not the one whose handler runs, nor the
    // one that is done.
    let again = next(&mut consumer).await;
    assert_eq!((number(&again), again.attempt()), (0, 2));
    again.ack().await.unwrap();
    running.ack().await.unwrap();
    for n in 3..5 {
        let event = next(&mut consumer).await;
        assert_eq!((number(&event), event.attempt()), (n, 1));
        event.ack().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_not_there_yet_is_waited_for() {
    let mut hub = Hub::jetstream(NEW).await;
    hub.server.kill9().await;
    let ours = broker(&hub);
    let short = Duration::from_millis(500);
    let before = Instant::now();
    let error = try_publish(&ours, numbered("t", 0), LEAST, short)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Broker);
    assert!(before.elapsed() < Duration::from_secs(2));
    let subscribers: Vec<_> = [Topic::new("t"), topic("t").queue("q")]
        .into_iter()
        .map(|topic| {
            let ours = ours.clone();
            tokio::spawn(async move { subscribe(&ours, &topic).await })
        })
        .collect();
    let publisher = {
        let ours = ours.clone();
        tokio::spawn(async move { publish(&ours, numbered("u", 1), LEAST).await })
    };
    let away = tokio::time::sleep(Duration::from_secs(30));
    away.await;
    assert!(
        subscribers
            .iter()
            .all(|subscriber| !subscriber.is_finished())
    );
    hub.server.restart().await;
    publisher.await.unwrap();
    let mut consumers = Vec::new();
    for subscriber in subscribers {
        consumers.push(subscriber.await.unwrap());
    }
    publish(&ours, numbered("t", 2), LEAST).await;
    for consumer in &mut consumers {
        assert_eq!(number(&next(consumer).await), 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_most_once_subscribes_again() {
    let mut hub = Hub::start(OLD).await;
    let ours = broker(&hub);
    let mut all = subscribe(&ours, &Topic::new("t")).await;
    let mut shared = subscribe(&ours, &Topic::new("t").queue("q")).await;
    hub.server.restart().await;
    // Published until somebody hears it: who subscribes again does so a moment later.
    let heard = async {
        (
            number(&next(&mut all).await),
            number(&next(&mut shared).await),
        )
    };
    tokio::pin!(heard);
    let mut n = 0;
    loop {
        n += 1;
        tokio::select! {
            _ = &mut heard => break,
            published = try_publish(&ours, numbered("t", n), ONCE, LONG) => drop(published),
        }
    }
}

/// A server that hangs is left for another connection, and deadlines hold meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_hangs_is_left() {
    let hub = Hub::jetstream(NEW).await;
    let proxy = Proxy::to(hub.address()).await;
    let ours = Nats::new([proxy.address()]);
    let mut consumer = subscribe(&ours, &topic("t").queue("q")).await;
    publish(&ours, numbered("t", 1), LEAST).await;
    next(&mut consumer).await.ack().await.unwrap();
    proxy.hold();
    for delivery in [ONCE, LEAST] {
        let short = Duration::from_millis(300);
        let error = try_publish(&ours, numbered("t", 2), delivery, short).await;
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Broker);
    }
    proxy.heal();
    publish(&ours, numbered("t", 3), LEAST).await;
    proxy.cut();
    publish(&ours, numbered("t", 4), LEAST).await;
    // Those that were given up may have arrived.
    loop {
        let event = next(&mut consumer).await;
        event.ack().await.unwrap();
        if number(&event) == 4 {
            break;
        }
    }
}

/// A member that falls silent with events in its hands: others get them after `ack_wait`, and when it is back it
/// goes on, and hands out nothing twice that it holds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_is_silent_loses_its_events() {
    let hub = Hub::jetstream(NEW).await;
    let proxy = Proxy::to(hub.address()).await;
    let wanted = topic("t")
        .queue("q")
        .concurrency(2)
        .ack_wait(Duration::from_secs(1));
    let mut silent = subscribe(&Nats::new([proxy.address()]), &wanted).await;
    let ours = broker(&hub);
    for n in 0..2 {
        publish(&ours, numbered("t", n), LEAST).await;
    }
    let (first, second) = (next(&mut silent).await, next(&mut silent).await);
    proxy.hold();
    let mut other = subscribe(&ours, &wanted).await;
    for _ in 0..2 {
        let event = next(&mut other).await;
        assert_eq!(event.attempt(), 2);
        event.ack().await.unwrap();
    }
    proxy.heal();
    proxy.cut();
    for event in [first, second] {
        event.ack().await.unwrap();
    }
    close(other).await;
    publish(&ours, numbered("t", 2), LEAST).await;
    assert_eq!(number(&next(&mut silent).await), 2);
}
