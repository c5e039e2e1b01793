//! The symbol table: which Rust names a package takes, decided before any text is written.
//!
//! Names of messages, enums, fields, variants and rpcs are the user's: where two of them meet in Rust, that is
//! an error. Names that only we make up (those of a service's handler, client and functions) give way: they
//! stay in the service's module, which then is public under a name of its own, and a warning says where.

mod accessors;
mod modules;
mod scope;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use prost_types::{DescriptorProto, EnumDescriptorProto, ServiceDescriptorProto};

use self::modules::Modules;
use self::scope::{Role, Scope, Site};
use super::names::{camel, snake, variant};
use super::package::Package;
use super::services::names::ServiceNames;
use super::types::{Types, full_path, is_map_entry, is_proto2, oneof_name, real_oneof};
use crate::descriptor::File;
use crate::diagnostic::Diagnostic;
use crate::options::Options;

/// What the table says.
#[derive(Debug, Default)]
pub(crate) struct Symbols {
    /// The names of each service of the packages that are written, by full name.
    pub(crate) services: BTreeMap<String, ServiceNames>,
    /// The modules of messages that packages are written into: each with the modules of the package whose
    /// message it is.
    pub(crate) hosts: BTreeMap<Vec<String>, Vec<String>>,
    /// Enum fields, by their full path, that have to do without the functions of an enum.
    pub(crate) plain_enums: BTreeSet<String>,
    /// What stands in the way.
    pub(crate) errors: Vec<Diagnostic>,
    /// What the user should know.
    pub(crate) warnings: Vec<Diagnostic>,
}

/// One walk over the packages that are written.
struct Walk<'a> {
    options: &'a Options,
    types: &'a Types<'a>,
    /// The types and modules in each Rust module.
    scopes: BTreeMap<Vec<String>, Scope<'a>>,
    symbols: Symbols,
}

/// A message or enum, and where it is.
struct Place<'p, 'a> {
    file: &'a File,
    /// Where the descriptor's tree holds it.
    path: &'p mut Vec<i32>,
    /// The full proto path around it, with its dot.
    prefix: &'p str,
    /// What is around it, as a finding says it.
    owner: &'p Rc<str>,
    /// The Rust module it is in.
    module: &'p mut Vec<String>,
}

// ===== impl Symbols =====

impl Symbols {
    /// Builds the table of all packages that are written.
    pub(crate) fn build<'a>(
        packages: &[Package<'a>],
        types: &'a Types<'a>,
        options: &'a Options,
    ) -> Symbols {
        let mut walk = Walk {
            options,
            types,
            scopes: BTreeMap::new(),
            symbols: Symbols::default(),
        };
        for package in packages {
            if !package.written {
                // prost-build goes through the imports too, and panics where names of enum values meet.
                for file in &package.files {
                    walk.imported(file);
                }
            } else if options.messages {
                for file in &package.files {
                    walk.file(file, &package.modules);
                }
            }
        }
        Modules::of(packages, types, options).settle(&mut walk.scopes, &mut walk.symbols);
        if options.client || options.server {
            for package in packages.iter().filter(|package| package.written) {
                walk.services(package, packages);
            }
        }
        walk.symbols.warnings.sort();
        walk.symbols
    }
}

// ===== impl Walk =====

impl<'a> Walk<'a> {
    fn file(&mut self, file: &'a File, modules: &[String]) {
        let owner = owner_of(file);
        let prefix = full_path(&file.proto);
        let mut module = modules.to_vec();
        for (index, message) in indexed(&file.proto.message_type) {
            let place = Place {
                file,
                path: &mut vec![4, index],
                prefix: &prefix,
                owner: &owner,
                module: &mut module,
            };
            self.message(place, message);
        }
        for (index, item) in indexed(&file.proto.enum_type) {
            let place = Place {
                file,
                path: &mut vec![5, index],
                prefix: &prefix,
                owner: &owner,
                module: &mut module,
            };
            self.enumeration(place, item);
        }
    }

    fn message(&mut self, place: Place<'_, 'a>, message: &'a DescriptorProto) {
        let Place {
            file,
            path,
            prefix,
            owner,
            module,
        } = place;
        let full = format!("{prefix}.{}", message.name());
        if is_map_entry(message) || self.types.is_elsewhere(&full) {
            return;
        }
        let own = Site::new(file, path, "message", message.name(), owner);
        self.claim(module, camel(message.name()), Role::Item, own.clone());

        let inside: Rc<str> = format!("message {}", full.trim_start_matches('.')).into();
        let site = |what, name, path: &[i32]| Site::new(file, path, what, name, &inside);
        let mut fields = Scope::default();
        let mut oneofs: BTreeMap<&str, (Rc<str>, Scope<'a>)> = BTreeMap::new();
        for (index, field) in indexed(&message.field) {
            path.extend([2, index]);
            match real_oneof(message, field) {
                None => {
                    let site = site("field", field.name(), path);
                    self.claim_in(&mut fields, snake(field.name()), site);
                }
                Some(oneof) => {
                    let (owner, variants) = oneofs.entry(oneof).or_insert_with(|| {
                        let owner = format!("oneof {}.{oneof}", full.trim_start_matches('.'));
                        (owner.into(), Scope::default())
                    });
                    let site = Site::new(file, path, "field", field.name(), owner);
                    self.claim_in(variants, camel(field.name()), site);
                }
            }
            path.truncate(path.len() - 2);
        }
        self.accessors(file, path, &full, message, &inside);

        module.push(snake(message.name()));
        let mut has_module = !oneofs.is_empty();
        for (index, nested) in indexed(&message.nested_type) {
            has_module |= !is_map_entry(nested);
            path.extend([3, index]);
            let place = Place {
                file,
                path,
                prefix: &full,
                owner: &inside,
                module,
            };
            self.message(place, nested);
            path.truncate(path.len() - 2);
        }
        for (index, item) in indexed(&message.enum_type) {
            has_module = true;
            path.extend([4, index]);
            let place = Place {
                file,
                path,
                prefix: &full,
                owner: &inside,
                module,
            };
            self.enumeration(place, item);
            path.truncate(path.len() - 2);
        }
        for (index, oneof) in indexed(&message.oneof_decl) {
            if oneofs.contains_key(oneof.name()) {
                path.extend([8, index]);
                let site = site("oneof", oneof.name(), path);
                path.truncate(path.len() - 2);
                self.claim_in(&mut fields, snake(oneof.name()), site.clone());
                let name = oneof_name(message, oneof.name());
                self.claim(module, name, Role::Item, site);
            }
        }
        if let Some(name) = module.pop().filter(|_| has_module) {
            self.claim(module, name, Role::MessageModule, own);
        }
    }

    /// The functions of a message's enum fields.
    fn accessors(
        &mut self,
        file: &'a File,
        path: &[i32],
        full: &str,
        message: &'a DescriptorProto,
        owner: &Rc<str>,
    ) {
        let field_site = |index: usize| {
            let mut path = path.to_vec();
            path.extend([2, i32::try_from(index).unwrap_or(i32::MAX)]);
            Site::new(file, &path, "field", message.field[index].name(), owner)
        };
        for conflict in accessors::find(full, message, is_proto2(&file.proto)) {
            let field = &message.field[conflict.field];
            let site = field_site(conflict.field);
            // Of a keyword there never was such a function: nothing to warn of.
            if let Some(getter) = conflict.getter.map(field_site) {
                self.symbols.warnings.push(site.diagnostic(format!(
                    "field \"{}\" of {} has no function \"{}\", which is that of field \"{}\"; \
                     use the field itself, an i32",
                    site.name, site.owner, conflict.function, getter.name
                )));
            }
            self.symbols
                .plain_enums
                .insert(format!("{full}.{}", field.name()));
        }
    }

    fn enumeration(&mut self, place: Place<'_, 'a>, item: &'a EnumDescriptorProto) {
        let Place {
            file,
            path,
            prefix,
            owner,
            module,
        } = place;
        let full = format!("{prefix}.{}", item.name());
        if self.types.is_elsewhere(&full) {
            return;
        }
        let site = Site::new(file, path, "enum", item.name(), owner);
        self.claim(module, camel(item.name()), Role::Item, site);
        self.values(file, path, &full, item);
    }

    fn values(
        &mut self,
        file: &'a File,
        path: &mut Vec<i32>,
        full: &str,
        item: &'a EnumDescriptorProto,
    ) {
        let owner: Rc<str> = format!("enum {}", full.trim_start_matches('.')).into();
        let mut scope = Scope::default();
        let mut numbers = BTreeSet::new();
        for (index, value) in indexed(&item.value) {
            // The second name of a number (`allow_alias`) is no variant.
            if !numbers.insert(value.number()) {
                continue;
            }
            path.extend([2, index]);
            let site = Site::new(file, path, "value", value.name(), &owner);
            path.truncate(path.len() - 2);
            let name = variant(item.name(), value.name(), !self.options.retain_enum_prefix);
            let whole = camel(value.name());
            if let Some((_, earlier)) = scope.taken.get(&name) {
                let earlier: &Site<'a> = earlier;
                // The prefix may be all that tells them apart.
                let way_out = if camel(earlier.name) == whole {
                    "rename one"
                } else {
                    "rename one, or keep the prefixes with retain_enum_prefix"
                };
                let diagnostic = earlier.collides_with(&site, &name, way_out);
                self.symbols.errors.push(diagnostic);
            } else {
                self.claim_in(&mut scope, name, site);
            }
        }
    }

    fn imported(&mut self, file: &'a File) {
        fn messages<'a>(
            walk: &mut Walk<'a>,
            file: &'a File,
            path: &mut Vec<i32>,
            prefix: &str,
            message: &'a DescriptorProto,
        ) {
            let full = format!("{prefix}.{}", message.name());
            if walk.types.is_elsewhere(&full) {
                return;
            }
            for (index, item) in indexed(&message.enum_type) {
                path.extend([4, index]);
                walk.values(file, path, &format!("{full}.{}", item.name()), item);
                path.truncate(path.len() - 2);
            }
            for (index, nested) in indexed(&message.nested_type) {
                path.extend([3, index]);
                messages(walk, file, path, &full, nested);
                path.truncate(path.len() - 2);
            }
        }
        let prefix = full_path(&file.proto);
        for (index, item) in indexed(&file.proto.enum_type) {
            let full = format!("{prefix}.{}", item.name());
            if !self.types.is_elsewhere(&full) {
                self.values(file, &mut vec![5, index], &full, item);
            }
        }
        for (index, message) in indexed(&file.proto.message_type) {
            messages(self, file, &mut vec![4, index], &prefix, message);
        }
    }

    fn services(&mut self, package: &Package<'a>, packages: &[Package<'a>]) {
        let mut scope = Scope::default();
        let mut found: Vec<(Site<'a>, String, ServiceNames)> = Vec::new();
        for file in &package.files {
            let owner = owner_of(file);
            for (index, service) in indexed(&file.proto.service) {
                let site = Site::new(file, &[6, index], "service", service.name(), &owner);
                self.claim_in(&mut scope, camel(service.name()), site.clone());
                let full = full_name(file.proto.package(), service.name());
                self.methods(file, index, &full, service);
                found.push((site, full, ServiceNames::of(service.name())));
            }
        }
        self.export(&mut found, package, packages);
        self.symbols
            .services
            .extend(found.into_iter().map(|(_, full, names)| (full, names)));
    }

    /// Decides which of the services' names the package re-exports.
    fn export(
        &mut self,
        found: &mut [(Site<'a>, String, ServiceNames)],
        package: &Package<'a>,
        packages: &[Package<'a>],
    ) {
        let mut uses: BTreeMap<String, usize> = BTreeMap::new();
        for (.., names) in &*found {
            for name in names.public(self.options) {
                *uses.entry(name.to_owned()).or_default() += 1;
            }
        }
        let scope = self.scopes.get(&package.modules);
        let taken = |name: &str| scope.is_some_and(|scope| scope.taken.contains_key(name));
        let mut modules: Vec<String> = scope
            .iter()
            .flat_map(|scope| scope.taken.keys().cloned())
            .collect();
        // Packages that are written by other runs need their modules too.
        modules.extend(packages.iter().filter_map(|child| {
            let below = child.modules.strip_prefix(package.modules.as_slice())?;
            below.first().cloned()
        }));
        for (site, _, names) in found {
            let (free, clashing): (Vec<&str>, Vec<&str>) = names
                .public(self.options)
                .into_iter()
                .partition(|name| uses.get(*name) == Some(&1) && !taken(name));
            let exported = free.into_iter().map(str::to_owned).collect();
            let clashing: Vec<String> = clashing.into_iter().map(str::to_owned).collect();
            names.exported = exported;
            if clashing.is_empty() {
                continue;
            }
            let module = names.free_module(&modules);
            modules.push(module.clone());
            let paths: Vec<String> = clashing
                .iter()
                .map(|name| format!("{module}::{name}"))
                .collect();
            let taken: Vec<String> = clashing.iter().map(|name| format!("\"{name}\"")).collect();
            self.symbols.warnings.push(site.diagnostic(format!(
                "service \"{}\" of {} cannot have {} at the package's level, where another item has that name; \
                 use {}",
                site.name,
                site.owner,
                taken.join(" and "),
                paths.join(" and "),
            )));
            names.public_module = Some(module);
        }
    }

    fn methods(
        &mut self,
        file: &'a File,
        index: i32,
        full: &str,
        service: &'a ServiceDescriptorProto,
    ) {
        let owner: Rc<str> = format!("service {full}").into();
        let mut scope = Scope::default();
        for (number, method) in indexed(&service.method) {
            let path = [6, index, 2, number];
            let site = Site::new(file, &path, "method", method.name(), &owner);
            self.claim_in(&mut scope, snake(method.name()), site);
        }
    }

    /// Takes a name in a Rust module.
    fn claim(&mut self, module: &[String], rust: String, role: Role, site: Site<'a>) {
        if !self.scopes.contains_key(module) {
            self.scopes.insert(module.to_vec(), Scope::default());
        }
        if let Some(scope) = self.scopes.get_mut(module) {
            self.symbols.errors.extend(scope.claim(rust, role, site));
        }
    }

    /// Takes a name in a scope that is no module.
    fn claim_in(&mut self, scope: &mut Scope<'a>, rust: String, site: Site<'a>) {
        self.symbols
            .errors
            .extend(scope.claim(rust, Role::Item, site));
    }
}

/// The package of a file, as a finding says it.
fn owner_of(file: &File) -> Rc<str> {
    match file.proto.package() {
        "" => "the files without a package".into(),
        name => format!("package {name}").into(),
    }
}

/// A full name, without a leading dot.
pub(crate) fn full_name(package: &str, name: &str) -> String {
    if package.is_empty() {
        name.to_owned()
    } else {
        format!("{package}.{name}")
    }
}

/// Items with their indexes as source paths have them.
fn indexed<T>(items: &[T]) -> impl Iterator<Item = (i32, &T)> {
    (0..).zip(items)
}
