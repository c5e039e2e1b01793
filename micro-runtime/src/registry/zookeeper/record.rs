//! What stands where: services as paths and as data, in the layout of go-micro's plugin.

use super::config::check_name;
use crate::error::Error;
use crate::registry::Service;

/// The most bytes of a node's data; ZooKeeper takes no more by default (`jute.maxbuffer`).
pub(super) const DATA_MAX: usize = 1024 * 1024;

/// The names of services and ids of nodes as names of znodes: go-micro writes `-` for `/`.
pub(super) fn name(text: &str) -> String {
    text.replace('/', "-")
}

/// A node that is to be kept in ZooKeeper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// Below the root: `service/node`.
    pub(super) path: String,
    /// The JSON of the service with this one node.
    pub(super) data: Vec<u8>,
}

/// The records of a service's nodes.
pub(super) fn records(service: &Service) -> Result<Vec<Record>, Error> {
    service.check()?;
    let mut records = Vec::with_capacity(service.nodes.len());
    for node in &service.nodes {
        let one = Service {
            nodes: vec![node.clone()],
            ..service.versioned()
        };
        let data = serde_json::to_vec(&one).map_err(|error| {
            Error::registry(format_args!("the service {:?} is no JSON", service.name))
                .with_source(error)
        })?;
        if data.len() > DATA_MAX {
            return Err(Error::registry(format_args!(
                "zookeeper keeps at most {DATA_MAX} bytes of a node, {:?} has {}",
                node.id,
                data.len()
            )));
        }
        records.push(Record {
            path: path(service, &node.id)?,
            data,
        });
    }
    Ok(records)
}

/// Where a node of a service is, below the root.
pub(super) fn path(service: &Service, id: &str) -> Result<String, Error> {
    let wrong = |what: &str, text: &str, why: &str| {
        Error::registry(format_args!(
            "{what} {text:?} cannot be kept in zookeeper: {why}"
        ))
    };
    let (directory, node) = (name(&service.name), name(id));
    check_name(&directory).map_err(|why| wrong("the service's name", &service.name, why))?;
    check_name(&node).map_err(|why| wrong("the node's id", id, why))?;
    Ok(format!("{directory}/{node}"))
}

/// Reads a node's data. Go writes `null` for what is empty.
pub(super) fn read(data: &[u8]) -> Result<Service, String> {
    if data.len() > DATA_MAX {
        return Err(format!(
            "found {} bytes, the limit is {DATA_MAX}",
            data.len()
        ));
    }
    let service: Service = serde_json::from_slice(data).map_err(|error| error.to_string())?;
    if service.name.is_empty() {
        return Err("it has no name".to_owned());
    }
    Ok(service)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Node;

    fn service(name: &str, id: &str) -> Service {
        Service {
            name: name.into(),
            nodes: vec![Node {
                id: id.into(),
                address: "10.0.0.7:1".into(),
                ..Node::default()
            }],
            ..Service::default()
        }
    }

    #[test]
    fn a_record_is_where_go_looks_for_it() {
        let mut two = service("shop/orders", "shop/orders-1");
        two.nodes.push(Node {
            id: "2".into(),
            address: "10.0.0.8:1".into(),
            ..Node::default()
        });
        let found = records(&two).unwrap();
        assert_eq!(found[0].path, "shop-orders/shop-orders-1");
        assert_eq!(found[1].path, "shop-orders/2");
        let read = read(&found[1].data).unwrap();
        assert_eq!(read.name, "shop/orders");
        assert_eq!(read.version, "latest");
        assert_eq!(read.nodes, two.nodes[1..]);
    }

    #[test]
    fn what_cannot_be_kept_is_named() {
        let big = Service {
            metadata: [("k".to_owned(), "v".repeat(DATA_MAX))].into(),
            ..service("a", "a-1")
        };
        for (service, expected) in [
            (service("", "a"), "needs a name to be registered"),
            (service("..", "a"), "a part of it is relative"),
            (service("a", ""), "needs an id and an address"),
            (service("a", "\0"), "the node's id \"\\0\" cannot be kept"),
            (
                Service {
                    nodes: vec![],
                    ..service("a", "")
                },
                "it has none",
            ),
            (big, "zookeeper keeps at most 1048576 bytes of a node"),
        ] {
            let error = records(&service).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn data_of_others_may_be_anything() {
        let go = br#"{"name":"a","version":"1","metadata":null,"endpoints":null,"nodes":[{"id":"a-1","address":"h:1","metadata":null}]}"#;
        assert_eq!(read(go).unwrap().nodes[0].address, "h:1");
        for bad in [&b""[..], b"null", b"[]", b"{}", b"{\"name\":1}", b"\xff"] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
        assert!(
            read(&vec![b' '; DATA_MAX + 1])
                .unwrap_err()
                .contains("the limit")
        );
    }
}
