//! What is published arrives, at both levels, with a queue and without, whoever published it.

use std::collections::BTreeMap;

use lapin::BasicProperties;
use lapin::types::{AMQPValue, DecimalValue, FieldArray, FieldTable};
use micro_runtime::broker::{Broker, Consumer, Delivery, Message, Topic};
use micro_runtime::{Deadline, ErrorKind};
use tokio::task::JoinSet;

use crate::kit::{CALM, LONG, Raw, at_least_once, next, publish, take, text, within};
use crate::server::Rabbit;

const LEVELS: [Delivery; 2] = [Delivery::AtMostOnce, Delivery::AtLeastOnce];

pub(crate) async fn headers_and_bodies_arrive_as_they_were(rabbit: &Rabbit) {
    let (ours, theirs) = (rabbit.broker(), rabbit.broker());
    for level in LEVELS {
        let topic = Topic::new("d.headers").queue("d-headers").delivery(level);
        let mut consumer = theirs.subscribe(&topic).await.unwrap();
        let mut message = Message::new("d.headers", vec![0, 255, 10])
            .header("content-type", "application/json")
            .header("X-Foo-BAR", "Baz")
            .id("one");
        message.headers.insert_bin("t-bin", vec![0, 255]);
        let deadline = Deadline::after(LONG);
        ours.publish(message, level, deadline).await.unwrap();
        let event = next(&mut consumer).await;
        let found = (event.topic(), &event.body()[..], event.attempt());
        assert_eq!(found, ("d.headers", &[0, 255, 10][..], 1));
        for (name, value) in [
            ("x-foo-bar", "Baz"),
            ("content-type", "application/json"),
            ("micro-topic", "d.headers"),
            ("micro-id", "one"),
        ] {
            assert_eq!(event.headers().get(name), Some(value), "{level}: {name}");
        }
        assert_eq!(event.headers().get_bin("t-bin").unwrap()[..], [0, 255]);
        assert_eq!(event.is_settled(), level == Delivery::AtMostOnce);
        event.ack().await.unwrap();
        consumer.close().await;
    }
}

pub(crate) async fn a_queue_shares_and_a_broadcast_does_not(rabbit: &Rabbit) {
    let (ours, theirs) = (rabbit.broker(), rabbit.broker());
    for level in LEVELS {
        let plain = Topic::new("d.share").delivery(level).concurrency(4);
        let queue = plain.clone().queue("d-share");
        let mut members = [
            ours.subscribe(&queue).await.unwrap(),
            theirs.subscribe(&queue).await.unwrap(),
        ];
        let mut alone = [
            ours.subscribe(&plain).await.unwrap(),
            theirs.subscribe(&plain).await.unwrap(),
        ];
        let mut sent: Vec<_> = (0..40).map(|number| number.to_string()).collect();
        for body in &sent {
            publish(&ours, &plain, body.clone()).await.unwrap();
        }
        sent.sort();
        for consumer in &mut alone {
            assert_eq!(take(consumer, 40).await, sent, "{level}");
            assert!(within(consumer, CALM).await.is_none());
        }
        let mut shared = Vec::new();
        for consumer in &mut members {
            while let Some(event) = within(consumer, CALM * 2).await {
                event.ack().await.unwrap();
                shared.push(text(&event));
            }
        }
        shared.sort();
        assert_eq!(shared, sent, "{level}");
    }
}

/// go-micro's queue has its name whatever the topic: here each event finds the right subscription all the same.
pub(crate) async fn queues_of_one_name_on_several_topics_are_apart(rabbit: &Rabbit) {
    let (ours, theirs) = (rabbit.broker(), rabbit.broker());
    for level in LEVELS {
        let topics =
            ["d.a", "d.b", "d.a.b"].map(|name| Topic::new(name).delivery(level).queue("d-same"));
        let mut consumers = Vec::new();
        for topic in &topics {
            consumers.push(theirs.subscribe(topic).await.unwrap());
        }
        for _ in 0..10 {
            for topic in &topics {
                publish(&ours, topic, topic.name()).await.unwrap();
            }
        }
        // Together: those who do not look may hold up the others.
        let [a, b, c] = &mut consumers[..] else {
            unreachable!("three were made");
        };
        let found = tokio::join!(take(a, 10), take(b, 10), take(c, 10));
        for (topic, found) in topics.iter().zip([found.0, found.1, found.2]) {
            assert_eq!(found, vec![topic.name(); 10], "{level}");
        }
        for consumer in &mut consumers {
            assert!(within(consumer, CALM).await.is_none());
        }
    }
}

/// Go's publications go to its exchange; its subscribers listen there.
pub(crate) async fn both_exchanges_lead_to_both_levels(rabbit: &Rabbit) {
    let ours = rabbit.broker();
    let durable = at_least_once("d.cross").queue("d-cross");
    let go = Topic::new("d.cross").queue("d-go");
    let mut kept = ours.subscribe(&durable).await.unwrap();
    let mut seen = ours.subscribe(&go).await.unwrap();
    publish(&ours, &go, "at most once").await.unwrap();
    publish(&ours, &durable, "at least once").await.unwrap();
    let both = ["at least once", "at most once"];
    assert_eq!(take(&mut kept, 2).await, both);
    assert_eq!(take(&mut seen, 2).await, both);
    // Once each, though the durable queue is bound to both exchanges.
    assert!(within(&mut kept, CALM).await.is_none());
    assert!(within(&mut seen, CALM).await.is_none());
}

pub(crate) async fn events_of_strangers_are_taken_as_they_are(rabbit: &Rabbit) {
    let ours = rabbit.broker();
    let topic = Topic::new("d.strange").queue("d-strange");
    let mut consumer = ours.subscribe(&topic).await.unwrap();
    let raw = Raw::connect(&rabbit.address()).await;
    let mut table = FieldTable::default();
    let mut nested = FieldTable::default();
    nested.insert("deep".into(), AMQPValue::Void);
    for (name, value) in [
        ("x-int", AMQPValue::LongLongInt(i64::MIN)),
        ("x-uint", AMQPValue::LongUInt(u32::MAX)),
        ("x-bool", AMQPValue::Boolean(false)),
        ("x-float", AMQPValue::Float(0.5)),
        ("x-void", AMQPValue::Void),
        ("x-table", AMQPValue::FieldTable(nested)),
        (
            "x-array",
            AMQPValue::FieldArray(FieldArray::from(vec![AMQPValue::Void])),
        ),
        (
            "x-decimal",
            AMQPValue::DecimalValue(DecimalValue {
                scale: 255,
                value: 1,
            }),
        ),
        ("x-time", AMQPValue::Timestamp(u64::MAX)),
        ("x-bytes", AMQPValue::LongString(vec![0xff, 0xfe].into())),
        ("x-delivery-count", AMQPValue::LongString("many".into())),
        ("", AMQPValue::LongString("nameless".into())),
        ("Bad\r\nName", AMQPValue::LongString("x".into())),
        ("not-bin", AMQPValue::LongString("!".into())),
    ] {
        table.insert(name.into(), value);
    }
    let properties = BasicProperties::default()
        .with_content_type("text/plain".into())
        .with_headers(table);
    raw.publish("micro", "d.strange", properties).await;
    raw.publish("micro", "d.strange", BasicProperties::default())
        .await;
    let event = next(&mut consumer).await;
    for (name, value) in [
        ("x-int", Some("-9223372036854775808")),
        ("x-bool", Some("false")),
        ("x-void", None),
        ("content-type", Some("text/plain")),
        ("micro-topic", Some("d.strange")),
    ] {
        assert_eq!(event.headers().get(name), value, "{name}");
    }
    assert_eq!(text(&next(&mut consumer).await), "raw");
}

pub(crate) async fn an_event_that_nobody_would_get_is_an_error(rabbit: &Rabbit) {
    let ours = rabbit.broker();
    let topic = at_least_once("d.nobody");
    let error = publish(&ours, &topic, "lost").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Broker);
    let said = error.to_string();
    assert!(
        said.contains("no queue is bound to the topic \"d.nobody\""),
        "{said}"
    );
    publish(&ours.clone().allow_unroutable(), &topic, "lost")
        .await
        .unwrap();
    publish(&ours, &Topic::new("d.nobody"), "lost")
        .await
        .unwrap();
}

/// The library mixes up what came back when many are on their way; every publication must hear of itself.
pub(crate) async fn of_many_at_once_each_hears_of_itself(rabbit: &Rabbit) {
    let ours = rabbit.broker();
    let topic = at_least_once("d.many").queue("d-many").concurrency(500);
    let mut consumer = ours.subscribe(&topic).await.unwrap();
    let mut publishing = JoinSet::new();
    for number in 0..1500 {
        let ours = ours.clone();
        publishing.spawn(async move {
            let routable = number % 3 != 0;
            let name = if routable { "d.many" } else { "d.many.nobody" };
            let result = publish(&ours, &at_least_once(name), number.to_string()).await;
            (number, routable, result.map_err(|error| error.to_string()))
        });
    }
    while let Some(done) = publishing.join_next().await {
        let (number, routable, result) = done.unwrap();
        assert_eq!(result.is_ok(), routable, "{number}: {result:?}");
    }
    let mut count = BTreeMap::<String, u32>::new();
    for body in take(&mut consumer, 1000).await {
        *count.entry(body).or_default() += 1;
    }
    assert!(count.len() == 1000 && count.values().all(|count| *count == 1));
}

pub(crate) async fn a_publish_that_is_given_up_harms_nobody(rabbit: &Rabbit) {
    let ours = rabbit.broker().in_flight(2);
    let topic = at_least_once("d.given-up").queue("d-given-up");
    let mut consumer = ours.subscribe(&topic).await.unwrap();
    publish(&ours, &topic, "first").await.unwrap();
    for number in 0..200_u64 {
        let late = Deadline::after(std::time::Duration::from_micros(number * 20));
        let message = Message::new("d.given-up", "given up");
        let _ = ours.publish(message, topic.level(), late).await;
    }
    publish(&ours, &topic, "last").await.unwrap();
    loop {
        let event = next(&mut consumer).await;
        event.ack().await.unwrap();
        if text(&event) == "last" {
            break;
        }
    }
}

pub(crate) async fn what_is_too_large_is_refused_alone(rabbit: &Rabbit) {
    let ours = rabbit.broker();
    let topic = at_least_once("d.large").queue("d-large");
    let mut consumer = ours.subscribe(&topic).await.unwrap();
    let large = publish(&ours, &topic, vec![0; (1 << 20) + 1]);
    let (large, small) = tokio::join!(large, publish(&ours, &topic, "small"));
    let error = large.unwrap_err().to_string();
    assert!(error.contains("does not take so large an event"), "{error}");
    small.unwrap();
    assert_eq!(text(&next(&mut consumer).await), "small");
    let message = Message::new("d.large", "x").header("x-long", "v".repeat(70_000));
    let published = ours.publish(message, topic.level(), Deadline::after(LONG));
    assert_eq!(published.await.unwrap_err().kind(), ErrorKind::Config);
}
