//! Generated code for every name that is hard to keep: that this compiles is the test.
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
