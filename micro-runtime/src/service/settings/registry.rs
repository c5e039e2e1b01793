//! The one table that turns the name of a registry into a value.

use std::any::TypeId;
use std::fmt;
use std::sync::Arc;

use super::value::{Origin, shown};
use crate::error::Error;
use crate::registry::{DynRegistry, Registry};

/// The registry of a service that was given none.
const DEFAULT: &str = "mdns";

/// A registry of ours: what `MICRO_REGISTRY` calls it, the type it is, and how one is made for addresses.
#[derive(Clone, Copy)]
pub(super) struct BuiltIn {
    pub(super) name: &'static str,
    pub(super) is: fn(TypeId) -> bool,
    pub(super) make: fn(&[String]) -> Result<Arc<dyn DynRegistry>, Error>,
}

/// The registries there are; those of a Cargo feature only with it.
pub(super) const BUILT_IN: &[BuiltIn] = &[];

/// A registry that code has set.
#[derive(Clone)]
pub(super) struct Chosen {
    registry: Arc<dyn DynRegistry>,
    type_id: TypeId,
}

/// What environment and flags say of the registry.
#[derive(Clone, Debug, Default)]
pub(super) struct Request {
    name: Option<(String, Origin)>,
    addresses: Option<(Vec<String>, Origin)>,
}

// ===== impl Chosen =====

impl Chosen {
    pub(super) fn new<R: Registry>(registry: R) -> Chosen {
        Chosen {
            registry: Arc::new(registry),
            type_id: TypeId::of::<R>(),
        }
    }

    fn built_in<'a>(&self, table: &'a [BuiltIn]) -> Option<&'a BuiltIn> {
        table.iter().find(|built_in| (built_in.is)(self.type_id))
    }
}

impl fmt::Debug for Chosen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.registry.name())
    }
}

// ===== impl Request =====

impl Request {
    /// A name. Addresses belong to the name beside them: a flag that names another registry than the
    /// environment leaves the environment's addresses behind.
    pub(super) fn set_name(&mut self, name: &str, origin: Origin) {
        if let (Some((before, from)), Some((_, beside))) = (&self.name, &self.addresses)
            && before != name
            && is_variable(from)
            && is_variable(beside)
            && !is_variable(&origin)
        {
            self.addresses = None;
        }
        self.name = Some((name.to_owned(), origin));
    }

    pub(super) fn set_addresses(&mut self, addresses: Vec<String>, origin: Origin) {
        self.addresses = Some((addresses, origin));
    }
}

fn is_variable(origin: &Origin) -> bool {
    matches!(origin, Origin::Variable(_))
}

/// The registry by its name; `addresses` are those of its servers (`fixed`: of the nodes; `mdns`: of the
/// interfaces, or their names), and may be empty where it has a default.
///
/// # Errors
/// A name that is not in the table, and addresses with which the registry can do nothing.
pub(crate) fn registry_from_name(
    name: &str,
    addresses: &[String],
) -> Result<Arc<dyn DynRegistry>, Error> {
    let request = Request {
        name: Some((name.to_owned(), Origin::Flag("registry"))),
        addresses: (!addresses.is_empty())
            .then(|| (addresses.to_vec(), Origin::Flag("registry_address"))),
    };
    resolve(None, &request, BUILT_IN)
}

/// The registry that follows from what code has set and what was said outside.
pub(super) fn resolve(
    code: Option<&Chosen>,
    request: &Request,
    table: &[BuiltIn],
) -> Result<Arc<dyn DynRegistry>, Error> {
    match (&request.name, &request.addresses) {
        (None, None) => match code {
            Some(chosen) => Ok(Arc::clone(&chosen.registry)),
            None => make(by_default(table)?, &[], &Origin::Code("registry")),
        },
        (Some((name, origin)), None) => {
            let named = by_name(name, origin, table)?;
            match code {
                // Named outside is what code has made already, perhaps with addresses.
                Some(chosen) if (named.is)(chosen.type_id) => Ok(Arc::clone(&chosen.registry)),
                _ => make(named, &[], origin),
            }
        }
        (Some((name, origin)), Some((addresses, of_addresses))) => {
            make(by_name(name, origin, table)?, addresses, of_addresses)
        }
        (None, Some((addresses, origin))) => {
            let named = match code {
                None => by_default(table)?,
                Some(chosen) => chosen.built_in(table).ok_or_else(|| {
                    origin.error(format_args!(
                        "expected no address, since the registry that code has set, {}, is not one of the built-in ones \
                         ({}), found {}; name one of those too, or leave the address out",
                        shown(chosen.registry.name()),
                        names(table),
                        shown(&addresses.join(",")),
                    ))
                })?,
            };
            make(named, addresses, origin)
        }
    }
}

fn make(
    built_in: &BuiltIn,
    addresses: &[String],
    origin: &Origin,
) -> Result<Arc<dyn DynRegistry>, Error> {
    (built_in.make)(addresses)
        .map_err(|error| origin.error(format_args!("registry {}: {error}", built_in.name)))
}

fn by_name<'a>(name: &str, origin: &Origin, table: &'a [BuiltIn]) -> Result<&'a BuiltIn, Error> {
    table
        .iter()
        .find(|built_in| built_in.name == name)
        .ok_or_else(|| {
            origin.error(format_args!(
                "expected one of {} (those of this build; others need their cargo feature), found {}",
                names(table),
                shown(name)
            ))
        })
}

fn by_default(table: &[BuiltIn]) -> Result<&BuiltIn, Error> {
    table
        .iter()
        .find(|built_in| built_in.name == DEFAULT)
        .ok_or_else(|| {
            Error::config(format_args!(
                "no registry is set, and the default one, {DEFAULT}, is not in this build; set one with \
                 Service::registry, MICRO_REGISTRY ({}) or the cargo feature {DEFAULT}",
                names(table)
            ))
        })
}

fn names(table: &[BuiltIn]) -> String {
    let names: Vec<_> = table.iter().map(|built_in| built_in.name).collect();
    names.join(", ")
}
