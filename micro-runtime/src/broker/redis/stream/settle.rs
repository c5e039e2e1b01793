//! Acknowledging and giving back: many at a time, and again until the server has heard it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use redis::{Pipeline, RedisResult, Value};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};

use super::super::link::{FIRST_PAUSE, LONGEST_PAUSE};
use super::super::refusal::Refusal;
use super::entry::EntryId;
use super::{BATCH, LEAVE, Shared, group};
use crate::backoff::Backoff;
use crate::broker::common::outage::Outage;
use crate::error::Error;
use crate::lock::lock;

/// A consumer's name that nobody has: what is given back is pending under it, and so long idle that the next who
/// looks claims it.
const NOBODY: &str = "~nobody";

/// Longer than anybody waits.
const LONG: Duration = Duration::from_secs(7 * 86_400);

type Reply = oneshot::Sender<Result<(), Error>>;

/// What the server is to be told.
pub(super) enum Op {
    Ack(EntryId, Reply),
    /// It was handed out as this attempt, which shall not count.
    Return(EntryId, u32, Reply),
}

/// Tells the server until the subscription ends, and then leaves the group.
pub(super) async fn run(
    shared: Arc<Shared>,
    mut ops: mpsc::UnboundedReceiver<Op>,
    mut leaving: watch::Receiver<bool>,
) {
    let mut outage = Outage::new(format!("redis (acknowledging {})", shared.topic));
    loop {
        let first = tokio::select! {
            biased;
            op = ops.recv() => op,
            () = ends(&mut leaving) => None,
        };
        let Some(first) = first else { break };
        // Handlers that are ready to end have their events acknowledged with this one.
        yield_now().await;
        let batch = gather(first, &mut ops);
        tokio::select! {
            () = tell(&shared, batch, &mut outage) => {}
            () = async {
                ends(&mut leaving).await;
                sleep(LEAVE).await;
            } => return,
        }
    }
    // Within its time; what is left then is claimed by others when it has been silent for long enough.
    let _ = timeout(LEAVE, async {
        while let Ok(op) = ops.try_recv() {
            let batch = gather(op, &mut ops);
            tell(&shared, batch, &mut outage).await;
        }
        group::leave(&shared).await;
    })
    .await;
}

/// Resolves when the subscription ends, or has ended.
async fn ends(leaving: &mut watch::Receiver<bool>) {
    // It has ended, too, when it is gone without a word.
    let _ = leaving.wait_for(|leaving| *leaving).await;
}

fn gather(first: Op, ops: &mut mpsc::UnboundedReceiver<Op>) -> Vec<Op> {
    let mut batch = vec![first];
    while batch.len() < BATCH
        && let Ok(op) = ops.try_recv()
    {
        batch.push(op);
    }
    batch
}

async fn tell(shared: &Shared, batch: Vec<Op>, outage: &mut Outage) {
    let mut pipeline = Pipeline::with_capacity(2);
    let mut acks = Vec::with_capacity(batch.len());
    let mut replies = Vec::with_capacity(batch.len());
    for op in batch {
        match op {
            Op::Ack(id, reply) => {
                acks.push(id.to_string());
                replies.push((id, reply));
            }
            Op::Return(id, attempt, reply) => {
                give_back(&mut pipeline, shared, id, attempt, LONG);
                replies.push((id, reply));
            }
        }
    }
    if !acks.is_empty() {
        let command = pipeline.cmd("XACK").arg(&shared.key).arg(&shared.group);
        for id in acks {
            command.arg(id);
        }
    }
    let told = until_done(shared, &mut pipeline, outage).await;
    shared
        .unconfirmed
        .fetch_sub(replies.len(), Ordering::Relaxed);
    {
        let mut state = lock(&shared.state);
        for (id, _) in &replies {
            state.settling.remove(id);
        }
    }
    for (_, reply) in replies {
        // Who does not ask needs no answer.
        let _ = reply.send(told.clone().map_err(|refusal| {
            refusal.into_error(&format!("cannot settle events of {:?}", shared.topic))
        }));
    }
}

/// Sends the commands until they were carried out, or cannot be.
pub(super) async fn until_done(
    shared: &Shared,
    pipeline: &mut Pipeline,
    outage: &mut Outage,
) -> Result<(), Refusal> {
    pipeline.ignore_errors();
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    loop {
        let Some(mut up) = shared.link.whenever().await else {
            return Err(Refusal::Lost("the runtime has ended".to_owned()));
        };
        let answers = pipeline.query_async::<Vec<RedisResult<Value>>>(&mut up.connection);
        let refusals: Vec<Refusal> = match answers.await {
            Ok(answers) => answers
                .iter()
                .filter_map(|answer| answer.as_ref().err().map(Refusal::of))
                // Without the group there is nothing to tell.
                .filter(|refusal| *refusal != Refusal::NoGroup)
                .collect(),
            Err(error) => vec![Refusal::of(&error)],
        };
        let Some(refusal) = refusals.into_iter().next() else {
            outage.is_over();
            return Ok(());
        };
        if refusal.is_final() {
            return Err(refusal);
        }
        shared.link.hears(&up, &refusal);
        outage.goes_on(refusal.why());
        sleep(backoff.next()).await;
    }
}

/// Adds the command that gives an entry to nobody, idle for so long. The attempt does not count.
pub(super) fn give_back(
    pipeline: &mut Pipeline,
    shared: &Shared,
    id: EntryId,
    attempt: u32,
    idle: Duration,
) {
    pipeline
        .cmd("XCLAIM")
        .arg(&shared.key)
        .arg(&shared.group)
        .arg(NOBODY)
        .arg(0)
        .arg(id.to_string())
        .arg("IDLE")
        .arg(u64::try_from(idle.as_millis()).unwrap_or(u64::MAX))
        .arg("RETRYCOUNT")
        .arg(attempt.saturating_sub(1))
        .arg("JUSTID");
}

/// How long idle what is due then has to seem, so that others claim it then.
pub(super) fn idle_until(shared: &Shared, due_in: Duration) -> Duration {
    if due_in.is_zero() {
        LONG
    } else {
        shared.wait.saturating_sub(due_in)
    }
}
