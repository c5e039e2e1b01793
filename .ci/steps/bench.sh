#!/usr/bin/env bash
# The benchmarks still run: every comparison once, its numbers not judged.
source .ci/lib.sh

# Optimizing across crates takes minutes, and serves only numbers that count.
export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
  CARGO_PROFILE_RELEASE_DEBUG=0
cargo run --locked --release --manifest-path benches/Cargo.toml -- smoke
