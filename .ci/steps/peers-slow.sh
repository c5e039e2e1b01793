#!/usr/bin/env bash
# The suite with the Go peers five times in a row, and what it expects of them checked between themselves.
export MICRO_CI_ROUNDS=5
source .ci/steps/peers.sh

need openssl openssl
tests/peers/smoke.sh "$MICRO_PEERS" 2>&1 | tee "$STEP_DIR/log"
read -r passed failed < <(sed -nE 's/^smoke: ([0-9]+) passed, ([0-9]+) failed.*/\1 \2/p' "$STEP_DIR/log") ||
  fail 'expected the line "smoke: N passed, M failed", found none'
count peers-between "$passed" "$failed"
