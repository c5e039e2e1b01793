//! The client and servers that are not as they should be.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::jute::Writer;
use super::proto::{Error, op, xid};
use super::wire::{Frame, Frames, put_frame};
use super::{ANSWER_MAX, Client, NOTICES, Options, Server, State};

/// How long anything may take that happens at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// A server that does what a test says.
struct Fake(TcpListener);

/// A connection to it.
struct Conn(Frames<TcpStream>, BytesMut);

impl Fake {
    async fn new() -> Fake {
        Fake(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    fn options(&self, session_timeout: Duration) -> Arc<Options> {
        Arc::new(Options {
            servers: vec![Server {
                host: "127.0.0.1".into(),
                port: self.0.local_addr().unwrap().port(),
                #[cfg(feature = "tls")]
                tls: None,
            }],
            session_timeout,
            digest: None,
        })
    }

    /// Takes a connection; gives the session that it asks for.
    async fn take(&self) -> (Conn, i64) {
        let (stream, _) = self.0.accept().await.unwrap();
        let mut conn = Conn(Frames::new(stream, BytesMut::new()), BytesMut::new());
        let mut hello = conn.read().await;
        let _ = (hello.int(), hello.long(), hello.int());
        let session = hello.long().unwrap();
        (conn, session)
    }

    /// Takes a connection and gives it a session of this time; what it is asked next is the test's.
    async fn greet(&self, session: i64, millis: i32) -> Conn {
        let (mut conn, _) = self.take().await;
        conn.welcome(session, millis).await;
        conn
    }

    /// A client and its connection.
    async fn client(&self, millis: i32) -> (Client, Conn) {
        let time = Duration::from_millis(millis.unsigned_abs().into());
        let (client, conn) =
            tokio::join!(Client::connect(self.options(time)), self.greet(7, millis));
        (client.unwrap(), conn)
    }
}

impl Conn {
    async fn read(&mut self) -> super::jute::Reader {
        match timeout(PATIENCE, self.0.next()).await.unwrap() {
            Ok(Frame::Whole(message)) => super::jute::Reader::new(message),
            other => panic!("expected a message, found {other:?}"),
        }
    }

    /// The number and the kind of the next request that is no ping.
    async fn asked(&mut self) -> (i32, i32) {
        loop {
            let mut request = self.read().await;
            let (xid, operation) = (request.int().unwrap(), request.int().unwrap());
            if operation != op::PING {
                return (xid, operation);
            }
        }
    }

    async fn welcome(&mut self, session: i64, millis: i32) {
        let welcome = Writer::default().int(0).int(millis).long(session);
        self.say(&welcome.data(b"0123456789abcdef").bool(false).done())
            .await;
    }

    async fn say(&mut self, message: &[u8]) {
        put_frame(&mut self.1, message);
        self.0.stream().write_all(&self.1).await.unwrap();
        self.1.clear();
    }

    async fn answer(&mut self, xid: i32, code: i32, body: &[u8]) {
        let head = Writer::default().int(xid).long(1).int(code);
        self.say(&head.append(body).done()).await;
    }

    async fn event(&mut self, path: &str) {
        let (created, connected) = (1, 3);
        let body = Writer::default().int(created).int(connected).text(path);
        self.answer(xid::EVENT, 0, &body.done()).await;
    }
}

async fn becomes(client: &Client, is: impl Fn(&State) -> bool) {
    let mut state = client.state();
    let became = timeout(PATIENCE, state.wait_for(|state| is(state))).await;
    became.expect("the state in time").unwrap();
}

fn names() -> Bytes {
    Writer::default().int(1).text("a").done()
}

#[tokio::test]
async fn a_lost_connection_is_made_again_with_its_session() {
    let fake = Fake::new().await;
    let (client, mut conn) = fake.client(4_000).await;
    let asked = tokio::spawn({
        let client = client.clone();
        async move { client.children("/").await }
    });
    assert_eq!(conn.asked().await.1, op::GET_CHILDREN);
    drop(conn);
    // It may have been done or not.
    assert_eq!(asked.await.unwrap(), Err(Error::ConnectionLost));
    becomes(&client, |state| matches!(state, State::Disconnected(_))).await;
    assert_eq!(client.children("/").await, Err(Error::ConnectionLost));
    let (mut conn, session) = fake.take().await;
    assert_eq!(session, 7);
    conn.welcome(7, 4_000).await;
    becomes(&client, |state| *state == State::Connected).await;
    let (names, ()) = tokio::join!(client.children("/"), async {
        let (xid, _) = conn.asked().await;
        conn.answer(xid, 0, &names()).await;
    });
    assert_eq!(names, Ok(vec!["a".to_owned()]));
    // Nobody needs it any more: it says so.
    drop(client);
    assert_eq!(conn.asked().await.1, op::CLOSE_SESSION);
}

#[tokio::test]
async fn a_session_that_has_expired_is_over() {
    let fake = Fake::new().await;
    let (client, conn) = fake.client(4_000).await;
    drop(conn);
    let (mut conn, _) = fake.take().await;
    conn.welcome(0, 0).await;
    becomes(&client, |state| {
        *state == State::Over("it has expired".into())
    })
    .await;
    assert_eq!(client.children("/").await, Err(Error::SessionLost));
    assert!(client.is_over());
}

/// A server that has lost its memory closes each connection without a word: the session is given up.
#[tokio::test]
async fn a_session_that_no_server_takes_is_over() {
    let fake = Fake::new().await;
    let (client, conn) = fake.client(300).await;
    drop(conn);
    let closing = async {
        loop {
            drop(fake.take().await);
        }
    };
    tokio::select! {
        () = closing => {}
        () = becomes(&client, |state| matches!(state, State::Over(_))) => {}
    }
}

#[tokio::test]
async fn a_server_that_falls_silent_is_left() {
    let fake = Fake::new().await;
    let (client, mut conn) = fake.client(600).await;
    // It is asked for a sign of life, once.
    let mut ping = conn.read().await;
    assert_eq!((ping.int(), ping.int()), (Ok(xid::PING), Ok(op::PING)));
    becomes(
        &client,
        |state| matches!(state, State::Disconnected(why) if why.contains("nothing came")),
    )
    .await;
    assert!(matches!(timeout(PATIENCE, conn.0.next()).await, Ok(Err(_))));
}

#[tokio::test]
async fn answers_out_of_turn_and_garbage_end_the_connection() {
    for garbage in [false, true] {
        let fake = Fake::new().await;
        let (client, mut conn) = fake.client(4_000).await;
        let (asked, ()) = tokio::join!(client.children("/"), async {
            let (xid, _) = conn.asked().await;
            if garbage {
                conn.say(b"\0\0\0").await;
            } else {
                conn.answer(xid + 1, 0, &names()).await;
            }
        });
        assert_eq!(asked, Err(Error::ConnectionLost));
        assert!(matches!(timeout(PATIENCE, conn.0.next()).await, Ok(Err(_))));
    }
    // An answer that is cut short harms nobody but who asked.
    let fake = Fake::new().await;
    let (client, mut conn) = fake.client(4_000).await;
    let (asked, ()) = tokio::join!(client.children("/"), async {
        let (xid, _) = conn.asked().await;
        conn.answer(xid, 0, &[0, 0]).await;
    });
    assert_eq!(asked, Err(Error::Malformed));
    assert_eq!(*client.state().borrow(), State::Connected);
}

#[tokio::test]
async fn an_answer_that_is_too_large_fails_its_call_alone() {
    let fake = Fake::new().await;
    let (client, mut conn) = fake.client(60_000).await;
    let (asked, ()) = tokio::join!(client.get_data("/a"), async {
        let (xid, _) = conn.asked().await;
        conn.answer(xid, 0, &vec![0; ANSWER_MAX]).await;
    });
    assert_eq!(asked.unwrap_err(), Error::TooLarge(ANSWER_MAX + 16));
    let (names, ()) = tokio::join!(client.children("/"), async {
        let (xid, _) = conn.asked().await;
        conn.answer(xid, 0, &names()).await;
    });
    assert_eq!(names, Ok(vec!["a".to_owned()]));
}

/// Who asked and has gone is not asked for; calls in any number end.
#[tokio::test]
async fn calls_that_were_given_up_are_not_made() {
    let fake = Fake::new().await;
    let (client, mut conn) = fake.client(60_000).await;
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..3000 {
        let client = client.clone();
        calls.spawn(async move { client.children("/").await });
    }
    // Nobody answers: what does not fit waits.
    assert_eq!(conn.asked().await, (1, op::GET_CHILDREN));
    calls.shutdown().await;
    let (names, ()) = tokio::join!(client.children("/last"), async {
        for number in 1.. {
            conn.answer(number, 0, &names()).await;
            let mut request = conn.read().await;
            let _ = (request.int(), request.int());
            if request.text().is_ok_and(|path| path == "/last") {
                assert!(number < 1200, "{number}");
                conn.answer(number + 1, 0, &names()).await;
                break;
            }
        }
    });
    assert_eq!(names, Ok(vec!["a".to_owned()]));
}

#[tokio::test]
async fn watches_are_told_of_what_is_below_and_taken_away_at_the_end() {
    let fake = Fake::new().await;
    let (client, mut conn) = fake.client(60_000).await;
    let (watch, ()) = tokio::join!(client.watch("/root/a"), async {
        let (xid, operation) = conn.asked().await;
        assert_eq!(operation, op::ADD_WATCH);
        conn.answer(xid, 0, &[]).await;
        for path in ["/root/a", "/root/ab", "/root", "/root/a/1"] {
            conn.event(path).await;
        }
    });
    let mut watch = watch.unwrap();
    assert_eq!(watch.next().await.as_deref(), Some("/root/a"));
    assert_eq!(watch.next().await.as_deref(), Some("/root/a/1"));
    // A second on the same path, of which one is dropped: the other goes on.
    let (second, ()) = tokio::join!(client.watch("/root/a"), async {
        let (xid, _) = conn.asked().await;
        conn.answer(xid, 0, &[]).await;
    });
    drop(second.unwrap());
    conn.event("/root/a/2").await;
    assert_eq!(watch.next().await.as_deref(), Some("/root/a/2"));
    drop(watch);
    assert_eq!(conn.asked().await.1, op::REMOVE_WATCHES);
}

#[tokio::test]
async fn a_watch_ends_with_its_connection_and_when_it_is_not_read() {
    let fake = Fake::new().await;
    let (client, mut conn) = fake.client(60_000).await;
    let (watch, ()) = tokio::join!(client.watch("/a"), async {
        let (xid, _) = conn.asked().await;
        conn.answer(xid, 0, &[]).await;
        for _ in 0..=NOTICES {
            conn.event("/a/1").await;
        }
    });
    // What is answered later has come later: all events have been dealt with.
    let (names, ()) = tokio::join!(client.children("/"), async {
        let (xid, _) = conn.asked().await;
        conn.answer(xid, 0, &names()).await;
    });
    names.unwrap();
    let mut watch = watch.unwrap();
    let mut told = 0;
    while timeout(PATIENCE, watch.next()).await.unwrap().is_some() {
        told += 1;
    }
    assert_eq!(told, NOTICES);
    let (watch, ()) = tokio::join!(client.watch("/b"), async {
        let (xid, _) = conn.asked().await;
        conn.answer(xid, 0, &[]).await;
    });
    drop(conn);
    let mut watch = watch.unwrap();
    assert_eq!(timeout(PATIENCE, watch.next()).await.unwrap(), None);
}

/// Nobody has the client while there is no connection: nothing goes on.
#[tokio::test]
async fn reconnecting_ends_with_the_client() {
    let fake = Fake::new().await;
    let (client, conn) = fake.client(60_000).await;
    let state = client.state();
    drop(conn);
    becomes(&client, |state| matches!(state, State::Disconnected(_))).await;
    drop(client);
    // Its sender goes with the task.
    let mut state = state;
    let ended = async { while state.changed().await.is_ok() {} };
    timeout(PATIENCE, ended).await.unwrap();
}
