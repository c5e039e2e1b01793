#!/usr/bin/env bash
# No C code in a default build, no crate twice in the runtime, only licences that may be mixed with ours.
source .ci/lib.sh
need jq jq

# 1. The two commands need a Rust toolchain and a linker, no C compiler: nothing
#    that any member's default build or test uses, on any platform, builds or binds
#    C. linux-raw-sys and windows-sys are declarations in Rust, js-sys is for the web,
#    jni-sys for Android; the others bind what every macOS has, its trust store and its
#    DNS settings.
c=$(cargo tree --locked --workspace --edges all --target all --prefix none |
  awk '{print $1}' | sort -u |
  grep -E '^(cc|cmake|bindgen|pkg-config|vcpkg)$|-sys$' |
  grep -vxE 'linux-raw-sys|windows-sys|js-sys|web-sys|jni-sys|(core-foundation|security-framework|system-configuration)-sys' ||
  true)
[ -z "$c" ] || fail "these dependencies of the default features build or bind C:" $c

# 2. One version of each crate that is linked into a program with everything of the
#    runtime that does not need another's client (derive macros and build scripts are
#    not). Those clients bring older versions of what the others use: the list of these
#    is to stay as it is, or to become shorter.
linked_twice() {
  cargo tree --locked --package micro-runtime "$@" --edges normal,no-proc-macro \
    --target all --prefix none --duplicates --depth 0 | awk 'NF { print $1 }' | sort -u
}
twice=$(linked_twice --features serde,consul,etcd)
[ -z "$twice" ] || fail "micro-runtime links more than one version of:" $twice
known='base64 core-foundation cpufeatures getrandom rand rand_core windows-sys'
twice=$(linked_twice --all-features | grep -vxF "${known// /$'\n'}" || true)
[ -z "$twice" ] || fail "micro-runtime with all features links more than one version of:" $twice

# 3. Of each dependency's licence, every part that must be kept is one of these.
forbidden=$(cargo metadata --locked --all-features --format-version 1 | jq -r '
  ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause",
   "BSL-1.0", "ISC", "Zlib", "0BSD", "Unlicense", "CC0-1.0", "Unicode-3.0",
   "CDLA-Permissive-2.0"] as $allowed
  | .packages[] | select(.source != null)
  | (.license // "none stated") as $licence
  | select([$licence | gsub("[()]"; "") | gsub(" */ *"; " OR ") | split(" AND ")[]
            | [split(" OR ")[] | IN($allowed[])] | any] | all | not)
  | "\(.name) \(.version): \($licence)"')
[ -z "$forbidden" ] || fail "a licence that is not on the list: $forbidden"
count deps 3 0
