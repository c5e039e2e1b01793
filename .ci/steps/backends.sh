#!/usr/bin/env bash
# The runtime's own tests with every back-end and TLS built in.
source .ci/lib.sh

status=0
cargo test --locked --package micro-runtime --all-features --lib --tests --no-fail-fast 2>&1 |
  tee "$STEP_DIR/log" || status=$?
source .ci/cargo-test-counts.sh
cargo_test_counts backends <"$STEP_DIR/log"
exit "$status"
