#!/usr/bin/env bash
# The README's first command prints what it promises.
source .ci/lib.sh

readme_command 'cargo run --example hello'
cargo build --locked --example hello

status=0
timeout 60 cargo run --example hello >"$STEP_DIR/out" 2>"$STEP_DIR/err" || status=$?
cat "$STEP_DIR/err" "$STEP_DIR/out"
[ "$status" != 124 ] || fail "cargo run --example hello did not end within 60 s"
[ "$status" = 0 ] || fail "cargo run --example hello ended with exit status $status"
grep -qxF 'Hello World ^_^' "$STEP_DIR/out" ||
  fail 'expected the line "Hello World ^_^" on standard output, found none'
for text in 'Starting [service] hellooo' 'Server [grpc] Listening on ' \
  'Registry [mdns] Registering node: hellooo-'; do
  grep -qF "$text" "$STEP_DIR/err" || fail "expected the log line \"$text…\", found none"
done
