//! Bare copies of the messages that a package's own ones hold.
//!
//! Whether prost-build derives `Copy` and `Eq`, and where it puts a `Box`, depends on all messages inside of a
//! message, wherever they are declared. It needs no more of them than their fields' types; with those it gives the
//! same code for a package alone as for all packages at once.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use prost_types::field_descriptor_proto::Type;
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorProto};

use super::super::package::Package;
use super::super::types::Types;
use super::ways;

/// One file for each other proto package that the package's messages reach.
pub(crate) fn of(
    package: &Package<'_>,
    types: &Types<'_>,
    unwalked: &BTreeSet<String>,
) -> Vec<FileDescriptorProto> {
    let own: HashSet<&str> = package
        .files
        .iter()
        .map(|file| file.proto.package())
        .collect();
    let mut open: Vec<&str> = Vec::new();
    for file in &package.files {
        file.proto
            .message_type
            .iter()
            .for_each(|message| references(message, &mut open));
    }
    let mut seen: HashSet<&str> = HashSet::new();
    let mut files: BTreeMap<&str, FileDescriptorProto> = BTreeMap::new();
    while let Some(name) = open.pop() {
        let proto_package = types.proto_package(name);
        if own.contains(proto_package) || !seen.insert(name) {
            continue;
        }
        let Some(message) = types.message(name) else {
            continue;
        };
        open.extend(message_fields(message));
        let file = files
            .entry(proto_package)
            .or_insert_with(|| FileDescriptorProto {
                name: Some(proto_package.to_owned()),
                package: Some(proto_package.to_owned()).filter(|package| !package.is_empty()),
                syntax: Some("proto3".to_owned()),
                ..FileDescriptorProto::default()
            });
        let below = name.trim_start_matches('.');
        let below = below.strip_prefix(proto_package).unwrap_or(below);
        place(
            &mut file.message_type,
            below.trim_start_matches('.'),
            message,
            unwalked.contains(name),
        );
    }
    files.into_values().collect()
}

/// The messages in the fields of a message, and of those nested in it.
fn references<'a>(message: &'a DescriptorProto, found: &mut Vec<&'a str>) {
    found.extend(message_fields(message));
    for nested in &message.nested_type {
        references(nested, found);
    }
}

fn message_fields(message: &DescriptorProto) -> impl Iterator<Item = &str> {
    let fields = message.field.iter();
    fields
        .filter(|field| matches!(field.r#type(), Type::Message | Type::Group))
        .map(|field| field.type_name())
}

/// Puts a bare copy where its path says, inside of messages that are there or come later.
fn place(
    messages: &mut Vec<DescriptorProto>,
    path: &str,
    message: &DescriptorProto,
    unwalked: bool,
) {
    let (name, below) = match path.split_once('.') {
        Some((name, below)) => (name, Some(below)),
        None => (path, None),
    };
    let index = messages
        .iter()
        .position(|each| each.name() == name)
        .unwrap_or_else(|| {
            messages.push(DescriptorProto {
                name: Some(name.to_owned()),
                ..DescriptorProto::default()
            });
            messages.len() - 1
        });
    let Some(place_of) = messages.get_mut(index) else {
        return;
    };
    match below {
        Some(below) => place(&mut place_of.nested_type, below, message, unwalked),
        None => {
            let last = unwalked.then(|| ways::field(message));
            place_of.field = message.field.iter().map(bare).chain(last).collect();
        }
    }
}

/// A field with no more than what tells whether it is `Copy`, `Eq` and recursive.
fn bare(field: &FieldDescriptorProto) -> FieldDescriptorProto {
    // An enum's field is a number, and its type would have to be there too.
    let is_enum = field.r#type() == Type::Enum;
    FieldDescriptorProto {
        name: field.name.clone(),
        number: field.number,
        label: field.label,
        r#type: if is_enum {
            Some(Type::Int32.into())
        } else {
            field.r#type
        },
        type_name: field.type_name.clone().filter(|_| !is_enum),
        ..FieldDescriptorProto::default()
    }
}
