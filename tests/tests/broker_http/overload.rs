//! Slow handlers, many events, many connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use micro_runtime::broker::{Broker, Event, Topic};
use micro_runtime::registry::Memory;
use micro_tests::events::{Acking, PATIENCE, next, publish};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{broker, entry, message, post, publish_within, say};

#[tokio::test]
async fn no_more_are_handed_out_than_are_handled() {
    let registry = Memory::new();
    let topic = Topic::new("t").concurrency(3);
    let mut open = broker(&registry).subscribe(&topic).await.unwrap();
    let publisher = Arc::new(broker(&registry));
    let mut publishing = JoinSet::new();
    for _ in 0..50 {
        let publisher = Arc::clone(&publisher);
        publishing.spawn(async move { publish(&*publisher, message("t")).await });
    }
    let mut held: Vec<Event> = Vec::new();
    for _ in 0..50 {
        if held.len() == 3 {
            // There is none before one is settled.
            let more = tokio::time::timeout(Duration::from_millis(5), next(&mut open)).await;
            assert!(more.is_err());
            held.remove(0).ack().await.unwrap();
        }
        held.push(next(&mut open).await.unwrap());
    }
    for event in held {
        event.ack().await.unwrap();
    }
    while let Some(done) = publishing.join_next().await {
        done.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn who_finds_no_place_is_told_so() {
    let registry = Memory::new();
    let mut open = broker(&registry).subscribe(&Topic::new("t")).await.unwrap();
    let node = entry(&registry).await;
    let body = r#"{"Header":{"Micro-Topic":"t"},"Body":"aGk="}"#;
    let (first, second) = (post(&node.id, body), post(&node.id, body));
    let address = node.address.clone();
    let answered = tokio::spawn(async move { say(&address, &first).await });
    let event = next(&mut open).await.unwrap();
    let begun = Instant::now();
    let answer = say(&node.address, &second).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert_eq!(begun.elapsed().as_secs(), 5);
    // One of ours sends it again, as long as it may.
    let publisher = broker(&registry);
    let begun = Instant::now();
    let words = publish_within(&publisher, message("t"), Duration::from_secs(12)).await;
    let words = words.unwrap_err().to_string();
    assert!(words.contains("no answer within 1."), "{words}");
    assert_eq!(begun.elapsed().as_secs(), 12);
    event.ack().await.unwrap();
    assert!(answered.await.unwrap().starts_with("HTTP/1.1 200 "));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_waits_and_nothing_is_lost() {
    const EVENTS: usize = 3000;
    let registry = Memory::new();
    let topic = Topic::new("t").concurrency(8);
    let mut open = Acking::subscribe(&broker(&registry), &topic).await.unwrap();
    let publisher = Arc::new(broker(&registry));
    let at_once = Arc::new(AtomicUsize::new(0));
    let mut publishing = JoinSet::new();
    for number in 0..EVENTS {
        let (publisher, at_once) = (Arc::clone(&publisher), Arc::clone(&at_once));
        publishing.spawn(async move {
            at_once.fetch_add(1, Ordering::Relaxed);
            let event = message("t").header("x-number", number.to_string());
            // All of them take that long, if the machine is slow.
            publish_within(&publisher, event, Duration::from_secs(120)).await
        });
    }
    while let Some(done) = publishing.join_next().await {
        done.unwrap().unwrap();
    }
    let mut numbers = Vec::new();
    for _ in 0..EVENTS {
        let event = open.next().await.unwrap();
        numbers.push(
            event
                .headers()
                .get("x-number")
                .unwrap()
                .parse::<usize>()
                .unwrap(),
        );
    }
    numbers.sort_unstable();
    assert!(numbers.iter().copied().eq(0..EVENTS));
    assert_eq!(at_once.load(Ordering::Relaxed), EVENTS);
}

#[tokio::test]
async fn connections_are_bounded() {
    let registry = Memory::new();
    let ours = broker(&registry).max_connections(2);
    let mut open = Acking::subscribe(&ours, &Topic::new("t")).await.unwrap();
    let node = entry(&registry).await;
    let held = [
        TcpStream::connect(&node.address).await.unwrap(),
        TcpStream::connect(&node.address).await.unwrap(),
    ];
    // The third is closed without a word, sooner or later in its life.
    let body = r#"{"Header":{"Micro-Topic":"t"},"Body":"aGk="}"#;
    let mut answer = say_or_nothing(&node.address, &post(&node.id, body)).await;
    assert_eq!(answer, "");
    drop(held);
    let begun = Instant::now();
    while answer.is_empty() {
        answer = say_or_nothing(&node.address, &post(&node.id, body)).await;
        assert!(begun.elapsed() < PATIENCE);
    }
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    open.next().await.unwrap();
}

async fn say_or_nothing(address: &str, bytes: &[u8]) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let mut stream = TcpStream::connect(address).await.unwrap();
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}
