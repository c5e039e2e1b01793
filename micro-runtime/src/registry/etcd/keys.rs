//! go-micro's keys and values: `/micro/registry/<service>/<node id>`, and the service with that one node as
//! JSON.

use std::collections::HashSet;
use std::fmt;
use std::sync::Mutex;

use bytes::Bytes;

use crate::error::Error;
use crate::lock::lock;
use crate::registry::{Node, Service};

/// What go-micro's keys begin with.
pub(super) const PREFIX: &str = "/micro/registry/";

/// How many values are remembered that were warned of; with more, all are forgotten.
const WARNED_MAX: usize = 1024;

/// A range of keys: its first one, and the first one behind it; empty if it is the one key alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) key: Bytes,
    pub(super) end: Bytes,
}

/// The keys below a prefix.
#[derive(Debug)]
pub(super) struct Keys {
    prefix: String,
}

/// The values that cannot be read and were said to be so, each once.
#[derive(Default)]
pub(super) struct Warned(Mutex<HashSet<(Bytes, i64)>>);

// ===== impl Keys =====

impl Keys {
    pub(super) fn new(prefix: &str) -> Keys {
        let prefix = format!("{}/", prefix.trim_end_matches('/'));
        Keys { prefix }
    }

    /// The key of a node.
    pub(super) fn node(&self, service: &str, node: &str) -> String {
        format!("{}{}/{}", self.prefix, part(service), part(node))
    }

    /// The keys of all nodes, of one service or of all.
    pub(super) fn nodes(&self, service: Option<&str>) -> Range {
        Range::below(match service {
            Some(service) => format!("{}{}/", self.prefix, part(service)),
            None => self.prefix.clone(),
        })
    }
}

/// go-micro replaces slashes, so that `a/b` and `a-b` have the same keys: the value says whose it is.
fn part(text: &str) -> String {
    text.replace('/', "-")
}

// ===== impl Range =====

impl Range {
    /// One key.
    pub(super) fn one(key: &str) -> Range {
        Range {
            key: Bytes::copy_from_slice(key.as_bytes()),
            end: Bytes::new(),
        }
    }

    /// Every key that begins with this.
    fn below(prefix: String) -> Range {
        let key = Bytes::from(prefix.into_bytes());
        let mut end = key.to_vec();
        while let Some(last) = end.pop() {
            if let Some(next) = last.checked_add(1) {
                end.push(next);
                break;
            }
        }
        if end.is_empty() {
            // etcd's word for "to the last key".
            end.push(0);
        }
        Range {
            key,
            end: end.into(),
        }
    }
}

/// The value of a node.
pub(super) fn encode(service: &Service, node: &Node) -> Result<Bytes, Error> {
    let service = Service {
        name: service.name.clone(),
        version: service.version.clone(),
        metadata: service.metadata.clone(),
        endpoints: service.endpoints.clone(),
        nodes: vec![node.clone()],
    };
    match serde_json::to_vec(&service) {
        Ok(json) => Ok(json.into()),
        Err(error) => Err(Error::registry(format_args!(
            "the service {:?} cannot be written as JSON: {error}",
            service.name
        ))),
    }
}

/// What a value says; an error says what is wrong with it.
pub(super) fn decode(value: &[u8]) -> Result<Service, String> {
    let service: Service = serde_json::from_slice(value)
        .map_err(|error| format!("expected a service as JSON: {error}"))?;
    if service.name.is_empty() {
        return Err("expected a service with a name, found none".to_owned());
    }
    if service.nodes.is_empty() {
        return Err("expected a service with a node, found none".to_owned());
    }
    Ok(service)
}

// ===== impl Warned =====

impl Warned {
    /// Says once that a value, as it was at this revision, cannot be read.
    pub(super) fn warn(&self, key: &Bytes, revision: i64, why: &str) {
        {
            let mut warned = lock(&self.0);
            if warned.contains(&(key.clone(), revision)) {
                return;
            }
            if warned.len() >= WARNED_MAX {
                warned.clear();
            }
            // A copy: the key may be a piece of a large message.
            warned.insert((Bytes::copy_from_slice(key), revision));
        }
        tracing::warn!(key = %String::from_utf8_lossy(key), why, "A registration in etcd cannot be read, it is left out");
    }
}

impl fmt::Debug for Warned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Warned")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_go_micros() {
        let keys = Keys::new(PREFIX);
        assert_eq!(
            keys.node("greeter", "greeter-1"),
            "/micro/registry/greeter/greeter-1"
        );
        assert_eq!(keys.node("a/b", "c/d"), "/micro/registry/a-b/c-d");
        let range = keys.nodes(Some("a/b"));
        assert_eq!(range.key, "/micro/registry/a-b/");
        assert_eq!(range.end, "/micro/registry/a-b0");
        assert_eq!(keys.nodes(None).end, "/micro/registry0");
        assert_eq!(Keys::new("/x").node("a", "b"), "/x/a/b");
    }

    #[test]
    fn a_range_ends_behind_its_prefix() {
        assert_eq!(Range::below("a\u{7f}".into()).end, &b"a\x80"[..]);
        let mut range = Range::below(String::new());
        assert_eq!(range.end, &b"\0"[..], "every key");
        range = Range::one("a");
        assert_eq!((&range.key[..], &range.end[..]), (&b"a"[..], &b""[..]));
    }

    #[test]
    fn values_are_go_micros() {
        let node = Node {
            id: "greeter-1".into(),
            address: "10.0.0.7:5000".into(),
            ..Node::default()
        };
        let service = Service {
            name: "greeter".into(),
            version: "1".into(),
            nodes: vec![Node::default(), node.clone()],
            ..Service::default()
        };
        let value = encode(&service, &node).unwrap();
        let text = std::str::from_utf8(&value).unwrap();
        assert!(
            text.starts_with(r#"{"name":"greeter","version":"1","metadata":{}"#),
            "{text}"
        );
        assert_eq!(decode(&value).unwrap().nodes, [node]);
        let go = br#"{"name":"greeter","version":"latest","metadata":null,"endpoints":null,
            "nodes":[{"id":"greeter-1","address":"10.0.0.7:5000","metadata":null}]}"#;
        assert_eq!(decode(go).unwrap().version, "latest");
    }

    #[test]
    fn values_that_are_no_service_say_why() {
        for (value, why) in [
            (&b""[..], "expected a service as JSON"),
            (b"null", "expected a service as JSON"),
            (b"[1]", "expected a service"),
            (b"{}", "found none"),
            (br#"{"name":"a"}"#, "a service with a node"),
            (br#"{"name":"a","nodes":[1]}"#, "expected a service as JSON"),
            (b"\xff\xfe", "expected a service as JSON"),
        ] {
            let error = decode(value).unwrap_err();
            assert!(error.contains(why), "{value:?}: {error}");
        }
        let deep = [r#"{"name":"a","endpoints":"#, &"[".repeat(100_000)].concat();
        assert!(decode(deep.as_bytes()).is_err());
    }
}
