//! [`accept`]: a server's connections, from a [`Listener`] to their engines.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::detect::{Spoken, detect};
use super::{Listener, ServerLimits, http2};
use crate::exchange::{ConnInfo, Drain, DrainState, Io, PeerAddr, Serve};

/// How long accepting rests when the system has no sockets or memory left: without it the loop would spin.
const REST: Duration = Duration::from_millis(100);

/// What a peer that speaks HTTP/1 is told.
const SORRY: &str = "this port speaks HTTP/2 only (gRPC, without TLS): use a gRPC client, or curl --http2-prior-knowledge\n";

/// How long, and for how many bytes, a connection is still listened to after its peer was told so. Closed
/// with bytes unread, TCP would take the answer back.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: u64 = 64 * 1024;

/// Accepts connections and serves them, each in a task of its own, until the drain begins; connections then
/// end by themselves, each holding the drain until it is over.
///
/// What a connection speaks shows in its first bytes, which must come within
/// [`ServerLimits::detect_timeout`]: HTTP/2 is served; HTTP/1 is answered with 505 and one line of text;
/// anything else is closed without a word. Nothing that a peer or the system does ends the loop.
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
trait Source {
    fn next(&self) -> impl Future<Output = io::Result<(Io, ConnInfo)>> + Send;
}

impl Source for Listener {
    fn next(&self) -> impl Future<Output = io::Result<(Io, ConnInfo)>> + Send {
        self.accept()
    }
}

async fn accept_from(
    source: impl Source,
    limits: Arc<ServerLimits>,
    app: Arc<dyn Serve>,
    mut drain: Drain,
) {
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
                let (limits, app, drain) = (Arc::clone(&limits), Arc::clone(&app), drain.clone());
                tokio::spawn(async move {
                    serve(io, info, &limits, app, drain).await;
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
            let peer = info.peer.clone();
            let closed = http2::serve(io.with_ahead(ahead), info, limits, app, drain).await;
            tracing::debug!(%peer, ?closed, "a connection ended");
        }
        Ok(Ok((Spoken::Http1, _))) => {
            turned_away(&info.peer, "it speaks HTTP/1");
            // Whether the peer hears it is the peer's matter.
            let _ = timeout(LINGER, refuse(&mut io)).await;
        }
        Ok(Ok((Spoken::Unknown, _))) => turned_away(&info.peer, "it speaks no HTTP"),
        Ok(Err(_)) => turned_away(&info.peer, "it broke"),
        Err(_) => turned_away(&info.peer, "it did not begin in time"),
    }
}

fn turned_away(peer: &PeerAddr, why: &'static str) {
    tracing::debug!(%peer, why, "a connection was turned away");
}

/// Answers a request of HTTP/1.
async fn refuse(io: &mut Io) -> io::Result<()> {
    let head = format!(
        "HTTP/1.1 505 HTTP Version Not Supported\r\nconnection: close\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n{SORRY}",
        SORRY.len()
    );
    io.write_all(head.as_bytes()).await?;
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
