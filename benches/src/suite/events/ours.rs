//! Our publisher and subscription.

use std::sync::Arc;
use std::time::{Duration, Instant};

use micro_runtime::Context;
use micro_runtime::broker::{self, AnyBroker, Broker as _, Delivery, Publisher, Topic};
use tokio::task::JoinSet;

use super::{Arrivals, Round};
use crate::Result;
use crate::proto::ours::Request;

/// The time that all events took, and how many are missing.
pub(super) async fn run(
    broker: &AnyBroker,
    delivery: Delivery,
    round: &Round,
) -> Result<(Duration, u64)> {
    let arrivals = Arrivals::new(round.events);
    let mut topic = Topic::new(&round.topic)
        .delivery(delivery)
        .concurrency(round.in_flight);
    if delivery == Delivery::AtLeastOnce {
        topic = topic.queue("bench");
    }
    let seen = Arc::clone(&arrivals);
    let subscription = broker::subscribe(broker, topic, move |_: Context, _: Request| {
        seen.one();
        std::future::ready(Ok(()))
    })?;
    subscription.ready().await?;
    let publisher = Publisher::<Request>::new(broker, &round.topic)
        .delivery(delivery)?
        .timeout(Duration::from_secs(60));

    let start = Instant::now();
    let mut publishers = JoinSet::new();
    let mut left = if round.bursts { round.events } else { 0 };
    while left > 0 {
        let burst = left.min(round.in_flight);
        publisher
            .publish_all(std::iter::repeat_n(&round.event, burst))
            .await?;
        left -= burst;
    }
    for share in round.shares().filter(|_| !round.bursts) {
        let (publisher, event) = (publisher.clone(), round.event.clone());
        publishers.spawn(async move {
            for _ in 0..share {
                publisher.publish(&event).await?;
            }
            Ok::<_, micro_runtime::Error>(())
        });
    }
    while let Some(done) = publishers.join_next().await {
        done??;
    }
    let missing = arrivals.missing().await;
    let took = start.elapsed();
    subscription.stop(Duration::from_secs(5)).await;
    broker.close().await;
    Ok((took, missing))
}
