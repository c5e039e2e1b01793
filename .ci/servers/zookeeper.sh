# ZooKeeper 3.9.5 from Maven Central.
#
# install_zookeeper OUT leaves OUT/zookeeper, a start script that says how it is
# called, and OUT/zookeeper-lib, its jars.
# shellcheck shell=bash
install_zookeeper() {
  local out=$1 from=.ci/servers/zookeeper want
  need java default-jre-headless
  want=$(sha256sum "$from/pom.xml" | cut -d' ' -f1)
  if [ "$(cat "$out/.zookeeper.recipe" 2>/dev/null)" != "$want" ]; then
    rm -rf "$out/.zookeeper.recipe" "$out/zookeeper-lib"
    need mvn maven
    retry mvn -q -B -f "$from/pom.xml" dependency:copy-dependencies \
      -DoutputDirectory="$out/zookeeper-lib" -DincludeScope=runtime
    echo "$want" >"$out/.zookeeper.recipe"
  fi
  cp -f "$from/zookeeper" "$out/zookeeper"
}
