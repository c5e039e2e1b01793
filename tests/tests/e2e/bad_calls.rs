//! Good HTTP/2 with calls in it that are not: each is answered by gRPC's rules, and its connection goes on.

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, Method, Request};
use micro_runtime::service::Running;
use tokio::net::TcpStream;

use crate::support::{in_time, peer_over_tcp};

const INTERNAL: &str = "13";
const UNIMPLEMENTED: &str = "12";
const RESOURCE_EXHAUSTED: &str = "8";
const DEADLINE_EXCEEDED: &str = "4";
const OK: &str = "0";

/// What a server said.
#[derive(Debug)]
struct Said {
    http: u16,
    headers: HeaderMap,
    messages: usize,
}

impl Said {
    fn grpc(&self) -> &str {
        self.header("grpc-status")
    }

    fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }
}

struct Peer {
    send: SendRequest<Bytes>,
    _running: Running,
}

impl Peer {
    async fn start() -> Peer {
        let (running, _) = peer_over_tcp().await;
        let stream = TcpStream::connect(running.address()).await.unwrap();
        let (send, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        Peer {
            send,
            _running: running,
        }
    }

    /// Sends a request with this body, ended or not, and reads the answer.
    async fn request(&mut self, request: Request<()>, body: &[u8], end: bool) -> Said {
        let mut send = self.send.clone().ready().await.unwrap();
        let (response, mut out) = send.send_request(request, false).unwrap();
        // The answer may be there before the body is gone.
        let _ = out.send_data(Bytes::copy_from_slice(body), end);
        let (head, mut body) = in_time(response).await.unwrap().into_parts();
        let mut headers = head.headers;
        let mut length = 0;
        while let Some(data) = in_time(body.data()).await {
            let data = data.unwrap();
            length += data.len();
            body.flow_control().release_capacity(data.len()).unwrap();
        }
        if let Some(trailers) = in_time(body.trailers()).await.unwrap() {
            headers.extend(trailers);
        }
        Said {
            http: head.status.as_u16(),
            headers,
            messages: usize::from(length > 0),
        }
    }

    async fn call(&mut self, path: &str, content_type: &str, body: &[u8]) -> Said {
        self.request(post(path, content_type, &[]), body, true)
            .await
    }

    /// A good call on the same connection.
    async fn goes_on(&mut self, after: &str) {
        let said = self
            .call("/peer.v1.Peer/Unary", "application/grpc", &framed(b""))
            .await;
        assert_eq!(
            (said.http, said.grpc(), said.messages),
            (200, OK, 1),
            "after {after}: {said:?}"
        );
    }
}

fn post(path: &str, content_type: &str, headers: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::post(format!("http://localhost{path}")).header("te", "trailers");
    if !content_type.is_empty() {
        request = request.header("content-type", content_type);
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap()
}

fn framed(message: &[u8]) -> Vec<u8> {
    prefixed(0, u32::try_from(message.len()).unwrap(), message)
}

fn prefixed(flag: u8, length: u32, message: &[u8]) -> Vec<u8> {
    let mut bytes = vec![flag];
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(message);
    bytes
}

#[tokio::test]
async fn messages_that_are_none() {
    let mut peer = Peer::start().await;
    const GRPC: &str = "application/grpc";
    const JSON: &str = "application/grpc+json";
    let two = [framed(b""), framed(b"")].concat();
    let wrong_type = framed(br#"{"count": "many"}"#);
    // Invalid protobuf: an unknown wire type, a length beyond the end, text that is not UTF-8, a tag that never ends.
    let cases: &[(&str, &str, Vec<u8>, &str)] = &[
        (
            "a wire type that does not exist",
            GRPC,
            framed(&[0x0f]),
            INTERNAL,
        ),
        (
            "a field beyond the end",
            GRPC,
            framed(&[0x0a, 0x7f, b'x']),
            INTERNAL,
        ),
        (
            "text that is not UTF-8",
            GRPC,
            framed(&[0x0a, 0x01, 0xff]),
            INTERNAL,
        ),
        ("a tag without an end", GRPC, framed(&[0xff; 16]), INTERNAL),
        (
            "groups that nest without an end",
            GRPC,
            framed(&[0x0b; 10_000]),
            INTERNAL,
        ),
        ("JSON that is none", JSON, framed(b"{\"name\":"), INTERNAL),
        ("JSON of the wrong type", JSON, wrong_type, INTERNAL),
        (
            "JSON that is not UTF-8",
            JSON,
            framed(b"{\"name\":\"\xff\"}"),
            INTERNAL,
        ),
        (
            "JSON that nests deep",
            JSON,
            framed(&[b'['; 100_000]),
            INTERNAL,
        ),
        (
            "a flag that does not exist",
            GRPC,
            prefixed(0x7f, 0, b""),
            INTERNAL,
        ),
        (
            "a compressed message without an encoding",
            GRPC,
            prefixed(1, 0, b""),
            INTERNAL,
        ),
        ("a prefix that is cut", GRPC, vec![0, 0, 0], INTERNAL),
        (
            "a message that is cut",
            GRPC,
            prefixed(0, 100, b"abc"),
            INTERNAL,
        ),
        ("no message", GRPC, Vec::new(), UNIMPLEMENTED),
        ("two messages", GRPC, two, UNIMPLEMENTED),
        (
            "4 GiB announced",
            GRPC,
            prefixed(0, u32::MAX, b"abc"),
            RESOURCE_EXHAUSTED,
        ),
        (
            "a little too much announced",
            GRPC,
            prefixed(0, 4 * 1024 * 1024 + 1, b""),
            RESOURCE_EXHAUSTED,
        ),
    ];
    for (what, content_type, body, expected) in cases {
        let said = peer.call("/peer.v1.Peer/Unary", content_type, body).await;
        assert_eq!(
            (said.http, said.grpc()),
            (200, *expected),
            "{what}: {said:?}"
        );
        assert_eq!(said.messages, 0, "{what}");
        assert!(!said.header("grpc-message").is_empty(), "{what}");
        peer.goes_on(what).await;

        // The same to a stream, which may have answered what came before.
        if *expected != UNIMPLEMENTED {
            let said = peer.call("/peer.v1.Peer/Collect", content_type, body).await;
            assert_eq!(
                (said.http, said.grpc()),
                (200, *expected),
                "{what}, streamed: {said:?}"
            );
            peer.goes_on(what).await;
        }
    }
}

#[tokio::test]
async fn an_announced_length_is_refused_before_the_message_is_there() {
    let mut peer = Peer::start().await;
    let request = post("/peer.v1.Peer/Unary", "application/grpc", &[]);
    let said = peer
        .request(request, &prefixed(0, u32::MAX, b""), false)
        .await;
    assert_eq!(said.grpc(), RESOURCE_EXHAUSTED, "{said:?}");
    assert!(said.header("grpc-message").contains("4194304"), "{said:?}");
    peer.goes_on("an announced length").await;
}

#[tokio::test]
async fn heads_that_are_no_calls() {
    let mut peer = Peer::start().await;
    let unary = "/peer.v1.Peer/Unary";
    for content_type in [
        "",
        "text/plain",
        "application/json+grpc",
        "application/grpcx",
        "\u{7f}",
    ] {
        let Ok(request) = std::panic::catch_unwind(|| post(unary, content_type, &[])) else {
            continue;
        };
        let said = peer.request(request, &framed(b""), true).await;
        assert_eq!(said.http, 415, "{content_type:?}: {said:?}");
        peer.goes_on(content_type).await;
    }
    for method in [Method::GET, Method::PUT, Method::OPTIONS, Method::DELETE] {
        let mut request = post(unary, "application/grpc", &[]);
        *request.method_mut() = method.clone();
        let said = peer.request(request, &framed(b""), true).await;
        assert_eq!(said.http, 405, "{method}: {said:?}");
        peer.goes_on(method.as_str()).await;
    }
    let long = format!("/peer.v1.Peer/{}", "x".repeat(8_000));
    for path in [
        "/",
        "//",
        "/peer.v1.Peer",
        "/peer.v1.Peer/",
        "//Unary",
        "/peer.v1.Peer/Unary/more",
        "/peer.v1.Peer/unary%00",
        "/%2e%2e/Unary",
        "/peer.v1.Nobody/Unary",
        "/...../Unary",
        &long,
    ] {
        let said = peer.call(path, "application/grpc", &framed(b"")).await;
        assert_eq!(
            (said.http, said.grpc()),
            (200, UNIMPLEMENTED),
            "{path}: {said:?}"
        );
        peer.goes_on(path).await;
    }
}

#[tokio::test]
async fn headers_that_make_no_sense() {
    let mut peer = Peer::start().await;
    let cases: &[(&str, &str, &str)] = &[
        ("grpc-timeout", "", INTERNAL),
        ("grpc-timeout", "1", INTERNAL),
        ("grpc-timeout", "S", INTERNAL),
        ("grpc-timeout", "-1S", INTERNAL),
        ("grpc-timeout", "1 S", INTERNAL),
        ("grpc-timeout", "1y", INTERNAL),
        ("grpc-timeout", "999999999S", INTERNAL),
        ("grpc-timeout", "18446744073709551616n", INTERNAL),
        // The longest there is: 11,415 years.
        ("grpc-timeout", "99999999H", OK),
        ("grpc-timeout", "0n", DEADLINE_EXCEEDED),
        ("grpc-encoding", "gzip", UNIMPLEMENTED),
        ("grpc-encoding", "\"", UNIMPLEMENTED),
        // Nobody but go-micro's clients means nanoseconds by it.
        ("timeout", "1", OK),
        ("timeout", "x", OK),
        ("x-raw-bin", "!!!", OK),
        ("grpc-accept-encoding", ",,,;;;", OK),
    ];
    for (name, value, expected) in cases {
        let request = post(
            "/peer.v1.Peer/Headers",
            "application/grpc",
            &[(name, value)],
        );
        let said = peer.request(request, &framed(b""), true).await;
        assert_eq!(
            (said.http, said.grpc()),
            (200, *expected),
            "{name}: {value}: {said:?}"
        );
        if *name == "grpc-encoding" {
            assert_eq!(said.header("grpc-accept-encoding"), "identity");
        }
        peer.goes_on(value).await;
    }
    // From go-micro's client a time-out that is none counts as absent, and one of a nanosecond is over.
    for (value, expected) in [
        ("-5", OK),
        ("99999999999999999999", OK),
        ("1", DEADLINE_EXCEEDED),
    ] {
        let headers = [("x-content-type", "application/grpc"), ("timeout", value)];
        let request = post("/peer.v1.Peer/Sleep", "application/grpc", &headers);
        // 50 ms, so that a nanosecond is over by then.
        let said = peer
            .request(request, &framed(&[0xa8, 0x01, 50]), true)
            .await;
        assert_eq!(said.grpc(), expected, "{value}: {said:?}");
        peer.goes_on(value).await;
    }
}

#[tokio::test]
async fn a_reset_in_every_state_of_a_call() {
    let mut peer = Peer::start().await;
    for body in [&b""[..], b"\0\0", &framed(b""), &prefixed(0, 100, b"abc")] {
        for path in [
            "/peer.v1.Peer/Unary",
            "/peer.v1.Peer/Chat",
            "/peer.v1.Peer/Collect",
        ] {
            let mut send = peer.send.clone().ready().await.unwrap();
            let request = post(path, "application/grpc", &[]);
            let (response, mut out) = send.send_request(request, false).unwrap();
            out.send_data(Bytes::copy_from_slice(body), false).unwrap();
            out.send_reset(h2::Reason::CANCEL);
            drop(response);
            peer.goes_on(path).await;
        }
    }
}
