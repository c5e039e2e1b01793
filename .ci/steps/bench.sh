#!/usr/bin/env bash
# The benchmarks still run: every comparison once, its numbers not judged.
source .ci/lib.sh

cargo run --locked --release --manifest-path benches/Cargo.toml -- smoke
