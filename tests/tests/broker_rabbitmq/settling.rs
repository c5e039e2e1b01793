//! What becomes of an event that was handed out.

use std::collections::BTreeMap;
use std::time::Duration;

use micro_runtime::broker::{Broker, Consumer, QueueKind, RabbitMq, Topic};
use micro_tests::proxy::Proxy;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::kit::{CALM, LONG, at_least_once, next, publish, take, text, within};
use crate::server::Rabbit;

pub(crate) async fn attempts_count_and_retries_take_their_time(rabbit: &Rabbit) {
    let ours = rabbit.broker();
    let topic = at_least_once("s.retry").queue("s-retry");
    let mut consumer = ours.subscribe(&topic).await.unwrap();
    publish(&ours, &topic, "again").await.unwrap();
    // More often than the limit that newer servers have by themselves.
    for attempt in 1..=25 {
        let event = next(&mut consumer).await;
        assert_eq!((text(&event).as_str(), event.attempt()), ("again", attempt));
        event.nack(Duration::ZERO).await.unwrap();
    }
    let event = next(&mut consumer).await;
    let begun = Instant::now();
    event.nack(Duration::from_millis(500)).await.unwrap();
    let event = next(&mut consumer).await;
    assert!(begun.elapsed() >= Duration::from_millis(500));
    assert_eq!(event.attempt(), 27);
    // Given back unsettled it comes at once.
    drop(event);
    assert_eq!(take(&mut consumer, 1).await, ["again"]);
    assert!(within(&mut consumer, CALM).await.is_none());
}

pub(crate) async fn a_classic_queue_does_not_count(rabbit: &Rabbit) {
    let ours = rabbit.broker().queue_kind(QueueKind::Classic);
    let topic = at_least_once("s.classic").queue("s-classic");
    let mut consumer = ours.subscribe(&topic).await.unwrap();
    publish(&ours, &topic, "again").await.unwrap();
    for attempt in [1, 2, 2] {
        let event = next(&mut consumer).await;
        assert_eq!(event.attempt(), attempt);
        event.nack(Duration::ZERO).await.unwrap();
    }
}

pub(crate) async fn others_come_while_one_waits_for_its_retry(rabbit: &Rabbit) {
    let ours = rabbit.broker();
    let topic = at_least_once("s.aside").queue("s-aside");
    let mut consumer = ours.subscribe(&topic).await.unwrap();
    for body in ["poison 1", "poison 2", "a", "b", "c"] {
        publish(&ours, &topic, body).await.unwrap();
    }
    for body in ["poison 1", "poison 2"] {
        let event = next(&mut consumer).await;
        assert_eq!(text(&event), body);
        // Longer than anything here takes: the others come before.
        event.nack(LONG * 2).await.unwrap();
    }
    for body in ["a", "b", "c"] {
        let event = next(&mut consumer).await;
        assert_eq!(text(&event), body);
        // One at a time: those that wait make room for no more than they take.
        assert!(within(&mut consumer, CALM / 3).await.is_none());
        event.ack().await.unwrap();
    }
    // Those that wait go back with their reader.
    consumer.close().await;
    let mut consumer = ours.subscribe(&topic).await.unwrap();
    assert_eq!(take(&mut consumer, 2).await, ["poison 1", "poison 2"]);
}

/// Retries that come due together: none costs another one an attempt, and none is left with a reader that ends.
pub(crate) async fn retries_side_by_side_count_once_each(rabbit: &Rabbit) {
    const EVENTS: usize = 12;
    for (kind, name) in [
        (QueueKind::Quorum, "quorum"),
        (QueueKind::Classic, "classic"),
    ] {
        for concurrency in [1, 4] {
            let ours = rabbit.broker().queue_kind(kind);
            let name = format!("s.side.{name}-{concurrency}");
            let topic = at_least_once(&name).queue("side").concurrency(concurrency);
            let mut consumer = ours.subscribe(&topic).await.unwrap();
            for number in 0..EVENTS {
                publish(&ours, &topic, number.to_string()).await.unwrap();
            }
            let mut seen = BTreeMap::<String, u32>::new();
            for round in 1..=8 {
                for _ in 0..EVENTS {
                    let event = next(&mut consumer).await;
                    let body = text(&event);
                    let count = seen.entry(body.clone()).or_default();
                    *count += 1;
                    let expected = match kind {
                        QueueKind::Quorum => *count,
                        _ => (*count).min(2),
                    };
                    assert_eq!(event.attempt(), expected, "{name}: {body} in round {round}");
                    if round % 2 == 0 {
                        event.nack(Duration::ZERO).await.unwrap();
                    } else {
                        event.nack(Duration::from_millis(100)).await.unwrap();
                    }
                }
            }
            assert_eq!(take(&mut consumer, EVENTS).await.len(), EVENTS);
            assert_eq!(seen.len(), EVENTS, "{seen:?}");
        }
    }
}

/// Stopped, a subscription takes nothing more, and what it has not looked at goes to others, while what was handed
/// out is settled.
pub(crate) async fn one_that_is_stopped_leaves_the_rest_to_others(rabbit: &Rabbit) {
    for (kind, name) in [
        (QueueKind::Quorum, "quorum"),
        (QueueKind::Classic, "classic"),
    ] {
        let broker = || rabbit.broker().queue_kind(kind);
        let (ours, theirs) = (broker(), broker());
        let topic = at_least_once(&format!("s.stop.{name}"))
            .queue("stop")
            .concurrency(3);
        let mut first = ours.subscribe(&topic).await.unwrap();
        for body in ["held", "waiting", "unseen"] {
            publish(&ours, &topic, body).await.unwrap();
        }
        let held = next(&mut first).await;
        let waiting = next(&mut first).await;
        waiting.nack(Duration::from_millis(200)).await.unwrap();
        first.stop();
        first.stop();
        publish(&ours, &topic, "later").await.unwrap();
        let mut second = theirs.subscribe(&topic).await.unwrap();
        assert_eq!(take(&mut second, 3).await, ["later", "unseen", "waiting"]);
        held.ack().await.unwrap();
        first.close().await;
        publish(&ours, &topic, "last").await.unwrap();
        assert_eq!(take(&mut second, 1).await, ["last"]);
        assert!(within(&mut second, CALM).await.is_none());
    }
}

/// Subscribing that is given up at any moment leaves no reader behind, who would be handed events.
pub(crate) async fn subscribing_that_is_given_up_leaves_no_reader(rabbit: &Rabbit) {
    let proxy = Proxy::to(format!("127.0.0.1:{}", rabbit.port)).await;
    let theirs = RabbitMq::new([proxy.address()]);
    let topic = at_least_once("s.given-up").queue("given-up").concurrency(8);
    theirs.subscribe(&topic).await.unwrap().close().await;
    // Each step takes 100 ms: some are given up while their reader is on its way.
    proxy.delay(Duration::from_millis(50));
    let mut subscribing = JoinSet::new();
    for number in 0..40 {
        let (theirs, topic) = (theirs.clone(), topic.clone());
        subscribing.spawn(async move {
            let time = Duration::from_millis(number * 40);
            timeout(time, theirs.subscribe(&topic)).await.is_ok()
        });
    }
    let mut given_up = 0;
    while let Some(done) = subscribing.join_next().await {
        given_up += usize::from(!done.unwrap());
    }
    assert!(given_up > 5, "{given_up}");
    proxy.delay(Duration::ZERO);
    let ours = rabbit.broker();
    let mut consumer = ours.subscribe(&topic).await.unwrap();
    let mut missing: Vec<_> = (0..60).map(|number| number.to_string()).collect();
    for body in &missing {
        publish(&ours, &topic, body.clone()).await.unwrap();
    }
    // What one had before it was gone comes a second time at most here.
    while !missing.is_empty() {
        let body = take(&mut consumer, 1).await;
        missing.retain(|one| *one != body[0]);
    }
}

pub(crate) async fn no_more_than_asked_for_are_handed_out(rabbit: &Rabbit) {
    let (ours, theirs) = (rabbit.broker(), rabbit.broker());
    let topic = at_least_once("s.flight").queue("s-flight").concurrency(3);
    let mut consumer = ours.subscribe(&topic).await.unwrap();
    for number in 0..6 {
        publish(&ours, &topic, number.to_string()).await.unwrap();
    }
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(next(&mut consumer).await);
    }
    assert!(within(&mut consumer, CALM).await.is_none());
    // The others are there for whoever comes.
    let mut other = theirs.subscribe(&topic).await.unwrap();
    assert_eq!(take(&mut other, 3).await, ["3", "4", "5"]);
    for event in held {
        event.ack().await.unwrap();
    }
}

pub(crate) async fn what_a_subscriber_held_goes_to_another(rabbit: &Rabbit) {
    let (ours, theirs) = (rabbit.broker(), rabbit.broker());
    let topic = at_least_once("s.gone").queue("s-gone").concurrency(4);
    let mut first = ours.subscribe(&topic).await.unwrap();
    for body in ["done", "held", "waiting", "unseen"] {
        publish(&ours, &topic, body).await.unwrap();
    }
    next(&mut first).await.ack().await.unwrap();
    let held = next(&mut first).await;
    let waiting = next(&mut first).await;
    waiting.nack(Duration::from_secs(60)).await.unwrap();
    first.close().await;
    let error = held.ack().await.unwrap_err().to_string();
    assert!(error.contains("which comes again"), "{error}");
    let mut second = theirs.subscribe(&topic).await.unwrap();
    assert_eq!(take(&mut second, 3).await, ["held", "unseen", "waiting"]);
    // The same when it is dropped.
    publish(&ours, &topic, "dropped").await.unwrap();
    let event = next(&mut second).await;
    drop(second);
    let mut third = ours.subscribe(&topic).await.unwrap();
    assert_eq!(take(&mut third, 1).await, ["dropped"]);
    drop(event);
    assert!(within(&mut third, CALM).await.is_none());
}

/// The memory of a subscriber that is slow is that of the events in flight, at most once, too.
pub(crate) async fn a_slow_handler_pushes_back(rabbit: &Rabbit) {
    let (ours, theirs) = (rabbit.broker(), rabbit.broker());
    let topics = [
        Topic::new("s.slow").queue("s-slow-1").concurrency(8),
        at_least_once("s.slow").queue("s-slow-2").concurrency(8),
    ];
    let mut consumers = Vec::new();
    for topic in &topics {
        consumers.push(theirs.subscribe(topic).await.unwrap());
    }
    for _ in 0..200 {
        publish(&ours, &topics[1], vec![0; 1000]).await.unwrap();
    }
    for consumer in &mut consumers {
        drop(next(consumer).await);
    }
    // The server counts with some delay.
    let begun = Instant::now();
    loop {
        let columns = ["name", "messages_ready", "messages_unacknowledged"];
        let listed = rabbit.ctl(&[&["list_queues"], &columns[..]].concat()).await;
        let counts: Vec<Vec<u32>> = listed
            .lines()
            .filter(|line| line.contains("s-slow"))
            .map(|line| line.split_whitespace().skip(1))
            .map(|counts| counts.map(|count| count.parse().unwrap()).collect())
            .collect();
        let held = |counts: &Vec<u32>| counts[0] >= 190 && (1..=8).contains(&counts[1]);
        if counts.len() == 2 && counts.iter().all(held) {
            return;
        }
        // A listing alone takes a minute where the machine is busy.
        assert!(begun.elapsed() < LONG * 3, "{listed}");
    }
}
