# The protos of Google's interfaces, and crates of the code for them. Sourced, in place of lib.sh.
# shellcheck shell=bash
source .ci/lib.sh

protoc=$(vendored_protoc)

# The protos, in a package of npm's.
googleapis_version=6.0.1
googleapis=$cache/google-proto-files-$googleapis_version/node_modules/google-proto-files

need npm npm
if [ ! -d "$googleapis/google" ]; then
  retry npm install --no-fund --no-audit --ignore-scripts \
    --prefix "$cache/google-proto-files-$googleapis_version" "google-proto-files@$googleapis_version"
fi

# googleapis_protos: the names of all files that make one request. Left out is what is no proto of an interface but
# protobuf's own test material, and cannot be compiled from this package: files that import others by a folder that is
# not their root's, that declare what another one declares, that import a file which is not there; and the edition
# 2026, which protoc takes with --experimental_editions alone.
googleapis_protos() {
  (
    cd "$googleapis" || exit
    find . -name '*.proto' | sed 's,^\./,,' |
      grep -vxE 'google/protobuf/(compiler/ruby/ruby_generated_(code|code_proto2|pkg_implicit)|util/json_format_proto3)\.proto' |
      LC_ALL=C sort >"$STEP_DIR/protos"
    # Not grep -L: whether its exit status speaks of files or of lines depends on its version.
    xargs awk 'FNR == 1 { names[++n] = FILENAME } /^edition = "2026";/ { newer[FILENAME] }
      END { for (i = 1; i <= n; i++) if (!(names[i] in newer)) print names[i] }' <"$STEP_DIR/protos"
  )
}

# googleapis_imports: reads names of files; prints them and all they import.
googleapis_imports() {
  (
    cd "$googleapis" || exit
    sort -u >"$STEP_DIR/closure"
    : >"$STEP_DIR/before"
    while ! cmp -s "$STEP_DIR/closure" "$STEP_DIR/before"; do
      cp "$STEP_DIR/closure" "$STEP_DIR/before"
      xargs grep -hE '^import ' <"$STEP_DIR/before" | sed -E 's/^import [^"]*"([^"]+)".*/\1/' |
        LC_ALL=C sort -u - "$STEP_DIR/before" >"$STEP_DIR/closure"
    done
    cat "$STEP_DIR/closure"
  )
}

# googleapis_crate PLUGIN: reads names of files; makes the crate $STEP_DIR/crate of the code that PLUGIN gives for them,
# with one module for each package.
googleapis_crate() {
  local crate=$STEP_DIR/crate
  rm -rf "$crate"
  mkdir -p "$crate/src"
  cat >"$crate/Cargo.toml" <<TOML
[package]
name = "googleapis"
version = "0.0.0"
edition = "2024"
[dependencies]
micro-runtime = { path = "$root/micro-runtime", default-features = false }
[workspace]
TOML
  cp "$root/Cargo.lock" "$crate/"
  printf '#![deny(warnings)]\ninclude!("mod.rs");\n' >"$crate/src/lib.rs"
  (
    cd "$googleapis" || exit
    cat >"$STEP_DIR/arguments"
    "$protoc" -I . --plugin="protoc-gen-micro=$1" --micro_out=include_file=mod.rs:"$crate/src" \
      "@$STEP_DIR/arguments" 2>"$STEP_DIR/protoc"
  ) || {
    grep -v '[ :]*warning: ' "$STEP_DIR/protoc" >&2
    fail "protoc gives no code for $(head -n 1 "$STEP_DIR/arguments") and others"
  }
}

# googleapis_packages: how many packages the crate has.
googleapis_packages() {
  find "$STEP_DIR/crate/src" -name '*.rs' ! -name lib.rs ! -name mod.rs | wc -l
}
