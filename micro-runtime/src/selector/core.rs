//! [`Core`]: what is known of a service's nodes, whichever way they are picked.

use std::collections::HashMap;
use std::hash::RandomState;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, TryLockError, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::balancer::{Asked, Balancer, Parts};
use super::choice::Choice;
use super::hash;
use super::key::{AddressKey, ByHash, Key, keys};
use super::node::{Clock, Fleet, NodeState, Owner, Slot};
use super::nodes::Member;
use super::pick::NO_REGISTRY;
use super::snapshot::{Everyone, Snapshot};
use super::split::Split;
use super::strategy::Strategy;
use super::table::{Connections, Make};
use super::weight;
use crate::lock::lock;
use crate::registry::cache::{Entry, Fate, Known, Listener};
use crate::registry::{Node, Service};

/// How long the state of a node that went is kept, and with it the client's connections: twice the time for
/// which services register (90 s). A node that returns within it finds both as they were.
const DEPARTED_KEPT: Duration = Duration::from_secs(180);

/// So many of those, or as many as there are nodes, whichever is more.
const DEPARTED_MAX: usize = 64;

/// A service of so many nodes or fewer that is called has a connection to each of them before it is picked. Of a
/// larger one most clients never call most nodes; there the first call makes it.
const AHEAD: usize = 32;

/// What the balancers of a service share: the nodes' state.
pub(super) struct Core<C> {
    pub(super) name: Arc<str>,
    pub(super) registry: &'static str,
    pub(super) source: Source,
    pub(super) clock: Clock,
    make: Make<C>,
    /// Tells this client's subsets from those of others.
    seed: u64,
    fleet: Arc<Fleet>,
    /// Held for short sections without a wait, never by a pick that finds a node that is well.
    state: Mutex<State<C>>,
    /// A node's health has changed since the snapshots were made.
    dirty: AtomicBool,
    /// There is news for whoever waits for a node, which the snapshots may have yet to follow.
    better: AtomicBool,
    news: watch::Sender<()>,
    /// When the registry was asked because the nodes fail.
    pub(super) asked: Asked,
    me: Weak<Core<C>>,
}

/// Where the nodes come from.
pub(super) enum Source {
    Registry(Arc<Entry>),
    /// Always these.
    Fixed(Vec<Known>),
}

struct State<C> {
    slots: HashMap<Key, Tracked<C>, ByHash>,
    /// What the client keeps with each address.
    payloads: HashMap<AddressKey, Weak<C>, ByHash>,
    random: RandomState,
    /// The nodes of the last update.
    current: Everyone<C>,
    /// The snapshots before the last update.
    retired: Vec<Arc<Snapshot<C>>>,
    balancers: Vec<Weak<Balancer<C>>>,
    updates: u64,
}

struct Tracked<C> {
    slot: Arc<Slot<C>>,
    /// The update that last named the node.
    named: u64,
    left: Option<Instant>,
}

// ===== impl Core =====

impl<C: Connections> Core<C> {
    pub(super) fn of_service(
        name: &Arc<str>,
        registry: &'static str,
        entry: Arc<Entry>,
        clock: Clock,
        make: &Make<C>,
    ) -> Arc<Core<C>> {
        let core = Core::new(name, registry, Source::Registry(entry), clock, make);
        if let Source::Registry(entry) = &core.source {
            let listener: Weak<dyn Listener> = core.me.clone();
            entry.listen(listener);
        }
        core.update();
        core
    }

    pub(super) fn of_address(address: &Arc<str>, clock: Clock, make: &Make<C>) -> Arc<Core<C>> {
        let node = Node {
            id: address.to_string(),
            address: address.to_string(),
            ..Node::default()
        };
        let known = Known {
            node: Arc::new(node),
            service: Arc::new(Service::default()),
        };
        let core = Core::new(
            address,
            NO_REGISTRY,
            Source::Fixed(vec![known]),
            clock,
            make,
        );
        core.update();
        core
    }

    pub(super) fn new(
        name: &Arc<str>,
        registry: &'static str,
        source: Source,
        clock: Clock,
        make: &Make<C>,
    ) -> Arc<Core<C>> {
        Arc::new_cyclic(|me| Core {
            make: Arc::clone(make),
            seed: fastrand::u64(..),
            fleet: Arc::default(),
            name: Arc::clone(name),
            registry,
            source,
            clock,
            state: Mutex::new(State {
                slots: HashMap::default(),
                payloads: HashMap::default(),
                random: RandomState::new(),
                current: Everyone::default(),
                retired: Vec::new(),
                balancers: Vec::new(),
                updates: 0,
            }),
            dirty: AtomicBool::new(false),
            better: AtomicBool::new(false),
            news: watch::Sender::default(),
            asked: Asked::default(),
            me: me.clone(),
        })
    }

    /// A balancer over the nodes that are chosen.
    pub(super) fn balancer(
        self: &Arc<Self>,
        choice: Choice,
        strategy: Arc<dyn Strategy>,
    ) -> Arc<Balancer<C>> {
        let shares = choice.shares().map(|(weight, choice)| {
            let balancer = self.balancer(choice, Arc::clone(&strategy));
            (weight, balancer)
        });
        let parts = match (Split::new(shares), choice.within_zone()) {
            (Some(split), _) => Some(Parts::Split(split)),
            (None, Some(choice)) => {
                let local = self.balancer(choice, Arc::clone(&strategy));
                Some(Parts::Zone(local))
            }
            (None, None) => None,
        };
        self.with_state(|state| {
            let snapshot = Snapshot::new(&state.current, &choice, self.seed);
            let core = Arc::clone(self);
            let balancer = Arc::new(Balancer::new(core, choice, parts, strategy, snapshot));
            state
                .balancers
                .retain(|balancer| balancer.strong_count() > 0);
            state.balancers.push(Arc::downgrade(&balancer));
            balancer
        })
    }

    /// Takes over what the registry says now.
    pub(super) fn update(&self) {
        self.with_state(|state| {
            // Read under the lock, so that an older view never follows a newer one.
            match &self.source {
                Source::Registry(entry) => self.take(state, &entry.view().nodes),
                Source::Fixed(nodes) => self.take(state, nodes),
            }
        });
    }

    /// Takes over what somebody else than a registry says.
    pub(super) fn replace(&self, nodes: &[Known]) {
        self.with_state(|state| self.take(state, nodes));
    }

    fn take(&self, state: &mut State<C>, nodes: &[Known]) {
        state.updates += 1;
        let mut members = Vec::with_capacity(nodes.len());
        let mut slots = Vec::with_capacity(nodes.len());
        for known in nodes {
            let (member, slot) = self.member(state, known);
            members.push(member);
            slots.push(slot);
        }
        state.current = Everyone {
            members: members.into(),
            slots: slots.into(),
        };
        state.forget(Instant::now());
        let mut retired = Vec::new();
        state.balancers.retain(|balancer| {
            let Some(balancer) = balancer.upgrade() else {
                return false;
            };
            let snapshot = Snapshot::new(&state.current, balancer.choice(), self.seed);
            // The first nodes are dialled by the calls that wait for them, and told what becomes of it.
            let nodes = snapshot.members().len();
            let is_called = balancer.is_used() && !balancer.choice().is_split();
            if nodes <= AHEAD && is_called && balancer.has_nodes() {
                snapshot.slots().iter().for_each(C::ahead);
            }
            retired.push(balancer.replace(snapshot));
            true
        });
        // A call that is picking from one of them must not be the one that has to free it.
        state.retired = retired;
        self.better.store(true, Ordering::SeqCst);
    }

    /// A node of an update, with what is remembered of it.
    fn member(&self, state: &mut State<C>, known: &Known) -> (Member, Arc<Slot<C>>) {
        let (key, address) = keys(&known.node, &state.random);
        let State {
            slots, payloads, ..
        } = state;
        let tracked = slots
            .entry(key)
            .or_insert_with(|| self.track(known, address, payloads));
        if tracked.left.take().is_some() {
            tracked.slot.payload().renewed();
            tracked.slot.state().returned();
        }
        let new = tracked.slot.set_node(&known.node) || tracked.named == 0;
        let weight = weight::of(&known.node).unwrap_or_else(|text| {
            if new {
                tracing::warn!(service = %self.name, node = %known.node.id, found = text,
                    "Expected a weight from 0 to 1000000 in the node's metadata; it counts as 1");
            }
            weight::ONE
        });
        tracked.named = state.updates;
        let member = Member {
            weight,
            hash: hash::of(known.node.id.as_bytes()),
            node: Arc::clone(&known.node),
            service: Arc::clone(&known.service),
            state: Arc::clone(tracked.slot.state()),
        };
        (member, Arc::clone(&tracked.slot))
    }

    fn track(
        &self,
        known: &Known,
        address: AddressKey,
        payloads: &mut HashMap<AddressKey, Weak<C>, ByHash>,
    ) -> Tracked<C> {
        let payload = match payloads.get(&address).and_then(Weak::upgrade) {
            Some(payload) => {
                payload.renewed();
                payload
            }
            None => {
                let payload = Arc::new((self.make)());
                payloads.insert(address, Arc::downgrade(&payload));
                payload
            }
        };
        let owner: Weak<dyn Owner> = self.me.clone();
        let state = Arc::new(NodeState::new(self.clock, Arc::clone(&self.fleet), owner));
        Tracked {
            slot: Arc::new(Slot::new(state, Arc::clone(&known.node), payload)),
            named: 0,
            left: None,
        }
    }

    /// Changes when there may be a node for whoever waits for one.
    pub(super) fn news(&self) -> watch::Receiver<()> {
        self.news.subscribe()
    }

    /// How many nodes' states are kept, whether they are there or not.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.with_state(|state| state.slots.len())
    }

    /// Runs with the state locked, and afterwards does what [`settle`](Core::settle) left to the lock's holder.
    fn with_state<T>(&self, run: impl FnOnce(&mut State<C>) -> T) -> T {
        let result = run(&mut lock(&self.state));
        self.settle();
        result
    }

    /// Makes the snapshots follow the nodes' health, until they do. Whoever holds the lock does it for whoever
    /// comes meanwhile, so that no call waits for another or for an update.
    fn settle(&self) {
        while self.dirty.load(Ordering::SeqCst) {
            let state = match self.state.try_lock() {
                Ok(state) => state,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => return,
            };
            self.dirty.store(false, Ordering::SeqCst);
            for balancer in state.balancers.iter().filter_map(Weak::upgrade) {
                balancer.follow_health();
            }
        }
        // Only now do the snapshots show what the news is about.
        if self.better.swap(false, Ordering::SeqCst) {
            self.news.send_replace(());
        }
    }
}

impl<C: Connections> Owner for Core<C> {
    fn health_changed(&self) {
        self.dirty.store(true, Ordering::SeqCst);
        self.settle();
    }

    fn improved(&self) {
        self.better.store(true, Ordering::SeqCst);
        self.settle();
    }
}

impl<C: Connections> Listener for Core<C> {
    fn changed(&self) {
        self.update();
    }

    fn tick(&self) {
        self.with_state(|state| state.forget(Instant::now()));
    }

    fn fate(&self, node: &Node) -> Fate {
        // The map asks for a node it can share; this is rare, and a node is small.
        let node = Arc::new(node.clone());
        self.with_state(|state| {
            let (key, _) = keys(&node, &state.random);
            let tracked = state.slots.get(&key);
            tracked.map_or(Fate::Unknown, |tracked| tracked.slot.state().fate())
        })
    }
}

// ===== impl State =====

impl<C> State<C> {
    /// Forgets nodes that left long ago, and the oldest of too many.
    fn forget(&mut self, now: Instant) {
        let mut departed = Vec::new();
        self.slots.retain(|_, tracked| {
            if tracked.named == self.updates {
                return true;
            }
            let left = *tracked.left.get_or_insert(now);
            let keep = now.duration_since(left) < DEPARTED_KEPT;
            if keep {
                departed.push(left);
            }
            keep
        });
        let allowed = self.current.members.len().max(DEPARTED_MAX);
        if departed.len() > allowed {
            departed.sort_unstable();
            let surplus = departed.len() - allowed;
            // Those that left no later than this, which may be a few more if they left together.
            let Some(latest) = departed.get(surplus - 1).copied() else {
                return;
            };
            self.slots
                .retain(|_, tracked| tracked.left.is_none_or(|left| left > latest));
        }
        if self.payloads.len() > 2 * self.slots.len() + DEPARTED_MAX {
            self.payloads
                .retain(|_, payload| payload.strong_count() > 0);
        }
    }
}
