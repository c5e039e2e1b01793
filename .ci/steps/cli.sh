#!/usr/bin/env bash
# The README's terminals: service, client and `micro` answer as it shows.
source .ci/lib.sh

awk -v after='As two programs:' -f .ci/readme-block.awk README.md >"$STEP_DIR/console" ||
  fail 'README.md has no code block after "As two programs:"'
# Apart, as they are run: cargo compiles with other features what is built together.
cargo build --locked --example hello-service --example hello-client
cargo build --locked --package micro-cli

cat >"$STEP_DIR/terminals.sh" <<'SH'
set -u
export CARGO_NET_OFFLINE=true
cargo run --quiet --example hello-service 2>"$1/service.log" &
service=$!
for _ in $(seq 200); do
  if grep -q 'Registering node' "$1/service.log" || ! kill -0 $service; then break; fi
  sleep 0.1
done
{
  echo '$ cargo run --example hello-client'
  timeout 30 cargo run --quiet --example hello-client
  # The block's own commands, each followed by what it prints.
  while IFS= read -r line; do
    case $line in
    '$ '*)
      echo "$line"
      eval "timeout 30 ${line#'$ '}" 2>>"$1/errors" || echo "exit status $?"
      ;;
    esac
  done <"$1/console"
} >"$1/found"
kill -TERM $service
wait $service
SH
on_loopback bash "$STEP_DIR/terminals.sh" "$STEP_DIR" || status=$?
cat "$STEP_DIR/service.log" "$STEP_DIR/found"
[ "${status:-0}" = 0 ] || { cat "$STEP_DIR/errors"; fail "hello-service ended with exit status $status"; }
{
  printf '%s\n' '$ cargo run --example hello-client' 'Hello World ^_^'
  cat "$STEP_DIR/console"
} | diff - "$STEP_DIR/found" || { cat "$STEP_DIR/errors"; fail "README.md shows other output (<) than the commands print (>)"; }
count cli "$(grep -c '^\$ ' "$STEP_DIR/found")" 0
