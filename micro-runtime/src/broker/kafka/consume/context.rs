//! [`Callbacks`]: what the library tells a consumer, within its polls.

use std::sync::Arc;

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError;
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::TopicPartitionList;
use tracing::{debug, warn};

use super::Shared;
use crate::lock::lock;

/// What the library calls back.
pub(super) struct Callbacks(pub(super) Arc<Shared>);

impl ClientContext for Callbacks {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.0.ear.log(level, facility, message);
    }

    fn stats(&self, _: Statistics) {}

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.ear.error(error, reason);
    }
}

impl ConsumerContext for Callbacks {
    /// Partitions go: what is done with is stored first, and the library commits that when it lets them go.
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let Rebalance::Revoke(list) = rebalance else {
            return;
        };
        let partitions = numbers(list);
        debug!(topic = %self.0.topic, ?partitions, "partitions go to other members");
        let to_store = lock(&self.0.state).revoked(partitions);
        for (partition, offset) in to_store {
            if let Err(error) = consumer.store_offset(&self.0.topic, partition, offset) {
                debug!(topic = %self.0.topic, partition, %error, "an offset was not stored");
            }
        }
        self.0.changed.notify_one();
    }

    /// Partitions have come.
    fn post_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(list) => {
                let partitions = numbers(list);
                debug!(topic = %self.0.topic, ?partitions, "partitions come from the group");
                lock(&self.0.state).assigned(partitions);
            }
            Rebalance::Revoke(_) => {}
            Rebalance::Error(error) => {
                warn!(topic = %self.0.topic, %error, "a group could not share its partitions anew");
            }
        }
        self.0.changed.notify_one();
    }
}

/// The partitions of a list, which must not outlive the callback: a list that is alive when its consumer is
/// dropped makes the drop hang.
fn numbers(list: &TopicPartitionList) -> Vec<i32> {
    list.elements()
        .iter()
        .map(|element| element.partition())
        .collect()
}
