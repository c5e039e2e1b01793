//! [`Model`]: what is known of one service, and the rules by which answers and events change it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Fate;
use crate::registry::{Action, Event, Node, Service};

/// How long a node stays that an answer no longer names, although nobody said it left: twice the time for
/// which services register (90 s), so that one lost renewal costs no node.
pub(super) const GRACE: Duration = Duration::from_secs(180);

/// The most nodes of one service that are taken in. What a registry says is input from outside.
const MAX_NODES: usize = 65_536;

/// Deletions that follow one another this closely are looked at together: a registry that has lost its data
/// says them all at once, nodes that are stopped seldom do.
const BURST: Duration = Duration::from_millis(500);

/// A node and the version of the service it runs; the service in it has no nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) node: Arc<Node>,
    pub(crate) service: Arc<Service>,
}

/// A node is the same as long as its id and its address are.
type Key = (String, String);

#[derive(Debug)]
struct Record {
    known: Known,
    /// Set while the registry does not name the node and it is kept all the same.
    kept_until: Option<Instant>,
    /// Whether the answer that is being taken over names it.
    named: bool,
}

#[derive(Debug, Default)]
pub(super) struct Model {
    records: BTreeMap<Key, Record>,
    /// What was last said of each version, so that all of its nodes share one copy.
    versions: BTreeMap<String, Arc<Service>>,
    burst: Option<Burst>,
}

/// Deletions close together.
#[derive(Debug)]
struct Burst {
    began: Instant,
    /// The nodes that the registry named before.
    listed: usize,
    deleted: usize,
    /// Those that were believed.
    gone: Vec<(Key, Known)>,
}

// ===== impl Model =====

impl Model {
    /// The nodes in the order of their ids.
    pub(super) fn nodes(&self) -> Vec<Known> {
        self.records
            .values()
            .map(|record| record.known.clone())
            .collect()
    }

    /// Whether there are nodes that the registry does not name.
    pub(super) fn keeps_any(&self) -> bool {
        self.records
            .values()
            .any(|record| record.kept_until.is_some())
    }

    /// Takes over the answer to a query; says whether anything changed.
    ///
    /// A node that the answer leaves out goes at once if it cannot be reached, and stays for [`GRACE`] if it
    /// was last seen to work. Of one that is neither, the answer is believed, unless it takes every node of
    /// two or more, or more than half of them at once: then the registry is more likely to be ill than the
    /// service (Nacos calls this empty-list protection).
    pub(super) fn answer(
        &mut self,
        services: Vec<Service>,
        now: Instant,
        fate: &dyn Fn(&Node) -> Fate,
    ) -> bool {
        let listed = self.listed();
        let mut changed = false;
        let mut named: Vec<(Node, Arc<Service>)> = Vec::new();
        for mut service in services {
            let nodes = std::mem::take(&mut service.nodes);
            let (service, _) = self.version(service);
            let nodes = nodes.into_iter().filter(|node| !node.address.is_empty());
            let room = MAX_NODES - named.len();
            named.extend(nodes.take(room).map(|node| (node, Arc::clone(&service))));
        }
        // In the order of the records, so that one walk along both is enough: ten thousand look-ups and copies of
        // keys would take several times as long. Registries mostly give this order already.
        named.sort_by(|(a, _), (b, _)| borrowed(a).cmp(&borrowed(b)));
        // Of two words about one node the later one holds.
        named.dedup_by(|(later, _), (earlier, _)| {
            let same = borrowed(later) == borrowed(earlier);
            if same {
                std::mem::swap(later, earlier);
            }
            same
        });
        let none = named.is_empty();
        let mut named = named.into_iter().peekable();
        let mut came = Vec::new();
        let mut missing = 0_usize;
        for (key, record) in &mut self.records {
            let key = (key.0.as_str(), key.1.as_str());
            while let Some(new) = named.next_if(|(node, _)| borrowed(node) < key) {
                came.push(new);
            }
            match named.next_if(|(node, _)| borrowed(node) == key) {
                Some((node, service)) => {
                    changed |= record.take(node, &service);
                    record.named = true;
                }
                None => {
                    record.named = false;
                    missing += usize::from(record.kept_until.is_none());
                }
            }
        }
        came.extend(named);
        changed |= !came.is_empty();
        let before = self.records.len();
        let doubtful = if none {
            before >= 2
        } else {
            listed >= 2 && missing * 2 > listed
        };
        self.records.retain(|_, record| {
            if record.named {
                return true;
            }
            match (fate(&record.known.node), record.kept_until) {
                (Fate::Dead, _) => false,
                (_, Some(until)) => now < until,
                (Fate::Unknown, None) if !doubtful => false,
                (Fate::Unknown | Fate::Alive, None) => {
                    record.kept_until = Some(now + GRACE);
                    true
                }
            }
        });
        changed |= before != self.records.len();
        let came = came
            .into_iter()
            .map(|(node, service)| (key(&node), Record::new(node, service)));
        self.records.extend(came);
        self.forget_versions();
        changed
    }

    /// Takes over nodes of former times, beside what is known by now; says whether anything changed. They
    /// stay as if the registry had named them, until it answers.
    pub(super) fn restore(&mut self, services: Vec<Service>) -> bool {
        let mut changed = false;
        for mut service in services {
            let nodes = std::mem::take(&mut service.nodes);
            let version = self.versions.get(&service.version).cloned();
            let service = version.unwrap_or_else(|| self.version(service).0);
            for node in nodes {
                let key = key(&node);
                let known = self.with_id(&node.id).next().is_some();
                if !node.address.is_empty() && !known && self.records.len() < MAX_NODES {
                    changed |= self.put(key, node, &service);
                }
            }
        }
        self.forget_versions();
        changed
    }

    /// Takes over an event; says whether anything changed. What an event says left, left, unless events take
    /// more than half of two or more nodes at once: of those, the ones that can be reached as far as anyone
    /// knows stay for [`GRACE`], as if an answer had left them out.
    pub(super) fn event(
        &mut self,
        event: Event,
        now: Instant,
        fate: &dyn Fn(&Node) -> Fate,
    ) -> bool {
        let Event {
            action,
            mut service,
        } = event;
        let nodes = std::mem::take(&mut service.nodes);
        if action == Action::Delete {
            return self.delete(&service, &nodes, now, fate);
        }
        let (service, differs) = self.version(service);
        let mut changed = false;
        for node in nodes {
            if node.address.is_empty() {
                continue;
            }
            let key = key(&node);
            if !node.id.is_empty() {
                // The node has moved: its former address is nobody's.
                let moved: Vec<Key> = self
                    .with_id(&node.id)
                    .filter(|other| **other != key)
                    .cloned()
                    .collect();
                for other in moved {
                    changed |= self.records.remove(&other).is_some();
                }
            }
            if self.records.len() >= MAX_NODES && !self.records.contains_key(&key) {
                continue;
            }
            changed |= self.put(key, node, &service);
        }
        if differs {
            // Other nodes of the version have what is now said of the version, as in go-micro's cache.
            for record in self.records.values_mut() {
                let known = &mut record.known;
                if known.service.version == service.version
                    && !Arc::ptr_eq(&known.service, &service)
                {
                    known.service = Arc::clone(&service);
                    changed = true;
                }
            }
        }
        self.forget_versions();
        changed
    }

    /// Removes kept nodes whose grace is over or that turned out dead; says whether there were any.
    pub(super) fn prune(&mut self, now: Instant, fate: &dyn Fn(&Node) -> Fate) -> bool {
        let before = self.records.len();
        self.records.retain(|_, record| match record.kept_until {
            None => true,
            Some(until) => now < until && fate(&record.known.node) != Fate::Dead,
        });
        self.forget_versions();
        before != self.records.len()
    }

    /// The shared copy of what is said of a version, and whether it differs from what was said before.
    fn version(&mut self, service: Service) -> (Arc<Service>, bool) {
        match self.versions.get(&service.version) {
            Some(shared) if **shared == service => (Arc::clone(shared), false),
            _ => {
                let shared = Arc::new(service);
                self.versions
                    .insert(shared.version.clone(), Arc::clone(&shared));
                (shared, true)
            }
        }
    }

    fn forget_versions(&mut self) {
        let Model {
            records, versions, ..
        } = self;
        // What is worth the look: nothing is lost with a version too many.
        if versions.len() > records.len() {
            let used: BTreeSet<&str> = records
                .values()
                .map(|record| record.known.service.version.as_str())
                .collect();
            versions.retain(|version, _| used.contains(version.as_str()));
        }
    }

    fn put(&mut self, key: Key, node: Node, service: &Arc<Service>) -> bool {
        match self.records.get_mut(&key) {
            Some(record) => record.take(node, service),
            None => {
                let record = Record::new(node, Arc::clone(service));
                self.records.insert(key, record);
                true
            }
        }
    }

    /// A deletion that names no node means every node of the version, or of the service if it names no
    /// version either (go-micro v6 cache: "delete with no nodes").
    fn delete(
        &mut self,
        service: &Service,
        nodes: &[Node],
        now: Instant,
        fate: &dyn Fn(&Node) -> Fate,
    ) -> bool {
        let mut keys: Vec<Key> = Vec::new();
        if nodes.is_empty() {
            let version = &service.version;
            let meant =
                |record: &Record| version.is_empty() || record.known.service.version == *version;
            let meant = self.records.iter().filter(|(_, record)| meant(record));
            keys.extend(meant.map(|(key, _)| key.clone()));
        }
        for node in nodes {
            // Some registries name the node by its id alone when it goes.
            if node.address.is_empty() {
                keys.extend(self.with_id(&node.id).cloned());
            } else {
                keys.push(key(node));
            }
        }
        let changed = self.delete_all(keys, now, fate);
        self.forget_versions();
        changed
    }

    fn delete_all(&mut self, keys: Vec<Key>, now: Instant, fate: &dyn Fn(&Node) -> Fate) -> bool {
        let mut burst = match self.burst.take() {
            Some(burst) if now.duration_since(burst.began) <= BURST => burst,
            _ => Burst {
                began: now,
                listed: self.listed(),
                deleted: 0,
                gone: Vec::new(),
            },
        };
        let mut changed = false;
        for key in keys {
            let Some(record) = self.records.remove(&key) else {
                continue;
            };
            changed = true;
            if record.kept_until.is_none() {
                burst.deleted += 1;
                burst.gone.push((key, record.known));
            }
        }
        if burst.listed >= 2 && burst.deleted * 2 > burst.listed {
            for (key, known) in burst.gone.drain(..) {
                let new = self.with_id(&key.0).next().is_none();
                if new && fate(&known.node) != Fate::Dead {
                    let kept_until = Some(now + GRACE);
                    let record = Record {
                        known,
                        kept_until,
                        named: false,
                    };
                    self.records.insert(key, record);
                }
            }
        }
        self.burst = Some(burst);
        changed
    }

    /// How many nodes the registry names.
    fn listed(&self) -> usize {
        let records = self.records.values();
        records.filter(|record| record.kept_until.is_none()).count()
    }

    fn with_id<'a>(&'a self, id: &'a str) -> impl Iterator<Item = &'a Key> {
        self.records
            .range((id.to_owned(), String::new())..)
            .map(|(key, _)| key)
            .take_while(move |key| key.0 == id)
    }
}

// ===== impl Record =====

impl Record {
    fn new(node: Node, service: Arc<Service>) -> Record {
        Record {
            known: Known {
                node: Arc::new(node),
                service,
            },
            kept_until: None,
            named: true,
        }
    }

    /// Takes over what is said of the node; says whether that is news.
    fn take(&mut self, node: Node, service: &Arc<Service>) -> bool {
        self.kept_until = None;
        let known = &mut self.known;
        let same_node = *known.node == node;
        let same_service = Arc::ptr_eq(&known.service, service) || known.service == *service;
        if !same_node {
            known.node = Arc::new(node);
        }
        if !same_service {
            known.service = Arc::clone(service);
        }
        !(same_node && same_service)
    }
}

fn borrowed(node: &Node) -> (&str, &str) {
    (&node.id, &node.address)
}

fn key(node: &Node) -> Key {
    (node.id.clone(), node.address.clone())
}

#[cfg(test)]
mod tests;
