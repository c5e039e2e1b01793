//! The loop of a subscription: reads, hands out, stores what is done with.
//!
//! The library wants to be polled whatever happens: a member that does not poll holds up the whole group while
//! partitions are shared out, and is thrown out after five minutes. So when no slot is free for a moment, the
//! partitions are paused, and it is polled on.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::topic_partition_list::TopicPartitionList;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::debug;

use super::super::client::Refusal;
use super::{Client, Share, Shared, begin};
use crate::backoff::Backoff;
use crate::broker::Delivery;
use crate::lock::lock;

/// How long a handler may keep us from polling. A pause throws away what was fetched ahead, so that it is not
/// made for every event.
const PATIENCE: Duration = Duration::from_millis(500);

type Ready = oneshot::Sender<Result<(), Refusal>>;

/// Runs until the subscription ends, and then lets go of the client, which leaves the group.
pub(super) async fn run(
    shared: Arc<Shared>,
    share: Share,
    mut gone: mpsc::Receiver<()>,
    mut leaving: watch::Receiver<bool>,
    ready: Ready,
) {
    let ended = tokio::select! {
        () = ends(&mut leaving) => None,
        ended = work(&shared, &share, ready) => ended,
    };
    if let Some(refusal) = ended {
        shared.fails(refusal);
    }
    if let Some(client) = share.get() {
        store(&shared, client);
    }
    // It commits what is stored, says goodbye to the group and blocks meanwhile.
    drop(share);
    while gone.recv().await.is_some() {}
}

/// Resolves when the subscription ends, or has ended.
async fn ends(leaving: &mut watch::Receiver<bool>) {
    // It has ended, too, when it is gone without a word.
    let _ = leaving.wait_for(|leaving| *leaving).await;
}

/// Works until it cannot go on.
async fn work(shared: &Arc<Shared>, share: &Share, ready: Ready) -> Option<Refusal> {
    let client = share.get()?;
    let mut ready = Some(ready);
    let (first, longest) = super::super::PAUSES;
    let mut backoff = Backoff::new(first, longest);
    loop {
        let (beginner, with) = (Arc::clone(shared), share.clone());
        let begun = tokio::select! {
            begun = tokio::task::spawn_blocking(move || begin::begin(&beginner, &with)) => begun,
            refusal = shared.ear.refused() => Ok(Err(refusal)),
        };
        match begun {
            Ok(Ok(())) => break,
            Ok(Err(refusal @ Refusal::Config(_))) => {
                say(&mut ready, Err(refusal));
                return None;
            }
            Ok(Err(refusal)) => shared.ear.fails(&refusal),
            Err(_) => return None,
        }
        sleep(backoff.next()).await;
    }
    if !shared.is_member {
        tokio::spawn(begin::follow(
            Arc::clone(shared),
            share.downgrade(),
            share.1.downgrade(),
        ));
    }
    let mut paused = false;
    let mut slot: Option<OwnedSemaphorePermit> = None;
    // Since when there is no slot, or no room.
    let mut without = Instant::now();
    let mut was_reading = false;
    loop {
        store(shared, client);
        let (is_assigned, has_changed, is_full, next_due) = {
            let mut state = lock(&shared.state);
            let has_changed = std::mem::take(&mut state.has_changed);
            (
                state.is_assigned,
                has_changed,
                state.is_full(),
                state.next_due(),
            )
        };
        if is_assigned && ready.is_some() {
            shared.ear.works();
            say(&mut ready, Ok(()));
        }
        if let Some(taken) = slot.take() {
            let due = lock(&shared.state).due();
            if let Some(due) = due {
                shared.hand_out(due.place, due.payload, due.attempt, taken);
                continue;
            }
            slot = Some(taken);
        }
        let reads = slot.is_some() && !is_full;
        if reads || was_reading {
            without = Instant::now();
        }
        was_reading = reads;
        let pauses = !reads && without.elapsed() >= PATIENCE;
        if pauses != paused && (pauses || reads) || pauses && has_changed {
            paused = pauses;
            hold(shared, client, paused);
        }
        // A slot is needed for what is due.
        let due = next_due.filter(|_| slot.is_some());
        tokio::select! {
            biased;
            () = shared.changed.notified() => {}
            free = Arc::clone(&shared.slots).acquire_owned(), if slot.is_none() => slot = free.ok(),
            () = sleep_until(due.unwrap_or(without)), if due.is_some() => {}
            () = sleep_until(without + PATIENCE), if !reads && !paused => {}
            refusal = shared.ear.refused(), if ready.is_some() => {
                say(&mut ready, Err(refusal));
                return None;
            }
            received = client.recv(), if reads || paused => match received {
                Ok(message) => {
                    shared.ear.works();
                    let payload = Bytes::copy_from_slice(message.payload().unwrap_or_default());
                    let (partition, offset) = (message.partition(), message.offset());
                    drop(message);
                    take(shared, &mut slot, partition, offset, payload);
                }
                Err(KafkaError::MessageConsumptionFatal(code)) => {
                    return Some(Refusal::of_code(code));
                }
                Err(error) => {
                    let refusal = Refusal::of(&error);
                    shared.ear.fails(&refusal);
                    if let Refusal::Config(_) = refusal && ready.is_some() {
                        say(&mut ready, Err(refusal));
                        return None;
                    }
                }
            },
        }
    }
}

/// Takes an event that was read.
fn take(
    shared: &Arc<Shared>,
    slot: &mut Option<OwnedSemaphorePermit>,
    partition: i32,
    offset: i64,
    payload: Bytes,
) {
    let place = lock(&shared.state).begin(partition, offset);
    let Some(place) = place else {
        debug!(topic = %shared.topic, partition, offset, "an event came that is here already, or not ours");
        return;
    };
    if shared.level == Delivery::AtMostOnce {
        // It counts as done with from here on.
        lock(&shared.state).done(place);
    }
    match slot.take() {
        Some(slot) => shared.hand_out(place, payload, 1, slot),
        // It was under way when the partitions were paused.
        None => {
            lock(&shared.state).wait_for(place, payload, 1, Duration::ZERO);
        }
    }
}

/// Stores what is done with; the library commits it soon.
fn store(shared: &Shared, client: &Client) {
    let to_store = lock(&shared.state).take_stores();
    if !shared.is_member {
        return;
    }
    for (partition, offset) in to_store {
        if let Err(error) = client.store_offset(&shared.topic, partition, offset) {
            debug!(topic = %shared.topic, partition, %error, "an offset was not stored");
        }
    }
}

/// Pauses our partitions, or lets them go on.
fn hold(shared: &Shared, client: &Client, paused: bool) {
    let mut list = TopicPartitionList::new();
    for partition in lock(&shared.state).partitions() {
        list.add_partition(&shared.topic, partition);
    }
    let done = if paused {
        client.pause(&list)
    } else {
        client.resume(&list)
    };
    if let Err(error) = done {
        debug!(topic = %shared.topic, %error, paused, "partitions could not be held");
    }
}

fn say(ready: &mut Option<Ready>, what: Result<(), Refusal>) {
    if let Some(ready) = ready.take() {
        // Who subscribed may have gone.
        let _ = ready.send(what);
    }
}
