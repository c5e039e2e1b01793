//! [`Single`]: a handler that takes one event at a time; [`invoke`]: a run of any handler.

use std::any::Any;
use std::fmt;
use std::future::{Future, poll_fn};
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::time::timeout_at;

use super::runner::{Gathered, Worker, next};
use super::settle::Core;
use super::stop::Stop;
use crate::broker::AnyConsumer;
use crate::broker::event::Event;
use crate::broker::payload::Payload;
use crate::context::Context;
use crate::status::{Result, Status};

/// Why an event was not handled.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// The handler returned it.
    Error(Status),
    Panicked(String),
    TimedOut(Duration),
    Undecodable(Status),
    /// It was handed out more often than it may be tried.
    Exhausted(u32),
}

/// A handler of single events.
pub(super) struct Single<E, F> {
    core: Arc<Core>,
    handler: F,
    event: PhantomData<fn(E)>,
}

/// Cancels a context when it is dropped: a handler that is not done then was cut short.
struct Cancel<'a>(Option<&'a Context>);

// ===== impl Single =====

impl<E, F> Single<E, F> {
    pub(super) fn new(core: Arc<Core>, handler: F) -> Single<E, F> {
        Single {
            core,
            handler,
            event: PhantomData,
        }
    }
}

impl<E, F, Fut> Worker for Single<E, F>
where
    E: Payload,
    F: Fn(Context, E) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<()>> + Send + 'static,
{
    type Piece = Event;

    async fn gather(&self, consumer: &mut AnyConsumer, _: &Stop) -> Gathered<Event> {
        match next(consumer).await {
            Some(Ok(event)) => Gathered::Piece(event),
            Some(Err(error)) => Gathered::Ended(Some(error)),
            None => Gathered::Ended(None),
        }
    }

    async fn work(&self, event: Event) {
        let core = &*self.core;
        let received = core.receive(event);
        if let Some(failure) = core.exhausted(received.event()) {
            return core.give_up(received, failure).await;
        }
        let context = core.context(received.event());
        let timeout = core.topic().handler_timeout();
        let event = received.event();
        let outcome = invoke(&context, timeout, |context| {
            let payload = E::decode(event).map_err(Failure::Undecodable)?;
            Ok((self.handler)(context, payload))
        })
        .await;
        core.settle(received, outcome).await;
    }
}

// ===== invoke =====

/// Runs a handler in a context: until it is done, panics, or its time is over.
pub(super) async fn invoke<Fut: Future<Output = Result<()>>>(
    context: &Context,
    timeout: Option<Duration>,
    start: impl FnOnce(Context) -> std::result::Result<Fut, Failure>,
) -> std::result::Result<(), Failure> {
    let future = Failure::catch(|| context.enter(|| start(context.clone())))?;
    let mut cancel = Cancel(Some(context));
    let mut running = pin!(Some(future));
    let polled = poll_fn(|cx| {
        let polled = Failure::catch(|| {
            Ok(context.enter(|| match running.as_mut().as_pin_mut() {
                Some(future) => future.poll(cx),
                None => Poll::Pending,
            }))
        });
        match polled {
            Ok(polled) => polled.map(|result| result.map_err(Failure::Error)),
            Err(failure) => Poll::Ready(Err(failure)),
        }
    });
    let outcome = match (timeout, context.deadline()) {
        (Some(timeout), Some(deadline)) => timeout_at(deadline.instant(), polled)
            .await
            .unwrap_or(Err(Failure::TimedOut(timeout))),
        _ => polled.await,
    };
    if !matches!(outcome, Err(Failure::TimedOut(_))) {
        cancel.0 = None;
    }
    drop(cancel);
    // What the future holds may panic when it is dropped, too.
    let dropped = Failure::catch(|| {
        context.enter(|| running.set(None));
        Ok(())
    });
    outcome.and(dropped)
}

impl Drop for Cancel<'_> {
    fn drop(&mut self) {
        if let Some(context) = self.0.take() {
            context.cancel();
        }
    }
}

// ===== impl Failure =====

impl Failure {
    /// Runs code of the user's, which may panic.
    pub(super) fn catch<T>(
        run: impl FnOnce() -> std::result::Result<T, Failure>,
    ) -> std::result::Result<T, Failure> {
        catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| Err(Failure::panicked(&*panic)))
    }

    fn panicked(panic: &(dyn Any + Send)) -> Failure {
        let text = panic
            .downcast_ref::<&'static str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned());
        Failure::Panicked(text.unwrap_or_else(|| "without a message".to_owned()))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Error(status) => write!(f, "the handler failed: {status}"),
            Failure::Panicked(text) => write!(f, "the handler panicked: {text}"),
            Failure::TimedOut(timeout) => {
                write!(f, "the handler was not done within {timeout:?}")
            }
            Failure::Undecodable(status) => write!(f, "it cannot be decoded: {status}"),
            Failure::Exhausted(attempts) => write!(
                f,
                "it was handed out {attempts} times, and no handler has acknowledged it"
            ),
        }
    }
}
