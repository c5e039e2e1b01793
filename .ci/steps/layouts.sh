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

# What the compiler says of mistakes in a handler names them, and what to write.
cp server/src/lib.rs handler.rs
mistake() { # NAME, a sed script that makes it, and lines that are expected
  local name=$1 line
  sed "$2" handler.rs >server/src/lib.rs
  cat >>server/src/lib.rs <<'RUST'

/// Registers one.
pub fn register(server: &micro_runtime::Server) -> std::result::Result<(), micro_runtime::Error> {
    pb::register_orders_handler(server, Shop)
}
RUST
  shift 2
  if cargo check --package server 2>"$STEP_DIR/log"; then
    fail "the compiler took the handler with the mistake: $name"
  fi
  for line in "$@"; do
    grep -qF "$line" "$STEP_DIR/log" || { cat "$STEP_DIR/log"; fail "$name: expected the compiler to say: $line"; }
  done
  count layouts/mistakes 1 0
}
unset PROTOC
mistake 'no handler at all' 's/impl OrdersHandler for Shop {/impl Shop {/' \
  '`Shop` is no handler of the service `shop.v1.Orders`' '`OrdersHandler` is not implemented for `Shop`' \
  'async fn price(&self, ctx: Context, req: Order) -> Result<::messages::shop::money::v1::Money>' \
  'async fn echo(&self, ctx: Context, requests: Inbound<Order>, responses: Outbound<Order>) -> Result<()>'
mistake 'a function is missing' '/async fn count/,/^    }/d' 'not all trait items implemented, missing: `count`'
mistake 'the wrong kind of stream' 's/mut requests: Inbound<Order>) -> Result<Counted>/mut requests: Outbound<Order>) -> Result<Counted>/' \
  'method `count` has an incompatible type for trait' 'change the parameter type to match the trait'
mistake 'the wrong message' 's/order: Order) -> Result<Money>/order: Counted) -> Result<Money>/' 'method `price` has an incompatible type for trait'
