//! Messages of the plugin protocol, declared as far as we need them.
//!
//! prost-types declares them too, but decodes whole trees: files are kept as bytes here, so that a build
//! script can pass on what protoc wrote with every option in it, known or not. And prost-types 0.14 has
//! neither editions nor `SUPPORTS_EDITIONS`.

use prost::bytes::Bytes;
use prost_types::SourceCodeInfo;

/// `google.protobuf.compiler.CodeGeneratorRequest`, its files still encoded.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct RawRequest {
    /// The files to generate code for, by name.
    #[prost(string, repeated, tag = "1")]
    pub(crate) file_to_generate: Vec<String>,
    /// What the user passed with `--micro_out` and `--micro_opt`.
    #[prost(string, optional, tag = "2")]
    pub(crate) parameter: Option<String>,
    /// Those files and all they import.
    #[prost(bytes = "bytes", repeated, tag = "15")]
    pub(crate) proto_file: Vec<Bytes>,
}

/// `google.protobuf.FileDescriptorSet`, its files still encoded.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct RawFileSet {
    /// The files.
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub(crate) file: Vec<Bytes>,
}

/// What `google.protobuf.FileDescriptorProto` has beyond prost-types' one.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct FileExtra {
    /// The edition, as `google.protobuf.Edition` numbers it; absent under `syntax = "proto2"` and `"proto3"`.
    #[prost(int32, optional, tag = "14")]
    pub(crate) edition: Option<i32>,
}

/// The name of a `google.protobuf.FileDescriptorProto`, whatever else is in it.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct FileName {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
}

/// The comments and positions of a `google.protobuf.FileDescriptorProto`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct FileSource {
    #[prost(message, optional, tag = "9")]
    pub(crate) source_code_info: Option<SourceCodeInfo>,
}

/// `google.protobuf.compiler.CodeGeneratorResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Response {
    /// Why there are no files.
    #[prost(string, optional, tag = "1")]
    pub(crate) error: Option<String>,
    /// What the plugin can do, as a bit mask.
    #[prost(uint64, optional, tag = "2")]
    pub(crate) supported_features: Option<u64>,
    /// With the feature of editions: the first that it can do, as `google.protobuf.Edition` numbers it.
    #[prost(int32, optional, tag = "3")]
    pub(crate) minimum_edition: Option<i32>,
    /// The last one.
    #[prost(int32, optional, tag = "4")]
    pub(crate) maximum_edition: Option<i32>,
    /// The files.
    #[prost(message, repeated, tag = "15")]
    pub(crate) file: Vec<ResponseFile>,
}

/// One file of a [`Response`].
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ResponseFile {
    /// Its path below the output folder, with `/`.
    #[prost(string, optional, tag = "1")]
    pub(crate) name: Option<String>,
    /// Its text.
    #[prost(string, optional, tag = "15")]
    pub(crate) content: Option<String>,
}
