package main

import (
	"strings"

	"go-micro.dev/v5/registry"
	"go-micro.dev/v5/registry/consul"
	"go-micro.dev/v5/registry/etcd"
	"go-micro.dev/v5/registry/nats"
	"google.golang.org/grpc/encoding"

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
		return registry.NewMDNSRegistry()
	case "consul":
		return consul.NewConsulRegistry(options...)
	case "etcd":
		return etcd.NewEtcdRegistry(options...)
	case "nats":
		return nats.NewNatsRegistry(options...)
	default:
		common.Fatal("expected mdns, consul, etcd or nats, found %q", name)
		return nil
	}
}

// selfCoded is a message that brings its own encoding, as those of etcd do.
type selfCoded interface {
	Marshal() ([]byte, error)
	Unmarshal([]byte) error
}

// protoCodec is go-micro's codec, which takes the place of grpc's own in the
// whole process and cannot encode etcd's messages; this one can do both.
type protoCodec struct{ encoding.Codec }

func (c protoCodec) Marshal(v any) ([]byte, error) {
	if m, ok := v.(selfCoded); ok {
		return m.Marshal()
	}
	return c.Codec.Marshal(v)
}

func (c protoCodec) Unmarshal(data []byte, v any) error {
	if m, ok := v.(selfCoded); ok {
		return m.Unmarshal(data)
	}
	return c.Codec.Unmarshal(data, v)
}

func init() {
	encoding.RegisterCodec(protoCodec{encoding.GetCodec("proto")})
}
