# NATS 2.15.2, built by Go, and Debian 12's 2.9.10, which lacks much of it.
#
# install_nats OUT leaves OUT/nats-2.15 and OUT/nats-2.9, and OUT/nats-creds, which
# makes an operator, an account and users (2 s to build).
#
#   nats-2.15 -a 127.0.0.1 -p PORT -m MONITOR_PORT
#
# is ready when GET MONITOR_PORT/healthz says ok.
# shellcheck shell=bash
nats_new=2.15.2
nats_old='2.9.10-*'

install_nats() {
  local out=$1 scratch
  scratch=$(mktemp -d "$out/.nats.XXXXXX")
  if [ "$(cat "$out/.nats-2.15.recipe" 2>/dev/null)" != "$nats_new $(go version)" ]; then
    rm -f "$out/.nats-2.15.recipe"
    retry env GOBIN="$scratch" CGO_ENABLED=0 GOFLAGS= \
      go install -trimpath -ldflags='-s -w' "github.com/nats-io/nats-server/v2@v$nats_new"
    mv -f "$scratch/nats-server" "$out/nats-2.15"
    echo "$nats_new $(go version)" >"$out/.nats-2.15.recipe"
  fi
  local flags=(-mod=readonly -trimpath -buildvcs=false -ldflags=-s\ -w) want
  want=$({
    go version
    printf '%s\n' "${flags[@]}"
    cat .ci/servers/nats/go.mod .ci/servers/nats/go.sum .ci/servers/nats/main.go
  } | sha256sum)
  if [ "$(cat "$out/.nats-creds.recipe" 2>/dev/null)" != "$want" ]; then
    rm -f "$out/.nats-creds.recipe"
    # The modules come over the network, which may fail; a build may not.
    retry nats_go list -mod=readonly -deps . >/dev/null
    nats_go build "${flags[@]}" -o "$scratch/nats-creds" .
    mv -f "$scratch/nats-creds" "$out/nats-creds"
    echo "$want" >"$out/.nats-creds.recipe"
  fi
  # Unpacked rather than installed: the package would start a server of its own.
  if [ "$(cat "$out/.nats-2.9.recipe" 2>/dev/null)" != "$nats_old" ]; then
    rm -f "$out/.nats-2.9.recipe"
    (cd "$scratch" && retry nats_download "$nats_old")
    dpkg -x "$scratch"/nats-server_*.deb "$scratch/old"
    mv -f "$scratch/old/usr/sbin/nats-server" "$out/nats-2.9"
    echo "$nats_old" >"$out/.nats-2.9.recipe"
  fi
  rm -rf "$scratch"
}

nats_download() {
  apt-get -q download "nats-server=$1" && return
  as_root apt-get -q update
  apt-get -q download "nats-server=$1"
}

nats_go() {
  (cd .ci/servers/nats && CGO_ENABLED=0 GOFLAGS='' go "$@")
}
