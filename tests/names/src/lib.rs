//! Generated code for every name that is hard to keep: that this compiles is the test.
//!
//! `proto` holds a file for each kind of name, and all are generated in one run. `refused` holds what cannot be kept,
//! with the answers.

#![deny(
    warnings,
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    rust_2018_idioms,
    clippy::all,
    clippy::pedantic
)]

micro_runtime::include_proto!();

/// What the generator said of these files, a line each.
pub const WARNINGS: &str = include_str!(concat!(env!("OUT_DIR"), "/warnings.txt"));

/// 600 messages and 600 rpcs in one file.
pub mod big {
    #![allow(missing_docs)]
    include!(concat!(env!("OUT_DIR"), "/big/big.rs"));
}
