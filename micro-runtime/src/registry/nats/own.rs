//! What is registered here: what questions are answered with.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::wire::Query;
use crate::registry::{Node, Service};

/// The nodes registered here, by name, version and id.
#[derive(Debug, Default)]
pub(super) struct Own(BTreeMap<(String, String), Version>);

#[derive(Debug)]
struct Version {
    /// Without its nodes.
    service: Service,
    nodes: BTreeMap<String, Lease>,
}

#[derive(Debug)]
struct Lease {
    node: Node,
    /// `None` means never.
    expires: Option<Instant>,
    ttl: Option<Duration>,
}

/// A service, and for how long it was registered.
pub(super) type Registered = (Service, Option<Duration>);

// ===== impl Own =====

impl Own {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn register(&mut self, service: &Service, ttl: Option<Duration>, now: Instant) {
        let mut head = service.clone();
        head.nodes.clear();
        let key = (head.name.clone(), head.version.clone());
        let version = self.0.entry(key).or_insert_with(|| Version {
            service: Service::default(),
            nodes: BTreeMap::new(),
        });
        version.service = head;
        for node in &service.nodes {
            let lease = Lease {
                node: node.clone(),
                expires: ttl.and_then(|ttl| now.checked_add(ttl)),
                ttl,
            };
            version.nodes.insert(node.id.clone(), lease);
        }
    }

    pub(super) fn deregister(&mut self, service: &Service) {
        let key = (service.name.clone(), service.version.clone());
        if let Some(version) = self.0.get_mut(&key) {
            for node in &service.nodes {
                version.nodes.remove(&node.id);
            }
            if version.nodes.is_empty() {
                self.0.remove(&key);
            }
        }
    }

    /// Takes out what has not been renewed in time, and gives it.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<Service> {
        let mut gone = Vec::new();
        self.0.retain(|_, version| {
            let mut nodes = Vec::new();
            version.nodes.retain(|_, lease| {
                let stays = lease.expires.is_none_or(|expires| expires > now);
                if !stays {
                    nodes.push(lease.node.clone());
                }
                stays
            });
            if !nodes.is_empty() {
                gone.push(Service {
                    nodes,
                    ..version.service.clone()
                });
            }
            !version.nodes.is_empty()
        });
        gone
    }

    /// When something is to be taken out, unless it is renewed.
    pub(super) fn due(&self) -> Option<Instant> {
        let leases = self.0.values().flat_map(|version| version.nodes.values());
        leases.filter_map(|lease| lease.expires).min()
    }

    /// What a question is answered with: each version.
    pub(super) fn answers(&self, query: &Query) -> Vec<Registered> {
        let asked = |service: &Service| match query {
            Query::Get(name) => service.name == *name,
            Query::List => true,
        };
        let versions = self.0.values();
        versions
            .filter(|version| asked(&version.service))
            .map(Version::whole)
            .collect()
    }
}

// ===== impl Version =====

impl Version {
    fn whole(&self) -> Registered {
        let nodes = self.nodes.values().map(|lease| lease.node.clone());
        let service = Service {
            nodes: nodes.collect(),
            ..self.service.clone()
        };
        // Of several the longest; a node without an end makes the whole one without.
        let ttls = self.nodes.values().map(|lease| lease.ttl);
        let ttl = ttls.reduce(|a, b| Some(a?.max(b?))).flatten();
        (service, ttl)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(version: &str, id: &str) -> Service {
        Service {
            name: "a".into(),
            version: version.into(),
            nodes: vec![Node {
                id: id.into(),
                ..Node::default()
            }],
            ..Service::default()
        }
    }

    fn seconds(seconds: u64) -> Option<Duration> {
        Some(Duration::from_secs(seconds))
    }

    fn ids(own: &Own, query: &Query) -> Vec<String> {
        let answers = own.answers(query).into_iter();
        answers
            .flat_map(|(service, _)| service.nodes.into_iter().map(|node| node.id))
            .collect()
    }

    #[test]
    fn answers_are_of_what_is_registered() {
        let now = Instant::now();
        let mut own = Own::default();
        own.register(&service("1", "x"), None, now);
        own.register(&service("1", "y"), seconds(90), now);
        own.register(&service("2", "z"), seconds(90), now);
        assert_eq!(ids(&own, &Query::Get("a".into())), ["x", "y", "z"]);
        assert_eq!(ids(&own, &Query::List), ["x", "y", "z"]);
        assert!(ids(&own, &Query::Get("b".into())).is_empty());
        let ttls: Vec<_> = own.answers(&Query::List).into_iter().map(|a| a.1).collect();
        assert_eq!(ttls, [None, seconds(90)]);
        own.deregister(&service("1", "x"));
        own.deregister(&service("2", "z"));
        own.deregister(&service("3", "z"));
        assert_eq!(ids(&own, &Query::List), ["y"]);
        own.deregister(&service("1", "y"));
        assert!(own.is_empty());
    }

    #[test]
    fn what_is_not_renewed_goes() {
        let now = Instant::now();
        let mut own = Own::default();
        own.register(&service("1", "x"), seconds(10), now);
        own.register(&service("1", "y"), seconds(20), now);
        assert_eq!(own.due(), Some(now + Duration::from_secs(10)));
        own.register(&service("1", "x"), seconds(30), now);
        assert!(own.expire(now + Duration::from_secs(19)).is_empty());
        assert_eq!(
            own.expire(now + Duration::from_secs(20)),
            [service("1", "y")]
        );
        assert_eq!(
            own.expire(now + Duration::from_secs(30)),
            [service("1", "x")]
        );
        assert!(own.is_empty() && own.due().is_none());
    }
}
