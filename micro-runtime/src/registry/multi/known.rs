//! [`Known`]: what each registry said last, and how answers are joined.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::registry::common::diff;
use crate::registry::{Action, Event, Node, Service};

/// The most services of which answers are kept; beyond it the one goes that was asked for longest ago. More
/// than one process ever calls.
const NAMES_MAX: usize = 4096;

type Key = (String, String);

/// What each registry said last about each service that was asked for.
#[derive(Debug, Default)]
pub(super) struct Known {
    names: HashMap<String, Name>,
    /// Counts the times that anything was asked.
    round: u64,
}

#[derive(Debug, Default)]
struct Name {
    /// The round in which it was last asked for.
    asked: u64,
    /// Of each registry.
    answers: Vec<Option<Heard>>,
    /// Nodes that a registry named and then no longer did, and the last round in which it still did: it knew
    /// of them then, so what others said up to then is older than that they left.
    dropped: HashMap<Key, u64>,
}

#[derive(Debug)]
struct Heard {
    round: u64,
    services: Vec<Service>,
}

// ===== impl Known =====

impl Known {
    /// A round of questions about a service begins; gives its number.
    pub(super) fn begin(&mut self, name: &str, members: usize) -> u64 {
        self.round += 1;
        let round = self.round;
        if self.names.len() >= NAMES_MAX && !self.names.contains_key(name) {
            let oldest = self.names.iter().min_by_key(|(_, known)| known.asked);
            if let Some(oldest) = oldest.map(|(name, _)| name.clone()) {
                self.names.remove(&oldest);
            }
        }
        let known = self.names.entry(name.to_owned()).or_default();
        known.asked = round;
        known.answers.resize_with(members, || None);
        round
    }

    /// A registry has answered a round; gives what that says of nodes that no registry was known to name.
    pub(super) fn heard(
        &mut self,
        name: &str,
        index: usize,
        round: u64,
        services: &[Service],
    ) -> Vec<Event> {
        // Forgotten meanwhile, in favour of others.
        let Some(known) = self.names.get_mut(name) else {
            return Vec::new();
        };
        // An older question may be answered after a newer one.
        match known.answers.get(index) {
            Some(heard) if heard.as_ref().is_none_or(|heard| heard.round <= round) => {}
            _ => return Vec::new(),
        }
        let news = known.news(services);
        let heard = Heard {
            round,
            services: services.to_vec(),
        };
        let slot = known.answers.get_mut(index);
        let old = slot.and_then(|slot| slot.replace(heard));
        let named = keys(services);
        if let Some(old) = old {
            for key in keys(&old.services) {
                if !named.contains(&key) {
                    let last = known.dropped.entry(owned(key)).or_default();
                    *last = old.round.max(*last);
                }
            }
        }
        known.forget_dropped();
        news
    }

    /// A registry has said that nodes left, without having been asked.
    pub(super) fn left<'a>(&mut self, name: &str, nodes: impl Iterator<Item = &'a Node>) {
        let round = self.round;
        if let Some(known) = self.names.get_mut(name) {
            for node in nodes {
                known.dropped.insert(owned(diff::key(node)), round);
            }
        }
    }

    /// What a registry said last, whatever others have said since.
    pub(super) fn said(&self, name: &str, index: usize) -> Option<&[Service]> {
        let heard = self.names.get(name)?.answers.get(index)?.as_ref()?;
        Some(&heard.services)
    }

    /// What a registry said last, without the nodes that another has dropped since; `None` if it never
    /// answered.
    pub(super) fn remembered(&self, name: &str, index: usize) -> Option<Vec<Service>> {
        let known = self.names.get(name)?;
        let heard = known.answers.get(index)?.as_ref()?;
        let mut services = heard.services.clone();
        if known.dropped.is_empty() {
            services.retain(|service| !service.nodes.is_empty());
            return Some(services);
        }
        for service in &mut services {
            service.nodes.retain(|node| {
                let dropped = known.dropped.get(&owned(diff::key(node)));
                dropped.is_none_or(|last| *last < heard.round)
            });
        }
        services.retain(|service| !service.nodes.is_empty());
        Some(services)
    }

    /// Whether a node whose id was made of its address is one that a registry names by an id of its own.
    pub(super) fn is_named_better(&self, service: &str, node: &Node) -> bool {
        if !is_nameless(service, node) {
            return false;
        }
        let known = self.names.get(service);
        let mut nodes = known.into_iter().flat_map(Name::nodes);
        nodes.any(|(_, known)| known.address == node.address && !is_nameless(service, known))
    }
}

// ===== impl Name =====

impl Name {
    /// All that was said of nodes, each with its service.
    fn nodes(&self) -> impl Iterator<Item = (&Service, &Node)> {
        let services = self.answers.iter().flatten();
        let services = services.flat_map(|heard| &heard.services);
        services.flat_map(|service| service.nodes.iter().map(move |node| (service, node)))
    }

    /// What an answer names that no registry was known to name.
    fn news(&self, services: &[Service]) -> Vec<Event> {
        let known: HashSet<diff::Key<'_>> = self.nodes().map(|(_, node)| diff::key(node)).collect();
        let named = self.nodes();
        let named = named.filter(|(service, node)| !is_nameless(&service.name, node));
        let named: HashSet<&str> = named.map(|(_, node)| node.address.as_str()).collect();
        let of = |service: &Service| {
            let nodes = service.nodes.iter().filter(|node| {
                let better =
                    is_nameless(&service.name, node) && named.contains(node.address.as_str());
                !better && !known.contains(&diff::key(node))
            });
            let nodes: Vec<Node> = nodes.cloned().collect();
            (!nodes.is_empty()).then(|| Event {
                action: Action::Create,
                service: Service {
                    name: service.name.clone(),
                    version: service.version.clone(),
                    metadata: service.metadata.clone(),
                    endpoints: service.endpoints.clone(),
                    nodes,
                },
            })
        };
        services.iter().filter_map(of).collect()
    }

    /// Forgets what was dropped, but for what says something about an older answer.
    fn forget_dropped(&mut self) {
        let Name {
            answers, dropped, ..
        } = self;
        if dropped.is_empty() {
            return;
        }
        let answers: Vec<(u64, HashSet<diff::Key<'_>>)> = answers
            .iter()
            .flatten()
            .map(|heard| (heard.round, keys(&heard.services)))
            .collect();
        dropped.retain(|(id, address), last| {
            let key = (id.as_str(), address.as_str());
            let mut answers = answers.iter();
            answers.any(|(round, keys)| round <= last && keys.contains(&key))
        });
    }
}

fn keys(services: &[Service]) -> HashSet<diff::Key<'_>> {
    let nodes = services.iter().flat_map(|service| &service.nodes);
    nodes.map(diff::key).collect()
}

fn owned((id, address): diff::Key<'_>) -> Key {
    (id.to_owned(), address.to_owned())
}

/// What several answers name together: services by name and version, each node once, as the first has it.
pub(super) fn union(answers: Vec<Vec<Service>>) -> Vec<Service> {
    let mut services: BTreeMap<(String, String), Service> = BTreeMap::new();
    let mut seen: HashSet<(String, Key)> = HashSet::new();
    for mut service in answers.into_iter().flatten() {
        let nodes = std::mem::take(&mut service.nodes);
        let key = (service.name.clone(), service.version.clone());
        let name = service.name.clone();
        let known = services.entry(key).or_insert_with(|| service.clone());
        if known.endpoints.is_empty() {
            known.endpoints = service.endpoints;
        }
        if known.metadata.is_empty() {
            known.metadata = service.metadata;
        }
        for node in nodes {
            if seen.insert((name.clone(), owned(diff::key(&node)))) {
                known.nodes.push(node);
            }
        }
    }
    // A registry that knows only addresses makes ids of them: such a node is one that another names better.
    let mut named: HashSet<(String, String)> = HashSet::new();
    for service in services.values() {
        for node in &service.nodes {
            if !is_nameless(&service.name, node) {
                named.insert((service.name.clone(), node.address.clone()));
            }
        }
    }
    services.retain(|_, service| {
        let Service { name, nodes, .. } = service;
        let before = nodes.len();
        nodes.retain(|node| {
            !is_nameless(name, node) || !named.contains(&(name.clone(), node.address.clone()))
        });
        before == nodes.len() || !nodes.is_empty()
    });
    services.into_values().collect()
}

/// Whether the node's id was made of its address.
fn is_nameless(service: &str, node: &Node) -> bool {
    let rest = node.id.strip_prefix(service);
    rest.and_then(|rest| rest.strip_prefix('-')) == Some(node.address.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::common::diff::by_key;

    fn service(version: &str, nodes: &[(&str, &str)]) -> Service {
        let node = |(id, address): &(&str, &str)| Node {
            id: (*id).to_owned(),
            address: (*address).to_owned(),
            ..Node::default()
        };
        Service {
            name: "a".into(),
            version: version.into(),
            nodes: nodes.iter().map(node).collect(),
            ..Service::default()
        }
    }

    fn ids(services: &[Service]) -> Vec<&str> {
        by_key(services).into_keys().map(|(id, _)| id).collect()
    }

    #[test]
    fn a_union_has_each_node_once_and_the_better_description() {
        let old = service("1", &[("x", "h:1"), ("y", "h:2")]);
        let mut new = service("1", &[("y", "h:2"), ("z", "h:3")]);
        new.metadata.insert("k".into(), "v".into());
        let joined = union(vec![vec![old], vec![new, service("2", &[("w", "h:4")])]]);
        assert_eq!(ids(&joined), ["w", "x", "y", "z"]);
        assert_eq!(joined.len(), 2);
        assert_eq!(joined[0].metadata["k"], "v");
    }

    #[test]
    fn a_node_without_an_id_of_its_own_gives_way_to_one_that_has_one() {
        let dns = service("latest", &[("a-h:1", "h:1"), ("a-h:2", "h:2")]);
        let consul = service("1", &[("x", "h:1")]);
        let joined = union(vec![vec![dns.clone()], vec![consul]]);
        assert_eq!(ids(&joined), ["a-h:2", "x"]);
        let all = service("1", &[("x", "h:1"), ("y", "h:2")]);
        assert_eq!(ids(&union(vec![vec![dns], vec![all]])), ["x", "y"]);
        let none = union(vec![vec![service("1", &[])]]);
        assert_eq!(none.len(), 1, "a service without nodes stays in a list");
    }

    #[test]
    fn what_another_has_dropped_since_is_no_longer_remembered() {
        let (x, y) = (("x", "h:1"), ("y", "h:2"));
        let mut known = Known::default();
        assert!(known.remembered("a", 0).is_none());
        let round = known.begin("a", 2);
        known.heard("a", 0, round, &[service("1", &[x, y])]);
        assert!(known.remembered("a", 1).is_none());
        known.heard("a", 1, round, &[service("1", &[x, y])]);
        // The second no longer answers, and the first no longer names x.
        let round = known.begin("a", 2);
        known.heard("a", 0, round, &[service("1", &[y])]);
        assert_eq!(ids(&known.remembered("a", 1).unwrap()), ["y"]);
        // It answers again, and still names it.
        let round = known.begin("a", 2);
        known.heard("a", 1, round, &[service("1", &[x])]);
        assert_eq!(ids(&known.remembered("a", 1).unwrap()), ["x"]);
        assert!(!known.names["a"].dropped.contains_key(&owned(x)));
        assert_eq!(known.said("a", 0).map(ids).unwrap(), ["y"]);
    }

    #[test]
    fn what_one_drops_in_the_round_in_which_another_names_it_stays() {
        let mut known = Known::default();
        let both = [service("1", &[("x", "h:1")])];
        let round = known.begin("a", 2);
        known.heard("a", 0, round, &both);
        known.heard("a", 1, round, &both);
        for _ in 0..2 {
            let round = known.begin("a", 2);
            known.heard("a", 1, round, &both);
            known.heard("a", 0, round, &[]);
        }
        known.begin("a", 2);
        assert_eq!(ids(&known.remembered("a", 1).unwrap()), ["x"]);
        known.left("a", both[0].nodes.iter());
        assert!(known.remembered("a", 1).unwrap().is_empty());
    }

    #[test]
    fn an_answer_to_an_older_question_changes_nothing() {
        let mut known = Known::default();
        let first = known.begin("a", 1);
        let second = known.begin("a", 1);
        let events = known.heard("a", 0, second, &[service("1", &[("x", "h:1")])]);
        assert_eq!(events.len(), 1);
        known.heard("a", 0, first, &[]);
        assert_eq!(ids(&known.remembered("a", 0).unwrap()), ["x"]);
    }

    #[test]
    fn a_node_without_an_id_of_its_own_is_no_news_where_another_names_it() {
        let mut known = Known::default();
        let dns = [service("latest", &[("a-h:1", "h:1"), ("a-h:2", "h:2")])];
        for _ in 0..3 {
            let round = known.begin("a", 2);
            known.heard("a", 0, round, &[service("1", &[("x", "h:1")])]);
            let news = known.heard("a", 1, round, &dns);
            let ids: Vec<_> = news.iter().flat_map(|event| &event.service.nodes).collect();
            let new = ids.iter().all(|node| node.id == "a-h:2");
            assert!(new && ids.len() == usize::from(round == 1), "{ids:?}");
        }
        assert!(known.is_named_better("a", &dns[0].nodes[0]));
        assert!(!known.is_named_better("a", &dns[0].nodes[1]));
    }

    /// Of 10,000 nodes a registry loses half, while another one no longer answers.
    #[test]
    fn a_mass_disappearance_takes_no_time_that_grows_with_its_square() {
        let nodes: Vec<(String, String)> = (0..10_000)
            .map(|n| (format!("node-{n}"), format!("h:{n}")))
            .collect();
        let nodes: Vec<(&str, &str)> = nodes
            .iter()
            .map(|(id, address)| (id.as_str(), address.as_str()))
            .collect();
        let (all, half) = ([service("1", &nodes)], [service("1", &nodes[..5_000])]);
        let mut known = Known::default();
        let round = known.begin("a", 2);
        known.heard("a", 0, round, &all);
        known.heard("a", 1, round, &all);
        let begun = std::time::Instant::now();
        for _ in 0..5 {
            let round = known.begin("a", 2);
            known.heard("a", 0, round, &half);
        }
        // The square would be 25 million of look-ups, in each of five rounds.
        let took = begun.elapsed();
        assert!(took < std::time::Duration::from_secs(5), "{took:?}");
        assert_eq!(ids(&known.remembered("a", 1).unwrap()).len(), 5_000);
    }

    #[test]
    fn forgets_the_service_that_was_asked_for_longest_ago() {
        let mut known = Known::default();
        for number in 0..=NAMES_MAX {
            let name = format!("s{number}");
            let round = known.begin(&name, 1);
            known.heard(&name, 0, round, &[]);
        }
        assert_eq!(known.names.len(), NAMES_MAX);
        assert!(known.remembered("s0", 0).is_none());
        assert!(known.remembered("s1", 0).is_some());
    }
}
