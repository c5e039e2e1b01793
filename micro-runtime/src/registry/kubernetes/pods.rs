//! What stands in pods: go-micro's labels and annotations (go-plugins registry/kubernetes), and as much of a
//! pod as says whether they hold.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::Error;
use crate::registry::Service;
use crate::registry::common::fit::{Room, fit};

/// The label of pods with a service, and the value of all labels.
const TYPE_LABEL: &str = "micro.mu/type";
const SERVICE: &str = "service";
const SELECTOR_LABEL: &str = "micro.mu/selector-";
const ANNOTATION: &str = "micro.mu/service-";

/// The most characters of a label's name behind its prefix (Kubernetes: 63 behind the slash).
const NAME_MAX: usize = 63 - "selector-".len();

/// The bytes that one service's annotation may have: all of a pod's together may have 256 KiB.
const ROOM: Room = Room {
    details: 200 * 1024,
    all: 200 * 1024,
};

/// The most nodes that are taken in of one pod, which has one.
const NODES_MAX: usize = 64;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Pod {
    pub(super) metadata: Metadata,
    status: Value,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Metadata {
    pub(super) name: String,
    pub(super) resource_version: String,
    deletion_timestamp: Option<String>,
    annotations: Option<BTreeMap<String, String>>,
}

/// A page of pods.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct List {
    pub(super) metadata: ListMetadata,
    pub(super) items: Option<Vec<Pod>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ListMetadata {
    pub(super) resource_version: String,
    #[serde(rename = "continue")]
    pub(super) next: Option<String>,
}

/// A line of a watch; the object is what its kind says.
#[derive(Deserialize)]
pub(super) struct Line<T> {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) object: T,
}

/// What an error says.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Status {
    pub(super) code: u16,
    pub(super) message: String,
}

// ===== impl Pod =====

impl Pod {
    /// The services that the pod runs, by their annotations: none unless it runs, and none from when it is
    /// told to end. `name` leaves only that one. An annotation that says nothing sensible loses only itself.
    pub(super) fn services(&self, name: Option<&str>) -> Vec<Service> {
        let running = self.status.get("phase").and_then(Value::as_str) == Some("Running");
        if !running || self.metadata.deletion_timestamp.is_some() {
            return Vec::new();
        }
        let wanted = name.map(|name| format!("{ANNOTATION}{}", written(name)));
        let mut services = Vec::new();
        for (key, text) in self.metadata.annotations.iter().flatten() {
            let concerns = match &wanted {
                Some(wanted) => key == wanted,
                None => key.starts_with(ANNOTATION),
            };
            if !concerns {
                continue;
            }
            match serde_json::from_str::<Service>(text) {
                // Several names may be written in one way.
                Ok(service) if name.is_some_and(|name| name != service.name) => {}
                Ok(mut service) if !service.name.is_empty() => {
                    service.nodes.retain(|node| !node.address.is_empty());
                    service.nodes.truncate(NODES_MAX);
                    if !service.nodes.is_empty() {
                        services.push(service);
                    }
                }
                Ok(_) => self.odd(key, "it has no name"),
                Err(error) => self.odd(key, &error.to_string()),
            }
        }
        services
    }

    fn odd(&self, annotation: &str, why: &str) {
        tracing::debug!(
            pod = self.metadata.name,
            annotation,
            why,
            "An annotation is no service"
        );
    }
}

/// A service's name as it stands in labels and annotations.
fn written(name: &str) -> String {
    let keep = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    name.bytes()
        .map(|byte| if keep(byte) { char::from(byte) } else { '_' })
        .collect()
}

/// The label selector of the pods with a service, or with any.
pub(super) fn selector(name: Option<&str>) -> String {
    match name {
        Some(name) => format!("{SELECTOR_LABEL}{}={SERVICE}", written(name)),
        None => format!("{TYPE_LABEL}={SERVICE}"),
    }
}

/// The strategic merge patch of our pod that makes a service known.
///
/// # Errors
///
/// The name is none that a label can have, or the service does not fit an annotation.
pub(super) fn registered(service: &Service) -> Result<Value, Error> {
    let name = label(&service.name)?;
    if service.nodes.iter().all(|node| node.address.is_empty()) {
        return Err(Error::registry(format_args!(
            "the service {:?} needs a node with an address to be registered, it has none",
            service.name
        )));
    }
    Ok(json!({ "metadata": {
        "labels": { TYPE_LABEL: SERVICE, format!("{SELECTOR_LABEL}{name}"): SERVICE },
        "annotations": { format!("{ANNOTATION}{name}"): annotation(service)? },
    } }))
}

/// The patch that takes it away. The label that says that there are services stays, as with go-micro: there
/// may be others.
pub(super) fn deregistered(service: &Service) -> Result<Value, Error> {
    let name = label(&service.name)?;
    Ok(json!({ "metadata": {
        "labels": { format!("{SELECTOR_LABEL}{name}"): null },
        "annotations": { format!("{ANNOTATION}{name}"): null },
    } }))
}

/// The JSON of a service; what does not fit is left out in steps.
fn annotation(service: &Service) -> Result<String, Error> {
    let mut service = service.versioned();
    let endpoints = std::mem::take(&mut service.endpoints);
    let fitted = fit(endpoints, ROOM, |endpoints, limit| {
        service.endpoints = endpoints.to_vec();
        // Writing maps with string keys into a string cannot fail.
        let text = serde_json::to_string(&service).unwrap_or_default();
        Some(text).filter(|text| text.len() <= limit)
    });
    let (text, left_out) = fitted.ok_or_else(|| {
        Error::config(format_args!(
            "the service {:?} does not fit an annotation of {} bytes, even without its endpoints",
            service.name, ROOM.all
        ))
    })?;
    left_out.tell(&service.name, "kubernetes", ROOM);
    Ok(text)
}

/// A name as part of a label, whose name has at most 63 characters and ends in a letter or a digit.
fn label(name: &str) -> Result<String, Error> {
    let written = written(name);
    let ends = written
        .bytes()
        .last()
        .is_some_and(|byte| byte.is_ascii_alphanumeric());
    if !ends || written.len() > NAME_MAX {
        return Err(Error::config(format_args!(
            "expected the name of a service that fits a label of Kubernetes, at most {NAME_MAX} characters with a \
             letter or a digit at the end, found {name:?}"
        )));
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{Endpoint, Node};

    fn service(name: &str) -> Service {
        Service {
            name: name.into(),
            version: "1".into(),
            nodes: vec![Node {
                id: "n".into(),
                address: "10.0.0.1:80".into(),
                ..Node::default()
            }],
            ..Service::default()
        }
    }

    fn pod(text: &str) -> Pod {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn writes_what_go_micro_writes() {
        let patch = registered(&service("go.micro/srv greeter-1")).unwrap();
        let metadata = &patch["metadata"];
        assert_eq!(
            metadata["labels"],
            json!({ "micro.mu/type": "service", "micro.mu/selector-go.micro_srv_greeter-1": "service" })
        );
        let text = metadata["annotations"]["micro.mu/service-go.micro_srv_greeter-1"].as_str();
        assert_eq!(
            text.unwrap(),
            r#"{"name":"go.micro/srv greeter-1","version":"1","metadata":{},"endpoints":[],"nodes":[{"id":"n","address":"10.0.0.1:80","metadata":{}}]}"#
        );
        let patch = deregistered(&service("a")).unwrap();
        let nulls = json!({ "metadata": { "labels": { "micro.mu/selector-a": null },
            "annotations": { "micro.mu/service-a": null } } });
        assert_eq!(patch, nulls);
        assert_eq!(selector(Some("a/b")), "micro.mu/selector-a_b=service");
        assert_eq!(selector(None), "micro.mu/type=service");
        assert_eq!(written("ü"), "__", "each byte");
    }

    #[test]
    fn names_that_fit_no_label_are_errors() {
        for name in ["", "a/", "a-", &"a".repeat(55)] {
            assert!(registered(&service(name)).is_err(), "{name}");
        }
        assert!(registered(&service(&"a".repeat(54))).is_ok());
        let mut without = service("a");
        without.nodes.clear();
        assert!(registered(&without).is_err());
    }

    #[test]
    fn a_large_service_loses_types_before_endpoints() {
        let mut large = service("a");
        let value = crate::registry::Value {
            name: "x".repeat(1000),
            ..Default::default()
        };
        let whole = crate::registry::Value {
            values: vec![value; 3],
            ..Default::default()
        };
        large.endpoints = vec![
            Endpoint {
                name: "A.B".into(),
                request: Some(whole),
                ..Endpoint::default()
            };
            100
        ];
        let read: Service = serde_json::from_str(&annotation(&large).unwrap()).unwrap();
        assert_eq!(read.endpoints.len(), 100);
        assert!(
            read.endpoints[0]
                .request
                .as_ref()
                .unwrap()
                .values
                .is_empty()
        );
        large.endpoints[0].name = "x".repeat(ROOM.all);
        let read: Service = serde_json::from_str(&annotation(&large).unwrap()).unwrap();
        assert!(read.endpoints.is_empty());
        large.name = "x".repeat(ROOM.all);
        assert!(annotation(&large).is_err());
    }

    #[test]
    fn only_pods_that_run_and_are_not_told_to_end_count() {
        let text = r#"{"metadata":{"name":"p","annotations":{"micro.mu/service-a":"{\"name\":\"a\",\"version\":\"1\",\"nodes\":[{\"id\":\"n\",\"address\":\"h:1\"}]}",
            "micro.mu/service-b":"{", "micro.mu/service-c":"{\"nodes\":null}", "micro.mu/service-a_b":"{\"name\":\"a/b\",\"nodes\":[{\"id\":\"m\",\"address\":\"h:2\"},{\"id\":\"x\"}]}","other":"x"}},
            "status":{"phase":"Running"}}"#;
        let names = |pod: &Pod, name| -> Vec<String> {
            pod.services(name)
                .into_iter()
                .map(|service| service.name)
                .collect()
        };
        let running = pod(text);
        assert_eq!(
            names(&running, None),
            ["a", "a/b"],
            "bad ones lose only themselves"
        );
        assert_eq!(names(&running, Some("a/b")), ["a/b"]);
        assert_eq!(running.services(Some("a/b"))[0].nodes.len(), 1);
        assert!(
            names(&running, Some("a b")).is_empty(),
            "written alike, but another"
        );
        assert!(names(&pod(&text.replace("Running", "Pending")), None).is_empty());
        let ending = text.replace(
            r#""name":"p","#,
            r#""name":"p","deletionTimestamp":"2026-01-01T00:00:00Z","#,
        );
        assert!(names(&pod(&ending), None).is_empty());
        for odd in [
            "{}",
            r#"{"status":1}"#,
            r#"{"metadata":{"annotations":null},"status":{"phase":[]}}"#,
        ] {
            assert!(names(&pod(odd), None).is_empty(), "{odd}");
        }
    }
}
