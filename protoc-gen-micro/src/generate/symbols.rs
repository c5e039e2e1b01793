//! The symbol table: which Rust names a package takes, decided before any text is written.
//!
//! Names of messages, enums, fields, variants and rpcs are the user's: where two of them meet in Rust, that is
//! an error. Names that only we make up (those of a service's handler, client and functions) give way: they
//! stay in the service's module, which then is public under a name of its own, and a warning says where.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use prost_types::{DescriptorProto, EnumDescriptorProto, ServiceDescriptorProto};

use super::names::{camel, snake, variant};
use super::package::Package;
use super::services::names::ServiceNames;
use super::types::{Types, oneof_name, real_oneof};
use crate::descriptor::File;
use crate::diagnostic::Diagnostic;
use crate::options::Options;

/// What the table says.
#[derive(Debug, Default)]
pub(crate) struct Symbols {
    /// The names of each service of the packages that are written, by full name.
    pub(crate) services: BTreeMap<String, ServiceNames>,
    /// What stands in the way.
    pub(crate) errors: Vec<Diagnostic>,
    /// What the user should know.
    pub(crate) warnings: Vec<Diagnostic>,
}

/// An item of a proto.
#[derive(Clone)]
struct Site<'a> {
    file: &'a File,
    /// Where the descriptor's tree holds it.
    path: Vec<i32>,
    /// "message", "field" and so on.
    what: &'static str,
    name: &'a str,
}

/// The names of one Rust scope (one namespace of it).
struct Scope<'a> {
    /// Whose scope, as a finding says it: "message shop.Order".
    owner: String,
    taken: BTreeMap<String, Site<'a>>,
}

/// One walk over the packages that are written.
struct Walk<'a> {
    options: &'a Options,
    types: &'a Types<'a>,
    symbols: Symbols,
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
            symbols: Symbols::default(),
        };
        for package in packages {
            if package.written {
                walk.package(package, packages);
            } else {
                // prost-build goes through the imports too, and panics where names of enum values meet.
                for file in &package.files {
                    walk.imported(file);
                }
            }
        }
        walk.symbols.warnings.sort();
        walk.symbols
    }
}

// ===== impl Walk =====

impl<'a> Walk<'a> {
    fn package(&mut self, package: &Package<'a>, packages: &[Package<'a>]) {
        let mut scope = Scope::new(match package.name() {
            "" => "the files without a package".to_owned(),
            name => format!("package {name}"),
        });
        for file in &package.files {
            let prefix = file
                .proto
                .package
                .as_ref()
                .map(|package| format!(".{package}"))
                .unwrap_or_default();
            if self.options.messages {
                for (index, message) in indexed(&file.proto.message_type) {
                    self.message(file, &mut vec![4, index], &prefix, message, &mut scope);
                }
                for (index, item) in indexed(&file.proto.enum_type) {
                    self.enumeration(file, &mut vec![5, index], &prefix, item, &mut scope);
                }
            }
        }
        for child in packages.iter().filter(|child| child.written) {
            self.child(package, child, &mut scope);
        }
        if self.options.client || self.options.server {
            self.services(package, &scope);
        }
    }

    /// The modules of the packages below this one stand beside those of its messages.
    fn child(&mut self, package: &Package<'a>, child: &Package<'a>, scope: &mut Scope<'a>) {
        let below = child.modules.strip_prefix(package.modules.as_slice());
        let (Some(module), Some(file)) = (below.and_then(<[String]>::first), child.files.first())
        else {
            return;
        };
        let name = child.name();
        match scope.taken.get(module) {
            None => {
                scope.taken.insert(module.clone(), Site { file, path: vec![2], what: "package", name: file.proto.package() });
            }
            Some(Site { what: "package", .. }) => {}
            Some(message) => self.symbols.errors.push(message.diagnostic(format!(
                "the types inside {} \"{}\" of {} need the module \"{module}\", and so does package {name}; \
                 rename one, or generate {name} on its own and name its module with extern_path",
                message.what, message.name, scope.owner,
            ))),
        }
    }

    fn message(
        &mut self,
        file: &'a File,
        path: &mut Vec<i32>,
        prefix: &str,
        message: &'a DescriptorProto,
        scope: &mut Scope<'a>,
    ) {
        let full = format!("{prefix}.{}", message.name());
        if self.types.is_elsewhere(&full)
            || message
                .options
                .as_ref()
                .is_some_and(|options| options.map_entry())
        {
            return;
        }
        let site = |what, name, path: &[i32]| Site {
            file,
            path: path.to_vec(),
            what,
            name,
        };
        let own = site("message", message.name(), path);
        self.claim(scope, camel(message.name()), own.clone());

        let owner = format!("message {}", full.trim_start_matches('.'));
        let mut fields = Scope::new(owner.clone());
        let mut inner = Scope::new(owner);
        let mut variants: BTreeMap<&str, Scope<'a>> = BTreeMap::new();
        for (index, field) in indexed(&message.field) {
            path.extend([2, index]);
            let site = site("field", field.name(), path);
            path.truncate(path.len() - 2);
            match real_oneof(message, field) {
                None => self.claim(&mut fields, snake(field.name()), site),
                Some(oneof) => {
                    let scope = variants.entry(oneof).or_insert_with(|| {
                        Scope::new(format!("oneof {}.{oneof}", full.trim_start_matches('.')))
                    });
                    self.claim(scope, camel(field.name()), site);
                }
            }
        }
        for (index, nested) in indexed(&message.nested_type) {
            path.extend([3, index]);
            self.message(file, path, &full, nested, &mut inner);
            path.truncate(path.len() - 2);
        }
        for (index, item) in indexed(&message.enum_type) {
            path.extend([4, index]);
            self.enumeration(file, path, &full, item, &mut inner);
            path.truncate(path.len() - 2);
        }
        for (index, oneof) in indexed(&message.oneof_decl) {
            if variants.contains_key(oneof.name()) {
                path.extend([8, index]);
                let site = site("oneof", oneof.name(), path);
                path.truncate(path.len() - 2);
                self.claim(&mut fields, snake(oneof.name()), site.clone());
                self.claim(&mut inner, oneof_name(message, oneof.name()), site);
            }
        }
        if !inner.taken.is_empty() {
            self.claim(scope, snake(message.name()), own);
        }
    }

    fn enumeration(
        &mut self,
        file: &'a File,
        path: &mut Vec<i32>,
        prefix: &str,
        item: &'a EnumDescriptorProto,
        scope: &mut Scope<'a>,
    ) {
        let full = format!("{prefix}.{}", item.name());
        if self.types.is_elsewhere(&full) {
            return;
        }
        let site = Site {
            file,
            path: path.clone(),
            what: "enum",
            name: item.name(),
        };
        self.claim(scope, camel(item.name()), site);
        self.values(file, path, &full, item);
    }

    fn values(
        &mut self,
        file: &'a File,
        path: &mut Vec<i32>,
        full: &str,
        item: &'a EnumDescriptorProto,
    ) {
        let mut scope = Scope::new(format!("enum {}", full.trim_start_matches('.')));
        let mut numbers = Vec::new();
        for (index, value) in indexed(&item.value) {
            // The second name of a number (`allow_alias`) is no variant.
            if numbers.contains(&value.number()) {
                continue;
            }
            numbers.push(value.number());
            path.extend([2, index]);
            let site = Site {
                file,
                path: path.clone(),
                what: "value",
                name: value.name(),
            };
            path.truncate(path.len() - 2);
            let name = variant(item.name(), value.name(), !self.options.retain_enum_prefix);
            self.claim(&mut scope, name, site);
        }
    }

    fn imported(&mut self, file: &'a File) {
        fn messages<'a>(
            walk: &mut Walk<'a>,
            file: &'a File,
            prefix: &str,
            message: &'a DescriptorProto,
        ) {
            let full = format!("{prefix}.{}", message.name());
            if walk.types.is_elsewhere(&full) {
                return;
            }
            for item in &message.enum_type {
                walk.values(
                    file,
                    &mut Vec::new(),
                    &format!("{full}.{}", item.name()),
                    item,
                );
            }
            for nested in &message.nested_type {
                messages(walk, file, &full, nested);
            }
        }
        let prefix = file
            .proto
            .package
            .as_ref()
            .map(|package| format!(".{package}"))
            .unwrap_or_default();
        for item in &file.proto.enum_type {
            let full = format!("{prefix}.{}", item.name());
            if !self.types.is_elsewhere(&full) {
                self.values(file, &mut Vec::new(), &full, item);
            }
        }
        for message in &file.proto.message_type {
            messages(self, file, &prefix, message);
        }
    }

    fn services(&mut self, package: &Package<'a>, taken: &Scope<'a>) {
        let mut scope = Scope::new(taken.owner.clone());
        let mut found: Vec<(Site<'a>, String, ServiceNames)> = Vec::new();
        for file in &package.files {
            for (index, service) in indexed(&file.proto.service) {
                let site = Site {
                    file,
                    path: vec![6, index],
                    what: "service",
                    name: service.name(),
                };
                self.claim(&mut scope, camel(service.name()), site.clone());
                let full = full_name(file.proto.package(), service.name());
                self.methods(file, index, &full, service);
                found.push((site, full, ServiceNames::of(service.name())));
            }
        }
        self.export(&mut found, taken);
        self.symbols
            .services
            .extend(found.into_iter().map(|(_, full, names)| (full, names)));
    }

    /// Decides which of the services' names the package re-exports.
    fn export(&mut self, found: &mut [(Site<'a>, String, ServiceNames)], package: &Scope<'a>) {
        let mut uses: BTreeMap<String, usize> = BTreeMap::new();
        for (.., names) in &*found {
            for name in names.public(self.options) {
                *uses.entry(name.to_owned()).or_default() += 1;
            }
        }
        let mut modules: Vec<String> = package.taken.keys().cloned().collect();
        for (site, _, names) in found {
            let (free, clashing): (Vec<&str>, Vec<&str>) =
                names.public(self.options).into_iter().partition(|name| {
                    uses.get(*name) == Some(&1) && !package.taken.contains_key(*name)
                });
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
                package.owner,
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
        let mut scope = Scope::new(format!("service {full}"));
        for (number, method) in indexed(&service.method) {
            let site = Site {
                file,
                path: vec![6, index, 2, number],
                what: "method",
                name: method.name(),
            };
            self.claim(&mut scope, snake(method.name()), site);
        }
    }

    /// Takes a name in a scope; two that take one are an error.
    fn claim(&mut self, scope: &mut Scope<'a>, rust: String, site: Site<'a>) {
        match scope.taken.entry(rust) {
            // A name without letters and digits, which is a finding of its own.
            entry if entry.key().is_empty() => {}
            Entry::Vacant(entry) => {
                entry.insert(site);
            }
            Entry::Occupied(entry) => {
                let diagnostic = entry.get().collides_with(&site, &scope.owner, entry.key());
                self.symbols.errors.push(diagnostic);
            }
        }
    }
}

// ===== impl Scope =====

impl Scope<'_> {
    fn new(owner: String) -> Self {
        Scope {
            owner,
            taken: BTreeMap::new(),
        }
    }
}

// ===== impl Site =====

impl Site<'_> {
    /// Looked for only here: there are many sites and few findings.
    fn line(&self) -> Option<u32> {
        self.file.line(&self.path)
    }

    fn diagnostic(&self, text: String) -> Diagnostic {
        Diagnostic::at(self.file.proto.name(), self.line(), text)
    }

    /// The finding, at the later of the two.
    fn collides_with(&self, later: &Site<'_>, owner: &str, rust: &str) -> Diagnostic {
        let both = if self.what == later.what {
            format!("{}s \"{}\" and \"{}\"", self.what, self.name, later.name)
        } else {
            format!(
                "{} \"{}\" and {} \"{}\"",
                self.what, self.name, later.what, later.name
            )
        };
        let other = if self.file.proto.name() == later.file.proto.name() {
            String::new()
        } else {
            let file = self.file.proto.name();
            let line = self
                .line()
                .map(|line| format!(":{line}"))
                .unwrap_or_default();
            format!(" (the other is at {file}{line})")
        };
        let rust = rust.trim_start_matches("r#");
        later.diagnostic(format!(
            "{both} of {owner} both become \"{rust}\"; rename one{other}"
        ))
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
