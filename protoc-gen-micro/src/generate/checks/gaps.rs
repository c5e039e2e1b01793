//! Where the JSON mapping ends: types from elsewhere that have none, and what that means here.
//!
//! A call with such a message takes protobuf alone. That is nothing to find out at run time, so it is a warning.

use std::collections::{BTreeMap, BTreeSet};

use prost_types::DescriptorProto;
use prost_types::field_descriptor_proto::Type;

use super::super::names::RustNames;
use super::super::package::Package;
use super::super::symbols::full_name;
use super::super::types::{PackageNames, Types};
use crate::diagnostic::Diagnostic;
use crate::options::Options;

/// How many messages and rpcs a warning names.
const NAMED: usize = 5;

/// One warning for each package that is missing JSON which is needed here.
pub(crate) fn find(
    packages: &[Package<'_>],
    types: &Types<'_>,
    runtime: &syn::Path,
    options: &Options,
) -> Vec<Diagnostic> {
    if !options.json {
        return Vec::new();
    }
    // By proto package, in its words: what needs it.
    let mut gaps: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in packages.iter().filter(|package| package.written) {
        let mut walk = Walk {
            rust: types.seen_from(&package.modules, runtime),
            types,
            gaps: &mut gaps,
        };
        for file in &package.files {
            let name = |name| format!(".{}", full_name(file.proto.package(), name));
            for message in &file.proto.message_type {
                walk.message(&name(message.name()), message);
            }
            for service in &file.proto.service {
                for method in &service.method {
                    let user = format!("{}.{}", name(service.name()), method.name());
                    walk.need(&user, method.input_type());
                    walk.need(&user, method.output_type());
                }
            }
        }
    }
    gaps.into_iter()
        .map(|(package, users)| warning(&package, &users))
        .collect()
}

fn warning(package: &str, users: &BTreeSet<String>) -> Diagnostic {
    let mut named: Vec<&str> = users.iter().take(NAMED).map(String::as_str).collect();
    let more = format!("{} more", users.len().saturating_sub(NAMED));
    if users.len() > NAMED {
        named.push(&more);
    }
    let way_out = if package == "google.protobuf" {
        String::new()
    } else {
        format!("; if they were generated with it, say extern_json=.{package}")
    };
    Diagnostic::new(format!(
        "types of package {package} come from elsewhere without our JSON mapping, so these speak protobuf alone: \
         {}{way_out}",
        named.join(", ")
    ))
}

struct Walk<'a> {
    rust: PackageNames<'a>,
    types: &'a Types<'a>,
    gaps: &'a mut BTreeMap<String, BTreeSet<String>>,
}

// ===== impl Walk =====

impl Walk<'_> {
    fn message(&mut self, full: &str, message: &DescriptorProto) {
        if !self.rust.is_local(full) {
            return;
        }
        for field in &message.field {
            if matches!(field.r#type(), Type::Message | Type::Group | Type::Enum) {
                self.need(full, field.type_name());
            }
        }
        for nested in &message.nested_type {
            let inner = format!("{full}.{}", nested.name());
            let is_entry = nested
                .options
                .as_ref()
                .is_some_and(|options| options.map_entry());
            match nested
                .field
                .iter()
                .find(|field| is_entry && field.name() == "value")
            {
                // A map's value is needed by the message itself.
                Some(value) => self.need(full, value.type_name()),
                None => self.message(&inner, nested),
            }
        }
    }

    fn need(&mut self, user: &str, proto_name: &str) {
        if self.types.is_elsewhere(proto_name) && !self.rust.has_json(proto_name) {
            let package = self.types.proto_package(proto_name).to_owned();
            self.gaps
                .entry(package)
                .or_default()
                .insert(user.trim_start_matches('.').to_owned());
        }
    }
}
