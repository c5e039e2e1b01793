//! Nodes in processes of their own, which die or are told to end under load.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use micro_runtime::registry::{Fixed, Mdns, Memory, Registry};
use micro_runtime::{Code, Status};
use micro_tests::front::question;
use micro_tests::front::v1::{FrontService, new_front_service};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::support::{PATIENCE, eventually, in_time, joined, service, unique};

/// A process that serves `Front`.
struct Node {
    child: Child,
    address: String,
    /// Its end would be the process's; waiting for a child closes what it still has of it.
    _stdin: ChildStdin,
}

impl Node {
    async fn start(name: &str, address: &str, registry: &str) -> Node {
        let mut child = Command::new(env!("CARGO_BIN_EXE_micro-tests-node"))
            .args([name, address, registry])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Node {
            address: in_time(lines.next_line()).await.unwrap().unwrap(),
            _stdin: child.stdin.take().unwrap(),
            child,
        }
    }

    /// SIGKILL; when it returns, nobody listens at the address.
    async fn kill(mut self) -> String {
        in_time(self.child.kill()).await.unwrap();
        let refused = TcpStream::connect(&self.address).await.unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        self.address
    }
}

/// Callers that call until they are told to end.
struct Load {
    over: Arc<AtomicBool>,
    answered: Arc<Mutex<BTreeMap<String, usize>>>,
    callers: Vec<JoinHandle<Caller>>,
}

/// What became of the calls of one caller.
struct Caller {
    safe: bool,
    calls: usize,
    failed: Vec<(Instant, Status)>,
}

impl Load {
    /// So many callers of the method that is safe to repeat, and as many of the one that is not.
    fn start(front: &FrontService, callers: usize) -> Load {
        let over = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(Mutex::new(BTreeMap::new()));
        let callers = (0..callers * 2)
            .map(|number| {
                let (over, answered) = (Arc::clone(&over), Arc::clone(&answered));
                tokio::spawn(call(front.clone(), number % 2 == 0, over, answered))
            })
            .collect();
        Load {
            over,
            answered,
            callers,
        }
    }

    /// How many calls this node has answered.
    fn answered_by(&self, address: &str) -> usize {
        let answered = self.answered.lock().unwrap();
        answered.get(address).copied().unwrap_or_default()
    }

    /// Waits for this node to answer more calls than it has.
    async fn reaches(&self, address: &str) {
        let before = self.answered_by(address);
        eventually(&format!("{address} answers calls"), async || {
            self.answered_by(address) > before + 50
        })
        .await;
    }

    async fn end(self) -> Vec<Caller> {
        self.over.store(true, Ordering::Relaxed);
        let mut callers = Vec::new();
        for caller in self.callers {
            callers.push(joined(caller).await);
        }
        callers
    }
}

async fn call(
    front: FrontService,
    safe: bool,
    over: Arc<AtomicBool>,
    answered: Arc<Mutex<BTreeMap<String, usize>>>,
) -> Caller {
    let mut caller = Caller {
        safe,
        calls: 0,
        failed: Vec::new(),
    };
    while !over.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let call = match safe {
            true => front.look(question("?")),
            false => front.ask(question("?")),
        };
        caller.calls += 1;
        match call.with_response().await {
            Ok(response) => {
                let address = response.node().unwrap().address.clone();
                *answered.lock().unwrap().entry(address).or_default() += 1;
            }
            Err(status) => caller.failed.push((begun, status)),
        }
    }
    caller
}

/// A client with one connection to each node, so that whoever loses a call knows that the connection is gone.
fn front(name: &str, registry: &(impl Registry + Clone)) -> FrontService {
    let client = service("e2e.client", registry)
        .request_timeout(PATIENCE)
        .max_connections_per_node(1)
        .build()
        .unwrap();
    new_front_service(name, client.client())
}

/// What may fail when a node was killed: of the calls that must not be repeated, those that were on its
/// connection, which is at most one a caller. A call that is safe to repeat never fails.
fn only_what_was_under_way_is_lost(callers: &[Caller], dead: Instant) {
    for caller in callers {
        assert!(caller.calls > 0);
        let most = usize::from(!caller.safe);
        assert!(caller.failed.len() <= most, "{:?}", caller.failed);
        for (begun, status) in &caller.failed {
            assert_eq!(status.code(), Code::Unavailable, "{status}");
            assert!(
                *begun <= dead,
                "made after the connection was refused: {status}"
            );
        }
    }
}

/// Stands where a dead node stood: closes what it accepts, and tells when that was.
async fn stand_in(address: &str) -> (JoinHandle<()>, mpsc::UnboundedReceiver<Instant>) {
    let listener = TcpListener::bind(address).await.unwrap();
    let (sender, accepted) = mpsc::unbounded_channel();
    let task = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            if sender.send(Instant::now()).is_err() {
                return;
            }
            drop(stream);
        }
    });
    (task, accepted)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_node_is_probed_rarely_and_comes_back() {
    let name = unique("killed");
    let a = Node::start(&name, "127.0.0.1:0", "none").await;
    let b = Node::start(&name, "127.0.0.1:0", "none").await;
    let registry = Fixed::new([a.address.as_str(), b.address.as_str()]);
    let load = Load::start(&front(&name, &registry), 8);
    load.reaches(&a.address).await;
    load.reaches(&b.address).await;

    let killed = Instant::now();
    let address = a.kill().await;
    let dead = Instant::now();

    // Whoever connects now is a probe. They come a second apart at least, under all that load.
    let (stand_in, mut probes) = stand_in(&address).await;
    let mut last = killed;
    for _ in 0..3 {
        let probe = in_time(probes.recv()).await.unwrap();
        let pause = probe - last;
        assert!(
            pause >= Duration::from_millis(990),
            "{pause:?} between probes"
        );
        last = probe;
    }
    load.reaches(&b.address).await;
    stand_in.abort();
    assert!(stand_in.await.unwrap_err().is_cancelled());

    let a = Node::start(&name, &address, "none").await;
    load.reaches(&a.address).await;
    only_what_was_under_way_is_lost(&load.end().await, dead);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_node_that_mdns_still_knows_costs_nothing_more() {
    let name = unique("killed.mdns");
    let a = Node::start(&name, "127.0.0.1:0", "mdns").await;
    let b = Node::start(&name, "127.0.0.1:0", "mdns").await;
    let registry = Mdns::new().loopback_only();
    let load = Load::start(&front(&name, &registry), 4);
    load.reaches(&a.address).await;
    load.reaches(&b.address).await;
    let address = a.kill().await;
    let dead = Instant::now();
    load.reaches(&b.address).await;
    let services = in_time(Mdns::new().loopback_only().get(&name))
        .await
        .unwrap();
    assert!(!services.is_empty());
    // It comes back as another node, where the first one was.
    let a = Node::start(&name, &address, "mdns").await;
    load.reaches(&a.address).await;
    only_what_was_under_way_is_lost(&load.end().await, dead);
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_costs_no_call() {
    let name = unique("sigterm");
    let mut a = Node::start(&name, "127.0.0.1:0", "mdns").await;
    let b = Node::start(&name, "127.0.0.1:0", "mdns").await;
    let load = Load::start(&front(&name, &Mdns::new().loopback_only()), 4);
    load.reaches(&a.address).await;
    load.reaches(&b.address).await;
    let process = a.child.id().unwrap().to_string();
    let sent = Command::new("kill").args(["-TERM", &process]).status();
    assert!(in_time(sent).await.unwrap().success());
    let ended = in_time(a.child.wait()).await.unwrap();
    assert!(ended.success(), "{ended}");
    load.reaches(&b.address).await;
    for caller in load.end().await {
        assert!(caller.failed.is_empty(), "{:?}", caller.failed);
    }
}

#[tokio::test]
async fn a_node_that_never_was_is_named() {
    // A port that was free a moment ago.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let front = front("anything", &Fixed::new([address.as_str()]));
    let begun = Instant::now();
    let status = in_time(front.ask(question("?"))).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains(&address), "{status}");
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "it is refused, not waited for"
    );

    // One that exists is called all the same.
    let running = crate::support::serve_answer(service("anything", &Memory::new()), "x").await;
    let registry = Fixed::new([address, running.address()]);
    let front = self::front("anything", &registry);
    for _ in 0..20 {
        assert_eq!(in_time(front.ask(question("?"))).await.unwrap().text, "x");
    }
}
