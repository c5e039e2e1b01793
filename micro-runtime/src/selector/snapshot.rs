//! [`Snapshot`]: the nodes of a service at one moment, split into those that calls go to and those put aside.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use super::choice::Choice;
use super::health::State;
use super::node::Slot;
use super::nodes::{Member, Nodes, Tried};
use super::table::Connections;
use super::weight;

/// So many tried nodes are left out without memory of their own.
const BEEN_INLINE: usize = 8;

/// So much more than before may come to the nodes of a zone, when some of them are not well, before calls go
/// elsewhere (the overprovisioning factor of Envoy's priorities).
const SPILL: f32 = 1.4;

/// What balancers pick from. It never changes, so that it is read without a lock.
pub(super) struct Snapshot<C> {
    /// The nodes that the filters keep, as strategies see them …
    members: Arc<[Member]>,
    /// … and in the same order what a pick gives.
    slots: Arc<[Arc<Slot<C>>]>,
    /// Places of those that calls go to; `None` if that is all of them.
    ready: Option<Box<[u32]>>,
    /// Where each of those ends by its weight; `None` if all have the same.
    ends: Option<Box<[u64]>>,
    /// How many are put aside.
    aside: usize,
    /// Places of those that a probe brings back.
    probed: Box<[u32]>,
    /// When the first of them may be probed, in nanoseconds on the selector's clock; `u64::MAX` if none waits for it.
    next_probe: u64,
    /// How many there were before the filters.
    seen: usize,
    /// The part of the calls that these nodes take, if others could take them too; all from 1 on.
    takes: f32,
}

/// The nodes of a service as the registry last named them, before any choice among them, in the same order twice.
pub(super) struct Everyone<C> {
    pub(super) members: Arc<[Member]>,
    pub(super) slots: Arc<[Arc<Slot<C>>]>,
}

/// Places, among the ready ones, that a call has been to.
#[derive(Debug, Default)]
pub(super) struct Been {
    inline: [usize; BEEN_INLINE],
    len: usize,
    spilled: Vec<usize>,
}

// ===== impl Everyone =====

impl<C> Default for Everyone<C> {
    fn default() -> Everyone<C> {
        Everyone {
            members: Arc::default(),
            slots: Arc::default(),
        }
    }
}

// ===== impl Snapshot =====

impl<C> Snapshot<C> {
    pub(super) fn new(all: &Everyone<C>, choice: &Choice, seed: u64) -> Snapshot<C> {
        let seen = all.members.len();
        if choice.is_all() {
            return Snapshot::split(Arc::clone(&all.members), Arc::clone(&all.slots), seen);
        }
        let keeps = |place: &usize| all.members.get(*place).is_some_and(|m| choice.keeps(m));
        let mut kept: Vec<usize> = (0..seen).filter(keeps).collect();
        let hashes = kept
            .iter()
            .map(|place| all.members.get(*place).map_or(0, |m| m.hash));
        if let Some(subset) = choice.subset_of(hashes, seed) {
            let subset = subset.iter();
            kept = subset
                .filter_map(|place| kept.get(*place as usize).copied())
                .collect();
        }
        let members = kept
            .iter()
            .filter_map(|place| all.members.get(*place).cloned());
        let slots = kept
            .iter()
            .filter_map(|place| all.slots.get(*place).cloned());
        Snapshot::split(members.collect(), slots.collect(), seen)
    }

    /// The same nodes, by their health of now.
    pub(super) fn with_health_of_now(&self) -> Snapshot<C> {
        Snapshot::split(
            Arc::clone(&self.members),
            Arc::clone(&self.slots),
            self.seen,
        )
    }

    /// Puts aside the nodes that are not well, but never more than half of all, and so never the only one.
    ///
    /// The rest of them stay in use (Envoy's panic threshold is the same half): when so many fail it is more
    /// likely that we are cut off than that they are all dead, and the few left would drown. Those stay that
    /// would be probed soonest. They are probed too, while any node is well: a strategy that prefers what is well
    /// gives them no calls by which they could show that they are.
    fn split(members: Arc<[Member]>, slots: Arc<[Arc<Slot<C>>]>, seen: usize) -> Snapshot<C> {
        let mut ill: Vec<(u64, u32)> = members
            .iter()
            .zip(0..)
            .filter_map(|(member, place)| match member.state.health.state() {
                State::Closed => None,
                State::Open(until) => Some((until, place)),
                State::HalfOpen | State::Dialling => Some((u64::MAX, place)),
            })
            .collect();
        let most = members.len() / 2;
        let panic = ill.len() > most;
        let some_are_well = ill.len() < members.len();
        let places = |ill: &[(u64, u32)]| {
            let mut places: Box<[u32]> = ill.iter().map(|(_, place)| *place).collect();
            places.sort_unstable();
            places
        };
        let first = |ill: &[(u64, u32)]| ill.iter().map(|(until, _)| *until).min();
        let all = (panic && some_are_well).then(|| (first(&ill), places(&ill)));
        if panic {
            ill.sort_unstable_by(|a, b| b.cmp(a));
            ill.truncate(most);
        }
        let aside = places(&ill);
        let ready = (!aside.is_empty()).then(|| all_but(members.len(), &aside));
        let weights = members.iter().map(|member| member.weight);
        let ends = match &ready {
            None => weight::ends(weights),
            Some(ready) => {
                let ready: &[u32] = ready;
                let ready = ready
                    .iter()
                    .filter_map(|place| members.get(*place as usize));
                weight::ends(ready.map(|member| member.weight))
            }
        };
        let well = members.len() - aside.len();
        let aside_len = aside.len();
        let (next_probe, probed) = all.unwrap_or_else(|| (first(&ill), aside));
        Snapshot {
            // Below half nobody knows how many are well, and it does not matter.
            takes: if panic || members.is_empty() {
                0.0
            } else {
                SPILL * well as f32 / members.len() as f32
            },
            ends,
            members,
            slots,
            ready,
            aside: aside_len,
            probed,
            next_probe: next_probe.map_or(u64::MAX, |millis| millis.saturating_mul(1_000_000)),
            seen,
        }
    }

    pub(super) fn members(&self) -> &[Member] {
        &self.members
    }

    /// What a strategy sees of it.
    pub(super) fn nodes<'a>(
        &'a self,
        been: &'a [usize],
        turn: &'a AtomicUsize,
        now: u64,
    ) -> Nodes<'a> {
        Nodes {
            members: &self.members,
            ready: self.ready.as_deref(),
            ends: self.ends.as_deref(),
            been,
            turn,
            now,
        }
    }

    pub(super) fn slot(&self, member: usize) -> Option<&Arc<Slot<C>>> {
        self.slots.get(member)
    }

    pub(super) fn slots(&self) -> &[Arc<Slot<C>>] {
        &self.slots
    }

    pub(super) fn seen(&self) -> usize {
        self.seen
    }

    /// Whether a call goes to these nodes, if it could go to others too.
    pub(super) fn takes_call(&self) -> bool {
        self.takes >= 1.0 || (self.takes > 0.0 && fastrand::f32() < self.takes)
    }

    pub(super) fn aside(&self) -> usize {
        self.aside
    }

    /// In milliseconds.
    pub(super) fn next_probe(&self) -> Option<u64> {
        (self.next_probe != u64::MAX).then_some(self.next_probe / 1_000_000)
    }

    /// Whether a node may be probed now, in nanoseconds.
    pub(super) fn probe_due(&self, now: u64) -> bool {
        self.next_probe <= now
    }

    /// Where the call has been.
    pub(super) fn been(&self, tried: &Tried) -> Been {
        let mut been = Been::default();
        let mut visit = |place: usize, member: Option<&Member>| {
            if member.is_some_and(|member| tried.contains(member.state.serial)) {
                been.push(place);
            }
        };
        match &self.ready {
            None => {
                for (place, member) in self.members.iter().enumerate() {
                    visit(place, Some(member));
                }
            }
            Some(ready) => {
                for (place, member) in ready.iter().enumerate() {
                    visit(place, self.members.get(*member as usize));
                }
            }
        }
        been
    }
}

impl<C: Connections> Snapshot<C> {
    /// A node put aside whose time has come, if nobody else has taken it up and the call has not been there.
    /// Those that have no connection to be trusted are dialled meanwhile.
    pub(super) fn claim_probe(&self, tried: Option<&Tried>, now: u64) -> Option<&Arc<Slot<C>>> {
        self.probed
            .iter()
            .filter_map(|place| self.slots.get(*place as usize))
            .find(|slot| {
                let state = slot.state();
                if slot.is_suspect() || !slot.payload().is_connected() {
                    if state.health.claim_dial(now) {
                        C::dial(slot);
                    }
                    return false;
                }
                !tried.is_some_and(|tried| tried.contains(state.serial)) && state.health.claim(now)
            })
    }
}

/// The numbers below `len`, without those of an ascending list.
fn all_but(len: usize, without: &[u32]) -> Box<[u32]> {
    let mut all = Vec::with_capacity(len.saturating_sub(without.len()));
    let mut without = without.iter().copied().peekable();
    for place in (0..).take(len) {
        if without.next_if_eq(&place).is_none() {
            all.push(place);
        }
    }
    all.into()
}

// ===== impl Been =====

impl Been {
    fn push(&mut self, place: usize) {
        match self.inline.get_mut(self.len) {
            Some(slot) if self.spilled.is_empty() => {
                *slot = place;
                self.len += 1;
            }
            _ => {
                if self.spilled.is_empty() {
                    self.spilled.extend_from_slice(&self.inline);
                }
                self.spilled.push(place);
            }
        }
    }

    /// Ascending, as they were found.
    pub(super) fn places(&self) -> &[usize] {
        if self.spilled.is_empty() {
            self.inline.get(..self.len).unwrap_or_default()
        } else {
            &self.spilled
        }
    }
}
