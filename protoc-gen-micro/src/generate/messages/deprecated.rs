//! The option `deprecated` of files, messages and enums.
//!
//! prost-build marks fields and enum values, and services are marked here. Types cannot be: what a derive macro
//! writes for a deprecated type uses the type, and the compiler warns of that in the user's own crate. Their
//! documentation says it instead, as Go's does.

use prost_types::{
    DescriptorProto, EnumDescriptorProto, EnumOptions, FileDescriptorProto, MessageOptions,
    ServiceOptions, SourceCodeInfo,
};

/// What is added to the comment of a message or an enum.
const NOTE: &str = " Deprecated: its proto says so.\n";

/// Hands a file's own `deprecated` down to what stands in it.
pub(crate) fn spread(file: &mut FileDescriptorProto) {
    let options = file.options.as_ref();
    if !options.is_some_and(|options| options.deprecated()) {
        return;
    }
    for message in &mut file.message_type {
        let options = message.options.get_or_insert_with(MessageOptions::default);
        options.deprecated = Some(true);
    }
    for item in &mut file.enum_type {
        let options = item.options.get_or_insert_with(EnumOptions::default);
        options.deprecated = Some(true);
    }
    for service in &mut file.service {
        let options = service.options.get_or_insert_with(ServiceOptions::default);
        options.deprecated = Some(true);
    }
}

/// Adds a note to the comments of deprecated messages and enums; a file without comments and positions gets
/// some for them.
pub(crate) fn note(file: &mut FileDescriptorProto) {
    let mut paths = Vec::new();
    let mut path = Vec::new();
    find(
        &mut paths,
        &mut path,
        [4, 5],
        &file.message_type,
        &file.enum_type,
    );
    if paths.is_empty() {
        return;
    }
    let source = file
        .source_code_info
        .get_or_insert_with(SourceCodeInfo::default);
    for location in &mut source.location {
        if !paths.contains(&location.path) {
            continue;
        }
        match &mut location.leading_comments {
            Some(comment) => {
                if !comment.ends_with('\n') {
                    comment.push('\n');
                }
                comment.push('\n');
                comment.push_str(NOTE);
            }
            none => *none = Some(NOTE.to_owned()),
        }
    }
}

/// The paths of what is deprecated; `fields` are the numbers of messages and enums in what holds them.
fn find(
    paths: &mut Vec<Vec<i32>>,
    path: &mut Vec<i32>,
    fields: [i32; 2],
    messages: &[DescriptorProto],
    enums: &[EnumDescriptorProto],
) {
    for (index, item) in (0..).zip(enums) {
        if item
            .options
            .as_ref()
            .is_some_and(|options| options.deprecated())
        {
            paths.push([path.as_slice(), &[fields[1], index]].concat());
        }
    }
    for (index, message) in (0..).zip(messages) {
        path.extend([fields[0], index]);
        if message
            .options
            .as_ref()
            .is_some_and(|options| options.deprecated())
        {
            paths.push(path.clone());
        }
        // DescriptorProto: 3 is `nested_type`, 4 `enum_type`.
        find(
            paths,
            path,
            [3, 4],
            &message.nested_type,
            &message.enum_type,
        );
        path.truncate(path.len() - 2);
    }
}

#[cfg(test)]
mod tests {
    use prost_types::FileOptions;
    use prost_types::source_code_info::Location;

    use super::*;

    #[test]
    fn a_files_option_is_said_of_each_type_in_it() {
        let nested = DescriptorProto {
            options: Some(MessageOptions {
                deprecated: Some(true),
                ..MessageOptions::default()
            }),
            ..DescriptorProto::default()
        };
        let message = DescriptorProto {
            nested_type: vec![DescriptorProto::default(), nested],
            ..DescriptorProto::default()
        };
        let at = |path: &[i32], comment: Option<&str>| Location {
            path: path.to_vec(),
            leading_comments: comment.map(str::to_owned),
            ..Location::default()
        };
        let mut file = FileDescriptorProto {
            message_type: vec![message],
            enum_type: vec![EnumDescriptorProto::default()],
            options: Some(FileOptions {
                deprecated: Some(true),
                ..FileOptions::default()
            }),
            source_code_info: Some(SourceCodeInfo {
                location: vec![
                    at(&[4, 0], Some(" A message.")),
                    at(&[4, 0, 3, 0], None),
                    at(&[4, 0, 3, 1], None),
                    at(&[5, 0], Some(" An enum.\n")),
                ],
            }),
            ..FileDescriptorProto::default()
        };
        spread(&mut file);
        note(&mut file);
        let source = file.source_code_info.unwrap_or_default();
        let comments: Vec<Option<String>> = source
            .location
            .into_iter()
            .map(|location| location.leading_comments)
            .collect();
        assert_eq!(
            comments,
            [
                Some(format!(" A message.\n\n{NOTE}")),
                None,
                Some(NOTE.to_owned()),
                Some(format!(" An enum.\n\n{NOTE}")),
            ]
        );
    }
}
