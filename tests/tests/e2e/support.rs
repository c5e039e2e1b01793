//! What the tests share.

use std::future::Future;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use micro_runtime::client::ClientOptions;
use micro_runtime::registry::{Memory, Registry};
use micro_runtime::service::{Running, ServiceBuilder};
use micro_runtime::{Client, Service};
use micro_tests::front;
use micro_tests::front::v1::{FrontService, new_front_service};
use micro_tests::peer::Peer;
use micro_tests::peer::v1::{PeerService, new_peer_service, register_peer_handler};
use tokio::task::JoinHandle;

/// Long enough for anything that happens at all, on a machine that does much else.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks at a condition that gives no event.
const PAUSE: Duration = Duration::from_millis(20);

/// A name of a service that no other test, and no other run of them, has.
pub(crate) fn unique(what: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("e2e.{what}.{}.{count}", std::process::id())
}

/// A service on a free port of loopback, in this registry.
pub(crate) fn service(name: &str, registry: &(impl Registry + Clone)) -> ServiceBuilder {
    Service::new(name)
        .address("127.0.0.1:0")
        .registry(registry.clone())
}

/// A running service that has `Peer`.
pub(crate) async fn serve_peer(builder: ServiceBuilder) -> Running {
    let service = builder.build().unwrap();
    register_peer_handler(service.server(), Peer::default()).unwrap();
    service.start().await.unwrap()
}

/// A running service whose `Front` answers every question with this text.
pub(crate) async fn serve_answer(builder: ServiceBuilder, text: &'static str) -> Running {
    let service = builder.build().unwrap();
    front::register(service.server(), move |_, _| async move {
        Ok(front::answer(text))
    })
    .unwrap();
    service.start().await.unwrap()
}

/// A client that finds services in this registry, and has more patience than the default.
pub(crate) fn client(registry: &(impl Registry + Clone)) -> Client {
    client_with(registry, ClientOptions::new())
}

/// The same with further options.
pub(crate) fn client_with(registry: &(impl Registry + Clone), options: ClientOptions) -> Client {
    let service = service("e2e.client", registry)
        .client_options(options)
        .request_timeout(PATIENCE)
        .pick_round_robin()
        .build()
        .unwrap();
    service.client().clone()
}

/// The client of a `Front` in this registry.
pub(crate) fn front_client(name: &str, registry: &(impl Registry + Clone)) -> FrontService {
    new_front_service(name, &client(registry))
}

/// A service with `Peer` over TCP, and a client of it.
pub(crate) async fn peer_over_tcp() -> (Running, PeerService) {
    let (registry, name) = (Memory::new(), unique("peer"));
    let running = serve_peer(service(&name, &registry)).await;
    let peer = new_peer_service(&name, &client(&registry));
    (running, peer)
}

/// Asks until something holds; for what gives no event to wait for.
///
/// # Panics
/// It does not hold within [`PATIENCE`].
pub(crate) async fn eventually<F, Fut>(what: &str, mut holds: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = bool>,
{
    let begun = tokio::time::Instant::now();
    while begun.elapsed() < PATIENCE {
        if holds().await {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
    panic!("it did not come about that {what}, in {PATIENCE:?}");
}

/// The result of a task, in time.
pub(crate) async fn joined<T>(task: JoinHandle<T>) -> T {
    in_time(task).await.unwrap()
}

/// What comes of a future that must not hang.
pub(crate) async fn in_time<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("it hangs")
}
