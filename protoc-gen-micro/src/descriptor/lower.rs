//! Descriptors made ready for prost-build 0.14.

use std::collections::HashSet;

use prost_types::field_descriptor_proto::Label;
use prost_types::source_code_info::Location;
use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorProto};

use super::defaults;
use super::editions::is_packable;
use super::json_names;
use super::request::File;
use super::required;
use crate::diagnostic::Diagnostic;

/// Mends what prost-build 0.14.4 reads wrongly or stumbles over; the meaning of the files stays.
///
/// What it cannot keep, it says.
pub(crate) fn lower(files: &mut [File]) -> Vec<Diagnostic> {
    let mut warnings = Vec::new();
    for file in files.iter_mut() {
        let renamed = json_names::separate(file);
        if file.target {
            warnings.extend(renamed);
        }
        lower_file(&mut file.proto);
    }
    defaults::resolve_aliases(files.iter_mut().map(|file| &mut file.proto));
    warnings.extend(required::break_cycles(files));
    warnings
}

fn lower_file(file: &mut FileDescriptorProto) {
    if file.syntax.as_deref() == Some("proto3") {
        for message in &mut file.message_type {
            pack(message);
        }
    }
}

/// Says `packed` where proto3 implies it: prost-build takes a repeated scalar with *any* option (such as
/// `deprecated`) for an unpacked one (prost pull request 1399).
fn pack(message: &mut DescriptorProto) {
    for field in &mut message.field {
        if field.label() == Label::Repeated
            && is_packable(field)
            && let Some(options) = &mut field.options
        {
            options.packed.get_or_insert(true);
        }
    }
    for nested in &mut message.nested_type {
        pack(nested);
    }
}

/// Gives every item a location, and every comment line endings that Rust takes.
///
/// prost-build looks the location of each item up and panics where there is none, which is what an incomplete
/// `SourceCodeInfo` (of a tool other than protoc) comes to. A carriage return alone is an error in a Rust
/// doc comment.
pub(crate) fn complete_locations(file: &mut FileDescriptorProto) {
    let Some(info) = &mut file.source_code_info else {
        return;
    };
    for location in &mut info.location {
        let comments = [
            &mut location.leading_comments,
            &mut location.trailing_comments,
        ];
        let comments = comments
            .into_iter()
            .flatten()
            .chain(&mut location.leading_detached_comments);
        for comment in comments {
            if comment.contains('\r') {
                *comment = comment.replace("\r\n", "\n").replace('\r', "\n");
            }
        }
    }
    let known: HashSet<&[i32]> = info
        .location
        .iter()
        .map(|location| location.path.as_slice())
        .collect();
    let mut missing = Vec::new();
    let mut path = Vec::new();
    let mut visit = |path: &[i32]| {
        if !known.contains(path) {
            missing.push(Location {
                path: path.to_vec(),
                ..Location::default()
            });
        }
    };
    each(&mut path, 4, &file.message_type, &mut |path, message| {
        visit_message(path, message, &mut visit)
    });
    each(&mut path, 5, &file.enum_type, &mut |path, item| {
        visit_enum(path, item, &mut visit)
    });
    each(&mut path, 6, &file.service, &mut |path, service| {
        visit(path);
        each(path, 2, &service.method, &mut |path, _| visit(path));
    });
    info.location.extend(missing);
}

fn visit_message(path: &mut Vec<i32>, message: &DescriptorProto, visit: &mut impl FnMut(&[i32])) {
    visit(path);
    each(path, 2, &message.field, &mut |path, _| visit(path));
    each(path, 8, &message.oneof_decl, &mut |path, _| visit(path));
    // Not through `each`: a closure that passes itself on would be a type without end.
    for (index, nested) in message.nested_type.iter().enumerate() {
        path.extend([3, position(index)]);
        visit_message(path, nested, visit);
        path.truncate(path.len() - 2);
    }
    each(path, 4, &message.enum_type, &mut |path, item| {
        visit_enum(path, item, visit)
    });
}

fn visit_enum(path: &mut Vec<i32>, item: &EnumDescriptorProto, visit: &mut impl FnMut(&[i32])) {
    visit(path);
    each(path, 2, &item.value, &mut |path, _| visit(path));
}

/// Visits the items of the repeated field `number` with their paths.
fn each<T>(
    path: &mut Vec<i32>,
    number: i32,
    items: &[T],
    visit: &mut impl FnMut(&mut Vec<i32>, &T),
) {
    for (index, item) in items.iter().enumerate() {
        path.extend([number, position(index)]);
        visit(path, item);
        path.truncate(path.len() - 2);
    }
}

/// An index as paths have it. Descriptors are far below the limit: protobuf ends at 2 GiB.
fn position(index: usize) -> i32 {
    i32::try_from(index).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use prost_types::field_descriptor_proto::Type;
    use prost_types::{FieldDescriptorProto, FieldOptions, SourceCodeInfo};

    use super::*;

    fn repeated(kind: Type, options: Option<FieldOptions>) -> FieldDescriptorProto {
        FieldDescriptorProto {
            label: Some(Label::Repeated.into()),
            r#type: Some(kind.into()),
            options,
            ..FieldDescriptorProto::default()
        }
    }

    fn packed(field: FieldDescriptorProto, syntax: &str) -> Option<bool> {
        let mut file = FileDescriptorProto {
            syntax: Some(syntax.into()),
            message_type: vec![DescriptorProto {
                field: vec![field],
                ..DescriptorProto::default()
            }],
            ..FileDescriptorProto::default()
        };
        lower_file(&mut file);
        file.message_type[0].field[0]
            .options
            .as_ref()
            .and_then(|options| options.packed)
    }

    #[test]
    fn a_proto3_scalar_with_options_stays_packed() {
        let deprecated = || {
            Some(FieldOptions {
                deprecated: Some(true),
                ..FieldOptions::default()
            })
        };
        assert_eq!(
            packed(repeated(Type::Int32, deprecated()), "proto3"),
            Some(true)
        );
        assert_eq!(packed(repeated(Type::Int32, deprecated()), "proto2"), None);
        assert_eq!(packed(repeated(Type::String, deprecated()), "proto3"), None);
        assert_eq!(packed(repeated(Type::Int32, None), "proto3"), None);
        let no = FieldOptions {
            packed: Some(false),
            ..FieldOptions::default()
        };
        assert_eq!(
            packed(repeated(Type::Int32, Some(no)), "proto3"),
            Some(false)
        );
    }

    #[test]
    fn every_item_gets_a_location_once() {
        let mut file = FileDescriptorProto {
            message_type: vec![DescriptorProto {
                field: vec![FieldDescriptorProto::default()],
                nested_type: vec![DescriptorProto::default()],
                ..DescriptorProto::default()
            }],
            source_code_info: Some(SourceCodeInfo {
                location: vec![Location {
                    path: vec![4, 0],
                    leading_comments: Some("a\rb\r\nc".into()),
                    ..Location::default()
                }],
            }),
            ..FileDescriptorProto::default()
        };
        complete_locations(&mut file);
        let info = file.source_code_info.unwrap_or_default();
        let paths: Vec<&[i32]> = info
            .location
            .iter()
            .map(|location| location.path.as_slice())
            .collect();
        assert_eq!(paths, [&[4, 0][..], &[4, 0, 2, 0], &[4, 0, 3, 0]]);
        assert_eq!(
            info.location[0].leading_comments.as_deref(),
            Some("a\nb\nc")
        );
    }
}
