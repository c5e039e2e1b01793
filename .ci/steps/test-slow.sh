#!/usr/bin/env bash
# All tests with 5000 cases per property, then four times more in release mode, ignored ones too.
source .ci/lib.sh
source .ci/cargo-test-counts.sh

status=0
run() {
  local suite=$1
  shift
  "$@" 2>&1 | tee "$STEP_DIR/log" || status=$?
  cargo_test_counts "$suite" <"$STEP_DIR/log"
}

PROPTEST_CASES=5000 run properties cargo test --locked --workspace --no-fail-fast --all-targets
# Other timings show other races; optimizing across crates would only cost time.
export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
# The JSON mapping against another implementation: a million texts and messages.
PROPTEST_CASES=350000 run json-differential cargo test --locked --package micro-tests --release \
  --test json_differential -- --nocapture
# The client against failing nodes and registries: fifty times the seeds of a landing.
MICRO_SIM_SEEDS=50000 run simulation cargo test --locked --package micro-runtime --release --lib simulation
for _ in 1 2 3 4; do
  run release cargo test --locked --workspace --no-fail-fast --release --all-targets -- --include-ignored
done
exit "$status"
