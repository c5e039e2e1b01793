//! What a pick gives: [`Picked`], a node and the duty to say what became of the call, or [`NoNode`].

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::node::Slot;
use crate::status::{Code, Status};

/// A node picked for one attempt, which counts as a call under way until this is dropped. Dropped without a
/// word, the call was given up, which says nothing of the node.
#[must_use = "dropping it says that the call was given up"]
pub(crate) struct Picked<C> {
    slot: Arc<Slot<C>>,
    started: Instant,
    kind: Kind,
    reported: bool,
}

/// Why the node was picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It is well.
    Well,
    /// It is not, but more than half of the nodes are not.
    Panic,
    /// This call is the one that finds out whether it is well again.
    Probe,
}

/// How an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub(crate) enum Failure {
    /// No connection came about: refused, unreachable, timed out. The request has not left. Puts the node
    /// aside at once.
    Connection,
    /// The connection broke with the call on it. Says nothing yet: a server that stops does so, and whether
    /// one can connect again decides.
    Lost,
    /// No answer came in time.
    TimedOut,
    /// The node answered with an error.
    Answered,
}

/// Why no node could be picked, with the numbers that belong into the caller's status.
#[derive(Clone, Debug)]
pub(crate) struct NoNode(Box<Numbers>);

#[derive(Clone, Debug)]
pub(super) struct Numbers {
    pub(super) service: Arc<str>,
    pub(super) registry: &'static str,
    pub(super) looked: Duration,
    /// Whether the registry has answered at all.
    pub(super) answered: bool,
    pub(super) seen: usize,
    pub(super) filtered: usize,
    pub(super) aside: usize,
    pub(super) tried: usize,
    /// There were nodes, but the strategy chose none of them.
    pub(super) declined: bool,
    /// How long until the first of those put aside is probed.
    pub(super) probe_in: Option<Duration>,
    pub(super) error: Option<Arc<str>>,
}

// ===== impl Picked =====

impl<C> Picked<C> {
    pub(super) fn new(slot: Arc<Slot<C>>, started: Instant, kind: Kind) -> Picked<C> {
        slot.state().in_flight.fetch_add(1, Ordering::Relaxed);
        Picked {
            slot,
            started,
            kind,
            reported: false,
        }
    }

    /// The node, with what the client keeps there.
    pub(crate) fn slot(&self) -> &Arc<Slot<C>> {
        &self.slot
    }

    /// Whether this call is the node's probe: it may well fail, and the node is worth no long wait.
    pub(crate) fn is_probe(&self) -> bool {
        self.kind == Kind::Probe
    }

    /// The call has a connection. A stream says so at its start, since its end may be far; a unary call need
    /// not.
    pub(crate) fn connected(&mut self) {
        if self.kind != Kind::Well {
            self.kind = Kind::Well;
            self.slot.state().recovered();
        }
    }

    /// The call has succeeded, now.
    pub(crate) fn succeeded(mut self) {
        self.connected();
        self.reported = true;
        let state = self.slot.state();
        state.seen_alive();
        state.seen_latency(self.started.elapsed());
    }

    /// A later attempt at another node was faster, and this one was given up: it took so long at least.
    pub(crate) fn overtaken(self) {
        if self.kind == Kind::Probe {
            return self.failed(Failure::TimedOut);
        }
        self.slot.state().seen_latency(self.started.elapsed());
    }

    /// The attempt has failed.
    pub(crate) fn failed(mut self, failure: Failure) {
        self.reported = true;
        let probe = self.kind == Kind::Probe;
        match failure {
            Failure::Connection => self.slot.state().connection_failed(probe),
            Failure::Lost | Failure::TimedOut if probe => {
                self.slot.state().connection_failed(probe);
            }
            Failure::Lost | Failure::TimedOut => {}
            Failure::Answered => {
                self.connected();
                self.slot.state().seen_alive();
            }
        }
    }
}

impl<C> Drop for Picked<C> {
    fn drop(&mut self) {
        let state = self.slot.state();
        state.in_flight.fetch_sub(1, Ordering::Relaxed);
        if self.kind == Kind::Probe && !self.reported {
            state.probe_released();
        }
    }
}

impl<C> fmt::Debug for Picked<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Picked")
            .field("node", &self.slot.node())
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

// ===== impl NoNode =====

impl NoNode {
    pub(super) fn new(numbers: Numbers) -> NoNode {
        NoNode(Box::new(numbers))
    }

    /// Whether the registry knows of no node at all, so that a look-up may help.
    pub(crate) fn is_unknown(&self) -> bool {
        self.0.seen == self.0.filtered
    }
}

impl fmt::Display for NoNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Numbers {
            service,
            registry,
            looked,
            answered,
            seen,
            filtered,
            aside,
            tried,
            declined,
            probe_in,
            error,
        } = &*self.0;
        if *seen == 0 && *answered {
            write!(f, "service {service:?} is not in the registry {registry}")?;
        } else if *seen == 0 {
            write!(
                f,
                "service {service:?} could not be looked up in the registry {registry}"
            )?;
        } else {
            write!(
                f,
                "service {service:?} has no node to call in the registry {registry}"
            )?;
        }
        if *declined {
            f.write_str(", the selector's strategy chose none")?;
        }
        write!(
            f,
            ": looked for {:.1} s; nodes: {seen} seen, {filtered} filtered out, {aside} put aside, {tried} tried",
            looked.as_secs_f64()
        )?;
        if let Some(probe_in) = probe_in {
            write!(f, ", the next probe in {:.1} s", probe_in.as_secs_f64())?;
        }
        if let Some(error) = error {
            write!(f, "; the registry's last error: {error}")?;
        }
        Ok(())
    }
}

impl From<NoNode> for Status {
    fn from(no_node: NoNode) -> Status {
        Status::new(Code::Unavailable, no_node.to_string())
    }
}
