//! What failed, and what is no message.

use std::time::{Duration, Instant};

use micro_runtime::broker::{Broker, Consumer, Delivery, Topic};
use micro_tests::consumer::{next, publish, silent, taken, text};

use crate::server::Cluster;

const LEAST: Delivery = Delivery::AtLeastOnce;

pub(crate) async fn what_failed_comes_again_and_holds_back_the_offset(cluster: &Cluster) {
    let broker = cluster.broker().partitions(1);
    let queue = Topic::new("fails").queue("q").delivery(LEAST);
    let mut ours = broker.subscribe(&queue).await.unwrap();
    for body in ["bad", "good", "better"] {
        publish(&broker, "fails", body, LEAST).await;
    }
    let bad = next(&mut ours).await;
    assert_eq!((&*text(&bad), bad.attempt()), ("bad", 1));
    let begun = Instant::now();
    bad.nack(Duration::from_secs(2)).await.unwrap();
    assert_eq!(taken(&mut ours).await, "good");
    assert_eq!(taken(&mut ours).await, "better");
    let again = next(&mut ours).await;
    assert!(
        begun.elapsed() >= Duration::from_secs(2),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!((&*text(&again), again.attempt()), ("bad", 2));
    drop(again);
    let again = next(&mut ours).await;
    assert_eq!(
        (&*text(&again), again.attempt()),
        ("bad", 2),
        "nobody has worked on it"
    );
    again.nack(Duration::from_secs(60)).await.unwrap();
    ours.close().await;
    // The next member gets it and all behind it.
    let mut later = broker.subscribe(&queue).await.unwrap();
    for body in ["bad", "good", "better"] {
        assert_eq!(taken(&mut later).await, body);
    }
    later.close().await;
    let mut last = broker.subscribe(&queue).await.unwrap();
    silent(&mut last, Duration::from_secs(1)).await;
}

pub(crate) async fn what_is_no_message_is_handed_out_with_its_bytes(cluster: &Cluster) {
    let broker = cluster.broker().partitions(1);
    let queue = Topic::new("garbage").queue("q").delivery(LEAST);
    let mut ours = broker.subscribe(&queue).await.unwrap();
    for bad in ["", "hello", "[]"] {
        crate::server::produce(cluster.port, "garbage", bad).await;
    }
    publish(&broker, "garbage", "good", LEAST).await;
    for bad in ["", "hello", "[]"] {
        let event = next(&mut ours).await;
        assert_eq!(text(&event), bad);
        let found = event.headers().get("content-type");
        assert_eq!(found, Some("application/x-micro-undecodable"));
        event.ack().await.unwrap();
    }
    assert_eq!(taken(&mut ours).await, "good");
}
