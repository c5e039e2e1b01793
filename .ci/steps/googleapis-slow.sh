#!/usr/bin/env bash
# All of Google's interfaces: one request in 10 s and 1.2 GiB on two cores, and every package compiles.
source .ci/googleapis.sh

# Seconds and KiB that the plugin may take for the request, by itself.
most_seconds=10 most_memory=$((12 * 1024 * 1024 / 10))
# The bytes of protos that one crate is made of: more would not fit into memory while it is checked.
shard_bytes=1500000

[ -x /usr/bin/time ] || retry as_root apt-get -qy --no-install-recommends install time
cargo build --locked --release --package protoc-gen-micro
plugin=$target/release/protoc-gen-micro
cd "$STEP_DIR"

# The request as protoc sends it, saved by a plugin that says it can do everything and writes nothing: features 3,
# editions 998 to 1001.
googleapis_protos >files
cat >save <<'SH'
#!/bin/sh
cat >"$SAVED"
printf '\020\003\030\346\007\040\351\007'
SH
chmod +x save
mkdir nothing
(
  cd "$googleapis"
  SAVED=$STEP_DIR/request "$protoc" -I . --plugin="protoc-gen-save=$STEP_DIR/save" \
    --save_out="$STEP_DIR/nothing" "@$STEP_DIR/files" 2>"$STEP_DIR/protoc"
) || fail "protoc: $(grep -v ': warning: ' protoc | head -n 3)"

# Three times: another program may take the cores for a while, which says nothing of this one.
best=
for _ in 1 2 3; do
  /usr/bin/time -f '%e %U %M' -o spent "$plugin" <request >response 2>warnings || fail "the plugin: $(tail -n 3 warnings)"
  read -r wall user memory <spent
  echo "plugin alone: $wall s ($user s of processor time), $((memory / 1024)) MiB"
  [ "$memory" -le "$most_memory" ] || fail "expected at most $most_memory KiB, found $memory"
  best=$(printf '%s\n' ${best:+"$best"} "$wall" | LC_ALL=C sort -n | head -n 1)
done
awk -v best="$best" -v most="$most_seconds" 'BEGIN { exit !(best <= most) }' ||
  fail "expected at most $most_seconds s, found $best"
count googleapis-request 1 0

# What was in it.
(cd "$googleapis" && xargs grep -hE '^(service|  *rpc|package) ' <"$STEP_DIR/files") |
  awk '$1 == "service" { s++ } $1 == "rpc" { r++ } $1 == "package" { p[$2] } END { print length(p) " packages, " s " services, " r " rpcs" }' |
  sed "s/^/$(wc -l <files) files, $(($(stat -c %s request) / 1000000)) MB of request, $(($(stat -c %s response) / 1000000)) MB of response; /"

# Crate by crate. A package that several crates need counts once.
(cd "$googleapis" && xargs grep -HE '^(package|import) ' <"$STEP_DIR/files") >graph
(cd "$googleapis" && xargs stat -c '%s %n' <"$STEP_DIR/files") >sizes
awk -v limit="$shard_bytes" -v sizes=sizes -f "$root/.ci/googleapis-shards.awk" graph >shards
number=0 good=0 bad=0
: >seen
while read -r -a files; do
  number=$((number + 1))
  printf '%s\n' "${files[@]}" | googleapis_crate "$plugin"
  (cd crate/src && find . -name '*.rs' ! -name lib.rs ! -name mod.rs) | LC_ALL=C sort >names
  new=$(LC_ALL=C comm -13 seen names | wc -l)
  LC_ALL=C sort -u seen names -o seen
  if CARGO_TARGET_DIR=$target cargo check --quiet --manifest-path crate/Cargo.toml >log 2>&1 && [ ! -s log ]; then
    good=$((good + new))
  else
    # Which of its packages it was is in what the compiler says.
    head -n 40 log
    bad=$((bad + new))
  fi
  echo "crate $number of $(wc -l <shards): ${#files[@]} files, $(wc -l <names) packages"
done <shards
echo "$good of $((good + bad)) packages compile"
count googleapis-all "$good" "$bad"
[ "$bad" = 0 ] || fail "$bad packages are in crates that do not compile without a warning"
