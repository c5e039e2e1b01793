//! The functions that prost-derive adds to a message, where two of them meet.
//!
//! prost-derive 0.14.6 (`field/scalar.rs`, `field/map.rs`) gives a getter of the field's own name to scalars with
//! presence and to enums, and to enums `set_x`, `push_x` if repeated, and `get_x` and `insert_x` if in a map.
//! So a field `set_x` with a getter meets the setter of an enum `x`. Setters are made of an enum's Rust type
//! alone: an enum that is held as a plain integer, as it is on the wire and in the struct anyway, has none.

use std::collections::HashMap;

use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto};

use super::super::names::snake;
use super::super::types::{map_entry, real_oneof};

/// A field whose functions cannot be kept.
pub(super) struct Conflict {
    /// The index of the enum field in its message.
    pub(super) field: usize,
    /// The function that cannot be.
    pub(super) function: String,
    /// The index of the field whose getter has that name; none if no function can have it.
    pub(super) getter: Option<usize>,
}

/// Finds the enum fields of a message whose functions have names that cannot be.
pub(super) fn find(full: &str, message: &DescriptorProto, proto2: bool) -> Vec<Conflict> {
    let mut getters: HashMap<String, usize> = HashMap::new();
    let mut made: Vec<(usize, String)> = Vec::new();
    for (index, field) in message.field.iter().enumerate() {
        if real_oneof(message, field).is_some() {
            continue;
        }
        let rust = snake(field.name());
        let plain = rust.trim_start_matches("r#");
        let repeated = field.label() == Label::Repeated;
        if let Some(entry) = map_entry(full, message, field) {
            if entry
                .field
                .iter()
                .any(|value| value.number() == 2 && value.r#type() == Type::Enum)
            {
                // These are made of the raw identifier, so that those of keywords are no names at all.
                made.push((index, format!("get_{rust}")));
                made.push((index, format!("insert_{rust}")));
            }
        } else if field.r#type() == Type::Enum {
            let verb = if repeated { "push" } else { "set" };
            made.push((index, format!("{verb}_{plain}")));
            getters.insert(plain.to_owned(), index);
        } else if !repeated && has_presence(field, proto2) {
            getters.insert(plain.to_owned(), index);
        }
    }
    let mut found: Vec<Conflict> = Vec::new();
    for (field, function) in made {
        let getter = getters
            .get(&function)
            .copied()
            .filter(|getter| *getter != field);
        let first = found.last().is_none_or(|last| last.field != field);
        if first && (getter.is_some() || function.contains('#')) {
            found.push(Conflict {
                field,
                function,
                getter,
            });
        }
    }
    found
}

/// Whether prost-build makes a scalar an `Option`.
fn has_presence(field: &FieldDescriptorProto, proto2: bool) -> bool {
    let scalar = !matches!(field.r#type(), Type::Message | Type::Group);
    scalar && (field.proto3_optional() || (proto2 && field.label() == Label::Optional))
}
