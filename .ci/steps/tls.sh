#!/usr/bin/env bash
# TLS both ways: every kind of certificate in both roles, foreign clients, abuse, new files under open streams.
source .ci/lib.sh
source .ci/cargo-test-counts.sh
need openssl openssl
need curl curl

status=0
cargo test "${with_peers[@]}" --test tls --no-fail-fast 2>&1 |
  tee "$STEP_DIR/log" || status=$?
cargo test --locked --package micro-runtime --features tls --lib --test engine --no-fail-fast -- tls 2>&1 |
  tee -a "$STEP_DIR/log" || status=$?
cargo_test_counts tls <"$STEP_DIR/log"
exit "$status"
