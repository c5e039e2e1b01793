//! Publishing and receiving, with limits on time.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::time::Duration;

use futures_core::Stream;
use micro_runtime::Deadline;
use micro_runtime::Error;
use micro_runtime::broker::{
    Broker, Consumer, Delivery, Event, Message, Nats, NatsConsumer, Topic,
};
use micro_tests::nats::Hub;
use tokio::time::{sleep, timeout};

/// Longer than anything takes that works, on a busy machine.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// Between two looks at something.
const LOOK: Duration = Duration::from_millis(10);

pub(crate) const ONCE: Delivery = Delivery::AtMostOnce;
pub(crate) const LEAST: Delivery = Delivery::AtLeastOnce;

pub(crate) fn broker(hub: &Hub) -> Nats {
    Nats::try_new([hub.address()]).unwrap()
}

/// A topic at least once.
pub(crate) fn topic(name: &str) -> Topic {
    Topic::new(name).delivery(LEAST)
}

/// An event with a number as its body.
pub(crate) fn numbered(topic: &str, number: u32) -> Message {
    Message::new(topic, number.to_string()).id(format!("{topic}-{number}"))
}

pub(crate) fn number(event: &Event) -> u32 {
    std::str::from_utf8(event.body()).unwrap().parse().unwrap()
}

pub(crate) async fn publish(broker: &Nats, message: Message, delivery: Delivery) {
    let published = broker.publish(message, delivery, Deadline::after(LONG));
    published.await.unwrap();
}

/// Publishes and gives up after this time.
pub(crate) async fn try_publish(
    broker: &Nats,
    message: Message,
    delivery: Delivery,
    time: Duration,
) -> Result<(), Error> {
    let published = broker.publish(message, delivery, Deadline::after(time));
    timeout(time + Duration::from_secs(5), published)
        .await
        .expect("publish ends at its deadline")
}

pub(crate) async fn subscribe(broker: &Nats, topic: &Topic) -> NatsConsumer {
    timeout(LONG, broker.subscribe(topic))
        .await
        .expect("subscribe ends")
        .unwrap()
}

pub(crate) async fn refused(broker: &Nats, topic: &Topic) -> Error {
    let subscribed = timeout(LONG, broker.subscribe(topic)).await;
    let error = subscribed.expect("subscribe ends").map(drop).unwrap_err();
    println!("{error}");
    error
}

pub(crate) async fn item(consumer: &mut NatsConsumer) -> Option<Result<Event, Error>> {
    let next = std::future::poll_fn(|cx| Pin::new(&mut *consumer).poll_next(cx));
    timeout(LONG, next).await.expect("an event comes")
}

pub(crate) async fn next(consumer: &mut NatsConsumer) -> Event {
    item(consumer).await.expect("it goes on").unwrap()
}

/// That nothing comes for this long.
pub(crate) async fn nothing(consumer: &mut NatsConsumer, time: Duration) {
    let next = std::future::poll_fn(|cx| Pin::new(&mut *consumer).poll_next(cx));
    if let Ok(event) = timeout(time, next).await {
        panic!("expected nothing, found {event:?}");
    }
}

/// Receives and acknowledges until all these numbers were there; how many came twice.
pub(crate) async fn drain(consumer: &mut NatsConsumer, mut missing: BTreeSet<u32>) -> usize {
    let mut twice = 0;
    while !missing.is_empty() {
        let event = next(consumer).await;
        if !missing.remove(&number(&event)) {
            twice += 1;
        }
        event.ack().await.unwrap();
    }
    twice
}

pub(crate) async fn close(consumer: NatsConsumer) {
    timeout(LONG, consumer.close()).await.expect("close ends");
}

/// Waits until something holds.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let looks = async {
        while !holds().await {
            sleep(LOOK).await;
        }
    };
    timeout(LONG, looks)
        .await
        .unwrap_or_else(|_| panic!("{what}"));
}
