//! Servers that are killed and away.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use micro_runtime::broker::{Broker, Delivery, Kafka, Topic};
use micro_runtime::{Deadline, ErrorKind};
use micro_tests::broker_contract;
use micro_tests::consumer::{count, message, numbers, publish, taken};
use micro_tests::expect::until;
use micro_tests::servers::{babbler, free_ports};
use tokio::time::{sleep, timeout};

use crate::server::{program, ready};

const LEAST: Delivery = Delivery::AtLeastOnce;
const ONCE: Delivery = Delivery::AtMostOnce;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_and_away_at_the_start_and_for_half_a_minute() {
    let ports = free_ports();
    let broker = Kafka::new([format!("127.0.0.1:{}", ports[0])]);
    let queue = || Topic::new("t").queue("q").delivery(LEAST).concurrency(16);
    let (a, b) = (broker.clone(), broker.clone());
    let queued = tokio::spawn(async move { a.subscribe(&queue()).await });
    let published = tokio::spawn(async move {
        let deadline = Deadline::after(Duration::from_secs(80));
        b.publish(message("u", "early"), LEAST, deadline).await
    });
    let short = Deadline::after(Duration::from_millis(400));
    let error = broker
        .publish(message("t", "x"), LEAST, short)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Broker);
    assert!(error.to_string().contains("before the deadline"), "{error}");
    assert!(!queued.is_finished() && !published.is_finished());

    let mut server = program(ports, &[]).start(ready(ports[0])).await;
    let queued = queued.await.unwrap().unwrap();
    published.await.unwrap().unwrap();
    let mut all = broker
        .subscribe(&Topic::new("v").delivery(LEAST))
        .await
        .unwrap();
    let seen = Arc::<Mutex<BTreeMap<usize, usize>>>::default();
    let members = [
        count(queued, &seen),
        count(broker.subscribe(&queue()).await.unwrap(), &seen),
    ];
    let stop = Arc::new(AtomicBool::new(false));
    let publisher = numbers(&broker, "t", &stop);
    for _ in 0..2 {
        sleep(Duration::from_secs(2)).await;
        server.kill9().await;
        server.restart().await;
    }
    let back = Instant::now();
    publish(&broker, "v", "after", LEAST).await;
    assert_eq!(taken(&mut all).await, "after");
    println!("a broadcast arrives {:?} after the return", back.elapsed());
    sleep(Duration::from_secs(1)).await;
    stop.store(true, Ordering::Relaxed);
    let published = publisher.await.unwrap();
    let received = async || Ok(seen.lock().unwrap().len());
    until(Duration::from_secs(40), published, received).await;
    let copies: usize = seen.lock().unwrap().values().sum();
    println!(
        "published {published}, copies {copies}, {:?} after the return",
        back.elapsed()
    );
    assert!(published > 100, "{published}");
    for member in members {
        member.abort();
    }

    server.kill9().await;
    let b = broker.clone();
    let meanwhile = tokio::spawn(async move {
        let deadline = Deadline::after(Duration::from_secs(120));
        b.publish(message("v", "meanwhile"), LEAST, deadline).await
    });
    sleep(Duration::from_secs(30)).await;
    assert!(!meanwhile.is_finished());
    server.restart().await;
    meanwhile.await.unwrap().unwrap();
    assert_eq!(taken(&mut all).await, "meanwhile");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_there() {
    let [port] = free_ports();
    let make = || Kafka::new([format!("127.0.0.1:{port}")]);
    broker_contract::unreachable("kafka", make, &[ONCE, LEAST]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_there_is_no_kafka() {
    let address = babbler().await;
    for level in [ONCE, LEAST] {
        let deadline = Deadline::after(Duration::from_secs(3));
        let broker = Kafka::new([&address]);
        let published = broker.publish(message("t", "x"), level, deadline).await;
        let error = published.unwrap_err();
        println!("{error}");
        // One of the answers is what TLS says to who does not speak it.
        let expected = match error.kind() {
            ErrorKind::Config => "speaks something else",
            _ => "before the deadline",
        };
        assert!(error.to_string().contains(expected), "{error}");
        let topic = Topic::new("t").delivery(level);
        let subscribing = timeout(Duration::from_secs(2), broker.subscribe(&topic));
        assert!(!matches!(subscribing.await, Ok(Ok(_))));
        broker.close().await;
    }
}
