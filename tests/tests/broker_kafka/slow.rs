//! A slow network.

use std::time::{Duration, Instant};

use micro_runtime::broker::{Broker, Delivery, Topic};
use micro_tests::consumer::{collect, publish, taken};
use micro_tests::proxy::Proxy;
use tokio::task::JoinSet;

use crate::server::Cluster;

const LEAST: Delivery = Delivery::AtLeastOnce;

/// Many publishes at a time do not wait for each other.
pub(crate) async fn many_at_a_time(cluster: &Cluster, proxy: &Proxy) {
    const EVENTS: usize = 300;
    let broker = cluster.broker();
    let topic = Topic::new("slow").queue("q").delivery(LEAST);
    let mut consumer = broker.subscribe(&topic.concurrency(16)).await.unwrap();
    publish(&broker, "slow", "before", LEAST).await;
    assert_eq!(taken(&mut consumer).await, "before");
    proxy.delay(Duration::from_millis(100));
    let begun = Instant::now();
    let mut publishing = JoinSet::new();
    for number in 0..EVENTS {
        let broker = broker.clone();
        publishing.spawn(async move { publish(&broker, "slow", &number.to_string(), LEAST).await });
    }
    while let Some(published) = publishing.join_next().await {
        published.unwrap();
    }
    let took = begun.elapsed();
    let seen = collect(
        std::slice::from_mut(&mut consumer),
        EVENTS,
        Duration::from_secs(60),
    )
    .await;
    assert!(seen.values().all(|times| *times == 1), "{seen:?}");
    proxy.heal();
    // One after another they would take 60 s.
    assert!(took < Duration::from_secs(30), "{took:?}");
    println!("{EVENTS} events at 100 ms each way: published in {took:?}");
}
