//! The connection that waits for new entries. A waiting XREADGROUP holds up all that comes after it, so that it
//! has one of its own.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{RedisResult, Value};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, timeout};

use super::super::connect::dial;
use super::super::link::{FIRST_PAUSE, LONGEST_PAUSE};
use super::super::refusal::Refusal;
use super::entry::{self, EntryId};
use super::{BATCH, Shared, group};
use crate::backoff::Backoff;
use crate::broker::common::outage::Outage;
use crate::lock::lock;

/// How long the server waits for something new before it answers that there is nothing. What waits for a slot
/// of ours waits no longer than this.
const BLOCK: Duration = Duration::from_secs(1);

/// How much later than that the answer may come.
const LATE: Duration = Duration::from_secs(4);

/// The pause while acknowledgements are on their way, or too much waits to be handed out again.
const FULL: Duration = Duration::from_millis(20);

/// Reads until the subscription ends.
pub(super) async fn run(shared: &Arc<Shared>) {
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    let mut outage = Outage::new(format!(
        "redis at {} (subscribed to {})",
        shared.config.addresses(),
        shared.topic
    ));
    for server in shared.config.servers.iter().cycle() {
        let refusal = match dial(server, None).await {
            Ok(dialled) => {
                let mut has_read = false;
                let refusal = tokio::select! {
                    () = dialled.driver => Refusal::Lost(format!("the connection to {} was lost", server.address)),
                    refusal = session(shared, dialled.connection, &mut has_read, &mut outage) => refusal,
                };
                if has_read {
                    backoff.reset();
                }
                refusal
            }
            Err(refusal) => refusal,
        };
        if let Refusal::Unsupported(_) = refusal {
            shared.fails(refusal.into_error(&format!("cannot read {:?}", shared.topic)));
            return;
        }
        outage.goes_on(refusal.why());
        sleep(backoff.next()).await;
    }
}

/// Reads over one connection, until it is of no use any more.
async fn session(
    shared: &Arc<Shared>,
    mut connection: MultiplexedConnection,
    has_read: &mut bool,
    outage: &mut Outage,
) -> Refusal {
    if let Err(refusal) = recover(shared, &mut connection).await {
        return refusal;
    }
    loop {
        let Ok(first) = Arc::clone(&shared.slots).acquire_owned().await else {
            return Refusal::Lost("the subscription has ended".to_owned());
        };
        if shared.is_full() {
            drop(first);
            sleep(FULL).await;
            continue;
        }
        // Handlers that are ready to end give up their slots, too: one command for all of them.
        yield_now().await;
        let mut slots = vec![first];
        while slots.len() < BATCH
            && let Ok(slot) = Arc::clone(&shared.slots).try_acquire_owned()
        {
            slots.push(slot);
        }
        let next = lock(&shared.state).due.next_due();
        let now = Instant::now();
        // What is due then needs a slot, and this may have the only one.
        let block = next
            .map_or(BLOCK, |next| next.saturating_duration_since(now).min(BLOCK))
            .max(Duration::from_millis(1));
        let mut command = redis::cmd("XREADGROUP");
        command
            .arg("GROUP")
            .arg(&shared.group)
            .arg(&shared.consumer)
            .arg("COUNT")
            .arg(slots.len())
            .arg("BLOCK")
            .arg(u64::try_from(block.as_millis()).unwrap_or(1))
            .arg("STREAMS")
            .arg(&shared.key)
            .arg(">");
        let answered = command.query_async::<Value>(&mut connection);
        let answer = match timeout(block + LATE, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => match Refusal::of(&error) {
                Refusal::NoGroup => match group::again(shared, &mut connection).await {
                    Ok(()) => continue,
                    Err(refusal) => return refusal,
                },
                refusal => return refusal,
            },
            Err(_) => return Refusal::Lost(format!("no answer within {LATE:?}")),
        };
        *has_read = true;
        outage.is_over();
        for entry in entry::read(answer) {
            {
                let mut state = lock(&shared.state);
                state.last = state.last.max(entry.id);
            }
            // Never more than were asked for; what would be more is handed out by `recover` or claimed later.
            let Some(slot) = slots.pop() else { break };
            shared.hand_out(entry, 1, slot);
        }
    }
}

/// Finds what the server has handed to us without our having heard of it: the answer got lost with the
/// connection. It is handed out as what waits is.
async fn recover(
    shared: &Arc<Shared>,
    connection: &mut MultiplexedConnection,
) -> Result<(), Refusal> {
    let mut after = None;
    loop {
        let page = owned(shared, connection, after).await;
        let page = match page.map_err(|error| Refusal::of(&error)) {
            Ok(page) => page,
            Err(Refusal::NoGroup) => return group::again(shared, connection).await,
            Err(refusal) => return Err(refusal),
        };
        let Some((last, _)) = page.last() else {
            return Ok(());
        };
        after = Some(*last);
        let mut state = lock(&shared.state);
        for (id, count) in page {
            state.last = state.last.max(id);
            if !state.has(id) {
                state.wait_for(id, count.max(1), Duration::ZERO);
            }
        }
        drop(state);
        shared.sooner.notify_one();
    }
}

/// A page of what is pending under our name.
pub(super) async fn owned(
    shared: &Shared,
    connection: &mut MultiplexedConnection,
    after: Option<EntryId>,
) -> RedisResult<Vec<(EntryId, u32)>> {
    let from = after.map_or_else(|| "-".to_owned(), |after| format!("({after}"));
    let answer: Value = redis::cmd("XPENDING")
        .arg(&shared.key)
        .arg(&shared.group)
        .arg(from)
        .arg("+")
        .arg(BATCH)
        .arg(&shared.consumer)
        .query_async(connection)
        .await?;
    Ok(entry::pending(&answer))
}
