//! Subscriptions: from a broker's [`Consumer`](super::Consumer) to the user's handler, and back to the broker
//! with what became of each event.

mod attempts;
mod batch;
mod dead;
mod handler;
mod runner;
mod settle;
mod stats;
mod stop;
#[cfg(test)]
mod tests;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use super::payload::Payload;
use super::topic::Topic;
use super::{AnyBroker, Broker};
use crate::context::Context;
use crate::error::{Error, ErrorKind};
use crate::exchange::BoxFuture;
use crate::status::Result as Outcome;

pub use batch::Batch;
pub use stats::Stats;

use batch::Batches;
use handler::Single;
use runner::Runner;
use settle::Core;
use stats::Counters;
use stop::Stop;

/// Events in a batch, and how long the first waits for others, unless the topic says something else.
const BATCH: (usize, Duration) = (100, Duration::from_millis(100));

/// An open subscription. Clones are one subscription, and dropping them does not end it:
/// [`stop`](Subscription::stop) does, or the service that it belongs to.
#[derive(Clone)]
pub struct Subscription(Arc<Shared>);

struct Shared {
    topic: Topic,
    broker: &'static str,
    counters: Arc<Counters>,
    stop: Stop,
    state: watch::Receiver<State>,
    /// Its task was started.
    launched: AtomicBool,
}

/// Where a subscription is.
#[derive(Debug)]
enum State {
    Opening,
    Open,
    /// The broker refused it.
    Failed(ErrorKind, String),
    Ended,
}

/// Subscribes a handler to a topic of a broker: every event that comes is decoded and handed to it.
///
/// It checks the topic at once, and opens the subscription in a task of its own: see
/// [`Subscription::ready`]. A broker that is lost later is subscribed again for as long as it takes, with
/// pauses of 1 s to 30 s.
///
/// # The handler
/// A function or closure that gives a future: `async |ctx: Context, order: OrderPlaced| { .. }` where it needs
/// nothing from outside, else a closure that clones what it needs for each event and returns an
/// `async move { .. }`. Taking an [`Event`](super::Event) instead of a message gives the headers and the
/// undecoded body.
///
/// Its [`Context`] has the headers of the event as metadata and the deadline of [`Topic::timeout`]; calls and
/// publishes that it makes inherit both. Its future is dropped when that deadline passes and when the
/// subscription was stopped and its grace is over; the context is cancelled then.
///
/// # What becomes of an event
/// | handler | at most once | at least once |
/// |---|---|---|
/// | `Ok` | handled | acknowledged |
/// | an error, a panic, past [`Topic::timeout`] | logged and counted | handed out again after [`Topic::retry_delay`], up to [`Topic::max_attempts`] times |
/// | the same, the last time | | to [`Topic::dead_letter`]; without one, dropped with a log line |
/// | not run, since it cannot be decoded | logged and counted | the same, at once |
/// | not run, since every earlier run ended with its process | | the same, at once |
///
/// A dead letter has the event's headers and body, and beside them `micro-dead-topic` (where it came from),
/// `micro-dead-reason`, `micro-dead-attempts` and `micro-dead-time`. The event is acknowledged only once the
/// broker has confirmed the dead letter.
///
/// # Errors
/// `Config`: the topic cannot be subscribed like this, or there is no tokio runtime. `Unsupported`: the broker
/// does not give this level.
pub fn subscribe<E, F, Fut>(
    broker: &AnyBroker,
    topic: Topic,
    handler: F,
) -> Result<Subscription, Error>
where
    E: Payload,
    F: Fn(Context, E) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Outcome<()>> + Send + 'static,
{
    let prepared = prepare(broker, topic, handler)?;
    prepared.launch()
}

/// Subscribes a handler that takes events in batches: see [`Topic::batch`].
///
/// `Ok` acknowledges every event of the batch, anything else none of them: each is handed out again, or goes
/// to the dead letter, by its own number of attempts. Single ones can be settled by hand before, through
/// [`Batch::events`]. An event that failed before comes in a batch of its own, so that one that fails every
/// time does not take others along. All else is as in [`subscribe`].
///
/// # Errors
/// As [`subscribe`].
pub fn subscribe_batch<E, F, Fut>(
    broker: &AnyBroker,
    topic: Topic,
    handler: F,
) -> Result<Subscription, Error>
where
    E: Payload,
    F: Fn(Context, Batch<E>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Outcome<()>> + Send + 'static,
{
    let prepared = prepare_batch(broker, topic, handler)?;
    prepared.launch()
}

/// A subscription that was checked and is still to be started.
pub(crate) struct Prepared {
    subscription: Subscription,
    run: BoxFuture<'static, ()>,
}

pub(crate) fn prepare<E, F, Fut>(
    broker: &AnyBroker,
    topic: Topic,
    handler: F,
) -> Result<Prepared, Error>
where
    E: Payload,
    F: Fn(Context, E) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Outcome<()>> + Send + 'static,
{
    if topic.batches().is_some() {
        return Err(Error::config(format_args!(
            "the topic {:?} asks for batches, which this handler does not take: use subscribe_batch, or leave .batch(..) out",
            topic.name()
        )));
    }
    Prepared::new(broker, topic, |core| Single::new(core, handler))
}

pub(crate) fn prepare_batch<E, F, Fut>(
    broker: &AnyBroker,
    topic: Topic,
    handler: F,
) -> Result<Prepared, Error>
where
    E: Payload,
    F: Fn(Context, Batch<E>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Outcome<()>> + Send + 'static,
{
    let (max, wait) = topic.batches().unwrap_or(BATCH);
    let topic = topic.batch(max, wait);
    Prepared::new(broker, topic, |core| Batches::new(core, max, wait, handler))
}

// ===== impl Prepared =====

impl Prepared {
    fn new<W: runner::Worker>(
        broker: &AnyBroker,
        topic: Topic,
        worker: impl FnOnce(Arc<Core>) -> W,
    ) -> Result<Prepared, Error> {
        topic.check()?;
        broker.check(topic.level())?;
        let counters = Arc::new(Counters::default());
        let stop = Stop::new();
        let (state, seen) = watch::channel(State::Opening);
        let core = Arc::new(Core::new(
            broker.clone(),
            topic.clone(),
            Arc::clone(&counters),
        ));
        let runner = Runner {
            worker: Arc::new(worker(Arc::clone(&core))),
            core,
            stop: stop.clone(),
            state,
            cost: Arc::default(),
        };
        Ok(Prepared {
            subscription: Subscription(Arc::new(Shared {
                topic,
                broker: broker.name(),
                counters,
                stop,
                state: seen,
                launched: AtomicBool::new(false),
            })),
            run: Box::pin(runner.run()),
        })
    }

    pub(crate) fn subscription(&self) -> &Subscription {
        &self.subscription
    }

    /// Starts its task.
    pub(crate) fn launch(self) -> Result<Subscription, Error> {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return Err(Error::config(format_args!(
                "cannot subscribe to the topic {:?}: expected a tokio runtime to run its handlers in, found none",
                self.subscription.topic().name()
            )));
        };
        self.subscription.0.launched.store(true, Ordering::Release);
        runtime.spawn(self.run);
        Ok(self.subscription)
    }
}

// ===== impl Subscription =====

impl Subscription {
    /// What was subscribed.
    #[must_use]
    pub fn topic(&self) -> &Topic {
        &self.0.topic
    }

    /// Resolves when the subscription is open: what is published from then on is received. While the broker
    /// is not reached it waits. A service opens its subscriptions when it starts.
    ///
    /// # Errors
    /// The broker refused it, or it was stopped before.
    pub async fn ready(&self) -> Result<(), Error> {
        let mut state = self.0.state.clone();
        let ended = || {
            Error::broker(format_args!(
                "the subscription of the topic {:?} has ended",
                self.0.topic.name()
            ))
        };
        match state
            .wait_for(|state| !matches!(state, State::Opening))
            .await
        {
            Ok(state) => match &*state {
                State::Open => Ok(()),
                State::Failed(kind, message) => Err(Error::new(*kind, message)),
                State::Opening | State::Ended => Err(ended()),
            },
            Err(_) => Err(ended()),
        }
    }

    /// What it has done so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.0.counters.stats()
    }

    /// Resolves when the [`stats`](Subscription::stats) are as a test wants them, or the subscription has ended;
    /// gives them as they are then.
    pub async fn reached(&self, enough: impl Fn(&Stats) -> bool) -> Stats {
        tokio::select! {
            biased;
            () = self.0.counters.reached(enough) => {}
            () = self.ended() => {}
        }
        self.stats()
    }

    /// Ends it: takes no more events, lets handlers that run finish within this time, drops the others, whose
    /// events go back to the broker, and says goodbye to the broker. Resolves when all that is done, some
    /// seconds after the grace at the latest. Called again, the earlier end of the two graces holds.
    ///
    /// Dropping the future does not call it off.
    pub async fn stop(&self, grace: Duration) {
        self.0.stop.ask(grace);
        if !self.0.launched.load(Ordering::Acquire) {
            return;
        }
        self.ended().await;
    }

    async fn ended(&self) {
        let mut state = self.0.state.clone();
        // An error: its task is gone without a word, with the runtime it ran in.
        let _ = state
            .wait_for(|state| matches!(state, State::Ended | State::Failed(..)))
            .await;
    }
}

impl Subscription {
    /// Has it end without waiting for that.
    pub(crate) fn ask_to_stop(&self, grace: Duration) {
        self.0.stop.ask(grace);
    }

    pub(crate) fn is_asked_to_stop(&self) -> bool {
        self.0.stop.is_asked()
    }

    pub(crate) fn has_ended(&self) -> bool {
        matches!(*self.0.state.borrow(), State::Ended | State::Failed(..))
    }
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.subscription.fmt(f)
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("broker", &self.0.broker)
            .field("topic", &self.0.topic)
            .field("state", &*self.0.state.borrow())
            .field("stats", &self.stats())
            .finish()
    }
}
