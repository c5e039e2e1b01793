//! [`Selector`]: the balancers of one client, by service.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use super::balancer::Balancer;
use super::choice::Choice;
use super::core::Core;
#[cfg(test)]
use super::filter::Filter;
use super::node::{Clock, Slot};
use super::strategy::Strategy;
use crate::lock::lock;
use crate::registry::DynRegistry;
use crate::registry::cache::Cache;

/// So many services, and as many addresses, are remembered while nobody holds on to them. What is in use does
/// not count: the program has it anyway.
const REMEMBERED: usize = 1024;

/// So many choices among nodes are remembered per service.
const CHOICES_REMEMBERED: usize = 64;

/// The balancers of one client. `C` is what the client keeps with each node: its connections. Clones share
/// everything. When the last one and the last balancer are dropped, the look-ups behind them end.
pub(crate) struct Selector<C>(Arc<Inner<C>>);

/// What a client keeps with each node: its connections.
pub(crate) trait Connections: Sized + Send + Sync + 'static {
    /// Whether a call could be sent at once.
    fn is_connected(&self) -> bool;

    /// Begins to make a connection to a node that is put aside, without waiting. What comes of it is told by
    /// [`Slot::connected`], [`Slot::connection_failed`] or [`Slot::dial_released`].
    fn dial(slot: &Arc<Slot<Self>>);

    /// The registry names the address again, after it did not, or by another node: what failed before says little.
    fn renewed(&self);

    /// The node has come into use: a connection may be made ahead of the first call. Must not wait.
    fn ahead(slot: &Arc<Slot<Self>>);
}

/// Nothing is kept, and nothing is ever in the way.
impl Connections for () {
    fn is_connected(&self) -> bool {
        true
    }

    fn dial(slot: &Arc<Slot<()>>) {
        slot.connected();
    }

    fn renewed(&self) {}

    fn ahead(_: &Arc<Slot<()>>) {}
}

/// Makes the place for what a client keeps with a node.
pub(super) type Make<C> = Arc<dyn Fn() -> C + Send + Sync>;

struct Inner<C> {
    cache: Cache,
    make: Make<C>,
    strategy: Arc<dyn Strategy>,
    clock: Clock,
    /// Held for short sections without a wait.
    tables: Mutex<Tables<C>>,
}

struct Tables<C> {
    services: HashMap<Arc<str>, Held<C>>,
    addresses: HashMap<Arc<str>, Held<C>>,
    /// Counts uses, to tell which came last.
    uses: u64,
}

struct Held<C> {
    core: Arc<Core<C>>,
    plain: Arc<Balancer<C>>,
    chosen: Vec<Arc<Balancer<C>>>,
    used: u64,
}

// ===== impl Selector =====

impl<C: Connections> Selector<C> {
    /// A selector over a registry. Spawns nothing and works outside a runtime. `make` makes what is kept with
    /// each node.
    pub(crate) fn new(
        registry: Arc<dyn DynRegistry>,
        strategy: Arc<dyn Strategy>,
        make: impl Fn() -> C + Send + Sync + 'static,
    ) -> Selector<C> {
        Selector::with_cache(Cache::new(registry), strategy, make)
    }

    /// A selector over what a cache knows.
    pub(crate) fn with_cache(
        cache: Cache,
        strategy: Arc<dyn Strategy>,
        make: impl Fn() -> C + Send + Sync + 'static,
    ) -> Selector<C> {
        Selector(Arc::new(Inner {
            cache,
            make: Arc::new(make),
            strategy,
            clock: Clock::start(),
            tables: Mutex::new(Tables {
                services: HashMap::new(),
                addresses: HashMap::new(),
                uses: 0,
            }),
        }))
    }

    /// The balancer of a service; the same one each time, as long as anyone holds it or it is not forgotten
    /// among very many.
    pub(crate) fn service(&self, name: &str) -> Arc<Balancer<C>> {
        let mut tables = self.lock();
        Arc::clone(&self.held(&mut tables, name).plain)
    }

    /// The balancer of a service over the nodes that are chosen. It shares the nodes' state with
    /// [`service`](Selector::service).
    pub(crate) fn chosen(&self, name: &str, choice: Choice) -> Arc<Balancer<C>> {
        let mut tables = self.lock();
        let held = self.held(&mut tables, name);
        if choice.is_all() {
            return Arc::clone(&held.plain);
        }
        if let Some(place) = held.chosen.iter().position(|b| *b.choice() == choice) {
            // The last one is the one used last.
            let balancer = held.chosen.remove(place);
            held.chosen.push(Arc::clone(&balancer));
            return balancer;
        }
        if held.chosen.len() >= CHOICES_REMEMBERED {
            held.chosen.remove(0);
        }
        let strategy = Arc::clone(&self.0.strategy);
        let balancer = held.core.balancer(choice, strategy);
        held.chosen.push(Arc::clone(&balancer));
        balancer
    }

    /// The same by filters alone.
    #[cfg(test)]
    pub(super) fn filtered(&self, name: &str, filters: &[Filter]) -> Arc<Balancer<C>> {
        self.chosen(name, Choice::of(filters))
    }

    /// The balancer of one address, which is in no registry.
    pub(crate) fn address(&self, address: &str) -> Arc<Balancer<C>> {
        let mut tables = self.lock();
        let Tables {
            addresses, uses, ..
        } = &mut *tables;
        let held = find(addresses, uses, address, |address| {
            Held::new(
                Core::of_address(address, self.0.clock, &self.0.make),
                &self.0.strategy,
            )
        });
        Arc::clone(&held.plain)
    }

    /// The registry's name, for messages.
    pub(crate) fn registry_name(&self) -> &'static str {
        self.0.cache.registry_name()
    }

    /// How many services and addresses are remembered.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> (usize, usize) {
        let tables = self.lock();
        (tables.services.len(), tables.addresses.len())
    }

    fn held<'a>(&self, tables: &'a mut Tables<C>, name: &str) -> &'a mut Held<C> {
        let inner = &self.0;
        find(&mut tables.services, &mut tables.uses, name, |name| {
            let entry = inner.cache.entry(name);
            let core = Core::of_service(
                name,
                inner.cache.registry_name(),
                entry,
                inner.clock,
                &inner.make,
            );
            Held::new(core, &inner.strategy)
        })
    }

    fn lock(&self) -> MutexGuard<'_, Tables<C>> {
        lock(&self.0.tables)
    }
}

impl<C> Clone for Selector<C> {
    fn clone(&self) -> Selector<C> {
        Selector(Arc::clone(&self.0))
    }
}

impl<C> fmt::Debug for Selector<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Selector")
            .field("cache", &self.0.cache)
            .finish_non_exhaustive()
    }
}

// ===== impl Held =====

impl<C: Connections> Held<C> {
    fn new(core: Arc<Core<C>>, strategy: &Arc<dyn Strategy>) -> Held<C> {
        let plain = core.balancer(Choice::default(), Arc::clone(strategy));
        Held {
            core,
            plain,
            chosen: Vec::new(),
            used: 0,
        }
    }

    /// Whether only the table holds it.
    fn is_idle(&self) -> bool {
        std::iter::once(&self.plain)
            .chain(&self.chosen)
            .all(|balancer| Arc::strong_count(balancer) == 1)
    }
}

fn find<'a, C: Connections>(
    table: &'a mut HashMap<Arc<str>, Held<C>>,
    uses: &mut u64,
    name: &str,
    make: impl FnOnce(&Arc<str>) -> Held<C>,
) -> &'a mut Held<C> {
    *uses += 1;
    if !table.contains_key(name) && table.len() >= REMEMBERED {
        let oldest = table
            .iter()
            .filter(|(_, held)| held.is_idle())
            .min_by_key(|(_, held)| held.used)
            .map(|(name, _)| Arc::clone(name));
        if let Some(oldest) = oldest {
            table.remove(&oldest);
        }
    }
    let name: Arc<str> = name.into();
    let held = table
        .entry(Arc::clone(&name))
        .or_insert_with(|| make(&name));
    held.used = *uses;
    held
}
