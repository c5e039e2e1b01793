#!/usr/bin/env bash
# The kill test: producers, consumers and brokers are killed, and nothing acknowledged is lost.
source .ci/lib.sh
command -v go >/dev/null || fail "no go command found; the servers need Go 1.26 or later on PATH"

export MICRO_SERVERS=$cache/servers
.ci/servers.sh "$MICRO_SERVERS" nats rabbitmq kafka redis

suite=(test "${with_peers[@]}" --test kills)
cargo "${suite[@]}" --no-run

# Whatever a row leaves running ends with the namespace.
status=0
# shellcheck disable=SC2086
on_loopback cargo "${suite[@]}" --offline -- ${MICRO_CI_KILLS-} 2>&1 | tee "$STEP_DIR/log" || status=$?
read -r held failed < <(sed -nE 's/^kills: ([0-9]+) rows held, ([0-9]+) failed$/\1 \2/p' "$STEP_DIR/log" |
  tail -n 1) || fail 'expected the line "kills: N rows held, M failed", found none'
count kills "$held" "$failed"
exit "$status"
