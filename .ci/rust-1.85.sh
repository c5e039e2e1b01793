# Rust 1.85.0, the first with edition 2024, as a compiler to measure against. It is
# Debian 12's, unpacked into the cache beside its standard library's sources;
# nothing is installed.
# Sourced after lib.sh.
# shellcheck shell=bash disable=SC2154

# What the crates use that is younger than Rust 1.85, and the version that made it
# stable. 1.85 knows each as an unstable feature under that name, which is how the
# youngest of them can be found out with an older compiler: the crates compile on
# 1.85 with these, hence on the highest version named here without.
readonly younger=(
  "integer_sign_cast 1.87"
  "let_chains 1.88"
  "slice_as_chunks 1.88"
  "unsigned_is_multiple_of 1.87"
)

rust_185=$cache/rust-1.85.0

# Unpacks the toolchain unless that is done.
unpack_rust_185() {
  [ ! -e "$rust_185/complete" ] || return 0
  [ "$(dpkg --print-architecture 2>&1)" = amd64 ] ||
    fail "Rust 1.85.0 comes from Debian 12's packages for amd64; this is not such a system"
  rm -rf "$rust_185"
  mkdir -p "$rust_185/debs/partial"
  retry as_root apt-get -q update
  local version
  version=$(apt-cache madison rustc-web | awk '$3 ~ /^1\.85\.0[+]/ { print $3; exit }')
  [ -n "$version" ] || fail "apt-get offers no rustc-web 1.85.0, as Debian 12 does"
  # What of the dependencies is installed already is not downloaded.
  retry apt-get -qy --no-install-recommends --download-only --allow-downgrades \
    -o Debug::NoLocking=1 -o APT::Sandbox::User= -o "Dir::Cache::archives=$rust_185/debs" install \
    "rustc-web=$version" "cargo-web=$version" "libstd-rust-web-dev=$version" "rust-web-src=$version"
  local deb
  for deb in "$rust_185"/debs/*.deb; do dpkg -x "$deb" "$rust_185/root"; done
  rm -rf "$rust_185/debs"
  touch "$rust_185/complete"
}

# cargo_185 FEATURES ARGUMENTS…: runs cargo 1.85 with the space-separated unstable
# features allowed to the workspace's crates, and to no dependency. Cargo builds
# again what another list of features has built, since the wrapper's name differs.
cargo_185() {
  local features=$1 flags=' -Awarnings' # those of the current compiler count
  shift
  local wrappers=$target/rust-1.85/wrappers feature
  for feature in $features; do flags+=" '-Zcrate-attr=feature($feature)'"; done
  mkdir -p "$wrappers"
  local wrapper="$wrappers/with-${features// /-}"
  printf '#!/bin/sh\nRUSTC_BOOTSTRAP=1 exec "$@"%s\n' "$flags" >"$wrapper"
  # Cargo passes -Z flags of its own when it builds a standard library.
  printf '#!/bin/sh\ncase " $* " in *" -Z"*) export RUSTC_BOOTSTRAP=1 ;; esac\nexec "$@"\n' \
    >"$wrappers/any"
  chmod +x "$wrapper" "$wrappers/any"
  local lib=usr/lib/x86_64-linux-gnu bin=$rust_185/root/usr/bin
  LD_LIBRARY_PATH="$rust_185/root/$lib:$rust_185/root/${lib#usr/}" \
    RUSTC="$bin/rustc" RUSTDOC="$bin/rustdoc" RUSTC_WRAPPER="$wrappers/any" \
    RUSTC_WORKSPACE_WRAPPER="$wrapper" CARGO_TARGET_DIR="$target/rust-1.85" \
    "$bin/cargo" "$@"
}

# younger_features [EXCEPT]: the names in `younger`, on one line.
younger_features() {
  local entry names=
  for entry in "${younger[@]}"; do
    [ "${entry% *}" = "${1-}" ] || names+=" ${entry% *}"
  done
  echo "${names# }"
}

# The crates that users build, as cargo's arguments; with the back-ends whose libraries
# are as old. hickory-resolver needs Rust 1.88, async-nats 1.89.
# shellcheck disable=SC2034
published=(--package micro-runtime --package protoc-gen-micro --package micro-cli
  --no-default-features --features "protoc-gen-micro/default,micro-runtime/default
  micro-runtime/serde,micro-runtime/consul,micro-runtime/etcd,micro-runtime/zookeeper")
