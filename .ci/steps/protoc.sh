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
# two files in one, proto3 and both editions, comments, and rules of google.api.http
# from an import that no code is wanted for. buf's strategy "directory" runs the
# plugin once a directory.
cd "$STEP_DIR"
mkdir -p proto/acme/{money/v1,order/v1,stock/v1,stock/v2} apis
cp "$root/proto/hello.proto" proto/
cp -r "$root/proto/google" apis/
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
import "google/api/annotations.proto";
// Takes orders.
//
//     not_a_doctest();
service Orders {
  // Places an order.
  rpc Place(Order) returns (Order) {
    option (google.api.http) = {
      post: "/v1/orders"
      body: "*"
      additional_bindings { put: "/v1/orders/{id}" body: "*" }
    };
  }
  rpc Watch(Order) returns (stream Order);
  rpc Import(stream Order) returns (Order);
  rpc Sync(stream Order) returns (stream Order);
}
PROTO
cat >proto/acme/stock/v1/stock.proto <<'PROTO'
edition = "2023";
package acme.stock.v1;
import "acme/money/v1/money.proto";
option features.field_presence = IMPLICIT;
// What is there.
message Stock {
  // How many.
  int32 count = 1;
  int32 wanted = 2 [features.field_presence = EXPLICIT, deprecated = true];
  repeated int32 shelves = 3 [features.repeated_field_encoding = EXPANDED];
  acme.money.v1.Money value = 4 [features.message_encoding = DELIMITED];
  Kind kind = 5 [features.field_presence = EXPLICIT];
}
enum Kind {
  option features.enum_type = CLOSED;
  KIND_SMALL = 1;
}
PROTO
cat >proto/acme/stock/v2/stock.proto <<'PROTO'
edition = "2024";
package acme.stock.v2;
import "acme/stock/v1/stock.proto";
export message House {
  map<string, acme.stock.v1.Stock> stocks = 1;
  House below = 2 [features.message_encoding = DELIMITED];
  Door door = 3;
  local message Door { int32 width = 1 [default = 80]; }
}
PROTO
mapfile -t protos < <(cd proto && find . -name '*.proto' | sed 's,^\./,,' | LC_ALL=C sort)

# By the library, as a build.rs does.
mkdir -p library library-all builder/src
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
    let mut arguments = std::env::args().skip(1);
    let out = arguments.next().unwrap_or_default();
    let everything = arguments.next().as_deref() == Some("everything");
    let mut builder = protoc_gen_micro::Builder::new()
        .files(arguments)
        .includes(["proto", "apis"])
        .out_dir(out)
        .emit_rerun(false);
    if everything {
        builder = builder
            .nested_layout(true)
            .include_file("all.rs")
            .file_descriptor_set(true)
            .btree_map([".acme.order"])
            .extern_path(".google.api", "::google_api")
            .type_attribute(".acme.money.v1.Money", "#[derive(PartialOrd, Ord)]");
    }
    builder.compile()?;
    Ok(())
}
RUST
cp "$root/Cargo.lock" builder/
library() {
  CARGO_TARGET_DIR=$target cargo run --quiet --manifest-path builder/Cargo.toml -- "$@"
}
library library plain "${protos[@]}"
library library-all everything "${protos[@]}"

# By protoc and by buf, found on PATH as README.md tells; its buf.gen.yaml is used.
mkdir bin
ln -s "$plugin" "$protoc" bin/
export PATH=$PWD/bin:$buf_bin:$PATH
mkdir protoc protoc-all
protoc --micro_out=include_file=mod.rs:protoc -I proto -I apis "${protos[@]}"
everything=(layout=nested include_file=all.rs file_descriptor_set btree_map=.acme.order
  'extern_path=.google.api=::google_api'
  'type_attribute=.acme.money.v1.Money=#[derive(PartialOrd\, Ord)]')
protoc --micro_out=protoc-all "${everything[@]/#/--micro_opt=}" -I proto -I apis "${protos[@]}"

# `apis` is part of the workspace, but no input: its files are only imported.
printf 'version: v2\nmodules:\n  - path: proto\n  - path: apis\n' >buf.yaml
awk -v after='or `buf generate` with' -f "$root/.ci/readme-block.awk" "$root/README.md" >all.yaml ||
  fail "README.md has no code block after \"or \`buf generate\` with\""
# One run per directory cannot write the file that includes all packages.
sed '/opt:/d; s/strategy: all/strategy: directory/' all.yaml >directory.yaml
for strategy in all directory; do
  buf generate --template "$strategy.yaml" proto
  mv src/gen "buf-$strategy"
done
cat all.yaml directory.yaml
{
  printf 'version: v2\nplugins:\n  - local: protoc-gen-micro\n    out: buf-everything\n    strategy: all\n    opt:\n'
  printf "      - '%s'\n" "${everything[@]}"
} >everything.yaml
buf generate --template everything.yaml proto
# With the imports: their packages are generated too, and no other is changed.
sed 's/strategy: all/&\n    include_imports: true/; s,out: .*,out: buf-imports,' all.yaml >imports.yaml
buf generate --template imports.yaml proto

grep -q 'HttpRule::new("PUT", "/v1/orders/{id}").body("\*")' library/acme.order.v1.rs ||
  fail "expected the rules of google.api.http in library/acme.order.v1.rs, found none"
grep -q 'Places an order' library/acme.order.v1.rs || fail "expected comments in library/acme.order.v1.rs, found none"
ls library
find library-all -type f
mv library/_micro.rs library/mod.rs
cp -r library packages
rm packages/mod.rs
# buf writes the fields of a message-valued option in another order, so that the
# bytes of that one package's descriptors differ, though not what they mean.
cp -r library-all library-buf
sed -i '/^pub const FILE_DESCRIPTOR_SET/d' {library-buf,buf-everything}/acme/order/v1/acme.order.v1.rs
[ -f buf-imports/google.api.rs ] || fail "buf's include_imports did not generate google.api"
rm buf-imports/google.api.rs buf-imports/mod.rs
for pair in library:protoc library:buf-all packages:buf-directory packages:buf-imports \
  library-all:protoc-all library-buf:buf-everything; do
  diff -r "${pair%:*}" "${pair#*:}" | cut -c 1-200 || fail "${pair%:*} and ${pair#*:} differ"
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
