//! What is remembered of a node: [`NodeState`], and [`Slot`], which adds the client's connections.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use tokio::time::Instant;

use super::health::Health;
use super::load::Load;
use super::pick::Kind;
use crate::registry::Node;
use crate::registry::cache::Fate;

/// So many calls in a row that fail through the node put it aside (Envoy's and Finagle's number).
const FAILURES: u32 = 5;

/// A node that answers nothing for so long, in nanoseconds, while calls wait and other nodes answer, may have
/// stopped …
const MUTE: u64 = 500_000_000;

/// … if its calls commonly take no more than this part of it.
const MUTE_FACTOR: f32 = 4.0;

/// So many calls must wait for this to be said of a node while they wait; of one that has ended without an answer
/// it is said at its end.
const MUTE_CALLS: u32 = 5;

/// An answer of another node counts if it came so much later than the last of this one.
const MUTE_LATER: u64 = 100_000_000;

/// What nodes share is written so often at most.
const SHARED_GAP: u64 = 10_000_000;

/// The part of a node's state that strategies and health see. It is the node's as long as its id and address
/// stay, whatever the registry says meanwhile.
///
/// What every pick looks at stands first and in one line of the processor's cache.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct NodeState {
    pub(super) load: Load,
    pub(super) health: Health,
    /// Calls in a row that failed through the node.
    failures: AtomicU32,
    /// Whether the last thing seen of it was good.
    alive: AtomicBool,
    /// Its connections may be dead although nobody says so: it stopped answering.
    suspect: AtomicBool,
    /// Tells apart the nodes of a process.
    pub(super) serial: u64,
    clock: Clock,
    fleet: Arc<Fleet>,
    owner: Weak<dyn Owner>,
}

/// What the nodes of a service share.
#[derive(Debug, Default)]
pub(super) struct Fleet {
    /// When one of them last answered, to about [`SHARED_GAP`], in nanoseconds.
    answered: AtomicU64,
}

/// Told when a node is put aside or comes back.
pub(super) trait Owner: Send + Sync + 'static {
    fn health_changed(&self);
    /// A node has a connection again or has answered again, of which whoever waits for one is to hear.
    fn improved(&self);
}

/// The time since the selector was made: in nanoseconds for loads, in milliseconds for health.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock(Instant);

/// A node with a place for the client's connections to it, so that a picked node leads to them directly.
#[derive(Debug)]
pub(crate) struct Slot<C> {
    state: Arc<NodeState>,
    node: ArcSwap<Node>,
    /// Connections are to an address: nodes that follow one another there share them.
    payload: Arc<C>,
}

// ===== impl NodeState =====

static SERIAL: AtomicU64 = AtomicU64::new(1);

impl NodeState {
    pub(super) fn new(clock: Clock, fleet: Arc<Fleet>, owner: Weak<dyn Owner>) -> NodeState {
        NodeState {
            load: Load::default(),
            health: Health::default(),
            failures: AtomicU32::new(0),
            alive: AtomicBool::new(false),
            suspect: AtomicBool::new(false),
            serial: SERIAL.fetch_add(1, Ordering::Relaxed),
            clock,
            fleet,
            owner,
        }
    }

    pub(super) fn clock(&self) -> Clock {
        self.clock
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

    /// The node has answered, in whatever way; what it does not count ends a row of failures.
    pub(super) fn answered(&self, now: u64) {
        self.load.answered(now);
        if now.saturating_sub(self.fleet.answered.load(Ordering::Relaxed)) > SHARED_GAP {
            self.fleet.answered.store(now, Ordering::Relaxed);
        }
        if !self.alive.load(Ordering::Relaxed) {
            self.alive.store(true, Ordering::Relaxed);
        }
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    /// A call failed through the node. `unanswered`: it was not an answer that said so.
    pub(super) fn call_failed(&self, now: u64, unanswered: bool, probe: bool) {
        self.load.failed(now);
        let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        if probe || failures >= FAILURES {
            self.put_aside(now, unanswered, probe);
        }
    }

    /// Whether the node has stopped answering, by what is known before a call that took `took` ends: it has not
    /// answered for far longer than its calls take, although other nodes have since.
    pub(super) fn is_mute(&self, now: u64) -> bool {
        let silence = self.load.silence(now);
        let since = now.saturating_sub(silence);
        silence >= MUTE
            && self.fleet.answered.load(Ordering::Relaxed) > since + MUTE_LATER
            && self
                .load
                .latency(now)
                .is_none_or(|latency| silence as f32 > latency * MUTE_FACTOR)
    }

    /// The same of a node that is to get one more call, which must not be said of a single slow one.
    pub(super) fn is_mute_with_many(&self, now: u64) -> bool {
        self.load.waiting() >= MUTE_CALLS && self.is_mute(now)
    }

    /// The node fails. `suspect`: its connections may be dead too.
    pub(super) fn put_aside(&self, now: u64, suspect: bool, probe: bool) {
        self.alive.store(false, Ordering::Relaxed);
        self.failures.store(0, Ordering::Relaxed);
        if suspect {
            self.suspect.store(true, Ordering::Relaxed);
        }
        let changed = self.health.failed(now / 1_000_000, probe);
        self.tell(changed);
    }

    /// No connection to the node could be made.
    pub(super) fn connection_failed(&self, probe: bool) {
        self.put_aside(self.clock.nanos(), false, probe);
    }

    /// A new connection to the node stands.
    pub(super) fn connected(&self) {
        self.suspect.store(false, Ordering::Relaxed);
        self.returned();
        self.tell_better();
    }

    /// The registry names the node again: if it was put aside, the next call finds out whether it is well.
    pub(super) fn returned(&self) {
        if !self.health.is_closed() {
            let changed = self.health.connected(self.clock.now());
            self.tell(changed);
        }
    }

    /// A call to a node that was put aside was answered.
    pub(super) fn recovered(&self) {
        if !self.health.is_closed() {
            // What it was before it failed, and how it failed, says nothing of it now.
            self.load.forget();
            let changed = self.health.recovered(self.clock.now());
            self.tell(changed);
            self.tell_better();
        }
    }

    pub(super) fn probe_released(&self) {
        let changed = self.health.released(self.clock.now());
        self.tell(changed);
    }

    pub(super) fn is_suspect(&self) -> bool {
        self.suspect.load(Ordering::Relaxed)
    }

    fn tell_better(&self) {
        if let Some(owner) = self.owner.upgrade() {
            owner.improved();
        }
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
        self.nanos() / 1_000_000
    }

    pub(super) fn nanos(self) -> u64 {
        self.nanos_at(Instant::now())
    }

    pub(super) fn nanos_at(self, instant: Instant) -> u64 {
        // 64 bits are 584 years, and cheaper than the 128 of `as_nanos`.
        let passed = instant.saturating_duration_since(self.0);
        passed.as_secs() * 1_000_000_000 + u64::from(passed.subsec_nanos())
    }

    /// The instant at so many nanoseconds.
    pub(super) fn instant(self, nanos: u64) -> Instant {
        self.0 + Duration::from_nanos(nanos)
    }

    pub(super) fn until(self, millis: u64) -> Duration {
        Duration::from_millis(millis.saturating_sub(self.now()))
    }
}

// ===== impl Slot =====

impl<C> Slot<C> {
    pub(super) fn new(state: Arc<NodeState>, node: Arc<Node>, payload: Arc<C>) -> Slot<C> {
        Slot {
            state,
            node: ArcSwap::new(node),
            payload,
        }
    }

    pub(super) fn state(&self) -> &Arc<NodeState> {
        &self.state
    }

    /// Takes over what the registry says; whether that is new.
    pub(super) fn set_node(&self, node: &Arc<Node>) -> bool {
        let new = !Arc::ptr_eq(&self.node.load(), node);
        if new {
            self.node.store(Arc::clone(node));
        }
        new
    }

    /// The node as the registry last described it. Its id and address never change.
    pub(crate) fn node(&self) -> Guard<Arc<Node>> {
        self.node.load()
    }

    /// What the client keeps with the node.
    pub(crate) fn payload(&self) -> &C {
        &self.payload
    }

    /// A new connection to the node stands: if it was put aside, the next call finds out whether it is well.
    pub(crate) fn connected(&self) {
        self.state.connected();
    }

    /// A connection to the node was refused or failed outside a call; it is put aside. `asked`: the dial was the
    /// one that [`Connections::dial`] asked for.
    pub(crate) fn connection_failed(&self, asked: bool) {
        self.state.connection_failed(asked);
    }

    /// The dial that [`Connections::dial`] asked for ended without a word.
    pub(crate) fn dial_released(&self) {
        self.state.probe_released();
    }

    /// Whether the connections that there are may be dead: the node has stopped answering, and calls should go
    /// over a new one.
    pub(crate) fn is_suspect(&self) -> bool {
        self.state.is_suspect()
    }

    /// Why a call that is to go to it goes there, if it is no probe.
    pub(super) fn kind(&self) -> Kind {
        if self.state.health.is_closed() {
            Kind::Well
        } else {
            Kind::Panic
        }
    }

    /// Whether the node is ill: calls do not go to it, but for a probe or in panic.
    #[cfg(test)]
    pub(crate) fn is_aside(&self) -> bool {
        !self.state.health.is_closed()
    }
}
