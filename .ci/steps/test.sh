#!/usr/bin/env bash
# The README's second command: every test that needs no other program.
source .ci/lib.sh

readme_command 'cargo test --workspace'

status=0
cargo test --workspace --no-fail-fast 2>&1 | tee "$STEP_DIR/log" || status=$?
source .ci/cargo-test-counts.sh
cargo_test_counts test <"$STEP_DIR/log"
exit "$status"
