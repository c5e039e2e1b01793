//! What is there and differs, and whom the server does not let in.

use lapin::types::{AMQPValue, FieldTable};
use micro_runtime::broker::{Broker, QueueKind, RabbitMq, Topic};
use micro_runtime::{Error, ErrorKind};

use crate::kit::{Raw, at_least_once, next, publish, text};
use crate::server::Rabbit;

fn config(result: Result<(), Error>, expected: &[&str]) {
    let error = result.unwrap_err();
    println!("{error}");
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    for expected in expected {
        assert!(
            error.to_string().contains(expected),
            "{expected:?}: {error}"
        );
    }
}

pub(crate) async fn exchanges_that_differ_are_told_of(rabbit: &Rabbit) {
    let raw = Raw::connect(&rabbit.address()).await;
    raw.exchange("x-go", true).await;
    let ours = rabbit.broker().exchange("x-go");
    let topics = [Topic::new("x.a").queue("x-a"), at_least_once("x.a")];
    for topic in &topics {
        let expected = [
            "\"x-go\" of type topic, not durable",
            "RabbitMq::durable_exchange",
            "inequivalent arg 'durable'",
        ];
        config(publish(&ours, topic, "x").await, &expected);
        config(ours.subscribe(topic).await.map(drop), &expected);
    }
    // The way out serves both levels by the one exchange.
    let ours = rabbit.broker().exchange("x-go").durable_exchange();
    for topic in &topics {
        let mut consumer = ours.subscribe(topic).await.unwrap();
        publish(&ours, topic, "found").await.unwrap();
        assert_eq!(text(&next(&mut consumer).await), "found");
    }
    let listed = rabbit.ctl(&["list_exchanges", "name"]).await;
    assert!(!listed.contains("x-go.durable"), "{listed}");
}

pub(crate) async fn queues_that_differ_are_told_of(rabbit: &Rabbit) {
    let raw = Raw::connect(&rabbit.address()).await;
    let mut quorum = FieldTable::default();
    quorum.insert(
        "x-queue-type".into(),
        AMQPValue::LongString("quorum".into()),
    );
    raw.queue("q.a/differs", quorum).await;
    raw.queue("q-durable", FieldTable::default()).await;
    let ours = rabbit.broker();
    let classic = ours.clone().queue_kind(QueueKind::Classic);
    let topic = at_least_once("q.a").queue("differs");
    config(
        classic.subscribe(&topic).await.map(drop),
        &[
            "\"q.a/differs\" as a durable one of type classic",
            "RabbitMq::queue_kind",
            "x-queue-type",
        ],
    );
    config(
        ours.subscribe(&Topic::new("q.a").queue("q-durable"))
            .await
            .map(drop),
        &[
            "\"q-durable\" as go-micro declares it",
            "Delivery::AtLeastOnce",
            "inequivalent arg 'durable'",
        ],
    );
    // The connection lives on, and the way out works.
    let mut consumer = ours.subscribe(&topic).await.unwrap();
    publish(&ours, &topic, "found").await.unwrap();
    assert_eq!(text(&next(&mut consumer).await), "found");
}

pub(crate) async fn whom_the_server_refuses_is_told_so(rabbit: &Rabbit) {
    let port = rabbit.port;
    rabbit.ctl(&["add_user", "reader", "s3cret"]).await;
    rabbit
        .ctl(&["set_permissions", "reader", "^x", ".*", ".*"])
        .await;
    let topic = Topic::new("r.a");
    for (address, expected) in [
        (
            format!("amqp://guest:s3cret@127.0.0.1:{port}"),
            vec!["refuses the user \"guest\"", "ACCESS_REFUSED"],
        ),
        (
            format!("amqp://127.0.0.1:{port}/nowhere"),
            vec!["into the virtual host \"nowhere\"", "not found"],
        ),
        (
            format!("amqp://reader:s3cret@127.0.0.1:{port}"),
            vec!["the right to configure", "ACCESS_REFUSED"],
        ),
    ] {
        let broker = RabbitMq::new([&address]);
        for topic in [&topic, &at_least_once("r.a")] {
            config(publish(&broker, topic, "x").await, &expected);
            config(broker.subscribe(topic).await.map(drop), &expected);
        }
        let error = publish(&broker, &topic, "x").await.unwrap_err();
        assert!(
            !format!("{error:?} {broker:?}").contains("s3cret"),
            "{error:?}"
        );
    }
    // Of several servers the one that takes us is used.
    let broker = RabbitMq::new(["amqp://127.0.0.1:1", &rabbit.address()]);
    publish(&broker, &topic, "x").await.unwrap();
    let bad = RabbitMq::new(["http://a"]);
    config(
        publish(&bad, &topic, "x").await,
        &["expected one of amqp, amqps"],
    );
    config(
        rabbit
            .broker()
            .in_flight(0)
            .subscribe(&topic)
            .await
            .map(drop),
        &["1 to 65536"],
    );
}
