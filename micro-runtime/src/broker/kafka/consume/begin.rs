//! Where a subscription begins.
//!
//! Subscribers without a queue take all partitions by themselves, from the end of each as it is when they
//! subscribe. That needs no group, whose end would be found out some time after the assignment, and which would
//! have to be deleted; and partitions need not be shared out.
//!
//! A queue at most once begins at the end as well, which is written down for its group before the first member
//! joins; one at least once begins with the oldest event that is there.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tracing::{debug, info};

use super::super::client::Refusal;
use super::{Client, Share, Shared};
use crate::backoff::jittered;
use crate::broker::Delivery;
use crate::lock::lock;

/// How long a server may take to answer one question.
const ANSWER: Duration = Duration::from_secs(5);

/// How often it is looked for new partitions.
const LOOK: Duration = Duration::from_secs(30);

/// Begins; blocks until the server has answered.
pub(super) fn begin(shared: &Arc<Shared>, share: &Share) -> Result<(), Refusal> {
    let Some(client) = share.get() else {
        return Ok(());
    };
    let refusal = |error: KafkaError| Refusal::of(&error);
    if !shared.is_member {
        let ends = ends(shared, client)?;
        let list = list(
            &shared.topic,
            ends.iter().map(|(number, end)| (*number, *end)),
        )?;
        lock(&shared.state).assigned(ends.into_keys());
        return client.assign(&list).map_err(refusal);
    }
    if shared.level == Delivery::AtMostOnce {
        mark(shared, client)?;
    }
    client.subscribe(&[&shared.topic]).map_err(refusal)
}

/// Writes down the ends of the partitions for a group that has no place in them yet.
fn mark(shared: &Shared, client: &Client) -> Result<(), Refusal> {
    let refusal = |error: KafkaError| Refusal::of(&error);
    let mut unknown = TopicPartitionList::new();
    for partition in partitions(shared, client)? {
        unknown.add_partition(&shared.topic, partition);
    }
    let committed = client.committed_offsets(unknown, ANSWER).map_err(refusal)?;
    let mut new = Vec::new();
    for element in committed.elements() {
        if matches!(element.offset(), Offset::Invalid) {
            let (_, end) = client
                .fetch_watermarks(&shared.topic, element.partition(), ANSWER)
                .map_err(refusal)?;
            new.push((element.partition(), end));
        }
    }
    if new.is_empty() {
        return Ok(());
    }
    match client.commit(&list(&shared.topic, new)?, CommitMode::Sync) {
        // Another member has joined meanwhile, and has done this.
        Err(KafkaError::ConsumerCommit(
            Code::UnknownMemberId | Code::IllegalGeneration | Code::RebalanceInProgress,
        )) => Ok(()),
        done => done.map_err(refusal),
    }
}

/// The partitions of the topic.
fn partitions(shared: &Shared, client: &Client) -> Result<Vec<i32>, Refusal> {
    let found = client
        .fetch_metadata(Some(&shared.topic), ANSWER)
        .map_err(|error| Refusal::of(&error))?;
    let topic = found
        .topics()
        .iter()
        .find(|topic| topic.name() == shared.topic);
    let numbers: Vec<i32> = match topic {
        Some(topic) => match topic.error() {
            Some(error) => return Err(Refusal::of(&KafkaError::MetadataFetch(error.into()))),
            None => topic
                .partitions()
                .iter()
                .map(|partition| partition.id())
                .collect(),
        },
        None => Vec::new(),
    };
    if numbers.is_empty() {
        return Err(Refusal::Away("the topic has no partitions yet".to_owned()));
    }
    Ok(numbers)
}

/// The end of each partition.
fn ends(shared: &Shared, client: &Client) -> Result<BTreeMap<i32, i64>, Refusal> {
    let mut ends = BTreeMap::new();
    for partition in partitions(shared, client)? {
        let (_, end) = client
            .fetch_watermarks(&shared.topic, partition, ANSWER)
            .map_err(|error| Refusal::of(&error))?;
        ends.insert(partition, end);
    }
    Ok(ends)
}

fn list(
    topic: &str,
    offsets: impl IntoIterator<Item = (i32, i64)>,
) -> Result<TopicPartitionList, Refusal> {
    let mut list = TopicPartitionList::new();
    for (partition, offset) in offsets {
        list.add_partition_offset(topic, partition, Offset::Offset(offset))
            .map_err(|error| Refusal::of(&error))?;
    }
    Ok(list)
}

/// Takes partitions that are added to the topic, from their beginning, until the subscription ends.
pub(super) async fn follow(shared: Arc<Shared>, client: Weak<Client>, alive: mpsc::WeakSender<()>) {
    loop {
        sleep(jittered(LOOK)).await;
        let (shared, client, alive) = (Arc::clone(&shared), client.clone(), alive.clone());
        // Asked for and let go on a thread that may wait.
        let looked = tokio::task::spawn_blocking(move || {
            let (Some(client), Some(alive)) = (client.upgrade(), alive.upgrade()) else {
                return false;
            };
            let share = Share(Some(client), alive);
            let Some(client) = share.get() else {
                return false;
            };
            let Ok(found) = partitions(&shared, client) else {
                return true;
            };
            let known = lock(&shared.state).partitions();
            let new: Vec<i32> = found
                .into_iter()
                .filter(|number| !known.contains(number))
                .collect();
            if new.is_empty() {
                return true;
            }
            info!(topic = %shared.topic, ?new, "a topic has more partitions");
            let Ok(list) = list(&shared.topic, new.iter().map(|number| (*number, 0))) else {
                return true;
            };
            lock(&shared.state).assigned(new.iter().copied());
            if let Err(error) = client.incremental_assign(&list) {
                debug!(topic = %shared.topic, %error, "new partitions could not be taken");
                lock(&shared.state).revoked(new);
            }
            shared.changed.notify_one();
            true
        });
        if !looked.await.unwrap_or(false) {
            return;
        }
    }
}
