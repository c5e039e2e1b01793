# Redis 7.0 of Debian 12.
#
# install_redis OUT leaves OUT/redis-server, a start script that takes what the program
# takes, and OUT/redis-lib, the program and the libraries that few others use.
#
#   redis-server --bind 127.0.0.1 --port PORT --dir DATA_DIR --save '' \
#     --appendonly yes --appendfsync always
#
# is ready when its port answers PING with PONG.
# shellcheck shell=bash
redis_packages=('redis-tools=5:7.0.15-*' libatomic1 libjemalloc2 liblzf1 libssl3)

install_redis() {
  local out=$1 from=.ci/servers/redis scratch want
  want="${redis_packages[*]}"
  if [ "$(cat "$out/.redis.recipe" 2>/dev/null)" != "$want" ]; then
    rm -rf "$out/.redis.recipe" "$out/redis-lib"
    scratch=$(mktemp -d "$out/.redis.XXXXXX")
    # Unpacked rather than installed: the package would start a server of its own.
    (cd "$scratch" && retry redis_download)
    for package in "$scratch"/*.deb; do
      dpkg -x "$package" "$scratch/all"
    done
    mkdir "$out/redis-lib"
    find "$scratch/all" \( -path '*/lib/*/*.so.*' -o -name redis-check-rdb \) -type f,l \
      -not -path '*/engines-*' -exec mv -t "$out/redis-lib" {} +
    # One program under several names, which it goes by.
    mv "$out/redis-lib/redis-check-rdb" "$out/redis-lib/redis-server"
    rm -rf "$scratch"
    echo "$want" >"$out/.redis.recipe"
  fi
  cp -f "$from/redis-server" "$out/redis-server"
}

redis_download() {
  apt-get -q download "${redis_packages[@]}" && return
  as_root apt-get -q update
  apt-get -q download "${redis_packages[@]}"
}
