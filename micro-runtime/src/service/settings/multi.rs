//! Several registries in one setting: `consul://10.0.0.7:8500,etcd+https://10.0.0.8:2379,mdns`.

use std::sync::Arc;

use super::chosen::names;
use super::registry::BuiltIn;
use super::value::shown;
use crate::error::Error;
use crate::registry::{AnyRegistry, DynRegistry, Multi};

/// The registry's own name, which cannot stand in its own list.
pub(super) const NAME: &str = "multi";

/// Parts the addresses of one registry, since a comma parts registries.
const PARTS: char = ';';

/// Makes the registries of a list, each by its name in `table`.
pub(super) fn make(items: &[String], table: &[BuiltIn]) -> Result<Arc<dyn DynRegistry>, Error> {
    if items.is_empty() {
        return Err(Error::config(
            "expected addresses that name their registries, such as \
             consul://10.0.0.7:8500,etcd+https://10.0.0.8:2379,mdns, found none",
        ));
    }
    let mut registries = Vec::new();
    for item in items {
        let (name, addresses) = part(item);
        let built_in = table
            .iter()
            .find(|built_in| built_in.name == name && name != NAME)
            .ok_or_else(|| {
                Error::config(format_args!(
                    "expected one of {} before :// or + or alone (those of this build; others need their cargo \
                     feature), found {}",
                    names(table),
                    shown(name)
                ))
            })?;
        let made = (built_in.make)(&addresses)
            .map_err(|error| Error::config(format_args!("{name}: {error}")))?;
        registries.push(AnyRegistry::of(made));
    }
    Ok(Arc::new(Multi::of(registries)))
}

/// The registry that an item names, and its addresses: `consul://a;b`, `etcd+https://a;https://b`, `mdns`.
fn part(item: &str) -> (&str, Vec<String>) {
    // A `+` may also stand in what comes after the scheme.
    let scheme = item.find("://").unwrap_or(item.len());
    let (name, addresses) = match item.split_at(scheme) {
        (before, _) if before.contains('+') => item.split_once('+').unwrap_or((item, "")),
        (name, rest) => (name, rest.strip_prefix("://").unwrap_or(rest)),
    };
    let addresses = addresses.split(PARTS).filter(|address| !address.is_empty());
    (name, addresses.map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::super::registry::BUILT_IN;
    use super::*;
    use crate::registry::{Fixed, Memory};
    use std::any::TypeId;

    #[test]
    fn an_item_is_a_registry_and_its_addresses() {
        for (item, name, addresses) in [
            ("mdns", "mdns", &[][..]),
            ("mdns://", "mdns", &[]),
            ("consul://10.0.0.7:8500", "consul", &["10.0.0.7:8500"]),
            ("consul://a;b:1", "consul", &["a", "b:1"]),
            ("etcd+https://a:2379", "etcd", &["https://a:2379"]),
            (
                "etcd+etcds://u:p@a;etcds://b?ca=/x+y",
                "etcd",
                &["etcds://u:p@a", "etcds://b?ca=/x+y"],
            ),
            ("consul://t@a?token=x+y", "consul", &["t@a?token=x+y"]),
            (
                "dns://{service}.service.consul;127.0.0.1:8600",
                "dns",
                &["{service}.service.consul", "127.0.0.1:8600"],
            ),
        ] {
            let (of, list) = part(item);
            assert_eq!(
                (of, &list[..]),
                (
                    name,
                    &addresses
                        .iter()
                        .map(|a| (*a).to_owned())
                        .collect::<Vec<_>>()[..]
                )
            );
        }
    }

    #[tokio::test]
    async fn makes_what_is_named_and_names_what_is_not() {
        let items = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
        let made = make(
            &items("memory,fixed://10.0.0.7:5000;10.0.0.8:5000"),
            BUILT_IN,
        )
        .unwrap();
        let greeter = made.get("greeter").await.unwrap();
        assert_eq!(greeter[0].nodes.len(), 2);
        for (text, expected) in [
            ("consuls://user:s3cret@host", "found \"consuls\""),
            ("multi+mdns", "found \"multi\""),
            (
                "fixed",
                "fixed: the fixed registry needs an address such as 10.0.0.7:5000, it has none",
            ),
        ] {
            let error = make(&items(text), BUILT_IN).err().unwrap().to_string();
            assert!(error.ends_with(expected), "{error}");
            assert!(!error.contains("s3cret"));
        }
        let none = make(&[], BUILT_IN).err().unwrap();
        assert!(none.to_string().ends_with("found none"));
        let built_in = BUILT_IN
            .iter()
            .find(|built_in| built_in.name == NAME)
            .unwrap();
        assert!((built_in.is)(TypeId::of::<Multi>()));
        assert!(!(built_in.is)(TypeId::of::<Memory>()) && !(built_in.is)(TypeId::of::<Fixed>()));
    }
}
