//! rdkafka: an idempotent producer with all acknowledgements, and a consumer that stores offsets after the work.
//!
//! The producer waits 1 ms for more to send along, as ours does: with the library's default of 5 ms all would wait
//! for that alone, with so few in flight.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::message::Message as _;
use rdkafka::producer::{FutureProducer, FutureRecord};

use super::{Arrivals, Round};
use crate::Result;

pub(super) async fn run(address: &str, round: &Round) -> Result<(Duration, u64)> {
    let arrivals = Arrivals::new(round.events);
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", address);
    let admin: AdminClient<DefaultClientContext> = config.create()?;
    let topic = NewTopic::new(&round.topic, 3, TopicReplication::Fixed(1));
    admin.create_topics([&topic], &AdminOptions::new()).await?;

    let consumer: StreamConsumer = config
        .clone()
        .set("group.id", &round.topic)
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.offset.store", "false")
        .set("auto.commit.interval.ms", "500")
        .create()?;
    consumer.subscribe(&[&round.topic])?;
    let consumer = Arc::new(consumer);
    let (seen, wire) = (Arc::clone(&arrivals), round.wire.clone());
    let receiving = Arc::clone(&consumer);
    let consuming = tokio::spawn(async move {
        loop {
            let Ok(message) = receiving.recv().await else {
                continue;
            };
            if wire
                .read_message(message.payload().unwrap_or_default())
                .is_ok()
                && receiving.store_offset_from_message(&message).is_ok()
            {
                seen.one();
            }
        }
    });
    while consumer.assignment()?.count() == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    let producer: FutureProducer = config
        .clone()
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("linger.ms", "1")
        .create()?;
    let start = Instant::now();
    let mut publishers = tokio::task::JoinSet::new();
    for share in round.shares() {
        let (producer, topic, wire) = (producer.clone(), round.topic.clone(), round.wire.clone());
        publishers.spawn(async move {
            for _ in 0..share {
                let message = wire.message();
                let record = FutureRecord::<(), _>::to(&topic).payload(&message[..]);
                let sent = producer.send(record, Duration::from_secs(60)).await;
                sent.map_err(|(error, _)| error)?;
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
    let _ = consuming.await;
    // Its drop blocks while it leaves its group.
    tokio::task::spawn_blocking(move || drop(consumer)).await?;
    Ok((took, missing))
}
