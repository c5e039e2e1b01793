//! What the cases share: publishing, receiving, and a client that is not ours.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use lapin::options::{
    BasicPublishOptions, ExchangeDeclareOptions, ExchangeDeleteOptions, QueueDeclareOptions,
    QueueDeleteOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, ExchangeKind};
use micro_runtime::broker::{Broker, Consumer, Delivery, Event, Message, RabbitMq, Topic};
use micro_runtime::{Deadline, Error};
use tokio::time::timeout;

/// The longest that anything may take, on a busy machine.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// How long nothing must come for it to count as nothing.
pub(crate) const CALM: Duration = Duration::from_millis(300);

pub(crate) fn at_least_once(name: &str) -> Topic {
    Topic::new(name).delivery(Delivery::AtLeastOnce)
}

pub(crate) async fn publish(
    broker: &RabbitMq,
    topic: &Topic,
    body: impl Into<Vec<u8>>,
) -> Result<(), Error> {
    let message = Message::new(topic.name(), body.into());
    broker
        .publish(message, topic.level(), Deadline::after(LONG))
        .await
}

/// The next event within this time.
pub(crate) async fn within<C: Consumer>(consumer: &mut C, time: Duration) -> Option<Event> {
    let next = poll_fn(|cx| Pin::new(&mut *consumer).poll_next(cx));
    let event = timeout(time, next).await.ok()?;
    Some(event.expect("a subscription does not end").unwrap())
}

pub(crate) async fn next<C: Consumer>(consumer: &mut C) -> Event {
    within(consumer, LONG).await.expect("no event came")
}

pub(crate) fn text(event: &Event) -> String {
    String::from_utf8_lossy(event.body()).into_owned()
}

/// The bodies of so many events, each acknowledged, sorted.
pub(crate) async fn take<C: Consumer>(consumer: &mut C, count: usize) -> Vec<String> {
    let mut bodies = Vec::new();
    for _ in 0..count {
        let event = next(consumer).await;
        bodies.push(text(&event));
        event.ack().await.unwrap();
    }
    bodies.sort();
    bodies
}

/// A client that is not ours.
pub(crate) struct Raw {
    _connection: Connection,
    channel: Channel,
}

impl Raw {
    pub(crate) async fn connect(address: &str) -> Raw {
        let connection = Connection::connect(address, ConnectionProperties::default());
        let connection = connection.await.unwrap();
        Raw {
            channel: connection.create_channel().await.unwrap(),
            _connection: connection,
        }
    }

    pub(crate) async fn publish(&self, exchange: &str, key: &str, properties: BasicProperties) {
        let options = BasicPublishOptions::default();
        let (exchange, key) = (exchange.into(), key.into());
        let sent = self
            .channel
            .basic_publish(exchange, key, options, b"raw", properties);
        sent.await.unwrap().await.unwrap();
    }

    pub(crate) async fn exchange(&self, name: &str, durable: bool) {
        let options = ExchangeDeclareOptions {
            durable,
            ..ExchangeDeclareOptions::default()
        };
        let (kind, none) = (ExchangeKind::Topic, FieldTable::default());
        let declared = self
            .channel
            .exchange_declare(name.into(), kind, options, none);
        declared.await.unwrap();
    }

    pub(crate) async fn delete_exchange(&self, name: &str) {
        let options = ExchangeDeleteOptions::default();
        let deleted = self.channel.exchange_delete(name.into(), options);
        deleted.await.unwrap();
    }

    pub(crate) async fn delete_queue(&self, name: &str) {
        let options = QueueDeleteOptions::default();
        let deleted = self.channel.queue_delete(name.into(), options);
        deleted.await.unwrap();
    }

    pub(crate) async fn queue(&self, name: &str, arguments: FieldTable) {
        let options = QueueDeclareOptions::durable();
        let declared = self.channel.queue_declare(name.into(), options, arguments);
        declared.await.unwrap();
    }
}
