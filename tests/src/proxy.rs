//! A TCP proxy in the test's process, whose connections can be cut, refused, held, swallowed and delayed.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use crate::servers::free_ports;

/// A proxy from a port of 127.0.0.1 to an address. Dropping it cuts every connection.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    state: watch::Sender<State>,
    open: Arc<AtomicUsize>,
    accepted: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

/// What happens to bytes and connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Bytes pass.
    Pass,
    /// Nobody listens.
    Refuse,
    /// Bytes wait until they may pass again, as on a network that loses packets for a while.
    Hold,
    /// Bytes are read and thrown away, as by a process that hangs and has large buffers.
    Swallow,
}

#[derive(Clone, Copy, Debug)]
struct State {
    mode: Mode,
    /// Connections of an older age are cut.
    age: u64,
    delay: Duration,
}

/// The chunks of one direction that may wait for their time.
const WAITING: usize = 256;

// ===== impl Proxy =====

impl Proxy {
    /// A proxy to this address, such as `127.0.0.1:8500`, where somebody listens or will listen.
    ///
    /// # Panics
    /// No port is free.
    pub async fn to(upstream: impl Into<String>) -> Proxy {
        let [port] = free_ports();
        let listener = listen(port).await;
        let (state, changes) = watch::channel(State {
            mode: Mode::Pass,
            age: 0,
            delay: Duration::ZERO,
        });
        let (open, accepted) = <(Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
        let counts = (Arc::clone(&open), Arc::clone(&accepted));
        let task = tokio::spawn(accept(port, listener, upstream.into(), changes, counts));
        Proxy {
            port,
            state,
            open,
            accepted,
            task,
        }
    }

    /// Where it listens, `127.0.0.1:port`.
    #[must_use]
    pub fn address(&self) -> String {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port)).to_string()
    }

    /// The port it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The connections that are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// The connections that were accepted since it began.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Cuts every connection; new ones pass.
    pub fn cut(&self) {
        self.state.send_modify(|state| state.age += 1);
    }

    /// Cuts every connection, and stops listening: new ones are refused.
    pub fn refuse(&self) {
        self.state.send_modify(|state| {
            state.mode = Mode::Refuse;
            state.age += 1;
        });
    }

    /// Holds every byte back until [`heal`](Proxy::heal); new connections are accepted.
    pub fn hold(&self) {
        self.state.send_modify(|state| state.mode = Mode::Hold);
    }

    /// Throws every byte away until [`heal`](Proxy::heal), which cuts the connections that lost some; new
    /// connections are accepted.
    pub fn swallow(&self) {
        self.state.send_modify(|state| state.mode = Mode::Swallow);
    }

    /// Every byte comes this much later, in both directions: an answer takes twice as long more.
    pub fn delay(&self, delay: Duration) {
        self.state.send_modify(|state| state.delay = delay);
    }

    /// All is well again: connections are accepted, and bytes pass without delay.
    pub fn heal(&self) {
        self.state.send_modify(|state| {
            if state.mode == Mode::Swallow {
                state.age += 1;
            }
            state.mode = Mode::Pass;
            state.delay = Duration::ZERO;
        });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
        self.task.abort();
    }
}

async fn listen(port: u16) -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .await
        .unwrap_or_else(|error| panic!("cannot listen on port {port}: {error}"))
}

async fn accept(
    port: u16,
    listener: TcpListener,
    upstream: String,
    mut changes: watch::Receiver<State>,
    (open, accepted): (Arc<AtomicUsize>, Arc<AtomicUsize>),
) {
    let mut listener = Some(listener);
    loop {
        if changes.borrow_and_update().mode == Mode::Refuse {
            listener = None;
        } else if listener.is_none() {
            listener = Some(listen(port).await);
        }
        let next = async {
            match &listener {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            connection = next => if let Ok((client, _)) = connection {
                accepted.fetch_add(1, Ordering::Relaxed);
                open.fetch_add(1, Ordering::Relaxed);
                let (upstream, changes, open) = (upstream.clone(), changes.clone(), Arc::clone(&open));
                tokio::spawn(async move {
                    forward(client, &upstream, changes).await;
                    open.fetch_sub(1, Ordering::Relaxed);
                });
            },
        }
    }
}

async fn forward(client: TcpStream, upstream: &str, mut changes: watch::Receiver<State>) {
    let age = changes.borrow_and_update().age;
    let mut cut = changes.clone();
    let both = async {
        if changes.wait_for(|state| passes(state.mode)).await.is_err() {
            return;
        }
        let Ok(server) = TcpStream::connect(upstream).await else {
            return;
        };
        // Neither side's small messages may wait for an acknowledgement here.
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        tokio::join!(
            copy(from_client, to_server, changes.clone()),
            copy(from_server, to_client, changes.clone())
        );
    };
    tokio::select! {
        () = both => {}
        // Older than the last cut; or the proxy is gone.
        _ = cut.wait_for(|state| state.age > age) => {}
    }
}

fn passes(mode: Mode) -> bool {
    !matches!(mode, Mode::Hold)
}

/// Copies one direction to its end, each chunk at its time.
async fn copy(from: OwnedReadHalf, mut to: OwnedWriteHalf, mut changes: watch::Receiver<State>) {
    let (chunks, mut waiting) = mpsc::channel::<(Instant, Vec<u8>)>(WAITING);
    let delays = changes.clone();
    let read = async move {
        let mut from = from;
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            let at = Instant::now() + delays.borrow().delay;
            let chunk = buffer[..length].to_vec();
            if chunks.send((at, chunk)).await.is_err() {
                return;
            }
        }
    };
    let write = async {
        while let Some((at, chunk)) = waiting.recv().await {
            // The timer's next tick may be a millisecond away, which nobody has asked for.
            if at > Instant::now() {
                sleep_until(at).await;
            }
            let mode = match changes.wait_for(|state| passes(state.mode)).await {
                Ok(state) => state.mode,
                Err(_) => return,
            };
            if mode != Mode::Swallow && to.write_all(&chunk).await.is_err() {
                return;
            }
        }
        // Gone already is as good.
        let _ = to.shutdown().await;
    };
    tokio::join!(read, write);
}
