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
