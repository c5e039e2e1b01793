//! Handing out again: what failed, when its time has come, and what consumers have left that died.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Pipeline, RedisResult, Value};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, warn};

use super::super::refusal::Refusal;
use super::entry::{self, EntryId};
use super::{BATCH, Shared};
use crate::backoff::jittered;
use crate::lock::lock;

/// How often it is looked for what others have left.
const CLAIM: Duration = Duration::from_secs(1);

/// The pause after a failure.
const PAUSE: Duration = Duration::from_millis(200);

/// Hands out again until the subscription ends.
pub(super) async fn run(shared: &Arc<Shared>) {
    let mut claim = Instant::now();
    let mut cursor = "0-0".to_owned();
    loop {
        wait(shared, claim).await;
        // Waits for a slot before anything is claimed: what nobody could work on is left to others.
        let Ok(first) = Arc::clone(&shared.slots).acquire_owned().await else {
            return;
        };
        let mut slots = vec![first];
        while slots.len() < BATCH
            && let Ok(slot) = Arc::clone(&shared.slots).try_acquire_owned()
        {
            slots.push(slot);
        }
        let Some(mut up) = shared.link.whenever().await else {
            return;
        };
        let done = async {
            hand_out(shared, &mut up.connection, &mut slots).await?;
            if Instant::now() >= claim && !slots.is_empty() {
                claim = Instant::now() + jittered(CLAIM);
                // Nobody else is in a group of our own.
                if !shared.is_own {
                    claimed(shared, &mut up.connection, &mut cursor, slots.len()).await?;
                    hand_out(shared, &mut up.connection, &mut slots).await?;
                }
            }
            Ok(())
        };
        let done: RedisResult<()> = done.await;
        if let Err(error) = done {
            drop(slots);
            let refusal = Refusal::of(&error);
            shared.link.hears(&up, &refusal);
            // Without its group the reader makes one, and what was pending in the old one is gone.
            debug!(topic = %shared.topic, why = refusal.why(), "what is due could not be handed out again");
            claim = claim.max(Instant::now() + PAUSE);
            sleep(jittered(PAUSE)).await;
        }
    }
}

/// Waits until something is due, or it is time to claim.
async fn wait(shared: &Shared, claim: Instant) {
    loop {
        let sooner = shared.sooner.notified();
        let due = lock(&shared.state).due.next_due();
        let next = due.map_or(claim, |due| due.min(claim));
        if next <= Instant::now() {
            return;
        }
        tokio::select! {
            () = sleep_until(next) => return,
            () = sooner => {}
        }
    }
}

/// Hands out what is due, as far as there are slots.
async fn hand_out(
    shared: &Arc<Shared>,
    connection: &mut MultiplexedConnection,
    slots: &mut Vec<OwnedSemaphorePermit>,
) -> RedisResult<()> {
    let now = Instant::now();
    let mut due: Vec<(EntryId, u32)> = Vec::new();
    {
        let mut state = lock(&shared.state);
        while due.len() < slots.len()
            && let Some(id) = state.due.pop_due(now)
        {
            // Its time may have been put off since, and it may be gone.
            if let Some((attempt, at)) = state.waiting.get(&id)
                && *at <= now
            {
                due.push((id, *attempt));
            }
        }
    }
    if due.is_empty() {
        return Ok(());
    }
    // Says the attempt's number, so that whoever has it after us knows it.
    let mut pipeline = Pipeline::with_capacity(due.len());
    for (id, attempt) in &due {
        pipeline
            .cmd("XCLAIM")
            .arg(&shared.key)
            .arg(&shared.group)
            .arg(&shared.consumer)
            .arg(0)
            .arg(id.to_string())
            .arg("RETRYCOUNT")
            .arg(*attempt);
    }
    pipeline.ignore_errors();
    let answers = pipeline
        .query_async::<Vec<RedisResult<Value>>>(connection)
        .await;
    let answers = match answers {
        Ok(answers) => answers,
        Err(error) => {
            postpone(shared, due.iter().map(|(id, _)| *id));
            return Err(error);
        }
    };
    let (mut gone, mut failed) = (Vec::new(), None);
    for ((id, attempt), answer) in due.into_iter().zip(answers) {
        match answer {
            Ok(answer) => match entry::entries(answer).pop() {
                Some(entry) if entry.fields.is_some() => {
                    let Some(slot) = slots.pop() else {
                        postpone(shared, [id]);
                        continue;
                    };
                    shared.hand_out(entry, attempt, slot);
                }
                // Somebody has acknowledged or deleted it, or the stream was cut.
                _ => {
                    lock(&shared.state).waiting.remove(&id);
                    gone.push(id);
                }
            },
            Err(error) if Refusal::of(&error) == Refusal::NoGroup => {
                lock(&shared.state).waiting.remove(&id);
            }
            Err(error) => {
                postpone(shared, [id]);
                failed = Some(error);
            }
        }
    }
    if !gone.is_empty() {
        // Servers before 7.0 let what was deleted stay pending, for ever: nothing behind it would be cut off.
        warn!(topic = %shared.topic, events = gone.len(), "events that waited to be handed out again are gone from their stream, or were acknowledged elsewhere");
        let mut command = redis::cmd("XACK");
        command.arg(&shared.key).arg(&shared.group);
        for id in gone {
            command.arg(id.to_string());
        }
        let _: Value = command.query_async(connection).await?;
    }
    failed.map_or(Ok(()), Err)
}

/// Has what waits wait a little longer.
fn postpone(shared: &Shared, ids: impl IntoIterator<Item = EntryId>) {
    let mut state = lock(&shared.state);
    for id in ids {
        if let Some((attempt, _)) = state.waiting.get(&id).copied() {
            state.wait_for(id, attempt, PAUSE);
        }
    }
}

/// Claims what has been silent for too long, at most so many; it is due at once.
async fn claimed(
    shared: &Shared,
    connection: &mut MultiplexedConnection,
    cursor: &mut String,
    most: usize,
) -> RedisResult<()> {
    let answer: Value = redis::cmd("XAUTOCLAIM")
        .arg(&shared.key)
        .arg(&shared.group)
        .arg(&shared.consumer)
        .arg(u64::try_from(shared.wait.as_millis()).unwrap_or(u64::MAX))
        .arg(&*cursor)
        .arg("COUNT")
        .arg(most)
        .arg("JUSTID")
        .query_async(connection)
        .await?;
    let Value::Array(parts) = answer else {
        return Ok(());
    };
    if let Some(next) = parts.first().and_then(entry::text) {
        next.clone_into(cursor);
    }
    let ids: Vec<EntryId> = match parts.get(1) {
        Some(Value::Array(ids)) => ids.iter().filter_map(EntryId::of).collect(),
        _ => Vec::new(),
    };
    if ids.is_empty() {
        return Ok(());
    }
    let mut pipeline = Pipeline::with_capacity(ids.len());
    for id in &ids {
        let (key, group, id) = (&shared.key, &shared.group, id.to_string());
        let command = pipeline.cmd("XPENDING").arg(key).arg(group);
        command.arg(&id).arg(&id).arg(1);
    }
    let answers: Vec<Value> = pipeline.query_async(connection).await?;
    let mut state = lock(&shared.state);
    for (id, count) in answers.iter().flat_map(entry::pending) {
        if !state.has(id) {
            state.wait_for(id, count.saturating_add(1), Duration::ZERO);
        }
    }
    Ok(())
}
