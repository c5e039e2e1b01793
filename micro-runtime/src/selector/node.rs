//! What is remembered of a node: [`NodeState`], and [`Slot`], which adds the client's connections.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use tokio::time::Instant;

use super::health::Health;
use crate::registry::Node;
use crate::registry::cache::Fate;

/// The weight of a new latency in the estimate, 1/8: TCP's for its round trips (RFC 6298 §2).
const LATENCY_SHIFT: u32 = 3;

/// The part of a node's state that strategies and health see. It is the node's as long as its id and address
/// stay, whatever the registry says meanwhile.
#[derive(Debug)]
pub(super) struct NodeState {
    /// Tells apart the nodes of a process.
    pub(super) serial: u64,
    pub(super) in_flight: AtomicU32,
    /// Nanoseconds; zero until a call has succeeded.
    latency: AtomicU64,
    /// Whether the last thing seen of it was good.
    alive: AtomicBool,
    pub(super) health: Health,
    clock: Clock,
    owner: Weak<dyn Owner>,
}

/// Told when a node is put aside or comes back.
pub(super) trait Owner: Send + Sync + 'static {
    fn health_changed(&self);
}

/// Milliseconds since the selector was made, which is what health counts in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock(Instant);

/// A node with a place for the client's connections to it, so that a picked node leads to them directly.
#[derive(Debug)]
pub(crate) struct Slot<C> {
    state: Arc<NodeState>,
    node: ArcSwap<Node>,
    payload: C,
}

// ===== impl NodeState =====

static SERIAL: AtomicU64 = AtomicU64::new(1);

impl NodeState {
    pub(super) fn new(clock: Clock, owner: Weak<dyn Owner>) -> NodeState {
        NodeState {
            serial: SERIAL.fetch_add(1, Ordering::Relaxed),
            in_flight: AtomicU32::new(0),
            latency: AtomicU64::new(0),
            alive: AtomicBool::new(false),
            health: Health::default(),
            clock,
            owner,
        }
    }

    /// Calls that are under way.
    pub(super) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    pub(super) fn latency(&self) -> Option<Duration> {
        match self.latency.load(Ordering::Relaxed) {
            0 => None,
            nanos => Some(Duration::from_nanos(nanos)),
        }
    }

    pub(super) fn fate(&self) -> Fate {
        if !self.health.is_closed() {
            Fate::Dead
        } else if self.alive.load(Ordering::Relaxed) {
            Fate::Alive
        } else {
            Fate::Unknown
        }
    }

    /// Two calls that end at the same time may lose one of the two samples, which an estimate can bear.
    pub(super) fn seen_latency(&self, latency: Duration) {
        let new = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX).max(1);
        let old = self.latency.load(Ordering::Relaxed);
        let estimate = if old == 0 {
            new
        } else {
            (old - (old >> LATENCY_SHIFT)).saturating_add(new >> LATENCY_SHIFT)
        };
        self.latency.store(estimate.max(1), Ordering::Relaxed);
    }

    pub(super) fn seen_alive(&self) {
        if !self.alive.load(Ordering::Relaxed) {
            self.alive.store(true, Ordering::Relaxed);
        }
    }

    pub(super) fn connection_failed(&self, probe: bool) {
        self.alive.store(false, Ordering::Relaxed);
        let changed = self.health.failed(self.clock.now(), probe);
        self.tell(changed);
    }

    pub(super) fn recovered(&self) {
        self.seen_alive();
        if !self.health.is_closed() {
            let changed = self.health.recovered(self.clock.now());
            self.tell(changed);
        }
    }

    pub(super) fn probe_released(&self) {
        let changed = self.health.released(self.clock.now());
        self.tell(changed);
    }

    fn tell(&self, changed: bool) {
        if changed && let Some(owner) = self.owner.upgrade() {
            owner.health_changed();
        }
    }
}

// ===== impl Clock =====

impl Clock {
    pub(super) fn start() -> Clock {
        Clock(Instant::now())
    }

    pub(super) fn now(self) -> u64 {
        self.at(Instant::now())
    }

    pub(super) fn at(self, instant: Instant) -> u64 {
        let passed = instant.saturating_duration_since(self.0).as_millis();
        u64::try_from(passed).unwrap_or(u64::MAX)
    }

    pub(super) fn until(self, millis: u64) -> Duration {
        Duration::from_millis(millis.saturating_sub(self.now()))
    }
}

// ===== impl Slot =====

impl<C> Slot<C> {
    pub(super) fn new(state: Arc<NodeState>, node: Arc<Node>, payload: C) -> Slot<C> {
        Slot {
            state,
            node: ArcSwap::new(node),
            payload,
        }
    }

    pub(super) fn state(&self) -> &Arc<NodeState> {
        &self.state
    }

    pub(super) fn set_node(&self, node: &Arc<Node>) {
        if !Arc::ptr_eq(&self.node.load(), node) {
            self.node.store(Arc::clone(node));
        }
    }

    /// The node as the registry last described it. Its id and address never change.
    pub(crate) fn node(&self) -> Guard<Arc<Node>> {
        self.node.load()
    }

    /// What the client keeps with the node.
    pub(crate) fn payload(&self) -> &C {
        &self.payload
    }

    /// A connection to the node stands: calls may go to it again, whatever was before.
    pub(crate) fn connected(&self) {
        self.state.recovered();
    }

    /// A connection to the node was refused or failed outside a call; it is put aside.
    pub(crate) fn connection_failed(&self) {
        self.state.connection_failed(false);
    }

    /// Whether the node is ill: calls do not go to it, but for a probe or in panic.
    #[cfg(test)]
    pub(crate) fn is_aside(&self) -> bool {
        !self.state.health.is_closed()
    }
}
