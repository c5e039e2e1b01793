//! Lines and comments, from `SourceCodeInfo`.

use prost_types::{FileDescriptorProto, SourceCodeInfo};

/// The line, counted from 1, of the item at `path` (field numbers and indexes down the descriptor's tree).
///
/// Scans: protoc does not sort locations by path, and lines are only asked for when something is wrong.
pub(crate) fn line(file: &FileDescriptorProto, path: &[i32]) -> Option<u32> {
    line_in(file.source_code_info.as_ref()?, path)
}

/// The same, of a file's `SourceCodeInfo`.
pub(crate) fn line_in(source: &SourceCodeInfo, path: &[i32]) -> Option<u32> {
    let mut locations = source.location.iter();
    let location = locations.find(|location| location.path == path)?;
    u32::try_from(*location.span.first()?).ok()?.checked_add(1)
}

/// The line of the item at `path`, or else of the smallest one around it that has a line.
pub(super) fn line_of_part(file: &FileDescriptorProto, path: &[i32]) -> Option<u32> {
    (1..=path.len())
        .rev()
        .find_map(|length| line(file, path.get(..length)?))
}

/// A leading comment as plain text: each line without the space that follows `//`, no blank lines around.
pub(crate) fn comment(text: &str) -> String {
    let lines: Vec<&str> = text
        .lines()
        .map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end())
        .collect();
    lines.join("\n").trim_matches('\n').to_owned()
}

#[cfg(test)]
mod tests {
    use prost_types::{SourceCodeInfo, source_code_info::Location};

    use super::*;

    #[test]
    fn finds_a_line_among_unsorted_locations() {
        let at = |path: &[i32], line| Location {
            path: path.to_vec(),
            span: vec![line, 0, 9],
            ..Location::default()
        };
        let file = FileDescriptorProto {
            source_code_info: Some(SourceCodeInfo {
                location: vec![at(&[6, 0], 9), at(&[4, 1], 3)],
            }),
            ..FileDescriptorProto::default()
        };
        assert_eq!(line(&file, &[4, 1]), Some(4));
        assert_eq!(line(&file, &[4, 0]), None);
        assert_eq!(line(&FileDescriptorProto::default(), &[4, 1]), None);
        assert_eq!(line_of_part(&file, &[4, 1, 2, 0, 8]), Some(4));
        assert_eq!(line_of_part(&file, &[4, 0, 2, 0, 8]), None);
    }

    #[test]
    fn a_comment_keeps_its_inner_indentation() {
        assert_eq!(comment(" Adds.\n\n   indented  \n"), "Adds.\n\n  indented");
        assert_eq!(comment("\n\n x\n\n"), "x");
    }
}
