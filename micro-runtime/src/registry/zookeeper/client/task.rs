//! The task of a session: it has the connection, sends what is asked, and deals out what comes.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::debug;

use super::jute::Reader;
use super::proto::{self, Error, op, xid};
use super::wire::{self, Frame, Identity, Link, Refused, put_frame};
use super::{Options, State};
use crate::backoff::Backoff;

/// How long a server may take to greet a connection: at first, and after some that took longer.
pub(super) const LIMITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(4));

/// The pauses between rounds: a server that is back is found within a second.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// How long a session is held on to without a connection: a new one is as good, and a server that has lost
/// its memory takes the old one never.
const GIVE_UP: Duration = Duration::from_secs(10);

/// The least and the most time without a sign of life before one is asked for, whatever the session's time is: not
/// a storm, and not so long that a server which stands still goes unnoticed for minutes.
const PACE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(10));

/// How long closing a session may take.
const CLOSE: Duration = Duration::from_secs(1);

/// Requests without an answer, and bytes that wait to be written: with more, no further request is taken.
const PENDING_MAX: usize = 1024;
const OUT_MAX: usize = 1024 * 1024;

/// What a client asks for.
pub(super) struct Request {
    operation: i32,
    body: Bytes,
    pub(super) reply: Option<Reply>,
    /// The path to watch, and who is to be told.
    watch: Option<(String, News)>,
}

type Reply = oneshot::Sender<Result<Reader, Error>>;
type News = mpsc::Sender<String>;

/// A request that was sent.
struct Pending {
    xid: i32,
    reply: Option<Reply>,
}

/// Why no server could be connected to.
pub(super) enum Failed {
    /// None answered in time.
    Late(String),
    /// None would, for now.
    Unreachable(String),
    /// The session is over.
    Over(&'static str),
}

/// Why a connection is served no more.
enum End {
    /// Nobody has the client.
    Closed,
    Lost(String),
}

/// What outlives a connection.
struct Task {
    options: Arc<Options>,
    requests: mpsc::Receiver<Request>,
    state: watch::Sender<State>,
    tidy: Arc<Notify>,
    identity: Identity,
    watches: HashMap<String, Vec<News>>,
}

/// What belongs to one connection.
#[derive(Default)]
struct Outgoing {
    bytes: BytesMut,
    pending: VecDeque<Pending>,
    last: i32,
    /// A ping was sent and has no answer.
    is_pinging: bool,
}

// ===== impl Request =====

impl Request {
    pub(super) fn new(operation: i32, body: Bytes) -> Request {
        Request {
            operation,
            body,
            reply: None,
            watch: None,
        }
    }

    pub(super) fn watching(mut self, path: &str, news: News) -> Request {
        self.watch = Some((path.to_owned(), news));
        self
    }
}

// ===== impl Failed =====

impl Failed {
    pub(super) fn text(self) -> String {
        match self {
            Failed::Late(why) | Failed::Unreachable(why) => why,
            Failed::Over(why) => why.to_owned(),
        }
    }
}

/// Tries each server once, beginning with any of them.
pub(super) async fn round(
    options: &Options,
    identity: &Identity,
    limit: Duration,
) -> Result<Link, Failed> {
    let servers = &options.servers;
    let first = fastrand::usize(..servers.len().max(1));
    let mut failed = Failed::Unreachable("there is no server to connect to".to_owned());
    for server in servers.iter().cycle().skip(first).take(servers.len()) {
        let cannot = |why: &str| format!("no server could be connected to: {server}: {why}");
        match timeout(limit, wire::open(server, options, identity)).await {
            Ok(Ok(link)) => return Ok(link),
            Ok(Err(Refused::Expired)) => return Err(Failed::Over("it has expired")),
            Ok(Err(Refused::Auth)) => {
                return Err(Failed::Over(
                    "ZooKeeper does not take the user or the password",
                ));
            }
            Ok(Err(Refused::Unreachable(why))) => failed = Failed::Unreachable(cannot(&why)),
            Err(_) => failed = Failed::Late(cannot(&format!("no session within {limit:?}"))),
        }
    }
    Err(failed)
}

/// Keeps a session until nobody has its client, or it is over.
pub(super) async fn run(
    options: Arc<Options>,
    mut link: Link,
    requests: mpsc::Receiver<Request>,
    state: watch::Sender<State>,
    tidy: Arc<Notify>,
) {
    let mut task = Task {
        options,
        requests,
        state,
        tidy,
        identity: Identity::default(),
        watches: HashMap::new(),
    };
    loop {
        let why = match task.serve(link).await {
            End::Closed => return,
            End::Lost(why) => why,
        };
        debug!(why, "The connection to ZooKeeper was lost");
        // Whoever watches finds out, and reads again.
        task.watches.clear();
        let lost = format!("the connection was lost: {why}");
        task.state.send_replace(State::Disconnected(lost));
        match task.again().await {
            None => return,
            Some(Ok(new)) => link = new,
            Some(Err(why)) => {
                task.state.send_replace(State::Over(why));
                return;
            }
        }
        task.state.send_replace(State::Connected);
    }
}

// ===== impl Task =====

impl Task {
    /// Connects again; `None` when nobody has the client.
    async fn again(&mut self) -> Option<Result<Link, String>> {
        let (options, identity, state) = (&self.options, &self.identity, &self.state);
        let give_up = Instant::now() + options.session_timeout.min(GIVE_UP);
        let connecting = async {
            let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
            let mut limit = LIMITS.0;
            loop {
                let why = match round(options, identity, limit).await {
                    Ok(link) => return Ok(link),
                    Err(Failed::Over(why)) => return Err(why.to_owned()),
                    Err(Failed::Late(why)) => {
                        limit = (limit * 2).min(LIMITS.1);
                        why
                    }
                    Err(Failed::Unreachable(why)) => {
                        limit = LIMITS.0;
                        why
                    }
                };
                if Instant::now() >= give_up {
                    return Err(why);
                }
                state.send_replace(State::Disconnected(why));
                sleep(backoff.next()).await;
            }
        };
        let mut connecting = std::pin::pin!(connecting);
        loop {
            tokio::select! {
                connected = &mut connecting => return Some(connected),
                request = self.requests.recv() => {
                    if let Some(reply) = request?.reply {
                        // Whoever gave up is gone.
                        let _ = reply.send(Err(Error::ConnectionLost));
                    }
                }
            }
        }
    }

    /// Serves over one connection until it is lost. What has no answer then fails.
    async fn serve(&mut self, link: Link) -> End {
        let Link {
            mut frames,
            mut write,
            welcome,
        } = link;
        self.identity.session = welcome.session;
        self.identity.password = welcome.password;
        // It is more than zero, else there were no link.
        let session = Duration::from_millis(u64::try_from(welcome.timeout).unwrap_or(1));
        let pace = (session / 3).clamp(PACE.0, PACE.1);
        let mut out = Outgoing::default();
        let mut needs_flush = false;
        let (mut heard, mut said) = (Instant::now(), Instant::now());
        loop {
            let has_room = out.pending.len() < PENDING_MAX && out.bytes.len() < OUT_MAX;
            tokio::select! {
                frame = frames.next() => {
                    heard = Instant::now();
                    let taken = frame.and_then(|frame| self.take(frame, &mut out));
                    if let Err(why) = taken {
                        return End::Lost(why);
                    }
                }
                pushed = push(&mut write, &mut out.bytes, &mut needs_flush),
                    if needs_flush || !out.bytes.is_empty() =>
                {
                    if let Err(error) = pushed {
                        return End::Lost(error.to_string());
                    }
                }
                request = self.requests.recv(), if has_room => match request {
                    Some(request) => {
                        said = Instant::now();
                        self.send(request, &mut out);
                    }
                    None => {
                        out.put(op::CLOSE_SESSION, &[], None);
                        let closing = async {
                            write.write_all_buf(&mut out.bytes).await.ok()?;
                            write.flush().await.ok()?;
                            while frames.next().await.is_ok() {}
                            Some(())
                        };
                        // The server ends the connection when the session is closed.
                        let _ = timeout(CLOSE, closing).await;
                        return End::Closed;
                    }
                },
                () = self.tidy.notified() => self.tidy(&mut out),
                // As ZooKeeper's own clients have it: a sign of life after a third, and a server that gives none
                // for two thirds is left, so that a third is left to find another.
                () = sleep_until(said + pace) => {
                    said = Instant::now();
                    out.ping();
                }
                () = sleep_until(heard + 2 * pace) => {
                    return End::Lost(format!("nothing came for {:?}", 2 * pace));
                }
            }
        }
    }

    fn send(&mut self, request: Request, out: &mut Outgoing) {
        if request
            .reply
            .as_ref()
            .is_some_and(oneshot::Sender::is_closed)
        {
            // Whoever asked has gone meanwhile; what was not sent need not be.
            return;
        }
        if let Some((path, news)) = request.watch {
            // From now on, since what comes after the answer must not be missed.
            self.watches.entry(path).or_default().push(news);
        }
        out.put(request.operation, &request.body, request.reply);
    }

    /// Deals with what came.
    fn take(&mut self, frame: Frame, out: &mut Outgoing) -> Result<(), String> {
        let message = match frame {
            Frame::Whole(message) => message,
            Frame::TooLarge(bytes) => {
                // Nothing but an answer is so long, and answers come in order.
                let pending = out.pending.pop_front();
                let pending =
                    pending.ok_or("a message came that is too large and nobody asked for")?;
                pending.end(Err(Error::TooLarge(bytes)));
                return Ok(());
            }
        };
        let malformed = |_| "a message came that cannot be read".to_owned();
        let (head, body) = proto::head(message).map_err(malformed)?;
        if head.transaction > 0 {
            self.identity.seen = self.identity.seen.max(head.transaction);
        }
        match head.xid {
            xid::EVENT => {
                if let Some(path) = proto::event(body).map_err(malformed)? {
                    self.tell(&path);
                }
            }
            xid::PING => out.is_pinging = false,
            // Answered while the connection was made.
            xid::AUTH => {}
            xid => {
                let pending = out.pending.pop_front().filter(|pending| pending.xid == xid);
                let pending = pending.ok_or("an answer came that is not in its turn")?;
                pending.end(Error::of(head.code).map_or(Ok(body), Err));
            }
        }
        Ok(())
    }

    /// Tells those who watch the path or one above it. One that has too much unread is told no more, which it
    /// finds out when it has read the rest.
    fn tell(&mut self, path: &str) {
        for (watched, all) in &mut self.watches {
            let below = path.strip_prefix(watched.as_str());
            if below.is_some_and(|below| below.is_empty() || below.starts_with('/')) {
                all.retain(|news| news.try_send(path.to_owned()).is_ok());
            }
        }
    }

    /// Takes away the watches that nobody has any more.
    fn tidy(&mut self, out: &mut Outgoing) {
        self.watches.retain(|path, all| {
            all.retain(|news| !news.is_closed());
            if all.is_empty() {
                out.put(op::REMOVE_WATCHES, &proto::remove_watches(path), None);
            }
            !all.is_empty()
        });
    }
}

/// Writes some of these bytes, or has what was written leave when there are none.
///
/// # Cancel safety
///
/// What is written is gone from the bytes, and nothing else.
async fn push<W: AsyncWrite + Unpin>(
    write: &mut W,
    bytes: &mut BytesMut,
    needs_flush: &mut bool,
) -> io::Result<()> {
    if bytes.is_empty() {
        write.flush().await?;
        *needs_flush = false;
    } else if write.write_buf(bytes).await? == 0 {
        return Err(io::ErrorKind::WriteZero.into());
    } else {
        *needs_flush = true;
    }
    Ok(())
}

// ===== impl Outgoing =====

impl Outgoing {
    fn put(&mut self, operation: i32, body: &[u8], reply: Option<Reply>) {
        // Numbers below zero have meanings of their own.
        self.last = self.last.checked_add(1).unwrap_or(1);
        let xid = self.last;
        put_frame(&mut self.bytes, &proto::request(xid, operation, body));
        self.pending.push_back(Pending { xid, reply });
    }

    fn ping(&mut self) {
        if !std::mem::replace(&mut self.is_pinging, true) {
            put_frame(&mut self.bytes, &proto::request(xid::PING, op::PING, &[]));
        }
    }
}

// ===== impl Pending =====

impl Pending {
    fn end(self, answer: Result<Reader, Error>) {
        if let Some(reply) = self.reply {
            // Whoever gave up is gone.
            let _ = reply.send(answer);
        }
    }
}
