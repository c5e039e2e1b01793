//! What a service says while it lives, in go-micro's words, as `tracing` events. Every wording is here and
//! nowhere else: people and tools look for these lines.

use std::fmt::Display;
use std::time::Duration;

use tracing::{debug, info, warn};

use crate::broker::{Settle, Topic};

/// The target of the events, for filters.
pub(crate) const TARGET: &str = "micro_runtime";

/// A service begins to run, before its hooks.
pub(crate) fn starting(service: &str) {
    info!(target: TARGET, "Starting [service] {service}");
}

/// The server listens; `address` is where, with the port it got.
pub(crate) fn listening(address: impl Display) {
    info!(target: TARGET, "Server [grpc] Listening on {address}");
}

/// The node is registered, the first time. A renewal says nothing.
pub(crate) fn registering(registry: &str, node_id: &str) {
    info!(target: TARGET, "Registry [{registry}] Registering node: {node_id}");
}

/// The node is taken out of the registry.
pub(crate) fn deregistering(registry: &str, node_id: &str) {
    info!(target: TARGET, "Registry [{registry}] Deregistering node: {node_id}");
}

/// The registry did not take the node; the service serves on and tries again.
pub(crate) fn not_registered(
    registry: &str,
    node_id: &str,
    error: impl Display,
    again_in: Duration,
) {
    warn!(
        target: TARGET,
        "Registry [{registry}] could not register node {node_id}: {error}; trying again in {} ms",
        again_in.as_millis()
    );
}

/// The registry did not let the node go; it stays there until its time is over.
pub(crate) fn not_deregistered(registry: &str, node_id: &str, error: impl Display) {
    warn!(target: TARGET, "Registry [{registry}] could not deregister node {node_id}: {error}");
}

/// A signal came, or whoever runs the service said so.
pub(crate) fn stopping(service: &str, why: impl Display) {
    info!(target: TARGET, "Stopping [service] {service}: {why}");
}

/// The time for running calls is over, or a second signal came.
pub(crate) fn cut(calls: usize, why: impl Display) {
    warn!(target: TARGET, "Server [grpc] Closing with {calls} calls still running: {why}");
}

/// A variable is set that does nothing here.
pub(crate) fn no_effect(variable: &str, why: &str) {
    warn!(target: TARGET, "{variable} is set and has no effect: {why}");
}

/// A subscription is open.
pub(crate) fn subscribed(broker: &str, topic: &Topic) {
    let (name, level) = (topic.name(), topic.level());
    match topic.queue_name() {
        Some(queue) => {
            info!(target: TARGET, "Broker [{broker}] Subscribing to topic: {name}, queue: {queue}, {level}");
        }
        None => info!(target: TARGET, "Broker [{broker}] Subscribing to topic: {name}, {level}"),
    }
}

/// A subscription is closed.
pub(crate) fn unsubscribed(broker: &str, topic: &str) {
    info!(target: TARGET, "Broker [{broker}] Unsubscribing from topic: {topic}");
}

/// The broker refuses a subscription for good.
pub(crate) fn not_subscribed(broker: &str, topic: &str, error: impl Display) {
    warn!(target: TARGET, "Broker [{broker}] could not subscribe to topic {topic}: {error}");
}

/// A subscription that is not open when it was waited for long enough; it goes on in the background.
pub(crate) fn not_yet_subscribed(broker: &str, topic: &str, waited: Duration) {
    warn!(
        target: TARGET,
        "Broker [{broker}] has not opened the subscription of topic {topic} within {waited:?}; the service starts \
         without it, and it goes on in the background"
    );
}

/// A subscription is lost.
pub(crate) fn subscription_lost(
    broker: &str,
    topic: &str,
    error: impl Display,
    again_in: Duration,
) {
    warn!(
        target: TARGET,
        "Broker [{broker}] lost the subscription of topic {topic}: {error}; subscribing again in {} ms",
        again_in.as_millis()
    );
}

/// An event was not handled, and comes again.
pub(crate) fn handler_failed(
    broker: &str,
    topic: &Topic,
    attempt: u32,
    why: impl Display,
    again_in: Duration,
    held_back: u64,
) {
    warn!(
        target: TARGET,
        "Broker [{broker}] Topic [{}] attempt {attempt} of {} failed, again in {} ms: {why}{}",
        topic.name(),
        topic.attempts(),
        again_in.as_millis(),
        more(held_back)
    );
}

/// An event is lost: there is nowhere it could go.
pub(crate) fn event_dropped(
    broker: &str,
    topic: &Topic,
    attempts: u32,
    why: impl Display,
    held_back: u64,
) {
    warn!(
        target: TARGET,
        "Broker [{broker}] Topic [{}] dropped an event after attempt {attempts}: {why}{}",
        topic.name(),
        more(held_back)
    );
}

/// An event went to the dead letter topic.
pub(crate) fn dead_lettered(
    broker: &str,
    topic: &Topic,
    dead_letter: &str,
    attempts: u32,
    why: impl Display,
    held_back: u64,
) {
    warn!(
        target: TARGET,
        "Broker [{broker}] Topic [{}] moved an event to {dead_letter} after attempt {attempts}: {why}{}",
        topic.name(),
        more(held_back)
    );
}

/// The dead letter could not be published, so the event comes again.
pub(crate) fn not_dead_lettered(
    broker: &str,
    topic: &Topic,
    dead_letter: &str,
    error: impl Display,
    again_in: Duration,
    held_back: u64,
) {
    warn!(
        target: TARGET,
        "Broker [{broker}] Topic [{}] could not move an event to {dead_letter}, again in {} ms: {error}{}",
        topic.name(),
        again_in.as_millis(),
        more(held_back)
    );
}

/// The broker could not be told what became of an event.
pub(crate) fn not_settled(
    broker: &str,
    topic: &Topic,
    how: Settle,
    error: impl Display,
    held_back: u64,
) {
    let what = match how {
        Settle::Ack => "acknowledge an event, which may come again",
        Settle::Retry(_) | Settle::Return => {
            "give an event back, which comes again when the broker finds out"
        }
    };
    warn!(
        target: TARGET,
        "Broker [{broker}] Topic [{}] could not {what}: {error}{}",
        topic.name(),
        more(held_back)
    );
}

/// One of those that are held back.
pub(crate) fn of_topic(topic: &str, what: &dyn std::fmt::Debug) {
    debug!(target: TARGET, "Topic [{topic}] {what:?}");
}

fn more(held_back: u64) -> String {
    match held_back {
        0 => String::new(),
        more => format!(" ({more} more since the last such line)"),
    }
}
