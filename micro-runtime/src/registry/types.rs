//! The data of discovery, with go-micro's names: what registries exchange as JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use crate::method::Shape;

/// A version of a service, and the nodes that run it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Service {
    /// Its name, such as `go.micro.srv.greeter`.
    pub name: String,
    /// Its version; never empty on a service that is registered: `latest` if nothing else was said.
    pub version: String,
    /// Metadata of the service. Some registries (mDNS, Consul) do not carry it.
    #[serde(deserialize_with = "null_as_default")]
    pub metadata: BTreeMap<String, String>,
    /// What can be called.
    #[serde(deserialize_with = "null_as_default")]
    pub endpoints: Vec<Endpoint>,
    /// Where it runs.
    #[serde(deserialize_with = "null_as_default")]
    pub nodes: Vec<Node>,
}

/// A running copy of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Node {
    /// Its id, unique among the service's nodes: `<service name>-<uuid>`.
    pub id: String,
    /// Where it listens, `host:port`.
    pub address: String,
    /// Its metadata; `protocol`, `server`, `transport`, `registry` and `broker` are written by the server.
    #[serde(deserialize_with = "null_as_default")]
    pub metadata: BTreeMap<String, String>,
}

/// Something that can be called.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Endpoint {
    /// Its name, such as `Greeter.Hello`.
    pub name: String,
    /// The type of its requests.
    pub request: Option<Value>,
    /// The type of its replies.
    pub response: Option<Value>,
    /// Its metadata: `stream` is `true` on streams, `rpc` is the path of the method.
    #[serde(deserialize_with = "null_as_default")]
    pub metadata: BTreeMap<String, String>,
}

/// The type of a message or of a field.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Value {
    /// The field's name; of a message at the top, the message's.
    pub name: String,
    /// Its type, in Go's words.
    #[serde(rename = "type")]
    pub kind: String,
    /// The fields, of a message.
    #[serde(deserialize_with = "null_as_default")]
    pub values: Vec<Value>,
}

/// What happened to a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Nodes came. May be said more than once of the same node.
    Create,
    /// Nodes changed.
    Update,
    /// Nodes went.
    Delete,
}

/// Something that happened, to the nodes that the service in it names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// What.
    #[serde(rename = "Action")]
    pub action: Action,
    /// To whom.
    #[serde(rename = "Service")]
    pub service: Service,
}

/// Go writes an empty map or list as `null`.
fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl From<&Shape> for Value {
    fn from(shape: &Shape) -> Value {
        Value {
            name: shape.name.to_owned(),
            kind: shape.kind.to_owned(),
            values: shape.fields.iter().map(Value::from).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_go_writes() {
        let text = r#"{"name":"greeter","version":"1.2.3","metadata":null,"endpoints":[{"name":"Greeter.Chat",
            "request":{"name":"Context","type":"Context","values":null},"response":null,"metadata":{"stream":"true"}}],
            "nodes":[{"id":"greeter-1","address":"127.0.0.1:19090","metadata":{"protocol":"grpc"}}],"new":1}"#;
        let service: Service = serde_json::from_str(text).unwrap();
        assert_eq!(service.endpoints[0].metadata["stream"], "true");
        assert_eq!(
            service.endpoints[0].request.as_ref().unwrap().kind,
            "Context"
        );
        assert_eq!(service.nodes[0].address, "127.0.0.1:19090");
        let again = serde_json::to_string(&service).unwrap();
        assert_eq!(serde_json::from_str::<Service>(&again).unwrap(), service);
    }

    #[test]
    fn an_event_has_capital_keys() {
        let event: Event =
            serde_json::from_str(r#"{"Action":"delete","Service":{"name":"a"}}"#).unwrap();
        assert_eq!(event.action, Action::Delete);
        assert!(
            serde_json::to_string(&event)
                .unwrap()
                .starts_with(r#"{"Action":"delete","Service":"#)
        );
    }
}
