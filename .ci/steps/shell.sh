#!/usr/bin/env bash
# The scripts have none of the faults that shellcheck knows.
source .ci/lib.sh
need shellcheck shellcheck

git ls-files -z '*.sh' .ci/run | xargs -0 shellcheck --external-sources --severity=warning
