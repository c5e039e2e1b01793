//! Packages whose module is also that of a message.
//!
//! The types inside message `V1` of package `shop` are in the module `shop::v1`, and so is all of package
//! `shop.v1`. If both are written in one run, the package goes into the message's module (prost issue 331).
//! If they are not, there would be two modules of one name.

use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;

use prost_types::DescriptorProto;
use prost_types::field_descriptor_proto::Type;

use super::scope::{Role, Scope, Site};
use super::{Symbols, indexed, owner_of};
use crate::descriptor::File;
use crate::generate::names::snake;
use crate::generate::package::Package;
use crate::generate::types::{Types, full_path, is_map_entry, real_oneof};
use crate::options::Options;

/// The modules that messages make, and those that packages need.
pub(super) struct Modules<'p, 'a> {
    packages: &'p [Package<'a>],
    types: &'a Types<'a>,
    options: &'p Options,
    /// By module: the package, as an index, and the message.
    messages: BTreeMap<Vec<String>, (usize, Site<'a>)>,
}

// ===== impl Modules =====

impl<'p, 'a> Modules<'p, 'a> {
    /// Collects the modules of all messages that are not from elsewhere.
    pub(super) fn of(
        packages: &'p [Package<'a>],
        types: &'a Types<'a>,
        options: &'p Options,
    ) -> Modules<'p, 'a> {
        let mut modules = Modules {
            packages,
            types,
            options,
            messages: BTreeMap::new(),
        };
        if options.messages {
            for (index, package) in packages.iter().enumerate() {
                // Modules below a package are all that a package can share.
                if !packages
                    .iter()
                    .any(|other| is_below(&other.modules, &package.modules))
                {
                    continue;
                }
                for file in &package.files {
                    let owner = owner_of(file);
                    let (mut module, prefix) = (package.modules.clone(), full_path(&file.proto));
                    for (position, message) in indexed(&file.proto.message_type) {
                        let mut path = vec![4, position];
                        let full = format!("{prefix}.{}", message.name());
                        modules.message(
                            index,
                            file,
                            &mut path,
                            &full,
                            message,
                            &owner,
                            &mut module,
                        );
                    }
                }
            }
        }
        modules
    }

    #[allow(clippy::too_many_arguments, reason = "one step of a recursion")]
    fn message(
        &mut self,
        package: usize,
        file: &'a File,
        path: &mut Vec<i32>,
        full: &str,
        message: &'a DescriptorProto,
        owner: &Rc<str>,
        module: &mut Vec<String>,
    ) {
        let has_module = !message.enum_type.is_empty()
            || message
                .nested_type
                .iter()
                .any(|nested| !is_map_entry(nested))
            || message
                .field
                .iter()
                .any(|field| real_oneof(message, field).is_some());
        if !has_module || is_map_entry(message) || self.types.is_elsewhere(full) {
            return;
        }
        module.push(snake(message.name()));
        let site = Site::new(file, path, "message", message.name(), owner);
        self.messages
            .entry(module.clone())
            .or_insert((package, site));
        let inside: Rc<str> = format!("message {}", full.trim_start_matches('.')).into();
        for (index, nested) in indexed(&message.nested_type) {
            path.extend([3, index]);
            let full = format!("{full}.{}", nested.name());
            self.message(package, file, path, &full, nested, &inside, module);
            path.truncate(path.len() - 2);
        }
        module.pop();
    }

    /// Takes the names of packages' modules, and finds the messages that they share one with.
    pub(super) fn settle(
        &self,
        scopes: &mut BTreeMap<Vec<String>, Scope<'a>>,
        symbols: &mut Symbols,
    ) {
        let mut referenced = None;
        for package in self.packages {
            let Some(file) = package.files.first() else {
                continue;
            };
            for depth in 1..=package.modules.len() {
                let module = &package.modules[..depth];
                if package.written {
                    let site =
                        Site::new(file, &[2], "package", file.proto.package(), &Rc::from(""));
                    let (above, name) = (&module[..depth - 1], &module[depth - 1]);
                    if let Some(scope) = scopes.get_mut(above) {
                        // The types of a package that stands above.
                        symbols
                            .errors
                            .extend(scope.claim(name.clone(), Role::PackageModule, site));
                    }
                }
                let Some((host, message)) = self.messages.get(module) else {
                    continue;
                };
                let host = &self.packages[*host];
                if host.written && package.written {
                    symbols.hosts.insert(module.to_vec(), host.modules.clone());
                    continue;
                }
                // One of them is written by another run. That is this run's concern only if it refers to it.
                let other = if host.written { package } else { host };
                let refers = (host.written || package.written)
                    && referenced
                        .get_or_insert_with(|| self.referenced())
                        .contains(other.modules.as_slice());
                if refers {
                    let (name, other) = (package.name(), other.name());
                    symbols.errors.push(message.diagnostic(format!(
                        "the types inside message \"{}\" of {} need the module \"{}\", and so does package {name}, \
                         but package {} is not generated in this run; generate both in one run, or say with \
                         extern_path where it is, or rename one",
                        message.name,
                        message.owner,
                        module.join("::").replace("r#", ""),
                        if other.is_empty() { "\"\"" } else { other },
                    )));
                }
            }
        }
    }

    /// The modules of the packages whose types are named in what is written.
    fn referenced(&self) -> HashSet<&'a [String]> {
        fn fields<'a>(message: &'a DescriptorProto, found: &mut Vec<&'a str>) {
            for field in &message.field {
                if matches!(field.r#type(), Type::Message | Type::Group | Type::Enum) {
                    found.push(field.type_name());
                }
            }
            for nested in &message.nested_type {
                fields(nested, found);
            }
        }
        let mut names = Vec::new();
        for package in self.packages.iter().filter(|package| package.written) {
            for file in &package.files {
                let proto = &file.proto;
                proto
                    .message_type
                    .iter()
                    .for_each(|message| fields(message, &mut names));
                if self.options.client || self.options.server {
                    for method in proto.service.iter().flat_map(|service| &service.method) {
                        names.extend([method.input_type(), method.output_type()]);
                    }
                }
            }
        }
        names
            .into_iter()
            .filter(|name| !self.types.is_elsewhere(name))
            .filter_map(|name| self.types.package_of(name))
            .collect()
    }
}

fn is_below(module: &[String], above: &[String]) -> bool {
    module.len() > above.len() && module.starts_with(above)
}
