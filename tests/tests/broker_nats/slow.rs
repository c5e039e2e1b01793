//! Handlers that are slower than events come. Alone in its process's memory: run by itself, it measures that.

use std::time::Duration;

use micro_runtime::broker::{Broker, Message, Topic};
use micro_tests::nats::{Hub, NEW, Raw};
use tokio::task::JoinSet;

use crate::kit::{
    LEAST, broker, close, drain, item, next, numbered, publish, subscribe, topic, until,
};

/// What a process may grow by.
const MORE: u64 = 64 * 1024 * 1024;

/// The memory that this process has (proc(5), the second field of `statm`).
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

/// A flood against a handler that sleeps, at both levels: the memory is bounded; at most once drops and counts,
/// at least once keeps everything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_takes_no_more_than_it_may() {
    const FLOOD: u64 = 300_000;
    let hub = Hub::jetstream(NEW).await;
    let ours = broker(&hub);
    let mut sleeping = subscribe(&ours, &Topic::new("flood")).await;
    let mut kept = subscribe(&ours, &topic("flood").queue("q").concurrency(16)).await;
    let held = next_of(&mut kept, &ours).await;
    let idle = resident();
    let mut raw = Raw::connect(&hub.address()).await;
    let body = format!(
        r#"{{"Header":{{"Micro-Topic":"flood"}},"Body":"{}"}}"#,
        "QUJD".repeat(64)
    );
    let mut most = 0;
    for n in 0..FLOOD {
        raw.publish("flood", body.as_bytes()).await;
        if n % 1000 == 0 {
            raw.flush().await;
            most = most.max(resident());
        }
    }
    raw.flush().await;
    until("some are dropped", async || ours.dropped() > 0).await;
    most = most.max(resident());
    let more = most.saturating_sub(idle);
    println!(
        "{FLOOD} events: {} KiB over idle, {} dropped",
        more / 1024,
        ours.dropped()
    );
    assert!(more < MORE, "{more} bytes over idle");
    // What is there is handed out, in order, and it goes on.
    let mut handed = 0;
    while FLOOD > handed + ours.dropped() {
        assert!(item(&mut sleeping).await.unwrap().is_ok());
        handed += 1;
    }
    assert!(handed > 1000);
    held.ack().await.unwrap();
    for _ in 0..1000 {
        next(&mut kept).await.ack().await.unwrap();
    }
    close(kept).await;
    close(sleeping).await;
    ours.close().await;
}

/// The first event, so that everything is made that is needed.
async fn next_of(
    consumer: &mut micro_runtime::broker::NatsConsumer,
    ours: &micro_runtime::broker::Nats,
) -> micro_runtime::broker::Event {
    publish(ours, Message::new("flood", "first"), LEAST).await;
    next(consumer).await
}

/// At least once many publish, and few handle: all of it arrives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_handlers_lose_nothing_at_least_once() {
    let hub = Hub::jetstream(NEW).await;
    let ours = broker(&hub);
    let mut consumer = subscribe(&ours, &topic("t").queue("q").concurrency(4)).await;
    let mut publishers = JoinSet::new();
    for part in 0..4 {
        let ours = ours.clone();
        publishers.spawn(async move {
            for n in 0..2500 {
                publish(&ours, numbered("t", part * 2500 + n), LEAST).await;
            }
        });
    }
    let first = next(&mut consumer).await;
    while let Some(published) = publishers.join_next().await {
        published.unwrap();
    }
    tokio::time::timeout(Duration::from_secs(5), first.nack(Duration::ZERO))
        .await
        .unwrap()
        .unwrap();
    drain(&mut consumer, (0..10_000).collect()).await;
}
