package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"peers/common"
	"peers/grpcgo/gen"
)

type caller struct {
	conn    *grpc.ClientConn
	peer    gen.PeerClient
	timeout time.Duration
	meta    metadata.MD
	runs    int
	mu      sync.Mutex
}

func newCaller(args *common.Args) *caller {
	secured := insecure.NewCredentials()
	if config := common.ClientTLS(args); config != nil {
		secured = credentials.NewTLS(config)
	}
	options := []grpc.DialOption{grpc.WithTransportCredentials(secured)}
	if limit := args.Int("max-msg", 0); limit > 0 {
		options = append(options, grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(limit), grpc.MaxCallSendMsgSize(limit)))
	}
	conn, err := grpc.NewClient("passthrough:///"+args.Need("address"), options...)
	if err != nil {
		common.Fatal("no client: %v", err)
	}
	return &caller{
		conn:    conn,
		peer:    gen.NewPeerClient(conn),
		timeout: time.Duration(args.Int("timeout", 0)) * time.Millisecond,
		meta:    metadata.New(args.Pairs("meta")),
	}
}

// key is a name for one handler's run, so that LastCancelled finds it.
func (c *caller) key(of string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.runs++
	return fmt.Sprintf("%s-%d-%d", of, time.Now().UnixNano(), c.runs)
}

// context has a deadline only if --timeout was given.
func (c *caller) context() (context.Context, context.CancelFunc) {
	ctx := metadata.NewOutgoingContext(context.Background(), c.meta)
	if c.timeout > 0 {
		return context.WithTimeout(ctx, c.timeout)
	}
	return context.WithCancel(ctx)
}

func (c *caller) run(k common.Case) common.Object {
	ctx, cancel := c.context()
	defer cancel()
	switch k.Name {
	case "unary":
		return c.unary(ctx)
	case "gzip":
		return c.unary(ctx, grpc.UseCompressor(gzip.Name))
	case "fail":
		var header, trailer metadata.MD
		_, err := c.peer.Fail(ctx, &gen.Req{Fault: faulty(k)}, grpc.Header(&header), grpc.Trailer(&trailer))
		return with(reply(nil, err), header, trailer)
	case "count":
		return c.count(ctx, k)
	case "failing_count":
		return c.failingCount(ctx, k)
	case "chat":
		return c.chat(ctx, k)
	case "collect":
		return c.collect(ctx, k)
	case "cancel_stream":
		return c.cancelStream(ctx)
	case "cancel_chat":
		return c.cancelChat(ctx)
	case "cancel_call":
		return c.cancelCall(ctx)
	case "deadline":
		return c.deadline(ctx, k)
	case "stream_deadline":
		return c.streamDeadline(ctx, k)
	case "large_reply":
		rsp, err := c.peer.Large(ctx, &gen.Req{Count: k.Number(5 << 20)})
		return reply(rsp, err)
	case "large_request":
		rsp, err := c.peer.Unary(ctx, &gen.Req{Payload: make([]byte, k.Number(5<<20))})
		return reply(rsp, err)
	case "unknown_handler":
		return c.raw(ctx, "/peer.v1.Nope/Unary")
	case "unknown_method":
		return c.raw(ctx, "/peer.v1.Peer/Nope")
	case "path":
		return c.raw(ctx, k.Text("/Peer/Unary"))
	case "panic":
		_, err := c.peer.Panic(ctx, &gen.Req{Name: k.Text("as asked")})
		return reply(nil, err)
	case "headers":
		return c.headers(ctx)
	case "parallel":
		return c.parallel(ctx, k)
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
	return &gen.Fault{Code: int32(k.Number(5)), Id: "peer.fail", Detail: "as asked <&> 100% ü"}
}

func (c *caller) unary(ctx context.Context, options ...grpc.CallOption) common.Object {
	var header, trailer metadata.MD
	options = append(options, grpc.Header(&header), grpc.Trailer(&trailer))
	rsp, err := c.peer.Unary(ctx, sample(), options...)
	if err != nil {
		return with(common.Failed(describe(err), nil), header, trailer)
	}
	if want := echo(sample()); !proto.Equal(want, rsp) {
		return common.Failed(common.Object{"kind": "mismatch", "want": want, "found": rsp}, nil)
	}
	return with(reply(rsp, nil), header, trailer)
}

func (c *caller) raw(ctx context.Context, path string) common.Object {
	rsp := new(gen.Rsp)
	err := c.conn.Invoke(ctx, path, &gen.Req{Name: "bob"}, rsp)
	return reply(rsp, err)
}

func (c *caller) count(ctx context.Context, k common.Case) common.Object {
	stream, err := c.peer.Count(ctx, &gen.Req{Name: c.key("count"), Count: k.Number(5)})
	if err != nil {
		return common.Failed(describe(err), nil)
	}
	return drain(stream)
}

func (c *caller) failingCount(ctx context.Context, k common.Case) common.Object {
	stream, err := c.peer.FailingCount(ctx, &gen.Req{Name: c.key("failing_count"), Count: 3, Fault: faulty(k)})
	if err != nil {
		return common.Failed(describe(err), nil)
	}
	return drain(stream)
}

// drain reads to the end of a stream.
func drain(stream grpc.ServerStreamingClient[gen.Rsp]) common.Object {
	counts := []int64{}
	for {
		rsp, err := stream.Recv()
		seen := common.Object{"received": len(counts), "counts": counts, "end": "eof"}
		if err == io.EOF {
			header, _ := stream.Header()
			return with(common.Ok(seen), header, stream.Trailer())
		}
		if err != nil {
			seen["end"] = "error"
			header, _ := stream.Header()
			return with(common.Failed(describe(err), seen), header, stream.Trailer())
		}
		counts = append(counts, rsp.Count)
	}
}

// chat sends and receives in turn, then half-closes and reads the end.
func (c *caller) chat(ctx context.Context, k common.Case) common.Object {
	stream, err := c.peer.Chat(ctx)
	if err != nil {
		return common.Failed(describe(err), nil)
	}
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

func (c *caller) collect(ctx context.Context, k common.Case) common.Object {
	stream, err := c.peer.Collect(ctx)
	if err != nil {
		return common.Failed(describe(err), nil)
	}
	for i := int64(0); i < k.Number(3); i++ {
		if err := stream.Send(&gen.Req{Name: fmt.Sprintf("m%d", i)}); err != nil {
			return common.Failed(describe(err), common.Object{"at": "send"})
		}
	}
	rsp, err := stream.CloseAndRecv()
	return reply(rsp, err)
}

// handler asks the server how the handler of that key went.
func (c *caller) handler(key string, tags ...string) common.Object {
	rsp, err := c.peer.LastCancelled(context.Background(), &gen.Req{Name: key, Millis: 4000, Tags: tags})
	if err != nil {
		return common.Object{"error": describe(err)}
	}
	return common.Object{"state": rsp.Msg, "cancelled": rsp.Cancelled, "reason": rsp.Tags}
}

func (c *caller) cancelStream(outer context.Context) common.Object {
	ctx, cancel := context.WithCancel(outer)
	defer cancel()
	key := c.key("cancel_stream")
	stream, err := c.peer.Count(ctx, &gen.Req{Name: key, Count: -1, Millis: 20})
	if err != nil {
		return common.Failed(describe(err), nil)
	}
	for i := 0; i < 2; i++ {
		if _, err := stream.Recv(); err != nil {
			return common.Failed(describe(err), common.Object{"received": i})
		}
	}
	cancel()
	return common.Ok(common.Object{"received": 2, "handler": c.handler(key)})
}

func (c *caller) cancelChat(outer context.Context) common.Object {
	ctx, cancel := context.WithCancel(outer)
	defer cancel()
	key := c.key("cancel_chat")
	stream, err := c.peer.Chat(ctx)
	if err != nil {
		return common.Failed(describe(err), nil)
	}
	if err := stream.Send(&gen.Req{Name: key}); err != nil {
		return common.Failed(describe(err), common.Object{"at": "send"})
	}
	if _, err := stream.Recv(); err != nil {
		return common.Failed(describe(err), common.Object{"at": "recv"})
	}
	cancel()
	return common.Ok(common.Object{"received": 1, "handler": c.handler(key)})
}

func (c *caller) cancelCall(outer context.Context) common.Object {
	key := c.key("cancel_call")
	ctx, cancel := context.WithCancel(outer)
	defer cancel()
	failed := make(chan error, 1)
	go func() {
		_, err := c.peer.Sleep(ctx, &gen.Req{Name: key, Millis: 10000})
		failed <- err
	}()
	before := c.handler(key, "started")
	cancel()
	return common.Failed(describe(<-failed), common.Object{"before": before, "handler": c.handler(key)})
}

func (c *caller) deadline(outer context.Context, k common.Case) common.Object {
	key, start := c.key("deadline"), time.Now()
	ctx, cancel := context.WithTimeout(outer, k.Millis(300))
	defer cancel()
	_, err := c.peer.Sleep(ctx, &gen.Req{Name: key, Millis: 10000})
	if err == nil {
		return common.Ok(nil)
	}
	elapsed := time.Since(start).Milliseconds()
	return common.Failed(describe(err), common.Object{"elapsed_ms": elapsed, "handler": c.handler(key)})
}

func (c *caller) streamDeadline(outer context.Context, k common.Case) common.Object {
	key, start := c.key("stream_deadline"), time.Now()
	ctx, cancel := context.WithTimeout(outer, k.Millis(300))
	defer cancel()
	stream, err := c.peer.Count(ctx, &gen.Req{Name: key, Count: -1, Millis: 20})
	if err != nil {
		return common.Failed(describe(err), nil)
	}
	result := drain(stream)
	delete(result, "counts")
	result["elapsed_ms"] = time.Since(start).Milliseconds()
	result["handler"] = c.handler(key)
	return result
}

// headers sends text and binary metadata, one key twice.
func (c *caller) headers(ctx context.Context) common.Object {
	ctx = metadata.AppendToOutgoingContext(ctx,
		"x-foo-bar", "Baz", "x-twice", "one", "x-twice", "two", "x-data-bin", "\x00\x01\xff")
	var header, trailer metadata.MD
	rsp, err := c.peer.Headers(ctx, &gen.Req{}, grpc.Header(&header), grpc.Trailer(&trailer))
	return with(reply(rsp, err), header, trailer)
}

func (c *caller) parallel(ctx context.Context, k common.Case) common.Object {
	n := int(k.Number(50))
	errs := make(chan error, n)
	for i := 0; i < n; i++ {
		go func(name string) {
			rsp, err := c.peer.Unary(ctx, &gen.Req{Name: name})
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

// with adds the header and trailer metadata that came back: lists of values,
// those of binary keys as base64.
func with(result common.Object, header, trailer metadata.MD) common.Object {
	result["header"], result["trailer"] = shown(header), shown(trailer)
	return result
}

func shown(md metadata.MD) map[string][]string {
	out := map[string][]string{}
	for key, values := range md {
		for _, value := range values {
			if strings.HasSuffix(key, "-bin") {
				value = base64.StdEncoding.EncodeToString([]byte(value))
			}
			out[key] = append(out[key], value)
		}
	}
	return out
}

// describe shows a status with its details: a detail of a known type as JSON,
// each with its type URL and its bytes as base64.
func describe(err error) common.Object {
	s, ok := status.FromError(err)
	if !ok || err == nil {
		return common.Object{"kind": "go", "message": fmt.Sprint(err)}
	}
	out := common.MicroFields(s.Message())
	out["kind"], out["message"] = "grpc", s.Message()
	out["grpc_code"], out["grpc_name"] = uint32(s.Code()), s.Code().String()
	details := []common.Object{}
	for _, d := range s.Proto().GetDetails() {
		shown := common.Object{"type_url": d.GetTypeUrl(), "value": base64.StdEncoding.EncodeToString(d.GetValue())}
		info := new(errdetails.ErrorInfo)
		if d.MessageIs(info) && d.UnmarshalTo(info) == nil {
			if text, err := protojson.Marshal(info); err == nil {
				shown["json"] = json.RawMessage(text)
			}
		}
		details = append(details, shown)
	}
	out["details"] = details
	return out
}
