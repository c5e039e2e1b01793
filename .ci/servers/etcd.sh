# etcd 3.4 and 3.6, for the tests. Sourced by .ci/servers.sh.
#
#   install_etcd OUT
#
# leaves OUT/etcd-3.4 (Debian's), OUT/etcd-3.6 and OUT/etcdctl (built from the Go modules that
# .ci/servers/etcd/go.mod pins). Programs that are there already, of this recipe, are kept as they are.
# shellcheck shell=bash

install_etcd() {
  local out wrapper want
  mkdir -p "$1"
  out=$(cd "$1" && pwd)
  wrapper=$(cd "$(dirname "${BASH_SOURCE[0]}")/etcd" && pwd)
  command -v go >/dev/null ||
    { echo "etcd: no go command found; install Go 1.26 or later and put it on PATH" >&2; return 1; }

  if [ ! -x "$out/etcd-3.4" ]; then
    if ! command -v etcd >/dev/null; then
      etcd_from_debian || return 1
    fi
    case $(etcd --version) in
      'etcd Version: 3.4.'*) cp "$(command -v etcd)" "$out/.etcd-3.4" && mv "$out/.etcd-3.4" "$out/etcd-3.4" ;;
      *) echo "etcd: expected the program etcd to be of version 3.4, found $(etcd --version | head -n 1)" >&2; return 1 ;;
    esac
  fi

  local flags=(-mod=readonly -trimpath -buildvcs=false -ldflags=-s\ -w)
  want=$({
    go version
    printf '%s\n' "${flags[@]}"
    cat "$wrapper/go.mod" "$wrapper/go.sum"
  } | sha256sum | cut -d' ' -f1)
  if [ -x "$out/etcd-3.6" ] && [ -x "$out/etcdctl" ] && [ "$(cat "$out/.etcd.recipe" 2>/dev/null)" = "$want" ]; then
    echo "etcd: is up to date"
    return
  fi
  rm -f "$out/.etcd.recipe"
  local start=$SECONDS try
  # The modules come over the network, which may fail once; a build may not.
  for try in 1 2 3; do
    if (cd "$wrapper" && GOFLAGS='' go list -mod=readonly -deps \
      go.etcd.io/etcd/server/v3 go.etcd.io/etcd/etcdctl/v3 >/dev/null); then
      break
    elif [ "$try" = 3 ]; then
      echo "etcd: the modules could not be fetched" >&2
      return 1
    fi
  done
  (
    cd "$wrapper" || exit 1
    export CGO_ENABLED=0 GOFLAGS=
    nice -n 5 go build "${flags[@]}" -o "$out/etcd-3.6" go.etcd.io/etcd/server/v3 &&
      nice -n 5 go build "${flags[@]}" -o "$out/etcdctl" go.etcd.io/etcd/etcdctl/v3
  ) || return 1
  echo "$want" >"$out/.etcd.recipe"
  echo "etcd: built 3.6 in $((SECONDS - start)) s"
}

# Debian's package would start its server at once, on a fixed port: /usr/sbin/policy-rc.d says no meanwhile.
etcd_from_debian() {
  command -v apt-get >/dev/null ||
    { echo "etcd: no program etcd found; install etcd 3.4 and put it on PATH" >&2; return 1; }
  local sudo=() status=0
  [ "$(id -u)" = 0 ] || sudo=(sudo)
  "${sudo[@]}" sh -c '
    export DEBIAN_FRONTEND=noninteractive
    policy=/usr/sbin/policy-rc.d kept=
    if [ -e "$policy" ]; then kept=$(mktemp) && cp -p "$policy" "$kept" || exit; fi
    printf "#!/bin/sh\nexit 101\n" >"$policy" && chmod 755 "$policy" || exit
    status=1
    for try in 1 2 3; do
      if apt-get -q update && apt-get -qy --no-install-recommends -o DPkg::Lock::Timeout=300 install etcd-server; then
        status=0
        break
      fi
    done
    if [ -n "$kept" ]; then mv "$kept" "$policy"; else rm -f "$policy"; fi
    exit $status' || status=$?
  return "$status"
}
