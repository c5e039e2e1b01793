//! Generates Rust code for micro from .proto files: messages, clients and handlers of services.
//!
//! In a build script:
//!
//! ```no_run
//! // build.rs
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     protoc_gen_micro::compile_protos(["proto/hello.proto"], ["proto"])?;
//!     Ok(())
//! }
//! ```
//!
//! As a plugin of protoc or buf, with the program of the same name:
//!
//! ```text
//! protoc --micro_out=src/gen --micro_opt=include_file hello.proto
//! ```
//!
//! | item | what it is |
//! |---|---|
//! | [`compile_protos`], [`Builder`] | for build scripts: run protoc, generate, write |
//! | [`Protoc`] | where protoc comes from; this crate carries one (feature `vendored-protoc`, on by default) |
//! | [`service_generator`] | services alone, for those who call prost-build themselves |
//! | [`generate`] | the generator itself: a request's bytes to files, or to [`Diagnostic`]s |
//! | [`run_plugin`] | the plugin's main function |
//!
//! The code refers to nothing but the runtime crate (`::micro_runtime`), which re-exports what it needs.
//!
//! # What becomes of protobuf
//!
//! All of proto2, proto3, and editions 2023 and 2024. Messages are prost's, and so are their limits:
//!
//! | in a file | in Rust |
//! |---|---|
//! | explicit presence: `optional`, or `features.field_presence = EXPLICIT` | an `Option` |
//! | implicit presence | a plain value, written unless it is the default (-0.0 counts as 0) |
//! | `required`, or `LEGACY_REQUIRED` | a plain value, always written; that it is missing is no error |
//! | a default value | what the getter of an `Option` gives, and what a required field has at first |
//! | `packed`, `repeated_field_encoding` | a `Vec`, written so; either way is read |
//! | groups, `message_encoding = DELIMITED` | a message, written as a group; only a group is read |
//! | enums, open or closed | an `i32` that keeps numbers without a name, and a getter for the enum |
//! | strings, with any `utf8_validation` | a `String`: what is not UTF-8 is an error |
//! | extensions, message sets | nothing: they are skipped like unknown fields, and a warning says which |
//! | fields that the message does not have | nothing: what is read is not written again |
//! | options of others: `ctype`, `lazy`, `weak`, `jstype`, `retention`, and your own | nothing: they change no message |
//! | visibility, naming style, `import option` of edition 2024 | nothing: protoc has seen to them |

mod build_error;
mod builder;
mod descriptor;
mod diagnostic;
mod generate;
mod options;
mod parameters;
mod plugin;
mod protoc;

pub use build_error::BuildError;
pub use builder::{Builder, Report, compile_protos, service_generator};
pub use diagnostic::{Diagnostic, Error};
pub use generate::{Generated, GeneratedFile, generate};
pub use plugin::run_plugin;
pub use protoc::Protoc;
