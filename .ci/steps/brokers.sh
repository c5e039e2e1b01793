#!/usr/bin/env bash
# Every broker against its real server, and with go-micro v2.9.1 and v5.30.0 on the same one.
source .ci/lib.sh
source .ci/real-servers.sh

read -ra servers <<<"${MICRO_CI_SERVERS:-nats rabbitmq kafka redis consul}"
on_servers "${servers[@]}"
with_go_peers
contracts brokers --test 'broker_*'
