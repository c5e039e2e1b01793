#!/usr/bin/env bash
# The fault table: fleets of real processes, under load, while nodes and registries die, hang and crawl.
source .ci/lib.sh
source .ci/real-servers.sh

on_servers consul etcd zookeeper nats
table faults "${MICRO_CI_FAULTS-}"
