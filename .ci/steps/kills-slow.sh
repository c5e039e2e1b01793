#!/usr/bin/env bash
# The kill test for longer and with more seeds, and floods of 1,000,000 events.
export MICRO_CI_KILLS=--slow
source .ci/steps/kills.sh
