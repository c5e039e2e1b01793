//! redis: PUBLISH and SUBSCRIBE, and a stream with a group.
//!
//! What goes into a stream is told to the channel of the topic, too, in the same round trip: Go's subscribers listen
//! there, and ours does so unless it is told not to.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use redis::AsyncCommands as _;
use redis::streams::{StreamReadOptions, StreamReadReply};

use super::{Arrivals, Round};
use crate::Result;

/// The longest wait for an entry.
const BLOCK_MILLIS: usize = 500;

fn client(address: &str) -> Result<redis::Client> {
    let url = if address.contains("://") {
        address.to_owned()
    } else {
        format!("redis://{address}")
    };
    Ok(redis::Client::open(url)?)
}

pub(super) async fn publish(address: &str, round: &Round) -> Result<(Duration, u64)> {
    let arrivals = Arrivals::new(round.events);
    let client = client(address)?;
    let mut listening = client.get_async_pubsub().await?;
    listening.subscribe(&round.topic).await?;
    let (seen, wire) = (Arc::clone(&arrivals), round.wire.clone());
    let consumer = tokio::spawn(async move {
        let mut messages = listening.on_message();
        while let Some(message) = messages.next().await {
            if wire.read_message(message.get_payload_bytes()).is_ok() {
                seen.one();
            }
        }
    });
    let connection = client.get_multiplexed_async_connection().await?;
    let start = Instant::now();
    let mut publishers = tokio::task::JoinSet::new();
    for share in round.shares() {
        let (mut connection, topic, wire) =
            (connection.clone(), round.topic.clone(), round.wire.clone());
        publishers.spawn(async move {
            for _ in 0..share {
                let _: usize = connection.publish(&topic, &wire.message()[..]).await?;
            }
            Ok::<_, crate::Error>(())
        });
    }
    while let Some(done) = publishers.join_next().await {
        done??;
    }
    let missing = arrivals.missing().await;
    let took = start.elapsed();
    consumer.abort();
    Ok((took, missing))
}

pub(super) async fn stream(address: &str, round: &Round) -> Result<(Duration, u64)> {
    let arrivals = Arrivals::new(round.events);
    let client = client(address)?;
    let patient =
        redis::AsyncConnectionConfig::new().set_response_timeout(Some(Duration::from_secs(10)));
    let mut reading = client
        .get_multiplexed_async_connection_with_config(&patient)
        .await?;
    let connection = client.get_multiplexed_async_connection().await?;
    let _: () = reading
        .xgroup_create_mkstream(&round.topic, "bench", "$")
        .await?;
    let (seen, topic, wire) = (
        Arc::clone(&arrivals),
        round.topic.clone(),
        round.wire.clone(),
    );
    let mut acking = connection.clone();
    let options = StreamReadOptions::default()
        .group("bench", "one")
        .count(round.in_flight)
        .block(BLOCK_MILLIS);
    let consumer = tokio::spawn(async move {
        loop {
            let reply: Option<StreamReadReply> = reading
                .xread_options(&[&topic], &[">"], &options)
                .await
                .ok()
                .flatten();
            for key in reply.into_iter().flat_map(|reply| reply.keys) {
                let read = key.ids.iter().filter(|entry| {
                    let message: Option<Vec<u8>> = entry.get("m");
                    message.is_some_and(|message| wire.read_message(&message).is_ok())
                });
                let ids: Vec<_> = read.map(|entry| entry.id.as_str()).collect();
                let acked: usize = acking.xack(&topic, "bench", &ids).await.unwrap_or(0);
                (0..acked).for_each(|_| seen.one());
            }
        }
    });
    let start = Instant::now();
    let mut publishers = tokio::task::JoinSet::new();
    for share in round.shares() {
        let (mut connection, topic, wire) =
            (connection.clone(), round.topic.clone(), round.wire.clone());
        publishers.spawn(async move {
            for _ in 0..share {
                let message = wire.message();
                let _: (String, usize) = redis::pipe()
                    .xadd(&topic, "*", &[("m", &message[..])])
                    .publish(&topic, &message[..])
                    .query_async(&mut connection)
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
    consumer.abort();
    let mut connection = connection;
    let _: usize = connection.del(&round.topic).await?;
    Ok((took, missing))
}
