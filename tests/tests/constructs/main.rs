//! Every construct that protoc takes, in `proto/constructs`: all of it compiles without a warning, and reads and
//! writes what another implementation does.
//!
//! - `vectors`: messages of proto2, proto3 and editions 2023 and 2024, as protobuf and as JSON.
//! - `defaults`: what fields have that are not set.
//! - `shapes`: what a feature makes of a field in Rust.
//! - `ways`: messages that hold others in very many ways.

#![deny(warnings)]

mod proto {
    include!(concat!(env!("OUT_DIR"), "/constructs/mod.rs"));
}

mod defaults;
mod shapes;
mod vectors;
mod ways;
