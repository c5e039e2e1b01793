//! What a service says while it lives, in go-micro's words, as `tracing` events. Every wording is here and
//! nowhere else: people and tools look for these lines.

use std::fmt::Display;
use std::time::Duration;

use tracing::{info, warn};

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
