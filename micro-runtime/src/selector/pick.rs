//! What a pick gives: [`Picked`], a node and the duty to say what became of the call, or [`NoNode`].

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::node::Slot;
use crate::status::{Code, Status};

/// A node picked for one attempt, which counts as a call under way until this is dropped. Dropped without a
/// word, the call was given up: the node would have taken longer than that, which is all that it says.
#[must_use = "dropping it says that the call was given up"]
pub(crate) struct Picked<C> {
    slot: Arc<Slot<C>>,
    started: Instant,
    kind: Kind,
    /// It waits for no reply: its latency says nothing.
    stream: bool,
    reported: bool,
}

/// What stands for the registry of a call that names its node.
pub(super) const NO_REGISTRY: &str = "none";

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

/// How an attempt failed, and what that says of the node.
///
/// | | counts towards five in a row | makes dearer | a probe |
/// |---|---|---|---|
/// | `Connection` | puts aside at once | | fails |
/// | `Lost`, `Unavailable` | yes | yes | fails |
/// | `TimedOut` | yes; puts aside at once if the node is mute | yes | fails |
/// | `Faulty` | no, ends the row | yes | succeeds |
/// | `Goodbye` | no | no | fails |
/// | `Answered` | no, ends the row | no | succeeds |
///
/// RESOURCE_EXHAUSTED is `Faulty`: a node that refuses what is too much for it gets less by being dearer, where
/// putting it aside would put its load on the others, and many services use the code for the quotas of their users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub(crate) enum Failure {
    /// No connection came about: refused, unreachable, timed out. The request has not left. Puts the node
    /// aside at once.
    Connection,
    /// The connection broke with the call on it.
    Lost,
    /// No answer came in time, or the node said that it had none in time.
    TimedOut,
    /// The node answered UNAVAILABLE, or refused the stream.
    Unavailable,
    /// The node answered with a status that commonly speaks of a fault of its own: UNKNOWN, INTERNAL, DATA_LOSS,
    /// RESOURCE_EXHAUSTED.
    Faulty,
    /// The node said goodbye to the connection, and has not processed the call: it stops, and whether one can
    /// connect again decides.
    Goodbye,
    /// The node answered with any other error, which is the application's.
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

// ===== impl Failure =====

impl Failure {
    /// What a status that the node has sent says of it.
    pub(crate) fn answered(code: Code) -> Failure {
        match code {
            Code::Unavailable => Failure::Unavailable,
            Code::DeadlineExceeded => Failure::TimedOut,
            Code::Unknown | Code::Internal | Code::DataLoss | Code::ResourceExhausted => {
                Failure::Faulty
            }
            _ => Failure::Answered,
        }
    }
}

// ===== impl Picked =====

impl<C> Picked<C> {
    /// A call begins now: `started`, which is `nanos` on the selector's clock.
    pub(super) fn begin(slot: Arc<Slot<C>>, started: Instant, nanos: u64, kind: Kind) -> Picked<C> {
        slot.state().load.begin(nanos);
        Picked {
            slot,
            started,
            kind,
            stream: false,
            reported: false,
        }
    }

    #[cfg(test)]
    pub(super) fn new(slot: Arc<Slot<C>>, started: Instant, kind: Kind) -> Picked<C> {
        let nanos = slot.state().clock().nanos_at(started);
        Picked::begin(slot, started, nanos, kind)
    }

    /// The node, with what the client keeps there.
    pub(crate) fn slot(&self) -> &Arc<Slot<C>> {
        &self.slot
    }

    /// Whether this call is the node's probe: it may well fail, and the node is worth no long wait.
    pub(crate) fn is_probe(&self) -> bool {
        self.kind == Kind::Probe
    }

    /// The call was sent only now, after it had waited for a connection: that is no part of its latency.
    pub(crate) fn sent(&mut self) {
        self.started = Instant::now();
    }

    /// The call is a stream that has a connection. It says so at its start, since its end may be far; from now
    /// on nobody waits for a reply.
    pub(crate) fn connected(&mut self) {
        if !self.stream {
            self.stream = true;
            self.slot.state().load.streams();
        }
        self.well();
    }

    /// The call has succeeded, now.
    pub(crate) fn succeeded(mut self) {
        self.reported = true;
        self.well();
        let (now, took) = self.time();
        let state = self.slot.state();
        state.answered(now);
        if !self.stream {
            state.load.succeeded(now, took);
        }
    }

    /// A later attempt at another node was faster, and this one was given up. That is as if it had been
    /// dropped, but that a probe was slow enough to have failed.
    pub(crate) fn overtaken(self) {
        if self.kind == Kind::Probe {
            self.failed(Failure::TimedOut);
        }
    }

    /// An earlier attempt at another node was faster after all, and this one was given up: it had less time, so
    /// that nothing can be said of the node, nor that it is silent.
    pub(crate) fn beaten(mut self) {
        self.reported = true;
        let (now, _) = self.time();
        let state = self.slot.state();
        state.load.answered(now);
        if self.kind == Kind::Probe {
            state.probe_released();
        }
    }

    /// The attempt has failed.
    pub(crate) fn failed(mut self, failure: Failure) {
        self.reported = true;
        let probe = self.kind == Kind::Probe;
        let (now, took) = self.time();
        let state = self.slot.state();
        match failure {
            Failure::Connection => state.connection_failed(probe),
            Failure::Lost | Failure::Unavailable => state.call_failed(now, false, probe),
            Failure::TimedOut => {
                // Before anything is changed by which it is told.
                let mute = state.is_mute(now);
                if !self.stream {
                    state.load.took_at_least(now, took);
                }
                state.call_failed(now, true, probe);
                if mute {
                    state.put_aside(now, true, probe);
                }
            }
            Failure::Goodbye if probe => state.put_aside(now, false, probe),
            Failure::Goodbye => {}
            Failure::Faulty => {
                self.well();
                let state = self.slot.state();
                state.answered(now);
                state.load.failed(now);
            }
            Failure::Answered => {
                self.well();
                self.slot.state().answered(now);
            }
        }
    }

    fn well(&mut self) {
        if self.kind != Kind::Well {
            self.kind = Kind::Well;
            self.slot.state().recovered();
        }
    }

    /// The time, and how much of it the call took.
    fn time(&self) -> (u64, u64) {
        let clock = self.slot.state().clock();
        let now = clock.nanos();
        (now, now.saturating_sub(clock.nanos_at(self.started)))
    }

    /// The call is over, and nobody has said how.
    fn given_up(&self) {
        let state = self.slot.state();
        let probe = self.kind == Kind::Probe;
        let (now, took) = self.time();
        if !self.stream {
            let mute = state.is_mute(now);
            state.load.took_at_least(now, took);
            if mute {
                return state.put_aside(now, true, probe);
            }
            state.load.given_up(now - took);
        }
        if probe {
            state.probe_released();
        }
    }
}

impl<C> Drop for Picked<C> {
    fn drop(&mut self) {
        if !self.reported {
            self.given_up();
        }
        self.slot.state().load.end(self.stream);
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

    /// Whether there were nodes, of which the strategy chose none.
    pub(crate) fn is_declined(&self) -> bool {
        self.0.declined
    }

    /// How long until the first of the nodes put aside is probed.
    pub(crate) fn probe_in(&self) -> Option<Duration> {
        self.0.probe_in
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
        if *registry == NO_REGISTRY {
            return write!(
                f,
                "the node {service:?}, which the call names, cannot be called"
            );
        }
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
