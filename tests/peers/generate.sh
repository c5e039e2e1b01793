#!/usr/bin/env bash
# Writes the generated Go code of the peers anew; see README.md.
# Needs protoc (3.21 or later) and go.
set -euo pipefail
cd "$(dirname "$0")"

tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT

# install NAME PACKAGE@VERSION: a generator that is a module of its own.
install() {
  GOBIN="$tools" go install "$2"
  mv "$tools/$(basename "${2%@*}")" "$tools/$1"
}

# require NAME MODULE VERSION PACKAGE [REPLACE]: a generator that lives inside a
# module that cannot be installed by name alone.
require() {
  local dir="$tools/src-$1"
  mkdir "$dir"
  printf 'module tools\n\ngo 1.26\n\nrequire %s %s\n%s\n' "$2" "$3" "${5:-}" >"$dir/go.mod"
  printf '//go:build tools\n\npackage tools\n\nimport _ "%s"\n' "$4" >"$dir/tools.go"
  (cd "$dir" && go mod tidy && go build -o "$tools/$1" "$4")
}

install go2 github.com/golang/protobuf/protoc-gen-go@v1.4.0
install go5 google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.6
install go google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12
install go-grpc google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2
require micro2 github.com/micro/micro/v2 v2.9.1 github.com/micro/micro/v2/cmd/protoc-gen-micro \
  'replace google.golang.org/grpc => google.golang.org/grpc v1.26.0'
require micro5 go-micro.dev/v5 v5.30.0 go-micro.dev/v5/cmd/protoc-gen-micro

# generate FOLDER MESSAGES-PLUGIN KIND SERVICES-PLUGIN
generate() {
  mkdir -p "$1/gen"
  rm -f "$1"/gen/*
  protoc -Iproto \
    --plugin=protoc-gen-go="$tools/$2" --go_out=paths=source_relative:"$1/gen" \
    --plugin=protoc-gen-"$3"="$tools/$4" "--$3_out=paths=source_relative:$1/gen" \
    peer.proto
}

generate gomicro2 go2 micro micro2
generate gomicro5 go5 micro micro5
generate grpcgo go go-grpc go-grpc
