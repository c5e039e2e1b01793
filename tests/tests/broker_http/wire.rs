//! What go-micro would see of us, and what we make of what it sends.

use micro_runtime::broker::{Broker, Topic};
use micro_runtime::registry::{Memory, Node, Registry, Service};
use micro_tests::events::{Acking, next, publish};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::{broker, entries, entry, message, post, say};

#[tokio::test]
async fn an_entry_is_that_of_go() {
    let registry = Memory::new();
    let ours = broker(&registry);
    let all = ours.subscribe(&Topic::new("a.b")).await.unwrap();
    let queue = ours.subscribe(&Topic::new("a.b").queue("q")).await.unwrap();
    let found = entries(&registry).await;
    let versions: Vec<_> = found.iter().map(|(version, _)| version.as_str()).collect();
    assert_eq!(versions, ["ff.http.broadcast", "q"]);
    for (_, node) in &found {
        let uuid = node.id.strip_prefix("a.b-").expect("<topic>-<uuid>");
        assert_eq!(uuid.len(), 36, "{}", node.id);
        assert_eq!(
            Some(node.address.as_str()),
            ours.listening().await.as_deref()
        );
        assert!(node.address.starts_with("127.0.0.1:"), "{}", node.address);
        let metadata: Vec<_> = node
            .metadata
            .iter()
            .map(|(k, v)| format!("{k}={v}"))
            .collect();
        assert_eq!(metadata, ["broker=http", "secure=false", "topic=a.b"]);
    }
    drop((all, queue));
}

#[tokio::test]
async fn a_wildcard_is_registered_as_an_address_that_others_reach() {
    let registry = Memory::new();
    let ours = broker(&registry).address(":0");
    let _open = ours.subscribe(&Topic::new("t")).await.unwrap();
    let address = entry(&registry).await.address;
    assert!(
        !address.starts_with("0.0.0.0") && !address.starts_with("[::]"),
        "{address}"
    );
    publish(&broker(&registry).require_subscriber(true), message("u"))
        .await
        .unwrap_err();
    let registry = Memory::new();
    let ours = broker(&registry)
        .address("127.0.0.1:0")
        .advertise("events.example:8090");
    let _open = ours.subscribe(&Topic::new("t")).await.unwrap();
    assert_eq!(entry(&registry).await.address, "events.example:8090");
}

#[tokio::test]
async fn an_event_of_go_is_received() {
    let registry = Memory::new();
    let mut open = Acking::subscribe(&broker(&registry), &Topic::new("go.micro.evt.greeter"))
        .await
        .unwrap();
    let node = entry(&registry).await;
    let body = r#"{"Header":{"Content-Type":"application/grpc+proto","Micro-From-Service":"go.micro.client","Micro-Namespace":"go.micro","Micro-Topic":"go.micro.evt.greeter","X-Foo-Bar":"Baz"},"Body":"CgJoaRAB"}"#;
    let answer = say(&node.address, &post(&node.id, body)).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("content-length: 0\r\n"), "{answer}");
    let event = open.next().await.unwrap();
    assert_eq!(event.topic(), "go.micro.evt.greeter");
    assert_eq!(&event.body()[..], b"\x0a\x02hi\x10\x01");
    assert_eq!(event.attempt(), 1);
    let headers = event.headers();
    for (name, value) in [
        ("content-type", "application/grpc+proto"),
        ("micro-from-service", "go.micro.client"),
        ("x-foo-bar", "Baz"),
    ] {
        assert_eq!(headers.get(name), Some(value), "{name}");
    }
}

/// Reads a request, answers it, and gives it.
async fn answered(listener: &TcpListener, answer: &str) -> String {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut read = Vec::new();
    while !read.ends_with(b"}") {
        assert!(stream.read_buf(&mut read).await.unwrap() > 0);
    }
    stream.write_all(answer.as_bytes()).await.unwrap();
    String::from_utf8(read).unwrap()
}

#[tokio::test]
async fn a_request_is_one_that_go_reads() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let registry = Memory::new();
    let node = Node {
        id: "a.b-1/2 3".to_owned(),
        address: address.clone(),
        metadata: [("broker", "http"), ("secure", "false"), ("topic", "a.b")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
    };
    let go = Service {
        name: "micro.http.broker".to_owned(),
        version: "ff.http.broadcast".to_owned(),
        nodes: vec![node],
        ..Service::default()
    };
    registry.register(&go, Duration::ZERO).await.unwrap();
    let ours = broker(&registry);
    let event = message("a.b")
        .header("x-foo-bar", "Baz")
        .header("micro-topic", "other");
    let ok = "HTTP/1.1 200 OK\r\nDate: Mon, 23 Nov 2026 18:00:00 GMT\r\nContent-Length: 0\r\n\r\n";
    let (published, request) = tokio::join!(publish(&ours, event.clone()), answered(&listener, ok));
    published.unwrap();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert!(
        head.starts_with("POST /?id=a.b-1%2F2%203 HTTP/1.1\r\n"),
        "{head}"
    );
    assert!(head.contains("content-type: application/json"), "{head}");
    assert!(
        head.contains(&format!("content-length: {}", body.len())),
        "{head}"
    );
    assert_eq!(
        body,
        r#"{"Header":{"Content-Type":"application/json","Micro-Topic":"a.b","X-Foo-Bar":"Baz"},"Body":"aGk="}"#
    );
    // Any 2xx will do, and nothing else.
    for (status, is_good) in [
        ("202 Accepted", true),
        ("404 Not Found", false),
        ("500 Oh", false),
    ] {
        let answer =
            format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 4\r\n\r\nwhy!");
        let (published, _) =
            tokio::join!(publish(&ours, event.clone()), answered(&listener, &answer));
        assert_eq!(published.is_ok(), is_good, "{status}");
        if let Err(error) = published {
            let words = error.to_string();
            assert!(
                words.contains(&status[..3]) && words.contains("why!"),
                "{words}"
            );
            assert!(
                words.contains(&format!("a.b-1/2 3 at {address}")),
                "{words}"
            );
        }
    }
}

#[tokio::test]
async fn a_connection_is_kept() {
    let registry = Memory::new();
    let mut open = broker(&registry).subscribe(&Topic::new("t")).await.unwrap();
    let node = entry(&registry).await;
    let mut stream = tokio::net::TcpStream::connect(&node.address).await.unwrap();
    for _ in 0..3 {
        let body = r#"{"Header":{"Micro-Topic":"t"},"Body":null}"#;
        let head = format!(
            "POST /?id={} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
            node.id,
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(body.as_bytes()).await.unwrap();
        let event = next(&mut open).await.unwrap();
        assert!(event.body().is_empty());
        event.ack().await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            assert!(stream.read_buf(&mut answer).await.unwrap() > 0);
        }
        assert!(answer.starts_with(b"HTTP/1.1 200"));
    }
}
