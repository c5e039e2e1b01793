//! Groups that hold themselves.
//!
//! prost-build 0.14.4 boxes messages that would hold themselves, but looks at fields with a length before them
//! only (`message_graph.rs`): a recursion of nothing but groups would be a type of infinite size.

use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{FieldDescriptorProto, FileDescriptorProto};

use super::super::types::real_oneof;
use crate::descriptor::{Graph, each_message, reaches};

/// A field that is a group.
struct Group<'f> {
    /// The full name of its message.
    message: String,
    /// Its path as prost-build matches it: below its oneof, if it is a member of one.
    path: String,
    /// What it holds.
    of: &'f str,
}

/// The paths of the groups that need a box.
pub(crate) fn boxed_groups<'f>(
    files: impl Iterator<Item = &'f FileDescriptorProto> + Clone,
) -> Vec<String> {
    let single = |field: &&FieldDescriptorProto| field.label() != Label::Repeated;
    let mut groups = Vec::new();
    for file in files.clone() {
        each_message(file, &mut |full, _, message| {
            let fields = message.field.iter().filter(single);
            for field in fields.filter(|field| field.r#type() == Type::Group) {
                let path = match real_oneof(message, field) {
                    Some(oneof) => format!("{full}.{oneof}.{}", field.name()),
                    None => format!("{full}.{}", field.name()),
                };
                groups.push(Group {
                    message: full.to_owned(),
                    path,
                    of: field.type_name(),
                });
            }
        });
    }
    if groups.is_empty() {
        return Vec::new();
    }
    let mut graph = Graph::new();
    for file in files {
        each_message(file, &mut |full, _, message| {
            let held = message.field.iter().filter(single);
            let held = held.filter(|field| matches!(field.r#type(), Type::Message | Type::Group));
            let held = held.map(|field| field.type_name().to_owned());
            graph.insert(full.to_owned(), held.collect());
        });
    }
    groups
        .into_iter()
        .filter(|group| reaches(&graph, group.of, &group.message))
        .map(|group| group.path)
        .collect()
}
