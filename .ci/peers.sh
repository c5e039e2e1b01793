#!/usr/bin/env bash
# Builds the Go programs that the interop tests talk to.
#
#   .ci/peers.sh OUT_DIR
#
# leaves OUT_DIR/gomicro2, OUT_DIR/gomicro5 and OUT_DIR/grpcgo. A program whose
# sources, pins and compiler are those of the last build is kept as it is.
set -euo pipefail

if [ $# -ne 1 ]; then
  echo "usage: $0 OUT_DIR" >&2
  exit 2
fi
if ! command -v go >/dev/null; then
  echo "peers: no go command found; install Go 1.26 or later and put it on PATH" >&2
  exit 1
fi

mkdir -p "$1"
out=$(cd "$1" && pwd)
cd "$(dirname "$0")/../tests/peers"
export CGO_ENABLED=0 GOFLAGS=
flags=(-mod=readonly -trimpath -buildvcs=false -ldflags=-s\ -w)

# The hash of everything that decides what the program of a folder is.
recipe() {
  {
    go version
    printf '%s\n' "${flags[@]}"
    find common "$1" -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum
  } | sha256sum | cut -d' ' -f1
}

# The modules come over the network, which may fail once; a build may not.
download() {
  local try
  for try in 1 2 3; do
    if (cd "$1" && go list -mod=readonly -deps . >/dev/null); then
      return
    fi
    echo "peers: try $try to fetch the modules of $1 failed" >&2
  done
  return 1
}

for name in gomicro2 gomicro5 grpcgo; do
  want=$(recipe "$name")
  stamp="$out/.$name.recipe"
  if [ -x "$out/$name" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$want" ]; then
    echo "peers: $name is up to date"
    continue
  fi
  echo "peers: building $name"
  rm -f "$stamp"
  start=$SECONDS
  download "$name"
  (cd "$name" && go build "${flags[@]}" -o "$out/$name" .)
  echo "$want" >"$stamp"
  echo "peers: built $name in $((SECONDS - start)) s"
done
