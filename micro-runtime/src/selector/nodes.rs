//! What a strategy sees: the call ([`CallInfo`]), and the nodes it may choose from ([`Nodes`], [`Candidate`]).

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::time;

use super::node::NodeState;
use super::pick::Picked;
use super::weight;
use crate::metadata::Metadata;
use crate::registry::{Node, Service};

/// The nodes that one call may go to: those that the filters keep, without those put aside and those that the
/// call has been to. They are numbered from 0, differently for each call.
pub struct Nodes<'a> {
    pub(super) members: &'a [Member],
    /// Which of the members are ready; `None` if all are.
    pub(super) ready: Option<&'a [u32]>,
    /// Where each of the ready ones ends by its weight; `None` if all have the same.
    pub(super) ends: Option<&'a [u64]>,
    /// Places among the ready ones that the call has been to, ascending.
    pub(super) been: &'a [usize],
    pub(super) turn: &'a AtomicUsize,
    /// The time, by which loads are read.
    pub(super) now: u64,
}

/// A node that a call may go to.
#[derive(Clone, Copy)]
pub struct Candidate<'a> {
    member: &'a Member,
    now: u64,
}

/// The call that a node is picked for.
#[derive(Clone, Copy, Debug)]
pub struct CallInfo<'a> {
    service: &'a str,
    method: &'a str,
    metadata: Option<&'a Metadata>,
    pub(super) tried: Option<&'a Tried>,
    /// The time, if somebody has just looked at the clock.
    pub(super) now: Option<time::Instant>,
}

/// The nodes that a call has been to; the first four need no memory of their own.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tried {
    first: [u64; 4],
    len: usize,
    more: Vec<u64>,
}

/// A node of a snapshot.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) node: Arc<Node>,
    pub(super) service: Arc<Service>,
    pub(super) state: Arc<NodeState>,
    /// In thousandths.
    pub(super) weight: u32,
    /// Of the node's id.
    pub(super) hash: u64,
}

// ===== impl Nodes =====

impl<'a> Nodes<'a> {
    /// How many there are; never zero where a strategy is asked.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ready
            .map_or(self.members.len(), <[u32]>::len)
            .saturating_sub(self.been.len())
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The node with this number; `None` from [`len`](Nodes::len) on.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<Candidate<'a>> {
        let member = self.members.get(self.member(index)?)?;
        Some(Candidate {
            member,
            now: self.now,
        })
    }

    /// All of them, in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = Candidate<'a>> {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    /// Counts the times it is asked, for each service of each client by itself, from a random start and around
    /// its end: what a strategy that takes turns needs.
    #[must_use]
    pub fn turn(&self) -> usize {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }

    /// The weights of all of them together, in a unit of its own; 0 if each of them has none.
    #[must_use]
    pub fn total_weight(&self) -> u64 {
        let Some(ends) = self.ends else {
            return self.len() as u64;
        };
        let been: u64 = self.been.iter().map(|place| width(ends, *place)).sum();
        ends.last().map_or(0, |total| total - been)
    }

    /// The number of the node that holds this point, if all are laid one after the other, each as long as its
    /// weight; `None` from [`total_weight`](Nodes::total_weight) on.
    #[must_use]
    pub fn at_weight(&self, point: u64) -> Option<usize> {
        let Some(ends) = self.ends else {
            let index = usize::try_from(point).ok()?;
            return (index < self.len()).then_some(index);
        };
        let mut point = point;
        for place in self.been {
            // Those that the call has been to are left out: what comes after them moves up.
            if start(ends, *place) <= point {
                point += width(ends, *place);
            }
        }
        let place = ends.partition_point(|end| *end <= point);
        let before = self.been.iter().filter(|been| **been < place).count();
        (place < ends.len()).then(|| place - before)
    }

    /// The place among the members of what has this number here.
    pub(super) fn member(&self, index: usize) -> Option<usize> {
        let mut place = index;
        for been in self.been {
            if *been <= place {
                place += 1;
            }
        }
        match self.ready {
            None => (place < self.members.len()).then_some(place),
            Some(ready) => ready.get(place).map(|member| *member as usize),
        }
    }
}

fn start(ends: &[u64], place: usize) -> u64 {
    let before = place.checked_sub(1).and_then(|before| ends.get(before));
    before.copied().unwrap_or_default()
}

fn width(ends: &[u64], place: usize) -> u64 {
    let end = ends.get(place).copied().unwrap_or_default();
    end.saturating_sub(start(ends, place))
}

impl fmt::Debug for Nodes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

// ===== impl Candidate =====

impl<'a> Candidate<'a> {
    /// Its id, address and metadata, as the registry has them.
    #[must_use]
    pub fn node(&self) -> &'a Node {
        &self.member.node
    }

    /// The version of the service that it runs.
    #[must_use]
    pub fn version(&self) -> &'a str {
        &self.member.service.version
    }

    /// How many calls of this client are under way to it.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.member.state.load.in_flight()
    }

    /// How long its calls are expected to take, by those of this client: the longest of late, drawn down within
    /// some ten seconds to what they take now (peak-EWMA). `None` before the first reply.
    #[must_use]
    pub fn latency(&self) -> Option<Duration> {
        let nanos = self.member.state.load.latency(self.now)?;
        Some(Duration::from_nanos(nanos as u64))
    }

    /// What another call to it would cost, as [`P2c`](super::P2c) compares it: the expected latency times the calls
    /// that would then be under way. A node that nothing is known of costs next to nothing until a call waits for
    /// it, and then more than any other; one whose calls fail costs more.
    #[must_use]
    #[inline]
    pub fn cost(&self) -> f32 {
        self.member.state.load.cost(self.now)
    }

    /// Whether a call is well spent on it though it costs more than another would.
    pub(super) fn is_worth_a_look(&self) -> bool {
        self.is_well() && self.member.state.load.is_worth_a_look(self.now)
    }

    /// Its weight by its metadata, 1 if it has none; [`Weighted`](super::Weighted) says more.
    #[must_use]
    pub fn weight(&self) -> f64 {
        f64::from(self.member.weight) / f64::from(weight::ONE)
    }

    /// A hash of its id, the same in every client.
    pub(crate) fn hash(&self) -> u64 {
        self.member.hash
    }

    /// Whether nothing is known against it. The others are offered only when more than half of the nodes are
    /// out of order (panic threshold); a strategy had better prefer those that are well.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.member.state.health.is_closed()
    }
}

impl fmt::Debug for Candidate<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Candidate")
            .field("id", &self.member.node.id)
            .field("address", &self.member.node.address)
            .field("version", &self.version())
            .field("in_flight", &self.in_flight())
            .field("latency", &self.latency())
            .field("is_well", &self.is_well())
            .finish()
    }
}

// ===== impl CallInfo =====

impl<'a> CallInfo<'a> {
    /// A call's first attempt, to a method such as `/pkg.Greeter/Hello` of a service in the registry.
    #[must_use]
    pub fn new(service: &'a str, method: &'a str) -> CallInfo<'a> {
        CallInfo {
            service,
            method,
            metadata: None,
            tried: None,
            now: None,
        }
    }

    /// The same with the call's metadata.
    #[must_use]
    pub fn with_metadata(mut self, metadata: &'a Metadata) -> CallInfo<'a> {
        self.metadata = Some(metadata);
        self
    }

    /// The same at a time that the caller has read from the clock just now, which spares another look at it: some
    /// 20 ns, a third of what a pick takes. A client's call reads the clock once, when it begins.
    #[must_use]
    pub fn at(mut self, now: Instant) -> CallInfo<'a> {
        self.now = Some(now.into());
        self
    }

    /// The same for an attempt that must not go where the call has been.
    pub(crate) fn with_tried(mut self, tried: &'a Tried) -> CallInfo<'a> {
        self.tried = Some(tried);
        self
    }

    /// The service's name in the registry.
    #[must_use]
    pub fn service(&self) -> &'a str {
        self.service
    }

    /// The method, as the path of its requests.
    #[must_use]
    pub fn method(&self) -> &'a str {
        self.method
    }

    /// What the call sends along.
    #[must_use]
    pub fn metadata(&self) -> Option<&'a Metadata> {
        self.metadata
    }

    /// How many nodes the call has been to already.
    #[must_use]
    pub fn tried(&self) -> usize {
        self.tried.map_or(0, Tried::len)
    }
}

// ===== impl Tried =====

impl Tried {
    /// Adds the node that was picked.
    pub(crate) fn add<C>(&mut self, picked: &Picked<C>) {
        self.push(picked.slot().state().serial);
    }

    fn push(&mut self, serial: u64) {
        match self.first.get_mut(self.len) {
            Some(place) => *place = serial,
            None => self.more.push(serial),
        }
        self.len += 1;
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn contains(&self, serial: u64) -> bool {
        self.first.iter().take(self.len).any(|s| *s == serial) || self.more.contains(&serial)
    }
}
