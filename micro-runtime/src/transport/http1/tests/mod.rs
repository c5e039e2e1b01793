//! The client against a server over a pipe.

mod hostile;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::client::Failure;
use super::*;
use crate::exchange::{BoxFuture, Io};

const LIMIT: usize = 1024;
const SECOND: Duration = Duration::from_secs(1);

/// Answers each request with the request itself, whatever it is, and counts connections.
#[derive(Default)]
struct Echo(AtomicUsize);

impl Connect for Echo {
    fn connect<'a>(&'a self, _: &'a Origin) -> BoxFuture<'a, Result<Io, String>> {
        self.0.fetch_add(1, Ordering::SeqCst);
        let (near, mut far) = tokio::io::duplex(64 * 1024);
        tokio::spawn(async move {
            let mut buffer = vec![0; 64 * 1024];
            while let Ok(length @ 1..) = far.read(&mut buffer).await {
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
                let answer = [head.as_bytes(), &buffer[..length]].concat();
                if far.write_all(&answer).await.is_err() {
                    return;
                }
            }
        });
        Box::pin(async { Ok(Io::new(near)) })
    }
}

pub(super) fn origin(host: &str) -> Origin {
    Origin {
        host: host.into(),
        port: 8500,
        prefix: "/p".into(),
        #[cfg(feature = "tls")]
        tls: None,
    }
}

fn client(echo: &Arc<Echo>) -> Client {
    let connect = Arc::clone(echo) as Arc<dyn Connect>;
    Client::with_connect(origin("::1"), &[("x-secret", "s3cret")], connect).unwrap()
}

#[tokio::test(start_paused = true)]
async fn requests_are_written_as_http_wants_them() {
    let client = client(&Arc::default());
    let request = Request::put("/a?b=c".into(), "{}".into());
    let answer = client.send(&request, SECOND, LIMIT).await.unwrap();
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    assert!(text.starts_with("PUT /p/a?b=c HTTP/1.1\r\n"), "{text}");
    for line in [
        "host: [::1]:8500",
        "x-secret: s3cret",
        "content-type: application/json",
        "content-length: 2",
        "accept: application/json",
    ] {
        assert!(text.contains(&format!("{line}\r\n")), "{line} in {text}");
    }
    assert!(text.ends_with("\r\n\r\n{}"));
    assert!(!format!("{client:?}").contains("s3cret"));
}

#[tokio::test(start_paused = true)]
async fn few_connections_are_kept() {
    let echo = Arc::<Echo>::default();
    let client = client(&echo);
    let request = Request::get("/".into());
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let (client, request) = (client.clone(), request.clone());
        calls.spawn(async move { client.send(&request, SECOND, LIMIT).await.map(drop) });
    }
    while let Some(done) = calls.join_next().await {
        done.unwrap().unwrap();
    }
    assert_eq!(echo.0.load(Ordering::SeqCst), 10);
    assert_eq!(client.idle(), 4);
    client.send(&request, SECOND, LIMIT).await.unwrap();
    assert_eq!(echo.0.load(Ordering::SeqCst), 10);
    tokio::time::sleep(Duration::from_secs(51)).await;
    assert_eq!(client.idle(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_written_is_told() {
    let client = client(&Arc::default());
    for target in ["/a b", "/\u{7f}", "/a\r\nhost: x"] {
        let request = Request::get(target.into());
        let failure = client.send(&request, SECOND, LIMIT).await.err();
        assert!(matches!(failure, Some(Failure::Unwritable(_))), "{target}");
    }
    let secret = [("x-secret", "a\r\nb")];
    let failure = Client::new(origin("a"), &secret).unwrap_err();
    assert!(failure.to_string().contains("x-secret"));
    assert!(!failure.to_string().contains("a\r\nb"));
    assert!(Client::new(origin("a\nb"), &[]).is_err());
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_too_long_is_refused() {
    let client = client(&Arc::default());
    let request = Request::put("/".into(), vec![b' '; LIMIT].into());
    let failure = client.send(&request, SECOND, LIMIT).await.err();
    assert_eq!(failure, Some(Failure::TooLarge(LIMIT)));
}

#[tokio::test(start_paused = true)]
async fn words_are_short_and_in_one_line() {
    let client = client(&Arc::default());
    let body = format!("a\n\tb\u{1b}[0m {}", "x".repeat(900));
    let request = Request::put("/".into(), body.into());
    let answer = client.send(&request, SECOND, 4096).await.unwrap();
    let words = answer.words();
    assert!(words.starts_with("PUT /p/ HTTP/1.1 host:"), "{words}");
    assert!(!words.contains(['\n', '\t', '\u{1b}']), "{words}");
    assert!(words.chars().count() <= 301);
}
