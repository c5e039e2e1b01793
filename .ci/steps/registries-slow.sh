#!/usr/bin/env bash
# Registries that are away for a minute, and Kubernetes' own API server.
export MICRO_CI_SERVERS='consul etcd zookeeper nats knot kubernetes' MICRO_CI_TESTS=--ignored
source .ci/steps/registries.sh
