# What the steps share. Sourced first by each; leaves it in the repository's root.
#
# A step is started by .ci/run with STEP_COUNTS, the file that `count` writes to,
# and STEP_DIR, an empty directory that is removed after it.
# shellcheck shell=bash
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
: "${STEP_COUNTS:?is set by .ci/run; start a step as: .ci/run STEP}" "${STEP_DIR:?}"

# Debug information and incremental state are never looked at here, and cost a
# third of the build.
export CARGO_PROFILE_DEV_DEBUG=0 CARGO_INCREMENTAL=0 CARGO_TERM_COLOR=never
export CARGO_NET_RETRY=5 DEBIAN_FRONTEND=noninteractive

# shellcheck disable=SC2034
target=${CARGO_TARGET_DIR:-$root/target}
# Tools that are built or unpacked once and outlive target/.
cache=${MICRO_CI_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/micro-ci}
mkdir -p "$cache"

# count SUITE PASSED FAILED: the suite's line in the report.
count() {
  printf '%s %d %d\n' "$1" "$2" "$3" >>"$STEP_COUNTS"
}

# fail WORDS…: says why, and ends the step.
fail() {
  echo "error: $*" >&2
  exit 1
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# need COMMAND PACKAGE: installs Debian's PACKAGE if there is no COMMAND.
need() {
  if command -v "$1" >/dev/null; then
    return
  fi
  command -v apt-get >/dev/null || fail "no command $1 found; install it and put it on PATH"
  retry as_root apt-get -q update
  retry as_root apt-get -qy --no-install-recommends install "$2"
  command -v "$1" >/dev/null || fail "no command $1 found after installing $2"
}

# retry COMMAND…: what comes over a network may fail twice.
retry() {
  local try
  for try in 1 2; do
    if "$@"; then
      return
    fi
    echo "try $try of 3 failed: $*" >&2
  done
  "$@"
}

# on_loopback COMMAND…: runs it in a network namespace of its own whose only
# interface is loopback, with multicast, so that mDNS works and cannot leave. What
# it started and left running ends with it.
on_loopback() {
  need ip iproute2
  need unshare util-linux
  local flags=-n
  [ "$(id -u)" = 0 ] || flags=-rn
  # shellcheck disable=SC2016
  unshare "$flags" --pid --fork --kill-child --mount-proc sh -c '
    ip link set lo up && ip link set lo multicast on && ip route add 224.0.0.0/4 dev lo || exit
    "$@"' on_loopback "$@"
}

# What the suites with real peers and the command that they run are built with: one set of features for all, or
# cargo would compile the runtime anew for each.
# shellcheck disable=SC2034
with_peers=(--locked --package micro-tests --package micro-cli --features
  "micro-cli/full micro-tests/tls micro-tests/peers micro-tests/registries micro-tests/brokers micro-tests/faults
  micro-tests/kills")

# readme_command LINE: fails unless README.md tells the reader to run exactly this.
readme_command() {
  grep -qE "^ *(\\$ )?$1( +#.*)?\$" README.md ||
    fail "README.md has no line \"$1\"; it is one of its two commands"
}

# vendored_protoc: prints the path of the protoc that protoc-gen-micro carries.
vendored_protoc() {
  need jq jq
  local manifest
  manifest=$(cargo metadata --locked --format-version 1 |
    jq -r '.packages[] | select(.name == "protoc-bin-vendored-linux-x86_64") | .manifest_path')
  [ -n "$manifest" ] || fail "expected protoc-bin-vendored among the dependencies, found none"
  echo "$(dirname "$manifest")/bin/protoc"
}
