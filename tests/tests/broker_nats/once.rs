//! At most once: core NATS.

use std::time::Duration;

use micro_runtime::broker::{Broker, Message, Topic};
use micro_tests::nats::{Hub, NEW, OLD, Raw};

use crate::kit::{ONCE, broker, close, next, nothing, number, numbered, publish, subscribe};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn go_micro_s_form_both_ways() {
    for program in [NEW, OLD] {
        let hub = Hub::start(program).await;
        let broker = broker(&hub);
        let mut raw = Raw::connect(&hub.address()).await;
        raw.subscribe("orders.placed", 1).await;
        let mut consumer = subscribe(&broker, &Topic::new("orders.placed")).await;
        let message = Message::new("orders.placed", "hi")
            .header("content-type", "application/json")
            .header("x-trace", "7");
        publish(&broker, message, ONCE).await;
        let (subject, _, json) = raw.message().await;
        assert_eq!(subject, "orders.placed");
        assert_eq!(
            json,
            serde_json::json!({"Header": {"Content-Type": "application/json", "X-Trace": "7"}, "Body": "aGk="})
        );
        let event = next(&mut consumer).await;
        assert_eq!(
            (event.topic(), &event.body()[..]),
            ("orders.placed", &b"hi"[..])
        );
        assert_eq!(event.headers().get("x-trace"), Some("7"));
        assert!(event.is_settled());

        raw.publish(
            "orders.placed",
            br#"{"Header":{"Micro-Id":"1","X-Foo":"a b"},"Body":"CgJoaQ=="}"#,
        )
        .await;
        // What is none stops nothing, and its bytes are there.
        raw.publish("orders.placed", b"\xff{garbage").await;
        raw.publish("orders.placed", b"").await;
        raw.publish("orders.placed", br#"{"Body":null}"#).await;
        let event = next(&mut consumer).await;
        assert_eq!(&event.body()[..], b"\x0a\x02hi");
        assert_eq!(event.headers().get("micro-id"), Some("1"));
        assert_eq!(event.headers().get("x-foo"), Some("a b"));
        let event = next(&mut consumer).await;
        assert_eq!(&event.body()[..], b"\xff{garbage");
        assert!(event.encoding().is_err(), "nothing may decode it");
        assert!(next(&mut consumer).await.encoding().is_err());
        assert!(next(&mut consumer).await.body().is_empty());
        close(consumer).await;
        broker.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_shares_and_everybody_else_gets_all() {
    let hub = Hub::start(NEW).await;
    let (ours, theirs) = (broker(&hub), broker(&hub));
    let shared = Topic::new("t").queue("q");
    let mut first = subscribe(&ours, &shared).await;
    let mut second = subscribe(&theirs, &shared).await;
    let mut all = subscribe(&theirs, &Topic::new("t")).await;
    for n in 0..100 {
        publish(&ours, numbered("t", n), ONCE).await;
    }
    for n in 0..100 {
        assert_eq!(number(&next(&mut all).await), n, "in order");
    }
    let mut seen = Vec::new();
    while seen.len() < 100 {
        tokio::select! {
            event = next(&mut first) => seen.push((1, number(&event))),
            event = next(&mut second) => seen.push((2, number(&event))),
        }
    }
    let count = |member| seen.iter().filter(|(who, _)| *who == member).count();
    assert!(
        count(1) > 0 && count(2) > 0,
        "{} and {}",
        count(1),
        count(2)
    );
    seen.sort_unstable_by_key(|(_, n)| *n);
    assert!(seen.iter().map(|(_, n)| *n).eq(0..100), "each once");
    // After it is closed nothing comes, and the other member gets all.
    close(first).await;
    for n in 0..10 {
        publish(&ours, numbered("t", n), ONCE).await;
    }
    for n in 0..10 {
        assert_eq!(number(&next(&mut second).await), n);
    }
    nothing(&mut second, Duration::from_millis(50)).await;
}

/// One round trip answers many: thousands of publishes at once take a moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_publish_at_once() {
    let hub = Hub::start(NEW).await;
    let ours = broker(&hub);
    let mut consumer = subscribe(&ours, &Topic::new("t")).await;
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..5000 {
        let ours = ours.clone();
        tasks.spawn(async move { publish(&ours, numbered("t", n), ONCE).await });
    }
    let mut seen: Vec<u32> = Vec::new();
    while seen.len() < 5000 {
        seen.push(number(&next(&mut consumer).await));
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    seen.sort_unstable();
    assert!(seen.into_iter().eq(0..5000));
    assert_eq!(ours.dropped(), 0);
    // It ends the connection once nobody uses it, and connects again when somebody does.
    close(consumer).await;
    ours.close().await;
    publish(&ours, numbered("t", 1), ONCE).await;
}
