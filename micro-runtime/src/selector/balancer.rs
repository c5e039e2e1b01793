//! [`Balancer`]: picks a node for each call to one service, over an immutable snapshot.

mod again;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::Instant;

use super::choice::Choice;
use super::core::{Core, Source};
use super::node::{Owner, Slot};
use super::nodes::CallInfo;
use super::pick::{Kind, NoNode, Numbers, Picked};
use super::snapshot::{Been, Snapshot};
use super::split::Split;
use super::strategy::Strategy;
use super::table::Connections;
use crate::deadline::Deadline;

pub(in crate::selector) use again::Asked;
pub(crate) use again::News;

/// Picks nodes of one service, for one choice of them. Any number of calls may pick at once: a pick takes no
/// lock and allocates nothing, but where it takes up a probe.
pub(crate) struct Balancer<C> {
    core: Arc<Core<C>>,
    choice: Choice,
    /// What is asked first.
    parts: Option<Parts<C>>,
    strategy: Arc<dyn Strategy>,
    snapshot: ArcSwap<Snapshot<C>>,
    turn: AtomicUsize,
    /// Somebody picks from it: its nodes are worth a connection ahead of their first call.
    used: AtomicBool,
}

/// Balancers among parts of the nodes.
pub(super) enum Parts<C> {
    /// Versions that share the calls.
    Split(Split<C>),
    /// The nodes of the client's own zone.
    Zone(Arc<Balancer<C>>),
}

// ===== impl Balancer =====

impl<C: Connections> Balancer<C> {
    /// A node for one attempt, at once.
    ///
    /// # Errors
    ///
    /// There is none: the service is not known yet ([`NoNode::is_unknown`], then [`ready`](Balancer::ready)
    /// looks it up), or all of its nodes are filtered out, put aside or tried.
    pub(crate) fn pick(&self, call: &CallInfo<'_>) -> Result<Picked<C>, NoNode> {
        if let Source::Registry(entry) = &self.core.source {
            entry.touch();
        }
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
        let now = call.now.unwrap_or_else(Instant::now);
        let nanos = self.core.clock.nanos_at(now);
        if let Some(parts) = &self.parts
            && let Some(picked) = self.pick_part(parts, call, now, nanos)
        {
            return Ok(picked);
        }
        let snapshot = self.snapshot.load();
        if snapshot.probe_due(nanos)
            && let Some(picked) = self.probe(&snapshot, call, now, nanos)
        {
            return Ok(picked);
        }
        let slot = self.choose(&snapshot, call, nanos)?;
        let (state, kind) = (slot.state(), slot.kind());
        if kind == Kind::Well && state.is_mute_with_many(nanos) {
            state.put_aside(nanos, true, false);
            // Once more among those that are left. Should they be mute too, the next calls find out.
            let snapshot = self.snapshot.load();
            let slot = self.choose(&snapshot, call, nanos)?;
            let kind = slot.kind();
            return Ok(Picked::begin(Arc::clone(slot), now, nanos, kind));
        }
        Ok(Picked::begin(Arc::clone(slot), now, nanos, kind))
    }

    /// A node of the parts that are asked first.
    fn pick_part(
        &self,
        parts: &Parts<C>,
        call: &CallInfo<'_>,
        now: Instant,
        nanos: u64,
    ) -> Option<Picked<C>> {
        match parts {
            Parts::Zone(local) => local.pick_if_well(call),
            Parts::Split(split) => {
                // Of all versions: one of which no node is well gets no calls, and would never be well again.
                let snapshot = self.snapshot.load();
                let probe = snapshot.probe_due(nanos);
                let probe = probe.then(|| self.probe(&snapshot, call, now, nanos));
                probe.flatten().or_else(|| split.pick(call))
            }
        }
    }

    /// A node whose probe is due, if this call takes it up.
    #[cold]
    fn probe(
        &self,
        snapshot: &Snapshot<C>,
        call: &CallInfo<'_>,
        now: Instant,
        nanos: u64,
    ) -> Option<Picked<C>> {
        let probe = snapshot.claim_probe(call.tried, nanos / 1_000_000);
        self.core.health_changed();
        probe.map(|slot| Picked::begin(Arc::clone(slot), now, nanos, Kind::Probe))
    }

    /// A node, if its nodes are well enough for this call.
    pub(super) fn pick_if_well(&self, call: &CallInfo<'_>) -> Option<Picked<C>> {
        let takes = self.snapshot.load().takes_call();
        takes.then(|| self.pick(call).ok()).flatten()
    }

    #[inline]
    fn choose<'a>(
        &self,
        snapshot: &'a Snapshot<C>,
        call: &CallInfo<'_>,
        now: u64,
    ) -> Result<&'a Arc<Slot<C>>, NoNode> {
        let been: Been;
        let been = match call.tried {
            Some(tried) if tried.len() > 0 => {
                been = snapshot.been(tried);
                been.places()
            }
            _ => &[],
        };
        let nodes = snapshot.nodes(been, &self.turn, now);
        let offered = !nodes.is_empty();
        let picked = offered
            .then(|| self.strategy.pick(&nodes, call))
            .flatten()
            .and_then(|index| nodes.member(index))
            .and_then(|member| snapshot.slot(member));
        picked.ok_or_else(|| self.no_node(snapshot, call.tried(), offered, Duration::ZERO))
    }

    /// Waits until there is a node that the filters keep, looking the service up if there is none.
    ///
    /// # Errors
    ///
    /// The registry has answered, and there is none: at once. The registry fails, and has not answered by the
    /// deadline.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives up the wait alone; the query goes on for whoever else asks.
    pub(crate) async fn ready(&self, deadline: Deadline) -> Result<(), NoNode> {
        let Source::Registry(entry) = &self.core.source else {
            return Ok(());
        };
        let started = Instant::now();
        let found = || !self.snapshot.load().members().is_empty();
        // Whatever stopped it: what counts is what is known now.
        let looked_up = entry.look_up(deadline, found).await;
        if found() {
            return Ok(());
        }
        tracing::debug!(service = %self.core.name, ?looked_up, "No node found");
        Err(self.no_node(&self.snapshot.load(), 0, false, started.elapsed()))
    }

    /// What the service registered under a key of the metadata of an endpoint: what the first version says
    /// that knows the endpoint.
    pub(crate) fn endpoint_metadata(&self, endpoint: &str, key: &str) -> Option<String> {
        let snapshot = self.snapshot.load();
        let mut endpoints = snapshot
            .members()
            .iter()
            .flat_map(|member| &member.service.endpoints);
        let found = endpoints.find(|found| found.name == endpoint)?;
        found.metadata.get(key).cloned()
    }

    pub(super) fn new(
        core: Arc<Core<C>>,
        choice: Choice,
        parts: Option<Parts<C>>,
        strategy: Arc<dyn Strategy>,
        snapshot: Snapshot<C>,
    ) -> Balancer<C> {
        Balancer {
            core,
            choice,
            parts,
            strategy,
            snapshot: ArcSwap::from_pointee(snapshot),
            turn: AtomicUsize::new(fastrand::usize(..)),
            used: AtomicBool::new(false),
        }
    }

    /// Picks from another snapshot from now on; gives the one before.
    pub(super) fn replace(&self, snapshot: Snapshot<C>) -> Arc<Snapshot<C>> {
        self.snapshot.swap(Arc::new(snapshot))
    }

    /// Picks by the health of the nodes as it is now.
    pub(super) fn follow_health(&self) {
        let snapshot = self.snapshot.load().with_health_of_now();
        self.snapshot.store(Arc::new(snapshot));
    }

    /// Whether there is any node to pick.
    pub(super) fn has_nodes(&self) -> bool {
        !self.snapshot.load().members().is_empty()
    }

    /// Whether anybody picks from it.
    pub(super) fn is_used(&self) -> bool {
        self.used.load(Ordering::Relaxed)
    }

    pub(super) fn choice(&self) -> &Choice {
        &self.choice
    }

    /// The service's name in the registry, or the address.
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.core.name
    }

    #[cold]
    fn no_node(
        &self,
        snapshot: &Snapshot<C>,
        tried: usize,
        declined: bool,
        looked: Duration,
    ) -> NoNode {
        let (answered, error) = match &self.core.source {
            Source::Registry(entry) => {
                let view = entry.view();
                let error = view.stale.as_ref().map(|stale| Arc::clone(&stale.error));
                (view.answered.is_some(), error)
            }
            Source::Fixed(_) => (true, None),
        };
        NoNode::new(Numbers {
            service: Arc::clone(&self.core.name),
            registry: self.core.registry,
            looked,
            answered,
            seen: snapshot.seen(),
            filtered: snapshot.seen() - snapshot.members().len(),
            aside: snapshot.aside(),
            tried,
            declined,
            probe_in: snapshot.next_probe().map(|at| self.core.clock.until(at)),
            error,
        })
    }
}

#[cfg(test)]
impl<C: Connections> Balancer<C> {
    /// How many nodes there are, before the filters.
    pub(super) fn seen(&self) -> usize {
        self.snapshot.load().seen()
    }

    /// The nodes that the filters keep.
    pub(crate) fn slots(&self) -> Vec<Arc<Slot<C>>> {
        let snapshot = self.snapshot.load();
        let places = 0..snapshot.members().len();
        let slots = places.filter_map(|place| snapshot.slot(place).cloned());
        slots.collect()
    }

    /// How many nodes' states are kept, whether they are there or not.
    pub(super) fn remembered(&self) -> usize {
        self.core.remembered()
    }
}

impl<C> fmt::Debug for Balancer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Balancer")
            .field("service", &self.core.name)
            .field("choice", &self.choice)
            .finish_non_exhaustive()
    }
}
