//! [`accept`]: a server's connections, from a [`Listener`] to their engines.

use std::future::Future;
use std::io;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::detect::{Spoken, detect};
#[cfg(feature = "tls")]
use super::tls::{Refused, ServerTls, goodbye_in_plain};
use super::{Listener, ServerLimits, http2};
use crate::exchange::{ConnInfo, Drain, DrainState, Io, PeerAddr, Serve};
use crate::seldom::Seldom;

/// How long accepting rests when the system has no sockets or memory left: without it the loop would spin.
const REST: Duration = Duration::from_millis(100);

/// What a peer that speaks HTTP/1 is told.
const SORRY: &str = "this port speaks HTTP/2 only (gRPC, without TLS): use a gRPC client, or curl --http2-prior-knowledge";

/// How long, and for how many bytes, a connection is still listened to after its peer was told so. Closed
/// with bytes unread, TCP would take the answer back.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: u64 = 64 * 1024;

/// Accepts connections and serves them, each in a task of its own, until the drain begins; connections then
/// end by themselves, each holding the drain until it is over.
///
/// What a connection speaks shows in its first bytes, which must come within
/// [`ServerLimits::detect_timeout`]: HTTP/2 is served; HTTP/1 is answered with 505 and one line of text, TLS
/// with 400 and one; anything else is closed without a word.
///
/// A listener with TLS answers handshakes first. What is spoken above TLS is what the client asked for (ALPN);
/// if it asked for nothing, its first bytes say it, as without TLS. A client that does not speak TLS is told so
/// in HTTP/2 or HTTP/1, whichever it speaks.
///
/// Nothing that a peer or the system does ends the loop.
///
/// # Panics
/// Outside a tokio runtime.
pub async fn accept(
    listener: Listener,
    limits: Arc<ServerLimits>,
    app: Arc<dyn Serve>,
    drain: Drain,
) {
    accept_from(listener, limits, app, drain).await;
}

/// Where connections come from.
pub(super) trait Source {
    fn next(&self) -> impl Future<Output = io::Result<(Io, ConnInfo)>> + Send;

    /// What they speak TLS with.
    #[cfg(feature = "tls")]
    fn tls(&self) -> Option<ServerTls> {
        None
    }
}

impl Source for Listener {
    fn next(&self) -> impl Future<Output = io::Result<(Io, ConnInfo)>> + Send {
        self.accept()
    }

    #[cfg(feature = "tls")]
    fn tls(&self) -> Option<ServerTls> {
        self.tls.clone()
    }
}

async fn accept_from(
    source: impl Source,
    limits: Arc<ServerLimits>,
    app: Arc<dyn Serve>,
    drain: Drain,
) {
    accept_with(source, limits, drain, move |entered, drain| {
        let app = Arc::clone(&app);
        async move {
            let Entered {
                io,
                info,
                limits,
                http2,
            } = entered;
            match http2 {
                true => serve_http2(io, info, &limits, app, drain).await,
                false => serve(io, info, &limits, app, drain).await,
            }
        }
    })
    .await;
}

/// A connection that has come in, with TLS if the listener has that.
pub(super) struct Entered {
    pub(super) io: Io,
    pub(super) info: ConnInfo,
    pub(super) limits: Arc<ServerLimits>,
    /// The handshake said that it is HTTP/2. Otherwise nothing was said.
    http2: bool,
}

/// Accepts connections until the drain begins, and has each served in a task of its own.
pub(super) async fn accept_with<S, F, Fut>(
    source: S,
    limits: Arc<ServerLimits>,
    mut drain: Drain,
    serve: F,
) where
    S: Source,
    F: Fn(Entered, Drain) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = ()> + Send,
{
    let door = Arc::new(Door {
        #[cfg(feature = "tls")]
        tls: source.tls(),
        #[cfg(feature = "tls")]
        handshakes: Semaphore::new(limits.max_handshakes),
    });
    // Ends with the loop.
    let mut beside = JoinSet::new();
    door.keep(&mut beside);
    let places = Arc::new(Semaphore::new(limits.max_connections));
    let mut full = false;
    loop {
        let accepted = tokio::select! {
            biased;
            () = drain.reached(DrainState::Draining) => return,
            accepted = source.next() => accepted,
        };
        match accepted {
            Ok((io, info)) => {
                let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                    // Said once for each time that it fills up.
                    if !full {
                        let most = limits.max_connections;
                        tracing::warn!(most, "connections are closed: as many as may be are open");
                    }
                    full = true;
                    continue;
                };
                full = false;
                let (limits, serve, mut drain) =
                    (Arc::clone(&limits), serve.clone(), drain.clone());
                let door = Arc::clone(&door);
                tokio::spawn(async move {
                    if let Some(entered) = door.enter(io, info, limits, &mut drain).await {
                        serve(entered, drain).await;
                    }
                    drop(place);
                });
            }
            Err(error) if is_of_one_connection(&error) => {
                tracing::debug!(%error, "a connection was gone before it was accepted");
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections; trying again");
                tokio::select! {
                    () = drain.reached(DrainState::Draining) => return,
                    () = sleep(REST) => {}
                }
            }
        }
    }
}

/// What the connections of a listener come through.
struct Door {
    #[cfg(feature = "tls")]
    tls: Option<ServerTls>,
    /// Places for those who are in the middle of a handshake.
    #[cfg(feature = "tls")]
    handshakes: Semaphore,
}

#[cfg(not(feature = "tls"))]
impl Door {
    fn keep(&self, _: &mut JoinSet<()>) {}

    async fn enter(
        &self,
        io: Io,
        info: ConnInfo,
        limits: Arc<ServerLimits>,
        _: &mut Drain,
    ) -> Option<Entered> {
        Some(Entered {
            io,
            info,
            limits,
            http2: false,
        })
    }
}

#[cfg(feature = "tls")]
impl Door {
    /// Spawns what runs beside the connections.
    fn keep(&self, beside: &mut JoinSet<()>) {
        if let Some(tls) = &self.tls {
            beside.spawn(tls.clone().watch());
        }
    }

    async fn enter(
        &self,
        io: Io,
        mut info: ConnInfo,
        limits: Arc<ServerLimits>,
        drain: &mut Drain,
    ) -> Option<Entered> {
        let Some(tls) = &self.tls else {
            return Some(Entered {
                io,
                info,
                limits,
                http2: false,
            });
        };
        let handshake = timeout(limits.handshake_timeout, tls.accept(io, &self.handshakes));
        let done = tokio::select! {
            // Nothing was asked yet: nothing is lost.
            () = drain.reached(DrainState::Draining) => return None,
            done = handshake => done,
        };
        match done {
            Ok(Ok(secured)) => {
                info.secure = true;
                info.identity = secured.identity;
                return Some(Entered {
                    io: secured.io,
                    info,
                    limits,
                    http2: secured.is_http2,
                });
            }
            Ok(Err(Refused::Plain(io))) => refuse_plain(io, &info.peer, &limits).await,
            Ok(Err(Refused::Failed { why, io })) => {
                static SELDOM: LazyLock<Seldom> = LazyLock::new(Seldom::new);
                warn(&SELDOM, &info.peer, "the TLS handshake failed", &why);
                // What the client still sends is read, so that it reads why it is refused before it finds the
                // connection reset.
                if let Some(io) = io {
                    let _ = timeout(LINGER, end(io)).await;
                }
            }
            Err(_) => turned_away(&info.peer, "its TLS handshake took too long"),
        }
        None
    }
}

/// What is said of clients that speak plain text where TLS is spoken, and the other way round.
#[cfg(feature = "tls")]
const USE_TLS: &str = "this port speaks TLS, and was dialled without it: use TLS";
const NO_TLS: &str =
    "this port does not speak TLS: dial it without TLS, or give this server a certificate";

/// Answers a client that does not speak TLS on a port that does.
#[cfg(feature = "tls")]
async fn refuse_plain(mut io: Io, peer: &PeerAddr, limits: &ServerLimits) {
    static SELDOM: LazyLock<Seldom> = LazyLock::new(Seldom::new);
    let spoken = match timeout(limits.detect_timeout, detect(&mut io)).await {
        Ok(Ok((spoken, _))) => spoken,
        Ok(Err(_)) => return turned_away(peer, "it broke"),
        Err(_) => return turned_away(peer, "it did not begin in time"),
    };
    let what = "a client speaks plain text on a port with TLS";
    let refusal = async {
        match spoken {
            Spoken::Http2 => {
                warn(&SELDOM, peer, what, "HTTP/2");
                goodbye_in_plain(&mut io, USE_TLS).await?;
                end(io).await
            }
            Spoken::Http1 => {
                warn(&SELDOM, peer, what, "HTTP/1");
                refuse(io, "400 Bad Request", USE_TLS).await
            }
            Spoken::Tls | Spoken::Unknown => {
                turned_away(peer, "it speaks neither TLS nor HTTP");
                Ok(())
            }
        }
    };
    // Whether the peer hears it is the peer's matter.
    let _ = timeout(LINGER, refusal).await;
}

/// Logs what peers can cause: a warning now and then, the rest for those who look for it.
fn warn(seldom: &Seldom, peer: &PeerAddr, what: &'static str, why: &str) {
    match seldom.pass() {
        Some(held_back) => tracing::warn!(%peer, why, since_last = held_back, "{what}"),
        None => tracing::debug!(%peer, why, "{what}"),
    }
}

/// Whether an error of accepting is that of the connection that was to be accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

/// Serves one connection, whatever it speaks, until it is over.
pub async fn serve(
    mut io: Io,
    info: ConnInfo,
    limits: &ServerLimits,
    app: Arc<dyn Serve>,
    mut drain: Drain,
) {
    let detected = tokio::select! {
        // Nothing was asked yet: nothing is lost.
        () = drain.reached(DrainState::Draining) => return,
        detected = timeout(limits.detect_timeout, detect(&mut io)) => detected,
    };
    match detected {
        Ok(Ok((Spoken::Http2, ahead))) => {
            serve_http2(io.with_ahead(ahead), info, limits, app, drain).await;
        }
        Ok(Ok((Spoken::Http1, _))) => {
            turned_away(&info.peer, "it speaks HTTP/1");
            // Whether the peer hears it is the peer's matter.
            let refusal = refuse(io, "505 HTTP Version Not Supported", SORRY);
            let _ = timeout(LINGER, refusal).await;
        }
        Ok(Ok((Spoken::Tls, _))) => {
            static SELDOM: LazyLock<Seldom> = LazyLock::new(Seldom::new);
            let what = "a client speaks TLS on a port without it";
            warn(&SELDOM, &info.peer, what, "TLS");
            // In plain text: a TLS client that reads it says that this is no TLS.
            let _ = timeout(LINGER, refuse(io, "400 Bad Request", NO_TLS)).await;
        }
        Ok(Ok((Spoken::Unknown, _))) => turned_away(&info.peer, "it speaks no HTTP"),
        Ok(Err(_)) => turned_away(&info.peer, "it broke"),
        Err(_) => turned_away(&info.peer, "it did not begin in time"),
    }
}

fn turned_away(peer: &PeerAddr, why: &'static str) {
    tracing::debug!(%peer, why, "a connection was turned away");
}

async fn serve_http2(
    io: Io,
    info: ConnInfo,
    limits: &ServerLimits,
    app: Arc<dyn Serve>,
    drain: Drain,
) {
    let peer = info.peer.clone();
    let closed = http2::serve(io, info, limits, app, drain).await;
    tracing::debug!(%peer, ?closed, "a connection ended");
}

/// Answers a request of HTTP/1.
async fn refuse(mut io: Io, status: &str, text: &str) -> io::Result<()> {
    let head = format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n{text}\n",
        text.len() + 1
    );
    io.write_all(head.as_bytes()).await?;
    end(io).await
}

/// Ends a connection so that the peer can read what it was told.
async fn end(mut io: Io) -> io::Result<()> {
    io.shutdown().await?;
    tokio::io::copy(&mut io.take(LINGER_BYTES), &mut tokio::io::sink()).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::{Drainer, Exchange, Work};
    use std::collections::VecDeque;
    use std::sync::Mutex;
    use tokio::io::DuplexStream;
    use tokio::time::Instant;

    struct Nothing;

    impl Serve for Nothing {
        fn call(&self, _: Exchange) -> Work {
            Work {
                run: Box::pin(async {}),
                inline: true,
            }
        }
    }

    /// Connections and errors, one after the other; then nothing more comes.
    struct Script(Mutex<VecDeque<io::Result<DuplexStream>>>);

    impl Source for Script {
        async fn next(&self) -> io::Result<(Io, ConnInfo)> {
            let next = self.0.lock().unwrap().pop_front();
            match next {
                Some(next) => {
                    let info = ConnInfo::new(PeerAddr::Local, PeerAddr::Local);
                    next.map(|stream| (Io::new(stream), info))
                }
                None => std::future::pending().await,
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_ends_the_loop() {
        let (mut near, far) = tokio::io::duplex(1024);
        let aborted = io::Error::from(io::ErrorKind::ConnectionAborted);
        // EMFILE and ENFILE, the process and the system being out of files: 24 and 23 on every Unix.
        let script = [24, 23].map(io::Error::from_raw_os_error).map(Err);
        let script = script.into_iter().chain([Err(aborted), Ok(far)]);
        let (drainer, drain) = Drainer::new();
        let source = Script(Mutex::new(script.collect()));
        let limits = Arc::new(ServerLimits::new());
        let accepting = tokio::spawn(accept_from(source, limits, Arc::new(Nothing), drain));
        let began = Instant::now();
        near.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        let mut answer = [0; 12];
        near.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 505");
        // It rested after each error of the system, and only then.
        assert_eq!(began.elapsed(), 2 * REST);
        drainer.advance(DrainState::Draining);
        accepting.await.unwrap();
    }
}
