package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"go-micro.dev/v5"
	"go-micro.dev/v5/errors"
	"go-micro.dev/v5/metadata"
	"go-micro.dev/v5/server"
	"go-micro.dev/v5/server/grpc"

	"peers/common"
	"peers/gomicro5/gen"
)

func serve(args *common.Args) {
	options := []server.Option{}
	if id := args.Get("id", ""); id != "" {
		options = append(options, server.Id(id))
	}
	if limit := args.Int("max-msg", 0); limit > 0 {
		options = append(options, grpc.MaxMsgSize(limit))
	}
	service := micro.NewService(
		micro.Server(serverOf(args, options)),
		micro.Registry(registryOf(args)),
		micro.Name(args.Need("name")),
		micro.Version(args.Get("version", "latest")),
		micro.Address(args.Get("address", "127.0.0.1:0")),
		micro.Metadata(args.Pairs("metadata")),
	)
	service.Init(micro.AfterStart(func() error {
		common.Line("READY %s", service.Server().Options().Address)
		return nil
	}))
	if err := gen.RegisterPeerHandler(service.Server(), &peer{common.NewTracker()}); err != nil {
		common.Fatal("the handler was not registered: %v", err)
	}
	if err := service.Run(); err != nil {
		common.Fatal("the service ended: %v", err)
	}
	common.AwaitFarewell(args)
	common.Line("STOPPED")
}

type peer struct {
	runs *common.Tracker
}

func echo(req *gen.Req, rsp *gen.Rsp) {
	rsp.Name, rsp.Count, rsp.Tags, rsp.Meta = req.Name, req.Count, req.Tags, req.Meta
	rsp.Kind, rsp.Payload, rsp.Inner, rsp.Ratio = req.Kind, req.Payload, req.Inner, req.Ratio
	rsp.BigTotal, rsp.ByNumber, rsp.AllKinds, rsp.IsSet = req.BigTotal, req.ByNumber, req.AllKinds, req.IsSet
	rsp.Msg = "Hello " + req.Name
}

func fault(req *gen.Req) error {
	f := req.GetFault()
	if f.GetCode() == 0 {
		return fmt.Errorf("%s", f.GetDetail())
	}
	return errors.New(f.Id, f.Detail, f.Code)
}

func (p *peer) Unary(_ context.Context, req *gen.Req, rsp *gen.Rsp) error {
	echo(req, rsp)
	return nil
}

func (p *peer) Fail(_ context.Context, req *gen.Req, _ *gen.Rsp) error {
	return fault(req)
}

func (p *peer) Count(ctx context.Context, req *gen.Req, stream gen.Peer_CountStream) error {
	return p.count(ctx, req, stream)
}

func (p *peer) FailingCount(ctx context.Context, req *gen.Req, stream gen.Peer_FailingCountStream) error {
	if err := p.count(ctx, req, stream); err != nil {
		return err
	}
	return fault(req)
}

type sender interface {
	Send(*gen.Rsp) error
}

func (p *peer) count(ctx context.Context, req *gen.Req, stream sender) (err error) {
	end := p.runs.Begin(req.Name)
	defer func() { end(err) }()
	for i := int64(0); req.Count < 0 || i < req.Count; i++ {
		if err = stream.Send(&gen.Rsp{Name: req.Name, Count: i}); err != nil {
			return err
		}
		if err = common.Sleep(ctx, time.Duration(req.Millis)*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

func (p *peer) Chat(_ context.Context, stream gen.Peer_ChatStream) error {
	end := func(error) {}
	for first := true; ; first = false {
		req, err := stream.Recv()
		if err == io.EOF {
			end(nil)
			return nil
		}
		if err != nil {
			end(err)
			return err
		}
		if first {
			end = p.runs.Begin(req.Name)
		}
		rsp := new(gen.Rsp)
		echo(req, rsp)
		if err := stream.Send(rsp); err != nil {
			end(err)
			return err
		}
	}
}

func (p *peer) Collect(_ context.Context, stream gen.Peer_CollectStream) error {
	var names []string
	for {
		req, err := stream.Recv()
		if err == io.EOF {
			return stream.SendMsg(&gen.Rsp{Msg: strings.Join(names, ","), Count: int64(len(names))})
		}
		if err != nil {
			return err
		}
		names = append(names, req.Name)
	}
}

func (p *peer) Sleep(ctx context.Context, req *gen.Req, rsp *gen.Rsp) (err error) {
	end := p.runs.Begin(req.Name)
	defer func() { end(err) }()
	echo(req, rsp)
	return common.Sleep(ctx, time.Duration(req.Millis)*time.Millisecond)
}

func (p *peer) LastCancelled(_ context.Context, req *gen.Req, rsp *gen.Rsp) error {
	started := len(req.Tags) > 0 && req.Tags[0] == "started"
	state, reason := p.runs.Wait(req.Name, started, time.Duration(req.Millis)*time.Millisecond)
	rsp.Name, rsp.Msg, rsp.Cancelled = req.Name, state, state == "cancelled"
	if reason != "" {
		rsp.Tags = []string{reason}
	}
	return nil
}

func (p *peer) Large(_ context.Context, req *gen.Req, rsp *gen.Rsp) error {
	rsp.Payload = []byte(strings.Repeat("x", int(req.Count)))
	return nil
}

func (p *peer) Panic(_ context.Context, req *gen.Req, _ *gen.Rsp) error {
	panic(req.Name)
}

func (p *peer) Headers(ctx context.Context, _ *gen.Req, rsp *gen.Rsp) error {
	md, _ := metadata.FromContext(ctx)
	secured := tlsOf(ctx)
	rsp.Meta = map[string]string{}
	for key, value := range md {
		if strings.HasSuffix(strings.ToLower(key), "-bin") {
			value = fmt.Sprintf("%x", value)
		}
		rsp.Meta[key] = value
	}
	if secured != "" {
		rsp.Meta["tls"] = secured
	}
	return nil
}
