//! Changes of single nodes, put together into few events.

use std::collections::BTreeMap;
#[cfg(any(feature = "nats", feature = "zookeeper"))]
use std::sync::Arc;

#[cfg(any(feature = "nats", feature = "zookeeper"))]
use crate::registry::{Action, Event};
use crate::registry::{Node, Service};

/// Changes of nodes, put together: one event for each action and version of a service, in the order of deletions,
/// creations, updates, so that a node which moves from one version to another is never gone at the end.
///
/// What is said of a service besides its nodes is what its last change says.
#[cfg(any(feature = "nats", feature = "zookeeper"))]
#[derive(Default)]
pub(crate) struct Changes(BTreeMap<Group, Changed>);

/// The place of the action in the order, the service's name and version.
#[cfg(any(feature = "nats", feature = "zookeeper"))]
type Group = (u8, String, String);
#[cfg(any(feature = "nats", feature = "zookeeper"))]
type Changed = (Action, Arc<Service>, Vec<Node>);

#[cfg(any(feature = "nats", feature = "zookeeper"))]
impl Changes {
    /// Adds the change of a node of this service, whose own nodes do not count.
    pub(crate) fn add(&mut self, action: Action, service: &Arc<Service>, node: Node) {
        let order = match action {
            Action::Delete => 0,
            Action::Create => 1,
            Action::Update => 2,
        };
        let group = (order, service.name.clone(), service.version.clone());
        let changed = self.0.entry(group);
        let (_, whole, nodes) =
            changed.or_insert_with(|| (action, Arc::clone(service), Vec::new()));
        if !Arc::ptr_eq(whole, service) {
            *whole = Arc::clone(service);
        }
        nodes.push(node);
    }

    pub(crate) fn events(self) -> Vec<Event> {
        let changed = self.0.into_values();
        changed
            .map(|(action, service, nodes)| Event {
                action,
                service: Service {
                    nodes,
                    ..Service::clone(&service)
                },
            })
            .collect()
    }
}

/// The events that say these changes, each of all the nodes of the service in it; as [`Changes`] puts them together.
#[cfg(feature = "zookeeper")]
pub(crate) fn events(changes: impl IntoIterator<Item = (Action, Service)>) -> Vec<Event> {
    let mut together = Changes::default();
    for (action, mut service) in changes {
        let nodes = std::mem::take(&mut service.nodes);
        let service = Arc::new(service);
        for node in nodes {
            together.add(action, &service, node);
        }
    }
    together.events()
}

/// The versions that these one-node services make up: their nodes together, each id once, with what the first
/// one says of the service besides, as in go-micro.
pub(crate) fn versions(services: impl IntoIterator<Item = Service>) -> Vec<Service> {
    let mut versions: BTreeMap<(String, String), (Service, BTreeMap<String, Node>)> =
        BTreeMap::new();
    for mut service in services {
        let nodes = std::mem::take(&mut service.nodes);
        let key = (service.name.clone(), service.version.clone());
        let (_, known) = versions
            .entry(key)
            .or_insert_with(|| (service, BTreeMap::new()));
        known.extend(nodes.into_iter().map(|node| (node.id.clone(), node)));
    }
    let versions = versions.into_values();
    versions
        .map(|(service, nodes)| Service {
            nodes: nodes.into_values().collect(),
            ..service
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(name: &str, version: &str, ids: &[&str]) -> Service {
        Service {
            name: name.into(),
            version: version.into(),
            nodes: ids
                .iter()
                .map(|id| Node {
                    id: (*id).into(),
                    address: format!("{id}:1"),
                    ..Node::default()
                })
                .collect(),
            ..Service::default()
        }
    }

    #[cfg(feature = "zookeeper")]
    #[test]
    fn changes_of_one_version_are_one_event() {
        let changes = [
            (Action::Update, service("a", "1", &["u"])),
            (Action::Create, service("a", "1", &["x"])),
            (Action::Create, service("a", "2", &["z"])),
            (Action::Delete, service("a", "1", &["z"])),
            (Action::Create, service("a", "1", &["y"])),
        ];
        let found: Vec<_> = events(changes)
            .into_iter()
            .map(|event| {
                let ids: Vec<_> = event
                    .service
                    .nodes
                    .into_iter()
                    .map(|node| node.id)
                    .collect();
                (event.action, event.service.version, ids.join(" "))
            })
            .collect();
        let expected = [
            (Action::Delete, "1", "z"),
            (Action::Create, "1", "x y"),
            (Action::Create, "2", "z"),
            (Action::Update, "1", "u"),
        ];
        assert_eq!(
            found,
            expected.map(|(action, version, ids)| (action, version.into(), ids.into()))
        );
    }

    #[test]
    fn versions_have_each_node_once() {
        let found = versions([
            service("a", "1", &["x"]),
            service("a", "2", &["z"]),
            service("a", "1", &["y", "x"]),
        ]);
        assert_eq!(
            found,
            [service("a", "1", &["x", "y"]), service("a", "2", &["z"])]
        );
    }
}
