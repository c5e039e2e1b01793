#!/usr/bin/env bash
# A crate made of the README's code, outside the repository, builds, starts and answers.
source .ci/lib.sh

block() {
  awk -v after="$1" -f .ci/readme-block.awk README.md ||
    fail "README.md has no code block after \"$1\""
}

commands=$(block '## A first service of your own')
for file in proto/hello.proto build.rs src/main.rs src/bin/client.rs; do
  mkdir -p "$STEP_DIR/files/$(dirname "$file")"
  block "\`$file\`" >"$STEP_DIR/files/$file"
done

# Its commands are run as they are, but for the path that it asks for until the
# crates are published.
cd "$STEP_DIR"
cargo() {
  local arguments=("$@")
  case " $* " in
  " add "*"micro-runtime "*) arguments+=(--path "$root/micro-runtime") ;;
  " add "*"protoc-gen-micro "*) arguments+=(--path "$root/protoc-gen-micro") ;;
  esac
  command cargo "${arguments[@]}"
}
eval "$commands"
unset -f cargo
[ "$PWD" != "$STEP_DIR" ] || fail "the commands of README.md made no crate, or did not enter it"
cp -r "$STEP_DIR/files/." .
# The versions that everything else here is checked with.
cp "$root/Cargo.lock" .
cat Cargo.toml

export CARGO_TARGET_DIR=$target
service=$(basename "$PWD")
cargo build --bins 2>&1 | tee "$STEP_DIR/log"
! grep -q "^warning: .$service. " "$STEP_DIR/log" || fail "the code of README.md compiles with warnings"

cat >"$STEP_DIR/both.sh" <<'SH'
set -u
"$1" 2>service.log &
service=$!
for _ in $(seq 200); do
  if grep -q 'Registering node' service.log || ! kill -0 $service; then break; fi
  sleep 0.1
done
timeout 30 "$2" >client.out 2>client.log
status=$?
kill -TERM $service
timeout 20 tail --pid=$service -f /dev/null || { echo "the service did not end within 20 s of SIGTERM"; kill -9 $service; }
wait $service || { status=$?; echo "the service ended with exit status $status"; }
tail -n +1 service.log client.log client.out
exit $status
SH
on_loopback bash "$STEP_DIR/both.sh" "$target/debug/$service" "$target/debug/client" ||
  fail "the service or the client of README.md did not end well"
grep -qxF 'Hello World ^_^' client.out || fail 'expected "Hello World ^_^" from the client, found none'
