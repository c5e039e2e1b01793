//! Groups that hold themselves.
//!
//! prost-build 0.14.4 boxes messages that would hold themselves, but looks at fields with a length before them
//! only (`message_graph.rs`): a recursion of nothing but groups would be a type of infinite size.

use std::collections::{HashMap, HashSet};

use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FileDescriptorProto};

/// The types that each message holds in itself, by full name.
type Graph<'f> = HashMap<String, Vec<&'f str>>;

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
    let mut groups = Vec::new();
    for file in files.clone() {
        each_message(file, &mut |full, message| {
            find_groups(full, message, &mut groups)
        });
    }
    if groups.is_empty() {
        return Vec::new();
    }
    let mut graph = Graph::new();
    for file in files {
        each_message(file, &mut |full, message| {
            let held = message.field.iter().filter(|field| {
                field.label() != Label::Repeated
                    && matches!(field.r#type(), Type::Message | Type::Group)
            });
            graph.insert(
                full.to_owned(),
                held.map(|field| field.type_name()).collect(),
            );
        });
    }
    groups
        .into_iter()
        .filter(|group| reaches(&graph, group.of, &group.message))
        .map(|group| group.path)
        .collect()
}

fn find_groups<'f>(full: &str, message: &'f DescriptorProto, groups: &mut Vec<Group<'f>>) {
    for field in &message.field {
        if field.r#type() != Type::Group || field.label() == Label::Repeated {
            continue;
        }
        let path = match super::types::real_oneof(message, field) {
            Some(oneof) => format!("{full}.{oneof}.{}", field.name()),
            None => format!("{full}.{}", field.name()),
        };
        groups.push(Group {
            message: full.to_owned(),
            path,
            of: field.type_name(),
        });
    }
}

/// Whether a message holds another, or is the same.
fn reaches(graph: &Graph<'_>, from: &str, to: &str) -> bool {
    let mut seen = HashSet::new();
    let mut open = vec![from];
    while let Some(name) = open.pop() {
        if name == to {
            return true;
        }
        if seen.insert(name) {
            open.extend(graph.get(name).into_iter().flatten().copied());
        }
    }
    false
}

/// Visits the messages of a file with their full names.
fn each_message<'f>(
    file: &'f FileDescriptorProto,
    visit: &mut impl FnMut(&str, &'f DescriptorProto),
) {
    let prefix = match file.package() {
        "" => String::new(),
        package => format!(".{package}"),
    };
    let mut open: Vec<(String, &DescriptorProto)> = Vec::new();
    let name = |prefix: &str, message: &DescriptorProto| format!("{prefix}.{}", message.name());
    for message in &file.message_type {
        open.push((name(&prefix, message), message));
    }
    while let Some((full, message)) = open.pop() {
        visit(&full, message);
        for nested in &message.nested_type {
            open.push((name(&full, nested), nested));
        }
    }
}
