//! Generates Rust code for micro from .proto files.

mod generate;
