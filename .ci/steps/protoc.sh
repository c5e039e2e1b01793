#!/usr/bin/env bash
# The plugin under protoc and under buf writes what build.rs gets from the library.
source .ci/lib.sh
need npm npm

cargo build --locked --package protoc-gen-micro
plugin=$target/debug/protoc-gen-micro
protoc=$(vendored_protoc)

buf_version=1.75.0
buf_bin=$cache/buf-$buf_version/node_modules/.bin
if ! "$buf_bin/buf" --version >/dev/null 2>&1; then
  retry npm install --no-fund --no-audit --prefix "$cache/buf-$buf_version" "@bufbuild/buf@$buf_version"
fi

# Five packages in five directories, one of them none at all; imports across them,
# two files in one, and two of editions. buf's strategy "directory" runs the plugin
# once a directory.
cd "$STEP_DIR"
mkdir -p proto/acme/{money/v1,order/v1,stock/v1,stock/v2}
cp "$root/proto/hello.proto" proto/
cat >proto/acme/money/v1/money.proto <<'PROTO'
syntax = "proto3";
package acme.money.v1;
// An amount in the smallest unit of its currency.
message Money { string currency = 1; int64 units = 2; }
PROTO
cat >proto/acme/order/v1/order.proto <<'PROTO'
syntax = "proto3";
package acme.order.v1;
import "acme/money/v1/money.proto";
import "google/protobuf/timestamp.proto";
message Order {
  string id = 1;
  acme.money.v1.Money total = 2;
  google.protobuf.Timestamp at = 3;
  map<string, uint32> lines = 4;
}
PROTO
cat >proto/acme/order/v1/service.proto <<'PROTO'
syntax = "proto3";
package acme.order.v1;
import "acme/order/v1/order.proto";
service Orders {
  rpc Place(Order) returns (Order);
  rpc Watch(Order) returns (stream Order);
  rpc Import(stream Order) returns (Order);
  rpc Sync(stream Order) returns (stream Order);
}
PROTO
cat >proto/acme/stock/v1/stock.proto <<'PROTO'
edition = "2023";
package acme.stock.v1;
import "acme/money/v1/money.proto";
option features.message_encoding = DELIMITED;
message Shelf {
  Shelf below = 1;
  repeated acme.money.v1.Money prices = 2;
  int32 count = 3 [features.field_presence = IMPLICIT];
  string name = 4 [features.field_presence = LEGACY_REQUIRED];
}
PROTO
cat >proto/acme/stock/v2/stock.proto <<'PROTO'
edition = "2024";
package acme.stock.v2;
import "acme/stock/v1/stock.proto";
export message House {
  map<string, acme.stock.v1.Shelf> shelves = 1;
  Door door = 2;
  local message Door { int32 width = 1 [default = 80]; }
}
PROTO
mapfile -t protos < <(cd proto && find . -name '*.proto' | sed 's,^\./,,' | LC_ALL=C sort)

# By the library, as a build.rs does.
mkdir -p library builder/src
cat >builder/Cargo.toml <<TOML
[package]
name = "builder"
version = "0.0.0"
edition = "2024"
[dependencies]
protoc-gen-micro = { path = "$root/protoc-gen-micro" }
[workspace]
TOML
cat >builder/src/main.rs <<'RUST'
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut protos = std::env::args().skip(1).collect::<Vec<_>>();
    let out = protos.remove(0);
    let protos = protos.iter().map(|file| format!("proto/{file}"));
    protoc_gen_micro::Builder::new()
        .files(protos)
        .includes(["proto"])
        .out_dir(out)
        .emit_rerun(false)
        .compile()?;
    Ok(())
}
RUST
cp "$root/Cargo.lock" builder/
CARGO_TARGET_DIR=$target cargo run --quiet --manifest-path builder/Cargo.toml -- library "${protos[@]}"

# By protoc and by buf, found on PATH as README.md tells; its buf.gen.yaml is used.
mkdir bin
ln -s "$plugin" "$protoc" bin/
export PATH=$PWD/bin:$buf_bin:$PATH
mkdir protoc
protoc --micro_out=include_file=mod.rs:protoc -I proto "${protos[@]}"

printf 'version: v2\nmodules:\n  - path: proto\n' >buf.yaml
awk -v after='or `buf generate` with' -f "$root/.ci/readme-block.awk" "$root/README.md" >all.yaml ||
  fail "README.md has no code block after \"or \`buf generate\` with\""
# One run per directory cannot write the file that includes all packages.
sed '/opt:/d; s/strategy: all/strategy: directory/' all.yaml >directory.yaml
for strategy in all directory; do
  buf generate --template "$strategy.yaml"
  mv src/gen "buf-$strategy"
done
cat all.yaml directory.yaml

ls library
mv library/_micro.rs library/mod.rs
cp -r library packages
rm packages/mod.rs
for pair in library:protoc library:buf-all packages:buf-directory; do
  diff -r "${pair%:*}" "${pair#*:}" || fail "${pair%:*} and ${pair#*:} differ"
  count protoc 1 0
done

# Misuse by hand and by buf's users ends in a message, not in a panic.
protoc-gen-micro --version | grep -q '^protoc-gen-micro '
for bad in "nonsense" "layout=sideways"; do
  if buf generate --template "{version: v2, plugins: [{local: protoc-gen-micro, out: x, opt: $bad}]}" 2>err; then
    fail "buf generate accepted the parameter $bad"
  fi
  if ! grep -qF "${bad%=*}" err || grep -q 'panicked\|RUST_BACKTRACE' err; then
    cat err
    fail "expected an error that names the parameter $bad"
  fi
  count protoc 1 0
done
