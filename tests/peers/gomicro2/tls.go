package main

import (
	"context"

	"github.com/micro/go-micro/v2/server"
	"github.com/micro/go-micro/v2/server/grpc"
	"google.golang.org/grpc/credentials"
	transport "google.golang.org/grpc/peer"

	"peers/common"
)

// secure gives a server TLS, if it was asked for, in one of go-micro's two ways:
// by its gRPC server (AuthTLS), or under it, where nothing says that HTTP/2
// follows (--tls_by listener: server.TLSConfig).
func secure(args *common.Args, options *[]server.Option) {
	config := common.ServerTLS(args)
	if config == nil {
		return
	}
	switch by := args.Get("tls_by", "server"); by {
	case "server":
		*options = append(*options, grpc.AuthTLS(config))
	case "listener":
		*options = append(*options, server.TLSConfig(config))
	default:
		common.Fatal("--tls_by expects server or listener, found %q", by)
	}
}

// tlsOf says what the connection of a call is, if its gRPC server knows it.
func tlsOf(ctx context.Context) string {
	if from, ok := transport.FromContext(ctx); ok {
		if info, ok := from.AuthInfo.(credentials.TLSInfo); ok {
			return common.TLSWords(info.State)
		}
	}
	return ""
}
