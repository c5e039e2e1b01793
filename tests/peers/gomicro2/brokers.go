package main

import (
	"time"

	"github.com/Shopify/sarama"
	"github.com/micro/go-micro/v2/broker"
	"github.com/micro/go-micro/v2/broker/http"
	"github.com/micro/go-micro/v2/broker/nats"
	"github.com/micro/go-plugins/broker/kafka/v2"
	"github.com/micro/go-plugins/broker/rabbitmq/v2"
	"github.com/micro/go-plugins/broker/redis/v2"

	"peers/common"
)

// brokerOf makes the broker that --broker and --broker_address name. The HTTP
// broker's address is where it listens itself.
func brokerOf(args *common.Args) broker.Broker {
	address := func() broker.Option { return broker.Addrs(args.Need("broker_address")) }
	switch name := args.Need("broker"); name {
	case "http":
		return http.NewBroker(broker.Registry(registryOf(args)), broker.Addrs("127.0.0.1:0"))
	case "nats":
		return nats.NewBroker(address())
	case "rabbitmq":
		return rabbitmq.NewBroker(address())
	case "redis":
		return redis.NewBroker(address())
	case "kafka":
		// By default sarama speaks the protocol of Kafka 0.8, which no server of today does.
		config := sarama.NewConfig()
		config.Version = sarama.MaxVersion
		config.Producer.Return.Successes = true
		config.Producer.Return.Errors = true
		config.Consumer.Return.Errors = true
		config.Consumer.Offsets.Initial = sarama.OffsetNewest
		// With a time it commits by version 2 of the request; version 1 is gone since Kafka 4, and sarama then tries
		// again for ever, also at its end.
		config.Consumer.Offsets.Retention = 24 * time.Hour
		return kafka.NewBroker(address(), kafka.BrokerConfig(config), kafka.ClusterConfig(config))
	default:
		common.Fatal("expected http, nats, rabbitmq, redis or kafka, found %q", name)
		return nil
	}
}
