//! How many writes the turns of a connection make, and where handlers run.

use std::collections::HashSet;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use micro_runtime::exchange::{ConnInfo, Connection, Drainer, Exchange, Io, PeerAddr, Serve};
use micro_runtime::transport::{ClientLimits, ServerLimits, http2};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

use crate::kit::{alive, app, ask, echo, request, soon, spawned, whole};

/// Counts writes.
struct Counted {
    io: DuplexStream,
    writes: Arc<AtomicUsize>,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.writes.fetch_add(1, Ordering::SeqCst);
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

struct Pair {
    connection: Connection,
    _drainer: Drainer,
    server: Arc<AtomicUsize>,
    client: Arc<AtomicUsize>,
}

async fn pair(app: Arc<dyn Serve>, limits: ServerLimits) -> Pair {
    let (near, far) = tokio::io::duplex(1 << 20);
    let (drainer, drain) = Drainer::new();
    let info = ConnInfo::new(PeerAddr::Local, PeerAddr::Local);
    let counted = |io| {
        let writes = Arc::new(AtomicUsize::new(0));
        (
            Io::new(Counted {
                io,
                writes: writes.clone(),
            }),
            writes,
        )
    };
    let ((near, client), (far, server)) = (counted(near), counted(far));
    let theirs = info.clone();
    tokio::spawn(async move { http2::serve(far, theirs, &limits, app, drain).await });
    let connection = http2::connect(near, info, &ClientLimits::new())
        .await
        .unwrap();
    alive(&connection).await;
    Pair {
        connection,
        _drainer: drainer,
        server,
        client,
    }
}

/// 64 tasks make one call each; how many writes that took the client and the server.
async fn storm(pair: &Pair) -> (usize, usize) {
    let client = pair.client.load(Ordering::SeqCst);
    let server = pair.server.load(Ordering::SeqCst);
    let calls: Vec<_> = (0..64u8)
        .map(|n| {
            let connection = pair.connection.clone();
            tokio::spawn(async move {
                let reply = whole(&mut ask(&connection, vec![n])).await;
                assert_eq!(reply.map(|reply| reply.1), Ok(vec![n]));
            })
        })
        .collect();
    for call in calls {
        soon(call).await.unwrap();
    }
    (
        pair.client.load(Ordering::SeqCst) - client,
        pair.server.load(Ordering::SeqCst) - server,
    )
}

#[tokio::test]
async fn calls_and_replies_leave_together() {
    let yielding = |exchange: Exchange| async move {
        tokio::task::yield_now().await;
        echo(exchange).await;
    };
    for (what, app) in [
        ("polled in place", app(echo)),
        ("spawned", spawned(echo)),
        ("spawned when pending", app(yielding)),
    ] {
        let pair = pair(app, ServerLimits::new()).await;
        // On a busy machine a turn may come late, and the next ones are then not put off: the best counts.
        let (mut client, mut server) = (usize::MAX, usize::MAX);
        for _ in 0..10 {
            let writes = storm(&pair).await;
            client = client.min(writes.0);
            server = server.min(writes.1);
        }
        assert!(client <= 2, "{what}: the client wrote {client} times");
        assert!(server <= 2, "{what}: the server wrote {server} times");
    }
}

// On one thread the connection's task stands in line behind every handler in any case.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn replies_do_not_wait_for_handlers_that_compute() {
    let handler = |exchange: Exchange| async move {
        if exchange.head.path() == "/compute" {
            // What a handler does that computes for 2 ms.
            std::thread::sleep(Duration::from_millis(2));
        }
        echo(exchange).await;
    };
    let pair = pair(spawned(handler), ServerLimits::new()).await;
    // The first turn waits for all that are ready, and comes late; more and more of the next go at once.
    let mut most = 0;
    for _ in 0..10 {
        let before = pair.server.load(Ordering::SeqCst);
        let replies: Vec<_> = (0..20)
            .map(|_| {
                let opened = pair.connection.try_open(request("/compute"), None, true);
                opened.unwrap().1
            })
            .collect();
        for mut reply in replies {
            soon(whole(&mut reply)).await.unwrap();
        }
        most = most.max(pair.server.load(Ordering::SeqCst) - before);
    }
    assert!(most >= 12, "20 replies left in {most} writes");
}

#[tokio::test]
async fn a_turn_polls_within_its_budget() {
    for (budget, inline) in [
        (Duration::from_secs(3600), 64),
        // One is polled in place, and has spent it.
        (Duration::ZERO, 1),
    ] {
        let tasks = Arc::new(Mutex::new(Vec::new()));
        let seen = tasks.clone();
        let app = app(move |exchange: Exchange| {
            let seen = seen.clone();
            async move {
                seen.lock().unwrap().push(tokio::task::id());
                echo(exchange).await;
            }
        });
        let pair = pair(app, ServerLimits::new().turn_budget(budget)).await;
        tasks.lock().unwrap().clear();
        storm(&pair).await;
        let tasks = tasks.lock().unwrap();
        let distinct: HashSet<_> = tasks.iter().collect();
        assert_eq!((tasks.len(), distinct.len()), (64, 64 - inline + 1));
    }
}

#[tokio::test]
async fn a_work_may_ask_to_be_spawned() {
    let connections = Arc::new(Mutex::new(HashSet::new()));
    let seen = connections.clone();
    let handler = move |exchange: Exchange| {
        let seen = seen.clone();
        async move {
            assert!(
                seen.lock().unwrap().insert(tokio::task::id()),
                "a task of its own"
            );
            echo(exchange).await;
        }
    };
    let pair = pair(spawned(handler), ServerLimits::new()).await;
    storm(&pair).await;
}
