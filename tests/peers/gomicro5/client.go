package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"strings"
	"sync"
	"time"

	"go-micro.dev/v5"
	"go-micro.dev/v5/client"
	"go-micro.dev/v5/client/grpc"
	"go-micro.dev/v5/errors"
	"go-micro.dev/v5/metadata"
	"go-micro.dev/v5/registry"
	"google.golang.org/grpc/status"

	"peers/common"
	"peers/gomicro5/gen"
)

type caller struct {
	name     string
	client   client.Client
	registry registry.Registry
	peer     gen.PeerService
	options  []client.CallOption
	meta     map[string]string
	runs     int
	mu       sync.Mutex
}

func newCaller(args *common.Args) *caller {
	reg := registryOf(args)
	options := []client.Option{}
	if contentType := args.Get("content-type", ""); contentType != "" {
		options = append(options, client.ContentType(contentType))
	}
	if limit := args.Int("max-msg", 0); limit > 0 {
		options = append(options, grpc.MaxRecvMsgSize(limit), grpc.MaxSendMsgSize(limit))
	}
	service := micro.NewService(
		micro.Client(clientOf(args, options)),
		micro.Registry(reg),
		micro.Name(args.Get("caller", "peer.client")),
	)
	service.Init()
	c := &caller{name: args.Get("name", ""), client: service.Client(), registry: reg, meta: args.Pairs("meta")}
	c.peer = gen.NewPeerService(c.name, c.client)
	if address := args.Get("address", ""); address != "" {
		c.options = append(c.options, client.WithAddress(address))
	}
	if ms := args.Int("timeout", 0); ms > 0 {
		c.options = append(c.options, client.WithRequestTimeout(time.Duration(ms)*time.Millisecond))
	}
	if retries := args.Int("retries", -1); retries >= 0 {
		c.options = append(c.options, client.WithRetries(retries))
	}
	return c
}

// key is a name for one handler's run, so that LastCancelled finds it.
func (c *caller) key(of string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.runs++
	return fmt.Sprintf("%s-%d-%d", of, time.Now().UnixNano(), c.runs)
}

func (c *caller) context() context.Context {
	if len(c.meta) == 0 {
		return context.Background()
	}
	return metadata.NewContext(context.Background(), c.meta)
}

func (c *caller) run(k common.Case) common.Object {
	switch k.Name {
	case "unary":
		return c.unary(k.Arg)
	case "fail":
		_, err := c.peer.Fail(c.context(), &gen.Req{Fault: faulty(k)}, c.options...)
		return reply(nil, err)
	case "count":
		return c.count(k)
	case "failing_count":
		return c.failingCount(k)
	case "chat":
		return c.chat(k)
	case "collect":
		return c.collect(k)
	case "cancel_stream":
		return c.cancelStream()
	case "cancel_chat":
		return c.cancelChat()
	case "cancel_call":
		return c.cancelCall()
	case "deadline":
		return c.deadline(k)
	case "stream_deadline":
		return c.streamDeadline(k)
	case "large_reply":
		rsp, err := c.peer.Large(c.context(), &gen.Req{Count: k.Number(5 << 20)}, c.options...)
		return reply(rsp, err)
	case "large_request":
		rsp, err := c.peer.Unary(c.context(), &gen.Req{Payload: make([]byte, k.Number(5<<20))}, c.options...)
		return reply(rsp, err)
	case "unknown_service":
		return c.raw(k.Text("nobody.has.this"), "Peer.Unary", nil)
	case "unknown_handler":
		return c.raw(c.name, "Nope.Unary", c.options)
	case "unknown_method":
		return c.raw(c.name, "Peer.Nope", c.options)
	case "panic":
		_, err := c.peer.Panic(c.context(), &gen.Req{Name: k.Text("as asked")}, c.options...)
		return reply(nil, err)
	case "headers":
		ctx := metadata.MergeContext(c.context(), metadata.Metadata{"X-Foo-Bar": "Baz"}, false)
		rsp, err := c.peer.Headers(ctx, &gen.Req{}, c.options...)
		return reply(rsp, err)
	case "parallel":
		return c.parallel(k)
	case "list":
		return c.list()
	case "get":
		return c.get(k.Text(c.name))
	}
	return common.Unsupported("no such case: " + k.Name)
}

// sample has a value in each field that Unary echoes: integers that a double
// cannot hold, text outside ASCII, keys of both signs.
func sample() *gen.Req {
	return &gen.Req{
		Name:     "bob",
		Count:    -9007199254740993,
		Tags:     []string{"a", "", "ü"},
		Meta:     map[string]string{"k": "v", "ключ": "<&>"},
		Kind:     gen.Kind_KIND_LARGE,
		Payload:  []byte{0, 1, 255},
		Inner:    &gen.Inner{Label: "in", Delta: -7, Marks: []uint64{1, 18446744073709551615}},
		Ratio:    1.5,
		BigTotal: 18446744073709551615,
		ByNumber: map[int64]*gen.Inner{-1: {Label: "minus"}, 9007199254740993: {Label: "big"}},
		AllKinds: []gen.Kind{gen.Kind_KIND_SMALL, gen.Kind_KIND_LARGE, gen.Kind_KIND_UNSPECIFIED},
		IsSet:    true,
	}
}

func faulty(k common.Case) *gen.Fault {
	return &gen.Fault{Code: int32(k.Number(404)), Id: "peer.fail", Detail: "as asked <&> 100%"}
}

func (c *caller) unary(contentType string) common.Object {
	req, rsp := sample(), new(gen.Rsp)
	var options []client.RequestOption
	if contentType != "" {
		options = append(options, client.WithContentType(contentType))
	}
	request := c.client.NewRequest(c.name, "Peer.Unary", req, options...)
	if err := c.client.Call(c.context(), request, rsp, c.options...); err != nil {
		return common.Failed(describe(err), nil)
	}
	want, found := fields(req), fields(rsp)
	want["msg"] = "Hello bob"
	if !reflect.DeepEqual(want, found) {
		return common.Failed(common.Object{"kind": "mismatch", "want": want, "found": found}, nil)
	}
	return reply(rsp, nil)
}

func (c *caller) raw(service, endpoint string, options []client.CallOption) common.Object {
	rsp := new(gen.Rsp)
	err := c.client.Call(c.context(), c.client.NewRequest(service, endpoint, &gen.Req{Name: "bob"}), rsp, options...)
	return reply(rsp, err)
}

func (c *caller) count(k common.Case) common.Object {
	stream, err := c.peer.Count(c.context(), &gen.Req{Name: c.key("count"), Count: k.Number(5)}, c.options...)
	if err != nil {
		return common.Failed(describe(err), nil)
	}
	defer stream.Close()
	return drain(stream)
}

func (c *caller) failingCount(k common.Case) common.Object {
	req := &gen.Req{Name: c.key("failing_count"), Count: 3, Fault: faulty(k)}
	stream, err := c.peer.FailingCount(c.context(), req, c.options...)
	if err != nil {
		return common.Failed(describe(err), nil)
	}
	defer stream.Close()
	return drain(stream)
}

type receiver interface {
	Recv() (*gen.Rsp, error)
}

// drain reads to the end of a stream.
func drain(stream receiver) common.Object {
	counts := []int64{}
	for {
		rsp, err := stream.Recv()
		seen := common.Object{"received": len(counts), "counts": counts, "end": "eof"}
		if err == io.EOF {
			return common.Ok(seen)
		}
		if err != nil {
			seen["end"] = "error"
			return common.Failed(describe(err), seen)
		}
		counts = append(counts, rsp.Count)
	}
}

// chat sends and receives in turn, then half-closes and reads the end.
func (c *caller) chat(k common.Case) common.Object {
	stream, err := c.peer.Chat(c.context(), c.options...)
	if err != nil {
		return common.Failed(describe(err), nil)
	}
	defer stream.Close()
	msgs := []string{}
	for i := int64(0); i < k.Number(5); i++ {
		if err := stream.Send(&gen.Req{Name: fmt.Sprintf("m%d", i)}); err != nil {
			return common.Failed(describe(err), common.Object{"msgs": msgs, "at": "send"})
		}
		rsp, err := stream.Recv()
		if err != nil {
			return common.Failed(describe(err), common.Object{"msgs": msgs, "at": "recv"})
		}
		msgs = append(msgs, rsp.Msg)
	}
	if err := stream.CloseSend(); err != nil {
		return common.Failed(describe(err), common.Object{"msgs": msgs, "at": "close_send"})
	}
	if _, err := stream.Recv(); err != io.EOF {
		return common.Failed(describe(err), common.Object{"msgs": msgs, "at": "end"})
	}
	return common.Ok(common.Object{"msgs": msgs, "end": "eof"})
}

func (c *caller) collect(k common.Case) common.Object {
	stream, err := c.peer.Collect(c.context(), c.options...)
	if err != nil {
		return common.Failed(describe(err), nil)
	}
	defer stream.Close()
	for i := int64(0); i < k.Number(3); i++ {
		if err := stream.Send(&gen.Req{Name: fmt.Sprintf("m%d", i)}); err != nil {
			return common.Failed(describe(err), common.Object{"at": "send"})
		}
	}
	if err := stream.CloseSend(); err != nil {
		return common.Failed(describe(err), common.Object{"at": "close_send"})
	}
	rsp := new(gen.Rsp)
	if err := stream.RecvMsg(rsp); err != nil {
		return common.Failed(describe(err), common.Object{"at": "recv"})
	}
	if err := stream.RecvMsg(new(gen.Rsp)); err != io.EOF {
		return common.Failed(describe(err), common.Object{"at": "end"})
	}
	return reply(rsp, nil)
}

// handler asks the server how the handler of that key went.
func (c *caller) handler(key string, tags ...string) common.Object {
	req := &gen.Req{Name: key, Millis: 4000, Tags: tags}
	rsp, err := c.peer.LastCancelled(context.Background(), req, c.options...)
	if err != nil {
		return common.Object{"error": describe(err)}
	}
	return common.Object{"state": rsp.Msg, "cancelled": rsp.Cancelled, "reason": rsp.Tags}
}

func (c *caller) cancelStream() common.Object {
	key := c.key("cancel_stream")
	stream, err := c.peer.Count(c.context(), &gen.Req{Name: key, Count: -1, Millis: 20}, c.options...)
	if err != nil {
		return common.Failed(describe(err), nil)
	}
	for i := 0; i < 2; i++ {
		if _, err := stream.Recv(); err != nil {
			return common.Failed(describe(err), common.Object{"received": i})
		}
	}
	stream.Close()
	return common.Ok(common.Object{"received": 2, "handler": c.handler(key)})
}

func (c *caller) cancelChat() common.Object {
	key := c.key("cancel_chat")
	stream, err := c.peer.Chat(c.context(), c.options...)
	if err != nil {
		return common.Failed(describe(err), nil)
	}
	if err := stream.Send(&gen.Req{Name: key}); err != nil {
		return common.Failed(describe(err), common.Object{"at": "send"})
	}
	if _, err := stream.Recv(); err != nil {
		return common.Failed(describe(err), common.Object{"at": "recv"})
	}
	stream.Close()
	return common.Ok(common.Object{"received": 1, "handler": c.handler(key)})
}

func (c *caller) cancelCall() common.Object {
	key := c.key("cancel_call")
	ctx, cancel := context.WithCancel(c.context())
	defer cancel()
	failed := make(chan error, 1)
	go func() {
		_, err := c.peer.Sleep(ctx, &gen.Req{Name: key, Millis: 10000}, c.options...)
		failed <- err
	}()
	before := c.handler(key, "started")
	cancel()
	return common.Failed(describe(<-failed), common.Object{"before": before, "handler": c.handler(key)})
}

func (c *caller) deadline(k common.Case) common.Object {
	key, start := c.key("deadline"), time.Now()
	options := append([]client.CallOption{client.WithRequestTimeout(k.Millis(300))}, c.options...)
	_, err := c.peer.Sleep(c.context(), &gen.Req{Name: key, Millis: 10000}, options...)
	if err == nil {
		return common.Ok(nil)
	}
	elapsed := time.Since(start).Milliseconds()
	return common.Failed(describe(err), common.Object{"elapsed_ms": elapsed, "handler": c.handler(key)})
}

func (c *caller) streamDeadline(k common.Case) common.Object {
	key, start := c.key("stream_deadline"), time.Now()
	options := append([]client.CallOption{client.WithStreamTimeout(k.Millis(300))}, c.options...)
	stream, err := c.peer.Count(c.context(), &gen.Req{Name: key, Count: -1, Millis: 20}, options...)
	if err != nil {
		return common.Failed(describe(err), nil)
	}
	defer stream.Close()
	result := drain(stream)
	delete(result, "counts")
	result["elapsed_ms"] = time.Since(start).Milliseconds()
	result["handler"] = c.handler(key)
	return result
}

func (c *caller) parallel(k common.Case) common.Object {
	n := int(k.Number(50))
	errs := make(chan error, n)
	for i := 0; i < n; i++ {
		go func(name string) {
			rsp, err := c.peer.Unary(c.context(), &gen.Req{Name: name}, c.options...)
			if err == nil && rsp.Msg != "Hello "+name {
				err = fmt.Errorf("asked as %s, answered %q", name, rsp.Msg)
			}
			errs <- err
		}(fmt.Sprintf("p%d", i))
	}
	failed, last := 0, error(nil)
	for i := 0; i < n; i++ {
		if err := <-errs; err != nil {
			failed, last = failed+1, err
		}
	}
	if last != nil {
		return common.Failed(describe(last), common.Object{"calls": n, "failed": failed})
	}
	return common.Ok(common.Object{"calls": n})
}

// fields shows a message by its proto names: enums and 64-bit integers as
// numbers, bytes as base64, empty fields left out.
func fields(message any) (out common.Object) {
	decoder := json.NewDecoder(strings.NewReader(common.JSON(message)))
	decoder.UseNumber()
	if err := decoder.Decode(&out); err != nil {
		common.Fatal("a message that is no object: %v", err)
	}
	return out
}

func reply(rsp *gen.Rsp, err error) common.Object {
	if err != nil {
		return common.Failed(describe(err), nil)
	}
	if rsp == nil {
		return common.Ok(nil)
	}
	length, shown := common.Payload(rsp.Payload)
	rsp.Payload = shown
	return common.Ok(common.Object{"rsp": json.RawMessage(common.JSON(rsp)), "payload_len": length})
}

// describe shows an error: a micro error, a raw gRPC status (streams have
// these) or any other Go error.
func describe(err error) common.Object {
	if e, ok := err.(*errors.Error); ok {
		return common.Object{"kind": "micro", "id": e.Id, "code": e.Code, "detail": e.Detail, "status": e.Status, "message": e.Error()}
	}
	if s, ok := status.FromError(err); ok && err != nil {
		out := common.MicroFields(s.Message())
		out["kind"], out["message"] = "grpc", s.Message()
		out["grpc_code"], out["grpc_name"] = uint32(s.Code()), s.Code().String()
		details := []string{}
		for _, d := range s.Proto().GetDetails() {
			details = append(details, d.GetTypeUrl())
		}
		out["details"] = details
		return out
	}
	return common.Object{"kind": "go", "message": fmt.Sprint(err)}
}
