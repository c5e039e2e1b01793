package main

import (
	"go-micro.dev/v5/broker"
	"go-micro.dev/v5/broker/nats"
	"go-micro.dev/v5/broker/rabbitmq"

	"peers/common"
)

// brokerOf makes the broker that --broker and --broker_address name. The HTTP
// broker's address is where it listens itself.
func brokerOf(args *common.Args) broker.Broker {
	address := func() broker.Option { return broker.Addrs(args.Need("broker_address")) }
	switch name := args.Need("broker"); name {
	case "http":
		return broker.NewHttpBroker(broker.Registry(registryOf(args)), broker.Addrs("127.0.0.1:0"))
	case "nats":
		return nats.NewNatsBroker(address())
	case "rabbitmq":
		return rabbitmq.NewBroker(address())
	default:
		common.Fatal("expected http, nats or rabbitmq, found %q", name)
		return nil
	}
}
