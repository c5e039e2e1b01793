package main

import (
	"strings"

	"github.com/micro/go-micro/v2/registry"
	"github.com/micro/go-micro/v2/registry/etcd"
	"github.com/micro/go-micro/v2/registry/mdns"
	"github.com/micro/go-plugins/registry/consul/v2"
	"github.com/micro/go-plugins/registry/nats/v2"
	"github.com/micro/go-plugins/registry/zookeeper/v2"

	"peers/common"
)

// registryOf makes the registry that --registry and --registry_address name;
// mdns if they do not.
func registryOf(args *common.Args) registry.Registry {
	var options []registry.Option
	if address := args.Get("registry_address", ""); address != "" {
		options = append(options, registry.Addrs(strings.Split(address, ",")...))
	}
	switch name := args.Get("registry", "mdns"); name {
	case "mdns":
		return mdns.NewRegistry()
	case "consul":
		return consul.NewRegistry(options...)
	case "etcd":
		return etcd.NewRegistry(options...)
	case "nats":
		return nats.NewRegistry(options...)
	case "zookeeper":
		return zookeeper.NewRegistry(options...)
	default:
		common.Fatal("expected mdns, consul, etcd, nats or zookeeper, found %q", name)
		return nil
	}
}
