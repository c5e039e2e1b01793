# What the suites on real servers share. Sourced after lib.sh.
# shellcheck shell=bash disable=SC2154
source .ci/cargo-test-counts.sh

# on_servers SERVER…: installs them, and tells the suites where they are.
on_servers() {
  command -v go >/dev/null || fail "no go command found; the servers need Go 1.26 or later on PATH"
  export MICRO_SERVERS=$cache/servers
  .ci/servers.sh "$MICRO_SERVERS" "$@"
}

# with_go_peers: the same for the Go programs on the other end.
with_go_peers() {
  export MICRO_PEERS=$cache/peers
  .ci/peers.sh "$MICRO_PEERS"
}

# contracts SUITE --test NAME…: these tests, and the cases that they tell of. MICRO_CI_TESTS has words for them.
contracts() {
  local suite=$1 status=0
  shift
  # With the tests, so that what both need is compiled once.
  cargo build "${with_peers[@]}" --bin micro "$@"
  # shellcheck disable=SC2154
  export MICRO_CLI=$target/debug/micro
  local run=(test "${with_peers[@]}" --no-fail-fast "$@")
  cargo "${run[@]}" --no-run

  # They see the network of the namespace alone, and whatever they start ends with it.
  # shellcheck disable=SC2086
  on_loopback cargo "${run[@]}" --offline -- ${MICRO_CI_TESTS-} --nocapture 2>&1 |
    tee "$STEP_DIR/log" || status=$?
  cargo_test_counts "$suite" <"$STEP_DIR/log"
  echo "cases of the contract, with go-micro and of the command line:"
  sed -nE 's/^([a-z][^:]*: [0-9]+ cases passed, [0-9]+ failed)$/\1/p' "$STEP_DIR/log"
  return "$status"
}

# table SUITE WORDS: the rows of the test SUITE that these words ask for, all if there is none.
table() {
  local suite=$1 words=$2 status=0 held failed
  local run=(test "${with_peers[@]}" --test "$suite")
  cargo "${run[@]}" --no-run

  # Whatever a row leaves running ends with the namespace.
  # shellcheck disable=SC2086
  on_loopback cargo "${run[@]}" --offline -- $words 2>&1 | tee "$STEP_DIR/log" || status=$?
  read -r held failed < <(sed -nE "s/^$suite: ([0-9]+) rows held, ([0-9]+) failed\$/\1 \2/p" "$STEP_DIR/log" |
    tail -n 1) || fail "expected the line \"$suite: N rows held, M failed\", found none"
  count "$suite" "$held" "$failed"
  echo "the table:"
  sed -nE '/^(row )?[a-z][^:]*: .*(held|FAILED), /p' "$STEP_DIR/log"
  return "$status"
}
