//! Checks of what protoc has checked already: a request may come from another tool, or from none.

use prost_types::field_descriptor_proto::Type;
use prost_types::{DescriptorProto, EnumDescriptorProto};

use super::super::types::{Types, is_map_entry};
use crate::descriptor::File;
use crate::diagnostic::Diagnostic;

/// Finds names that are no identifiers, and references to types that are not there.
pub(crate) fn check(files: &[File], types: &Types<'_>) -> Vec<Diagnostic> {
    let mut check = Check {
        types,
        file: "",
        findings: Vec::new(),
    };
    for file in files {
        check.file = file.proto.name();
        for segment in file
            .proto
            .package
            .iter()
            .flat_map(|package| package.split('.'))
        {
            check.name("package", segment);
        }
        file.proto
            .message_type
            .iter()
            .for_each(|message| check.message(message));
        file.proto
            .enum_type
            .iter()
            .for_each(|item| check.enumeration(item));
        for service in &file.proto.service {
            check.name("service", service.name());
            for method in &service.method {
                check.name("method", method.name());
                check.reference(method.name(), method.input_type(), true);
                check.reference(method.name(), method.output_type(), true);
            }
        }
    }
    check.findings
}

struct Check<'a> {
    types: &'a Types<'a>,
    file: &'a str,
    findings: Vec<Diagnostic>,
}

// ===== impl Check =====

impl Check<'_> {
    fn message(&mut self, message: &DescriptorProto) {
        // Nobody sees the names of maps' entries, and protoc makes `1Entry` of a map `_1`.
        if !is_map_entry(message) {
            self.name("message", message.name());
        }
        for field in &message.field {
            self.name("field", field.name());
            match field.r#type() {
                Type::Message | Type::Group => {
                    self.reference(field.name(), field.type_name(), true)
                }
                Type::Enum => self.reference(field.name(), field.type_name(), false),
                _ => {}
            }
        }
        message
            .oneof_decl
            .iter()
            .for_each(|oneof| self.name("oneof", oneof.name()));
        message
            .nested_type
            .iter()
            .for_each(|nested| self.message(nested));
        message
            .enum_type
            .iter()
            .for_each(|item| self.enumeration(item));
    }

    fn enumeration(&mut self, item: &EnumDescriptorProto) {
        self.name("enum", item.name());
        if item.value.is_empty() {
            self.finding(format!(
                "the enum \"{}\" has no values",
                item.name().escape_default()
            ));
        }
        item.value
            .iter()
            .for_each(|value| self.name("enum value", value.name()));
    }

    fn name(&mut self, what: &str, name: &str) {
        let well_formed = name
            .starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && name
                .chars()
                .all(|each| each.is_ascii_alphanumeric() || each == '_');
        if !well_formed {
            self.finding(format!(
                "the {what} name \"{}\" is not an identifier",
                name.escape_default()
            ));
        } else if name.trim_matches('_').is_empty() {
            self.finding(format!(
                "the {what} name \"{name}\" has no letter or digit to make a Rust name of; rename it"
            ));
        }
    }

    fn reference(&mut self, from: &str, to: &str, to_message: bool) {
        if !self.types.contains(to) {
            self.finding(format!(
                "\"{}\" refers to the type \"{}\", which is in none of the files of the request",
                from.escape_default(),
                to.escape_default()
            ));
        } else if self.types.message(to).is_some() != to_message {
            let expected = if to_message { "a message" } else { "an enum" };
            self.finding(format!(
                "\"{}\" refers to \"{to}\", which is not {expected}",
                from.escape_default()
            ));
        }
    }

    fn finding(&mut self, text: String) {
        self.findings.push(Diagnostic::at(self.file, None, text));
    }
}
