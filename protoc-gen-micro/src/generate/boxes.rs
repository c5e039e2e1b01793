//! Groups that hold themselves, which prost-build 0.14.4 gives no end.
//!
//! It boxes a field if the field's type holds the message again, but does not look into groups on the way
//! (`message_graph.rs`), so a circle that passes through two groups has no box in it.

use std::collections::{HashMap, HashSet};

use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FileDescriptorProto};

use super::types::{full_path, real_oneof};

/// A field that holds one message of another type.
struct Edge {
    from: String,
    to: String,
    is_group: bool,
    /// The field as prost-build's settings name it.
    path: String,
}

/// The paths of the groups that have to be boxed.
pub(crate) fn find<'a>(files: impl Iterator<Item = &'a FileDescriptorProto>) -> Vec<String> {
    let mut edges = Vec::new();
    for file in files {
        let prefix = full_path(file);
        for message in &file.message_type {
            collect(&format!("{prefix}.{}", message.name()), message, &mut edges);
        }
    }
    if !edges.iter().any(|edge| edge.is_group) {
        return Vec::new();
    }
    let mut all: HashMap<&str, Vec<&str>> = HashMap::new();
    let mut seen_by_prost: HashMap<&str, Vec<&str>> = HashMap::new();
    for edge in &edges {
        all.entry(&edge.from).or_default().push(&edge.to);
        if !edge.is_group {
            seen_by_prost.entry(&edge.from).or_default().push(&edge.to);
        }
    }
    let endless = edges.iter().filter(|edge| {
        edge.is_group
            && reaches(&all, &edge.to, &edge.from)
            && !reaches(&seen_by_prost, &edge.to, &edge.from)
    });
    endless.map(|edge| edge.path.clone()).collect()
}

fn collect(full: &str, message: &DescriptorProto, edges: &mut Vec<Edge>) {
    for field in &message.field {
        let is_group = field.r#type() == Type::Group;
        if (!is_group && field.r#type() != Type::Message) || field.label() == Label::Repeated {
            continue;
        }
        let path = match real_oneof(message, field) {
            Some(oneof) => format!("{full}.{oneof}.{}", field.name()),
            None => format!("{full}.{}", field.name()),
        };
        edges.push(Edge {
            from: full.to_owned(),
            to: field.type_name().to_owned(),
            is_group,
            path,
        });
    }
    for nested in &message.nested_type {
        collect(&format!("{full}.{}", nested.name()), nested, edges);
    }
}

/// Whether there is a way from one message to another.
fn reaches(edges: &HashMap<&str, Vec<&str>>, from: &str, to: &str) -> bool {
    let mut seen = HashSet::new();
    let mut next = vec![from];
    while let Some(message) = next.pop() {
        if message == to {
            return true;
        }
        for inside in edges.get(message).into_iter().flatten() {
            if seen.insert(*inside) {
                next.push(inside);
            }
        }
    }
    false
}
