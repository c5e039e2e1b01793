//! [`Runner`]: the task of a subscription. It opens it, hands out what comes, opens it again when it is lost,
//! and closes it.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_core::Stream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::State;
use super::settle::Core;
use super::stop::Stop;
use crate::backoff::Backoff;
use crate::broker::event::Event;
use crate::broker::{AnyConsumer, Broker, Consumer};
use crate::cost::PollCost;
use crate::error::{Error, ErrorKind};
use crate::events;

/// The pauses before a subscription that was lost is opened again.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// A handler whose first poll takes longer, on average, gets a task for each event at once; others only if they wait.
/// As the server does with calls: a task and two wakings are what a short handler would mostly consist of, and a
/// long one in the subscription's task would keep the next event waiting.
const INLINE: Duration = Duration::from_micros(50);

/// How long a broker may take to let go of a subscription, and handlers that were cut to notice.
const CLOSING: Duration = Duration::from_secs(5);

/// What is done with what comes: the handler, and how it takes events.
pub(super) trait Worker: Send + Sync + 'static {
    /// What one run of the handler takes.
    type Piece: Send + 'static;

    /// Waits for the next piece. What has come already is not lost when the end is asked for meanwhile.
    fn gather(
        &self,
        consumer: &mut AnyConsumer,
        stop: &Stop,
    ) -> impl Future<Output = Gathered<Self::Piece>> + Send;

    /// Handles a piece, and settles it. Dropped before it is done, it gives the piece back.
    fn work(&self, piece: Self::Piece) -> impl Future<Output = ()> + Send;
}

/// What came from a consumer.
pub(super) enum Gathered<P> {
    Piece(P),
    /// A piece, and no more will come.
    Last(P, Option<Error>),
    /// No more will come.
    Ended(Option<Error>),
}

pub(super) struct Runner<W> {
    pub(super) core: Arc<Core>,
    pub(super) worker: Arc<W>,
    pub(super) stop: Stop,
    pub(super) state: watch::Sender<State>,
    pub(super) cost: Arc<PollCost>,
}

/// Why a consumer is not asked any more.
enum Over {
    Stopped,
    Lost(Option<Error>),
}

/// The next event of a consumer.
pub(super) async fn next(consumer: &mut AnyConsumer) -> Option<Result<Event, Error>> {
    poll_fn(|cx| Pin::new(&mut *consumer).poll_next(cx)).await
}

// ===== impl Runner =====

impl<W: Worker> Runner<W> {
    pub(super) async fn run(self) {
        let mut handlers = JoinSet::new();
        let last = self.serve(&mut handlers).await;
        let (consumer, state) = match last {
            Ok(consumer) => (consumer, State::Ended),
            Err(error) => (None, State::Failed(error.kind(), error.to_string())),
        };
        self.drain(&mut handlers).await;
        if let Some(consumer) = consumer {
            // What it cannot settle in this time comes again.
            let _ = timeout(CLOSING, consumer.close()).await;
            events::unsubscribed(self.core.broker().name(), self.core.topic().name());
        }
        self.state.send_replace(state);
    }

    /// Until the end is asked for; gives the consumer that is open then.
    async fn serve(&self, handlers: &mut JoinSet<()>) -> Result<Option<AnyConsumer>, Error> {
        let core = &*self.core;
        let (broker, name) = (core.broker().name(), core.topic().name());
        let mut backoff = Backoff::new(AGAIN.0, AGAIN.1);
        let mut was_open = false;
        loop {
            let opened = tokio::select! {
                biased;
                () = self.stop.asked() => return Ok(None),
                opened = core.broker().subscribe(core.topic()) => opened,
            };
            let error = match opened {
                Ok(mut consumer) => {
                    events::subscribed(broker, core.topic());
                    was_open = true;
                    self.state.send_if_modified(|state| {
                        let opening = matches!(state, State::Opening);
                        if opening {
                            *state = State::Open;
                        }
                        opening
                    });
                    let before = core.received();
                    let error = match self.consume(&mut consumer, handlers).await {
                        Over::Stopped => {
                            consumer.stop();
                            return Ok(Some(consumer));
                        }
                        Over::Lost(error) => error,
                    };
                    if core.received() != before {
                        backoff.reset();
                    }
                    core.lost();
                    error.unwrap_or_else(|| Error::broker("it ended without a word"))
                }
                Err(error) => {
                    let refused =
                        matches!(error.kind(), ErrorKind::Config | ErrorKind::Unsupported);
                    if refused && !was_open {
                        events::not_subscribed(broker, name, &error);
                        return Err(error);
                    }
                    error
                }
            };
            let pause = backoff.next();
            events::subscription_lost(broker, name, format_args!("{error:?}"), pause);
            tokio::select! {
                biased;
                () = self.stop.asked() => return Ok(None),
                () = sleep(pause) => {}
            }
        }
    }

    /// Until the consumer ends, or the end is asked for.
    async fn consume(&self, consumer: &mut AnyConsumer, handlers: &mut JoinSet<()>) -> Over {
        let limit = self.core.topic().handlers();
        let mut asked = pin!(self.stop.asked());
        let mut cut = pin!(self.stop.grace_over());
        loop {
            while handlers.try_join_next().is_some() {}
            while handlers.len() >= limit {
                tokio::select! {
                    biased;
                    _ = handlers.join_next() => {}
                    () = &mut asked => return Over::Stopped,
                }
            }
            // A broker that always has one more must keep nobody else from running.
            tokio::task::coop::consume_budget().await;
            if self.stop.is_asked() {
                return Over::Stopped;
            }
            let gathered = tokio::select! {
                biased;
                gathered = self.worker.gather(consumer, &self.stop) => gathered,
                () = &mut asked => return Over::Stopped,
            };
            let (piece, over) = match gathered {
                Gathered::Piece(piece) => (piece, None),
                Gathered::Last(piece, error) => (piece, Some(Over::Lost(error))),
                Gathered::Ended(error) => return Over::Lost(error),
            };
            if limit == 1 {
                // No task for each event: this is what keeps a fast handler fast.
                let mut work = pin!(self.worker.work(piece));
                tokio::select! {
                    biased;
                    () = &mut work => {}
                    () = &mut asked => {
                        consumer.stop();
                        tokio::select! {
                            biased;
                            () = &mut work => {}
                            () = &mut cut => {}
                        }
                        return Over::Stopped;
                    }
                }
            } else {
                self.begin(piece, handlers).await;
            }
            if let Some(over) = over {
                return over;
            }
        }
    }

    /// Begins with a piece here, and goes on in a task of its own if it waits.
    async fn begin(&self, piece: W::Piece, handlers: &mut JoinSet<()>) {
        let worker = Arc::clone(&self.worker);
        let mut work = Box::pin(async move { worker.work(piece).await });
        let started = self.cost.start();
        if self.cost.is_below(INLINE) {
            let polled = poll_fn(|cx| Poll::Ready(work.as_mut().poll(cx))).await;
            if let Some(started) = started {
                self.cost.record(started.elapsed());
            }
            if polled.is_pending() {
                handlers.spawn(work);
            }
        } else if started.is_some() {
            let cost = Arc::clone(&self.cost);
            handlers.spawn(async move {
                let started = Instant::now();
                let polled = poll_fn(|cx| Poll::Ready(work.as_mut().poll(cx))).await;
                cost.record(started.elapsed());
                if polled.is_pending() {
                    work.await;
                }
            });
        } else {
            handlers.spawn(work);
        }
    }

    /// Waits for handlers that run until the grace is over, and ends those that still do.
    async fn drain(&self, handlers: &mut JoinSet<()>) {
        let all = async { while handlers.join_next().await.is_some() {} };
        tokio::select! {
            biased;
            () = all => return,
            () = self.stop.grace_over() => {}
        }
        handlers.abort_all();
        // One that never awaits cannot be ended: it does not hold up the end.
        let _ = timeout(CLOSING, async {
            while handlers.join_next().await.is_some() {}
        })
        .await;
    }
}
