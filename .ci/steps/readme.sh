#!/usr/bin/env bash
# A crate made of the README's code, outside the repository, builds, starts and answers.
source .ci/lib.sh

# Each code block of README.md whose first line is a comment that names a file
# ("// src/main.rs", "# Cargo.toml") is that file; several of one name follow each
# other in it.
crate=$STEP_DIR/first
mkdir "$crate"
awk -v dir="$crate" '
  /^ *```/ { inside = !inside; file = ""; first = inside; next }
  inside && first {
    first = 0
    if ($0 ~ /^ *(\/\/|#) [A-Za-z0-9_.\/-]+\.(rs|toml|proto)$/ && $2 !~ /\.\./) {
      file = $2
      directory = dir "/" file
      sub(/\/[^\/]*$/, "", directory)
      system("mkdir -p \"" directory "\"")
      next
    }
  }
  inside && file { print >(dir "/" file) }' README.md

for file in Cargo.toml build.rs src/main.rs; do
  [ -f "$crate/$file" ] || fail "README.md has no code block whose first line is a comment that names $file"
done
client=$(cd "$crate" && find src/bin -name '*client*.rs' 2>/dev/null | head -n 1)
[ -n "$client" ] || fail "README.md has no code block whose first line names the client, src/bin/client.rs"
client=$(basename "$client" .rs)
(cd "$crate" && find . -type f | LC_ALL=C sort | xargs wc -l)

# A path in its Cargo.toml means a clone beside it; a version means these crates too.
ln -s "$root" "$STEP_DIR/micro"
cp Cargo.lock "$crate/"
cd "$crate"
cargo=(cargo)
for package in micro-runtime protoc-gen-micro; do
  grep -q "^$package *=.*path" Cargo.toml ||
    cargo+=(--config "patch.crates-io.$package.path='$root/$package'")
done
allowed='^(micro-runtime|protoc-gen-micro|tokio)$'
others=$("${cargo[@]}" tree --quiet --depth 1 --prefix none | awk 'NR > 1 && $1 !~ /^\[/ { print $1 }' |
  grep -vE "$allowed" || true)
[ -z "$others" ] || fail "a first crate needs micro-runtime, tokio and protoc-gen-micro alone, README.md adds:" $others
export CARGO_TARGET_DIR=$target
# The service's binary has the name of the package.
service=$(sed -nE 's/^name *= *"(.*)".*/\1/p' Cargo.toml | head -n 1)
"${cargo[@]}" build --bins 2>&1 | tee "$STEP_DIR/log"
! grep -q "^warning: .$service. " "$STEP_DIR/log" || fail "the README's code compiles with warnings"

cat >"$STEP_DIR/both.sh" <<'SH'
set -u
"$1" 2>service.log &
service=$!
trap 'kill -9 $service 2>/dev/null' EXIT
for _ in $(seq 200); do
  if grep -q 'Registering node' service.log; then break; fi
  if ! kill -0 $service 2>/dev/null; then break; fi
  sleep 0.1
done
timeout 30 "$2" >client.out 2>client.log
status=$?
kill -TERM $service
timeout 20 tail --pid=$service -f /dev/null || { echo "the service did not end within 20 s of SIGTERM"; status=1; }
wait $service || { echo "the service ended with exit status $? after SIGTERM"; status=1; }
tail -n +1 service.log client.log client.out
exit $status
SH
on_loopback bash "$STEP_DIR/both.sh" "$CARGO_TARGET_DIR/debug/$service" "$CARGO_TARGET_DIR/debug/$client" ||
  fail "the service and the client of README.md did not end well"
grep -qxF 'Hello World ^_^' client.out || fail 'expected "Hello World ^_^" from the client, found none'
count readme 1 0
