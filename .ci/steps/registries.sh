#!/usr/bin/env bash
# Every registry against its real server, and with go-micro v2.9.1 and v5.30.0 on the same one.
source .ci/lib.sh
source .ci/real-servers.sh

read -ra servers <<<"${MICRO_CI_SERVERS:-consul etcd zookeeper nats knot}"
on_servers "${servers[@]}"
with_go_peers
contracts registries --test kit --test 'registry_*'
