use std::future::poll_fn;
use std::time::Duration;

use futures_core::Stream;

use super::*;
use crate::broker::Event;
use crate::broker::event::Settle;

fn topic(queue: &str) -> Topic {
    Topic::new("t")
        .queue(queue)
        .delivery(Delivery::AtLeastOnce)
        .concurrency(2)
}

fn broadcast() -> Topic {
    Topic::new("t").concurrency(2)
}

async fn publish(memory: &Memory, body: &'static str) -> Result<(), Error> {
    let message = Message::new("t", body.as_bytes());
    let deadline = Deadline::after(Duration::from_secs(1));
    Broker::publish(memory, message, Delivery::AtLeastOnce, deadline).await
}

async fn next(consumer: &mut MemoryConsumer) -> Event {
    let event = poll_fn(|cx| std::pin::Pin::new(&mut *consumer).poll_next(cx));
    event.await.unwrap().unwrap()
}

/// The body and the attempt, unless nothing comes.
async fn seen(consumer: &mut MemoryConsumer) -> Option<(String, Event)> {
    let event = tokio::time::timeout(Duration::from_millis(1), next(consumer)).await;
    let event = event.ok()?;
    let body = String::from_utf8_lossy(event.body()).into_owned();
    Some((format!("{body} {}", event.attempt()), event))
}

#[tokio::test(start_paused = true)]
async fn without_a_queue_each_gets_every_event_and_with_one_each_is_had_once() {
    let memory = Memory::new();
    publish(&memory, "nobody").await.unwrap();
    let mut all = Vec::new();
    for topic in [broadcast(), broadcast(), topic("q"), topic("q")] {
        all.push(memory.subscribe(&topic).await.unwrap());
    }
    for body in ["a", "b"] {
        publish(&memory, body).await.unwrap();
    }
    let mut found = Vec::new();
    for consumer in &mut all {
        while let Some((text, event)) = seen(consumer).await {
            found.push(text);
            event.ack().await.unwrap();
        }
    }
    assert_eq!(found, ["a 1", "b 1", "a 1", "b 1", "a 1", "b 1"]);
}

#[tokio::test(start_paused = true)]
async fn a_queue_waits_for_its_next_subscriber_and_a_broadcast_is_forgotten() {
    let memory = Memory::new();
    let first = memory.subscribe(&topic("q")).await.unwrap();
    let other = memory.subscribe(&broadcast()).await.unwrap();
    let level = Topic::new("t").queue("most");
    let most = memory.subscribe(&level).await.unwrap();
    drop((first, other, most));
    publish(&memory, "a").await.unwrap();
    let mut again = memory.subscribe(&topic("q")).await.unwrap();
    assert_eq!(seen(&mut again).await.unwrap().0, "a 1");
    let subscribed = Arc::clone(lock(&memory.0.topics).get("t").unwrap());
    assert!(!subscribed.remove(&Arc::new(Queue::new(None, 1))));
    drop(again);
    let mut none = memory.subscribe(&broadcast()).await.unwrap();
    assert!(seen(&mut none).await.is_none());
    drop(none);

    let memory = Memory::new();
    drop(memory.subscribe(&broadcast()).await.unwrap());
    assert!(lock(&memory.0.topics).is_empty(), "nothing is left of it");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_acknowledged_comes_again_in_its_place() {
    let memory = Memory::new();
    let mut consumer = memory.subscribe(&topic("q")).await.unwrap();
    for body in ["a", "b", "c"] {
        publish(&memory, body).await.unwrap();
    }
    let a = seen(&mut consumer).await.unwrap().1;
    let b = seen(&mut consumer).await.unwrap().1;
    assert!(seen(&mut consumer).await.is_none(), "two are in flight");
    a.nack(Duration::from_secs(3)).await.unwrap();
    drop(b);
    let (text, b) = seen(&mut consumer).await.unwrap();
    assert_eq!(text, "b 2");
    b.ack().await.unwrap();
    let began = tokio::time::Instant::now();
    let (text, c) = seen(&mut consumer).await.unwrap();
    assert_eq!(text, "c 1");
    let a = next(&mut consumer).await;
    assert_eq!((&a.body()[..], a.attempt()), (&b"a"[..], 2));
    assert!(began.elapsed() > Duration::from_secs(2));
    // What a subscriber had goes to the next, who settles it in its stead.
    let mut other = memory.subscribe(&topic("q")).await.unwrap();
    crate::broker::Consumer::close(consumer).await;
    let (text, _a) = seen(&mut other).await.unwrap();
    assert_eq!(text, "a 3");
    a.settle(Settle::Ack).await.unwrap();
    c.settle(Settle::Ack).await.unwrap();
    assert_eq!(seen(&mut other).await.unwrap().0, "c 2");
}

#[tokio::test(start_paused = true)]
async fn who_stops_makes_nobody_wait() {
    let memory = Memory::with_capacity(1);
    for (topic, kept) in [
        (broadcast(), 0),
        (Topic::new("t").queue("passing"), 0),
        (topic("lasting"), 1),
    ] {
        let mut consumer = memory.subscribe(&topic).await.unwrap();
        publish(&memory, "a").await.unwrap();
        let (text, a) = seen(&mut consumer).await.unwrap();
        assert_eq!(text, "a 1");
        crate::broker::Consumer::stop(&mut consumer);
        a.ack().await.unwrap();
        // Its queue would be full with the first.
        let mut published = 0;
        while published < 3 && publish(&memory, "b").await.is_ok() {
            published += 1;
        }
        assert_eq!(published, if kept == 0 { 3 } else { kept });
        crate::broker::Consumer::close(consumer).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_makes_publish_wait_until_its_deadline() {
    let memory = Memory::with_capacity(2);
    let mut consumer = memory.subscribe(&topic("q")).await.unwrap();
    publish(&memory, "a").await.unwrap();
    publish(&memory, "b").await.unwrap();
    let error = publish(&memory, "c").await.unwrap_err();
    assert!(error.to_string().contains("full with 2 events"), "{error}");
    let waiting: Vec<_> = ["d", "e"]
        .into_iter()
        .map(|body| {
            let memory = memory.clone();
            tokio::spawn(async move { publish(&memory, body).await })
        })
        .collect();
    tokio::task::yield_now().await;
    for expected in ["a 1", "b 1", "d 1", "e 1"] {
        let (text, event) = seen(&mut consumer).await.unwrap();
        assert_eq!(text, expected);
        event.ack().await.unwrap();
    }
    for publish in waiting {
        publish.await.unwrap().unwrap();
    }
}
