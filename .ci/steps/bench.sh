#!/usr/bin/env bash
# The benchmarks still run: every comparison once, its numbers not judged.
source .ci/lib.sh

[ -f benches/Cargo.toml ] || fail "expected the workspace benches/, found no benches/Cargo.toml"
cargo run --locked --release --manifest-path benches/Cargo.toml -- --smoke
