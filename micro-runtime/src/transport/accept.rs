//! [`accept`]: a server's connections, from a [`Listener`] to their engines.

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
    mut drain: Drain,
) {
    let places = Arc::new(Semaphore::new(limits.max_connections));
    let mut full = false;
    loop {
        let accepted = tokio::select! {
            biased;
            () = drain.reached(DrainState::Draining) => return,
            accepted = listener.accept() => accepted,
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
