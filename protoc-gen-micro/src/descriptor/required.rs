//! Messages that require themselves.
//!
//! protoc takes them, although no value of one is ever complete. In Rust a required message is a plain field, and
//! a plain field of its own type has no default: the first use would run out of stack.

use std::collections::HashMap;

use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto};

use super::graph::{Graph, each_message, reaches};
use super::request::File;
use crate::diagnostic::Diagnostic;

/// Makes the fields optional by which a message requires itself, and says so.
pub(super) fn break_cycles(files: &mut [File]) -> Vec<Diagnostic> {
    let mut graph = Graph::new();
    for file in files.iter() {
        each_message(&file.proto, &mut |full, _, message| {
            let required = message.field.iter().filter(|field| requires(field));
            let required: Vec<String> =
                required.map(|field| field.type_name().to_owned()).collect();
            if !required.is_empty() {
                graph.insert(full.to_owned(), required);
            }
        });
    }
    let mut warnings = Vec::new();
    if graph.is_empty() {
        return warnings;
    }
    for file in files {
        // By message: the indexes of its fields.
        let mut cycles: HashMap<Vec<i32>, Vec<usize>> = HashMap::new();
        each_message(&file.proto, &mut |full, path, message| {
            for (index, field) in message.field.iter().enumerate() {
                if !requires(field) || !reaches(&graph, field.type_name(), full) {
                    continue;
                }
                let mut at = path.to_vec();
                // 2 is `field` of a message.
                at.extend([2, i32::try_from(index).unwrap_or(i32::MAX)]);
                if file.target {
                    warnings.push(Diagnostic::at(
                        file.proto.name(),
                        file.line(&at),
                        format!(
                            "field \"{}\" of {} requires the message that it is in, so that none is ever complete; \
                             it is taken for optional",
                            field.name(),
                            full.trim_start_matches('.')
                        ),
                    ));
                }
                cycles.entry(path.to_vec()).or_default().push(index);
            }
        });
        let is_proto3 = file.proto.syntax() == "proto3";
        for (path, fields) in cycles {
            let Some(message) = message_at(&mut file.proto.message_type, &path) else {
                continue;
            };
            for index in fields {
                if let Some(field) = message.field.get_mut(index) {
                    field.set_label(Label::Optional);
                    // As in the lowering of editions: groups of proto3 have to say it.
                    if is_proto3 && field.r#type() == Type::Group {
                        field.proto3_optional = Some(true);
                    }
                }
            }
        }
    }
    warnings
}

fn requires(field: &FieldDescriptorProto) -> bool {
    field.label() == Label::Required && matches!(field.r#type(), Type::Message | Type::Group)
}

/// The message at a path of `SourceCodeInfo`, whose first number is the field that holds `messages`.
fn message_at<'f>(
    messages: &'f mut [DescriptorProto],
    path: &[i32],
) -> Option<&'f mut DescriptorProto> {
    let [_, index, inner @ ..] = path else {
        return None;
    };
    let message = messages.get_mut(usize::try_from(*index).ok()?)?;
    match inner {
        [] => Some(message),
        inner => message_at(&mut message.nested_type, inner),
    }
}
