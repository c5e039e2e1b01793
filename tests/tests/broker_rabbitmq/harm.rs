//! What others do meanwhile: queues and exchanges removed, rights taken; and a slow network.

use std::time::Duration;

use micro_runtime::broker::{Broker, Message, RabbitMq, Topic};
use micro_runtime::{Deadline, ErrorKind};
use micro_tests::proxy::Proxy;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::kit::{LONG, Raw, at_least_once, publish, take};
use crate::server::Rabbit;

/// Somebody deletes the queues of open subscriptions: they are made again, and read.
pub(crate) async fn queues_that_are_deleted_are_made_again(rabbit: &Rabbit) {
    let ours = rabbit.broker();
    let raw = Raw::connect(&rabbit.address()).await;
    for topic in [
        at_least_once("h.gone").queue("h-gone"),
        at_least_once("h.gone"),
        Topic::new("h.gone").queue("h-gone"),
    ] {
        let mut consumer = ours.subscribe(&topic).await.unwrap();
        let shown = format!("{consumer:?}");
        let queue = shown.split('"').nth(3).unwrap();
        raw.delete_queue(queue).await;
        // The server says so at once; until the subscription is there again nobody would get what is published.
        let begun = Instant::now();
        loop {
            let listed = rabbit.ctl(&["list_queues", "name", "consumers"]).await;
            if listed.lines().any(|line| line == format!("{queue}\t1")) {
                break;
            }
            // A listing alone takes a minute where the machine is busy.
            assert!(begun.elapsed() < LONG * 3, "{listed}");
        }
        publish(&ours, &topic, "again").await.unwrap();
        assert_eq!(take(&mut consumer, 1).await, ["again"]);
    }
}

/// Somebody deletes the exchange of what is published at least once: it is made again.
pub(crate) async fn an_exchange_that_is_deleted_is_made_again(rabbit: &Rabbit) {
    let ours = rabbit.broker();
    let topic = at_least_once("h.exchange").queue("h-exchange");
    let mut consumer = ours.subscribe(&topic).await.unwrap();
    publish(&ours, &topic, "1").await.unwrap();
    let raw = Raw::connect(&rabbit.address()).await;
    raw.delete_exchange("micro.durable").await;
    publish(&ours, &topic, "2").await.unwrap();
    assert_eq!(take(&mut consumer, 2).await, ["1", "2"]);
}

/// Who may not write a topic is told so, whatever else is on its way.
pub(crate) async fn topics_that_may_not_be_written(rabbit: &Rabbit) {
    rabbit.ctl(&["add_user", "writer", "s3cret"]).await;
    let all = ["set_permissions", "writer", ".*", ".*", ".*"];
    rabbit.ctl(&all).await;
    for exchange in ["micro", "micro.durable"] {
        let some = ["set_topic_permissions", "writer", exchange, "^h.ok$", ".*"];
        rabbit.ctl(&some).await;
    }
    let ours = RabbitMq::new([format!("amqp://writer:s3cret@127.0.0.1:{}", rabbit.port)]);
    let allowed = at_least_once("h.ok").queue("h-ok").concurrency(100);
    let mut consumer = rabbit.broker().subscribe(&allowed).await.unwrap();
    for denied in [at_least_once("h.no"), Topic::new("h.no")] {
        let mut publishing = JoinSet::new();
        for number in 0..20 {
            let (ours, allowed) = (ours.clone(), allowed.clone());
            publishing.spawn(async move { publish(&ours, &allowed, number.to_string()).await });
        }
        let begun = Instant::now();
        let error = publish(&ours, &denied, "x").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        assert!(error.to_string().contains("h.no"), "{error}");
        assert!(begun.elapsed() < LONG / 2);
        while let Some(published) = publishing.join_next().await {
            published.unwrap().unwrap();
        }
        let mut found = take(&mut consumer, 20).await;
        found.sort_by_key(|body| body.parse::<usize>().ok());
        let expected: Vec<_> = (0..20).map(|number| number.to_string()).collect();
        assert_eq!(found, expected);
    }
    // Nor are those disturbed that nobody would send again.
    let allowed = Topic::new("h.ok").concurrency(100);
    let mut consumer = rabbit.broker().subscribe(&allowed).await.unwrap();
    let mut expected = Vec::new();
    for round in 0..10 {
        let mut publishing = JoinSet::new();
        for number in 0..40 {
            let body = format!("{round} {number}");
            let ours = ours.clone();
            let topic = if number % 4 == 0 {
                Topic::new(format!("h.no.{round}.{}", number % 8))
            } else {
                expected.push(body.clone());
                allowed.clone()
            };
            publishing.spawn(async move {
                let published = publish(&ours, &topic, body).await;
                assert_eq!(published.is_ok(), topic.name() == "h.ok", "{published:?}");
            });
        }
        while let Some(published) = publishing.join_next().await {
            published.unwrap();
        }
    }
    let mut found = take(&mut consumer, expected.len()).await;
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}

/// A connection on which nothing comes any more is lost, by its heartbeats, and another one is made.
pub(crate) async fn a_connection_that_hangs_is_left(rabbit: &Rabbit) {
    let proxy = Proxy::to(format!("127.0.0.1:{}", rabbit.port)).await;
    let ours = RabbitMq::new([proxy.address()]);
    let topic = at_least_once("h.hangs").queue("h-hangs").concurrency(8);
    let mut consumer = ours.subscribe(&topic).await.unwrap();
    publish(&ours, &topic, "1").await.unwrap();
    assert_eq!(take(&mut consumer, 1).await, ["1"]);
    let before = proxy.accepted();
    proxy.hold();
    let begun = Instant::now();
    let message = Message::new("h.hangs", "given up");
    let deadline = Deadline::after(Duration::from_secs(1));
    let published = ours.publish(message, topic.level(), deadline).await;
    assert_eq!(published.unwrap_err().kind(), ErrorKind::Broker);
    assert!(begun.elapsed() < Duration::from_secs(10));
    // Both of them: the one that publishes and the one that consumes.
    while proxy.accepted() < before + 2 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(begun.elapsed() < LONG);
    }
    println!("{:?} until both were left", begun.elapsed());
    proxy.heal();
    publish(&ours, &topic, "2").await.unwrap();
    // The one that was given up may be there.
    while take(&mut consumer, 1).await != ["2"] {}
}

/// A network on which each answer takes 200 ms: publications are on their way side by side.
pub(crate) async fn a_slow_network(rabbit: &Rabbit) {
    let proxy = Proxy::to(format!("127.0.0.1:{}", rabbit.port)).await;
    let ours = RabbitMq::new([proxy.address()]);
    let topic = at_least_once("h.slow").queue("h-slow").concurrency(8);
    let mut consumer = ours.subscribe(&topic).await.unwrap();
    proxy.delay(Duration::from_millis(100));
    let begun = Instant::now();
    let mut publishing = JoinSet::new();
    for number in 100..300 {
        let (ours, topic) = (ours.clone(), topic.clone());
        publishing.spawn(async move { publish(&ours, &topic, number.to_string()).await });
    }
    while let Some(published) = publishing.join_next().await {
        published.unwrap().unwrap();
    }
    let took = begun.elapsed();
    // One after another they would take 40 s.
    assert!(took < Duration::from_secs(20), "{took:?}");
    let sent: Vec<_> = (100..300).map(|number| number.to_string()).collect();
    assert_eq!(take(&mut consumer, 200).await, sent);
}
