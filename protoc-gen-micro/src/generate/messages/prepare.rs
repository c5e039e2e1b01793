//! Descriptors as prost-build takes them, where it would make code of them that does not compile.
//!
//! What is changed here changes the code alone: JSON, value trees and services are made of the files as they are.

use std::collections::BTreeSet;

use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorProto};

use super::super::types::{Types, full_path};

/// Makes a file ready for prost-build. The enum fields with these paths have to be plain integers.
pub(crate) fn file(
    proto: &mut FileDescriptorProto,
    types: &Types<'_>,
    plain_enums: &BTreeSet<String>,
) {
    let prepare = Prepare { types, plain_enums };
    let prefix = full_path(proto);
    for message in &mut proto.message_type {
        prepare.message(&prefix, message);
    }
}

struct Prepare<'a> {
    types: &'a Types<'a>,
    plain_enums: &'a BTreeSet<String>,
}

// ===== impl Prepare =====

impl Prepare<'_> {
    fn message(&self, prefix: &str, message: &mut DescriptorProto) {
        let full = format!("{prefix}.{}", message.name());
        let mut entries = Vec::new();
        for field in &mut message.field {
            if field.r#type() == Type::Enum {
                self.default(field);
            }
            if !self.plain_enums.is_empty()
                && self
                    .plain_enums
                    .contains(&format!("{full}.{}", field.name()))
            {
                match field.r#type() {
                    Type::Enum => self.plain(field),
                    _ => entries.extend(field.type_name.clone()),
                }
            }
        }
        for nested in &mut message.nested_type {
            self.message(&full, nested);
            if entries.contains(&format!("{full}.{}", nested.name())) {
                let value = nested.field.iter_mut().find(|field| field.number() == 2);
                value.into_iter().for_each(|value| self.plain(value));
            }
        }
    }

    /// Names the variant that there is: of several values with one number, prost-build makes the first one.
    fn default(&self, field: &mut FieldDescriptorProto) {
        let Some(item) = self.types.enumeration(field.type_name()) else {
            return;
        };
        let named = |name: &str| item.value.iter().find(|value| value.name() == name);
        let variant = field
            .default_value
            .as_deref()
            .and_then(named)
            .and_then(|value| {
                let mut values = item.value.iter();
                values.find(|first| first.number() == value.number())
            });
        if let Some(variant) = variant {
            field.default_value = variant.name.clone();
        }
    }

    /// Makes an enum field one of its integers, which is the same on the wire and in the struct.
    fn plain(&self, field: &mut FieldDescriptorProto) {
        let item = self.types.enumeration(field.type_name());
        let values = item.map(|item| item.value.as_slice()).unwrap_or_default();
        let default = match &field.default_value {
            Some(name) => values.iter().find(|value| value.name() == name),
            None => values.first(),
        };
        field.default_value = default
            .filter(|value| value.number() != 0 && field.label() != Label::Repeated)
            .map(|value| value.number().to_string());
        field.r#type = Some(Type::Int32.into());
        field.type_name = None;
    }
}
