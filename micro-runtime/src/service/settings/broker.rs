//! The one table that turns the name of a broker into a value.

use std::any::TypeId;
use std::sync::{Arc, LazyLock};

use super::chosen::{self, Kind, Request};
use super::value::shown;
use crate::broker::{AnyBroker, Broker, DynBroker, Memory};
#[cfg(not(feature = "http"))]
use crate::broker::{AnyConsumer, Delivery, Message, Topic};
#[cfg(not(feature = "http"))]
use crate::deadline::Deadline;
use crate::error::Error;

pub(super) type BuiltIn = chosen::BuiltIn<dyn DynBroker>;
pub(super) type Chosen = chosen::Chosen<dyn DynBroker>;

const KIND: Kind = Kind {
    what: "broker",
    variable: "MICRO_BROKER",
    method: "ServiceBuilder::broker",
    default: "http",
    by_feature: &["http", "kafka", "nats", "rabbitmq", "redis"],
};

/// The brokers there are; those of a Cargo feature only with it.
pub(super) const BUILT_IN: &[BuiltIn] = &[
    #[cfg(feature = "http")]
    BuiltIn {
        name: "http",
        is: |type_id| type_id == TypeId::of::<crate::broker::Http>(),
        make: |addresses| match addresses {
            [] => Ok(Arc::new(crate::broker::Http::new())),
            [address] => Ok(Arc::new(crate::broker::Http::new().address(address))),
            found => Err(Error::config(format_args!(
                "expected one address, where this program receives events, found {}",
                shown(&found.join(","))
            ))),
        },
    },
    #[cfg(feature = "kafka")]
    BuiltIn {
        name: "kafka",
        is: |type_id| type_id == TypeId::of::<crate::broker::Kafka>(),
        make: |addresses| Ok(Arc::new(crate::broker::Kafka::try_new(addresses)?)),
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
    #[cfg(feature = "nats")]
    BuiltIn {
        name: "nats",
        is: |type_id| type_id == TypeId::of::<crate::broker::Nats>(),
        make: |addresses| Ok(Arc::new(crate::broker::Nats::try_new(addresses)?)),
    },
    #[cfg(feature = "rabbitmq")]
    BuiltIn {
        name: "rabbitmq",
        is: |type_id| type_id == TypeId::of::<crate::broker::RabbitMq>(),
        make: |addresses| Ok(Arc::new(crate::broker::RabbitMq::try_new(addresses)?)),
    },
    #[cfg(feature = "redis")]
    BuiltIn {
        name: "redis",
        is: |type_id| type_id == TypeId::of::<crate::broker::Redis>(),
        make: |addresses| Ok(Arc::new(crate::broker::Redis::try_new(addresses)?)),
    },
];

/// What `MICRO_BROKER=memory` means: services of one process have to share it to hear of each other. A `Memory`
/// made in code is a world of its own.
static SHARED_MEMORY: LazyLock<Memory> = LazyLock::new(Memory::new);

/// The broker that follows from what code has set and what was said outside.
pub(super) fn resolve(code: Option<&Chosen>, request: &Request) -> Result<AnyBroker, Error> {
    #[cfg(not(feature = "http"))]
    if code.is_none() && request.is_empty() {
        return Ok(AnyBroker::new(Nowhere));
    }
    chosen::resolve(&KIND, code, request, BUILT_IN).map(AnyBroker::of)
}

/// A broker that code has set.
pub(super) fn set<B: Broker>(broker: B) -> Chosen {
    let name = broker.name();
    Chosen::of::<B>(Arc::new(broker), name)
}

/// The broker of a service that was given none, in a build without the default one. Many services have no
/// events: only one that has is told.
#[cfg(not(feature = "http"))]
struct Nowhere;

#[cfg(not(feature = "http"))]
impl Nowhere {
    fn error() -> Error {
        Error::config(format_args!(
            "no broker is set, and the default one, {0}, is not in this build; set one with {1}, {2} ({3}) or the \
             cargo feature {0}",
            KIND.default,
            KIND.method,
            KIND.variable,
            chosen::names(BUILT_IN)
        ))
    }
}

#[cfg(not(feature = "http"))]
impl Broker for Nowhere {
    type Consumer = AnyConsumer;

    fn name(&self) -> &'static str {
        "none"
    }

    fn check(&self, _: Delivery) -> Result<(), Error> {
        Err(Nowhere::error())
    }

    async fn publish(&self, _: Message, _: Delivery, _: Deadline) -> Result<(), Error> {
        Err(Nowhere::error())
    }

    async fn subscribe(&self, _: &Topic) -> Result<AnyConsumer, Error> {
        Err(Nowhere::error())
    }
}

#[cfg(test)]
mod tests {
    use super::super::value::Origin;
    use super::*;

    fn request(name: &str, addresses: &[&str]) -> Request {
        let mut request = Request::default();
        if !name.is_empty() {
            request.set_name(name, Origin::Variable("MICRO_BROKER"));
        }
        if !addresses.is_empty() {
            let addresses = addresses.iter().map(|&text| text.to_owned()).collect();
            request.set_addresses(addresses, Origin::Variable("MICRO_BROKER_ADDRESS"));
        }
        request
    }

    #[test]
    fn code_and_environment_make_one_broker() {
        let own = set(Memory::new());
        let name = |code, request: &Request| Broker::name(&resolve(code, request).unwrap());
        assert_eq!(name(Some(&own), &request("", &[])), "memory");
        assert_eq!(name(Some(&own), &request("memory", &[])), "memory");
        assert_eq!(name(None, &request("memory", &[])), "memory");
        #[cfg(feature = "http")]
        {
            assert_eq!(name(None, &request("", &[])), "http");
            assert_eq!(name(Some(&own), &request("http", &["127.0.0.1:0"])), "http");
        }
        #[cfg(not(feature = "http"))]
        {
            let none = resolve(None, &request("", &[])).unwrap();
            let error = none.check(Delivery::AtMostOnce).unwrap_err().to_string();
            assert!(error.starts_with("no broker is set"), "{error}");
        }
    }

    #[tokio::test]
    async fn services_that_are_told_memory_share_it() {
        use crate::broker::{Publisher, Topic, subscribe};
        let [one, other] = [0, 1].map(|_| resolve(None, &request("memory", &[])).unwrap());
        let (seen, mut all) = tokio::sync::mpsc::unbounded_channel();
        let topic = Topic::new("settings.broker.shared");
        let handler = move |_: crate::Context, text: String| {
            let _ = seen.send(text);
            std::future::ready(Ok(()))
        };
        let subscription = subscribe(&one, topic, handler).unwrap();
        subscription.ready().await.unwrap();
        let publisher = Publisher::new(&other, "settings.broker.shared");
        publisher.publish(&"hi".to_owned()).await.unwrap();
        assert_eq!(all.recv().await.unwrap(), "hi");
    }

    #[test]
    fn what_does_not_fit_is_an_error_that_names_its_source() {
        for (name, addresses, expected) in [
            (
                "memory",
                vec!["a:1"],
                "MICRO_BROKER_ADDRESS: broker memory: expected no address",
            ),
            ("nonsense", vec![], "MICRO_BROKER: expected one of "),
        ] {
            let error = resolve(None, &request(name, &addresses)).err().unwrap();
            assert!(error.to_string().starts_with(expected), "{error}");
        }
        let named: Vec<_> = BUILT_IN.iter().map(|built_in| built_in.name).collect();
        for name in KIND.by_feature {
            if !named.contains(name) {
                let error = resolve(None, &request(name, &[]))
                    .err()
                    .unwrap()
                    .to_string();
                let feature = format!("which the cargo feature {name:?} adds");
                assert!(error.contains(&feature), "{error}");
            }
        }
    }
}
