//! async-nats: core, and JetStream.
//!
//! Core: `flush()` resolves when the library has written to its socket, not when the server has read it. What tells is a
//! message to oneself behind the others: the server handles what comes on a connection in order, so when it is back,
//! the server has them all. One such round trip for each burst of what is in flight.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::jetstream;
use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::message::PublishMessage;
use futures_util::StreamExt as _;
use micro_runtime::bytes::Bytes;

use super::{Arrivals, Round};
use crate::Result;

/// Publishes what is in flight, then waits until the server has it: what is promised at most once.
pub(super) async fn core(address: &str, round: &Round) -> Result<(Duration, u64)> {
    let arrivals = Arrivals::new(round.events);
    let subscribing = async_nats::ConnectOptions::new()
        .subscription_capacity(1 << 20)
        .connect(address)
        .await?;
    let mut messages = subscribing.subscribe(round.topic.clone()).await?;
    subscribing.flush().await?;
    let (seen, wire) = (Arc::clone(&arrivals), round.wire.clone());
    let consumer = tokio::spawn(async move {
        while let Some(message) = messages.next().await {
            if wire.read_message(&message.payload).is_ok() {
                seen.one();
            }
        }
    });
    let client = async_nats::connect(address).await?;
    let inbox = client.new_inbox();
    let mut echoes = client.subscribe(inbox.clone()).await?;
    let start = Instant::now();
    let mut left = round.events;
    while left > 0 {
        let burst = left.min(round.in_flight);
        for _ in 0..burst {
            client
                .publish(round.topic.clone(), round.wire.message())
                .await?;
        }
        client.publish(inbox.clone(), Bytes::new()).await?;
        echoes.next().await.ok_or("the connection was closed")?;
        left -= burst;
    }
    let missing = arrivals.missing().await;
    let took = start.elapsed();
    consumer.abort();
    Ok((took, missing))
}

/// Publishes under an id, by which the stream drops what it has, and waits until it is stored; acknowledges each event
/// that was read.
pub(super) async fn jetstream(address: &str, round: &Round) -> Result<(Duration, u64)> {
    let arrivals = Arrivals::new(round.events);
    let context = jetstream::new(async_nats::connect(address).await?);
    let name = round.topic.replace('.', "-");
    let stream = context
        .create_stream(jetstream::stream::Config {
            name: name.clone(),
            subjects: vec![round.topic.clone()],
            ..Default::default()
        })
        .await?;
    let consumer = stream
        .create_consumer(pull::Config {
            durable_name: Some("bench".to_owned()),
            ack_policy: AckPolicy::Explicit,
            max_ack_pending: 65_536,
            ..Default::default()
        })
        .await?;
    let mut messages = consumer.messages().await?;
    let (seen, wire) = (Arc::clone(&arrivals), round.wire.clone());
    let consuming = tokio::spawn(async move {
        while let Some(message) = messages.next().await {
            let done = match message {
                Ok(message) => {
                    wire.read_message(&message.payload).is_ok() && message.ack().await.is_ok()
                }
                Err(error) => {
                    eprintln!("async-nats says: {error}");
                    false
                }
            };
            if done {
                seen.one();
            }
        }
    });
    let publishing = jetstream::new(async_nats::connect(address).await?);
    let start = Instant::now();
    let mut left = if round.bursts { round.events } else { 0 };
    while left > 0 {
        let burst = left.min(round.in_flight);
        let mut answers = Vec::with_capacity(burst);
        for _ in 0..burst {
            let id = round.wire.id();
            let message = PublishMessage::build()
                .payload(round.wire.message_of(&id))
                .message_id(&id);
            let answer = publishing.send_publish(round.topic.clone(), message);
            answers.push(answer.await?);
        }
        for answer in answers {
            answer.await?;
        }
        left -= burst;
    }
    let mut publishers = tokio::task::JoinSet::new();
    for share in round.shares().filter(|_| !round.bursts) {
        let (context, subject, wire) =
            (publishing.clone(), round.topic.clone(), round.wire.clone());
        publishers.spawn(async move {
            for _ in 0..share {
                let id = wire.id();
                let message = PublishMessage::build()
                    .payload(wire.message_of(&id))
                    .message_id(&id);
                context
                    .send_publish(subject.clone(), message)
                    .await?
                    .await?;
            }
            Ok::<_, crate::Error>(())
        });
    }
    while let Some(done) = publishers.join_next().await {
        done??;
    }
    let missing = arrivals.missing().await;
    let took = start.elapsed();
    consuming.abort();
    context.delete_stream(&name).await?;
    Ok((took, missing))
}
