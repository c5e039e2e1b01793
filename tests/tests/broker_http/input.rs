//! Bytes that are no event, or come too slowly.

use std::time::Duration;

use micro_runtime::broker::{Broker, Topic};
use micro_runtime::registry::Memory;
use micro_tests::events::{Acking, publish};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::{broker, entry, message, post, say};

const GOOD: &str = r#"{"Header":{"Micro-Topic":"t"},"Body":"aGk="}"#;

#[tokio::test]
async fn what_is_no_event_is_refused_as_go_refuses_it() {
    let registry = Memory::new();
    let mut open = Acking::subscribe(&broker(&registry), &Topic::new("t"))
        .await
        .unwrap();
    let node = entry(&registry).await;
    let deep = format!(
        r#"{{"Header":{}1{}}}"#,
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    for (what, request, status, detail) in [
        (
            "a GET",
            b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_vec(),
            405,
            "Method not allowed",
        ),
        (
            "a PUT",
            b"PUT / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"
                .to_vec(),
            405,
            "Method not allowed",
        ),
        (
            "no JSON",
            post(&node.id, "{"),
            500,
            "Error parsing request body",
        ),
        (
            "nothing",
            post(&node.id, ""),
            500,
            "Error parsing request body",
        ),
        ("a list", post(&node.id, "[]"), 500, ""),
        (
            "deep JSON",
            post(&node.id, &deep),
            500,
            "Error parsing request body",
        ),
        (
            "no base64",
            post(&node.id, r#"{"Header":{"Micro-Topic":"t"},"Body":"!"}"#),
            500,
            "base64",
        ),
        (
            "no header",
            post(&node.id, r#"{"Body":"aGk="}"#),
            500,
            "Topic not found",
        ),
        (
            "no topic",
            post(&node.id, r#"{"Header":{"Micro-Topic":""}}"#),
            500,
            "Topic not found",
        ),
        (
            "another topic",
            post(&node.id, r#"{"Header":{"Micro-Topic":"u"}}"#),
            410,
            "nobody is subscribed",
        ),
        ("another id", post("t-1", GOOD), 410, "nobody is subscribed"),
        ("no id", post("", GOOD), 410, "nobody is subscribed"),
    ] {
        let answer = say(&node.address, &request).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{what}: {answer}"
        );
        assert!(
            answer.contains(r#"{"id":"go.micro.broker","code":"#),
            "{what}: {answer}"
        );
        assert!(answer.contains(detail), "{what}: {answer}");
    }
    for junk in [
        &b"\x16\x03\x01\x02\x00\x01\x00"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\0\0\0\0\r\n\r\n",
    ] {
        let answer = say(&node.address, junk).await;
        assert!(!answer.contains(" 200 "), "{answer}");
    }
    assert!(open.events.try_recv().is_err());
    publish(&broker(&registry), message("t")).await.unwrap();
    open.next().await.unwrap();
}

#[tokio::test]
async fn a_large_body_is_refused_before_it_is_read() {
    let registry = Memory::new();
    let ours = broker(&registry).max_body(1000);
    let mut open = Acking::subscribe(&ours, &Topic::new("t")).await.unwrap();
    let node = entry(&registry).await;
    let announced = format!(
        "POST /?id={} HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n",
        node.id
    );
    let answer = say(&node.address, announced.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    // In chunks it shows only as it comes.
    let chunk = format!("3e8\r\n{}\r\n", "x".repeat(1000));
    let chunked = format!(
        "POST /?id={} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}{chunk}",
        node.id
    );
    let answer = say(&node.address, chunked.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    let error = publish(
        &broker(&registry),
        message("t").header("x-a", "x".repeat(1000)),
    )
    .await;
    let words = error.unwrap_err().to_string();
    assert!(
        words.contains("413") && words.contains("1000 bytes"),
        "{words}"
    );
    let small = format!(
        "POST /?id={} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{GOOD}\r\n0\r\n\r\n",
        node.id,
        GOOD.len()
    );
    let answer = say(&node.address, small.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    open.next().await.unwrap();
}

/// Says this, and waits for the end; how long that took, and what was answered.
async fn trickle(address: &str, said: &str) -> (Duration, String) {
    let begun = Instant::now();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(said.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    (begun.elapsed(), String::from_utf8(answer).unwrap())
}

#[tokio::test(start_paused = true)]
async fn who_is_slow_is_shown_the_door() {
    let registry = Memory::new();
    let _open = broker(&registry).subscribe(&Topic::new("t")).await.unwrap();
    let node = entry(&registry).await;
    let (nothing, head) = tokio::join!(
        trickle(&node.address, ""),
        trickle(&node.address, "POST / HTTP/1.1\r\nHost: x\r\nX-A"),
    );
    for (took, answer) in [nothing, head] {
        assert!(took < Duration::from_secs(15), "{took:?}");
        assert_eq!(answer, "");
    }
    let body = format!(
        "POST /?id={} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 10\r\n\r\n{{",
        node.id
    );
    let (took, answer) = trickle(&node.address, &body).await;
    assert!(took < Duration::from_secs(15), "{took:?}");
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    // A connection that waits for its next event is kept for minutes.
    let body = r#"{"Header":{"Micro-Topic":"u"}}"#;
    let whole = format!(
        "POST /?id=x HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let (took, answer) = trickle(&node.address, &whole).await;
    assert!(answer.starts_with("HTTP/1.1 410 "), "{answer}");
    assert!((295..310).contains(&took.as_secs()), "{took:?}");
}
