//! The data of discovery, with go-micro's names: what registries exchange as JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use crate::error::Error;
use crate::method::Shape;

/// The keys of an endpoint's metadata; [`Endpoint::metadata`] says what they mean.
pub(crate) mod keys {
    pub(crate) const RPC: &str = "rpc";
    pub(crate) const STREAM: &str = "stream";
    pub(crate) const SUBSCRIBER: &str = "subscriber";
    pub(crate) const TOPIC: &str = "topic";
    pub(crate) const DEPRECATED: &str = "deprecated";
    // go-micro's names, of its gateways' endpoints (v2.9.1 api/api.go) and of its tools for agents (v6).
    pub(crate) const DESCRIPTION: &str = "description";
    pub(crate) const ENDPOINT: &str = "endpoint";
    pub(crate) const HANDLER: &str = "handler";
    pub(crate) const METHOD: &str = "method";
    pub(crate) const PATH: &str = "path";
    // Ours: go-micro's cannot say bodies, nor several methods with paths of their own.
    pub(crate) const HTTP: &str = "http";
    pub(crate) const REQUEST_DESCRIPTION: &str = "request_description";
    pub(crate) const RESPONSE_DESCRIPTION: &str = "response_description";
}

/// The version of what does not say one; go-micro's default.
pub(crate) const LATEST: &str = "latest";

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

/// Something that can be called, or a subscription.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Endpoint {
    /// Its name, such as `Greeter.Hello`; of a subscription, `Func`.
    pub name: String,
    /// The type of its requests.
    pub request: Option<Value>,
    /// The type of its replies; a subscription has none.
    pub response: Option<Value>,
    /// Its metadata. A server of micro writes, as far as the proto says it:
    ///
    /// | key | value |
    /// |---|---|
    /// | `rpc` | the path of the method, `/shop.v1.Orders/Place` |
    /// | `stream` | `true` on streams |
    /// | `deprecated` | `true` if the proto says so |
    /// | `description` | the rpc's comment |
    /// | `request_description`, `response_description` | the comments of its messages |
    /// | `http` | all rules of `google.api.http`, as JSON: `[{"method":"POST","path":"/v1/orders","body":"*"}]`, with `response_body` where there is one |
    /// | `subscriber`, `topic` | `true` and the topic, of a subscription |
    /// | `endpoint`, `handler`, `method`, `path` | the same for go-micro's gateways: the endpoint's name, `rpc`, the HTTP method of the first rule, and a comma list of the paths that go with that method |
    ///
    /// mDNS leaves out the comments, then the types' fields, then all endpoints, where they do not fit.
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

// ===== impl Service =====

impl Service {
    /// Its version, which is `latest` if it has none.
    pub(crate) fn version_or_latest(&self) -> &str {
        if self.version.is_empty() {
            LATEST
        } else {
            &self.version
        }
    }

    /// The same with its version said.
    pub(crate) fn versioned(&self) -> Service {
        Service {
            version: self.version_or_latest().to_owned(),
            ..self.clone()
        }
    }

    /// That it can be registered: it has a name and nodes, and each of these an id and an address.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.name.is_empty() {
            return Err(Error::registry("a service needs a name to be registered"));
        }
        if self.nodes.is_empty() {
            return Err(Error::registry(format_args!(
                "the service {:?} needs a node to be registered, it has none",
                self.name
            )));
        }
        for node in &self.nodes {
            if node.id.is_empty() || node.address.is_empty() {
                return Err(Error::registry(format_args!(
                    "a node of the service {:?} needs an id and an address, it has the id {:?} and the address {:?}",
                    self.name, node.id, node.address
                )));
            }
        }
        Ok(())
    }
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
