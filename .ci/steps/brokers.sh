#!/usr/bin/env bash
# Every broker against its real server, and with go-micro v2.9.1 and v5.30.0 on the same one.
source .ci/lib.sh
source .ci/cargo-test-counts.sh
command -v go >/dev/null || fail "no go command found; servers and peers need Go 1.26 or later on PATH"

export MICRO_SERVERS=$cache/servers MICRO_PEERS=$cache/peers
read -ra servers <<<"${MICRO_CI_SERVERS:-nats rabbitmq kafka redis consul}"
.ci/servers.sh "$MICRO_SERVERS" "${servers[@]}"
.ci/peers.sh "$MICRO_PEERS"

tests=(--test 'broker_*')
# With the tests, so that what both need is compiled once.
cargo build "${with_peers[@]}" --bin micro "${tests[@]}"
export MICRO_CLI=$target/debug/micro
suite=(test "${with_peers[@]}" --no-fail-fast "${tests[@]}")
cargo "${suite[@]}" --no-run

# They see the network of the namespace alone, and whatever they start ends with it.
status=0
on_loopback cargo "${suite[@]}" --offline -- ${MICRO_CI_TESTS-} --nocapture 2>&1 |
  tee "$STEP_DIR/log" || status=$?
cargo_test_counts brokers <"$STEP_DIR/log"
echo "cases of the contract, with go-micro and of the command line:"
sed -nE 's/^([a-z][^:]*: [0-9]+ cases passed, [0-9]+ failed)$/\1/p' "$STEP_DIR/log"
exit "$status"
