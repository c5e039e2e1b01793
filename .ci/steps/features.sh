#!/usr/bin/env bash
# Each feature of each crate compiles alone, and so does none at all, without warnings.
source .ci/lib.sh
need jq jq

passed=0 broken=()
while read -r package feature; do
  if [ "$feature" = - ]; then feature=; fi
  if cargo clippy --locked --quiet --package "$package" --no-default-features \
    --features "$feature" -- -D warnings; then
    passed=$((passed + 1))
  else
    broken+=("$package with ${feature:-no feature}")
  fi
done < <(cargo metadata --locked --no-deps --format-version 1 |
  jq -r '.packages[] | "\(.name) \("-", (.features | keys[] | select(. != "default")))"')

count features "$passed" "${#broken[@]}"
[ "$passed" -gt 0 ] || fail "found no crate to check"
[ ${#broken[@]} = 0 ] || fail "does not compile without warnings: $(printf '%s; ' "${broken[@]}")"
