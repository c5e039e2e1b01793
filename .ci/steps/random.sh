#!/usr/bin/env bash
# Random protos with hard names: whatever is generated for them compiles.
source .ci/lib.sh
source .ci/cargo-test-counts.sh

status=0
for seed in 1 "$(date +%j)"; do
  MICRO_RANDOM_REQUESTS=${MICRO_RANDOM_REQUESTS:-400} MICRO_RANDOM_SEED=$seed \
    cargo test --locked --package protoc-gen-micro --features _compiler-tests --test random_compile -- --nocapture 2>&1 |
    tee "$STEP_DIR/log" || status=$?
  cargo_test_counts random <"$STEP_DIR/log"
done
exit "$status"
