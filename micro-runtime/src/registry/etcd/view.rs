//! [`View`]: what a watch has said so far, and what it has to say when the keys change.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::keys::{Warned, decode};
use super::list::KEYS_MAX;
use super::pb;
use crate::registry::{Action, Event, Service};

/// The registrations of a range as the watcher knows them. Lists and events change it; what comes out is what
/// the watcher has to be told, so that whoever applies it has the same.
#[derive(Debug)]
pub(super) struct View {
    /// `None` means every service.
    name: Option<String>,
    known: BTreeMap<Bytes, Known>,
}

#[derive(Debug)]
struct Known {
    /// The revision at which the key was last changed.
    revision: i64,
    /// `None` if it cannot be read, or is of another service.
    service: Option<Service>,
}

// ===== impl View =====

impl View {
    pub(super) fn new(name: Option<&str>) -> View {
        View {
            name: name.map(str::to_owned),
            known: BTreeMap::new(),
        }
    }

    /// Takes over a list, which is the whole truth whatever was known before.
    pub(super) fn list(&mut self, kvs: Vec<pb::KeyValue>, warned: &Warned) -> Vec<Event> {
        let mut events = Vec::new();
        let mut before = std::mem::take(&mut self.known);
        for kv in kvs {
            let old = before.remove(&kv.key);
            // The same key at the same revision is the same value, unless the store is another one; then the
            // values decide.
            let service = self.read(&kv, warned);
            tell(
                &mut events,
                old.and_then(|old| old.service),
                service.as_ref(),
            );
            self.put(&kv, service);
        }
        for gone in before.into_values() {
            tell(&mut events, gone.service, None);
        }
        events
    }

    /// Takes over changes in their order. What is older than what is known is left out.
    pub(super) fn apply(&mut self, changes: Vec<pb::Event>, warned: &Warned) -> Vec<Event> {
        let mut events = Vec::new();
        for change in changes {
            let deleted = change.r#type() == pb::EventType::Delete;
            let Some(kv) = change.kv else { continue };
            let known = self.known.get(&kv.key);
            if known.is_some_and(|known| known.revision >= kv.mod_revision) {
                continue;
            }
            let old = self.known.remove(&kv.key).and_then(|known| known.service);
            if deleted {
                tell(&mut events, old, None);
            } else {
                let service = self.read(&kv, warned);
                tell(&mut events, old, service.as_ref());
                self.put(&kv, service);
            }
        }
        events
    }

    fn read(&self, kv: &pb::KeyValue, warned: &Warned) -> Option<Service> {
        match decode(&kv.value) {
            Ok(service) => Some(service)
                .filter(|service| self.name.as_ref().is_none_or(|name| *name == service.name)),
            Err(why) => {
                warned.warn(&kv.key, kv.mod_revision, &why);
                None
            }
        }
    }

    fn put(&mut self, kv: &pb::KeyValue, service: Option<Service>) {
        if self.known.len() >= KEYS_MAX {
            return;
        }
        let known = Known {
            revision: kv.mod_revision,
            service,
        };
        // A copy: the key may be a piece of a large message.
        self.known.insert(Bytes::copy_from_slice(&kv.key), known);
    }
}

/// What there is to say when this became that.
fn tell(events: &mut Vec<Event>, old: Option<Service>, new: Option<&Service>) {
    let Some(new) = new else {
        events.extend(old.map(|service| Event {
            action: Action::Delete,
            service,
        }));
        return;
    };
    let action = match &old {
        Some(old) if old == new => return,
        // What moved to another service left this one.
        Some(old) if old.name == new.name => Action::Update,
        _ => Action::Create,
    };
    if let Some(mut old) = old {
        let stays = |id: &str| old.name == new.name && new.nodes.iter().any(|node| node.id == id);
        let gone: Vec<_> = old
            .nodes
            .iter()
            .filter(|node| !stays(&node.id))
            .cloned()
            .collect();
        if !gone.is_empty() {
            old.nodes = gone;
            events.push(Event {
                action: Action::Delete,
                service: old,
            });
        }
    }
    events.push(Event {
        action,
        service: new.clone(),
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Node;

    fn value(service: &str, version: &str, node: &str, port: u16) -> Bytes {
        let service = Service {
            name: service.into(),
            version: version.into(),
            nodes: vec![Node {
                id: node.into(),
                address: format!("10.0.0.1:{port}"),
                ..Node::default()
            }],
            ..Service::default()
        };
        serde_json::to_vec(&service).unwrap().into()
    }

    fn kv(key: &'static str, revision: i64, value: Bytes) -> pb::KeyValue {
        pb::KeyValue {
            key: Bytes::from_static(key.as_bytes()),
            mod_revision: revision,
            value,
            lease: 0,
        }
    }

    fn put(key: &'static str, revision: i64, value: Bytes) -> pb::Event {
        pb::Event {
            r#type: pb::EventType::Put.into(),
            kv: Some(kv(key, revision, value)),
        }
    }

    fn delete(key: &'static str, revision: i64) -> pb::Event {
        pb::Event {
            r#type: pb::EventType::Delete.into(),
            kv: Some(kv(key, revision, Bytes::new())),
        }
    }

    fn shown(events: &[Event]) -> Vec<String> {
        let line = |event: &Event| {
            let nodes: Vec<_> = event
                .service
                .nodes
                .iter()
                .map(|node| node.id.as_str())
                .collect();
            format!(
                "{:?} {}@{} {}",
                event.action,
                event.service.name,
                event.service.version,
                nodes.join(",")
            )
        };
        events.iter().map(line).collect()
    }

    #[test]
    fn events_say_what_changed() {
        let (mut view, warned) = (View::new(None), Warned::default());
        let listed = view.list(vec![kv("a", 3, value("s", "1", "n1", 1))], &warned);
        assert_eq!(shown(&listed), ["Create s@1 n1"]);
        let events = view.apply(
            vec![
                put("a", 3, value("s", "9", "n1", 9)),
                put("a", 4, value("s", "1", "n1", 1)),
                put("a", 5, value("s", "1", "n1", 2)),
                put("b", 6, value("s", "1", "n2", 1)),
                delete("a", 7),
                delete("c", 8),
                pb::Event {
                    r#type: 0,
                    kv: None,
                },
                put("a", 9, value("s", "1", "n1", 1)),
            ],
            &warned,
        );
        assert_eq!(
            shown(&events),
            [
                "Update s@1 n1",
                "Create s@1 n2",
                "Delete s@1 n1",
                "Create s@1 n1"
            ]
        );
        // A delete names the node as it was known, whatever the server says of it.
        assert_eq!(events[2].service.nodes[0].address, "10.0.0.1:2");
    }

    #[test]
    fn a_list_after_a_gap_tells_the_difference() {
        let (mut view, warned) = (View::new(Some("s")), Warned::default());
        view.list(
            vec![
                kv("a", 3, value("s", "1", "n1", 1)),
                kv("b", 4, value("s", "1", "n2", 1)),
                kv("c", 5, value("s", "1", "n3", 1)),
            ],
            &warned,
        );
        let events = view.list(
            vec![
                kv("a", 9, value("s", "1", "n1", 1)),
                kv("c", 9, value("s", "2", "n3", 1)),
                kv("d", 9, value("s", "1", "n4", 1)),
            ],
            &warned,
        );
        assert_eq!(
            shown(&events),
            ["Update s@2 n3", "Create s@1 n4", "Delete s@1 n2"]
        );
        // A store that was put back has lower revisions, and is the truth all the same.
        let events = view.list(vec![kv("a", 2, value("s", "1", "n1", 5))], &warned);
        assert_eq!(
            shown(&events),
            ["Update s@1 n1", "Delete s@2 n3", "Delete s@1 n4"]
        );
        let events = view.apply(vec![delete("a", 3)], &warned);
        assert_eq!(shown(&events), ["Delete s@1 n1"]);
    }

    #[test]
    fn what_cannot_be_read_or_is_anothers_is_not_there() {
        let (mut view, warned) = (View::new(Some("a/b")), Warned::default());
        let events = view.list(
            vec![
                kv("1", 1, Bytes::from_static(b"{")),
                kv("2", 1, value("a-b", "1", "n", 1)),
                kv("3", 1, value("a/b", "1", "m", 1)),
            ],
            &warned,
        );
        assert_eq!(shown(&events), ["Create a/b@1 m"]);
        let events = view.apply(
            vec![
                put("3", 2, Bytes::from_static(b"no JSON")),
                put("1", 3, value("a/b", "1", "k", 1)),
                put("2", 4, value("a/b", "1", "n", 1)),
            ],
            &warned,
        );
        assert_eq!(
            shown(&events),
            ["Delete a/b@1 m", "Create a/b@1 k", "Create a/b@1 n"]
        );
    }

    #[test]
    fn a_key_that_changes_its_nodes_leaves_none_behind() {
        let (mut view, warned) = (View::new(None), Warned::default());
        view.list(vec![kv("a", 1, value("s", "1", "n1", 1))], &warned);
        let events = view.apply(vec![put("a", 2, value("s", "1", "n2", 1))], &warned);
        assert_eq!(shown(&events), ["Delete s@1 n1", "Update s@1 n2"]);
        let events = view.apply(vec![put("a", 3, value("t", "1", "n2", 1))], &warned);
        assert_eq!(shown(&events), ["Delete s@1 n2", "Create t@1 n2"]);
    }
}
