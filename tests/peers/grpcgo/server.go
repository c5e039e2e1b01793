package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	transport "google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"peers/common"
	"peers/grpcgo/gen"
)

func serve(args *common.Args) {
	listener, err := net.Listen("tcp", args.Get("address", "127.0.0.1:0"))
	if err != nil {
		common.Fatal("no listener: %v", err)
	}
	options := []grpc.ServerOption{grpc.UnaryInterceptor(recovered)}
	if limit := args.Int("max-msg", 0); limit > 0 {
		options = append(options, grpc.MaxRecvMsgSize(limit))
	}
	if config := common.ServerTLS(args); config != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(config)))
	}
	server := grpc.NewServer(options...)
	gen.RegisterPeerServer(server, &peer{runs: common.NewTracker()})

	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		<-stop
		time.AfterFunc(time.Second, server.Stop)
		server.GracefulStop()
	}()
	common.Line("READY %s", listener.Addr())
	if err := server.Serve(listener); err != nil {
		common.Fatal("the server ended: %v", err)
	}
	common.Line("STOPPED")
}

// recovered answers a panic; grpc-go itself lets it end the process.
func recovered(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (rsp any, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = status.Errorf(codes.Internal, "panic: %v", p)
		}
	}()
	return next(ctx, req)
}

type peer struct {
	gen.UnimplementedPeerServer
	runs *common.Tracker
}

func echo(req *gen.Req) *gen.Rsp {
	return &gen.Rsp{
		Name: req.Name, Count: req.Count, Tags: req.Tags, Meta: req.Meta,
		Kind: req.Kind, Payload: req.Payload, Inner: req.Inner, Ratio: req.Ratio,
		BigTotal: req.BigTotal, ByNumber: req.ByNumber, AllKinds: req.AllKinds, IsSet: req.IsSet,
		Msg: "Hello " + req.Name,
	}
}

// fault is a status with the code and the message that were asked for, and an
// ErrorInfo detail if there is an id.
func fault(req *gen.Req) error {
	f := req.GetFault()
	s := status.New(codes.Code(f.GetCode()), f.GetDetail())
	if f.GetId() == "" {
		return s.Err()
	}
	detailed, err := s.WithDetails(&errdetails.ErrorInfo{Reason: "AS_ASKED", Domain: f.GetId()})
	if err != nil {
		return err
	}
	return detailed.Err()
}

func (p *peer) Unary(_ context.Context, req *gen.Req) (*gen.Rsp, error) {
	return echo(req), nil
}

func (p *peer) Fail(_ context.Context, req *gen.Req) (*gen.Rsp, error) {
	return nil, fault(req)
}

func (p *peer) Count(req *gen.Req, stream grpc.ServerStreamingServer[gen.Rsp]) error {
	return p.count(req, stream)
}

func (p *peer) FailingCount(req *gen.Req, stream grpc.ServerStreamingServer[gen.Rsp]) error {
	if err := p.count(req, stream); err != nil {
		return err
	}
	return fault(req)
}

func (p *peer) count(req *gen.Req, stream grpc.ServerStreamingServer[gen.Rsp]) (err error) {
	end := p.runs.Begin(req.Name)
	defer func() { end(err) }()
	stream.SetTrailer(metadata.Pairs("x-peer-trailer", "end"))
	for i := int64(0); req.Count < 0 || i < req.Count; i++ {
		if err = stream.Send(&gen.Rsp{Name: req.Name, Count: i}); err != nil {
			return err
		}
		if err = common.Sleep(stream.Context(), time.Duration(req.Millis)*time.Millisecond); err != nil {
			return status.FromContextError(err).Err()
		}
	}
	return nil
}

func (p *peer) Chat(stream grpc.BidiStreamingServer[gen.Req, gen.Rsp]) error {
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
		if err := stream.Send(echo(req)); err != nil {
			end(err)
			return err
		}
	}
}

func (p *peer) Collect(stream grpc.ClientStreamingServer[gen.Req, gen.Rsp]) error {
	var names []string
	for {
		req, err := stream.Recv()
		if err == io.EOF {
			return stream.SendAndClose(&gen.Rsp{Msg: strings.Join(names, ","), Count: int64(len(names))})
		}
		if err != nil {
			return err
		}
		names = append(names, req.Name)
	}
}

func (p *peer) Sleep(ctx context.Context, req *gen.Req) (*gen.Rsp, error) {
	end := p.runs.Begin(req.Name)
	err := common.Sleep(ctx, time.Duration(req.Millis)*time.Millisecond)
	end(err)
	if err != nil {
		return nil, status.FromContextError(err).Err()
	}
	return echo(req), nil
}

func (p *peer) LastCancelled(_ context.Context, req *gen.Req) (*gen.Rsp, error) {
	started := len(req.Tags) > 0 && req.Tags[0] == "started"
	state, reason := p.runs.Wait(req.Name, started, time.Duration(req.Millis)*time.Millisecond)
	rsp := &gen.Rsp{Name: req.Name, Msg: state, Cancelled: state == "cancelled"}
	if reason != "" {
		rsp.Tags = []string{reason}
	}
	return rsp, nil
}

func (p *peer) Large(_ context.Context, req *gen.Req) (*gen.Rsp, error) {
	return &gen.Rsp{Payload: []byte(strings.Repeat("x", int(req.Count)))}, nil
}

func (p *peer) Panic(_ context.Context, req *gen.Req) (*gen.Rsp, error) {
	panic(req.Name)
}

// Headers answers with header and trailer metadata too, one of each kind.
func (p *peer) Headers(ctx context.Context, _ *gen.Req) (*gen.Rsp, error) {
	seen := map[string]string{}
	incoming, _ := metadata.FromIncomingContext(ctx)
	for key, values := range incoming {
		text := strings.Join(values, ", ")
		if strings.HasSuffix(key, "-bin") {
			text = fmt.Sprintf("%x", text)
		}
		seen[key] = text
	}
	if deadline, ok := ctx.Deadline(); ok {
		seen["deadline-ms"] = fmt.Sprint(time.Until(deadline).Milliseconds())
	}
	if from, ok := transport.FromContext(ctx); ok {
		if info, ok := from.AuthInfo.(credentials.TLSInfo); ok {
			seen["tls"] = common.TLSWords(info.State)
		}
	}
	if err := grpc.SetHeader(ctx, metadata.Pairs("x-peer-header", "one", "x-peer-header", "two", "x-peer-data-bin", "\x00\x01\xff")); err != nil {
		return nil, err
	}
	if err := grpc.SetTrailer(ctx, metadata.Pairs("x-peer-trailer", "end", "x-peer-tail-bin", "\xfe\x00")); err != nil {
		return nil, err
	}
	return &gen.Rsp{Meta: seen}, nil
}
