//! Queues, broadcast, keys, and members that come and go.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use micro_runtime::Deadline;
use micro_runtime::broker::{Broker, Consumer, Delivery, Topic};
use micro_tests::consumer::{
    SOON, collect, count, message, next, numbers, publish, silent, taken, text,
};
use micro_tests::expect::until;
use tokio::time::sleep;

use crate::server::Cluster;

const LEAST: Delivery = Delivery::AtLeastOnce;
const ONCE: Delivery = Delivery::AtMostOnce;

pub(crate) async fn a_queue_shares_and_a_broadcast_does_not(cluster: &Cluster) {
    let broker = cluster.broker();
    for (name, level) in [("shared.least", LEAST), ("shared.once", ONCE)] {
        let topic = Topic::new(name).delivery(level);
        let queue = topic.clone().queue("q").concurrency(4);
        let mut members = [
            broker.subscribe(&queue).await.unwrap(),
            cluster.broker().subscribe(&queue).await.unwrap(),
        ];
        let mut all = [broker.subscribe(&topic).await.unwrap()];
        let mut each = [cluster.broker().subscribe(&topic).await.unwrap()];
        for number in 0..100 {
            publish(&broker, name, &number.to_string(), level).await;
        }
        collect(&mut members, 100, SOON).await;
        for alone in [&mut all, &mut each] {
            let seen = collect(alone, 100, SOON).await;
            assert!(seen.values().all(|times| *times == 1), "{seen:?}");
        }
        for member in members {
            member.close().await;
        }
        let [all] = all;
        all.close().await;
    }
}

pub(crate) async fn keys_keep_their_order(cluster: &Cluster) {
    let broker = cluster.broker().partitions(5);
    let mut ours = broker
        .subscribe(&Topic::new("keyed").queue("q").delivery(LEAST))
        .await
        .unwrap();
    for number in 0..200 {
        let key = format!("key {}", number % 7);
        let message = message("keyed", &number.to_string()).key(key);
        broker
            .publish(message, LEAST, Deadline::after(SOON))
            .await
            .unwrap();
    }
    let mut last = BTreeMap::new();
    for _ in 0..200 {
        let number: usize = taken(&mut ours).await.parse().unwrap();
        let before = last.insert(number % 7, number);
        assert!(
            before.is_none_or(|before| before + 7 == number),
            "{before:?}, then {number}"
        );
    }
    ours.close().await;
}

pub(crate) async fn nothing_is_lost_when_members_come_and_go(cluster: &Cluster) {
    for range in [false, true] {
        let name = if range { "ranged" } else { "balanced" };
        let broker = cluster.broker().range(range);
        let queue = Topic::new(name)
            .queue(format!("{name}.q"))
            .delivery(LEAST)
            .concurrency(8);
        let seen = Arc::<Mutex<BTreeMap<usize, usize>>>::default();
        let first = count(broker.subscribe(&queue).await.unwrap(), &seen);
        let second = count(broker.subscribe(&queue).await.unwrap(), &seen);
        let stop = Arc::new(AtomicBool::new(false));
        let publisher = numbers(&broker, name, &stop);
        sleep(Duration::from_millis(700)).await;
        let third = count(broker.subscribe(&queue).await.unwrap(), &seen);
        sleep(Duration::from_millis(700)).await;
        // Dropped, without waiting for anything.
        first.abort();
        sleep(Duration::from_millis(700)).await;
        stop.store(true, Ordering::Relaxed);
        let published = publisher.await.unwrap();
        let received = async || Ok(seen.lock().unwrap().len());
        until(Duration::from_secs(30), published, received).await;
        let copies: usize = seen.lock().unwrap().values().sum();
        println!("{name}: published {published}, copies {copies}");
        for member in [second, third] {
            member.abort();
        }
    }
}

pub(crate) async fn a_queue_begins_where_its_level_says(cluster: &Cluster) {
    let broker = cluster.broker();
    publish(&broker, "begins", "before", LEAST).await;
    let topic = Topic::new("begins");
    let least = topic.clone().queue("least").delivery(LEAST);
    let mut oldest = broker.subscribe(&least).await.unwrap();
    let mut newest = broker.subscribe(&topic.queue("once")).await.unwrap();
    publish(&broker, "begins", "after", LEAST).await;
    let mut came = [taken(&mut oldest).await, taken(&mut oldest).await];
    came.sort();
    assert_eq!(came, ["after", "before"]);
    assert_eq!(taken(&mut newest).await, "after");
    silent(&mut newest, Duration::from_millis(300)).await;
    // What is acknowledged is told before the group is left.
    oldest.close().await;
    let mut later = broker.subscribe(&least).await.unwrap();
    publish(&broker, "begins", "last", LEAST).await;
    assert_eq!(taken(&mut later).await, "last");
}

pub(crate) async fn a_slow_handler_is_no_dead_member(cluster: &Cluster) {
    let broker = cluster.broker().partitions(2);
    let queue = Topic::new("slow").queue("q").delivery(LEAST);
    let mut slow = broker.subscribe(&queue).await.unwrap();
    for number in 0..50 {
        publish(&broker, "slow", &number.to_string(), LEAST).await;
    }
    let held = next(&mut slow).await;
    // Longer than a session, and another member joins meanwhile.
    silent(&mut slow, Duration::from_secs(7)).await;
    let mut other = broker.subscribe(&queue).await.unwrap();
    let mut seen = vec![text(&held)];
    // Its partition may be the other's by now.
    let _ = held.ack().await;
    tokio::time::timeout(Duration::from_secs(30), async {
        while seen.len() < 50 {
            let body = tokio::select! {
                body = taken_or_lost(&mut slow) => body,
                body = taken_or_lost(&mut other) => body,
            };
            if !seen.contains(&body) {
                seen.push(body);
            }
        }
    })
    .await
    .unwrap_or_else(|_| panic!("{} of 50 came", seen.len()));
}

async fn taken_or_lost<C: Consumer>(consumer: &mut C) -> String {
    let event = micro_tests::consumer::item(consumer)
        .await
        .unwrap()
        .unwrap();
    let _ = event.ack().await;
    text(&event)
}
