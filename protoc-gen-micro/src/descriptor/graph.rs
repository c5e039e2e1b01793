//! Which message holds which.

use std::collections::{HashMap, HashSet};

use prost_types::{DescriptorProto, FileDescriptorProto};

/// The messages that each message holds, by full name with a leading dot.
pub(crate) type Graph = HashMap<String, Vec<String>>;

/// Whether a message holds another, or is the same.
pub(crate) fn reaches(graph: &Graph, from: &str, to: &str) -> bool {
    let mut seen = HashSet::new();
    let mut open = vec![from];
    while let Some(name) = open.pop() {
        if name == to {
            return true;
        }
        if seen.insert(name) {
            open.extend(graph.get(name).into_iter().flatten().map(String::as_str));
        }
    }
    false
}

/// Visits the messages of a file with their full names and their paths in `SourceCodeInfo`.
pub(crate) fn each_message<'f>(
    file: &'f FileDescriptorProto,
    visit: &mut impl FnMut(&str, &[i32], &'f DescriptorProto),
) {
    let prefix = match file.package() {
        "" => String::new(),
        package => format!(".{package}"),
    };
    let mut open = Vec::new();
    for (index, message) in (0..).zip(&file.message_type) {
        open.push((
            format!("{prefix}.{}", message.name()),
            vec![4, index],
            message,
        ));
    }
    while let Some((full, path, message)) = open.pop() {
        visit(&full, &path, message);
        for (index, nested) in (0..).zip(&message.nested_type) {
            let mut path = path.clone();
            path.extend([3, index]);
            open.push((format!("{full}.{}", nested.name()), path, nested));
        }
    }
}
