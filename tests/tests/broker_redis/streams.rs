//! At least once, over streams.

use std::time::Duration;

use bytes::Bytes;
use micro_runtime::Deadline;
use micro_runtime::broker::{Broker, Consumer, Delivery, Message, Topic};
use micro_tests::consumer::{SOON, collect, next, publish, silent, taken, text};
use micro_tests::expect::until;

use crate::raw::Reply;
use crate::server::Store;

const LEAST: Delivery = Delivery::AtLeastOnce;

fn topic() -> Topic {
    Topic::new("t").delivery(LEAST)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_shares_and_a_broadcast_does_not() {
    let store = Store::start().await;
    let broker = store.broker();
    let queue = topic().queue("q").concurrency(4);
    let mut shared = [
        broker.subscribe(&queue).await.unwrap(),
        store.broker().subscribe(&queue).await.unwrap(),
    ];
    let mut other = [broker.subscribe(&topic().queue("other")).await.unwrap()];
    let mut all = broker.subscribe(&topic()).await.unwrap();
    let mut each = store.broker().subscribe(&topic()).await.unwrap();
    for number in 0..200 {
        publish(&broker, "t", &number.to_string(), LEAST).await;
    }
    let seen = collect(&mut shared, 200, SOON).await;
    assert!(seen.values().all(|times| *times == 1), "{seen:?}");
    assert_eq!(collect(&mut other, 200, SOON).await.len(), 200);
    for number in 0..200 {
        assert_eq!(taken(&mut all).await, number.to_string());
        assert_eq!(taken(&mut each).await, number.to_string());
    }
    silent(&mut all, Duration::from_millis(50)).await;
    for consumer in shared {
        consumer.close().await;
    }
    all.close().await;
    drop(each);
    // Groups of one's own go with their subscribers, and consumers leave their queue's.
    until(SOON, vec!["other".to_owned(), "q".to_owned()], async || {
        let mut raw = store.raw().await;
        let groups = raw.ask(&["XINFO", "GROUPS", "micro:t"]).await.list();
        let names = groups.into_iter().map(|group| match &group.list()[1] {
            Reply::Text(name) => name.clone(),
            other => panic!("{other:?}"),
        });
        Ok(names.collect())
    })
    .await;
    let mut raw = store.raw().await;
    let left = raw.ask(&["XINFO", "CONSUMERS", "micro:t", "q"]).await;
    assert_eq!(left, Reply::List(vec![]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_and_bytes_arrive_and_go_hears_them_too() {
    let store = Store::start().await;
    let broker = store.broker();
    let mut go = store.raw().await;
    go.ask(&["SUBSCRIBE", "t"]).await;
    let body = Bytes::from((0..=255).collect::<Vec<u8>>());
    let mut message = Message::new("t", body.clone())
        .id("the-id")
        .header("content-type", "application/protobuf")
        .header("x-user", "jürgen");
    message.headers.insert_bin("trace-bin", vec![0, 255]);
    let published = broker.publish(message, LEAST, Deadline::after(SOON));
    published.await.unwrap();
    // The first subscriber of a queue comes after the event, and gets it.
    let mut ours = broker.subscribe(&topic().queue("late")).await.unwrap();
    let event = next(&mut ours).await;
    assert_eq!(event.body(), &body);
    assert_eq!(event.headers().get("x-user"), Some("jürgen"));
    assert_eq!(event.headers().get_bin("trace-bin").unwrap()[..], [0, 255]);
    event.ack().await.unwrap();
    assert!(
        go.heard()
            .await
            .starts_with(r#"{"Header":{"Content-Type":"application/protobuf","#)
    );
    let mut raw = store.raw().await;
    let entries = raw.ask(&["XRANGE", "micro:t", "-", "+"]).await.list();
    let fields = entries[0].clone().list().remove(1).list();
    assert_eq!(
        fields[..2],
        [Reply::Text("id".into()), Reply::Text("the-id".into())]
    );
    // Without the channels, and under another key.
    let silent = store.broker().prefix("app:").channels(false);
    publish(&silent, "t", "unheard", LEAST).await;
    publish(&broker, "t", "heard", LEAST).await;
    assert!(go.heard().await.contains("id-heard"));
    assert_eq!(raw.ask(&["XLEN", "app:t"]).await, Reply::Number(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_message_is_handed_out_with_its_bytes() {
    let store = Store::start().await;
    let broker = store.broker();
    let mut ours = broker.subscribe(&topic().queue("q")).await.unwrap();
    let mut raw = store.raw().await;
    raw.ask(&["XADD", "micro:t", "*", "message", "hello"]).await;
    raw.ask(&["XADD", "micro:t", "*", "x", "y"]).await;
    publish(&broker, "t", "good", LEAST).await;
    for expected in ["hello", ""] {
        let event = next(&mut ours).await;
        assert_eq!(text(&event), expected);
        assert!(
            event.headers().get("micro-undecodable").is_some(),
            "{event:?}"
        );
        assert_eq!(
            event.headers().get("content-type"),
            Some("application/x-micro-undecodable")
        );
        event.ack().await.unwrap();
    }
    assert_eq!(taken(&mut ours).await, "good");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_than_asked_for_are_in_flight() {
    let store = Store::start().await;
    let broker = store.broker();
    let four = topic().queue("q").concurrency(4);
    let mut slow = broker.subscribe(&four).await.unwrap();
    for number in 0..50 {
        publish(&broker, "t", &number.to_string(), LEAST).await;
    }
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(next(&mut slow).await);
    }
    silent(&mut slow, Duration::from_millis(1500)).await;
    let mut raw = store.raw().await;
    let pending = raw.ask(&["XPENDING", "micro:t", "q"]).await.list();
    assert_eq!(pending[0], Reply::Number(4));
    // What others may have is theirs.
    let mut quick = [store.broker().subscribe(&four).await.unwrap()];
    let mut seen = std::collections::BTreeSet::new();
    while seen.len() < 46 {
        seen.insert(taken(&mut quick[0]).await);
    }
    held.remove(0).ack().await.unwrap();
    publish(&broker, "t", "50", LEAST).await;
    let [mut quick] = quick;
    let more = tokio::select! {
        event = next(&mut slow) => event,
        event = next(&mut quick) => event,
    };
    assert_eq!(text(&more), "50");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_all_have_acknowledged_is_cut_off() {
    let store = Store::start().await;
    let broker = store.broker();
    let mut quick = [broker
        .subscribe(&topic().queue("quick").concurrency(64))
        .await
        .unwrap()];
    let mut slow = broker
        .subscribe(&topic().queue("slow").concurrency(2000))
        .await
        .unwrap();
    for number in 0..1000 {
        publish(&broker, "t", &number.to_string(), LEAST).await;
    }
    collect(&mut quick, 1000, SOON).await;
    let mut held = Vec::new();
    for _ in 0..1000 {
        held.push(next(&mut slow).await);
    }
    for event in held.drain(..600) {
        event.ack().await.unwrap();
    }
    let length = async || {
        let mut raw = store.raw().await;
        Ok::<i64, String>(raw.ask(&["XLEN", "micro:t"]).await.number())
    };
    // Nodes of 100 entries are cut off whole.
    until(Duration::from_secs(20), true, async || {
        Ok(length().await? <= 500)
    })
    .await;
    let kept = length().await.unwrap();
    assert!(
        kept >= 400,
        "the slow queue has not acknowledged 400, {kept} are left"
    );
    for event in held {
        event.ack().await.unwrap();
    }
    until(Duration::from_secs(20), true, async || {
        Ok(length().await? <= 100)
    })
    .await;
    slow.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bound_that_was_asked_for_holds() {
    let store = Store::start().await;
    let broker = store.broker().max_len(100);
    for number in 0..500 {
        publish(&broker, "t", &number.to_string(), LEAST).await;
    }
    let length = store.raw().await.ask(&["XLEN", "micro:t"]).await.number();
    assert!((100..=200).contains(&length), "{length}");
}
