//! Servers that are killed, away, mute, demoted, and none of Redis.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use micro_runtime::broker::{Broker, Delivery, Redis, Topic};
use micro_runtime::{Deadline, ErrorKind};
use micro_tests::consumer::{count, message, next, numbers, publish, taken};
use micro_tests::expect::until;
use micro_tests::proxy::Proxy;
use micro_tests::servers::{babbler, free_ports};
use tokio::time::sleep;

use crate::raw::Reply;
use crate::server::{Store, program, ready};

const LEAST: Delivery = Delivery::AtLeastOnce;
const ONCE: Delivery = Delivery::AtMostOnce;

fn queue() -> Topic {
    Topic::new("t")
        .queue("q")
        .delivery(LEAST)
        .concurrency(16)
        .ack_wait(Duration::from_secs(2))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_confirmed_is_lost_when_the_server_is_killed() {
    let mut store = Store::start().await;
    let broker = store.broker();
    let seen = Arc::<Mutex<BTreeMap<usize, usize>>>::default();
    let mut members = Vec::new();
    for _ in 0..2 {
        let member = store.broker().subscribe(&queue()).await.unwrap();
        members.push(count(member, &seen));
    }
    let stop = Arc::new(AtomicBool::new(false));
    let publisher = numbers(&broker, "t", &stop);
    for down in [100, 900, 300] {
        sleep(Duration::from_millis(800)).await;
        store.server.kill9().await;
        sleep(Duration::from_millis(down)).await;
        store.server.restart().await;
    }
    sleep(Duration::from_millis(500)).await;
    stop.store(true, Ordering::Relaxed);
    let published = publisher.await.unwrap();
    let received = async || Ok(seen.lock().unwrap().len());
    until(Duration::from_secs(30), published, received).await;
    let copies: usize = seen.lock().unwrap().values().sum();
    println!("published {published}, copies {copies}");
    assert!(published > 100, "{published}");
    // In flight of publisher and members, three times.
    assert!(
        copies - published <= 3 * (8 + 32),
        "{copies} of {published}"
    );
    for member in members {
        member.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn away_at_start_and_for_half_a_minute() {
    let [port] = free_ports();
    let broker = Redis::new([format!("127.0.0.1:{port}")]);
    let (a, b, c) = (broker.clone(), broker.clone(), broker.clone());
    let queued = tokio::spawn(async move { a.subscribe(&queue()).await });
    let heard = tokio::spawn(async move { b.subscribe(&Topic::new("t")).await });
    let published = tokio::spawn(async move { publish(&c, "u", "early", LEAST).await });
    let error = broker.publish(
        message("t", "x"),
        LEAST,
        Deadline::after(Duration::from_millis(400)),
    );
    let error = error.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Broker);
    assert!(error.to_string().contains("before the deadline"), "{error}");
    assert!(!queued.is_finished() && !heard.is_finished() && !published.is_finished());
    let mut server = program(port).start(ready(port)).await;
    let (mut queued, mut heard) = (
        queued.await.unwrap().unwrap(),
        heard.await.unwrap().unwrap(),
    );
    published.await.unwrap();
    publish(&broker, "t", "first", LEAST).await;
    assert_eq!(taken(&mut queued).await, "first");
    assert_eq!(taken(&mut heard).await, "first");

    server.kill9().await;
    let c = broker.clone();
    let meanwhile = tokio::spawn(async move { publish(&c, "t", "meanwhile", LEAST).await });
    sleep(Duration::from_secs(30)).await;
    assert!(!meanwhile.is_finished());
    server.restart().await;
    let back = Instant::now();
    assert_eq!(taken(&mut queued).await, "meanwhile");
    println!("consuming {:?} after the return", back.elapsed());
    assert!(
        back.elapsed() < Duration::from_secs(20),
        "{:?}",
        back.elapsed()
    );
    meanwhile.await.unwrap();
    // The channel's subscription is back, too; what was told before it was is lost.
    let mut told = 0;
    let heard = tokio::time::timeout(Duration::from_secs(10), async {
        loop {
            let broker = &broker;
            tokio::select! {
                body = taken(&mut heard) => return body,
                () = async {
                    publish(broker, "t", &format!("again {told}"), ONCE).await;
                    sleep(Duration::from_millis(50)).await;
                } => told += 1,
            }
        }
    });
    let heard = heard.await.unwrap();
    assert!(
        heard == "meanwhile" || heard.starts_with("again"),
        "{heard}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mute_connection_is_given_up() {
    let store = Store::start().await;
    let wire = Proxy::to(store.address()).await;
    let far = Redis::new([wire.address()]);
    let mut heard = far.subscribe(&Topic::new("t")).await.unwrap();
    let mut queued = far.subscribe(&queue()).await.unwrap();
    wire.swallow();
    let before = wire.accepted();
    // All three, the commands', the channel's and the reader's, are found out and replaced.
    until(Duration::from_secs(20), true, async || {
        Ok(wire.accepted() >= before + 3)
    })
    .await;
    wire.heal();
    publish(&far, "t", "x", LEAST).await;
    assert_eq!(taken(&mut queued).await, "x");
    let mut told = 0;
    tokio::time::timeout(Duration::from_secs(10), async {
        loop {
            tokio::select! {
                body = taken(&mut heard) => return body,
                () = async {
                    publish(&far, "t", &told.to_string(), ONCE).await;
                    sleep(Duration::from_millis(50)).await;
                } => told += 1,
            }
        }
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_server_and_a_replica_are_waited_for() {
    let store = Store::start().await;
    let broker = store.broker();
    let mut raw = store.raw().await;
    let short = || Deadline::after(Duration::from_millis(500));
    raw.ask(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let error = broker
        .publish(message("t", "x"), LEAST, short())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Broker);
    assert!(error.to_string().contains("maxmemory"), "{error}");
    let later = broker.clone();
    let later = tokio::spawn(async move { publish(&later, "t", "later", LEAST).await });
    raw.ask(&["CONFIG", "SET", "maxmemory", "0"]).await;
    later.await.unwrap();
    raw.ask(&["REPLICAOF", "127.0.0.1", "1"]).await;
    let error = broker
        .publish(message("t", "x"), LEAST, short())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Broker);
    assert!(error.to_string().contains("read only replica"), "{error}");
    // The next address is the master.
    let master = Store::start().await;
    let both = Redis::new([store.address(), master.address()]);
    publish(&both, "t", "there", LEAST).await;
    assert_eq!(
        master.raw().await.ask(&["XLEN", "micro:t"]).await.number(),
        1
    );
    raw.ask(&["REPLICAOF", "NO", "ONE"]).await;
    publish(&broker, "t", "again", LEAST).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_there_is_no_redis() {
    let address = babbler().await;
    let make = || Redis::new([&address]);
    micro_tests::broker_contract::unreachable("redis, nonsense", make, &[ONCE, LEAST]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledgements_follow_the_master() {
    let (old, new) = (Store::start().await, Store::start().await);
    let port = |store: &Store| store.port.to_string();
    let (mut at_old, mut at_new) = (old.raw().await, new.raw().await);
    let both = Redis::new([old.address(), new.address()]);
    let mut ours = both.subscribe(&queue()).await.unwrap();
    publish(&old.broker(), "t", "x", LEAST).await;
    let held = next(&mut ours).await;
    let again = async {
        at_new.ask(&["REPLICAOF", "127.0.0.1", &port(&old)]).await;
        until(Duration::from_secs(20), true, async || {
            let answer = new.raw().await.ask(&["XLEN", "micro:t"]).await;
            Ok(answer == Reply::Number(1))
        })
        .await;
        at_new.ask(&["REPLICAOF", "NO", "ONE"]).await;
        at_old.ask(&["REPLICAOF", "127.0.0.1", &port(&new)]).await;
    };
    again.await;
    // Nothing is published here: whoever only acknowledges has to find out as well.
    let acked = tokio::time::timeout(Duration::from_secs(20), held.ack()).await;
    acked.expect("an acknowledgement within 20 s").unwrap();
    let pending = at_new.ask(&["XPENDING", "micro:t", "q"]).await.list();
    assert_eq!(pending[0], Reply::Number(0));
    publish(&new.broker(), "t", "y", LEAST).await;
    assert_eq!(taken(&mut ours).await, "y");
}

/// The server has them pending until it hears of it, and the connection that reads may be back before the one that tells.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_while_the_server_is_away_they_do_not_come_again() {
    let mut store = Store::start().await;
    let broker = store.broker();
    let mut ours = broker.subscribe(&queue()).await.unwrap();
    for round in 0..4 {
        let mut held = Vec::new();
        for _ in 0..16 {
            publish(&broker, "t", "x", LEAST).await;
            held.push(next(&mut ours).await);
        }
        store.server.kill9().await;
        let acks: Vec<_> = held
            .into_iter()
            .map(|event| tokio::spawn(async move { event.ack().await }))
            .collect();
        store.server.restart().await;
        for ack in acks {
            ack.await.unwrap().unwrap();
        }
        let last = format!("y{round}");
        publish(&broker, "t", &last, LEAST).await;
        assert_eq!(taken(&mut ours).await, last);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_cut_off_while_it_waited_holds_up_nothing() {
    let store = Store::start().await;
    let broker = store.broker();
    let mut ours = broker.subscribe(&queue()).await.unwrap();
    for body in ["waits", "is held"] {
        publish(&broker, "t", body, LEAST).await;
    }
    let waits = next(&mut ours).await;
    let held = next(&mut ours).await;
    waits.nack(Duration::from_millis(300)).await.unwrap();
    let mut raw = store.raw().await;
    raw.ask(&["XTRIM", "micro:t", "MAXLEN", "0"]).await;
    held.ack().await.unwrap();
    publish(&broker, "t", "after", LEAST).await;
    assert_eq!(taken(&mut ours).await, "after");
    until(Duration::from_secs(10), true, async || {
        let mut raw = store.raw().await;
        let pending = raw.ask(&["XPENDING", "micro:t", "q"]).await.list();
        Ok(pending[0] == Reply::Number(0))
    })
    .await;
}
