package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"reflect"
	"syscall"

	"github.com/micro/go-micro/v2"
	"github.com/micro/go-micro/v2/client"
	clientgrpc "github.com/micro/go-micro/v2/client/grpc"
	"github.com/micro/go-micro/v2/metadata"
	"github.com/micro/go-micro/v2/server"
	servergrpc "github.com/micro/go-micro/v2/server/grpc"

	"peers/common"
	"peers/gomicro2/gen"
)

// subscribe prints READY, then a line for each event that its subscriber got
// decoded, with the headers as the broker handed them out.
func subscribe(args *common.Args) {
	service := micro.NewService(
		micro.Server(servergrpc.NewServer(server.WrapSubscriber(show))),
		micro.Client(clientgrpc.NewClient()),
		micro.Broker(brokerOf(args)),
		micro.Registry(registryOf(args)),
		micro.Name(args.Get("name", "peer.subscriber")),
		micro.Address("127.0.0.1:0"),
	)
	service.Init(micro.AfterStart(func() error {
		common.Line("READY")
		return nil
	}))
	options := []server.SubscriberOption{}
	if queue := args.Get("queue", ""); queue != "" {
		options = append(options, server.SubscriberQueue(queue))
	}
	if err := micro.RegisterSubscriber(args.Need("topic"), service.Server(), received, options...); err != nil {
		common.Fatal("the subscriber was not registered: %v", err)
	}
	if err := service.Run(); err != nil {
		common.Fatal("the service ended: %v", err)
	}
	common.Line("STOPPED")
}

// received is the subscriber: show has printed what it is given.
func received(context.Context, *gen.Req) error { return nil }

func show(next server.SubscriberFunc) server.SubscriberFunc {
	return func(ctx context.Context, msg server.Message) error {
		req, isReq := msg.Payload().(*gen.Req)
		if !isReq {
			common.Fatal("expected a Req, found %T", msg.Payload())
		}
		want := sample()
		want.Name = req.Name
		common.Line("%s", common.JSON(common.Object{
			"topic":   msg.Topic(),
			"headers": msg.Header(),
			"type":    msg.ContentType(),
			"name":    req.Name,
			"whole":   reflect.DeepEqual(fields(want), fields(req)),
		}))
		return next(ctx, msg)
	}
}

// publish sends --count events named NAME-0, NAME-1, …, prints PUBLISHED, and
// stays until SIGTERM, since go-micro's HTTP broker sends them in its own time.
func publish(args *common.Args) {
	service := micro.NewService(
		micro.Client(clientgrpc.NewClient()),
		micro.Broker(brokerOf(args)),
		micro.Registry(registryOf(args)),
		micro.Name("peer.publisher"),
	)
	service.Init()
	options := []client.MessageOption{}
	if contentType := args.Get("content-type", ""); contentType != "" {
		options = append(options, client.WithMessageContentType(contentType))
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	for i := range args.Int("count", 1) {
		req := sample()
		req.Name = fmt.Sprintf("%s-%d", args.Need("name"), i)
		ctx := metadata.NewContext(context.Background(), args.Pairs("meta"))
		msg := service.Client().NewMessage(args.Need("topic"), req, options...)
		if err := service.Client().Publish(ctx, msg); err != nil {
			common.Fatal("event %d was not published: %v", i, err)
		}
	}
	common.Line("PUBLISHED")
	<-stop
	common.Line("STOPPED")
}
