# shellcheck shell=bash
# cargo_test_counts PREFIX: reads the output of `cargo test` and counts each test
# program that ran a test, as the suite PREFIX/PROGRAM, and each crate's
# documentation, as PREFIX/doc/CRATE.
cargo_test_counts() {
  awk -v prefix="$1" '
    /^ *Running .*\(.*\)$/ {
      program = $NF
      sub(/^.*\//, "", program)
      sub(/-[0-9a-f]+(\.exe)?\)$/, "", program)
      kind = /Running unittests/ ? "unit/" : ""
    }
    /^ *Doc-tests / { program = $2; kind = "doc/" }
    /^test result: / {
      for (i = 2; i <= NF; i++) {
        if ($i == "passed;") p = $(i - 1)
        if ($i == "failed;") f = $(i - 1)
        if ($i == "ignored;") ignored += $(i - 1)
      }
      if (p + f > 0) {
        name = prefix "/" kind program
        if (!(name in passed)) order[++n] = name
        passed[name] += p; failed[name] += f
      }
    }
    END {
      for (i = 1; i <= n; i++) print order[i], passed[order[i]], failed[order[i]]
      if (ignored) print "note: " ignored " tests are marked ignored and did not run" >"/dev/stderr"
    }' | while read -r suite p f; do count "$suite" "$p" "$f"; done
}
