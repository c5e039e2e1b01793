#!/usr/bin/env bash
# The published crates compile for Windows.
source .ci/lib.sh
source .ci/rust-1.85.sh
unpack_rust_185

# No package has the standard library for Windows: cargo builds it from its sources.
# The msvc target needs no linker or import libraries for that. Cargo 1.85 takes -Z
# flags only if it is told that it is a nightly one.
export __CARGO_TEST_CHANNEL_OVERRIDE_DO_NOT_USE_THIS=nightly
cargo_185 "$(younger_features)" check --locked --ignore-rust-version "${published[@]}" \
  -Z build-std=std,panic_abort,panic_unwind,proc_macro --target x86_64-pc-windows-msvc
