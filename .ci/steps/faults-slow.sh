#!/usr/bin/env bash
# The rows of the fault table whose outages last a minute.
export MICRO_CI_FAULTS=--slow
source .ci/steps/faults.sh
