//! lapin: persistent messages through a quorum queue, with confirms and acknowledgements.
//!
//! On go-micro's wire: the headers as AMQP's, the body as it is, to a durable topic exchange that leads on to go-micro's
//! own, where Go's subscribers are, and a queue that is bound to both.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
    ConfirmSelectOptions, ExchangeBindOptions, ExchangeDeclareOptions, QueueBindOptions,
    QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Connection, ConnectionProperties, ExchangeKind};

use super::{Arrivals, Round};
use crate::Result;

/// Ours has the same.
const EXCHANGE: &str = "micro.durable";

pub(super) async fn run(address: &str, round: &Round) -> Result<(Duration, u64)> {
    let arrivals = Arrivals::new(round.events);
    let queue = round.topic.as_str();
    let connect = || Connection::connect(address, ConnectionProperties::default());
    let (consuming, publishing) = (connect().await?, connect().await?);
    let channel = consuming.create_channel().await?;
    let mut arguments = FieldTable::default();
    arguments.insert(
        "x-queue-type".into(),
        AMQPValue::LongString("quorum".into()),
    );
    let durable = QueueDeclareOptions {
        durable: true,
        ..Default::default()
    };
    channel
        .queue_declare(queue.into(), durable, arguments)
        .await?;
    for (exchange, durable) in [("micro", false), (EXCHANGE, true)] {
        let options = ExchangeDeclareOptions {
            durable,
            ..Default::default()
        };
        let none = FieldTable::default;
        let kind = ExchangeKind::Topic;
        channel
            .exchange_declare(exchange.into(), kind, options, none())
            .await?;
        channel
            .queue_bind(
                queue.into(),
                exchange.into(),
                queue.into(),
                QueueBindOptions::default(),
                none(),
            )
            .await?;
    }
    channel
        .exchange_bind(
            "micro".into(),
            EXCHANGE.into(),
            "#".into(),
            ExchangeBindOptions::default(),
            FieldTable::default(),
        )
        .await?;
    let prefetch = u16::try_from(round.in_flight)?;
    channel
        .basic_qos(prefetch, BasicQosOptions::default())
        .await?;
    let mut deliveries = channel
        .basic_consume(
            queue.into(),
            "bench".into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        )
        .await?;
    let (seen, wire) = (Arc::clone(&arrivals), round.wire.clone());
    let consumer = tokio::spawn(async move {
        while let Some(Ok(delivery)) = deliveries.next().await {
            if wire.read_body(&delivery.data[..]).is_ok()
                && delivery.ack(BasicAckOptions::default()).await.is_ok()
            {
                seen.one();
            }
        }
    });

    let sending = publishing.create_channel().await?;
    sending
        .confirm_select(ConfirmSelectOptions::default())
        .await?;
    let start = Instant::now();
    let mut publishers = tokio::task::JoinSet::new();
    for share in round.shares() {
        let (channel, topic, wire) = (sending.clone(), round.topic.clone(), round.wire.clone());
        publishers.spawn(async move {
            for _ in 0..share {
                let mut headers = FieldTable::default();
                for (name, value) in [
                    ("Content-Type", "application/protobuf"),
                    ("Micro-Topic", topic.as_str()),
                ] {
                    headers.insert(name.into(), AMQPValue::LongString(value.into()));
                }
                let properties = BasicProperties::default()
                    .with_headers(headers)
                    .with_delivery_mode(2);
                let confirm = channel
                    .basic_publish(
                        EXCHANGE.into(),
                        topic.as_str().into(),
                        BasicPublishOptions {
                            mandatory: true,
                            ..Default::default()
                        },
                        &wire.body(),
                        properties,
                    )
                    .await?
                    .await?;
                if !confirm.is_ack() {
                    return Err("the server refused a message".into());
                }
            }
            Ok::<_, crate::Error>(())
        });
    }
    while let Some(done) = publishers.join_next().await {
        done??;
    }
    let missing = arrivals.missing().await;
    let took = start.elapsed();
    channel
        .queue_delete(queue.into(), QueueDeleteOptions::default())
        .await?;
    consumer.abort();
    Ok((took, missing))
}
