//! Descriptors for use at run time: without what only compilers read.
//!
//! Options of source retention are among that. protoc takes them out of the files that code is wanted for, and leaves
//! them in what those import; buf leaves them everywhere. The one that nearly everybody meets are the
//! declarations of extensions in `google/protobuf/descriptor.proto`: without them, all ways give the same bytes.

use prost::bytes::Bytes;

/// `google.protobuf.FileDescriptorProto` without its `source_code_info`, most of its parts still encoded.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct FileWithoutSource {
    #[prost(string, optional, tag = "1")]
    name: Option<String>,
    #[prost(string, optional, tag = "2")]
    package: Option<String>,
    #[prost(string, repeated, tag = "3")]
    dependency: Vec<String>,
    #[prost(message, repeated, tag = "4")]
    message_type: Vec<Message>,
    #[prost(bytes = "bytes", repeated, tag = "5")]
    enum_type: Vec<Bytes>,
    #[prost(bytes = "bytes", repeated, tag = "6")]
    service: Vec<Bytes>,
    #[prost(bytes = "bytes", repeated, tag = "7")]
    extension: Vec<Bytes>,
    #[prost(bytes = "bytes", optional, tag = "8")]
    options: Option<Bytes>,
    #[prost(int32, repeated, packed = "false", tag = "10")]
    public_dependency: Vec<i32>,
    #[prost(int32, repeated, packed = "false", tag = "11")]
    weak_dependency: Vec<i32>,
    #[prost(string, optional, tag = "12")]
    syntax: Option<String>,
    #[prost(int32, optional, tag = "14")]
    edition: Option<i32>,
    #[prost(string, repeated, tag = "15")]
    option_dependency: Vec<String>,
}

/// `google.protobuf.DescriptorProto`.
#[derive(Clone, PartialEq, prost::Message)]
struct Message {
    #[prost(string, optional, tag = "1")]
    name: Option<String>,
    #[prost(bytes = "bytes", repeated, tag = "2")]
    field: Vec<Bytes>,
    #[prost(message, repeated, tag = "3")]
    nested_type: Vec<Message>,
    #[prost(bytes = "bytes", repeated, tag = "4")]
    enum_type: Vec<Bytes>,
    #[prost(message, repeated, tag = "5")]
    extension_range: Vec<ExtensionRange>,
    #[prost(bytes = "bytes", repeated, tag = "6")]
    extension: Vec<Bytes>,
    #[prost(bytes = "bytes", optional, tag = "7")]
    options: Option<Bytes>,
    #[prost(bytes = "bytes", repeated, tag = "8")]
    oneof_decl: Vec<Bytes>,
    #[prost(bytes = "bytes", repeated, tag = "9")]
    reserved_range: Vec<Bytes>,
    #[prost(string, repeated, tag = "10")]
    reserved_name: Vec<String>,
    #[prost(int32, optional, tag = "11")]
    visibility: Option<i32>,
}

/// `google.protobuf.DescriptorProto.ExtensionRange`, without its options.
#[derive(Clone, Copy, PartialEq, prost::Message)]
struct ExtensionRange {
    #[prost(int32, optional, tag = "1")]
    start: Option<i32>,
    #[prost(int32, optional, tag = "2")]
    end: Option<i32>,
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use prost_types::descriptor_proto::{ExtensionRange, ReservedRange};
    use prost_types::{
        DescriptorProto, EnumDescriptorProto, ExtensionRangeOptions, FieldDescriptorProto,
        FileDescriptorProto, MessageOptions, OneofDescriptorProto, SourceCodeInfo,
        UninterpretedOption,
    };

    use super::*;

    #[test]
    fn all_else_is_kept() {
        let range = |options| ExtensionRange {
            start: Some(100),
            end: Some(200),
            options,
        };
        let message = |options: Option<ExtensionRangeOptions>| DescriptorProto {
            name: Some("M".into()),
            field: vec![FieldDescriptorProto::default()],
            nested_type: vec![DescriptorProto {
                extension_range: vec![range(options.clone())],
                ..DescriptorProto::default()
            }],
            enum_type: vec![EnumDescriptorProto::default()],
            extension_range: vec![range(options)],
            extension: vec![FieldDescriptorProto::default()],
            options: Some(MessageOptions::default()),
            oneof_decl: vec![OneofDescriptorProto::default()],
            reserved_range: vec![ReservedRange::default()],
            reserved_name: vec!["old".into()],
        };
        let file = |options, source_code_info| FileDescriptorProto {
            name: Some("a.proto".into()),
            message_type: vec![message(options)],
            source_code_info,
            ..FileDescriptorProto::default()
        };
        let options = ExtensionRangeOptions {
            uninterpreted_option: vec![UninterpretedOption::default()],
        };
        let full = file(Some(options), Some(SourceCodeInfo::default())).encode_to_vec();
        let slim = FileWithoutSource::decode(full.as_slice())
            .unwrap()
            .encode_to_vec();
        assert_eq!(
            FileDescriptorProto::decode(slim.as_slice()),
            Ok(file(None, None))
        );
    }
}
