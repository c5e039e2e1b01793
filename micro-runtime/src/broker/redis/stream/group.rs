//! The group: making it, leaving it, and looking after what the dead have left behind.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Pipeline, RedisResult, Value};
use tokio::time::{Instant, sleep};
use tracing::{debug, info, warn};

use super::super::link::{FIRST_PAUSE, LONGEST_PAUSE};
use super::super::refusal::Refusal;
use super::entry::{self, EntryId};
use super::settle::{give_back, idle_until, until_done};
use super::{Shared, read};
use crate::backoff::{Backoff, jittered};
use crate::broker::common::outage::Outage;
use crate::deadline::Deadline;
use crate::error::Error;
use crate::lock::lock;

/// How often what every group has acknowledged is cut off, and the dead are looked for.
const TRIM: Duration = Duration::from_secs(10);
const BURY: Duration = Duration::from_secs(60);

/// A consumer that was not heard of for so long is dead. Living ones are heard of every second, or, while all their
/// handlers are at work, when they say what they keep.
pub(super) const DEAD: Duration = Duration::from_secs(3600);

/// How long one try to make a group waits for a connection.
const TRY: Duration = Duration::from_secs(5);

/// Removes a consumer that has nothing pending: what it had would be lost with it. In one step, since the
/// server may hand it something at any time.
const REMOVE: &str = "if #redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2]) == 0 then \
     return redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2]) end return 0";

/// Makes sure of the group, however long that takes.
///
/// # Errors
/// We are refused.
pub(super) async fn begin(shared: &Shared) -> Result<(), Error> {
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    let mut outage = Outage::new(format!("redis (subscribing to {})", shared.topic));
    let doing = format!("cannot subscribe to {:?}", shared.topic);
    loop {
        match shared.link.connection(Deadline::after(TRY)).await {
            Ok(mut up) => {
                let made = async {
                    if shared.is_own {
                        let last = newest(shared, &mut up.connection).await?;
                        lock(&shared.state).last = last;
                    }
                    make(shared, &mut up.connection).await
                };
                match made.await {
                    Ok(()) => return Ok(()),
                    Err(refusal) if refusal.is_final() => return Err(refusal.into_error(&doing)),
                    Err(refusal) => {
                        shared.link.hears(&up, &refusal);
                        outage.goes_on(refusal.why());
                    }
                }
            }
            Err(error) if error.kind() == crate::error::ErrorKind::Broker => {
                outage.goes_on(&error);
            }
            Err(error) => return Err(error),
        }
        sleep(backoff.next()).await;
    }
}

/// Makes the group anew after it was lost with the server's data, or removed.
pub(super) async fn again(
    shared: &Shared,
    connection: &mut MultiplexedConnection,
) -> Result<(), Refusal> {
    warn!(topic = %shared.topic, group = %shared.group, "a group of a stream is gone, and made again; does the server keep its data (appendonly yes)?");
    let newest = newest(shared, connection).await?;
    {
        let mut state = lock(&shared.state);
        if newest < state.last {
            // The stream is another one, whose entries we have not seen.
            state.last = EntryId::default();
        }
    }
    make(shared, connection).await
}

/// A queue begins with the oldest entry that is there, since all of them were published to be received; a group
/// of one subscriber begins behind the last entry that it knows of.
async fn make(shared: &Shared, connection: &mut MultiplexedConnection) -> Result<(), Refusal> {
    let from = if shared.is_own {
        lock(&shared.state).last
    } else {
        EntryId::default()
    };
    let mut pipeline = Pipeline::with_capacity(2);
    pipeline
        .cmd("XGROUP")
        .arg("CREATE")
        .arg(&shared.key)
        .arg(&shared.group)
        .arg(from.to_string())
        .arg("MKSTREAM");
    // In one step: a group without a consumer is one that somebody has left.
    pipeline
        .cmd("XGROUP")
        .arg("CREATECONSUMER")
        .arg(&shared.key)
        .arg(&shared.group)
        .arg(&shared.consumer);
    pipeline.atomic().ignore_errors();
    let answers = pipeline
        .query_async::<Vec<RedisResult<Value>>>(connection)
        .await
        .map_err(|error| Refusal::of(&error))?;
    for answer in answers {
        match answer {
            Err(error) if error.code() == Some("BUSYGROUP") => {}
            Err(error) => return Err(Refusal::of(&error)),
            Ok(_) => {}
        }
    }
    Ok(())
}

/// The newest entry of the stream.
async fn newest(
    shared: &Shared,
    connection: &mut MultiplexedConnection,
) -> Result<EntryId, Refusal> {
    let answer: RedisResult<Value> = redis::cmd("XINFO")
        .arg("STREAM")
        .arg(&shared.key)
        .query_async(connection)
        .await;
    match answer {
        Ok(answer) => {
            let last = entry::named(&answer, "last-generated-id").and_then(EntryId::of);
            Ok(last.unwrap_or_default())
        }
        Err(error) if error.to_string().contains("no such key") => Ok(EntryId::default()),
        Err(error) => Err(Refusal::of(&error)),
    }
}

/// Leaves the group: what we have goes back, and what is our own is removed.
pub(super) async fn leave(shared: &Shared) {
    let mut outage = Outage::new(format!("redis (leaving {})", shared.topic));
    let mut pipeline = Pipeline::new();
    if shared.is_own {
        pipeline
            .cmd("XGROUP")
            .arg("DESTROY")
            .arg(&shared.key)
            .arg(&shared.group);
    } else {
        // The server may have handed us more than we have heard of.
        loop {
            let Some(mut up) = shared.link.whenever().await else {
                return;
            };
            let Ok(page) = read::owned(shared, &mut up.connection, None).await else {
                return;
            };
            if page.is_empty() {
                break;
            }
            let mut pipeline = Pipeline::with_capacity(page.len());
            let now = Instant::now();
            {
                let state = lock(&shared.state);
                for (id, count) in page {
                    let (attempt, due_in) = match (state.living.get(&id), state.waiting.get(&id)) {
                        (Some(attempt), _) => (*attempt, Duration::ZERO),
                        (None, Some((attempt, due))) => {
                            (*attempt, due.saturating_duration_since(now))
                        }
                        (None, None) => (count, Duration::ZERO),
                    };
                    let idle = idle_until(shared, due_in);
                    give_back(&mut pipeline, shared, id, attempt, idle);
                }
            }
            if until_done(shared, &mut pipeline, &mut outage)
                .await
                .is_err()
            {
                return;
            }
        }
        remove(&mut pipeline, shared, &shared.group, &shared.consumer);
    }
    if let Err(refusal) = until_done(shared, &mut pipeline, &mut outage).await {
        debug!(topic = %shared.topic, why = refusal.why(), "a group was left without a word");
    }
}

fn remove(pipeline: &mut Pipeline, shared: &Shared, group: &str, consumer: &str) {
    pipeline
        .cmd("EVAL")
        .arg(REMOVE)
        .arg(1)
        .arg(&shared.key)
        .arg(group)
        .arg(consumer);
}

/// Cuts off what every group has acknowledged, and removes consumers and groups of the dead, until the
/// subscription ends. Every subscriber does so: it is little, and nobody has to be the one.
pub(super) async fn look_after(shared: &Arc<Shared>) {
    let mut bury = Instant::now() + jittered(BURY);
    loop {
        sleep(jittered(TRIM)).await;
        let Some(mut up) = shared.link.whenever().await else {
            return;
        };
        let connection = &mut up.connection;
        let done = async {
            let groups = groups(shared, connection).await?;
            trim(shared, connection, &groups).await?;
            if Instant::now() >= bury {
                bury = Instant::now() + jittered(BURY);
                for (group, _) in &groups {
                    bury_in(shared, connection, group).await?;
                }
            }
            RedisResult::Ok(())
        };
        if let Err(error) = done.await {
            debug!(topic = %shared.topic, %error, "a stream could not be looked after");
        }
    }
}

/// The groups of the stream, each with the last entry that was handed to somebody in it.
async fn groups(
    shared: &Shared,
    connection: &mut MultiplexedConnection,
) -> RedisResult<Vec<(String, EntryId)>> {
    let answer: Value = redis::cmd("XINFO")
        .arg("GROUPS")
        .arg(&shared.key)
        .query_async(connection)
        .await?;
    let Value::Array(groups) = answer else {
        return Ok(Vec::new());
    };
    let one = |group: &Value| {
        let name = entry::named(group, "name").and_then(entry::text)?;
        let last = entry::named(group, "last-delivered-id").and_then(EntryId::of)?;
        Some((name.to_owned(), last))
    };
    Ok(groups.iter().filter_map(one).collect())
}

/// Cuts off what lies before the oldest entry that some group has not acknowledged.
async fn trim(
    shared: &Shared,
    connection: &mut MultiplexedConnection,
    groups: &[(String, EntryId)],
) -> RedisResult<()> {
    let mut keep_from: Option<EntryId> = None;
    for (group, last) in groups {
        // In this order: what was handed out since `last` was read lies behind it, and is kept.
        let summary: Value = redis::cmd("XPENDING")
            .arg(&shared.key)
            .arg(group)
            .query_async(connection)
            .await?;
        let oldest = match &summary {
            Value::Array(parts) => parts.get(1).and_then(EntryId::of),
            _ => None,
        };
        let next = last.next();
        let from = oldest.map_or(next, |oldest| oldest.min(next));
        keep_from = Some(keep_from.map_or(from, |least| least.min(from)));
    }
    let Some(keep_from) = keep_from else {
        return Ok(());
    };
    // Whole nodes of the stream alone ("~"): far cheaper, and up to 100 entries more stay.
    let cut: i64 = redis::cmd("XTRIM")
        .arg(&shared.key)
        .arg("MINID")
        .arg("~")
        .arg(keep_from.to_string())
        .query_async(connection)
        .await?;
    if cut > 0 {
        debug!(topic = %shared.topic, cut, "acknowledged entries were cut off");
    }
    Ok(())
}

/// Removes what is dead in a group.
async fn bury_in(
    shared: &Shared,
    connection: &mut MultiplexedConnection,
    group: &str,
) -> RedisResult<()> {
    let answer: Value = redis::cmd("XINFO")
        .arg("CONSUMERS")
        .arg(&shared.key)
        .arg(group)
        .query_async(connection)
        .await?;
    let Value::Array(consumers) = answer else {
        return Ok(());
    };
    let is_dead = |consumer: &Value| match entry::named(consumer, "idle") {
        Some(Value::Int(idle)) => u128::try_from(*idle).is_ok_and(|idle| idle > DEAD.as_millis()),
        _ => false,
    };
    if group.starts_with('~') {
        if consumers.iter().all(is_dead) {
            info!(topic = %shared.topic, group, "the group of a subscriber that died is removed");
            let mut command = redis::cmd("XGROUP");
            command.arg("DESTROY").arg(&shared.key).arg(group);
            let _: Value = command.query_async(connection).await?;
        }
        return Ok(());
    }
    let mut pipeline = Pipeline::new();
    for consumer in consumers.iter().filter(|consumer| is_dead(consumer)) {
        if let Some(name) = entry::named(consumer, "name").and_then(entry::text) {
            remove(&mut pipeline, shared, group, name);
        }
    }
    if !pipeline.is_empty() {
        let _: Value = pipeline.query_async(connection).await?;
    }
    Ok(())
}
