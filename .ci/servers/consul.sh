# The Consul agent, from a Go module of our own: consul's go.mod has replacements, which
# `go install` refuses. 4 to 8 minutes with cold caches, once.
# shellcheck shell=bash

install_consul() {
  local out=$1 flags=(-mod=readonly -trimpath -buildvcs=false '-ldflags=-s -w') want
  command -v go >/dev/null || fail "no go command found; Consul needs Go 1.26 or later on PATH"
  cd .ci/servers/consul || return
  want=$({
    go version
    printf '%s\n' "${flags[@]}"
    find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum
  } | sha256sum | cut -d' ' -f1)
  if [ -x "$out/consul" ] && [ "$(cat "$out/.consul.recipe" 2>/dev/null)" = "$want" ]; then
    return
  fi
  rm -f "$out/.consul.recipe"
  export CGO_ENABLED=0 GOFLAGS=
  # The modules come over the network, which may fail; the build may not.
  retry go list -mod=readonly -deps . >/dev/null
  go build "${flags[@]}" -o "$out/consul" .
  echo "$want" >"$out/.consul.recipe"
}
