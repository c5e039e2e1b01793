//! The option `deprecated`: what it covers, and where it is met.
//!
//! prost-build marks fields and enum values only. Here a message's option also marks the message and all that is
//! in it, and a file's all of the file. What is generated uses such items itself, and must not warn of that.

use std::collections::HashSet;

use prost_types::{
    DescriptorProto, EnumDescriptorProto, EnumOptions, FileDescriptorProto, MessageOptions,
    ServiceOptions,
};

use super::package::Package;
use crate::descriptor::File;

/// Hands a file's own `deprecated` down to what stands in it.
pub(crate) fn spread(file: &mut FileDescriptorProto) {
    if !file
        .options
        .as_ref()
        .is_some_and(|options| options.deprecated())
    {
        return;
    }
    for message in &mut file.message_type {
        let options = message.options.get_or_insert_with(MessageOptions::default);
        options.deprecated = Some(true);
    }
    for item in &mut file.enum_type {
        let options = item.options.get_or_insert_with(EnumOptions::default);
        options.deprecated = Some(true);
    }
    for service in &mut file.service {
        let options = service.options.get_or_insert_with(ServiceOptions::default);
        options.deprecated = Some(true);
    }
}

/// Whether a message is deprecated itself.
pub(crate) fn message(message: &DescriptorProto) -> bool {
    message
        .options
        .as_ref()
        .is_some_and(|options| options.deprecated())
}

/// Whether an enum is deprecated itself.
pub(crate) fn enumeration(item: &EnumDescriptorProto) -> bool {
    item.options
        .as_ref()
        .is_some_and(|options| options.deprecated())
}

/// The deprecated types of a run, with their full names; not those inside of one.
#[derive(Debug, Default)]
pub(crate) struct Deprecated {
    types: HashSet<String>,
}

// ===== impl Deprecated =====

impl Deprecated {
    /// Collects them.
    pub(crate) fn find(files: &[File]) -> Deprecated {
        let mut found = Deprecated::default();
        for file in files {
            let package = file.proto.package();
            let dot = if package.is_empty() { "" } else { "." };
            let prefix = format!("{dot}{package}");
            found.add(&prefix, &file.proto.message_type, &file.proto.enum_type);
        }
        found
    }

    fn add(&mut self, prefix: &str, messages: &[DescriptorProto], enums: &[EnumDescriptorProto]) {
        for item in enums.iter().filter(|item| enumeration(item)) {
            self.types.insert(format!("{prefix}.{}", item.name()));
        }
        for each in messages {
            if message(each) {
                self.types.insert(format!("{prefix}.{}", each.name()));
            } else if !each.nested_type.is_empty() || !each.enum_type.is_empty() {
                let full = format!("{prefix}.{}", each.name());
                self.add(&full, &each.nested_type, &each.enum_type);
            }
        }
    }

    /// Whether the code of a package meets anything that is deprecated: its own, or a type of another package.
    pub(crate) fn is_met_in(&self, package: &Package<'_>) -> bool {
        package.files.iter().any(|file| {
            let mut messages = file.proto.message_type.iter();
            let mut enums = file.proto.enum_type.iter();
            let mut services = file.proto.service.iter();
            messages.any(|message| self.in_message(message))
                || enums.any(in_enum)
                || services.any(|service| {
                    let own = service.options.as_ref();
                    let mut rpcs = service.method.iter();
                    own.is_some_and(|options| options.deprecated())
                        || rpcs.any(|rpc| {
                            let own = rpc.options.as_ref();
                            own.is_some_and(|options| options.deprecated())
                                || self.covers(rpc.input_type())
                                || self.covers(rpc.output_type())
                        })
                })
        })
    }

    fn in_message(&self, each: &DescriptorProto) -> bool {
        let mut fields = each.field.iter();
        message(each)
            || fields.any(|field| {
                let own = field.options.as_ref();
                own.is_some_and(|options| options.deprecated())
                    || field
                        .type_name
                        .as_deref()
                        .is_some_and(|name| self.covers(name))
            })
            || each
                .nested_type
                .iter()
                .any(|nested| self.in_message(nested))
            || each.enum_type.iter().any(in_enum)
    }

    /// Whether a type is deprecated, or stands in one that is.
    fn covers(&self, name: &str) -> bool {
        if self.types.is_empty() {
            return false;
        }
        let ends = name
            .match_indices('.')
            .map(|(end, _)| end)
            .chain([name.len()]);
        ends.skip(1).any(|end| self.types.contains(&name[..end]))
    }
}

fn in_enum(item: &EnumDescriptorProto) -> bool {
    let mut values = item.value.iter();
    enumeration(item)
        || values.any(|value| {
            value
                .options
                .as_ref()
                .is_some_and(|options| options.deprecated())
        })
}
