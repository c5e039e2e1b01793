#!/usr/bin/env bash
# The documentation builds without a warning, broken links among them.
source .ci/lib.sh

RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --all-features
