#!/usr/bin/env bash
# A user's workspace: messages, stubs, clients and servers in crates of their own call each other.
source .ci/lib.sh
source .ci/cargo-test-counts.sh

cp -r .ci/layouts "$STEP_DIR/shop"
# The crate `own` calls prost-build, which knows no protoc but this one.
PROTOC=$(vendored_protoc)
export PROTOC CARGO_TARGET_DIR=$target

# The build script of the crate `stubs` is the one that README.md shows.
# shellcheck disable=SC2016
after='A crate `messages` sets'
{
  echo '//! As README.md shows it.'
  awk -v after="$after" -f .ci/readme-block.awk README.md || fail "README.md has no code block after \"$after\""
} >"$STEP_DIR/shop/stubs/build.rs"
cp -r proto/google "$STEP_DIR/shop/proto/"

cd "$STEP_DIR/shop"
grep -rlF @root@ . | xargs sed -i "s,@root@,$root,"
cp "$root/Cargo.lock" .
status=0
cargo test --workspace 2>&1 | tee "$STEP_DIR/log" || status=$?
cargo_test_counts layouts <"$STEP_DIR/log"
grep -q '^test result: ok\. [1-9]' "$STEP_DIR/log" || fail "no test ran"
! grep '^warning: ' "$STEP_DIR/log" || fail "a build script or a crate of it warns"
[ "$status" = 0 ] || fail "cargo test ended with exit status $status"

# cargo runs a build script again when a file that it read changes, be it only
# imported, or when PROTOC does; and not otherwise.
rebuilt() {
  cargo build --verbose --package stubs 2>&1 | tee "$STEP_DIR/log" >&2
  if grep -q 'Running.*stubs.*/build-script-build' "$STEP_DIR/log"; then echo yes; else echo no; fi
}
expect() {
  local found
  found=$(rebuilt)
  [ "$found" = "$1" ] || fail "expected the build script of stubs to run again $2: $1, found $found"
  count layouts/rerun 1 0
}
rebuilt >/dev/null
expect no 'when nothing has changed'
echo '// Changed.' >>proto/shop/money/v1/money.proto
expect yes 'when an imported file has changed'
ln -s "$PROTOC" protoc
PROTOC=$PWD/protoc expect yes 'when PROTOC has changed'
