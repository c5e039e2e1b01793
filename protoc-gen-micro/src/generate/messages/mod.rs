//! Messages and enums, by prost-build: package by package, so that packages can be made at once and their
//! comments need not be in memory together.

mod deprecated;
mod prepare;
mod recursion;
pub(super) mod repair;
mod skeleton;
mod ways;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::fmt::Display;
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::sync::Once;

use prost_build::{Config, Module, Service, ServiceGenerator};
use prost_types::{DescriptorProto, FieldDescriptorProto};
use syn::Attribute;
use syn::parse::Parser as _;

pub(super) use self::deprecated::spread as spread_deprecated;
use self::recursion::boxed_groups;
pub(super) use self::ways::too_many as held_in_too_many_ways;

use super::package::Package;
use super::types::{Types, full_path, matches, prost_path, prost_types_path};
use crate::descriptor::{File, complete_locations};
use crate::diagnostic::Diagnostic;
use crate::options::Options;

/// The module of the text that nobody reads: no package's, since those are in snake case.
const ELSEWHERE: &str = "ELSEWHERE";

/// What prost-build makes of a package.
#[derive(Debug)]
pub(crate) struct Messages {
    /// The source of its module.
    pub(crate) text: String,
    /// Its services by full name, for their comments, which come out with their code blocks disarmed.
    pub(crate) services: HashMap<String, Service>,
}

/// Changes to prost-build's settings that the user wrote in code.
pub(crate) type Configure<'a> = &'a mut dyn FnMut(&mut Config);

/// prost-build with the settings of a run; each thread has its own.
pub(crate) struct Prost<'a> {
    config: Config,
    types: &'a Types<'a>,
    /// Enum fields that have to be plain integers, by their full paths.
    plain_enums: &'a BTreeSet<String>,
    /// Messages that prost-build must not walk through, by their full names.
    unwalked: &'a BTreeSet<String>,
    services: Services,
    /// How prost-build's text writes the standard library.
    alloc: String,
    /// Whether the user added anything to what prost-build writes by itself.
    pub(crate) customized: bool,
}

/// The services that prost-build found.
type Services = Rc<RefCell<HashMap<String, Service>>>;

/// Keeps the services that prost-build finds.
struct Collector(Services);

// ===== impl Prost =====

impl<'a> Prost<'a> {
    /// Settles everything for all packages of a run.
    pub(crate) fn new(
        files: &[File],
        types: &'a Types<'a>,
        plain_enums: &'a BTreeSet<String>,
        unwalked: &'a BTreeSet<String>,
        options: &Options,
        extern_path: &[(String, String)],
        configure: Option<Configure<'_>>,
    ) -> Prost<'a> {
        let services = Services::default();
        let mut config = config(options, extern_path);
        if !options.btree_map.is_empty() {
            let mut skip_debug = options.skip_debug.clone();
            for file in files {
                let prefix = full_path(&file.proto);
                for message in &file.proto.message_type {
                    derive_debug(&mut config, &mut skip_debug, options, &prefix, message);
                }
            }
            // prost-build forgets what was said before.
            config.skip_debug(skip_debug);
        }
        for path in boxed_groups(files.iter().map(|file| &file.proto)) {
            config.boxed(path);
        }
        for path in ways::boxed(files.iter().map(|file| &file.proto), unwalked) {
            config.boxed(path);
        }
        let attributes = attributes(options);
        let customized =
            configure.is_some() || attributes.iter().any(|(_, given)| !given.is_empty());
        if let Some(configure) = configure {
            configure(&mut config);
        }
        config.format(false);
        config.service_generator(Box::new(Collector(Rc::clone(&services))));
        Prost {
            config,
            types,
            plain_enums,
            unwalked,
            services,
            alloc: format!("{}::alloc::", prost_path(options)),
            customized,
        }
    }

    /// Generates the files of one package, beside bare copies of the messages that theirs hold: what a message
    /// derives depends on them.
    ///
    /// # Errors
    /// What prost-build says, be it in an error or in a panic.
    pub(crate) fn package(&mut self, package: &Package<'_>) -> Result<Messages, Diagnostic> {
        let module = Module::from_parts(package.modules.iter().map(String::as_str));
        let own = package.files.iter().map(|file| {
            let mut proto = file.proto.clone();
            proto.source_code_info = file.source_code_info();
            ways::mark(&mut proto, self.unwalked);
            complete_locations(&mut proto);
            deprecated::note(&mut proto);
            prepare::file(&mut proto, self.types, self.plain_enums);
            // Comments that belong to no item are not printed, but prost-build would look into each of their lines.
            for location in proto
                .source_code_info
                .iter_mut()
                .flat_map(|info| &mut info.location)
            {
                location.leading_detached_comments.clear();
            }
            (module.clone(), proto)
        });
        let elsewhere = skeleton::of(package, self.types, self.unwalked)
            .into_iter()
            .map(|file| (Module::from_parts([ELSEWHERE]), file));
        let requests = own.chain(elsewhere).collect();
        let failed = |why: &dyn Display| {
            Diagnostic::new(format!("prost-build cannot generate these messages: {why}"))
        };
        let mut modules = quietly(|| self.config.generate(requests))
            .map_err(|panic| failed(&panic))?
            .map_err(|error| failed(&error))?;
        let text = modules.remove(&module).unwrap_or_default();
        Ok(Messages {
            // `alloc` is there for crates without `std`, which the runtime needs.
            text: ways::unmark(text, self.unwalked).replace(&self.alloc, "::std::"),
            services: self.services.take(),
        })
    }
}

/// The attributes that the user wrote, by parameter.
fn attributes(options: &Options) -> [(&'static str, &[(String, String)]); 4] {
    [
        ("type_attribute", &options.type_attribute),
        ("message_attribute", &options.message_attribute),
        ("enum_attribute", &options.enum_attribute),
        ("field_attribute", &options.field_attribute),
    ]
}

/// Findings about the attributes that the user wrote: prost-build pastes them as they are.
pub(crate) fn check_attributes(options: &Options) -> Vec<Diagnostic> {
    let mut findings = Vec::new();
    for (parameter, attributes) in attributes(options) {
        for (path, text) in attributes {
            if let Err(error) = Attribute::parse_outer.parse_str(text) {
                findings.push(Diagnostic::new(format!(
                    "{parameter}: expected Rust attributes such as #[derive(Eq)] for \"{path}\", found `{text}`: {error}"
                )));
            }
        }
    }
    findings
}

fn config(options: &Options, extern_path: &[(String, String)]) -> Config {
    let mut config = Config::new();
    config
        .prost_path(prost_path(options))
        .prost_types_path(prost_types_path(options));
    config
        .btree_map(&options.btree_map)
        .bytes(&options.bytes)
        .disable_comments(&options.disable_comments)
        .skip_debug(&options.skip_debug);
    for path in &options.boxed {
        config.boxed(path);
    }
    for (proto, rust) in extern_path {
        config.extern_path(proto, rust);
    }
    for (path, attribute) in &options.type_attribute {
        config.type_attribute(path, attribute);
    }
    for (path, attribute) in &options.message_attribute {
        config.message_attribute(path, attribute);
    }
    for (path, attribute) in &options.enum_attribute {
        config.enum_attribute(path, attribute);
    }
    for (path, attribute) in &options.field_attribute {
        config.field_attribute(path, attribute);
    }
    if options.compile_well_known_types {
        config.compile_well_known_types();
    }
    if options.retain_enum_prefix {
        config.retain_enum_prefix();
    }
    config
}

/// Derives the `Debug` of messages that have a `BTreeMap`: prost-derive 0.14.6 writes it with `::prost`,
/// whatever `prost_path` says, and our users need not have that crate.
fn derive_debug(
    config: &mut Config,
    skip_debug: &mut Vec<String>,
    options: &Options,
    prefix: &str,
    message: &DescriptorProto,
) {
    let full = format!("{prefix}.{}", message.name());
    let is_map = |field: &FieldDescriptorProto| {
        field.type_name.as_deref().is_some_and(|name| {
            let entry = name
                .strip_prefix(&full)
                .and_then(|rest| rest.strip_prefix('.'));
            let mut nested = message.nested_type.iter();
            nested.any(|each| {
                Some(each.name()) == entry
                    && each
                        .options
                        .as_ref()
                        .is_some_and(|options| options.map_entry())
            })
        })
    };
    let has_btree_map = message.field.iter().any(|field| {
        let path = format!("{full}.{}", field.name());
        is_map(field)
            && options
                .btree_map
                .iter()
                .any(|matcher| matches(matcher, &path))
    });
    if has_btree_map {
        if !options
            .skip_debug
            .iter()
            .any(|matcher| matches(matcher, &full))
        {
            // These match what is nested in the message too, all three alike.
            config.message_attribute(&full, "#[derive(Debug)]");
            config.enum_attribute(&full, "#[derive(Debug)]");
            skip_debug.push(full);
        }
        return;
    }
    for nested in &message.nested_type {
        derive_debug(config, skip_debug, options, &full, nested);
    }
}

impl ServiceGenerator for Collector {
    fn generate(&mut self, service: Service, buffer: &mut String) {
        // prost-build panics if a module has a service and no text.
        buffer.push_str("// A service.\n");
        let name = super::symbols::full_name(&service.package, &service.proto_name);
        self.0.borrow_mut().insert(name, service);
    }
}

/// Runs code that may panic, keeps the panic off stderr, and gives its message.
pub(crate) fn quietly<T>(code: impl FnOnce() -> T) -> Result<T, String> {
    thread_local! {
        static QUIET: Cell<bool> = const { Cell::new(false) };
    }
    static HOOK: Once = Once::new();
    // The hook belongs to the process: it is set once, and asks each thread whether to be quiet.
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                before(info);
            }
        }));
    });
    QUIET.set(true);
    // Whatever the code was changing is dropped with it.
    let result = panic::catch_unwind(AssertUnwindSafe(code));
    QUIET.set(false);
    result.map_err(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        text.or_else(|| payload.downcast_ref::<&str>().copied())
            .unwrap_or("it panicked without a message")
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_its_message() {
        assert_eq!(quietly(|| 1), Ok(1));
        assert_eq!(
            quietly::<()>(|| panic!("five is {}", 5)),
            Err("five is 5".to_owned())
        );
        assert_eq!(quietly::<()>(|| panic!("plain")), Err("plain".to_owned()));
    }
}
