# The API server of Kubernetes, from a Go module of our own whose tool line names it: its own
# go.mod has replacements, which `go install` refuses. About 10 CPU minutes with cold caches,
# once. Needs etcd 3.6, whose recipe is etcd.sh.
#
# A new version V: `go get -tool k8s.io/kubernetes/cmd/kube-apiserver@v1.V` in that module, after
# every k8s.io replacement in go.mod was set to v0.V.
# shellcheck shell=bash

install_kubernetes() {
  local out=$1 flags=(-mod=readonly -trimpath -buildvcs=false '-ldflags=-s -w') want
  local main=k8s.io/kubernetes/cmd/kube-apiserver
  command -v go >/dev/null || fail "no go command found; kube-apiserver needs Go 1.26 or later on PATH"
  need openssl openssl
  need curl curl
  cd .ci/servers/kubernetes || return
  want=$({
    go version
    printf '%s\n' "${flags[@]}"
    cat go.mod go.sum
  } | sha256sum | cut -d' ' -f1)
  if [ -x "$out/kube-apiserver" ] && [ "$(cat "$out/.kubernetes.recipe" 2>/dev/null)" = "$want" ]; then
    return
  fi
  rm -f "$out/.kubernetes.recipe"
  export CGO_ENABLED=0 GOFLAGS=
  # The modules come over the network, which may fail; the build may not.
  retry go list -mod=readonly -deps "$main" >/dev/null
  nice -n 5 go build "${flags[@]}" -o "$out/kube-apiserver" "$main"
  echo "$want" >"$out/.kubernetes.recipe"
}
