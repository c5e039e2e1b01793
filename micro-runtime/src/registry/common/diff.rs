//! What changed between two answers of a registry, as the events of a watch.

use std::collections::BTreeMap;

#[cfg(any(feature = "dns", feature = "kubernetes"))]
use crate::error::Error;
use crate::registry::{Action, Event, Node, Service};

/// A node is the same as long as its id and its address are.
pub(crate) type Key<'a> = (&'a str, &'a str);

pub(crate) fn key(node: &Node) -> Key<'_> {
    (&node.id, &node.address)
}

/// Each node of an answer, with the version that has it.
pub(crate) fn by_key(services: &[Service]) -> BTreeMap<Key<'_>, (&Service, &Node)> {
    let nodes = services.iter().flat_map(|service| {
        let nodes = service.nodes.iter();
        nodes.map(move |node| (key(node), (service, node)))
    });
    nodes.collect()
}

/// What a watch tells of the way from the old answer about one service to the new one: first who came or
/// changed, then who went.
pub(crate) fn events(old: &[Service], new: &[Service]) -> Vec<Event> {
    let before = by_key(old);
    let after = by_key(new);
    let mut events = Vec::new();
    for service in new {
        let (mut created, mut updated) = (Vec::new(), Vec::new());
        for node in &service.nodes {
            match before.get(&key(node)) {
                None => created.push(node.clone()),
                Some((of, was)) if *was != node || !same_head(of, service) => {
                    updated.push(node.clone());
                }
                Some(_) => {}
            }
        }
        tell(&mut events, Action::Create, service, created);
        tell(&mut events, Action::Update, service, updated);
    }
    for service in old {
        let gone = service.nodes.iter();
        let gone = gone.filter(|node| !after.contains_key(&key(node))).cloned();
        tell(&mut events, Action::Delete, service, gone.collect());
    }
    events
}

/// [`events`], for a registry where nodes leave by no longer being named: that says little when it takes all
/// nodes of two or more, or more than half of them. Then an error stands in for the deletions, so that who
/// watches asks anew and judges the answer.
#[cfg(any(feature = "dns", feature = "kubernetes"))]
pub(crate) fn told(registry: &str, old: &[Service], new: &[Service]) -> Vec<Result<Event, Error>> {
    let mut events = events(old, new);
    let gone = events
        .iter()
        .filter(|event| event.action == Action::Delete)
        .map(|event| event.service.nodes.len())
        .sum::<usize>();
    let of = by_key(old).len();
    let doubtful = of >= 2 && gone * 2 > of;
    if doubtful {
        events.retain(|event| event.action != Action::Delete);
    }
    let mut told: Vec<_> = events.into_iter().map(Ok).collect();
    if doubtful {
        let name = old.first().map_or("", |service| service.name.as_str());
        told.push(Err(Error::registry(format_args!(
            "{registry} names {gone} of the {of} nodes of {name:?} no longer, look them up to find out more"
        ))));
    }
    told
}

fn same_head(a: &Service, b: &Service) -> bool {
    a.name == b.name
        && a.version == b.version
        && a.metadata == b.metadata
        && a.endpoints == b.endpoints
}

fn tell(events: &mut Vec<Event>, action: Action, service: &Service, nodes: Vec<Node>) {
    if nodes.is_empty() {
        return;
    }
    events.push(Event {
        action,
        service: Service {
            nodes,
            name: service.name.clone(),
            version: service.version.clone(),
            metadata: service.metadata.clone(),
            endpoints: service.endpoints.clone(),
        },
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(version: &str, nodes: &[&str]) -> Service {
        let node = |id: &&str| Node {
            id: (*id).to_owned(),
            address: format!("{id}:1"),
            ..Node::default()
        };
        Service {
            name: "a".into(),
            version: version.into(),
            nodes: nodes.iter().map(node).collect(),
            ..Service::default()
        }
    }

    /// `create 1 x y`: action, version, nodes.
    fn shown(events: &[Event]) -> Vec<String> {
        let show = |event: &Event| {
            let nodes = event.service.nodes.iter().map(|node| node.id.as_str());
            let nodes: Vec<_> = nodes.collect();
            let action = format!("{:?}", event.action).to_lowercase();
            format!("{action} {} {}", event.service.version, nodes.join(" "))
        };
        events.iter().map(show).collect()
    }

    #[test]
    fn tells_who_came_changed_and_went() {
        let old = [service("1", &["a", "b", "c"]), service("2", &["d"])];
        let mut new = [service("1", &["a", "b"]), service("2", &["d", "c", "e"])];
        new[0].nodes[1].metadata.insert("k".into(), "v".into());
        assert_eq!(
            shown(&events(&old, &new)),
            ["update 1 b", "create 2 e", "update 2 c"],
            "c changed its version, so it has not gone"
        );
        assert_eq!(
            shown(&events(&new, &[])),
            ["delete 1 a b", "delete 2 d c e"]
        );
        assert!(events(&old, &old).is_empty());
        let mut moved = old.clone();
        moved[1].nodes[0].address = "other:1".into();
        assert_eq!(shown(&events(&old, &moved)), ["create 2 d", "delete 2 d"]);
        let mut described = old.clone();
        described[1].metadata.insert("k".into(), "v".into());
        assert_eq!(shown(&events(&old, &described)), ["update 2 d"]);
    }

    #[cfg(any(feature = "dns", feature = "kubernetes"))]
    #[test]
    fn a_mass_disappearance_is_told_as_a_doubt() {
        let deletes = |before: &[&str], after: &[&str]| {
            let told = told("dns", &[service("1", before)], &[service("1", after)]);
            told.into_iter()
                .map(|item| item.map(|e| e.action))
                .collect()
        };
        let kind = |result: Result<Vec<Action>, crate::error::Error>| {
            result.map_err(|error| error.to_string())
        };
        assert_eq!(kind(deletes(&["a"], &[])), Ok(vec![Action::Delete]));
        assert_eq!(kind(deletes(&["a", "b"], &["b"])), Ok(vec![Action::Delete]));
        let expected =
            "dns names 2 of the 3 nodes of \"a\" no longer, look them up to find out more";
        assert_eq!(
            kind(deletes(&["a", "b", "c"], &["c"])),
            Err(expected.into())
        );
    }
}
