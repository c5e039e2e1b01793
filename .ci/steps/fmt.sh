#!/usr/bin/env bash
# The code is formatted.
source .ci/lib.sh

cargo fmt --all --check -- --color never
