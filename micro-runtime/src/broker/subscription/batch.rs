//! [`Batch`]: events that are handled together.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep_until;

use super::handler::{Failure, invoke};
use super::runner::{Gathered, Worker, next};
use super::settle::{Core, Received};
use super::stop::Stop;
use crate::broker::AnyConsumer;
use crate::broker::event::Event;
use crate::broker::payload::Payload;
use crate::context::Context;
use crate::deadline::Deadline;
use crate::status::Result;

/// Events that are handled together, at least one, in the order in which they came.
///
/// It is iterated for the messages alone; [`events`](Batch::events) has headers and attempts, and settles
/// single ones by hand.
pub struct Batch<E> {
    messages: Vec<E>,
    events: Vec<Event>,
}

/// A handler of batches.
pub(super) struct Batches<E, F> {
    core: Arc<Core>,
    max: usize,
    wait: Duration,
    handler: F,
    event: PhantomData<fn(E)>,
}

/// Events that came, and what ended the wait for more.
pub(super) struct Several {
    events: Vec<Event>,
    /// One that failed before, and is handled on its own.
    again: Option<Event>,
}

// ===== impl Batch =====

impl<E> Batch<E> {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Never: a batch has at least one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// The messages.
    #[must_use]
    pub fn messages(&self) -> &[E] {
        &self.messages
    }

    /// The events that the messages came in, in the same order.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// The messages.
    pub fn iter(&self) -> std::slice::Iter<'_, E> {
        self.messages.iter()
    }

    /// The messages, to keep. The events are as [`events`](Batch::events) has them.
    #[must_use]
    pub fn into_parts(self) -> (Vec<E>, Vec<Event>) {
        (self.messages, self.events)
    }
}

impl<E> IntoIterator for Batch<E> {
    type Item = E;
    type IntoIter = std::vec::IntoIter<E>;

    fn into_iter(self) -> Self::IntoIter {
        self.messages.into_iter()
    }
}

impl<'a, E> IntoIterator for &'a Batch<E> {
    type Item = &'a E;
    type IntoIter = std::slice::Iter<'a, E>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<E: fmt::Debug> fmt::Debug for Batch<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Batch").field(&self.messages).finish()
    }
}

// ===== impl Batches =====

impl<E, F> Batches<E, F> {
    pub(super) fn new(core: Arc<Core>, max: usize, wait: Duration, handler: F) -> Batches<E, F> {
        Batches {
            core,
            max,
            wait,
            handler,
            event: PhantomData,
        }
    }
}

impl<E, F, Fut> Batches<E, F>
where
    E: Payload,
    F: Fn(Context, Batch<E>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<()>> + Send + 'static,
{
    /// Handles events together, but for those that cannot be, which do not hold up the others.
    async fn handle(&self, events: Vec<Event>) {
        let core = &*self.core;
        let mut batch = Batch {
            messages: Vec::with_capacity(events.len()),
            events: Vec::with_capacity(events.len()),
        };
        let mut all: Vec<Received<'_>> = Vec::with_capacity(events.len());
        let mut poison = Vec::new();
        for received in events.into_iter().map(|event| core.receive(event)) {
            let decoded = match core.exhausted(received.event()) {
                Some(failure) => Err(failure),
                None => {
                    Failure::catch(|| E::decode(received.event()).map_err(Failure::Undecodable))
                }
            };
            match decoded {
                Ok(message) => {
                    batch.messages.push(message);
                    batch.events.push(received.event().clone());
                    all.push(received);
                }
                Err(failure) => poison.push((received, failure)),
            }
        }
        if poison.is_empty() {
            return self.run(batch, all).await;
        }
        tokio::join!(self.run(batch, all), core.settle_failed(poison.into_iter()));
    }

    /// Runs the handler for a batch, and settles its events.
    async fn run(&self, batch: Batch<E>, all: Vec<Received<'_>>) {
        if all.is_empty() {
            return;
        }
        let core = &*self.core;
        let context = core.context_of_many();
        let timeout = core.topic().handler_timeout();
        let outcome = invoke(&context, timeout, |context| {
            Ok((self.handler)(context, batch))
        })
        .await;
        match outcome {
            Ok(()) => core.settle_all(all).await,
            Err(failure) => {
                let failed = all.into_iter().map(|received| (received, failure.clone()));
                core.settle_failed(failed).await;
            }
        }
    }
}

impl<E, F, Fut> Worker for Batches<E, F>
where
    E: Payload,
    F: Fn(Context, Batch<E>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<()>> + Send + 'static,
{
    type Piece = Several;

    async fn gather(&self, consumer: &mut AnyConsumer, stop: &Stop) -> Gathered<Several> {
        let mut several = match next(consumer).await {
            Some(Ok(event)) => Several::of(event),
            Some(Err(error)) => return Gathered::Ended(Some(error)),
            None => return Gathered::Ended(None),
        };
        let until = Deadline::after(self.wait).instant();
        let more = async {
            while several.again.is_none() && several.events.len() < self.max {
                match next(consumer).await {
                    Some(Ok(event)) => several.add(event),
                    Some(Err(error)) => return Some(Some(error)),
                    None => return Some(None),
                }
            }
            None
        };
        let ended = tokio::select! {
            biased;
            ended = more => ended,
            () = sleep_until(until) => None,
            () = stop.asked() => None,
        };
        match ended {
            Some(error) => Gathered::Last(several, error),
            None => Gathered::Piece(several),
        }
    }

    async fn work(&self, several: Several) {
        let Several { events, again } = several;
        if !events.is_empty() {
            self.handle(events).await;
        }
        if let Some(event) = again {
            self.handle(vec![event]).await;
        }
    }
}

// ===== impl Several =====

impl Several {
    fn of(event: Event) -> Several {
        let mut several = Several {
            events: Vec::new(),
            again: None,
        };
        several.add(event);
        several
    }

    fn add(&mut self, event: Event) {
        if event.attempt() > 1 {
            self.again = Some(event);
        } else {
            self.events.push(event);
        }
    }
}
