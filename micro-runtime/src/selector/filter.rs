//! [`Filter`]: which nodes come into question at all.

use crate::registry::{Node, Service};

/// Keeps the nodes that it is about; several filters keep what each of them keeps.
///
/// The three are go-micro's (client/selector/filter.go). They are applied once to what the registry says, not
/// once per call.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Filter {
    /// Services of exactly this version.
    Version(String),
    /// Nodes with exactly this value under this key of their metadata.
    Label(String, String),
    /// Services that have an endpoint of exactly this name, such as `Greeter.Hello`. Registries that carry no
    /// endpoints, such as [`Fixed`](crate::registry::Fixed), then give no node.
    Endpoint(String),
}

// ===== impl Filter =====

impl Filter {
    /// Services of exactly this version.
    #[must_use]
    pub fn version(version: impl Into<String>) -> Filter {
        Filter::Version(version.into())
    }

    /// Nodes with exactly this value under this key of their metadata.
    #[must_use]
    pub fn label(key: impl Into<String>, value: impl Into<String>) -> Filter {
        Filter::Label(key.into(), value.into())
    }

    /// Services that have an endpoint of exactly this name.
    #[must_use]
    pub fn endpoint(name: impl Into<String>) -> Filter {
        Filter::Endpoint(name.into())
    }

    /// Whether the filter keeps a node of a service.
    #[must_use]
    pub fn keeps(&self, service: &Service, node: &Node) -> bool {
        match self {
            Filter::Version(version) => service.version == *version,
            Filter::Label(key, value) => node.metadata.get(key) == Some(value),
            Filter::Endpoint(name) => service.endpoints.iter().any(|e| e.name == *name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Endpoint;

    #[test]
    fn each_filter_keeps_exactly_what_it_names() {
        let service = Service {
            version: "1.2".into(),
            endpoints: vec![Endpoint {
                name: "Greeter.Hello".into(),
                ..Endpoint::default()
            }],
            ..Service::default()
        };
        let node = Node {
            metadata: [("zone".to_owned(), "a".to_owned())].into(),
            ..Node::default()
        };
        for (filter, keeps) in [
            (Filter::version("1.2"), true),
            (Filter::version("1.2.0"), false),
            (Filter::label("zone", "a"), true),
            (Filter::label("zone", "b"), false),
            (Filter::label("region", "a"), false),
            (Filter::endpoint("Greeter.Hello"), true),
            (Filter::endpoint("Hello"), false),
        ] {
            assert_eq!(filter.keeps(&service, &node), keeps, "{filter:?}");
        }
    }
}
