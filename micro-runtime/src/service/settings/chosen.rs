//! What a service is given of a kind of back-end, such as registries: a value by code, a name and addresses from
//! outside, and the table of those that there are.

use std::any::TypeId;
use std::fmt;
use std::sync::Arc;

use super::value::{Origin, shown};
use crate::error::Error;

/// What there is to choose from.
pub(super) struct Kind {
    /// What it is: `registry`.
    pub(super) what: &'static str,
    /// The variable that names one.
    pub(super) variable: &'static str,
    /// What code sets one with.
    pub(super) method: &'static str,
    /// The one of a service that was given none.
    pub(super) default: &'static str,
    /// Those that come with the cargo feature of their name.
    pub(super) by_feature: &'static [&'static str],
}

/// One of ours: what its variable calls it, the type it is, and how one is made for addresses, of which there may
/// be none.
pub(super) struct BuiltIn<T: ?Sized + 'static> {
    pub(super) name: &'static str,
    pub(super) is: fn(TypeId) -> bool,
    pub(super) make: Make<T>,
}

type Make<T> = fn(&[String]) -> Result<Arc<T>, Error>;

/// One that code has set.
pub(super) struct Chosen<T: ?Sized> {
    value: Arc<T>,
    type_id: TypeId,
    name: &'static str,
}

/// What environment and flags say.
#[derive(Clone, Debug, Default)]
pub(super) struct Request {
    name: Option<(String, Origin)>,
    addresses: Option<(Vec<String>, Origin)>,
}

// ===== impl Chosen =====

impl<T: ?Sized> Chosen<T> {
    /// A value of the type `V`.
    pub(super) fn of<V: 'static>(value: Arc<T>, name: &'static str) -> Chosen<T> {
        Chosen {
            value,
            type_id: TypeId::of::<V>(),
            name,
        }
    }

    fn built_in<'a>(&self, table: &'a [BuiltIn<T>]) -> Option<&'a BuiltIn<T>> {
        table.iter().find(|built_in| (built_in.is)(self.type_id))
    }
}

impl<T: ?Sized> Clone for Chosen<T> {
    fn clone(&self) -> Chosen<T> {
        Chosen {
            value: Arc::clone(&self.value),
            ..*self
        }
    }
}

impl<T: ?Sized> fmt::Debug for Chosen<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

// ===== impl Request =====

impl Request {
    /// A name. Addresses belong to the name beside them: a flag that names another one than the
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

    /// Whether nothing was said.
    #[cfg(not(feature = "http"))]
    pub(super) fn is_empty(&self) -> bool {
        self.name.is_none() && self.addresses.is_none()
    }

    pub(super) fn set_addresses(&mut self, addresses: Vec<String>, origin: Origin) {
        self.addresses = Some((addresses, origin));
    }

    /// `name|address address`.
    #[cfg(test)]
    pub(super) fn shown(&self) -> String {
        let name = self.name.as_ref().map_or("", |name| &name.0);
        let addresses = self.addresses.as_ref().map(|list| list.0.join(" "));
        format!("{name}|{}", addresses.unwrap_or_default())
    }
}

fn is_variable(origin: &Origin) -> bool {
    matches!(origin, Origin::Variable(_))
}

/// The one that follows from what code has set and what was said outside.
pub(super) fn resolve<T: ?Sized>(
    kind: &Kind,
    code: Option<&Chosen<T>>,
    request: &Request,
    table: &[BuiltIn<T>],
) -> Result<Arc<T>, Error> {
    match (&request.name, &request.addresses) {
        (None, None) => match code {
            Some(chosen) => Ok(Arc::clone(&chosen.value)),
            None => make(
                kind,
                by_default(kind, table)?,
                &[],
                &Origin::Code(kind.method),
            ),
        },
        (Some((name, origin)), None) => {
            let named = by_name(kind, name, origin, table)?;
            match code {
                // Named outside is what code has made already, perhaps with addresses.
                Some(chosen) if (named.is)(chosen.type_id) => Ok(Arc::clone(&chosen.value)),
                _ => make(kind, named, &[], origin),
            }
        }
        (Some((name, origin)), Some((addresses, of_addresses))) => make(
            kind,
            by_name(kind, name, origin, table)?,
            addresses,
            of_addresses,
        ),
        (None, Some((addresses, origin))) => {
            let named = match code {
                None => by_default(kind, table)?,
                Some(chosen) => chosen.built_in(table).ok_or_else(|| {
                    origin.error(format_args!(
                        "expected no address, since the {} that code has set, {}, is not one of the built-in ones \
                         ({}), found {}; name one of those too, or leave the address out",
                        kind.what,
                        shown(chosen.name),
                        names(table),
                        shown(&addresses.join(",")),
                    ))
                })?,
            };
            make(kind, named, addresses, origin)
        }
    }
}

fn make<T: ?Sized>(
    kind: &Kind,
    built_in: &BuiltIn<T>,
    addresses: &[String],
    origin: &Origin,
) -> Result<Arc<T>, Error> {
    (built_in.make)(addresses)
        .map_err(|error| origin.error(format_args!("{} {}: {error}", kind.what, built_in.name)))
}

fn by_name<'a, T: ?Sized>(
    kind: &Kind,
    name: &str,
    origin: &Origin,
    table: &'a [BuiltIn<T>],
) -> Result<&'a BuiltIn<T>, Error> {
    table
        .iter()
        .find(|built_in| built_in.name == name)
        .ok_or_else(|| {
            let (names, found) = (names(table), shown(name));
            if kind.by_feature.contains(&name) {
                origin.error(format_args!(
                    "expected one of {names} (those of this build), found {found}, which the cargo feature {found} adds"
                ))
            } else {
                origin.error(format_args!(
                    "expected one of {names} (those of this build; {} come with the cargo feature of their name), \
                     found {found}",
                    kind.by_feature.join(", ")
                ))
            }
        })
}

fn by_default<'a, T: ?Sized>(
    kind: &Kind,
    table: &'a [BuiltIn<T>],
) -> Result<&'a BuiltIn<T>, Error> {
    table
        .iter()
        .find(|built_in| built_in.name == kind.default)
        .ok_or_else(|| {
            let Kind {
                what,
                default,
                method,
                variable,
                ..
            } = kind;
            Error::config(format_args!(
                "no {what} is set, and the default one, {default}, is not in this build; set one with \
                 {method}, {variable} ({}) or the cargo feature {default}",
                names(table)
            ))
        })
}

pub(super) fn names<T: ?Sized>(table: &[BuiltIn<T>]) -> String {
    let names: Vec<_> = table.iter().map(|built_in| built_in.name).collect();
    names.join(", ")
}
