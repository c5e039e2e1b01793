//! At most once, over channels, as go-micro's broker does it.

use std::time::Duration;

use micro_runtime::broker::{Broker, Consumer, Delivery, Topic};
use micro_runtime::{Deadline, ErrorKind};
use micro_tests::consumer::{message, next, publish, silent, taken, text};
use micro_tests::expect::until;

use crate::raw::Reply;
use crate::server::Store;

const ONCE: Delivery = Delivery::AtMostOnce;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn go_hears_us_and_we_hear_go() {
    let store = Store::start().await;
    let broker = store.broker();
    let mut go = store.raw().await;
    go.ask(&["SUBSCRIBE", "orders.placed"]).await;
    publish(&broker, "orders.placed", "hi", ONCE).await;
    assert_eq!(
        go.heard().await,
        r#"{"Header":{"Content-Type":"text/plain","Micro-Id":"id-hi","Micro-Topic":"orders.placed"},"Body":"aGk="}"#
    );
    let mut ours = broker
        .subscribe(&Topic::new("orders.placed"))
        .await
        .unwrap();
    let mut teller = store.raw().await;
    let sent = r#"{"Header":{"Content-Type":"application/json","X-Foo-Bar":"Baz"},"Body":"e30="}"#;
    let told = teller.ask(&["PUBLISH", "orders.placed", sent]).await;
    assert_eq!(told, Reply::Number(2));
    let event = next(&mut ours).await;
    assert_eq!((event.topic(), &*text(&event)), ("orders.placed", "{}"));
    assert_eq!(
        event.headers().get("content-type"),
        Some("application/json")
    );
    assert_eq!(event.headers().get("x-foo-bar"), Some("Baz"));
    assert_eq!(event.attempt(), 1);
    assert!(event.is_settled(), "there is nothing to acknowledge");
    // Connections do not die of silence, as Go's do after 5 s.
    tokio::time::sleep(Duration::from_secs(6)).await;
    teller.ask(&["PUBLISH", "orders.placed", sent]).await;
    assert_eq!(taken(&mut ours).await, "{}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_gets_everything_in_order() {
    let store = Store::start().await;
    let broker = store.broker();
    let mut a = broker.subscribe(&Topic::new("t")).await.unwrap();
    let mut b = store.broker().subscribe(&Topic::new("t")).await.unwrap();
    for number in 0..300 {
        publish(&broker, "t", &number.to_string(), ONCE).await;
    }
    publish(&broker, "other", "x", ONCE).await;
    for number in 0..300 {
        assert_eq!(taken(&mut a).await, number.to_string());
        assert_eq!(taken(&mut b).await, number.to_string());
    }
    a.close().await;
    publish(&broker, "t", "last", ONCE).await;
    assert_eq!(taken(&mut b).await, "last");
    silent(&mut b, Duration::from_millis(50)).await;
    let mut raw = store.raw().await;
    drop(b);
    until(Duration::from_secs(5), 0, async || {
        let mut asking = store.raw().await;
        let answer = asking.ask(&["PUBSUB", "NUMSUB", "t"]).await.list();
        Ok(answer.last().cloned().unwrap().number())
    })
    .await;
    assert_eq!(raw.ask(&["PUBLISH", "t", "x"]).await, Reply::Number(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_stops_nothing() {
    let store = Store::start().await;
    let broker = store.broker();
    let mut ours = broker.subscribe(&Topic::new("t")).await.unwrap();
    let mut raw = store.raw().await;
    let bad = ["", "hello", "[]", "{\"Header\":1}", "{\"Body\":\"!\"}"];
    for bad in bad {
        assert_eq!(raw.ask(&["PUBLISH", "t", bad]).await, Reply::Number(1));
    }
    publish(&broker, "t", "good", ONCE).await;
    for bad in bad {
        let event = next(&mut ours).await;
        assert_eq!(text(&event), bad);
        assert!(
            event.headers().get("micro-undecodable").is_some(),
            "{event:?}"
        );
    }
    assert_eq!(taken(&mut ours).await, "good");
    assert_eq!(ours.dropped(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_handlers_lose_events_and_not_memory() {
    let store = Store::start().await;
    let broker = store.broker();
    let mut ours = broker.subscribe(&Topic::new("t")).await.unwrap();
    let mut raw = store.raw().await;
    let body = "QUFB".repeat(8 * 1024);
    let sent = format!(r#"{{"Header":{{}},"Body":"{body}"}}"#);
    for _ in 0..2000 {
        raw.ask(&["PUBLISH", "t", &sent]).await;
    }
    until(Duration::from_secs(10), true, async || {
        Ok(ours.dropped() > 0)
    })
    .await;
    publish(&broker, "end", "x", ONCE).await;
    let mut received = 0;
    while let Ok(item) = tokio::time::timeout(
        Duration::from_millis(500),
        micro_tests::consumer::item(&mut ours),
    )
    .await
    {
        item.unwrap().unwrap();
        received += 1;
    }
    // 16 MiB of 32 KiB each.
    assert!((400..=512).contains(&received), "{received}");
    assert_eq!(received + ours.dropped(), 2000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_is_refused_with_the_way_out() {
    let broker = micro_runtime::broker::Redis::new(["127.0.0.1:1"]);
    let error = broker
        .subscribe(&Topic::new("t").queue("q"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(
        error.to_string().contains("Delivery::AtLeastOnce"),
        "{error}"
    );
    let late = broker.publish(
        message("t", "x"),
        ONCE,
        Deadline::after(Duration::from_millis(200)),
    );
    let error = late.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Broker);
    assert!(error.to_string().contains("127.0.0.1:1"), "{error}");
}
