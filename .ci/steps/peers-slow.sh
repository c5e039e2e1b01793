#!/usr/bin/env bash
# The suite with the Go peers, five times in a row.
export MICRO_CI_ROUNDS=5
source .ci/steps/peers.sh
