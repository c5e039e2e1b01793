# etcd 3.6 with its etcdctl, built from the Go modules that .ci/servers/etcd pins, and Debian 12's 3.4.
#
# install_etcd OUT leaves OUT/etcd-3.6, OUT/etcdctl and OUT/etcd-3.4. For the tests of TLS it installs openssl.
# shellcheck shell=bash
etcd_old='3.4.23-*'

install_etcd() {
  local out=$1 scratch want
  need openssl openssl
  scratch=$(mktemp -d "$out/.etcd.XXXXXX")
  local flags=(-mod=readonly -trimpath -buildvcs=false -ldflags=-s\ -w)
  want=$({
    go version
    printf '%s\n' "${flags[@]}"
    cat .ci/servers/etcd/go.mod .ci/servers/etcd/go.sum
  } | sha256sum)
  if [ "$(cat "$out/.etcd-3.6.recipe" 2>/dev/null)" != "$want" ]; then
    rm -f "$out/.etcd-3.6.recipe"
    # The modules come over the network, which may fail; a build may not.
    retry etcd_go list -mod=readonly -deps go.etcd.io/etcd/server/v3 go.etcd.io/etcd/etcdctl/v3 >/dev/null
    etcd_go build "${flags[@]}" -o "$scratch/etcd" go.etcd.io/etcd/server/v3
    etcd_go build "${flags[@]}" -o "$scratch/etcdctl" go.etcd.io/etcd/etcdctl/v3
    mv -f "$scratch/etcd" "$out/etcd-3.6"
    mv -f "$scratch/etcdctl" "$out/etcdctl"
    echo "$want" >"$out/.etcd-3.6.recipe"
  fi
  # Unpacked rather than installed: the package would start a server of its own.
  if [ "$(cat "$out/.etcd-3.4.recipe" 2>/dev/null)" != "$etcd_old" ]; then
    rm -f "$out/.etcd-3.4.recipe"
    (cd "$scratch" && retry etcd_download "$etcd_old")
    dpkg -x "$scratch"/etcd-server_*.deb "$scratch/old"
    mv -f "$scratch/old/usr/bin/etcd" "$out/etcd-3.4"
    echo "$etcd_old" >"$out/.etcd-3.4.recipe"
  fi
  rm -rf "$scratch"
}

etcd_go() {
  (cd .ci/servers/etcd && CGO_ENABLED=0 GOFLAGS='' go "$@")
}

etcd_download() {
  apt-get -q download "etcd-server=$1" && return
  as_root apt-get -q update
  apt-get -q download "etcd-server=$1"
}
