package main

import (
	"context"
	"crypto/tls"

	"go-micro.dev/v5/client"
	grpcclient "go-micro.dev/v5/client/grpc"
	"go-micro.dev/v5/server"
	"go-micro.dev/v5/server/grpc"
	"go-micro.dev/v5/transport"
	"google.golang.org/grpc/credentials"
	transportpeer "google.golang.org/grpc/peer"

	"peers/common"
)

// serverOf makes the server, with TLS if it was asked for: by go-micro's gRPC
// server (AuthTLS), or under it, where nothing says that HTTP/2 follows
// (--tls_by listener: server.TLSConfig), or by its HTTP transport (--kind mucp).
func serverOf(args *common.Args, options []server.Option) server.Server {
	config := common.ServerTLS(args)
	if mucp(args) {
		return server.NewRPCServer(append(options, server.Transport(httpTransport(config)))...)
	}
	switch by := args.Get("tls_by", "server"); {
	case config == nil:
	case by == "server":
		options = append(options, grpc.AuthTLS(config))
	case by == "listener":
		options = append(options, server.TLSConfig(config))
	default:
		common.Fatal("--tls_by expects server or listener, found %q", by)
	}
	return grpc.NewServer(options...)
}

// clientOf makes the client, with TLS if it was asked for.
func clientOf(args *common.Args, options []client.Option) client.Client {
	config := common.ClientTLS(args)
	if mucp(args) {
		return client.NewClient(append(options, client.Transport(httpTransport(config)))...)
	}
	if config != nil {
		options = append(options, grpcclient.AuthTLS(config))
	}
	return grpcclient.NewClient(options...)
}

// mucp says whether go-micro's own protocol is to be spoken.
func mucp(args *common.Args) bool {
	switch kind := args.Get("kind", "grpc"); kind {
	case "mucp":
		return true
	case "grpc":
		return false
	default:
		common.Fatal("--kind expects grpc or mucp, found %q", kind)
		return false
	}
}

// httpTransport speaks TLS if it is given a configuration.
func httpTransport(config *tls.Config) transport.Transport {
	return transport.NewHTTPTransport(transport.TLSConfig(config))
}

// tlsOf says what the connection of a call is, if its gRPC server knows it.
func tlsOf(ctx context.Context) string {
	if from, ok := transportpeer.FromContext(ctx); ok {
		if info, ok := from.AuthInfo.(credentials.TLSInfo); ok {
			return common.TLSWords(info.State)
		}
	}
	return ""
}
