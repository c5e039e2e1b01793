//! Topics that are deleted and grow.

use std::time::{Duration, Instant};

use micro_runtime::Deadline;
use micro_runtime::broker::{Broker, Delivery, Topic};
use micro_tests::consumer::{item, message, publish, taken, text};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
use rdkafka::client::DefaultClientContext;

use crate::server::Cluster;

const LEAST: Delivery = Delivery::AtLeastOnce;

/// Twice the time after which the library looks for changes.
const LOOKED: Duration = Duration::from_secs(60);

pub(crate) async fn one_that_is_deleted_is_made_again(cluster: &Cluster) {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", format!("127.0.0.1:{}", cluster.port))
        .create()
        .unwrap();
    let options = AdminOptions::new();
    let broker = cluster.broker().partitions(1);
    let (gone, grown) = (
        Topic::new("gone").delivery(LEAST),
        Topic::new("grown").delivery(LEAST),
    );
    let mut subscribers = [
        broker.subscribe(&gone.clone().queue("gone")).await.unwrap(),
        broker.subscribe(&gone).await.unwrap(),
    ];
    let mut more = [
        broker
            .subscribe(&grown.clone().queue("grown"))
            .await
            .unwrap(),
        broker.subscribe(&grown).await.unwrap(),
    ];
    for number in 0..3 {
        publish(&broker, "gone", &number.to_string(), LEAST).await;
        for subscriber in &mut subscribers {
            assert_eq!(taken(subscriber).await, number.to_string());
        }
    }
    let deleted = admin.delete_topics(&["gone"], &options).await.unwrap();
    assert!(deleted[0].is_ok(), "{deleted:?}");
    let three = [NewPartitions::new("grown", 3)];
    let made = admin.create_partitions(&three, &options);
    assert!(made.await.unwrap()[0].is_ok());
    let begun = Instant::now();
    let deadline = Deadline::after(LOOKED);
    broker
        .publish(message("gone", "after"), LEAST, deadline)
        .await
        .unwrap();
    println!("published to a deleted topic after {:?}", begun.elapsed());
    for subscriber in &mut subscribers {
        let event = tokio::time::timeout(LOOKED, item(subscriber));
        let event = event.await.unwrap().unwrap().unwrap();
        assert_eq!(text(&event), "after");
        event.ack().await.unwrap();
    }
    println!("received from it after {:?}", begun.elapsed());
    // Another client, which knows of all partitions; its events are spread.
    let other = cluster.broker();
    for number in 0..60 {
        publish(&other, "grown", &number.to_string(), LEAST).await;
    }
    for member in &mut more {
        let mut seen = std::collections::BTreeSet::new();
        let all = async {
            while seen.len() < 60 {
                let event = item(member).await.unwrap().unwrap();
                seen.insert(text(&event));
                event.ack().await.unwrap();
            }
        };
        tokio::time::timeout(LOOKED, all).await.unwrap();
    }
    println!("a topic that has grown is read after {:?}", begun.elapsed());
    // Its drop waits for a thread.
    tokio::task::spawn_blocking(move || drop(admin))
        .await
        .unwrap();
}
