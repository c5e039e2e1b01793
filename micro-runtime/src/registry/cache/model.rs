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
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    const NODES: usize = 8;

    #[derive(Clone, Debug)]
    enum Step {
        /// An answer with the nodes whose bits are set, some of them in a second version.
        Answer(u8, u8),
        Came(usize),
        Left(usize),
        Fate(usize, u8),
        Advance(u64),
        Prune,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (any::<u8>(), any::<u8>()).prop_map(|(bits, second)| Step::Answer(bits, second)),
            1 => Just(Step::Answer(0, 0)),
            2 => (0..NODES).prop_map(Step::Came),
            2 => (0..NODES).prop_map(Step::Left),
            3 => (0..NODES, 0..3u8).prop_map(|(node, fate)| Step::Fate(node, fate)),
            2 => (0..200u64).prop_map(Step::Advance),
            1 => Just(Step::Prune),
        ]
    }

    fn service(version: &str, nodes: impl IntoIterator<Item = usize>) -> Service {
        Service {
            version: version.into(),
            nodes: nodes
                .into_iter()
                .map(|n| Node {
                    id: n.to_string(),
                    address: format!("10.0.0.7:{n}"),
                    ..Node::default()
                })
                .collect(),
            ..Service::default()
        }
    }

    fn known(model: &Model) -> BTreeSet<usize> {
        let nodes = model.nodes().into_iter();
        nodes.map(|known| known.node.id.parse().unwrap()).collect()
    }

    proptest! {
        /// After an answer: what it names is there; what is there besides was there before, can be reached as
        /// far as anyone knows, and was left out for less than the grace; and two living nodes or more never
        /// become none. After an event, exactly its nodes have come or gone.
        #[test]
        fn answers_add_and_events_remove(steps in proptest::collection::vec(step(), 1..60)) {
            let mut now = Instant::now();
            let mut model = Model::default();
            let mut fates = [Fate::Unknown; NODES];
            let mut left_out: BTreeMap<usize, Instant> = BTreeMap::new();
            for step in steps {
                let before = known(&model);
                let fate = |node: &Node| fates[node.id.parse::<usize>().unwrap()];
                match step {
                    Step::Answer(bits, second) => {
                        let named: BTreeSet<usize> =
                            (0..NODES).filter(|n| bits >> n & 1 == 1).collect();
                        let in_second = |n: &usize| second >> n & 1 == 1;
                        let services = vec![
                            service("1", named.iter().copied().filter(|n| !in_second(n))),
                            service("2", named.iter().copied().filter(in_second)),
                        ];
                        model.answer(services, now, &fate);
                        let after = known(&model);
                        prop_assert!(named.is_subset(&after));
                        for n in &named {
                            left_out.remove(n);
                        }
                        for n in after.difference(&named) {
                            prop_assert!(before.contains(n));
                            prop_assert!(fates[*n] != Fate::Dead);
                            let since = *left_out.entry(*n).or_insert(now);
                            prop_assert!(now - since < GRACE);
                        }
                        if named.is_empty() && before.len() >= 2 {
                            let stays = |n: &usize| {
                                let kept = left_out.get(n).is_none_or(|since| now - *since < GRACE);
                                kept && fates[*n] != Fate::Dead
                            };
                            prop_assert_eq!(&after, &before.iter().copied().filter(stays).collect());
                        }
                        for known in model.nodes() {
                            let n: usize = known.node.id.parse().unwrap();
                            if named.contains(&n) {
                                let version = if in_second(&n) { "2" } else { "1" };
                                prop_assert_eq!(&known.service.version, version);
                            }
                        }
                        left_out.retain(|n, _| after.contains(n));
                    }
                    Step::Came(n) => {
                        let event = Event { action: Action::Create, service: service("1", [n]) };
                        let changed = model.event(event.clone(), now, &fate);
                        prop_assert!(changed || before.contains(&n));
                        prop_assert!(!model.event(event, now, &fate), "the same again is no change");
                        let mut expected = before;
                        expected.insert(n);
                        prop_assert_eq!(known(&model), expected);
                        left_out.remove(&n);
                    }
                    Step::Left(n) => {
                        // Each by itself; of many at once, the next test.
                        now += BURST + Duration::from_millis(1);
                        let event = Event { action: Action::Delete, service: service("1", [n]) };
                        prop_assert_eq!(model.event(event, now, &fate), before.contains(&n));
                        let mut expected = before;
                        expected.remove(&n);
                        prop_assert_eq!(known(&model), expected);
                        left_out.remove(&n);
                    }
                    Step::Fate(n, fate) => {
                        fates[n] = [Fate::Unknown, Fate::Alive, Fate::Dead][usize::from(fate)];
                    }
                    Step::Advance(seconds) => now += Duration::from_secs(seconds),
                    Step::Prune => {
                        model.prune(now, &fate);
                        let expected: BTreeSet<usize> = before
                            .into_iter()
                            .filter(|n| match left_out.get(n) {
                                None => true,
                                Some(since) => now - *since < GRACE && fates[*n] != Fate::Dead,
                            })
                            .collect();
                        prop_assert_eq!(known(&model), expected.clone());
                        left_out.retain(|n, _| expected.contains(n));
                    }
                }
                prop_assert_eq!(model.keeps_any(), !left_out.is_empty());
                prop_assert!(model.versions.len() <= model.records.len() + 1);
            }
        }
    }

    #[test]
    fn what_a_registry_floods_is_cut() {
        let mut model = Model::default();
        let unknown = |_: &Node| Fate::Unknown;
        model.answer(
            vec![service("1", 0..MAX_NODES + 10)],
            Instant::now(),
            &unknown,
        );
        assert_eq!(model.nodes().len(), MAX_NODES);
        let event = Event {
            action: Action::Create,
            service: service("1", MAX_NODES..MAX_NODES + 10),
        };
        assert!(!model.event(event, Instant::now(), &unknown));
        assert_eq!(model.nodes().len(), MAX_NODES);
    }

    #[test]
    fn a_burst_of_deletions_is_believed_of_the_dead_alone() {
        let now = Instant::now();
        let fate = |node: &Node| match node.id.as_str() {
            "0" | "1" => Fate::Dead,
            "2" => Fate::Unknown,
            _ => Fate::Alive,
        };
        let deleted = |nodes: &[usize]| Event {
            action: Action::Delete,
            service: service("1", nodes.iter().copied()),
        };
        // One event for all, one event each, and one that names no node.
        let all: Vec<usize> = (0..NODES).collect();
        for events in [
            vec![all.clone()],
            all.iter().map(|n| vec![*n]).collect(),
            vec![vec![]],
        ] {
            let mut model = Model::default();
            model.answer(vec![service("1", 0..NODES)], now, &fate);
            for (passed, nodes) in events.iter().enumerate() {
                let at = now + Duration::from_millis(10 * passed as u64);
                assert!(model.event(deleted(nodes), at, &fate));
            }
            assert_eq!(known(&model), (2..NODES).collect(), "{events:?}");
            assert!(model.keeps_any());
            // Who comes back is a node as any other, and who is silent goes in time.
            let back = Event {
                action: Action::Create,
                service: service("1", [3]),
            };
            model.event(back, now, &fate);
            model.prune(now + 2 * GRACE, &fate);
            assert_eq!(known(&model), BTreeSet::from([3]));
        }
        // Half of them, or all of them one after the other, are stopped.
        for (step, left) in [(Duration::ZERO, 4..8), (2 * BURST, 8..8)] {
            let mut model = Model::default();
            model.answer(vec![service("1", 0..NODES)], now, &fate);
            let gone = if step.is_zero() { 4 } else { NODES };
            for n in 0..gone {
                let at = now + step * u32::try_from(n).unwrap();
                assert!(model.event(deleted(&[n]), at, &fate));
            }
            assert_eq!(known(&model), left.collect());
        }
    }
}
