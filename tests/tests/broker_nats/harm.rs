//! What others do meanwhile, to streams, permissions and bytes; and events that no server takes.

use std::time::Duration;

use micro_runtime::broker::{Message, Nats, Topic};
use micro_runtime::{Error, ErrorKind};
use micro_tests::broker_contract::unreachable;
use micro_tests::nats::{Hub, NEW, OLD, Raw};
use micro_tests::proxy::Proxy;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::kit::{
    LEAST, LONG, ONCE, broker, item, next, number, numbered, publish, subscribe, topic,
    try_publish, until,
};

/// The id goes into a header of NATS, and counts as the event's size.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_that_no_header_takes() {
    const MOST: usize = 1024 * 1024;
    let hub = Hub::jetstream(NEW).await;
    let ours = broker(&hub);
    let error = try_publish(&ours, Message::new("t", "x").id("a\r\nb: c"), LEAST, LONG).await;
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("without line breaks"), "{error}");
    // One that is as large as a payload may be, by what is said of one that is larger.
    let padded = |bytes: usize| {
        let event = Message::new("t", vec![0; 700_000]).id("7");
        event.header("pad", "x".repeat(bytes))
    };
    let size = |error: Error| -> usize {
        let text = error.to_string();
        let words = text.split("has ").nth(1).unwrap();
        words.split(' ').next().unwrap().parse().unwrap()
    };
    let larger = try_publish(&ours, padded(200_000), ONCE, LONG).await;
    let padding = 200_000 + MOST - size(larger.unwrap_err());
    publish(&ours, padded(padding), ONCE).await;
    let error = try_publish(&ours, padded(padding), LEAST, LONG).await;
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    let header = size(error) - MOST;
    publish(&ours, padded(padding - header), LEAST).await;
}

/// Somebody removes the stream while core subscribers listen, so that no publish hears that nobody answers. (2.9
/// removes the files of such a stream while it writes the next one of the name, and loses what it confirms.)
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_removed_is_made_again() {
    let hub = Hub::jetstream(NEW).await;
    let ours = broker(&hub);
    let mut core = subscribe(&ours, &Topic::new("t")).await;
    let mut kept = subscribe(&ours, &topic("t").queue("q")).await;
    publish(&ours, numbered("t", 1), LEAST).await;
    next(&mut kept).await.ack().await.unwrap();
    let mut raw = Raw::connect(&hub.address()).await;
    raw.subscribe("answers", 1).await;
    raw.ask("$JS.API.STREAM.DELETE.micro-t", "answers", b"")
        .await;
    let (_, _, deleted) = raw.message().await;
    assert_eq!(deleted["success"], true, "{deleted}");
    publish(&ours, numbered("t", 2), LEAST).await;
    let event = next(&mut kept).await;
    assert_eq!((number(&event), event.attempt()), (2, 1));
    event.ack().await.unwrap();
    assert_eq!(number(&next(&mut core).await), 1);
}

/// Nobody but the publisher at least once would make it again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_removed_under_a_publisher() {
    let hub = Hub::jetstream(NEW).await;
    let ours = broker(&hub);
    let mut core = subscribe(&broker(&hub), &Topic::new("t")).await;
    publish(&ours, numbered("t", 1), LEAST).await;
    let mut raw = Raw::connect(&hub.address()).await;
    raw.subscribe("answers", 1).await;
    raw.ask("$JS.API.STREAM.DELETE.micro-t", "answers", b"")
        .await;
    raw.message().await;
    publish(&ours, numbered("t", 2), LEAST).await;
    for _ in 0..2 {
        next(&mut core).await;
    }
}

/// What the server was not told during an outage it is told at once: the time until it hands the event to
/// somebody else runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handlers_that_run_are_told_of_with_each_connection() {
    let hub = Hub::jetstream(NEW).await;
    let proxy = Proxy::to(hub.address()).await;
    let ours = Nats::new([proxy.address()]);
    // A third of this is further away than what is waited for here.
    let wanted = topic("t").queue("q").ack_wait(Duration::from_secs(120));
    let mut consumer = subscribe(&ours, &wanted).await;
    publish(&ours, numbered("t", 1), LEAST).await;
    let event = next(&mut consumer).await;
    let mut raw = Raw::connect(&hub.address()).await;
    raw.subscribe("$JS.ACK.>", 1).await;
    proxy.cut();
    let told = timeout(LONG / 2, raw.message()).await;
    let (_, _, said) = told.expect("the server is told that the handler runs");
    assert_eq!(said, "+WPI");
    event.ack().await.unwrap();
}

const FEW: &str = r#"authorization { users: [ { user: u, password: x, permissions: {
    publish: ["ok.>", "_INBOX.>"], subscribe: ["ok.>", "_INBOX.>"] } } ] }"#;
const OTHERS: &str = r#"authorization { users: [ { user: u, password: x, permissions: {
    publish: ["late.>", "_INBOX.>"], subscribe: ["late.>", "_INBOX.>"] } } ] }"#;

/// However many topics are refused, each publish is told so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_refusals() {
    let hub = Hub::configured(NEW, FEW).await;
    let ours = Nats::new([format!("nats://u:x@{}", hub.address())]);
    for n in 0..100 {
        let message = numbered(&format!("no.{n}"), n);
        let error = try_publish(&ours, message, ONCE, LONG).await;
        let error = error.expect_err("it is refused");
        assert_eq!(error.kind(), ErrorKind::Config, "{n}");
    }
}

/// Permissions that are taken back end a subscription with an error; those that are given count.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn permissions_that_change() {
    for program in [NEW, OLD] {
        let hub = Hub::configured(program, FEW).await;
        let ours = Nats::new([format!("nats://u:x@{}", hub.address())]);
        let mut consumers = vec![
            subscribe(&ours, &Topic::new("ok.t")).await,
            subscribe(&ours, &Topic::new("ok.t").queue("q")).await,
        ];
        publish(&ours, numbered("ok.t", 1), ONCE).await;
        for consumer in &mut consumers {
            assert_eq!(number(&next(consumer).await), 1);
        }
        let error = try_publish(&ours, numbered("late.t", 1), ONCE, LONG).await;
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Config);
        hub.server.reload("server.conf", OTHERS);
        for consumer in &mut consumers {
            let error = item(consumer).await.expect("it ends with an error");
            assert_eq!(error.unwrap_err().kind(), ErrorKind::Config);
            assert!(item(consumer).await.is_none());
        }
        let mut late = subscribe(&ours, &Topic::new("late.t")).await;
        publish(&ours, numbered("late.t", 2), ONCE).await;
        assert_eq!(number(&next(&mut late).await), 2);
        // What was allowed is refused, from the first or the second publish on: the first may be told too late.
        until("it is refused", async || {
            let refused = try_publish(&ours, numbered("ok.t", 3), ONCE, LONG).await;
            refused.is_err_and(|error| error.kind() == ErrorKind::Config)
        })
        .await;
    }
}

/// A server that is none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_instead_of_a_server() {
    let info = r#"INFO {"server_id":"x","version":"2.10.0","max_payload":1048576,"headers":true}"#;
    for said in [
        b"\xff\xfe\x00HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
        b"INFO {\"max_payload\":-1}\r\n".to_vec(),
        format!("{info}\r\nMSG t 1 99999999999999\r\nxxxxxxxx\r\n").into_bytes(),
        format!("{info}\r\nHMSG t 1 9999 1\r\nx\r\n\u{ff}\u{fe}\r\n").into_bytes(),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let speaking = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                // Whoever has heard enough may be gone.
                let _ = stream.write_all(&said).await;
                let _ = stream.shutdown().await;
            }
        });
        unreachable("nats garbage", || Nats::new([&address]), &[ONCE, LEAST]).await;
        speaking.abort();
    }
}

/// A network on which each answer takes 200 ms: publishes are on their way side by side.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_network() {
    let hub = Hub::jetstream(NEW).await;
    let proxy = Proxy::to(hub.address()).await;
    let ours = Nats::new([proxy.address()]);
    let mut kept = subscribe(&ours, &topic("t").queue("q").concurrency(8)).await;
    proxy.delay(Duration::from_millis(100));
    let begun = std::time::Instant::now();
    let mut publishing = JoinSet::new();
    for n in 0..200 {
        let ours = ours.clone();
        let delivery = if n % 2 == 0 { ONCE } else { LEAST };
        publishing.spawn(async move { publish(&ours, numbered("t", n), delivery).await });
    }
    while let Some(published) = publishing.join_next().await {
        published.unwrap();
    }
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?}");
    crate::kit::drain(&mut kept, (0..200).collect()).await;
}
