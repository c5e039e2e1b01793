//! Files of an edition, said in proto3: prost-build 0.14 panics on anything else.
//!
//! All that editions can say about a message has a form in descriptors of proto2 and proto3, and prost-build takes
//! these forms in one file: `optional` for explicit presence, `required`, groups, and `packed`.

use prost::Message;
use prost::bytes::Bytes;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorProto};

use super::features::{
    Edition, FeatureSet, Features, FieldPresence, FileFeatures, MessageEncoding, MessageFeatures,
    RepeatedFieldEncoding, UnknownFeature,
};
use super::source;
use crate::diagnostic::Diagnostic;

/// Brings a file of an edition into the form of proto3; `raw` is the same file, encoded.
///
/// # Errors
/// If `raw` is no file descriptor. Findings, if it says something that this generator does not know, are added to
/// `findings`.
pub(crate) fn lower(
    file: &mut FileDescriptorProto,
    edition: Edition,
    raw: Bytes,
    findings: &mut Vec<Diagnostic>,
) -> Result<(), prost::DecodeError> {
    let said = FileFeatures::decode(raw)?;
    let mut lowering = Lowering {
        path: Vec::new(),
        unknown: Vec::new(),
    };
    // 8 is `options` of a file, 50 its `features`.
    let features = lowering.inherit(edition.defaults(), said.set(), [8, 50]);
    let package = file.package.clone();
    for (index, (message, said)) in (0..).zip(file.message_type.iter_mut().zip(&said.message_type))
    {
        let full = full_name(package.as_deref(), message.name());
        lowering.path.extend([4, index]);
        lowering.message(&full, message, said, features);
        lowering.path.clear();
    }
    file.syntax = Some("proto3".to_owned());
    findings.extend(lowering.unknown.into_iter().map(|(path, feature)| {
        Diagnostic::at(
            file.name(),
            source::line_of_part(file, &path),
            format!(
                "features.{} is set to the number {}, which protoc-gen-micro {} does not know; use a newer version",
                feature.name,
                feature.value,
                env!("CARGO_PKG_VERSION")
            ),
        )
    }));
    Ok(())
}

struct Lowering {
    /// Where we are, as `SourceCodeInfo` has it.
    path: Vec<i32>,
    /// What nobody knows, and where.
    unknown: Vec<(Vec<i32>, UnknownFeature)>,
}

// ===== impl Lowering =====

impl Lowering {
    /// What holds for the part at `self.path`; `at` is the path of the features below it.
    fn inherit(&mut self, outer: Features, said: Option<FeatureSet>, at: [i32; 2]) -> Features {
        match outer.inherit(said) {
            Ok(features) => features,
            Err(feature) => {
                let mut path = self.path.clone();
                path.extend(at);
                path.push(feature.field);
                self.unknown.push((path, feature));
                outer
            }
        }
    }

    fn message(
        &mut self,
        full: &str,
        message: &mut DescriptorProto,
        said: &MessageFeatures,
        outer: Features,
    ) {
        // 7 is `options` of a message, 12 its `features`.
        let features = self.inherit(outer, said.set(), [7, 12]);
        if is_map_entry(message) {
            // A map's entry is what it always was: its value has a length before it, whatever is said around it.
            return;
        }
        let oneofs: Vec<Features> = (0..)
            .zip(&said.oneof_decl)
            .map(|(index, oneof)| {
                self.path.extend([8, index]);
                // 2 is `options` of a oneof, 1 its `features`.
                let features = self.inherit(features, oneof.set(), [2, 1]);
                self.path.truncate(self.path.len() - 2);
                features
            })
            .collect();
        let maps: Vec<String> = message
            .nested_type
            .iter()
            .filter(|nested| is_map_entry(nested))
            .map(|nested| format!(".{full}.{}", nested.name()))
            .collect();
        for (index, (field, said)) in (0..).zip(message.field.iter_mut().zip(&said.field)) {
            let oneof = field
                .oneof_index
                .and_then(|index| oneofs.get(usize::try_from(index).ok()?));
            self.path.extend([2, index]);
            // 8 is `options` of a field, 21 its `features`.
            let features = self.inherit(*oneof.unwrap_or(&features), said.set(), [8, 21]);
            self.path.truncate(self.path.len() - 2);
            let is_map = maps.iter().any(|entry| entry == field.type_name());
            lower_field(field, features, is_map);
        }
        for (index, (nested, said)) in
            (0..).zip(message.nested_type.iter_mut().zip(&said.nested_type))
        {
            let full = format!("{full}.{}", nested.name());
            self.path.extend([3, index]);
            self.message(&full, nested, said, features);
            self.path.truncate(self.path.len() - 2);
        }
    }
}

fn lower_field(field: &mut FieldDescriptorProto, features: Features, is_map: bool) {
    if field.r#type() == Type::Message
        && features.message_encoding == MessageEncoding::Delimited
        && !is_map
    {
        field.set_type(Type::Group);
    }
    if field.label() == Label::Repeated {
        if is_packable(field) {
            let packed = features.repeated_field_encoding == RepeatedFieldEncoding::Packed;
            field.options.get_or_insert_default().packed = Some(packed);
        }
    } else if field.oneof_index.is_none() {
        match features.field_presence {
            FieldPresence::LegacyRequired => field.set_label(Label::Required),
            // A message is an `Option` as it is.
            FieldPresence::Explicit if field.r#type() != Type::Message => {
                field.proto3_optional = Some(true)
            }
            // Groups cannot be plain.
            FieldPresence::Implicit if field.r#type() == Type::Group => {
                field.proto3_optional = Some(true)
            }
            FieldPresence::Explicit | FieldPresence::Implicit => {}
        }
    }
}

fn is_map_entry(message: &DescriptorProto) -> bool {
    let options = message.options.as_ref();
    options.is_some_and(|options| options.map_entry())
}

/// The name of a type at a file's level, without a leading dot.
fn full_name(package: Option<&str>, name: &str) -> String {
    match package {
        Some(package) => format!("{package}.{name}"),
        None => name.to_owned(),
    }
}

/// Whether several values of a field can stand behind one tag.
pub(super) fn is_packable(field: &FieldDescriptorProto) -> bool {
    !matches!(
        field.r#type(),
        Type::String | Type::Bytes | Type::Message | Type::Group
    )
}
