//! The client against servers that break off, say too much, or lie.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;

use super::*;
use crate::exchange::{BoxFuture, Io};

const LIMIT: usize = 1024;
const SECOND: Duration = Duration::from_secs(1);

/// What a server does with the requests of one connection, one after the other, and then at its end.
type Script = Vec<Step>;

#[derive(Clone)]
enum Step {
    /// Reads a request to the end of its head, and says this.
    Say(Bytes),
    /// Says this over and over, until nobody takes it.
    Flood(Bytes),
    /// Says nothing more, and waits for the client's end.
    Hang,
}

/// A server with a script for each connection. Connections end with their scripts.
struct Scripted {
    connections: Mutex<VecDeque<Script>>,
    /// Told when a connection is over.
    over: mpsc::UnboundedSender<()>,
}

impl Connect for Scripted {
    fn connect<'a>(&'a self, _: &'a Origin) -> BoxFuture<'a, Result<Io, String>> {
        let script = self.connections.lock().unwrap().pop_front();
        let over = self.over.clone();
        Box::pin(async move {
            let script = script.ok_or_else(|| "no more connections".to_owned())?;
            let (near, far) = tokio::io::duplex(16 * 1024);
            tokio::spawn(async move {
                play(script, far).await;
                let _ = over.send(());
            });
            Ok(Io::new(near))
        })
    }
}

async fn play(script: Script, mut far: DuplexStream) {
    let mut read = Vec::new();
    for step in script {
        match step {
            Step::Say(said) => {
                while !read.windows(4).any(|end| end == b"\r\n\r\n") {
                    if !matches!(far.read_buf(&mut read).await, Ok(1..)) {
                        return;
                    }
                }
                read.clear();
                if far.write_all(&said).await.is_err() {
                    return;
                }
            }
            Step::Flood(said) => while far.write_all(&said).await.is_ok() {},
            Step::Hang => while matches!(far.read_buf(&mut read).await, Ok(1..)) {},
        }
    }
}

fn say(text: &str) -> Step {
    Step::Say(Bytes::copy_from_slice(text.as_bytes()))
}

fn client(connections: Vec<Script>) -> (Client, mpsc::UnboundedReceiver<()>) {
    let (over, ended) = mpsc::unbounded_channel();
    let connections = Mutex::new(connections.into());
    let server = Arc::new(Scripted { connections, over });
    let client = Client::with_connect(origin("a"), &[], server).unwrap();
    (client, ended)
}

/// What comes of one request to a server that does this with it.
async fn one(script: Script) -> Result<(u16, Bytes), Failure> {
    let (client, mut ended) = client(vec![script]);
    let sent = client.send(&Request::get("/".into()), SECOND, LIMIT).await;
    drop(client);
    // Whatever it was, nothing of it is left behind.
    let left = tokio::time::timeout(SECOND, ended.recv()).await;
    assert!(left.is_ok(), "the connection was left open");
    sent.map(|answer| (answer.status, answer.body))
}

#[tokio::test(start_paused = true)]
async fn what_was_cut_off_is_not_taken_for_whole() {
    for said in [
        // In the head.
        "HTTP/1.1 200 OK\r\ncontent-le",
        // In a body of a known length, and in one in pieces: within a piece, between two, before the last.
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{\"a\":1}",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n7\r\n{\"a\"",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n7\r\n{\"a\":1}\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n7\r\n{\"a\":1}\r\n0\r\n",
        "",
    ] {
        let sent = one(vec![say(said)]).await;
        assert!(matches!(sent, Err(Failure::Broken(_))), "{said}: {sent:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn nonsense_is_told() {
    for said in [
        "SSH-2.0-OpenSSH_9.6\r\n",
        "HTTP/9.9 200 OK\r\n\r\n",
        "HTTP/1.1 99999 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nnonsense\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
    ] {
        let sent = one(vec![say(said)]).await;
        assert!(matches!(sent, Err(Failure::Broken(_))), "{said}: {sent:?}");
    }
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x-a: b\r\n".repeat(1000));
    let long = format!("HTTP/1.1 200 OK\r\nx-a: {}\r\n\r\n", "b".repeat(70_000));
    for said in [many, long] {
        let sent = one(vec![say(&said)]).await;
        assert!(matches!(sent, Err(Failure::Broken(_))), "{sent:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_without_an_end_is_cut() {
    let close = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n";
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let piece = format!("100\r\n{}\r\n", "x".repeat(256));
    for (head, piece) in [(close, "x".repeat(256)), (chunked, piece)] {
        let sent = one(vec![say(head), Step::Flood(piece.into())]).await;
        assert_eq!(sent, Err(Failure::TooLarge(LIMIT)));
    }
    // A length that nobody would take.
    let said = "HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551613\r\n\r\n";
    let sent = one(vec![say(said), Step::Hang]).await;
    assert_eq!(sent, Err(Failure::TooLarge(LIMIT)));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_comes_to_it_is_given_up() {
    let goes_on = Bytes::from_static(b"HTTP/1.1 100 Continue\r\n\r\n");
    for script in [
        vec![Step::Hang],
        vec![say("HTTP/1.1 200 OK\r\n"), Step::Hang],
        vec![
            say("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nab"),
            Step::Hang,
        ],
        vec![Step::Say(goes_on), Step::Hang],
    ] {
        assert_eq!(one(script).await, Err(Failure::Late(SECOND)));
    }
}

#[tokio::test(start_paused = true)]
async fn where_an_answer_points_to_is_not_followed() {
    for status in [301, 302, 303, 307, 308] {
        let said = format!(
            "HTTP/1.1 {status} Elsewhere\r\nlocation: http://elsewhere.example/\r\ncontent-length: 0\r\n\r\n"
        );
        assert_eq!(one(vec![say(&said)]).await, Ok((status, Bytes::new())));
    }
}

/// An answer that nobody asked for is never given to who asks next.
#[tokio::test(start_paused = true)]
async fn an_answer_too_many_is_nobodys() {
    let answer = |text: &str| format!("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n{text}");
    let two = answer("first") + &answer("wrong");
    let (client, _ended) = client(vec![
        vec![say(&two), Step::Hang],
        vec![say(&answer("right")), Step::Hang],
    ]);
    let mut bodies = Vec::new();
    for _ in 0..2 {
        let sent = client.send(&Request::get("/".into()), SECOND, LIMIT).await;
        bodies.push(sent.unwrap().body);
    }
    assert_eq!(bodies, ["first", "right"]);
}

/// A connection whose answer was not read to its end, or came with an error, is not used again.
#[tokio::test(start_paused = true)]
async fn a_connection_that_broke_is_not_used_again() {
    let fine = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    for bad in [
        vec![
            say("HTTP/1.1 200 OK\r\ncontent-length: 2000\r\n\r\nab"),
            Step::Hang,
        ],
        vec![
            say("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nab"),
            Step::Hang,
        ],
        vec![
            say("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok"),
            Step::Hang,
        ],
        vec![
            say("HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok"),
            Step::Hang,
        ],
    ] {
        let (client, _ended) = client(vec![bad, vec![say(fine), Step::Hang]]);
        let _ = client.send(&Request::get("/".into()), SECOND, LIMIT).await;
        let sent = client.send(&Request::get("/".into()), SECOND, LIMIT).await;
        assert_eq!(sent.unwrap().body, "ok");
        assert_eq!(client.idle(), 1);
    }
}

/// One that waited and turns out to be gone costs a request nothing; that the server did not answer a new
/// connection is told.
#[tokio::test(start_paused = true)]
async fn a_request_is_sent_at_most_twice() {
    let fine = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    let (client, _ended) = client(vec![
        vec![say(fine), say("")],
        vec![say("")],
        vec![say(fine), Step::Hang],
    ]);
    let request = Request::get("/".into());
    client.send(&request, SECOND, LIMIT).await.unwrap();
    let sent = client.send(&request, SECOND, LIMIT).await.err();
    assert!(matches!(sent, Some(Failure::Broken(_))), "{sent:?}");
    client.send(&request, SECOND, LIMIT).await.unwrap();
}

#[cfg(feature = "kubernetes")]
mod streams {
    use super::*;

    const HEAD: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";

    /// The lines of an answer of this script, and how it ended.
    async fn lines(script: Script) -> (Vec<Bytes>, Result<(), Failure>) {
        let (client, mut ended) = client(vec![script]);
        let request = Request::get("/".into());
        let mut stream = client.stream(&request, SECOND).await.unwrap();
        let mut lines = Vec::new();
        let end = loop {
            match stream.line(SECOND, LIMIT).await {
                Ok(Some(line)) => lines.push(line),
                Ok(None) => break Ok(()),
                Err(failure) => break Err(failure),
            }
        };
        drop((stream, client));
        let left = tokio::time::timeout(SECOND, ended.recv()).await;
        assert!(left.is_ok(), "the connection was left open");
        (lines, end)
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_breaks_off_says_so() {
        let piece = "4\r\none\n\r\n";
        for rest in ["", "4\r\ntw", "3\r\ntwo\r\n", "0\r\n"] {
            let (lines, end) = lines(vec![say(&format!("{HEAD}{piece}{rest}"))]).await;
            assert_eq!(lines, ["one"], "{rest}");
            assert!(matches!(end, Err(Failure::Broken(_))), "{rest}: {end:?}");
        }
        let (lines, end) = lines(vec![say(&format!("{HEAD}{piece}0\r\n\r\n"))]).await;
        assert_eq!((lines, end), (vec![Bytes::from("one")], Ok(())));
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_without_an_end_is_cut() {
        let piece = format!("100\r\n{}\r\n", "x".repeat(256));
        let (found, end) = lines(vec![say(HEAD), Step::Flood(piece.into())]).await;
        assert_eq!((found, end), (vec![], Err(Failure::TooLarge(LIMIT))));
    }

    #[tokio::test(start_paused = true)]
    async fn silence_has_an_end() {
        let (found, end) = lines(vec![say(HEAD), Step::Hang]).await;
        assert_eq!((found, end), (vec![], Err(Failure::Late(SECOND))));
    }
}

#[cfg(feature = "tls")]
mod secured {
    use tokio::sync::Semaphore;

    use super::*;
    use crate::transport::{ClientTls, ServerTls};

    const CERTIFICATE: &str = include_str!("../../../../tests/engine/tls/server.pem");
    const KEY: &str = include_str!("../../../../tests/engine/tls/server.key");
    const CA: &str = include_str!("../../../../tests/engine/tls/ca.pem");

    /// Answers over TLS with a body that ends with the connection, and ends that with a goodbye or without.
    struct Closing {
        goodbye: bool,
    }

    impl Connect for Closing {
        fn connect<'a>(&'a self, _: &'a Origin) -> BoxFuture<'a, Result<Io, String>> {
            let goodbye = self.goodbye;
            Box::pin(async move {
                let (near, far) = tokio::io::duplex(16 * 1024);
                tokio::spawn(async move {
                    let tls = ServerTls::from_pem(CERTIFICATE, KEY);
                    tls.load().unwrap();
                    let accepted = tls.accept(Io::new(far), &Semaphore::new(1)).await;
                    let Ok(mut secured) = accepted else {
                        panic!("the handshake failed");
                    };
                    let mut request = bytes::BytesMut::with_capacity(1024);
                    while !request.ends_with(b"\r\n\r\n") {
                        assert_ne!(secured.io.read_buf(&mut request).await.unwrap(), 0);
                    }
                    let answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"a\":1}";
                    secured.io.write_all(answer).await.unwrap();
                    secured.io.flush().await.unwrap();
                    if goodbye {
                        secured.io.shutdown().await.unwrap();
                    }
                });
                let tls = ClientTls::new().ca_pem(CA);
                let secured = tls.connect(Io::new(near), "localhost", &[]).await;
                secured.map_err(|broken| broken.detail)
            })
        }
    }

    /// Without TLS nobody can tell; with it, an end that the server did not say is one that somebody made.
    #[tokio::test]
    async fn a_body_that_ends_with_the_connection_needs_its_goodbye() {
        for goodbye in [true, false] {
            let server = Arc::new(Closing { goodbye });
            let client = Client::with_connect(origin("localhost"), &[], server).unwrap();
            let sent = client
                .send(&Request::get("/".into()), SECOND * 30, LIMIT)
                .await;
            match (goodbye, sent) {
                (true, Ok(answer)) => assert_eq!(answer.body, "{\"a\":1}"),
                (false, Err(Failure::Broken(why))) => {
                    assert!(why.contains("close_notify"), "{why}")
                }
                (_, Ok(answer)) => panic!("taken for whole: {:?}", answer.body),
                (_, Err(failure)) => panic!("{failure}"),
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_post_is_sent_once() {
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    let post = || Request::post("/".into(), Bytes::from_static(b"{}"));
    // The server takes the second request of a connection, and closes it.
    let (first, _) = client(vec![vec![say(answer), say("")], vec![say(answer)]]);
    first.send(&post(), SECOND, LIMIT).await.unwrap();
    let failure = first.send(&post(), SECOND, LIMIT).await.err();
    assert!(matches!(failure, Some(Failure::Broken(_))), "{failure:?}");
    // What may be done twice is.
    let (second, _) = client(vec![vec![say(answer), say("")], vec![say(answer)]]);
    let get = Request::get("/".into());
    second.send(&get, SECOND, LIMIT).await.unwrap();
    second.send(&get, SECOND, LIMIT).await.unwrap();
    // A connection that had been closed before has seen nothing of it.
    let (third, mut over) = client(vec![vec![say(answer)], vec![say(answer)]]);
    third.send(&post(), SECOND, LIMIT).await.unwrap();
    over.recv().await.unwrap();
    third.send(&post(), SECOND, LIMIT).await.unwrap();
}
