#!/usr/bin/env bash
# rust-version is the lowest Rust that compiles the published crates: measured with 1.85.
source .ci/lib.sh
source .ci/rust-1.85.sh
need jq jq
unpack_rust_185

# The command line needs what async-nats needs, and says so.
stated=$(cargo metadata --locked --no-deps --format-version 1 |
  jq -r '[.packages[] | select(.name != "micro-cli").rust_version] | unique[]')
case $stated in
*$'\n'*) fail "expected one rust-version for all crates, found: $stated" ;;
esac
measured=$(printf '%s\n' 1.85 "${younger[@]##* }" | sort -V | tail -n 1)
[ "$stated" = "$measured" ] ||
  fail "Cargo.toml says rust-version $stated, .ci/rust-1.85.sh finds $measured"

check=(check --locked --ignore-rust-version "${published[@]}")

# 1. All that is younger than 1.85 is on the list: with it, 1.85 compiles the crates.
cargo_185 "$(younger_features)" "${check[@]}"
count msrv 1 0

# 2. The youngest are needed: without them 1.85 refuses.
needed=false
for entry in "${younger[@]}"; do
  if cargo_185 "$(younger_features "${entry% *}")" "${check[@]}" --keep-going 2>"$STEP_DIR/err"; then
    echo "note: nothing uses ${entry% *} any more; take it off the list in .ci/rust-1.85.sh"
  elif ! grep -qF 'error[E0658]' "$STEP_DIR/err"; then
    cat "$STEP_DIR/err"
    fail "without ${entry% *}, Rust 1.85 stopped for another reason"
  else
    grep -m 1 -A 1 -F 'error[E0658]' "$STEP_DIR/err"
    [ "${entry##* }" != "$measured" ] || needed=true
  fi
done
if [ "$measured" != 1.85 ] && [ "$needed" = false ]; then
  fail "nothing needs Rust $measured; lower rust-version"
fi
count msrv 1 0
