//! Files that are not UTF-8.
//!
//! protoc takes any bytes in a comment and in a string of proto2, and passes them on. A `String` of Rust cannot have
//! them, so that a file with a comment in Latin-1 could not even be decoded: here its texts are made UTF-8.

use prost::bytes::{Buf, Bytes};
use prost::encoding::{decode_varint, encode_varint};
use prost_types::FileDescriptorProto;
use prost_types::field_descriptor_proto::Type;

use super::graph::each_message;
use super::source;
use crate::diagnostic::Diagnostic;

/// What stands in the place of bytes that are no text.
const REPLACEMENT: char = char::REPLACEMENT_CHARACTER;

/// How deep messages of a descriptor are: protoc stops at 32, each of which is one.
const DEPTH: usize = 100;

/// A field of a descriptor that holds text, or something with text inside.
enum Field {
    /// A `string`.
    Text(u64),
    /// A message with such fields.
    Holder(u64, &'static [Field]),
}

use Field::{Holder, Text};

/// `google.protobuf.FileDescriptorProto`.
static FILE: [Field; 11] = [
    Text(1),
    Text(2),
    Text(3),
    Holder(4, &MESSAGE),
    Holder(5, &ENUM),
    Holder(6, &SERVICE),
    Holder(7, &FIELD),
    Holder(8, &FILE_OPTIONS),
    Holder(9, &SOURCE_INFO),
    Text(12),
    Text(15),
];

/// `google.protobuf.DescriptorProto`.
static MESSAGE: [Field; 7] = [
    Text(1),
    Holder(2, &FIELD),
    Holder(3, &MESSAGE),
    Holder(4, &ENUM),
    Holder(6, &FIELD),
    Holder(8, &[Text(1)]),
    Text(10),
];

/// `google.protobuf.FieldDescriptorProto`.
static FIELD: [Field; 5] = [Text(1), Text(2), Text(6), Text(7), Text(10)];

/// `google.protobuf.EnumDescriptorProto`.
static ENUM: [Field; 3] = [Text(1), Holder(2, &[Text(1)]), Text(5)];

/// `google.protobuf.ServiceDescriptorProto`.
static SERVICE: [Field; 2] = [Text(1), Holder(2, &[Text(1), Text(2), Text(3)])];

/// `google.protobuf.FileOptions`.
static FILE_OPTIONS: [Field; 10] = [
    Text(1),
    Text(8),
    Text(11),
    Text(36),
    Text(37),
    Text(39),
    Text(40),
    Text(41),
    Text(44),
    Text(45),
];

/// `google.protobuf.SourceCodeInfo`.
static SOURCE_INFO: [Field; 1] = [Holder(1, &[Text(3), Text(4), Text(6)])];

/// An encoded file descriptor with U+FFFD in the place of what is not UTF-8; none if it is malformed.
pub(super) fn replace(file: &Bytes) -> Option<Bytes> {
    let mut clean = Vec::with_capacity(file.len());
    copy(file.clone(), &FILE, DEPTH, &mut clean)?;
    Some(Bytes::from(clean))
}

fn copy(mut message: Bytes, fields: &[Field], depth: usize, out: &mut Vec<u8>) -> Option<()> {
    let depth = depth.checked_sub(1)?;
    while message.has_remaining() {
        let key = decode_varint(&mut message).ok()?;
        encode_varint(key, out);
        let length = match key & 7 {
            0 => {
                encode_varint(decode_varint(&mut message).ok()?, out);
                continue;
            }
            1 => 8,
            5 => 4,
            2 => usize::try_from(decode_varint(&mut message).ok()?).ok()?,
            _ => return None,
        };
        if length > message.remaining() {
            return None;
        }
        let value = message.split_to(length);
        if key & 7 != 2 {
            out.extend_from_slice(&value);
            continue;
        }
        let known = fields.iter().find(|field| match field {
            Text(number) | Holder(number, _) => *number == key >> 3,
        });
        let value = match known {
            None => value,
            Some(Text(_)) => Bytes::from(String::from_utf8_lossy(&value).into_owned()),
            Some(Holder(_, fields)) => {
                let mut inner = Vec::with_capacity(value.len());
                copy(value, fields, depth, &mut inner)?;
                Bytes::from(inner)
            }
        };
        encode_varint(u64::try_from(value.len()).ok()?, out);
        out.extend_from_slice(&value);
    }
    Some(())
}

/// What was replaced in a file, as far as it can be seen in generated code: one warning for its comments, and one
/// for each default value.
pub(super) fn warnings(file: &FileDescriptorProto) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let locations = file.source_code_info.iter().flat_map(|info| &info.location);
    let comment = locations.into_iter().find(|location| {
        let comments = [&location.leading_comments, &location.trailing_comments];
        let mut comments = comments
            .into_iter()
            .flatten()
            .chain(&location.leading_detached_comments);
        comments.any(|comment| comment.contains(REPLACEMENT))
    });
    if let Some(location) = comment {
        found.push(Diagnostic::at(
            file.name(),
            source::line(file, &location.path),
            "a comment here is not UTF-8; save the file as UTF-8 to keep its letters",
        ));
    }
    each_message(file, &mut |_, path, message| {
        for (index, field) in (0..).zip(&message.field) {
            if field.r#type() != Type::String || !field.default_value().contains(REPLACEMENT) {
                continue;
            }
            let mut at = path.to_vec();
            at.extend([2, index]);
            found.push(Diagnostic::at(
                file.name(),
                source::line(file, &at),
                format!(
                    "the default value of field \"{}\" is not UTF-8, which a string has to be here; it is {:?} in \
                     place of it",
                    field.name(),
                    field.default_value()
                ),
            ));
        }
    });
    found
}
