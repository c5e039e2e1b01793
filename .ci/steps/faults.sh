#!/usr/bin/env bash
# The fault table: fleets of real processes, under load, while nodes and registries die, hang and crawl.
source .ci/lib.sh
command -v go >/dev/null || fail "no go command found; the servers need Go 1.26 or later on PATH"

export MICRO_SERVERS=$cache/servers
.ci/servers.sh "$MICRO_SERVERS" consul etcd zookeeper nats

suite=(test "${with_peers[@]}" --test faults)
cargo "${suite[@]}" --no-run

# Whatever a row leaves running ends with the namespace.
status=0
# shellcheck disable=SC2086
on_loopback cargo "${suite[@]}" --offline -- ${MICRO_CI_FAULTS-} 2>&1 | tee "$STEP_DIR/log" || status=$?
read -r held failed < <(sed -nE 's/^faults: ([0-9]+) rows held, ([0-9]+) failed$/\1 \2/p' "$STEP_DIR/log" |
  tail -n 1) || fail 'expected the line "faults: N rows held, M failed", found none'
count faults "$held" "$failed"
echo "the table:"
sed -n 's/^row [^:]*: /&/p' "$STEP_DIR/log"
exit "$status"
