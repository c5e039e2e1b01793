//! An agent over pipes.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};

use crate::exchange::{BoxFuture, Io};
use crate::transport::http1::{Connect, Origin};

/// How long a test waits for a request, in paused time.
const PATIENCE: Duration = Duration::from_secs(86_400);

/// What was asked.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// `PUT /v1/…?…`
    pub(super) line: String,
    pub(super) token: Option<String>,
    pub(super) body: String,
    pub(super) at: Instant,
}

/// What it does with a request.
#[derive(Clone, Debug)]
pub(super) enum Reply {
    /// This status, index and body.
    Say(u16, Option<u64>, String),
    /// The same, later.
    Late(Duration, Box<Reply>),
    /// These bytes, and the end of the connection.
    Cut(Vec<u8>),
    /// Nothing, for ever.
    Silence,
}

type Answer = dyn FnMut(&Asked) -> Reply + Send;

/// The agent. Clones are the same one.
#[derive(Clone)]
pub(super) struct Fake(Arc<State>);

struct State {
    answer: Mutex<Box<Answer>>,
    asked: Mutex<Vec<Asked>>,
    news: Notify,
    /// Connections are refused.
    down: AtomicBool,
    /// Changes when the agent dies: connections end.
    age: watch::Sender<u64>,
    connections: AtomicUsize,
    open: Arc<AtomicUsize>,
}

struct Network(Fake);

// ===== impl Fake =====

impl Fake {
    /// One that answers as this says.
    pub(super) fn new(answer: impl FnMut(&Asked) -> Reply + Send + 'static) -> Fake {
        Fake(Arc::new(State {
            answer: Mutex::new(Box::new(answer)),
            asked: Mutex::default(),
            news: Notify::new(),
            down: AtomicBool::new(false),
            age: watch::Sender::new(0),
            connections: AtomicUsize::new(0),
            open: Arc::default(),
        }))
    }

    /// One that gives these answers, one after the other, and then is silent.
    pub(super) fn script(replies: impl IntoIterator<Item = Reply>) -> Fake {
        let mut replies: VecDeque<_> = replies.into_iter().collect();
        Fake::new(move |_| replies.pop_front().unwrap_or(Reply::Silence))
    }

    /// From now on it answers like this.
    pub(super) fn becomes(&self, answer: impl FnMut(&Asked) -> Reply + Send + 'static) {
        *self.0.answer.lock().unwrap() = Box::new(answer);
    }

    pub(super) fn network(&self) -> Arc<dyn Connect> {
        Arc::new(Network(self.clone()))
    }

    /// It dies, and stays so until [`back`](Fake::back).
    pub(super) fn dies(&self) {
        self.0.down.store(true, Ordering::SeqCst);
        self.0.age.send_modify(|age| *age += 1);
    }

    pub(super) fn back(&self) {
        self.0.down.store(false, Ordering::SeqCst);
    }

    /// All that was asked so far.
    pub(super) fn asked(&self) -> Vec<Asked> {
        self.0.asked.lock().unwrap().clone()
    }

    /// The lines of what was asked so far that begin so.
    pub(super) fn lines(&self, start: &str) -> Vec<String> {
        let lines = self.asked().into_iter().map(|asked| asked.line);
        lines.filter(|line| line.starts_with(start)).collect()
    }

    /// Waits until this many requests were made whose line begins so.
    pub(super) async fn hears(&self, start: &str, count: usize) {
        loop {
            let news = self.0.news.notified();
            if self.lines(start).len() >= count {
                return;
            }
            let heard = timeout(PATIENCE, news).await;
            assert!(heard.is_ok(), "no further {start}: {:?}", self.asked());
        }
    }

    pub(super) fn connections(&self) -> usize {
        self.0.connections.load(Ordering::SeqCst)
    }

    /// The connections that are open now.
    pub(super) fn open(&self) -> usize {
        self.0.open.load(Ordering::SeqCst)
    }

    async fn serve(self, mut stream: DuplexStream) {
        let mut age = self.0.age.subscribe();
        let born = *age.borrow_and_update();
        let dead = age.wait_for(|age| *age != born);
        let serve = async {
            while let Some(asked) = read(&mut stream).await {
                let mut reply = {
                    let mut answer = self.0.answer.lock().unwrap();
                    self.0.asked.lock().unwrap().push(asked.clone());
                    answer(&asked)
                };
                self.0.news.notify_waiters();
                while let Reply::Late(time, then) = reply {
                    sleep(time).await;
                    reply = *then;
                }
                match reply {
                    Reply::Say(status, index, body) => {
                        let index = index.map_or_else(String::new, |index| {
                            format!("X-Consul-Index: {index}\r\n")
                        });
                        let answer = format!(
                            "HTTP/1.1 {status} Said\r\nX-Consul-ContentHash: {:x}\r\n{index}Content-Length: {}\r\n\r\n{body}",
                            body.len(),
                            body.len()
                        );
                        if stream.write_all(answer.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                    Reply::Cut(bytes) => {
                        let _ = stream.write_all(&bytes).await;
                        return;
                    }
                    Reply::Silence | Reply::Late(..) => {
                        // Until the other side gives up.
                        let _ = stream.read(&mut [0]).await;
                        return;
                    }
                }
            }
        };
        tokio::select! {
            biased;
            _ = dead => {}
            () = serve => {}
        }
    }
}

impl Connect for Network {
    fn connect<'a>(&'a self, _: &'a Origin) -> BoxFuture<'a, Result<Io, String>> {
        Box::pin(async move {
            let Network(fake) = self;
            if fake.0.down.load(Ordering::SeqCst) {
                return Err("cannot connect: refused".to_owned());
            }
            fake.0.connections.fetch_add(1, Ordering::SeqCst);
            let open = Arc::clone(&fake.0.open);
            open.fetch_add(1, Ordering::SeqCst);
            let (near, far) = tokio::io::duplex(64 * 1024);
            let serve = fake.clone().serve(far);
            tokio::spawn(async move {
                serve.await;
                open.fetch_sub(1, Ordering::SeqCst);
            });
            Ok(Io::new(near))
        })
    }
}

/// A request; none at the end of the connection.
async fn read(stream: &mut DuplexStream) -> Option<Asked> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    let line = head.lines().next()?.trim_end_matches(" HTTP/1.1");
    let header = |name: &str| {
        let lines = head.lines().skip(1);
        let mut pairs = lines.filter_map(|line| line.split_once(": "));
        let found = pairs.find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.to_owned())
    };
    let length = header("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(Asked {
        line: line.to_owned(),
        token: header("x-consul-token"),
        body: String::from_utf8(body).unwrap(),
        at: Instant::now(),
    })
}

/// Several agents, by host.
pub(super) struct Fakes(pub(super) Vec<(&'static str, Fake)>);

impl Connect for Fakes {
    fn connect<'a>(&'a self, origin: &'a Origin) -> BoxFuture<'a, Result<Io, String>> {
        Box::pin(async move {
            match self.0.iter().find(|(host, _)| *host == origin.host) {
                Some((_, fake)) => Network(fake.clone()).connect(origin).await,
                None => Err("cannot connect: no such host".to_owned()),
            }
        })
    }
}
