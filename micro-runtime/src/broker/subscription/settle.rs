//! [`Core`]: what becomes of an event, whatever handled it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::attempts::Attempts;
use super::dead;
use super::handler::Failure;
use super::stats::Counters;
use crate::broker::event::{Event, Settle};
use crate::broker::join::Join;
use crate::broker::topic::{Delivery, Topic};
use crate::broker::{AnyBroker, Broker};
use crate::context::Context;
use crate::deadline::Deadline;
use crate::events;
use crate::seldom::Seldom;

/// How long a broker may take to confirm what became of an event. One that does not is not known to have
/// heard of it, and may hand the event out again.
const SETTLING: Duration = Duration::from_secs(10);

/// What every run of a subscription's handler needs.
pub(super) struct Core {
    broker: AnyBroker,
    topic: Topic,
    counters: Arc<Counters>,
    attempts: Attempts,
    failures: Seldom,
    losses: Seldom,
    unsettled: Seldom,
}

/// An event that was handed out, until it is counted in one way or the other.
pub(super) struct Received<'a> {
    event: Event,
    /// It goes back when its handler is cut short.
    is_kept: bool,
    counters: Option<&'a Counters>,
}

// ===== impl Core =====

impl Core {
    pub(super) fn new(broker: AnyBroker, topic: Topic, counters: Arc<Counters>) -> Core {
        Core {
            broker,
            topic,
            counters,
            attempts: Attempts::default(),
            failures: Seldom::new(),
            losses: Seldom::new(),
            unsettled: Seldom::new(),
        }
    }

    pub(super) fn broker(&self) -> &AnyBroker {
        &self.broker
    }

    pub(super) fn topic(&self) -> &Topic {
        &self.topic
    }

    pub(super) fn received(&self) -> u64 {
        self.counters.stats().received
    }

    pub(super) fn lost(&self) {
        self.counters.add(|all| &all.lost);
    }

    pub(super) fn receive(&self, event: Event) -> Received<'_> {
        self.counters.add(|all| &all.received);
        Received {
            event,
            is_kept: self.is_kept(),
            counters: Some(&self.counters),
        }
    }

    /// The context of a handler of this event.
    pub(super) fn context(&self, event: &Event) -> Context {
        Context::of_event(event.clone(), self.deadline())
    }

    /// The context of a handler of several events.
    pub(super) fn context_of_many(&self) -> Context {
        Context::with_deadline(self.deadline())
    }

    fn deadline(&self) -> Option<Deadline> {
        self.topic.handler_timeout().map(Deadline::after)
    }

    fn is_kept(&self) -> bool {
        self.topic.level() == Delivery::AtLeastOnce
    }

    /// Whether this event had all its attempts, and none came to an end here: each was cut short, by whatever ends
    /// the process, or its handler gave it back by hand.
    pub(super) fn exhausted(&self, event: &Event) -> Option<Failure> {
        if !self.is_kept() {
            return None;
        }
        let before = self.attempts.of(event).saturating_sub(1);
        (before >= self.topic.attempts()).then_some(Failure::Exhausted(before))
    }

    /// What follows from a run of the handler.
    pub(super) async fn settle(&self, received: Received<'_>, outcome: Result<(), Failure>) {
        match outcome {
            Ok(()) => {
                self.counters.add(|all| &all.handled);
                let event = received.counted();
                self.ended(&event);
                self.tell(&event, Settle::Ack).await;
            }
            Err(failure @ Failure::Exhausted(_)) => self.give_up(received, failure).await,
            Err(failure @ Failure::Undecodable(_)) => {
                self.counters.add(|all| &all.undecodable);
                self.give_up(received, failure).await;
            }
            Err(failure) => {
                self.counters.add(|all| &all.failed);
                self.failed(received, failure).await;
            }
        }
    }

    /// Acknowledges events whose handler has returned `Ok`, side by side.
    pub(super) async fn settle_all(&self, all: Vec<Received<'_>>) {
        let events: Vec<_> = all.into_iter().map(Received::counted).collect();
        for _ in &events {
            self.counters.add(|all| &all.handled);
        }
        let acks = events.iter().map(|event| {
            self.ended(event);
            Box::pin(self.tell(event, Settle::Ack))
        });
        Join::new(acks).all().await;
    }

    /// Settles events that were not handled, side by side: none waits for the dead letter of another.
    pub(super) async fn settle_failed(&self, all: impl Iterator<Item = (Received<'_>, Failure)>) {
        let settling = all.map(|(received, failure)| Box::pin(self.settle(received, Err(failure))));
        Join::new(settling).all().await;
    }

    /// A handler has come to an end with this event, or has settled it by hand.
    fn ended(&self, event: &Event) {
        if !self.is_kept() {
            return;
        }
        if event.is_given_back() {
            self.attempts.failed(event, self.attempts.of(event));
        } else {
            self.attempts.done(event);
        }
    }

    async fn failed(&self, received: Received<'_>, failure: Failure) {
        let event = received.event();
        if !self.is_kept() {
            return self.give_up(received, failure).await;
        }
        if event.is_settled() {
            self.counters.add(|all| &all.handled);
            self.ended(&received.counted());
            return;
        }
        let attempt = self.attempts.of(event);
        if attempt >= self.topic.attempts() {
            return self.give_up(received, failure).await;
        }
        let delay = self.topic.delay_after(attempt);
        self.warn(&self.failures, &failure, |held_back| {
            events::handler_failed(
                self.broker.name(),
                &self.topic,
                attempt,
                &failure,
                delay,
                held_back,
            );
        });
        self.attempts.failed(event, attempt);
        self.retry(received, delay).await;
    }

    /// The event is not tried again: it becomes a dead letter, or is lost.
    pub(super) async fn give_up(&self, received: Received<'_>, failure: Failure) {
        let event = received.event();
        let attempts = match failure {
            // It may have come as often as that; what is known of it here has no end.
            Failure::Exhausted(attempts) => attempts,
            _ => self.attempts.of(event),
        };
        let Some(dead_letter) = self.topic.dead_letter_name().filter(|_| self.is_kept()) else {
            self.counters.add(|all| &all.dropped);
            self.warn(&self.losses, &failure, |held_back| {
                events::event_dropped(
                    self.broker.name(),
                    &self.topic,
                    attempts,
                    &failure,
                    held_back,
                );
            });
            let event = received.counted();
            if self.is_kept() {
                self.attempts.done(&event);
                self.tell(&event, Settle::Ack).await;
            } else {
                // A broker that carries a receipt at this level tells the publisher what became of the event.
                self.tell(&event, Settle::Retry(Duration::ZERO)).await;
            }
            return;
        };
        let letter = dead::letter(event, &self.topic, dead_letter, &failure, attempts);
        let deadline = Deadline::after(dead::TIMEOUT);
        let published = self
            .broker
            .start_publish(letter, Delivery::AtLeastOnce, deadline)
            .await;
        match published {
            Ok(()) => {
                self.counters.add(|all| &all.dead_lettered);
                self.warn(&self.losses, &failure, |held_back| {
                    events::dead_lettered(
                        self.broker.name(),
                        &self.topic,
                        dead_letter,
                        attempts,
                        &failure,
                        held_back,
                    );
                });
                let event = received.counted();
                self.attempts.done(&event);
                self.tell(&event, Settle::Ack).await;
            }
            Err(error) => {
                let delay = self.topic.delay_after(attempts);
                self.warn(&self.unsettled, &error, |held_back| {
                    events::not_dead_lettered(
                        self.broker.name(),
                        &self.topic,
                        dead_letter,
                        format_args!("{error:?}"),
                        delay,
                        held_back,
                    );
                });
                self.attempts.failed(event, attempts);
                self.retry(received, delay).await;
            }
        }
    }

    async fn retry(&self, received: Received<'_>, delay: Duration) {
        self.counters.add(|all| &all.retried);
        let event = received.counted();
        self.tell(&event, Settle::Retry(delay)).await;
    }

    /// Tells the broker, unless the handler has.
    async fn tell(&self, event: &Event, how: Settle) {
        if event.is_settled() {
            return;
        }
        let why = match timeout(SETTLING, event.settle(how)).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => format!("{error:?}"),
            Err(_) => format!("no answer within {SETTLING:?}"),
        };
        self.warn(&self.unsettled, &why, |held_back| {
            events::not_settled(self.broker.name(), &self.topic, how, &why, held_back);
        });
    }

    /// Logs now and then in full, and the rest for those who look closer.
    fn warn(&self, seldom: &Seldom, what: &dyn fmt::Debug, log: impl FnOnce(u64)) {
        match seldom.pass() {
            Some(held_back) => log(held_back),
            None => events::of_topic(self.topic.name(), what),
        }
    }
}

// ===== impl Received =====

impl Received<'_> {
    pub(super) fn event(&self) -> &Event {
        &self.event
    }

    /// The event, which is counted.
    fn counted(mut self) -> Event {
        self.counters = None;
        self.event.clone()
    }
}

impl Drop for Received<'_> {
    fn drop(&mut self) {
        if let Some(counters) = self.counters.take() {
            counters.add(|all| &all.returned);
            if !self.is_kept {
                // Its handler has begun: at most once, nobody else may have it. Whoever waits is told that it failed.
                self.event.settle_unheard(Settle::Retry(Duration::ZERO));
            }
        }
    }
}
