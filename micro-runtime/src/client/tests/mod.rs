//! Scripted peers for the client's tests: HTTP/2 over a pipe in memory, or in-process, in paused time.

/// Makes a test of each function, on each engine.
macro_rules! on_every_engine {
    ($($name:ident)*) => {$(
        mod $name {
            use super::super::Engine;

            #[tokio::test(start_paused = true)]
            async fn over_http2() {
                super::$name(Engine::Http2).await;
            }

            #[tokio::test(start_paused = true)]
            async fn in_process() {
                super::$name(Engine::Local).await;
            }
        }
    )*};
}

mod again;
mod budget;
mod calls;
mod faults;
mod hedging;
mod named;
mod nodes;
mod pool;
mod retries;
mod simulation;
mod streams;
mod waiting;

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use super::{Client, ClientOptions, Dial, Target};
use crate::codec::Prost;
use crate::codec::frame::{PREFIX, seal};
use crate::exchange::{
    BoxFuture, Broken, ConnInfo, Connection, Drain, Drainer, Exchange, FieldValue, Incoming, Io,
    Line, OutFields, OutHead, Outgoing, PeerAddr, Serve, Slot, Why, Work,
};
use crate::method::{Idempotency, Method, MethodKind};
use crate::protocol::grpc::MessageReader;
use crate::registry::{self, Memory, Node, Registry};
use crate::selector::RoundRobin;
use crate::transport::{ClientLimits, ServerLimits, http2, local};

pub(super) const KIND: MethodKind = MethodKind::Unary;

pub(super) static ECHO: Method<String, String> =
    Method::new::<Prost>(KIND, "test.Echo", "Say", "/test.Echo/Say", "Echo.Say");

pub(super) static SAFE: Method<String, String> =
    Method::new::<Prost>(KIND, "test.Echo", "Look", "/test.Echo/Look", "Echo.Look")
        .idempotency(Idempotency::NoSideEffects);

pub(super) static COUNT: Method<String, String> = Method::new::<Prost>(
    MethodKind::ServerStreaming,
    "test.Echo",
    "Count",
    "/test.Echo/Count",
    "Echo.Count",
);

pub(super) static COLLECT: Method<String, String> = Method::new::<Prost>(
    MethodKind::ClientStreaming,
    "test.Echo",
    "Collect",
    "/test.Echo/Collect",
    "Echo.Collect",
);

pub(super) static CHAT: Method<String, String> = Method::new::<Prost>(
    MethodKind::Bidi,
    "test.Echo",
    "Chat",
    "/test.Echo/Chat",
    "Echo.Chat",
);

/// A peer that does with each exchange what a function says.
pub(super) struct Scripted(Box<dyn Fn(Exchange) -> BoxFuture<'static, ()> + Send + Sync>);

impl Serve for Scripted {
    fn call(&self, exchange: Exchange) -> Work {
        Work {
            run: (self.0)(exchange),
            inline: true,
        }
    }
}

pub(super) fn script<F, Fut>(script: F) -> Arc<dyn Serve>
where
    F: Fn(Exchange) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    Arc::new(Scripted(Box::new(move |exchange| {
        Box::pin(script(exchange))
    })))
}

/// A connection over HTTP/2 to a peer, which ends when the other end of the drain is dropped.
async fn connect_with(app: Arc<dyn Serve>, limits: ServerLimits, drain: Drain) -> Connection {
    let (near, far) = tokio::io::duplex(1 << 20);
    let info = || ConnInfo::new(PeerAddr::Local, PeerAddr::Local);
    tokio::spawn(async move { http2::serve(Io::new(far), info(), &limits, app, drain).await });
    http2::connect(Io::new(near), info(), &ClientLimits::new())
        .await
        .unwrap()
}

/// What a test's calls travel over.
#[derive(Clone, Copy)]
pub(super) enum Engine {
    Http2,
    Local,
}

/// A target whose calls go to this script.
pub(super) async fn target<F, Fut>(function: F) -> (Target, Drainer)
where
    F: Fn(Exchange) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    target_on(Engine::Http2, function).await
}

pub(super) async fn target_on<F, Fut>(engine: Engine, function: F) -> (Target, Drainer)
where
    F: Fn(Exchange) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let (drainer, drain) = Drainer::new();
    let limits = ServerLimits::new();
    let app = script(function);
    let connection = match engine {
        Engine::Http2 => connect_with(app, limits, drain).await,
        Engine::Local => local::connect_with(app, &limits, &ClientLimits::new(), drain),
    };
    (Client::over(connection).target("echo"), drainer)
}

// ===== replies =====

pub(super) fn head() -> OutHead {
    head_of(200, "application/grpc")
}

pub(super) fn head_of(status: u16, content_type: &'static str) -> OutHead {
    let mut fields = OutFields::default();
    fields.slot(Slot::ContentType, FieldValue::Static(content_type));
    OutHead {
        line: Line::Status(status),
        fields,
    }
}

pub(super) fn status(code: u64, message: &'static str) -> OutFields {
    let mut fields = OutFields::default();
    fields.slot(Slot::GrpcStatus, FieldValue::Number(code));
    fields.slot(Slot::GrpcMessage, FieldValue::Static(message));
    fields
}

pub(super) fn framed(text: &str) -> Bytes {
    let mut buffer = vec![0; PREFIX];
    prost::Message::encode(&text.to_owned(), &mut buffer).unwrap();
    seal(buffer).unwrap()
}

/// A whole reply with this message.
pub(super) fn reply(mut out: Outgoing, text: &str) {
    out.head(head(), false).unwrap();
    out.data(framed(text), false).unwrap();
    out.trailers(status(0, "")).unwrap();
}

/// A reply of a status alone.
pub(super) fn refuse(mut out: Outgoing, code: u64, message: &'static str) {
    let mut head = head();
    for (name, value) in status(code, message).others() {
        if let crate::exchange::FieldName::Slot(slot) = name {
            head.fields.slot(*slot, value.clone());
        }
    }
    out.head(head, true).unwrap();
}

/// The next request message, as text.
pub(super) async fn read(reader: &mut MessageReader) -> Option<String> {
    let message = poll_fn(|cx| reader.poll_message(cx)).await?.ok()?;
    Some(prost::Message::decode(message).unwrap())
}

pub(super) fn reader(body: Incoming) -> MessageReader {
    MessageReader::new(body, 1 << 20)
}

/// Waits until the caller gives the exchange up; says with which code.
pub(super) async fn cancelled(mut out: Outgoing) -> Why {
    poll_fn(|cx| out.poll_closed(cx)).await.why
}

// ===== nodes =====

/// What is found at an address.
#[derive(Clone)]
pub(super) enum Site {
    Refuses,
    Hangs,
    Slow(Duration, Arc<dyn Serve>),
    /// Takes so many calls at once on a connection.
    Narrow(u32, Arc<dyn Serve>),
    Serves(Arc<dyn Serve>),
}

/// A network in memory: addresses, what is there, and how often each was dialled.
#[derive(Clone, Default)]
pub(super) struct Network(Arc<Mutex<Sites>>);

#[derive(Default)]
struct Sites {
    sites: HashMap<String, Site>,
    dials: HashMap<String, usize>,
    drainers: HashMap<String, Vec<Drainer>>,
    connected: watch::Sender<Option<tokio::time::Instant>>,
}

impl Network {
    pub(super) fn put(&self, address: &str, site: Site) {
        self.0.lock().unwrap().sites.insert(address.into(), site);
    }

    pub(super) fn serve<F, Fut>(&self, address: &str, function: F)
    where
        F: Fn(Exchange) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.put(address, Site::Serves(script(function)));
    }

    pub(super) fn dials(&self, address: &str) -> usize {
        let sites = self.0.lock().unwrap();
        sites.dials.get(address).copied().unwrap_or_default()
    }

    /// Cuts every connection to an address, which refuses from now on.
    pub(super) fn kill(&self, address: &str) {
        let mut sites = self.0.lock().unwrap();
        sites.sites.insert(address.into(), Site::Refuses);
        sites.drainers.remove(address);
    }

    /// Waits for the first connection that is made; when that is.
    pub(super) async fn connects(&self) -> tokio::time::Instant {
        let mut connected = self.0.lock().unwrap().connected.subscribe();
        let first = connected.wait_for(Option::is_some).await.unwrap();
        first.unwrap()
    }

    /// The drains of the connections to an address.
    pub(super) fn drainers(&self, address: &str) -> Vec<Drainer> {
        let mut sites = self.0.lock().unwrap();
        sites.drainers.remove(address).unwrap_or_default()
    }
}

impl Dial for Network {
    fn dial(&self, address: Arc<str>) -> BoxFuture<'static, Result<Connection, Broken>> {
        let network = self.clone();
        Box::pin(async move {
            let (drainer, drain) = Drainer::new();
            let site = {
                let mut sites = network.0.lock().unwrap();
                *sites.dials.entry(address.to_string()).or_default() += 1;
                sites.sites.get(&*address).cloned()
            };
            let site = match site {
                Some(Site::Slow(time, app)) => {
                    tokio::time::sleep(time).await;
                    Some(Site::Serves(app))
                }
                site => site,
            };
            let mut limits = ServerLimits::new();
            if let Some(Site::Narrow(streams, _)) = site {
                limits = limits.max_concurrent_streams(streams);
            }
            match site {
                Some(Site::Serves(app) | Site::Narrow(_, app)) => {
                    let connection = connect_with(app, limits, drain).await;
                    let mut sites = network.0.lock().unwrap();
                    let drainers = sites.drainers.entry(address.to_string()).or_default();
                    drainers.push(drainer);
                    let now = tokio::time::Instant::now();
                    sites.connected.send_if_modified(|first| {
                        let none = first.is_none();
                        first.get_or_insert(now);
                        none
                    });
                    Ok(connection)
                }
                Some(Site::Hangs) => std::future::pending().await,
                Some(Site::Refuses | Site::Slow(..)) | None => Err(Broken::new(Why::Closed)
                    .unprocessed()
                    .with_detail("connection refused")),
            }
        })
    }
}

/// Registers nodes of the service `echo` at these addresses.
pub(super) async fn registry(addresses: &[&str]) -> Memory {
    registry_with(addresses, Vec::new()).await
}

/// The same, with endpoints.
pub(super) async fn registry_with(
    addresses: &[&str],
    endpoints: Vec<registry::Endpoint>,
) -> Memory {
    let registry = Memory::new();
    if addresses.is_empty() {
        return registry;
    }
    let nodes = addresses.iter().map(|address| Node {
        id: format!("echo-{address}"),
        address: (*address).into(),
        ..Node::default()
    });
    let service = registry::Service {
        name: "echo".into(),
        nodes: nodes.collect(),
        endpoints,
        ..registry::Service::default()
    };
    registry.register(&service, Duration::ZERO).await.unwrap();
    registry
}

/// A client of these nodes, which takes them in turns.
pub(super) async fn client(network: &Network, addresses: &[&str]) -> Client {
    client_of(network, registry(addresses).await)
}

pub(super) fn client_of(network: &Network, registry: impl Registry) -> Client {
    Client::new(
        Arc::new(registry),
        Arc::new(RoundRobin),
        Arc::new(network.clone()),
        ClientOptions::new(),
    )
    .unwrap()
}

/// Counts.
#[derive(Clone, Default)]
pub(super) struct Count(Arc<AtomicUsize>);

impl Count {
    pub(super) fn add(&self) -> usize {
        self.0.fetch_add(1, Ordering::SeqCst)
    }

    pub(super) fn take(&self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }

    pub(super) fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// A line from a script to its test.
pub(super) fn line<T>() -> (mpsc::UnboundedSender<T>, mpsc::UnboundedReceiver<T>) {
    mpsc::unbounded_channel()
}
