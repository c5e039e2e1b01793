#!/usr/bin/env bash
# The kill test: producers, consumers and brokers are killed, and nothing acknowledged is lost.
source .ci/lib.sh
source .ci/real-servers.sh

on_servers nats rabbitmq kafka redis
table kills "${MICRO_CI_KILLS-}"
