//! Extensions: prost has no place for them. What a file says of them is left out, and that is a warning.

use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorProto};

use super::source;
use crate::diagnostic::Diagnostic;

/// How many places a warning names.
const NAMED: usize = 5;

/// The messages of `google.protobuf` that are extended to declare options. Options are read from descriptors, not
/// from messages: nothing is lost.
const OPTIONS: &[&str] = &[
    "EnumOptions",
    "EnumValueOptions",
    "ExtensionRangeOptions",
    "FeatureSet",
    "FieldOptions",
    "FileOptions",
    "MessageOptions",
    "MethodOptions",
    "OneofOptions",
    "ServiceOptions",
];

/// One warning if a file declares extensions, or room for them.
pub(super) fn warning(file: &FileDescriptorProto) -> Option<Diagnostic> {
    let mut search = Search {
        file,
        line: None,
        found: Vec::new(),
    };
    for (index, message) in (0..).zip(&file.message_type) {
        search.message(&mut vec![4, index], "", message);
    }
    search.extends(&[7], &file.extension);
    let Search { line, found, .. } = search;
    if found.is_empty() {
        return None;
    }
    Some(Diagnostic::at(
        file.name(),
        line,
        format!(
            "extensions are ignored (reading skips them): {}",
            some(&found, "; ")
        ),
    ))
}

/// The first few of these, and how many more there are.
fn some(all: &[String], separator: &str) -> String {
    let mut named: Vec<&str> = all.iter().take(NAMED).map(String::as_str).collect();
    let more = format!("{} more", all.len().saturating_sub(NAMED));
    if all.len() > NAMED {
        named.push(&more);
    }
    named.join(separator)
}

struct Search<'f> {
    file: &'f FileDescriptorProto,
    /// Where the first is.
    line: Option<u32>,
    found: Vec<String>,
}

// ===== impl Search =====

impl Search<'_> {
    /// Looks at a message; `outer` is the one it is nested in, if it is.
    fn message(&mut self, path: &mut Vec<i32>, outer: &str, message: &DescriptorProto) {
        let name = match outer {
            "" => message.name().to_owned(),
            outer => format!("{outer}.{}", message.name()),
        };
        let options = message.options.as_ref();
        if options.is_some_and(|options| options.message_set_wire_format()) {
            let place = self.place(path);
            self.found.push(format!("the message set {name}{place}"));
        } else if !message.extension_range.is_empty() {
            // 5 is `extension_range` of a message.
            path.extend([5, 0]);
            let place = self.place(path);
            path.truncate(path.len() - 2);
            self.found.push(format!("the range of {name}{place}"));
        }
        // 6 is `extension` of a message, 3 `nested_type`.
        path.push(6);
        self.extends(path, &message.extension);
        path.pop();
        for (index, nested) in (0..).zip(&message.nested_type) {
            path.extend([3, index]);
            self.message(path, &name, nested);
            path.truncate(path.len() - 2);
        }
    }

    /// The extensions that `path` holds, one entry for each message that they extend.
    fn extends(&mut self, path: &[i32], extensions: &[FieldDescriptorProto]) {
        let mut extended: Vec<(&str, usize, Vec<String>)> = Vec::new();
        for (index, field) in extensions.iter().enumerate() {
            let extendee = field.extendee().trim_start_matches('.');
            let option = extendee.strip_prefix("google.protobuf.");
            if option.is_some_and(|name| OPTIONS.contains(&name)) {
                continue;
            }
            match extended.iter_mut().find(|(of, ..)| *of == extendee) {
                Some((.., names)) => names.push(field.name().to_owned()),
                None => extended.push((extendee, index, vec![field.name().to_owned()])),
            }
        }
        for (extendee, first, names) in extended {
            let mut path = path.to_vec();
            path.extend(i32::try_from(first));
            let place = self.place(&path);
            let own = extendee
                .strip_prefix(self.file.package())
                .and_then(|name| name.strip_prefix('.'));
            self.found.push(format!(
                "{} of {}{place}",
                some(&names, ", "),
                own.unwrap_or(extendee)
            ));
        }
    }

    /// ` (line 7)`, if it is known.
    fn place(&mut self, path: &[i32]) -> String {
        let line = source::line_of_part(self.file, path);
        self.line = self.line.or(line);
        line.map(|line| format!(" (line {line})"))
            .unwrap_or_default()
    }
}
