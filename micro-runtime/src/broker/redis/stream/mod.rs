//! [`Subscription`]: a group of a stream, at least once.
//!
//! | file | holds |
//! |---|---|
//! | `entry` | what is written into a stream, and how answers are read |
//! | `group` | making the group, leaving it, and looking after those of the dead |
//! | `read` | the connection that waits for new entries |
//! | `again` | handing out again: what failed, and what the dead have left |
//! | `keep` | saying that what is handed out is worked on |
//! | `settle` | acknowledging and giving back |
//!
//! What is handed out and not settled is `living`, what failed and waits for its time is `waiting`. The server
//! has both in the group's list of pending entries, under our consumer's name; so whatever dies, here or there,
//! another consumer claims it.

mod again;
pub(super) mod entry;
mod group;
mod keep;
mod read;
mod settle;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use self::entry::{Entry, EntryId};
use self::settle::Op;
use super::config::Config;
use super::link::Link;
use crate::broker::common::delays::Delays;
use crate::broker::common::malformed::malformed;
use crate::broker::{Event, Receipt, Settle, Topic};
use crate::error::{Error, ErrorKind};
use crate::lock::lock;

/// The most entries that one command asks for.
const BATCH: usize = 256;

/// The most entries that may wait to be handed out again: their ids and times are kept here, the rest by the
/// server. No new entries are read while there are more.
const WAITING: usize = 10_000;

/// The most acknowledgements that may be on their way before no new entries are read.
const UNCONFIRMED: usize = 4096;

/// How long leaving may take.
const LEAVE: Duration = Duration::from_secs(5);

/// What an open subscription holds.
pub(super) struct Subscription {
    events: mpsc::Receiver<Result<Event, Error>>,
    /// Reads, hands out again and looks after the group.
    working: AbortHandle,
    settler: Option<JoinHandle<()>>,
    leave: watch::Sender<bool>,
}

/// What the tasks of a subscription share.
struct Shared {
    config: Arc<Config>,
    link: Link,
    topic: String,
    key: String,
    group: String,
    consumer: String,
    /// Whether the group is this subscriber's own.
    is_own: bool,
    wait: Duration,
    slots: Arc<Semaphore>,
    /// Held for short sections without a wait.
    state: Mutex<State>,
    /// Told when something is due earlier than was thought.
    sooner: Notify,
    ops: mpsc::UnboundedSender<Op>,
    unconfirmed: AtomicUsize,
    events: mpsc::Sender<Result<Event, Error>>,
}

struct State {
    /// What is handed out, with its attempt.
    living: HashMap<EntryId, u32>,
    /// What is to be handed out again, with the attempt that it will be, and when.
    waiting: HashMap<EntryId, (u32, Instant)>,
    due: Delays<EntryId>,
    /// What was settled, until the server has heard it: it is pending there still.
    settling: HashSet<EntryId>,
    /// The highest entry that was read; the group begins behind it if it has to be made again.
    last: EntryId,
}

// ===== impl Subscription =====

impl Subscription {
    /// Makes sure of the group, and resolves when it is there.
    pub(super) async fn open(
        config: Arc<Config>,
        link: Link,
        topic: &Topic,
    ) -> Result<Subscription, Error> {
        let queue = topic.queue_name();
        let consumer = Uuid::new_v4().to_string();
        // Queues' names have no tilde.
        let group = queue.map_or_else(|| format!("~{consumer}"), str::to_owned);
        let (events, receiver) = mpsc::channel(topic.in_flight() + 1);
        let (ops, settled) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            topic: topic.name().to_owned(),
            key: config.key(topic.name()),
            config,
            link,
            group,
            consumer,
            is_own: queue.is_none(),
            wait: topic.wait(),
            slots: Arc::new(Semaphore::new(topic.in_flight())),
            state: Mutex::new(State {
                living: HashMap::new(),
                waiting: HashMap::new(),
                due: Delays::new(),
                settling: HashSet::new(),
                last: EntryId::default(),
            }),
            sooner: Notify::new(),
            ops,
            unconfirmed: AtomicUsize::new(0),
            events,
        });
        group::begin(&shared).await?;
        let (leave, leaving) = watch::channel(false);
        let settler = tokio::spawn(settle::run(Arc::clone(&shared), settled, leaving));
        let working = Arc::clone(&shared);
        let working = tokio::spawn(async move {
            tokio::join!(
                read::run(&working),
                again::run(&working),
                keep::run(&working),
                group::look_after(&working)
            );
        });
        Ok(Subscription {
            events: receiver,
            working: working.abort_handle(),
            settler: Some(settler),
            leave,
        })
    }

    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Event, Error>>> {
        self.events.poll_recv(cx)
    }

    /// Ends it, and waits until what it has is acknowledged or given back, or that takes too long.
    pub(super) async fn close(mut self) {
        self.stop();
        if let Some(settler) = self.settler.take() {
            // It ends by itself soon after: what it could not say, others find out by its silence.
            let _ = timeout(LEAVE + LEAVE, settler).await;
        }
    }

    fn stop(&mut self) {
        self.working.abort();
        self.events.close();
        // What is in the channel goes back through its receipts.
        while self.events.try_recv().is_ok() {}
        self.leave.send_replace(true);
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.stop();
    }
}

// ===== impl Shared =====

impl Shared {
    /// Hands out an entry that is pending under our name.
    fn hand_out(self: &Arc<Self>, entry: Entry, attempt: u32, slot: OwnedSemaphorePermit) {
        let id = entry.id;
        {
            let mut state = lock(&self.state);
            state.waiting.remove(&id);
            state.living.insert(id, attempt);
        }
        let (headers, body) = entry
            .into_message()
            .unwrap_or_else(|(bytes, why)| malformed(&why, bytes));
        let shared = Arc::clone(self);
        let receipt = Receipt::new(move |how| {
            let told = shared.settle(id, attempt, how);
            drop(slot);
            async move {
                match told {
                    None => Ok(()),
                    Some(told) => told.await.unwrap_or_else(|_| Err(ended())),
                }
            }
        });
        let event = Event::new(&*self.topic, headers, body, attempt, Some(receipt));
        // There is room for as many as there are slots. If nobody is there any more, the receipt gives it back.
        let _ = self.events.try_send(Ok(event));
    }

    /// Settles an entry; what is returned resolves when the server knows.
    fn settle(
        &self,
        id: EntryId,
        attempt: u32,
        how: Settle,
    ) -> Option<oneshot::Receiver<Result<(), Error>>> {
        if let Settle::Retry(delay) = how {
            let is_first = {
                let mut state = lock(&self.state);
                state.living.remove(&id);
                state.wait_for(id, attempt.saturating_add(1), delay)
            };
            if is_first {
                self.sooner.notify_one();
            }
            return None;
        }
        {
            let mut state = lock(&self.state);
            state.living.remove(&id);
            state.settling.insert(id);
        }
        let (reply, told) = oneshot::channel();
        let op = match how {
            Settle::Ack => Op::Ack(id, reply),
            _ => Op::Return(id, attempt, reply),
        };
        self.unconfirmed.fetch_add(1, Ordering::Relaxed);
        if self.ops.send(op).is_err() {
            self.unconfirmed.fetch_sub(1, Ordering::Relaxed);
        }
        Some(told)
    }

    /// Ends the subscription with an error.
    fn fails(&self, error: Error) {
        // One place more than slots is there for this.
        let _ = self.events.try_send(Err(error));
    }

    /// Whether there is too much on the way for more.
    fn is_full(&self) -> bool {
        self.unconfirmed.load(Ordering::Relaxed) >= UNCONFIRMED
            || lock(&self.state).waiting.len() >= WAITING
    }
}

// ===== impl State =====

impl State {
    /// Has an entry handed out again after a time; whether it is the next of all.
    fn wait_for(&mut self, id: EntryId, attempt: u32, delay: Duration) -> bool {
        let now = Instant::now();
        let due = now.checked_add(delay).unwrap_or(now + LONGEST_DELAY);
        self.waiting.insert(id, (attempt, due));
        self.due.push(due, id);
        self.due.next_due() == Some(due)
    }

    /// Whether we have it: if not, it is to be handed out.
    fn has(&self, id: EntryId) -> bool {
        self.living.contains_key(&id)
            || self.waiting.contains_key(&id)
            || self.settling.contains(&id)
    }
}

/// What is due later than this is due then.
const LONGEST_DELAY: Duration = Duration::from_secs(86_400);

fn ended() -> Error {
    Error::new(
        ErrorKind::Broker,
        "the subscription has ended before the server could be told: the event comes again",
    )
}
