#!/usr/bin/env bash
# Installs the real servers that the tests start.
#
#   .ci/servers.sh OUT_DIR NAME…
#
# NAME is that of a recipe, .ci/servers/NAME.sh, which defines `install_NAME OUT`: it
# leaves programs or start scripts in OUT, and keeps what is there of an unchanged
# recipe. Recipes run in the repository's root and may use what .ci/lib.sh has.
# Nothing is started.
set -euo pipefail

if [ $# -lt 2 ]; then
  echo "usage: $0 OUT_DIR NAME…" >&2
  exit 2
fi
mkdir -p "$1"
out=$(cd "$1" && pwd)
shift
if [ -z "${STEP_DIR-}" ]; then
  # By hand, without .ci/run.
  STEP_DIR=$(mktemp -d)
  trap 'rm -rf "$STEP_DIR"' EXIT
  export STEP_DIR STEP_COUNTS=/dev/null
fi
cd "$(dirname "$0")/.."
source .ci/lib.sh

for name in "$@"; do
  [ -f ".ci/servers/$name.sh" ] || fail "expected a recipe .ci/servers/$name.sh, found none"
  start=$SECONDS
  # A process of its own, so that the recipe's `set -e` holds and its names stay its own.
  bash -c 'set -euo pipefail; source .ci/lib.sh; source "$1"; "install_$2" "$3"' \
    servers ".ci/servers/$name.sh" "$name" "$out" </dev/null ||
    fail "the recipe .ci/servers/$name.sh failed"
  echo "servers: $name is installed, $((SECONDS - start)) s"
done
