# Kafka 4.1.2 (KRaft, no ZooKeeper) from Maven Central.
#
# install_kafka OUT leaves OUT/kafka, a start script that says how it is called, and
# OUT/kafka-lib, its jars.
# shellcheck shell=bash
install_kafka() {
  local out=$1 from=.ci/servers/kafka want
  need java default-jre-headless
  want=$(sha256sum "$from/pom.xml" | cut -d' ' -f1)
  if [ "$(cat "$out/.kafka.recipe" 2>/dev/null)" != "$want" ]; then
    rm -rf "$out/.kafka.recipe" "$out/kafka-lib"
    need mvn maven
    retry mvn -q -B -f "$from/pom.xml" dependency:copy-dependencies \
      -DoutputDirectory="$out/kafka-lib" -DincludeScope=runtime
    echo "$want" >"$out/.kafka.recipe"
  fi
  cp -f "$from/kafka" "$out/kafka"
}
