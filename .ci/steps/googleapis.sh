#!/usr/bin/env bash
# A dozen packages of Google's interfaces, with names that break generators, compile without a warning.
source .ci/googleapis.sh

cargo build --locked --package protoc-gen-micro

# An rpc called like a constructor, a oneof called like an enum beside it (three times), and what all of these import.
(
  cd "$googleapis"
  find google/firebase/fcm/connection google/chat/v1 google/storage/control/v2 google/cloud/storageinsights/v1 \
    -name '*.proto'
) | googleapis_imports >"$STEP_DIR/files"
googleapis_crate "$target/debug/protoc-gen-micro" <"$STEP_DIR/files"
packages=$(googleapis_packages)
[ "$packages" -ge 12 ] || fail "expected a dozen packages at least, found $packages"

CARGO_TARGET_DIR=$target cargo check --quiet --manifest-path "$STEP_DIR/crate/Cargo.toml" 2>&1 | tee "$STEP_DIR/log"
warnings=$(grep -c '^warning' "$STEP_DIR/log" || true)
[ "$warnings" = 0 ] || fail "expected no warning, found $warnings"
echo "$(wc -l <"$STEP_DIR/files") files, $packages packages, $(cat "$STEP_DIR"/crate/src/*.rs | wc -c) bytes, 0 warnings"
count googleapis "$packages" 0
