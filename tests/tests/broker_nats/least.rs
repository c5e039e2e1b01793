//! At least once: JetStream.

use std::collections::BTreeSet;
use std::time::Duration;

use micro_runtime::ErrorKind;
use micro_runtime::broker::Message;
use micro_tests::nats::{Hub, NEW, OLD, Raw};

use crate::kit::{
    LEAST, ONCE, broker, close, drain, next, nothing, number, numbered, publish, subscribe, topic,
    try_publish,
};

/// As long as nothing must come.
const QUIET: Duration = Duration::from_millis(300);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_queue_has_not_acknowledged_comes_again() {
    for program in [NEW, OLD] {
        let hub = Hub::jetstream(program).await;
        let broker = broker(&hub);
        let shared = topic("orders.placed").queue("billing").concurrency(4);
        let mut consumer = subscribe(&broker, &shared).await;
        let mut raw = Raw::connect(&hub.address()).await;
        raw.subscribe("orders.placed", 1).await;
        let message = numbered("orders.placed", 1).header("x-trace", "7");
        publish(&broker, message.clone(), LEAST).await;
        // Under the same id it is the same event.
        publish(&broker, message, LEAST).await;
        let (_, _, json) = raw.message().await;
        assert_eq!(json["Body"], "MQ==", "Go's subscribers see it");

        let event = next(&mut consumer).await;
        assert_eq!((number(&event), event.attempt()), (1, 1));
        assert_eq!(event.headers().get("x-trace"), Some("7"));
        event.nack(Duration::from_millis(200)).await.unwrap();
        let before = std::time::Instant::now();
        let event = next(&mut consumer).await;
        assert_eq!((number(&event), event.attempt()), (1, 2));
        assert!(
            before.elapsed() > Duration::from_millis(150),
            "not before its time"
        );
        // Dropped without a word, it is given back at once.
        drop(event);
        let event = next(&mut consumer).await;
        assert_eq!(event.attempt(), 3);
        event.ack().await.unwrap();
        nothing(&mut consumer, QUIET).await;

        // What comes while no member is there is kept for the queue.
        close(consumer).await;
        publish(&broker, numbered("orders.placed", 2), LEAST).await;
        // Go publishes on the subject, without knowing of streams.
        raw.publish("orders.placed", br#"{"Header":{},"Body":"Mw=="}"#)
            .await;
        raw.publish("orders.placed", b"garbage").await;
        raw.flush().await;
        let mut consumer = subscribe(&broker, &shared).await;
        for expected in [2, 3] {
            let event = next(&mut consumer).await;
            assert_eq!((number(&event), event.attempt()), (expected, 1));
            event.ack().await.unwrap();
        }
        let event = next(&mut consumer).await;
        assert_eq!(&event.body()[..], b"garbage");
        assert!(event.encoding().is_err(), "nothing may decode it");
        event.ack().await.unwrap();
        nothing(&mut consumer, QUIET).await;
        close(consumer).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_are_out_than_may_be() {
    let hub = Hub::jetstream(NEW).await;
    let ours = broker(&hub);
    let shared = topic("t").queue("q").concurrency(3);
    let (mut first, mut second) = (
        subscribe(&ours, &shared).await,
        subscribe(&broker(&hub), &shared).await,
    );
    for n in 0..10 {
        publish(&ours, numbered("t", n), LEAST).await;
    }
    let mut out = Vec::new();
    for _ in 0..3 {
        out.push(next(&mut first).await);
        out.push(next(&mut second).await);
    }
    nothing(&mut first, QUIET).await;
    nothing(&mut second, QUIET).await;
    // A place that is free is filled.
    let event = out.pop().unwrap();
    let mut done = BTreeSet::from([number(&event)]);
    event.ack().await.unwrap();
    let event = next(&mut second).await;
    done.insert(number(&event));
    event.ack().await.unwrap();
    // A member that goes gives back what it has.
    close(first).await;
    drop(out);
    let missing = (0..10).filter(|n| !done.contains(n)).collect();
    drain(&mut second, missing).await;
    nothing(&mut second, QUIET).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_queue_everybody_gets_all_from_now_on() {
    let hub = Hub::jetstream(OLD).await;
    let ours = broker(&hub);
    publish(&ours, numbered("t", 0), LEAST).await;
    let mut first = subscribe(&ours, &topic("t").concurrency(50)).await;
    let mut second = subscribe(&broker(&hub), &topic("t").concurrency(50)).await;
    for n in 1..=50 {
        publish(&ours, numbered("t", n), LEAST).await;
    }
    for consumer in [&mut first, &mut second] {
        for n in 1..=50 {
            let event = next(consumer).await;
            assert_eq!(number(&event), n, "in order, and from now on");
            event.ack().await.unwrap();
        }
    }
    // An at-most-once subscriber of the same subject sees them as well.
    let mut once = subscribe(&ours, &micro_runtime::broker::Topic::new("t")).await;
    publish(&ours, numbered("t", 51), LEAST).await;
    assert_eq!(number(&next(&mut once).await), 51);
    publish(&ours, numbered("t", 52), ONCE).await;
    assert_eq!(number(&next(&mut first).await), 51);
}

/// Confirmed or not, what is acknowledged does not come again. Prints what a confirmation costs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledgements_may_be_confirmed() {
    let hub = Hub::jetstream(NEW).await;
    for confirmed in [false, true] {
        let ours = broker(&hub).double_ack(confirmed);
        let shared = topic("t").queue("q").concurrency(8);
        let mut consumer = subscribe(&ours, &shared).await;
        for n in 0..500 {
            let id = format!("{confirmed}-{n}");
            publish(&ours, numbered("t", n).id(id), LEAST).await;
        }
        let begun = std::time::Instant::now();
        assert_eq!(drain(&mut consumer, (0..500).collect()).await, 0);
        println!(
            "confirmed {confirmed}: {:?} for 500 events, one at a time",
            begun.elapsed()
        );
        if confirmed {
            // The server knows of each.
            drop(consumer);
        } else {
            close(consumer).await;
        }
        let mut consumer = subscribe(&ours, &shared).await;
        nothing(&mut consumer, QUIET).await;
        close(consumer).await;
    }
}

/// Streams of the user's, and names that are long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_are_found_or_made() {
    let hub = Hub::jetstream(NEW).await;
    let ours = broker(&hub)
        .stream("ORDERS", ["orders.>"])
        .max_age(Duration::from_secs(3600))
        .max_bytes(1_000_000);
    for name in ["orders.placed", "orders.paid"] {
        let mut consumer = subscribe(&ours, &topic(name).queue("q")).await;
        publish(&ours, numbered(name, 1), LEAST).await;
        let event = next(&mut consumer).await;
        event.ack().await.unwrap();
    }
    // A broker that was told nothing finds the stream that has the topic.
    publish(&broker(&hub), numbered("orders.placed", 2), LEAST).await;
    let long = format!("{}.{}", "t".repeat(120), "u".repeat(120));
    let shared = topic(&long).queue("q".repeat(240));
    let mut consumer = subscribe(&broker(&hub), &shared).await;
    publish(&broker(&hub), Message::new(&long, "1"), LEAST).await;
    assert_eq!(number(&next(&mut consumer).await), 1);
    // What is full says so, and forgets nothing for it.
    let large = || Message::new("orders.placed", vec![b'x'; 600_000]);
    publish(&ours, large(), LEAST).await;
    let full = try_publish(&ours, large(), LEAST, Duration::from_secs(3)).await;
    let full = full.unwrap_err();
    assert_eq!(full.kind(), ErrorKind::Broker);
    assert!(
        full.to_string().contains("maximum bytes exceeded"),
        "{full}"
    );
}
