//! What the task of a service asks of the registry, and what becomes of the answer.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout};

use super::{Fate, Shared, lock};
use crate::error::Error;
use crate::registry::{Node, Service, Watcher};

pub(super) type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The longest that a registry may take over one request. A registry with rules of its own (mDNS gives up
/// after 1.5 s) is done long before.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// The nodes from which on an answer is long. It takes a microsecond for each of them.
const MANY: usize = 1000;

pub(super) fn listener(shared: &Shared) -> Option<Arc<dyn super::Listener>> {
    lock(&shared.listener)
        .as_ref()
        .and_then(std::sync::Weak::upgrade)
}

pub(super) fn fate(shared: &Shared, node: &Node) -> Fate {
    listener(shared).map_or(Fate::Unknown, |listener| listener.fate(node))
}

/// Takes over the answer to a query; says whether it changed anything. A long one is taken over in a thread of its
/// own, so that the calls of this one do not wait for it.
pub(super) async fn take_over(
    shared: &Arc<Shared>,
    mut services: Vec<Service>,
) -> Result<bool, Error> {
    services.retain(|service| service.name == *shared.name);
    let now = Instant::now();
    let nodes = services.iter().map(|service| service.nodes.len());
    if nodes.sum::<usize>() < MANY {
        let mut model = lock(&shared.model);
        return Ok(model.answer(services, now, &|node| fate(shared, node)));
    }
    shared.applying.store(true, Ordering::Release);
    let applying = Applying(Arc::clone(shared));
    let taking = spawn_blocking(move || {
        let shared = &*applying.0;
        lock(&shared.model).answer(services, now, &|node| fate(shared, node))
    });
    taking.await.map_err(|error| {
        Error::registry("the answer of a registry could not be taken over").with_source(error)
    })
}

/// Says that the model is at work in another thread, until dropped.
struct Applying(Arc<Shared>);

impl Drop for Applying {
    fn drop(&mut self) {
        self.0.applying.store(false, Ordering::Release);
    }
}

pub(super) fn open(shared: &Arc<Shared>) -> Boxed<Result<Watcher, Error>> {
    let shared = Arc::clone(shared);
    Box::pin(async move {
        match timeout(REQUEST_TIMEOUT, shared.registry.watch(Some(&shared.name))).await {
            Ok(opened) => opened,
            Err(_) => Err(late("opening a watch")),
        }
    })
}

pub(super) fn late(what: &str) -> Error {
    Error::registry(format_args!(
        "{what} took longer than {} s",
        REQUEST_TIMEOUT.as_secs()
    ))
}
