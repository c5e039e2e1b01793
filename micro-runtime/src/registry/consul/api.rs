//! The agent's HTTP API: what we send, what comes back.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::tags::Reader;
use crate::error::Error;
use crate::registry::{Node, Service};
use crate::transport::http1::Answer;

/// The most bytes of an answer: some ten thousand nodes with their endpoints.
pub(super) const ANSWER_MAX: usize = 64 << 20;

/// What a path segment or a value of a query may have as it is (RFC 3986 §2.3).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Consul keeps a critical service for a minute at least; go-micro adds this to the time (registry/consul).
const DEREGISTER_LEAST: Duration = Duration::from_secs(60);
const DEREGISTER_SPLAY: Duration = Duration::from_secs(5);

/// What Consul allows of a service's meta: pairs, letters of a key, bytes of a value (agent/structs).
const META_PAIRS: usize = 64;
const META_KEY: usize = 128;
const META_VALUE: usize = 512;

/// An instance of a service, as the health endpoint gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Instance {
    /// Without nodes; shared by the instances of a version.
    pub(super) service: Arc<Service>,
    pub(super) node: Node,
    /// A check of it, or of its machine, is critical: it is not to be called.
    pub(super) critical: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Registration<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
    name: &'a str,
    tags: &'a [String],
    port: u16,
    address: &'a str,
    meta: BTreeMap<&'a str, &'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    check: Option<TtlCheck>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct TtlCheck {
    #[serde(rename = "TTL")]
    ttl: String,
    /// So that others see the node at once. go-micro leaves it critical until its first pass.
    status: &'static str,
    deregister_critical_service_after: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    #[serde(default)]
    node: Option<Machine>,
    service: Registered,
    #[serde(default)]
    checks: Option<Vec<Check>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Machine {
    #[serde(default)]
    address: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Registered {
    #[serde(rename = "ID")]
    id: String,
    service: String,
    #[serde(default)]
    tags: Option<Vec<String>>,
    #[serde(default)]
    address: String,
    #[serde(default)]
    port: u16,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Check {
    #[serde(default)]
    status: String,
}

// ===== paths =====

/// Text for a path's segment or a query's value.
pub(super) fn encoded(text: &str) -> impl fmt::Display + '_ {
    utf8_percent_encode(text, ENCODED)
}

// ===== writing =====

/// The body that registers a node.
pub(super) fn registration(
    service: &Service,
    node: &Node,
    tags: &[String],
    ttl: Duration,
) -> Result<Bytes, Error> {
    let (address, port) = split(node)?;
    let registration = Registration {
        id: &node.id,
        name: &service.name,
        tags,
        port,
        address,
        meta: meta(node),
        check: (!ttl.is_zero()).then(|| TtlCheck {
            ttl: go_duration(ttl),
            status: "passing",
            deregister_critical_service_after: go_duration(
                ttl.max(DEREGISTER_LEAST).saturating_add(DEREGISTER_SPLAY),
            ),
        }),
    };
    serde_json::to_vec(&registration)
        .map(Bytes::from)
        .map_err(|error| Error::registry("a registration cannot be written").with_source(error))
}

/// Host and port of a node. Consul keeps them apart, and wants no brackets.
fn split(node: &Node) -> Result<(&str, u16), Error> {
    let wrong = |why: &str| {
        Error::config(format_args!(
            "consul cannot register the address {:?} of the node {:?}: {why}",
            node.address, node.id
        ))
    };
    let (host, port) = node
        .address
        .rsplit_once(':')
        .filter(|(host, _)| !host.contains('/') && *host != "unix")
        .ok_or_else(|| wrong("expected a host with a port, such as 192.168.1.7:8080"))?;
    let host = match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        Some(host) => host,
        None if host.contains(':') => {
            return Err(wrong("an IPv6 address stands in brackets, [fd00::7]:8080"));
        }
        None => host,
    };
    if host.is_empty() || host == "0.0.0.0" || host == "::" {
        return Err(wrong(
            "nobody can dial it, expected an address of this machine",
        ));
    }
    let port = port
        .parse()
        .ok()
        .filter(|port| *port > 0)
        .ok_or_else(|| wrong("a port is a number from 1 to 65535"))?;
    Ok((host, port))
}

/// The pairs of the metadata that Consul takes, for people and their queries; the tags have them all.
fn meta(node: &Node) -> BTreeMap<&str, &str> {
    let fits = |key: &str, value: &str| {
        let letter = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        (1..=META_KEY).contains(&key.len())
            && key.bytes().all(letter)
            && !key.starts_with("consul-")
            && value.len() <= META_VALUE
    };
    node.metadata
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .filter(|(key, value)| fits(key, value))
        .take(META_PAIRS)
        .collect()
}

/// A duration as Go writes it: `1m30s`, `1h0m0s`, `2.5s`.
pub(super) fn go_duration(time: Duration) -> String {
    let (seconds, millis) = (time.as_secs(), time.subsec_millis());
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let mut text = String::new();
    if hours > 0 {
        text.push_str(&format!("{hours}h"));
    }
    if hours > 0 || minutes > 0 {
        text.push_str(&format!("{minutes}m"));
    }
    if millis == 0 {
        text.push_str(&format!("{}s", seconds % 60));
    } else {
        let fraction = format!("{millis:03}");
        let fraction = fraction.trim_end_matches('0');
        text.push_str(&format!("{}.{fraction}s", seconds % 60));
    }
    text
}

// ===== reading =====

/// The instances in an answer of the health endpoint. An entry that is wrong is left out, with a warning.
pub(super) fn instances(name: &str, body: &[u8]) -> Result<Vec<Instance>, Error> {
    // Consul writes `null` for an empty list in places.
    let entries: Option<Vec<&RawValue>> = serde_json::from_slice(body).map_err(|error| {
        wrong(
            "a list of instances",
            &format!("the service {name:?}"),
            body,
            &error,
        )
    })?;
    let mut reader = Reader::default();
    let mut services: HashMap<String, Arc<Service>> = HashMap::new();
    let mut instances = Vec::new();
    let mut wrong: Option<serde_json::Error> = None;
    for entry in entries.unwrap_or_default() {
        match serde_json::from_str::<Entry>(entry.get()) {
            // Consul finds names in any case; go-micro looks at them exactly.
            Ok(entry) if entry.service.service != name => {}
            Ok(entry) => instances.push(instance(entry, &mut reader, &mut services)),
            Err(error) => wrong = Some(error),
        }
    }
    if let Some(error) = wrong {
        tracing::warn!(service = name, %error, "consul names an instance in a way that cannot be read, it is left out");
    }
    Ok(instances)
}

fn instance(
    entry: Entry,
    reader: &mut Reader,
    services: &mut HashMap<String, Arc<Service>>,
) -> Instance {
    let Entry {
        node: machine,
        service,
        checks,
    } = entry;
    let tags = service.tags.unwrap_or_default();
    let version = reader.version(&tags);
    let head = services.entry(version).or_insert_with_key(|version| {
        Arc::new(Service {
            name: service.service,
            version: version.clone(),
            endpoints: reader.endpoints(&tags),
            ..Service::default()
        })
    });
    let host = if service.address.is_empty() {
        machine.map_or_else(String::new, |machine| machine.address)
    } else {
        service.address
    };
    Instance {
        service: Arc::clone(head),
        node: Node {
            id: service.id,
            address: joined(&host, service.port),
            metadata: reader.metadata(&tags),
        },
        critical: checks
            .unwrap_or_default()
            .iter()
            .any(|check| check.status == "critical"),
    }
}

/// A host that is no IP address may stand without a port, as go-micro has it for names of queues.
fn joined(host: &str, port: u16) -> String {
    if host.is_empty() || (port == 0 && host.parse::<std::net::IpAddr>().is_err()) {
        host.to_owned()
    } else if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// The versions of a service with the nodes that can be called.
pub(super) fn services(instances: Vec<Instance>) -> Vec<Service> {
    let mut versions: BTreeMap<String, Service> = BTreeMap::new();
    for instance in instances {
        if !instance.critical && !instance.node.address.is_empty() {
            versions
                .entry(instance.service.version.clone())
                .or_insert_with(|| Service::clone(&instance.service))
                .nodes
                .push(instance.node);
        }
    }
    versions.into_values().collect()
}

/// The names in an answer of the catalog.
pub(super) fn names(body: &[u8]) -> Result<Vec<String>, Error> {
    let names: BTreeMap<String, serde::de::IgnoredAny> = serde_json::from_slice(body)
        .map_err(|error| wrong("the names of the services", "the catalog", body, &error))?;
    Ok(names.into_keys().collect())
}

fn wrong(expected: &str, of: &str, body: &[u8], error: &serde_json::Error) -> Error {
    Error::registry(format_args!(
        "expected {expected} as JSON from consul for {of}, found {} bytes: {error}",
        body.len()
    ))
}

/// That an answer is a success.
pub(super) fn expect_success(what: &str, answer: &Answer, has_token: bool) -> Result<(), Error> {
    if (200..300).contains(&answer.status) {
        return Ok(());
    }
    let words = answer.words();
    let hint = match (answer.status, has_token) {
        // What Go's server says (net/http).
        (400, _) if words.contains("HTTP request to an HTTPS server") => {
            "; write https:// before the address"
        }
        (403, false) => "; the agent asks for an ACL token, set one with Consul::token",
        (403, true) => "; the ACL token does not allow this, or the agent does not know it",
        (429, _) => "; the agent allows no more requests or connections from this address",
        (301..=308, _) => "; expected the API of a consul agent at this address",
        _ => "",
    };
    Err(Error::registry(format_args!(
        "consul refused {what} with the status {}: {:?}{hint}",
        answer.status, words,
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: &str = r#"{"Node":{"Node":"t","Address":"10.1.1.1"},"Service":{"ID":"a-1","Service":"a",
        "Tags":["v-789cca492c492d2e01040000ffff08cc028e"],"Address":"10.0.0.1","Port":80},
        "Checks":[{"Status":"passing"},{"Status":"warning"}]}"#;

    fn read(json: &str) -> Vec<Instance> {
        instances("a", json.as_bytes()).unwrap()
    }

    #[test]
    fn writes_a_registration_as_go_does() {
        let service = Service {
            name: "a".into(),
            ..Service::default()
        };
        let node = Node {
            id: "a-1".into(),
            address: "[fd00::7]:8080".into(),
            metadata: [("k", "v"), ("no.dots", "v"), ("consul-x", "v"), ("", "v")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
        };
        let tags = ["v=1".to_owned()];
        let body = registration(&service, &node, &tags, Duration::from_secs(90)).unwrap();
        assert_eq!(
            std::str::from_utf8(&body).unwrap(),
            r#"{"ID":"a-1","Name":"a","Tags":["v=1"],"Port":8080,"Address":"fd00::7","Meta":{"k":"v"},"Check":{"TTL":"1m30s","Status":"passing","DeregisterCriticalServiceAfter":"1m35s"}}"#
        );
        let body = registration(&service, &node, &tags, Duration::ZERO).unwrap();
        assert!(!std::str::from_utf8(&body).unwrap().contains("Check"));
    }

    #[test]
    fn durations_are_those_of_go() {
        for (millis, text) in [
            (60_000, "1m0s"),
            (90_000, "1m30s"),
            (3_600_000, "1h0m0s"),
            (2_500, "2.5s"),
            (10, "0.01s"),
            (65_000, "1m5s"),
        ] {
            assert_eq!(go_duration(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn a_wrong_address_is_told() {
        for (address, why) in [
            ("10.0.0.1", "host with a port"),
            ("10.0.0.1:0", "from 1 to 65535"),
            ("10.0.0.1:x", "from 1 to 65535"),
            ("0.0.0.0:80", "nobody can dial"),
            ("[::]:80", "nobody can dial"),
            (":80", "nobody can dial"),
            ("::1:80", "in brackets"),
            ("unix:/run/a:80", "host with a port"),
        ] {
            let node = Node {
                id: "a-1".into(),
                address: address.into(),
                ..Node::default()
            };
            let error = registration(&Service::default(), &node, &[], Duration::ZERO).unwrap_err();
            assert!(error.to_string().contains(why), "{address}: {error}");
        }
    }

    #[test]
    fn reads_an_instance() {
        let found = read(&format!("[{ENTRY}]"));
        assert_eq!(found[0].node.address, "10.0.0.1:80");
        assert_eq!(found[0].service.version, "latest");
        assert!(!found[0].critical);
    }

    #[test]
    fn the_machine_lends_its_address() {
        let text = ENTRY.replace("10.0.0.1", "");
        assert_eq!(read(&format!("[{text}]"))[0].node.address, "10.1.1.1:80");
        let text = ENTRY.replace("10.0.0.1", "fd00::7");
        assert_eq!(read(&format!("[{text}]"))[0].node.address, "[fd00::7]:80");
    }

    #[test]
    fn a_wrong_entry_loses_only_itself() {
        for wrong in [
            "7",
            "null",
            "{}",
            r#"{"Service":{"ID":7,"Service":"a"}}"#,
            r#"{"Service":{"ID":"x","Service":"a","Port":-1}}"#,
            r#"{"Service":{"ID":"x","Service":"a","Port":65536}}"#,
            r#"{"Service":{"ID":"x","Service":"a","Tags":"none"}}"#,
            r#"{"Service":{"ID":"x","Service":"A"}}"#,
        ] {
            let found = read(&format!("[{wrong},{ENTRY}]"));
            assert_eq!(found.len(), 1, "{wrong}");
            assert_eq!(found[0].node.id, "a-1");
        }
    }

    #[test]
    fn null_is_an_empty_list() {
        assert!(read("null").is_empty());
        let bare =
            r#"[{"Node":null,"Service":{"ID":"a-1","Service":"a","Tags":null},"Checks":null}]"#;
        assert!(services(read(bare)).is_empty(), "it has no address");
    }

    #[test]
    fn critical_nodes_are_left_out() {
        let critical = ENTRY.replace("warning", "critical").replace("a-1", "a-2");
        let found = read(&format!("[{ENTRY},{critical}]"));
        assert!(found[1].critical);
        let services = services(found);
        assert_eq!(services.len(), 1);
        assert_eq!(services[0].nodes.len(), 1);
        let only = read(&format!("[{critical}]"));
        assert!(super::services(only).is_empty());
    }

    #[test]
    fn what_is_no_answer_is_told() {
        for body in ["", "[", "[{\"Node\":", "{}", "<html>", "[{}]x"] {
            let error = instances("a", body.as_bytes()).unwrap_err().to_string();
            assert!(error.contains("\"a\""), "{error}");
            assert!(error.contains("expected a list of instances"), "{error}");
        }
        let deep = "[".repeat(100_000);
        assert!(instances("a", deep.as_bytes()).is_err());
        assert!(names(b"[]").unwrap_err().to_string().contains("catalog"));
        assert_eq!(
            names(br#"{"consul":[],"a":["x"]}"#).unwrap(),
            ["a", "consul"]
        );
    }
}
