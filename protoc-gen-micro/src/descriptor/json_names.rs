//! The fields' names in JSON.
//!
//! protoc and buf say them; where another tool does not, they follow from the fields' names. protoc refuses two of one
//! name in proto3, and warns of them in proto2 and where `features.json_format` is
//! `LEGACY_BEST_EFFORT`. One of the two has to have another name, or it could never be read.

use std::collections::HashSet;

use prost_types::{DescriptorProto, FieldDescriptorProto};

use super::request::File;
use crate::diagnostic::Diagnostic;

/// Gives each field a JSON name, which no other field of its message has, and says which ones have another than they asked for.
pub(super) fn separate(file: &mut File) -> Vec<Diagnostic> {
    let mut renamed = Vec::new();
    for (index, message) in (0..).zip(&mut file.proto.message_type) {
        separate_fields(&mut vec![4, index], message, &mut renamed);
    }
    let warn = |(path, text): (Vec<i32>, String)| {
        Diagnostic::at(file.proto.name(), file.line(&path), text)
    };
    renamed.into_iter().map(warn).collect()
}

fn separate_fields(
    path: &mut Vec<i32>,
    message: &mut DescriptorProto,
    renamed: &mut Vec<(Vec<i32>, String)>,
) {
    for field in &mut message.field {
        if field.json_name.is_none() {
            field.json_name = Some(lower_camel(field.name()));
        }
    }
    let mut names: HashSet<&str> = HashSet::new();
    let unique = message
        .field
        .iter()
        .filter_map(|field| field.json_name.as_deref())
        .all(|name| names.insert(name));
    if !unique {
        rename(path, message, renamed);
    }
    for (index, nested) in (0..).zip(&mut message.nested_type) {
        path.extend([3, index]);
        separate_fields(path, nested, renamed);
        path.truncate(path.len() - 2);
    }
}

fn rename(path: &[i32], message: &mut DescriptorProto, renamed: &mut Vec<(Vec<i32>, String)>) {
    let own = |field: &&FieldDescriptorProto| field.json_name.as_deref() == Some(field.name());
    // Those that are called so in the file too come first.
    let mut taken: HashSet<String> = message
        .field
        .iter()
        .filter(own)
        .map(|field| field.name().to_owned())
        .collect();
    for (index, field) in (0..).zip(&mut message.field) {
        let Some(wanted) = field.json_name.clone() else {
            continue;
        };
        if wanted == field.name() || taken.insert(wanted.clone()) {
            continue;
        }
        let mut name = field.name().to_owned();
        while !taken.insert(name.clone()) {
            name.push('_');
        }
        let mut at = path.to_vec();
        at.extend([2, index]);
        renamed.push((
            at,
            format!(
                "field \"{}\" has the JSON name \"{wanted}\" of another field of {}; it is \"{name}\" in place of it",
                field.name(),
                message.name.as_deref().unwrap_or_default()
            ),
        ));
        field.json_name = Some(name);
    }
}

/// The JSON name of a field for which the proto says none.
fn lower_camel(name: &str) -> String {
    let mut json = String::with_capacity(name.len());
    let mut upper = false;
    for char in name.chars() {
        match char {
            '_' => upper = true,
            char if upper => {
                json.push(char.to_ascii_uppercase());
                upper = false;
            }
            char => json.push(char),
        }
    }
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_as_protoc_makes_them() {
        for (name, json) in [
            ("name", "name"),
            ("display_name", "displayName"),
            ("_leading", "Leading"),
            ("a__b_", "aB"),
            ("f_1x", "f1x"),
            ("URL_path", "URLPath"),
        ] {
            assert_eq!(lower_camel(name), json);
        }
    }

    #[test]
    fn fields_without_a_json_name_get_one_of_their_own() {
        let field = |name: &str| FieldDescriptorProto {
            name: Some(name.to_owned()),
            ..FieldDescriptorProto::default()
        };
        let mut message = DescriptorProto {
            field: vec![field("a_1"), field("a1"), field("b_c")],
            ..DescriptorProto::default()
        };
        let mut renamed = Vec::new();
        separate_fields(&mut vec![4, 0], &mut message, &mut renamed);
        let names: Vec<_> = message
            .field
            .iter()
            .map(|field| field.json_name())
            .collect();
        assert_eq!(names, ["a_1", "a1", "bC"]);
        assert_eq!(renamed.len(), 1);
    }
}
