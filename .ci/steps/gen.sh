#!/usr/bin/env bash
# The generated code that is checked in is what the generator writes now.
source .ci/lib.sh

cargo build --locked --package protoc-gen-micro
protoc=$(vendored_protoc)

# fresh FOLDER PROTOS PARAMETERS: the code in FOLDER is that of the protos in PROTOS.
fresh() {
  local out=$STEP_DIR/out
  mkdir "$out"
  (cd "$2" && "$protoc" --plugin="protoc-gen-micro=$target/debug/protoc-gen-micro" \
    --micro_out="$3:$out" -I . ./*.proto)
  # What the micro_out above means for the checked-in code: MICRO_CI_GEN=write writes it anew.
  if [ "${MICRO_CI_GEN:-}" = write ]; then
    rm -rf "$1"
    mkdir "$1"
    cp "$out"/* "$1"
  fi
  diff -r "$1" "$out" ||
    fail "$1 is not what the generator writes; run MICRO_CI_GEN=write .ci/run gen, and look at the difference"
  rm -r "$out"
  count gen 1 0
}

fresh micro-runtime/src/registry/etcd/gen micro-runtime/proto/etcd \
  runtime_path=crate,json=false,bytes=.,include_file=mod.rs,skip_debug=.etcdserverpb.AuthenticateRequest,skip_debug=.etcdserverpb.AuthenticateResponse
