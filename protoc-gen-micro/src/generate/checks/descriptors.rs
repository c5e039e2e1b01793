//! Checks of what protoc has checked already: a request may come from another tool, or from none.

use prost_types::field_descriptor_proto::Type;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, ServiceDescriptorProto,
};

use super::super::types::{Types, is_map_entry};
use crate::descriptor::File;
use crate::diagnostic::Diagnostic;

/// Finds names that are no identifiers, and references to types that are not there.
pub(crate) fn check(files: &[File], types: &Types<'_>) -> Vec<Diagnostic> {
    let mut findings = Vec::new();
    for file in files {
        let mut check = Check {
            types,
            file,
            path: Vec::new(),
            findings: &mut findings,
        };
        check.file();
    }
    findings
}

struct Check<'a> {
    types: &'a Types<'a>,
    file: &'a File,
    /// Where in the file's descriptor this is, as `SourceCodeInfo` has it.
    path: Vec<i32>,
    findings: &'a mut Vec<Diagnostic>,
}

// ===== impl Check =====

impl<'a> Check<'a> {
    // The numbers are those of the fields in descriptor.proto.
    fn file(&mut self) {
        let proto = &self.file.proto;
        self.path.push(2);
        for segment in proto.package.iter().flat_map(|name| name.split('.')) {
            self.name("package", segment);
        }
        self.path.pop();
        self.each(4, &proto.message_type, Self::message);
        self.each(5, &proto.enum_type, Self::enumeration);
        self.each(6, &proto.service, Self::service);
    }

    /// Checks what the field `number` of the descriptor at hand holds.
    fn each<T>(&mut self, number: i32, items: &'a [T], check: impl Fn(&mut Self, &'a T)) {
        for (index, item) in (0..).zip(items) {
            self.path.extend([number, index]);
            check(self, item);
            self.path.truncate(self.path.len() - 2);
        }
    }

    fn message(&mut self, message: &'a DescriptorProto) {
        // Nobody sees the names of maps' entries, and protoc makes `1Entry` of a map `_1`.
        if !is_map_entry(message) {
            self.name("message", message.name());
        }
        self.each(2, &message.field, Self::field);
        self.each(8, &message.oneof_decl, |check, oneof| {
            check.name("oneof", oneof.name())
        });
        self.each(3, &message.nested_type, Self::message);
        self.each(4, &message.enum_type, Self::enumeration);
    }

    fn field(&mut self, field: &'a FieldDescriptorProto) {
        self.name("field", field.name());
        match field.r#type() {
            Type::Message | Type::Group => self.reference(field.name(), field.type_name(), true),
            Type::Enum => self.reference(field.name(), field.type_name(), false),
            _ => {}
        }
    }

    fn enumeration(&mut self, item: &'a EnumDescriptorProto) {
        self.name("enum", item.name());
        if item.value.is_empty() {
            self.finding(format!(
                "the enum \"{}\" has no values",
                item.name().escape_default()
            ));
        }
        self.each(2, &item.value, |check, value| {
            check.name("enum value", value.name())
        });
    }

    fn service(&mut self, service: &'a ServiceDescriptorProto) {
        self.name("service", service.name());
        self.each(2, &service.method, |check, method| {
            check.name("method", method.name());
            check.reference(method.name(), method.input_type(), true);
            check.reference(method.name(), method.output_type(), true);
        });
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
        let name = self.file.proto.name();
        let line = self.file.line(&self.path);
        self.findings.push(Diagnostic::at(name, line, text));
    }
}
