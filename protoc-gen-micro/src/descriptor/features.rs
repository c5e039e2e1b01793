//! Features of editions: what a file says, and what holds for each of its parts.
//!
//! Only the features that change the bytes of a message or the fields of a Rust type are here. The others
//! change nothing in this generator: `utf8_validation` (a `String` is UTF-8, whatever the file says), `enum_type`
//! (an enum field keeps numbers that it does not know, as an open enum does), `json_format` (JSON is written and
//! read for every message), `enforce_naming_style` and `default_symbol_visibility` (protoc has seen to them), and
//! the features of other languages.

use prost::Message;

/// `google.protobuf.Edition`: the editions that this generator reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Edition {
    /// `edition = "2023"`.
    Edition2023 = 1000,
    /// `edition = "2024"`. It differs from 2023 in what protoc checks, not in what it means for messages.
    Edition2024 = 1001,
}

/// `google.protobuf.Edition.EDITION_PROTO2`: the first that there is, and what `minimum_edition` announces.
pub(crate) const MINIMUM_EDITION: i32 = 998;

/// The last one that this generator reads, for `maximum_edition`.
pub(crate) const MAXIMUM_EDITION: i32 = Edition::Edition2024 as i32;

/// Whether a field that is not repeated knows that it was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FieldPresence {
    /// It does: an `Option`.
    Explicit = 1,
    /// It does not: a plain value.
    Implicit = 2,
    /// It is always written, and was to be set: a plain value.
    LegacyRequired = 3,
}

/// How a repeated scalar is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RepeatedFieldEncoding {
    /// All values behind one tag.
    Packed = 1,
    /// Each value behind a tag.
    Expanded = 2,
}

/// How a field of a message type is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MessageEncoding {
    /// Behind its length.
    LengthPrefixed = 1,
    /// Between two tags, as a group of proto2.
    Delimited = 2,
}

/// The features that hold for one part of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Features {
    pub(crate) field_presence: FieldPresence,
    pub(crate) repeated_field_encoding: RepeatedFieldEncoding,
    pub(crate) message_encoding: MessageEncoding,
}

/// A feature with a number that protobuf has not given a meaning, as far as this generator knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UnknownFeature {
    /// The feature's name.
    pub(crate) name: &'static str,
    /// The feature's number in `google.protobuf.FeatureSet`.
    pub(crate) field: i32,
    /// What it is set to.
    pub(crate) value: i32,
}

/// `google.protobuf.FeatureSet`: the features that one part of a file sets.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct FeatureSet {
    #[prost(int32, optional, tag = "1")]
    field_presence: Option<i32>,
    #[prost(int32, optional, tag = "3")]
    repeated_field_encoding: Option<i32>,
    #[prost(int32, optional, tag = "5")]
    message_encoding: Option<i32>,
}

// Descriptors as far as features are concerned: prost-types 0.14 has no `features`.

/// `google.protobuf.FileDescriptorProto`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct FileFeatures {
    #[prost(message, repeated, tag = "4")]
    pub(crate) message_type: Vec<MessageFeatures>,
    #[prost(message, optional, tag = "8")]
    options: Option<FileOptions>,
}

/// `google.protobuf.FileOptions`.
#[derive(Clone, Copy, PartialEq, Message)]
struct FileOptions {
    #[prost(message, optional, tag = "50")]
    features: Option<FeatureSet>,
}

/// `google.protobuf.DescriptorProto`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct MessageFeatures {
    #[prost(message, repeated, tag = "2")]
    pub(crate) field: Vec<FieldFeatures>,
    #[prost(message, repeated, tag = "3")]
    pub(crate) nested_type: Vec<MessageFeatures>,
    #[prost(message, optional, tag = "7")]
    options: Option<MessageOptions>,
    #[prost(message, repeated, tag = "8")]
    pub(crate) oneof_decl: Vec<OneofFeatures>,
}

/// `google.protobuf.MessageOptions`.
#[derive(Clone, Copy, PartialEq, Message)]
struct MessageOptions {
    #[prost(message, optional, tag = "12")]
    features: Option<FeatureSet>,
}

/// `google.protobuf.FieldDescriptorProto`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct FieldFeatures {
    #[prost(message, optional, tag = "8")]
    options: Option<FieldOptions>,
}

/// `google.protobuf.FieldOptions`.
#[derive(Clone, Copy, PartialEq, Message)]
struct FieldOptions {
    #[prost(message, optional, tag = "21")]
    features: Option<FeatureSet>,
}

/// `google.protobuf.OneofDescriptorProto`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct OneofFeatures {
    #[prost(message, optional, tag = "2")]
    options: Option<OneofOptions>,
}

/// `google.protobuf.OneofOptions`.
#[derive(Clone, Copy, PartialEq, Message)]
struct OneofOptions {
    #[prost(message, optional, tag = "1")]
    features: Option<FeatureSet>,
}

// ===== impl Edition =====

impl Edition {
    /// The edition of this number, if this generator reads it.
    pub(crate) fn from_number(number: i32) -> Option<Edition> {
        [Edition::Edition2023, Edition::Edition2024]
            .into_iter()
            .find(|edition| *edition as i32 == number)
    }

    /// What holds where a file says nothing, by `edition_defaults` in descriptor.proto.
    pub(crate) fn defaults(self) -> Features {
        match self {
            Edition::Edition2023 | Edition::Edition2024 => Features {
                field_presence: FieldPresence::Explicit,
                repeated_field_encoding: RepeatedFieldEncoding::Packed,
                message_encoding: MessageEncoding::LengthPrefixed,
            },
        }
    }
}

// ===== impl Features =====

impl Features {
    /// What holds for a part that sets these features, inside of one for which `self` holds.
    ///
    /// # Errors
    /// The first one that is set to a number without a meaning.
    pub(crate) fn inherit(self, set: Option<FeatureSet>) -> Result<Features, UnknownFeature> {
        let set = set.unwrap_or_default();
        let field_presence = match set.field_presence {
            None => self.field_presence,
            Some(1) => FieldPresence::Explicit,
            Some(2) => FieldPresence::Implicit,
            Some(3) => FieldPresence::LegacyRequired,
            Some(value) => return Err(UnknownFeature::new("field_presence", 1, value)),
        };
        let repeated_field_encoding = match set.repeated_field_encoding {
            None => self.repeated_field_encoding,
            Some(1) => RepeatedFieldEncoding::Packed,
            Some(2) => RepeatedFieldEncoding::Expanded,
            Some(value) => return Err(UnknownFeature::new("repeated_field_encoding", 3, value)),
        };
        let message_encoding = match set.message_encoding {
            None => self.message_encoding,
            Some(1) => MessageEncoding::LengthPrefixed,
            Some(2) => MessageEncoding::Delimited,
            Some(value) => return Err(UnknownFeature::new("message_encoding", 5, value)),
        };
        Ok(Features {
            field_presence,
            repeated_field_encoding,
            message_encoding,
        })
    }
}

impl UnknownFeature {
    fn new(name: &'static str, field: i32, value: i32) -> UnknownFeature {
        UnknownFeature { name, field, value }
    }
}

// ===== impl FileFeatures =====

impl FileFeatures {
    /// What the file sets.
    pub(crate) fn set(&self) -> Option<FeatureSet> {
        self.options?.features
    }
}

impl MessageFeatures {
    /// What the message sets.
    pub(crate) fn set(&self) -> Option<FeatureSet> {
        self.options?.features
    }
}

impl FieldFeatures {
    /// What the field sets.
    pub(crate) fn set(&self) -> Option<FeatureSet> {
        self.options?.features
    }
}

impl OneofFeatures {
    /// What the oneof sets.
    pub(crate) fn set(&self) -> Option<FeatureSet> {
        self.options?.features
    }
}
