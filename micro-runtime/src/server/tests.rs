//! Calls over a real engine, spoken to in heads and frames.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use prost::Message;

use super::*;
use crate::codec::Prost;
use crate::exchange::{
    ConnInfo, Connection, Drainer, FieldValue, Frame, Head, Incoming, Io, Line, OutFields, OutHead,
    Outgoing, PeerAddr,
};
use crate::interceptor::{self, Invocation, Next, Outcome};
use crate::method::{Method, MethodKind};
use crate::status::{Code, Result};
use crate::stream::{Inbound, Outbound};
use crate::transport::{ClientLimits, ServerLimits, http2};

#[derive(Clone, PartialEq, Message)]
struct Number {
    #[prost(int64, tag = "1")]
    value: i64,
}

const fn method(
    kind: MethodKind,
    name: &'static str,
    path: &'static str,
    endpoint: &'static str,
) -> Method<Number, Number> {
    Method::new::<Prost>(kind, "test.Numbers", name, path, endpoint)
}

static DOUBLE: Method<Number, Number> = method(
    MethodKind::Unary,
    "Double",
    "/test.Numbers/Double",
    "Numbers.Double",
);
static SUM: Method<Number, Number> = method(
    MethodKind::ClientStreaming,
    "Sum",
    "/test.Numbers/Sum",
    "Numbers.Sum",
);
static COUNT: Method<Number, Number> = method(
    MethodKind::ServerStreaming,
    "Count",
    "/test.Numbers/Count",
    "Numbers.Count",
);
static ECHO: Method<Number, Number> = method(
    MethodKind::Bidi,
    "Echo",
    "/test.Numbers/Echo",
    "Numbers.Echo",
);

/// Says when the handler of a hanging call was dropped.
#[derive(Default)]
struct Handler {
    dropped: Arc<tokio::sync::Notify>,
    cancelled: Arc<AtomicBool>,
}

struct OnDrop(Arc<tokio::sync::Notify>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

impl Handler {
    async fn double(&self, ctx: Context, req: Number) -> Result<Number> {
        match req.value {
            -1 => Err(Status::not_found("no such number").with_id("numbers")),
            -2 => panic!("as asked"),
            -3 => {
                let _on_drop = OnDrop(Arc::clone(&self.dropped));
                let cancelled = Arc::clone(&self.cancelled);
                tokio::spawn(async move {
                    ctx.cancelled().await;
                    cancelled.store(true, Ordering::Release);
                });
                std::future::pending().await
            }
            -4 => {
                ctx.header("x-head", "1");
                ctx.trailer("x-trail", "2");
                Ok(req)
            }
            -5 => {
                ctx.header("x head", "1");
                Ok(req)
            }
            value => Ok(Number { value: value * 2 }),
        }
    }

    async fn sum(mut requests: Inbound<Number>) -> Result<Number> {
        let mut value = 0;
        while let Some(next) = requests.recv().await? {
            value += next.value;
        }
        Ok(Number { value })
    }

    async fn count(req: Number, mut responses: Outbound<Number>) -> Result<()> {
        for value in 0..req.value.abs() {
            responses.send(Number { value }).await?;
        }
        if req.value < 0 {
            return Err(Status::aborted("negative"));
        }
        Ok(())
    }

    async fn echo(mut requests: Inbound<Number>, mut responses: Outbound<Number>) -> Result<()> {
        while let Some(next) = requests.recv().await? {
            responses.send(next).await?;
        }
        Ok(())
    }
}

fn server(options: ServerOptions, handler: Handler) -> Server {
    let server = Server::new("numbers", options);
    let handler = Arc::new(handler);
    let routes = Routes::new("test.Numbers")
        .unary(&DOUBLE, &handler, |h, ctx, req| async move {
            h.double(ctx, req).await
        })
        .client_streaming(&SUM, &handler, |_, _, requests| Handler::sum(requests))
        .server_streaming(&COUNT, &handler, |_, _, req, responses| {
            Handler::count(req, responses)
        })
        .bidi(&ECHO, &handler, |_, _, requests, responses| {
            Handler::echo(requests, responses)
        });
    server.add(routes).unwrap();
    server
}

/// A connection to a server, and what keeps it alive.
struct Peer {
    connection: Connection,
    _drainer: Drainer,
}

impl Peer {
    async fn new(server: &Server) -> Peer {
        let (near, far) = tokio::io::duplex(1 << 20);
        let info = || ConnInfo::new(PeerAddr::Local, PeerAddr::Local);
        let (drainer, drain) = Drainer::new();
        let app = server.app();
        tokio::spawn(async move {
            http2::serve(Io::new(far), info(), &ServerLimits::new(), app, drain).await
        });
        let connection = http2::connect(Io::new(near), info(), &ClientLimits::new())
            .await
            .unwrap();
        Peer {
            connection,
            _drainer: drainer,
        }
    }

    async fn with(handler: Handler) -> Peer {
        Peer::new(&server(ServerOptions::new(), handler)).await
    }

    fn open(
        &self,
        path: &'static str,
        headers: &[(&'static str, &'static str)],
        body: Vec<u8>,
        end: bool,
    ) -> (Outgoing, Incoming) {
        let mut fields = OutFields::default();
        for (name, value) in headers {
            match Slot::of(name) {
                Some(slot) => fields.slot(slot, FieldValue::Static(value)),
                None => fields.text(
                    Bytes::from_static(name.as_bytes()),
                    FieldValue::Static(value),
                ),
            }
        }
        let head = OutHead {
            line: Line::Request {
                verb: Verb::Post,
                path: Bytes::from_static(path.as_bytes()),
                authority: Bytes::from_static(b"numbers"),
            },
            fields,
        };
        let first = (!body.is_empty()).then(|| Bytes::from(body));
        self.connection.try_open(head, first, end).unwrap()
    }

    async fn call(
        &self,
        path: &'static str,
        headers: &[(&'static str, &'static str)],
        body: Vec<u8>,
    ) -> Answer {
        let (outgoing, incoming) = self.open(path, headers, body, true);
        let answer = Answer::read(incoming).await;
        drop(outgoing);
        answer
    }

    async fn double(&self, value: i64) -> Answer {
        self.call("/test.Numbers/Double", GRPC, framed(&[value]))
            .await
    }
}

const GRPC: &[(&str, &str)] = &[("content-type", "application/grpc")];
const GO: &[(&str, &str)] = &[
    ("content-type", "application/grpc+proto"),
    ("x-content-type", "application/grpc+proto"),
];

fn framed(values: &[i64]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for &value in values {
        let message = Number { value }.encode_to_vec();
        bytes.push(0);
        bytes.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(&message);
    }
    bytes
}

/// All of a reply.
struct Answer {
    head: Head,
    data: Vec<u8>,
    trailers: Option<Head>,
}

impl Answer {
    async fn read(mut incoming: Incoming) -> Answer {
        let head = poll_fn(|cx| incoming.poll_head(cx)).await.unwrap();
        let mut answer = Answer {
            head,
            data: Vec::new(),
            trailers: None,
        };
        while let Some(frame) = poll_fn(|cx| incoming.poll_frame(cx)).await {
            match frame.unwrap() {
                Frame::Data(bytes) => {
                    incoming.release(bytes.len());
                    answer.data.extend_from_slice(&bytes);
                }
                Frame::Trailers(trailers) => {
                    answer.trailers = Some(trailers);
                    break;
                }
            }
        }
        answer
    }

    fn status(&self) -> Status {
        let trailers = self.trailers.as_ref().unwrap_or(&self.head);
        grpc::read_status(trailers).unwrap()
    }
}

#[tokio::test]
async fn a_unary_call_is_answered() {
    let peer = Peer::with(Handler::default()).await;
    let answer = peer.double(21).await;
    assert_eq!(answer.head.status(), 200);
    assert_eq!(
        answer.head.get_str(Slot::ContentType),
        Some("application/grpc")
    );
    assert_eq!(answer.data, framed(&[42]));
    assert_eq!(answer.status().code(), Code::Ok);
}

#[tokio::test]
async fn an_error_is_trailers_alone_in_the_callers_dialect() {
    let peer = Peer::with(Handler::default()).await;
    let answer = peer.double(-1).await;
    assert!(answer.trailers.is_none() && answer.data.is_empty());
    let plain = answer.head.get_str(Slot::GrpcMessage);
    assert_eq!(plain, Some("no such number"));
    assert_eq!(answer.head.get(Slot::GrpcDetails), None);

    let answer = peer.call("/any.Numbers/Double", GO, framed(&[-1])).await;
    let json = answer.head.get_str(Slot::GrpcMessage).unwrap();
    assert_eq!(
        json,
        r#"{"id":"numbers","code":404,"detail":"no such number","status":"Not Found"}"#
    );
    assert_eq!(answer.status().id(), "numbers");
}

#[tokio::test]
async fn a_panic_hurts_no_other_call() {
    let peer = Peer::with(Handler::default()).await;
    let (panicked, fine) = tokio::join!(peer.double(-2), peer.double(4));
    assert_eq!(panicked.status().code(), Code::Internal);
    assert!(!panicked.status().message().contains("as asked"));
    assert_eq!(fine.data, framed(&[8]));
}

#[tokio::test]
async fn headers_and_trailers_of_the_handler_are_sent() {
    let peer = Peer::with(Handler::default()).await;
    let answer = peer.double(-4).await;
    let value = |head: &Head, name: &str| {
        head.rest()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value.to_vec())
    };
    assert_eq!(value(&answer.head, "x-head").unwrap(), b"1");
    assert_eq!(value(&answer.trailers.unwrap(), "x-trail").unwrap(), b"2");
    let refused = peer.double(-5).await.status();
    assert_eq!(refused.code(), Code::Internal);
    assert!(refused.message().contains("x head"), "{refused}");
}

#[tokio::test]
async fn cardinality_is_kept() {
    let peer = Peer::with(Handler::default()).await;
    for body in [framed(&[]), framed(&[1, 2])] {
        let answer = peer.call("/test.Numbers/Double", GRPC, body).await;
        assert_eq!(answer.status().code(), Code::Unimplemented);
    }
}

#[tokio::test]
async fn what_is_no_call_is_refused() {
    let peer = Peer::with(Handler::default()).await;
    let status = async |path, headers: &[(&'static str, &'static str)]| {
        peer.call(path, headers, framed(&[1])).await.status()
    };
    let unknown = status("/test.Numbers/Nope", GRPC).await;
    assert_eq!(unknown.code(), Code::Unimplemented);
    assert!(unknown.message().contains("unknown method Nope"));
    let timeout = [GRPC[0], ("grpc-timeout", "soon")];
    assert_eq!(
        status("/test.Numbers/Double", &timeout).await.code(),
        Code::Internal
    );
    let thrift = [("content-type", "application/grpc+thrift")];
    assert_eq!(
        status("/test.Numbers/Double", &thrift).await.code(),
        Code::Unimplemented
    );
    let zipped = [GRPC[0], ("grpc-encoding", "gzip")];
    let answer = peer
        .call("/test.Numbers/Double", &zipped, framed(&[1]))
        .await;
    assert_eq!(answer.status().code(), Code::Unimplemented);
    assert_eq!(
        answer.head.get_str(Slot::GrpcAcceptEncoding),
        Some("identity")
    );
    let html = [("content-type", "text/html")];
    let answer = peer.call("/test.Numbers/Double", &html, framed(&[1])).await;
    assert_eq!(answer.head.status(), 415);
    let garbage = peer
        .call("/test.Numbers/Double", GRPC, vec![0, 0, 0, 0, 1, 0xff])
        .await;
    assert_eq!(garbage.status().code(), Code::Internal);
    let cut = peer
        .call("/test.Numbers/Double", GRPC, vec![0, 0, 0, 0, 9, 1])
        .await;
    assert_eq!(cut.status().code(), Code::Internal);
    assert_eq!(peer.double(1).await.data, framed(&[2]), "others go on");
}

#[tokio::test]
async fn a_message_over_the_limit_is_not_read() {
    let peer = Peer::new(&server(
        ServerOptions::new().max_message(10),
        Handler::default(),
    ))
    .await;
    let body = vec![0, 0xff, 0xff, 0xff, 0xff];
    let (outgoing, incoming) = peer.open("/test.Numbers/Double", GRPC, body, false);
    let status = Answer::read(incoming).await.status();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("the limit is 10 bytes"));
    drop(outgoing);
}

#[tokio::test]
async fn streams_go_both_ways() {
    let peer = Peer::with(Handler::default()).await;
    let sum = peer
        .call("/test.Numbers/Sum", GRPC, framed(&[1, 2, 3]))
        .await;
    assert_eq!(sum.data, framed(&[6]));
    let echo = peer.call("/test.Numbers/Echo", GRPC, framed(&[1, 2])).await;
    assert_eq!(echo.data, framed(&[1, 2]));
    assert_eq!(echo.status().code(), Code::Ok);
    let none = peer.call("/test.Numbers/Echo", GRPC, framed(&[])).await;
    assert_eq!(none.status().code(), Code::Ok);
    let failing = peer.call("/test.Numbers/Count", GRPC, framed(&[-2])).await;
    assert_eq!(failing.data, framed(&[0, 1]));
    assert_eq!(failing.status().message(), "negative");
}

#[tokio::test]
async fn a_server_stream_begins_before_its_request_ends() {
    let peer = Peer::with(Handler::default()).await;
    let (outgoing, incoming) = peer.open("/test.Numbers/Count", GO, framed(&[3]), false);
    let answer = Answer::read(incoming).await;
    assert_eq!(answer.data, framed(&[0, 1, 2]));
    assert_eq!(answer.status().code(), Code::Ok);
    drop(outgoing);
}

#[tokio::test]
async fn a_caller_that_goes_takes_its_handler_along() {
    let handler = Handler::default();
    let (dropped, cancelled) = (Arc::clone(&handler.dropped), Arc::clone(&handler.cancelled));
    let peer = Peer::with(handler).await;
    let (outgoing, incoming) = peer.open("/test.Numbers/Double", GRPC, framed(&[-3]), true);
    // Another call's answer proves that the first one's handler runs.
    peer.double(1).await;
    drop((outgoing, incoming));
    dropped.notified().await;
    while !cancelled.load(Ordering::Acquire) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_the_handler() {
    let handler = Handler::default();
    let dropped = Arc::clone(&handler.dropped);
    let peer = Peer::with(handler).await;
    let begun = tokio::time::Instant::now();
    let headers = [GRPC[0], ("grpc-timeout", "2S")];
    let answer = peer
        .call("/test.Numbers/Double", &headers, framed(&[-3]))
        .await;
    assert_eq!(answer.status().code(), Code::DeadlineExceeded);
    assert!(begun.elapsed() >= Duration::from_secs(2));
    dropped.notified().await;
    // go-micro's nanoseconds count for go-micro's clients only.
    let headers = [GO[0], GO[1], ("timeout", "1000000000")];
    let answer = peer
        .call("/test.Numbers/Double", &headers, framed(&[-3]))
        .await;
    assert_eq!(answer.status().code(), Code::DeadlineExceeded);
    let headers = [GRPC[0], ("timeout", "1")];
    let answer = peer
        .call("/test.Numbers/Double", &headers, framed(&[1]))
        .await;
    assert_eq!(answer.status().code(), Code::Ok);
}

#[tokio::test(start_paused = true)]
async fn a_silent_caller_is_not_waited_for() {
    let peer = Peer::with(Handler::default()).await;
    let (outgoing, incoming) = peer.open("/test.Numbers/Double", GRPC, vec![0, 0], false);
    let answer = Answer::read(incoming).await;
    assert_eq!(answer.status().code(), Code::DeadlineExceeded);
    drop(outgoing);
}

#[tokio::test]
async fn interceptors_see_message_and_outcome() {
    let options = ServerOptions::new()
        .interceptor(interceptor::from_fn(
            |mut call: Invocation, next: Next| async move {
                assert_eq!(call.path(), "/test.Numbers/Double");
                if let Some(number) = call.message_mut::<Number>() {
                    number.value += 1;
                }
                let mut outcome = next.run(call).await?;
                if let Some(number) = outcome.message_mut::<Number>() {
                    number.value += 100;
                }
                Ok(outcome)
            },
        ))
        .interceptor(interceptor::from_fn(
            |call: Invocation, next: Next| async move {
                match call.message::<Number>().map(|number| number.value) {
                    Some(8) => Ok(Outcome::reply(Number { value: 0 })),
                    Some(9) => Ok(Outcome::reply("of another type")),
                    _ => next.run(call).await,
                }
            },
        ));
    let peer = Peer::new(&server(options, Handler::default())).await;
    assert_eq!(peer.double(1).await.data, framed(&[104]));
    assert_eq!(peer.double(7).await.data, framed(&[100]));
    assert_eq!(peer.double(8).await.status().code(), Code::Internal);
}

#[test]
fn endpoints_are_described_as_go_describes_them() {
    let endpoints = server(ServerOptions::new(), Handler::default()).endpoints();
    let names: Vec<_> = endpoints.iter().map(|endpoint| &*endpoint.name).collect();
    assert_eq!(
        names,
        [
            "Numbers.Count",
            "Numbers.Double",
            "Numbers.Echo",
            "Numbers.Sum"
        ]
    );
    assert_eq!(endpoints[0].metadata["stream"], "true");
    assert_eq!(endpoints[0].request.as_ref().unwrap().kind, "Context");
    assert_eq!(endpoints[1].metadata["rpc"], "/test.Numbers/Double");
}
