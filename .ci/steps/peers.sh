#!/usr/bin/env bash
# Calls both ways with go-micro v2.9.1, go-micro v5.30.0 and grpc-go, over mDNS, in plain text and over TLS.
source .ci/lib.sh
command -v go >/dev/null ||
  fail "no go command found; the peers need Go 1.26 or later on PATH"

export MICRO_PEERS=$cache/peers
.ci/peers.sh "$MICRO_PEERS"

suite=(test "${with_peers[@]}" --test peers)
cargo "${suite[@]}" --no-run

# The suite sees the network of the namespace alone, so cargo must not ask for one.
for ((round = 1; round <= ${MICRO_CI_ROUNDS:-1}; round++)); do
  status=0
  on_loopback cargo "${suite[@]}" --offline -- --nocapture 2>&1 | tee "$STEP_DIR/log" || status=$?
  read -r passed failed < <(sed -nE 's/^peers: ([0-9]+) cases passed, ([0-9]+) failed.*/\1 \2/p' \
    "$STEP_DIR/log" | tail -n 1) || fail 'expected the line "peers: N cases passed, M failed", found none'
  count peers "$passed" "$failed"
  [ "$passed" -gt 0 ] || fail "no case ran"
  [ "$status" = 0 ] || fail "the suite ended with exit status $status in round $round"
  [ "$failed" = 0 ] || fail "$failed cases failed in round $round"
done
