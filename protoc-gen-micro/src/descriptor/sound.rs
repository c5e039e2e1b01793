//! Checks of field numbers, default values and enums. protoc has made them all; a request may come from another
//! tool, and prost-derive would say in the user's build that it cannot go on.

use std::collections::{HashMap, HashSet};

use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto};

use super::graph::each_message;
use super::request::File;
use crate::diagnostic::Diagnostic;

/// The largest field number of protobuf: 29 bits, beside the three of the wire type.
const LAST_NUMBER: i32 = (1 << 29) - 1;

/// The names of each enum's values, by the enum's full name with a leading dot.
type EnumValues<'f> = HashMap<String, HashSet<&'f str>>;

/// Finds what no code can be generated for.
pub(super) fn check(files: &[File]) -> Vec<Diagnostic> {
    let mut findings = Vec::new();
    let mut defaults = Vec::new();
    for file in files {
        let mut find = |path: &[i32], text: String| {
            findings.push(Diagnostic::at(file.proto.name(), file.line(path), text));
        };
        for (index, item) in (0..).zip(&file.proto.enum_type) {
            check_enum(&[5, index], item, &mut find);
        }
        each_message(&file.proto, &mut |_, path, message| {
            for (index, item) in (0..).zip(&message.enum_type) {
                check_enum(&below(path, 4, index), item, &mut find);
            }
            check_numbers(path, message, &mut find);
            for (index, field) in (0..).zip(&message.field) {
                if field.default_value.is_some() {
                    defaults.push((file, below(path, 2, index), field));
                }
            }
        });
    }
    if defaults.is_empty() {
        return findings;
    }
    let enums = enum_values(files);
    for (file, path, field) in defaults {
        if let Some(expected) = wrong_default(field, &enums) {
            findings.push(Diagnostic::at(
                file.proto.name(),
                file.line(&path),
                format!(
                    "field \"{}\" has the default value {:?}, expected {expected}",
                    field.name(),
                    field.default_value()
                ),
            ));
        }
    }
    findings
}

/// A path of `SourceCodeInfo` with one more step.
fn below(path: &[i32], field: i32, index: i32) -> Vec<i32> {
    let mut path = path.to_vec();
    path.extend([field, index]);
    path
}

fn check_enum(path: &[i32], item: &EnumDescriptorProto, find: &mut impl FnMut(&[i32], String)) {
    if item.value.is_empty() {
        find(
            path,
            format!("enum \"{}\" has no values; it needs one", item.name()),
        );
    }
}

fn check_numbers(path: &[i32], message: &DescriptorProto, find: &mut impl FnMut(&[i32], String)) {
    let mut numbers = HashSet::with_capacity(message.field.len());
    for (index, field) in (0..).zip(&message.field) {
        let number = field.number();
        if !(1..=LAST_NUMBER).contains(&number) {
            let text = format!(
                "field \"{}\" has the number {number}, expected one from 1 to {LAST_NUMBER}",
                field.name()
            );
            find(&below(path, 2, index), text);
        } else if !numbers.insert(number) {
            let text = format!(
                "field \"{}\" has the number {number} of another field; give it one of its own",
                field.name()
            );
            find(&below(path, 2, index), text);
        }
    }
}

fn enum_values(files: &[File]) -> EnumValues<'_> {
    let mut found = EnumValues::new();
    for file in files {
        let prefix = match file.proto.package() {
            "" => String::new(),
            package => format!(".{package}"),
        };
        add_enums(&mut found, &prefix, &file.proto.enum_type);
        each_message(&file.proto, &mut |full, _, message| {
            add_enums(&mut found, full, &message.enum_type);
        });
    }
    found
}

fn add_enums<'f>(found: &mut EnumValues<'f>, prefix: &str, items: &'f [EnumDescriptorProto]) {
    for item in items {
        let names = item.value.iter().map(|value| value.name());
        found.insert(format!("{prefix}.{}", item.name()), names.collect());
    }
}

/// What a field's default value should have been; none if it is all right.
fn wrong_default(field: &FieldDescriptorProto, enums: &EnumValues<'_>) -> Option<String> {
    let value = field.default_value();
    let of_type = |right: bool, expected: &str| (!right).then(|| expected.to_owned());
    if field.label() == Label::Repeated {
        return Some("none: it is repeated".to_owned());
    }
    match field.r#type() {
        Type::Int32 | Type::Sint32 | Type::Sfixed32 => {
            of_type(plain(value) && value.parse::<i32>().is_ok(), "an int32")
        }
        Type::Int64 | Type::Sint64 | Type::Sfixed64 => {
            of_type(plain(value) && value.parse::<i64>().is_ok(), "an int64")
        }
        Type::Uint32 | Type::Fixed32 => {
            of_type(plain(value) && value.parse::<u32>().is_ok(), "a uint32")
        }
        Type::Uint64 | Type::Fixed64 => {
            of_type(plain(value) && value.parse::<u64>().is_ok(), "a uint64")
        }
        Type::Float | Type::Double => of_type(
            matches!(value, "inf" | "-inf" | "nan")
                || (plain(value) && value.parse::<f64>().is_ok_and(f64::is_finite)),
            "a number, inf, -inf or nan",
        ),
        Type::Bool => of_type(matches!(value, "true" | "false"), "true or false"),
        Type::Bytes => of_type(unescapes(value), "bytes with the escapes of C"),
        Type::Enum => {
            let known = enums.get(field.type_name());
            of_type(
                known.is_none_or(|names| names.contains(value)),
                "a name of the enum",
            )
        }
        Type::String => None,
        Type::Message | Type::Group => Some("none: it is a message".to_owned()),
    }
}

/// Whether a number begins and ends with a digit, but for a minus sign.
fn plain(value: &str) -> bool {
    let digits = value.strip_prefix('-').unwrap_or(value);
    digits.starts_with(|first: char| first.is_ascii_digit())
        && digits.ends_with(|last: char| last.is_ascii_digit())
}

/// Whether prost-build can read the escapes.
fn unescapes(value: &str) -> bool {
    let mut bytes = value.bytes().peekable();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            continue;
        }
        match bytes.next() {
            Some(b'a' | b'b' | b'f' | b'n' | b'r' | b't' | b'v' | b'\\' | b'?' | b'\'' | b'"') => {}
            Some(first @ b'0'..=b'7') => {
                let mut octal = u32::from(first - b'0');
                for _ in 0..2 {
                    if let Some(digit) = bytes.next_if(|digit| (b'0'..=b'7').contains(digit)) {
                        octal = octal * 8 + u32::from(digit - b'0');
                    }
                }
                if octal > 0xff {
                    return false;
                }
            }
            Some(b'x' | b'X') => {
                let mut digit = || bytes.next_if(u8::is_ascii_hexdigit).is_some();
                if !(digit() && digit()) {
                    return false;
                }
            }
            _ => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(kind: Type, value: &str) -> bool {
        let field = FieldDescriptorProto {
            label: Some(Label::Optional.into()),
            r#type: Some(kind.into()),
            type_name: Some(".p.E".into()),
            default_value: Some(value.into()),
            ..FieldDescriptorProto::default()
        };
        let values = HashSet::from(["A"]);
        wrong_default(&field, &EnumValues::from([(".p.E".into(), values)])).is_some()
    }

    #[test]
    fn default_values_as_protoc_writes_them() {
        let right = [
            (Type::Int32, &["0", "-1", "2147483647", "-2147483648"][..]),
            (Type::Uint64, &["18446744073709551615"]),
            (
                Type::Float,
                &["0.1", "-1.5e-07", "1e+10", "inf", "-inf", "nan"],
            ),
            (Type::Double, &["-0", "1.7976931348623157e+308"]),
            (Type::Bool, &["true", "false"]),
            (Type::String, &["", "\u{0}", "\\"]),
            (
                Type::Bytes,
                &["", "a", r"\000\377\n\\\'\?", r"\xff", r"\0a"],
            ),
            (Type::Enum, &["A"]),
        ];
        for (kind, values) in right {
            for value in values {
                assert!(!wrong(kind, value), "{kind:?} {value}");
            }
        }
        let not = [
            (
                Type::Int32,
                &["", "+1", " 1", "1.0", "2147483648", "0x1", "1_0"][..],
            ),
            (Type::Uint32, &["-1", "-0"]),
            (
                Type::Float,
                &["", "NaN", "infinity", ".5", "5.", "1e999", "-nan"],
            ),
            (Type::Bool, &["", "True", "1"]),
            (Type::Bytes, &["\\", r"\400", r"\x1", r"\u0041", r"\8"]),
            (Type::Enum, &["", "B", "a"]),
            (Type::Message, &[""]),
        ];
        for (kind, values) in not {
            for value in values {
                assert!(wrong(kind, value), "{kind:?} {value}");
            }
        }
    }
}
