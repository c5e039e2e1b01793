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
    /// Picks among the nodes of the client's own zone, which are asked first.
    local: Option<Arc<Balancer<C>>>,
    strategy: Arc<dyn Strategy>,
    snapshot: ArcSwap<Snapshot<C>>,
    turn: AtomicUsize,
    /// Somebody picks from it: its nodes are worth a connection ahead of their first call.
    used: AtomicBool,
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
        if let Some(local) = &self.local
            && local.snapshot.load().takes_call()
            && let Ok(picked) = local.pick(call)
        {
            return Ok(picked);
        }
        let now = call.now.unwrap_or_else(Instant::now);
        let nanos = self.core.clock.nanos_at(now);
        let snapshot = self.snapshot.load();
        let millis = nanos / 1_000_000;
        if snapshot.probe_due(millis) {
            let probe = snapshot.claim_probe(call.tried, millis);
            self.core.health_changed();
            if let Some(slot) = probe {
                return Ok(Picked::new(Arc::clone(slot), now, Kind::Probe));
            }
        }
        let slot = self.choose(&snapshot, call, nanos)?;
        let (state, kind) = (slot.state(), slot.kind());
        if kind == Kind::Well && state.is_mute_with_many(nanos) {
            state.put_aside(nanos, true, false);
            // Once more among those that are left. Should they be mute too, the next calls find out.
            let snapshot = self.snapshot.load();
            let slot = self.choose(&snapshot, call, nanos)?;
            return Ok(Picked::new(Arc::clone(slot), now, slot.kind()));
        }
        Ok(Picked::new(Arc::clone(slot), now, kind))
    }

    fn choose<'a>(
        &self,
        snapshot: &'a Snapshot<C>,
        call: &CallInfo<'_>,
        now: u64,
    ) -> Result<&'a Arc<Slot<C>>, NoNode> {
        let been = match call.tried {
            Some(tried) if tried.len() > 0 => snapshot.been(tried),
            _ => Been::default(),
        };
        let nodes = snapshot.nodes(&been, &self.turn, now);
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
        local: Option<Arc<Balancer<C>>>,
        strategy: Arc<dyn Strategy>,
        snapshot: Snapshot<C>,
    ) -> Balancer<C> {
        Balancer {
            core,
            choice,
            local,
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
