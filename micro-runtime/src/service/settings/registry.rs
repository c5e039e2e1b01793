//! The one table that turns the name of a registry into a value.

use std::any::TypeId;
use std::sync::{Arc, LazyLock};

use super::chosen::{self, Kind, Request};
use super::multi;
use super::value::shown;
use crate::error::Error;
#[cfg(feature = "consul")]
use crate::registry::Consul;
#[cfg(feature = "etcd")]
use crate::registry::Etcd;
#[cfg(feature = "mdns")]
use crate::registry::Mdns;
#[cfg(feature = "nats")]
use crate::registry::Nats;
#[cfg(feature = "zookeeper")]
use crate::registry::ZooKeeper;
use crate::registry::{DynRegistry, Fixed, Memory, Registry};

pub(super) type BuiltIn = chosen::BuiltIn<dyn DynRegistry>;
pub(super) type Chosen = chosen::Chosen<dyn DynRegistry>;

const KIND: Kind = Kind {
    what: "registry",
    variable: "MICRO_REGISTRY",
    method: "ServiceBuilder::registry",
    default: "mdns",
    by_feature: &[
        "consul",
        "dns",
        "etcd",
        "kubernetes",
        "mdns",
        "nats",
        "zookeeper",
    ],
};

/// The registries there are; those of a Cargo feature only with it.
pub(super) const BUILT_IN: &[BuiltIn] = &[
    #[cfg(feature = "consul")]
    BuiltIn {
        name: "consul",
        is: |type_id| type_id == TypeId::of::<Consul>(),
        make: |addresses| Ok(Arc::new(Consul::try_new(addresses)?)),
    },
    #[cfg(feature = "dns")]
    BuiltIn {
        name: "dns",
        is: |type_id| type_id == TypeId::of::<crate::registry::Dns>(),
        make: |addresses| Ok(Arc::new(crate::registry::Dns::try_new(addresses)?)),
    },
    #[cfg(feature = "etcd")]
    BuiltIn {
        name: "etcd",
        is: |type_id| type_id == TypeId::of::<Etcd>(),
        make: |addresses| Ok(Arc::new(Etcd::try_new(addresses)?)),
    },
    BuiltIn {
        name: "fixed",
        is: |type_id| type_id == TypeId::of::<Fixed>(),
        make: |addresses| Ok(Arc::new(Fixed::try_new(addresses)?)),
    },
    #[cfg(feature = "kubernetes")]
    BuiltIn {
        name: "kubernetes",
        is: |type_id| type_id == TypeId::of::<crate::registry::Kubernetes>(),
        make: super::pod::make,
    },
    #[cfg(feature = "mdns")]
    BuiltIn {
        name: "mdns",
        is: |type_id| type_id == TypeId::of::<Mdns>(),
        make: |addresses| {
            if let Some(server) = addresses.iter().find(|address| is_server(address)) {
                return Err(Error::config(format_args!(
                    "expected interfaces, by address or name, found {}; the address of a server goes with the name of \
                     its registry, such as consul (MICRO_REGISTRY)",
                    shown(server)
                )));
            }
            Ok(Arc::new(match addresses {
                [] => Mdns::new(),
                interfaces => Mdns::new().interfaces(interfaces),
            }))
        },
    },
    BuiltIn {
        name: "memory",
        is: |type_id| type_id == TypeId::of::<Memory>(),
        make: |addresses| match addresses {
            [] => Ok(Arc::new(SHARED_MEMORY.clone())),
            found => Err(Error::config(format_args!(
                "expected no address, since it lies in this process, found {}",
                shown(&found.join(","))
            ))),
        },
    },
    BuiltIn {
        name: multi::NAME,
        is: |type_id| type_id == TypeId::of::<crate::registry::Multi>(),
        make: |addresses| multi::make(addresses, BUILT_IN),
    },
    #[cfg(feature = "nats")]
    BuiltIn {
        name: "nats",
        is: |type_id| type_id == TypeId::of::<Nats>(),
        make: |addresses| Ok(Arc::new(Nats::try_new(addresses)?)),
    },
    #[cfg(feature = "zookeeper")]
    BuiltIn {
        name: "zookeeper",
        is: |type_id| type_id == TypeId::of::<ZooKeeper>(),
        make: |addresses| Ok(Arc::new(ZooKeeper::try_new(addresses)?)),
    },
];

/// What `MICRO_REGISTRY=memory` means: services of one process that are told apart by nothing but their names
/// have to share a map to find each other. A `Memory` made in code is a map of its own.
static SHARED_MEMORY: LazyLock<Memory> = LazyLock::new(Memory::new);

/// The registry that follows from what code has set and what was said outside.
pub(super) fn resolve(
    code: Option<&Chosen>,
    request: &Request,
    table: &[BuiltIn],
) -> Result<Arc<dyn DynRegistry>, Error> {
    chosen::resolve(&KIND, code, request, table)
}

/// A registry that code has set.
pub(super) fn set<R: Registry>(registry: R) -> Chosen {
    let name = registry.name();
    Chosen::of::<R>(Arc::new(registry), name)
}

/// Whether this is where a server listens, and no interface, whose name may have a colon too: `eth0:1`.
#[cfg(feature = "mdns")]
fn is_server(address: &str) -> bool {
    let named = |(host, port): (&str, &str)| {
        (host == "localhost" || host.contains('.')) && port.parse::<u16>().is_ok()
    };
    address.contains("://")
        || address.parse::<std::net::SocketAddr>().is_ok()
        || address.rsplit_once(':').is_some_and(named)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::value::Origin;
    use super::*;
    use crate::registry::{Service, Watcher};

    /// A registry that lists its addresses as the names of services.
    struct Fake<const N: u8>(Vec<String>);

    impl<const N: u8> Registry for Fake<N> {
        fn name(&self) -> &'static str {
            ["mdns", "fixed", "theirs"][usize::from(N)]
        }

        async fn register(&self, _: &Service, _: Duration) -> Result<(), Error> {
            Ok(())
        }

        async fn deregister(&self, _: &Service) -> Result<(), Error> {
            Ok(())
        }

        async fn get(&self, _: &str) -> Result<Vec<Service>, Error> {
            Ok(Vec::new())
        }

        async fn list(&self) -> Result<Vec<Service>, Error> {
            let service = |name: &String| Service {
                name: name.clone(),
                ..Service::default()
            };
            Ok(self.0.iter().map(service).collect())
        }

        async fn watch(&self, _: Option<&str>) -> Result<Watcher, Error> {
            Err(Error::registry("no watch"))
        }
    }

    const FAKES: &[BuiltIn] = &[
        BuiltIn {
            name: "mdns",
            is: |id| id == TypeId::of::<Fake<0>>(),
            make: |addresses| Ok(Arc::new(Fake::<0>(addresses.to_vec()))),
        },
        BuiltIn {
            name: "fixed",
            is: |id| id == TypeId::of::<Fake<1>>(),
            make: |addresses| match addresses {
                [] => Err(Error::config("expected an address, found none")),
                addresses => Ok(Arc::new(Fake::<1>(addresses.to_vec()))),
            },
        },
    ];

    fn code<const N: u8>(addresses: &str) -> Option<Chosen> {
        let addresses = addresses.split(',').map(str::to_owned).collect();
        Some(set(Fake::<N>(addresses)))
    }

    /// `name|addresses` by the environment, then by flags.
    fn request(variables: &str, flags: &str) -> Request {
        let mut request = Request::default();
        for (text, origins) in [
            (
                variables,
                [
                    Origin::Variable("MICRO_REGISTRY"),
                    Origin::Variable("MICRO_REGISTRY_ADDRESS"),
                ],
            ),
            (
                flags,
                [Origin::Flag("registry"), Origin::Flag("registry_address")],
            ),
        ] {
            let (name, addresses) = text.split_once('|').unwrap();
            let [of_name, of_addresses] = origins;
            // Flags may come in any order; this one is the harder.
            if !addresses.is_empty() {
                let addresses = addresses.split(',').map(str::to_owned).collect();
                request.set_addresses(addresses, of_addresses);
            }
            if !name.is_empty() {
                request.set_name(name, of_name);
            }
        }
        request
    }

    #[tokio::test]
    async fn code_environment_and_flags_make_one_registry() {
        for (code, variables, flags, expected) in [
            (None, "|", "|", "mdns []"),
            (None, "|lo,eth0", "|", "mdns [lo,eth0]"),
            (None, "fixed|a:1", "|", "fixed [a:1]"),
            (None, "fixed|a:1", "|b:2", "fixed [b:2]"),
            (None, "|a:1", "fixed|", "fixed [a:1]"),
            (None, "fixed|a:1", "fixed|", "fixed [a:1]"),
            (None, "fixed|a:1", "mdns|", "mdns []"),
            (None, "mdns|lo", "fixed|b:2", "fixed [b:2]"),
            (code::<1>("c:3"), "|", "|", "fixed [c:3]"),
            (code::<1>("c:3"), "|a:1", "|", "fixed [a:1]"),
            (code::<1>("c:3"), "fixed|", "|", "fixed [c:3]"),
            (code::<1>("c:3"), "|", "mdns|", "mdns []"),
            (code::<1>("c:3"), "mdns|lo", "|", "mdns [lo]"),
            (code::<2>("c:3"), "|", "|", "theirs [c:3]"),
            (code::<2>("c:3"), "|", "mdns|", "mdns []"),
            (code::<2>("c:3"), "|a:1", "fixed|", "fixed [a:1]"),
        ] {
            let registry = resolve(code.as_ref(), &request(variables, flags), FAKES).unwrap();
            let services = registry.list().await.unwrap();
            let addresses: Vec<_> = services.into_iter().map(|service| service.name).collect();
            let found = format!("{} [{}]", registry.name(), addresses.join(","));
            assert_eq!(found, expected, "{code:?} {variables} {flags}");
        }
    }

    #[cfg(feature = "mdns")]
    #[test]
    fn the_address_of_a_server_is_no_interface() {
        for interface in [
            "lo", "eth0", "eth0:1", "eth0.100", "10.0.0.7", "fe80::1", "::1",
        ] {
            assert!(resolve(None, &request(&format!("|{interface}"), "|"), BUILT_IN).is_ok());
        }
        for server in [
            "10.0.0.7:8500",
            "[::1]:8500",
            "consul.local:8500",
            "localhost:2379",
            "http://consul",
        ] {
            let error = resolve(None, &request(&format!("|{server}"), "|"), BUILT_IN);
            let error = error.err().unwrap().to_string();
            let expected = format!(
                "MICRO_REGISTRY_ADDRESS: registry mdns: expected interfaces, by address or name, found {server:?}; "
            );
            assert!(error.starts_with(&expected), "{error}");
        }
    }

    #[test]
    fn what_does_not_fit_is_an_error_that_names_its_source() {
        for (code, variables, flags, expected) in [
            (
                code::<2>("c:3"),
                "|a:1",
                "|",
                "MICRO_REGISTRY_ADDRESS: expected no address, since the registry that code has set, \"theirs\", is not \
                 one of the built-in ones (mdns, fixed), found \"a:1\"; name one of those too, or leave the address out",
            ),
            (
                code::<2>("c:3"),
                "|",
                "|a:1",
                "--registry_address: expected no address, since the registry that code has set, \"theirs\", is not \
                 one of the built-in ones (mdns, fixed), found \"a:1\"; name one of those too, or leave the address out",
            ),
            (
                None,
                "consul|",
                "|",
                "MICRO_REGISTRY: expected one of mdns, fixed (those of this build), found \"consul\", which the cargo \
                 feature \"consul\" adds",
            ),
            (
                None,
                "nonsense|",
                "|",
                "MICRO_REGISTRY: expected one of mdns, fixed (those of this build; consul, dns, etcd, kubernetes, mdns, \
                 nats, zookeeper come with the cargo feature of their name), found \"nonsense\"",
            ),
            (
                None,
                "|",
                "fixed|",
                "--registry: registry fixed: expected an address, found none",
            ),
        ] {
            let result = resolve(code.as_ref(), &request(variables, flags), FAKES);
            assert_eq!(result.err().unwrap().to_string(), expected);
        }
        let none = resolve(None, &Request::default(), &[]).err().unwrap();
        assert!(none.to_string().starts_with("no registry is set"), "{none}");
    }
}
