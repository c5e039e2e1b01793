#!/usr/bin/env bash
# What the compiler says to mistakes in handlers, word for word.
source .ci/lib.sh
source .ci/cargo-test-counts.sh

status=0
cargo test --locked --package protoc-gen-micro --features _compiler-tests --test ui 2>&1 |
  tee "$STEP_DIR/log" || status=$?
cargo_test_counts ui <"$STEP_DIR/log"
if [ "$status" != 0 ]; then
  echo "the texts are those of Rust 1.95, this is $(rustc --version); with another compiler, write them anew:"
  echo "TRYBUILD=overwrite .ci/run ui, and read what changed"
fi
exit "$status"
