# RabbitMQ 3.10 and the Erlang it runs on, from Debian 12.
#
# install_rabbitmq OUT leaves OUT/rabbitmq and OUT/rabbitmqctl, start scripts that
# say how they are called, and OUT/rabbitmq-lib, the unpacked packages (60 MB).
# shellcheck shell=bash
rabbitmq_version='3.10.8-*'

# What the server itself needs of what its package depends on.
rabbitmq_packages=(
  erlang-asn1 erlang-base erlang-crypto erlang-eldap erlang-inets erlang-mnesia erlang-os-mon
  erlang-parsetools erlang-public-key erlang-runtime-tools erlang-ssl erlang-syntax-tools
  erlang-tools erlang-xmerl
)

install_rabbitmq() {
  local out=$1 from=.ci/servers/rabbitmq want package
  need setpriv util-linux
  want="$rabbitmq_version ${rabbitmq_packages[*]}"
  if [ "$(cat "$out/.rabbitmq.recipe" 2>/dev/null)" != "$want" ]; then
    rm -rf "$out/.rabbitmq.recipe" "$out/rabbitmq-lib"
    local scratch
    scratch=$(mktemp -d "$out/.rabbitmq.XXXXXX")
    # Unpacked rather than installed: the package would start a server of its own, on
    # every address.
    (cd "$scratch" && retry rabbitmq_download)
    for package in "$scratch"/*.deb; do
      dpkg -x "$package" "$scratch/root"
    done
    # Debian's script knows one folder alone.
    sed -i 's|^\( *\)ROOTDIR=.*|\1ROOTDIR=${ERL_ROOTDIR:?}|' "$scratch/root/usr/lib/erlang/bin/erl"
    mv "$scratch/root" "$out/rabbitmq-lib"
    rm -rf "$scratch"
    echo "$want" >"$out/.rabbitmq.recipe"
  fi
  cp -f "$from/rabbitmq" "$from/rabbitmqctl" "$out/"
}

rabbitmq_download() {
  local wanted=("rabbitmq-server=$rabbitmq_version" "${rabbitmq_packages[@]}")
  apt-get -q download "${wanted[@]}" && return
  as_root apt-get -q update
  apt-get -q download "${wanted[@]}"
}
