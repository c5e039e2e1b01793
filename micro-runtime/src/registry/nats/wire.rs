//! What go-micro's registries say to each other over NATS, as JSON.
//!
//! Ours say more, in fields that Go passes over: for how long a service is registered, in `ttl_ms`, and in
//! `also_on` that the same was said on another subject, so that who listens to both takes it once.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::registry::{Action, Service};

/// The most bytes of a message that is looked at: the most that NATS carries by default.
pub(super) const MESSAGE_MAX: usize = 1024 * 1024;

/// The bounds of the time that a peer may say.
const TTL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(24 * 3600));

/// A service as somebody said it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) service: Service,
    /// For how long, if that was said.
    pub(super) ttl: Option<Duration>,
    /// The size of the message.
    pub(super) bytes: usize,
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Query {
    Get(String),
    List,
}

#[derive(Serialize)]
struct Outgoing<'a> {
    #[serde(flatten)]
    service: &'a Service,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl_ms: Option<u64>,
}

#[derive(Deserialize)]
struct Incoming {
    #[serde(flatten)]
    service: Service,
    /// Whatever it is: a field of the same name in somebody else's may be anything.
    #[serde(default)]
    ttl_ms: serde_json::Value,
}

#[derive(Serialize)]
struct OutgoingResult<'a> {
    #[serde(rename = "Action")]
    action: &'a str,
    #[serde(rename = "Service")]
    service: Option<Outgoing<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    also_on: Option<&'a str>,
}

#[derive(Deserialize)]
struct IncomingResult {
    #[serde(rename = "Action", default)]
    action: String,
    #[serde(rename = "Service", default)]
    service: Option<Incoming>,
    #[serde(default)]
    also_on: serde_json::Value,
}

// ===== impl Query =====

impl Query {
    pub(super) fn write(&self, also_on: Option<&str>) -> Vec<u8> {
        let asked = match self {
            Query::Get(name) => Some(Service {
                name: name.clone(),
                ..Service::default()
            }),
            Query::List => None,
        };
        write(&OutgoingResult {
            action: if asked.is_some() { "get" } else { "list" },
            service: asked.as_ref().map(|service| Outgoing {
                service,
                ttl_ms: None,
            }),
            also_on,
        })
    }

    /// A question, and where else it was asked.
    pub(super) fn read(payload: &[u8]) -> Result<(Query, Option<String>), String> {
        let result: IncomingResult = read(payload)?;
        let also_on = text(result.also_on);
        match (&*result.action, result.service) {
            ("get", Some(asked)) => Ok((Query::Get(asked.service.name), also_on)),
            ("list", _) => Ok((Query::List, also_on)),
            (action, _) => Err(format!("expected the action get or list, found {action:?}")),
        }
    }
}

/// Tells that nodes came, changed or went.
pub(super) fn write_event(
    action: Action,
    service: &Service,
    ttl: Option<Duration>,
    also_on: Option<&str>,
) -> Vec<u8> {
    write(&OutgoingResult {
        action: match action {
            Action::Create => "create",
            Action::Update => "update",
            Action::Delete => "delete",
        },
        service: Some(outgoing(service, ttl)),
        also_on,
    })
}

/// Reads what [`write_event`] and go-micro write, and where else it was said.
pub(super) fn read_event(payload: &[u8]) -> Result<(Action, Said, Option<String>), String> {
    let result: IncomingResult = read(payload)?;
    let service = result.service.ok_or("it has no service")?;
    let action = match &*result.action {
        "create" => Action::Create,
        "update" | "override" => Action::Update,
        "delete" => Action::Delete,
        other => return Err(format!("found the action {other:?}")),
    };
    Ok((action, said(service, payload.len())?, text(result.also_on)))
}

/// An answer to a question.
pub(super) fn write_answer(service: &Service, ttl: Option<Duration>) -> Vec<u8> {
    write(&outgoing(service, ttl))
}

pub(super) fn read_answer(payload: &[u8]) -> Result<Said, String> {
    said(read(payload)?, payload.len())
}

fn outgoing(service: &Service, ttl: Option<Duration>) -> Outgoing<'_> {
    Outgoing {
        service,
        ttl_ms: ttl.and_then(|ttl| u64::try_from(ttl.as_millis()).ok()),
    }
}

fn said(incoming: Incoming, bytes: usize) -> Result<Said, String> {
    let Incoming { service, ttl_ms } = incoming;
    if service.name.is_empty() {
        return Err("the service has no name".to_owned());
    }
    let ttl = ttl_ms.as_u64().filter(|ttl| *ttl > 0);
    Ok(Said {
        service,
        ttl: ttl.map(|ttl| Duration::from_millis(ttl).clamp(TTL.0, TTL.1)),
        bytes,
    })
}

fn text(value: serde_json::Value) -> Option<String> {
    match value {
        serde_json::Value::String(text) => Some(text),
        _ => None,
    }
}

/// None of these can fail: they have text for keys and nothing but text, numbers and lists in them.
fn write(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

fn read<'de, T: Deserialize<'de>>(payload: &'de [u8]) -> Result<T, String> {
    if payload.len() > MESSAGE_MAX {
        let found = payload.len();
        return Err(format!("found {found} bytes, the limit is {MESSAGE_MAX}"));
    }
    serde_json::from_slice(payload).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::registry::Node;

    fn service() -> Service {
        Service {
            name: "greeter".into(),
            version: "1".into(),
            nodes: vec![Node {
                id: "greeter-1".into(),
                address: "10.0.0.7:1".into(),
                ..Node::default()
            }],
            ..Service::default()
        }
    }

    #[test]
    fn questions_are_as_go_writes_them() {
        let go = br#"{"Action":"get","Service":{"name":"greeter","version":"","metadata":null,"endpoints":null,"nodes":null}}"#;
        let get = Query::Get("greeter".into());
        assert_eq!(Query::read(go), Ok((get.clone(), None)));
        assert_eq!(Query::read(&get.write(None)), Ok((get.clone(), None)));
        let also_on = get.write(Some("a.b"));
        assert_eq!(Query::read(&also_on), Ok((get, Some("a.b".to_owned()))));
        let list = br#"{"Action":"list","Service":null}"#;
        assert_eq!(Query::read(list), Ok((Query::List, None)));
        assert_eq!(Query::List.write(None), list);
    }

    #[test]
    fn events_and_answers_carry_the_time() {
        let ttl = Some(Duration::from_millis(90_500));
        let said = |message: &[u8]| Said {
            service: service(),
            ttl,
            bytes: message.len(),
        };
        let event = write_event(Action::Create, &service(), ttl, Some("a.b"));
        let expected = (Action::Create, said(&event), Some("a.b".to_owned()));
        assert_eq!(read_event(&event), Ok(expected));
        let answer = write_answer(&service(), ttl);
        assert_eq!(read_answer(&answer), Ok(said(&answer)));
        let go = br#"{"Action":"delete","Service":{"name":"a","version":"1","metadata":null,"endpoints":null,"nodes":null}}"#;
        let (action, said, _) = read_event(go).unwrap();
        assert_eq!((action, said.ttl), (Action::Delete, None));
    }

    #[test]
    fn a_time_that_cannot_be_is_held_in_bounds() {
        for (text, expected) in [
            (r#"{"name":"a","ttl_ms":0}"#, None),
            (r#"{"name":"a","ttl_ms":1}"#, Some(TTL.0)),
            (r#"{"name":"a","ttl_ms":18446744073709551615}"#, Some(TTL.1)),
            (r#"{"name":"a","ttl_ms":-1}"#, None),
            (r#"{"name":"a","ttl_ms":"soon"}"#, None),
        ] {
            assert_eq!(
                read_answer(text.as_bytes()).unwrap().ttl,
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn garbage_is_an_error() {
        for bad in [
            &b""[..],
            b"null",
            b"\xff",
            b"[1",
            b"{}",
            br#"{"Action":"create"}"#,
            br#"{"Action":"create","Service":{}}"#,
            br#"{"Action":"dance","Service":{"name":"a"}}"#,
            br#"{"Action":"create","Service":{"name":"a","nodes":[1]}}"#,
        ] {
            assert!(
                read_event(bad).is_err(),
                "{:?}",
                String::from_utf8_lossy(bad)
            );
            assert!(
                Query::read(bad).is_err(),
                "{:?}",
                String::from_utf8_lossy(bad)
            );
        }
        let long = vec![b' '; MESSAGE_MAX + 1];
        assert!(read_answer(&long).unwrap_err().contains("the limit"));
        let deep = "[".repeat(MESSAGE_MAX);
        assert!(read_answer(deep.as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn nothing_panics(payload in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = Query::read(&payload);
            let _ = read_event(&payload);
            let _ = read_answer(&payload);
        }
    }
}
