#!/usr/bin/env bash
# No warnings of the compiler or clippy, in any target, with every feature.
source .ci/lib.sh

cargo clippy --locked --workspace --all-targets --all-features -- -D warnings
