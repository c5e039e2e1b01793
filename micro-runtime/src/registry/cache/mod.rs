//! [`Cache`]: what a client knows of the services it calls, kept up to date behind its back.
//!
//! The rule above all: the registry may add knowledge; its absence removes none. What was once learnt is kept
//! for ever while the registry fails, only marked stale, and it is left to the health of the nodes which of
//! them are used. A successful answer of "none" is a different thing from an error, and even that is believed
//! only as far as [`model::Model::answer`] says.
//!
//! Each service has one task, which holds the watch and makes the queries: one at a time, for all who ask,
//! with no caller's deadline or cancellation. It starts when the service is first asked for inside a runtime,
//! goes to sleep when nobody has used the service for half an hour, and ends when the last handle is dropped.

mod model;
mod request;
mod snapshot;
mod task;

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use arc_swap::{ArcSwap, Guard};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::{DynRegistry, Node};
use crate::deadline::Deadline;
use crate::lock::lock;
use model::Model;
use snapshot::Snapshots;

pub(crate) use model::Known;

/// The cache of one client. Clones share what they know.
#[derive(Clone)]
pub(crate) struct Cache {
    registry: Arc<dyn DynRegistry>,
    snapshots: Option<Snapshots>,
    entries: Arc<Mutex<HashMap<Arc<str>, Weak<Entry>>>>,
}

/// What is known of one service, and the task that finds it out, which ends when this is dropped.
pub(crate) struct Entry {
    shared: Arc<Shared>,
    /// Short sections without a wait, hence a std mutex, as are the others here.
    task: Mutex<Option<Task>>,
}

struct Task {
    abort: AbortHandle,
    poke: mpsc::Sender<()>,
}

/// What the entry and its task share.
struct Shared {
    name: Arc<str>,
    registry: Arc<dyn DynRegistry>,
    snapshots: Option<Snapshots>,
    view: ArcSwap<View>,
    /// Only the task uses it; it lies here so that what is known outlives the task.
    model: Mutex<Model>,
    progress: watch::Sender<Progress>,
    listener: Mutex<Option<Weak<dyn Listener>>>,
    running: AtomicBool,
    /// A query is under way, whose answer serves whoever asks.
    querying: AtomicBool,
    /// A long answer is being taken over in another thread, which holds the model.
    applying: AtomicBool,
    used: AtomicBool,
}

/// What is known of a service at one moment; it never changes.
#[derive(Debug, Default)]
pub(crate) struct View {
    /// The nodes, in the order of their ids.
    pub(crate) nodes: Arc<[Known]>,
    /// When the registry last answered.
    pub(crate) answered: Option<Instant>,
    /// Set while the registry fails.
    pub(crate) stale: Option<Stale>,
}

/// Why a [`View`] may be out of date.
#[derive(Clone, Debug)]
pub(crate) struct Stale {
    /// Since when the registry fails.
    pub(crate) since: Instant,
    /// Its last error, with causes.
    pub(crate) error: Arc<str>,
    /// It refused in a way that asking again does not mend.
    pub(crate) refused: bool,
}

/// What health says of a node that the registry no longer names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It cannot be reached.
    Dead,
    /// When last used, it worked.
    Alive,
    /// It has not been used.
    Unknown,
}

/// Who wants to know of changes. Called in the entry's task, so it must be quick.
pub(crate) trait Listener: Send + Sync + 'static {
    /// There is a new view, which [`Entry::view`] gives.
    fn changed(&self);
    /// Time has passed: about once a minute.
    fn tick(&self);
    /// Asked of a node that the registry no longer names.
    fn fate(&self, node: &Node) -> Fate;
}

/// Why [`Entry::look_up`] found nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LookUpError {
    /// The deadline passed before the registry answered.
    Deadline,
    /// The registry refused in a way that asking again does not mend.
    Refused,
    /// There is no runtime to ask from.
    NoRuntime,
}

/// Counts what has come back.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    /// Changes on every event and answer.
    version: u64,
    answers: u64,
    refusals: u64,
    /// How often a task has ended: asleep, with its runtime, or by a registry's panic.
    ends: u64,
}

// ===== impl Cache =====

impl Cache {
    pub(crate) fn new(registry: Arc<dyn DynRegistry>) -> Cache {
        Cache {
            registry,
            snapshots: None,
            entries: Arc::default(),
        }
    }

    /// Saves what it knows in this directory, and begins with what was saved there where the registry does not
    /// answer.
    pub(crate) fn with_snapshots(mut self, directory: impl Into<PathBuf>) -> Cache {
        self.snapshots = Some(Snapshots::new(directory, self.registry.name()));
        self
    }

    /// The registry's name, for messages.
    pub(crate) fn registry_name(&self) -> &'static str {
        self.registry.name()
    }

    /// What is known of a service. Asks nothing yet.
    pub(crate) fn entry(&self, name: &str) -> Arc<Entry> {
        let mut entries = lock(&self.entries);
        if let Some(entry) = entries.get(name).and_then(Weak::upgrade) {
            return entry;
        }
        entries.retain(|_, entry| entry.strong_count() > 0);
        let name: Arc<str> = name.into();
        let entry = Arc::new(Entry::new(
            Arc::clone(&name),
            Arc::clone(&self.registry),
            self.snapshots.clone(),
        ));
        entries.insert(name, Arc::downgrade(&entry));
        entry
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("registry", &self.registry_name())
            .finish_non_exhaustive()
    }
}

// ===== impl Entry =====

impl Entry {
    fn new(name: Arc<str>, registry: Arc<dyn DynRegistry>, snapshots: Option<Snapshots>) -> Entry {
        Entry {
            shared: Arc::new(Shared {
                name,
                registry,
                snapshots,
                view: ArcSwap::default(),
                model: Mutex::default(),
                progress: watch::Sender::default(),
                listener: Mutex::new(None),
                running: AtomicBool::new(false),
                querying: AtomicBool::new(false),
                applying: AtomicBool::new(false),
                used: AtomicBool::new(false),
            }),
            task: Mutex::new(None),
        }
    }

    /// What is known now; takes no lock.
    pub(crate) fn view(&self) -> Guard<Arc<View>> {
        self.shared.view.load()
    }

    /// Sets who is told of changes, in place of who was.
    pub(crate) fn listen(&self, listener: Weak<dyn Listener>) {
        *lock(&self.shared.listener) = Some(listener);
    }

    /// Says that the service is in use, which keeps the task awake. Cheap enough for every call.
    pub(crate) fn touch(&self) {
        if !self.shared.used.load(Ordering::Relaxed) {
            self.shared.used.store(true, Ordering::Relaxed);
        }
        if !self.shared.running.load(Ordering::Relaxed) {
            let _no_runtime = self.start();
        }
    }

    /// Waits until `enough` holds or the registry has answered a query, one under way or a new one, which all
    /// who wait share; queries that callers ask for begin at least 100 ms apart. While the registry fails it is
    /// asked again, with a growing pause, until the deadline.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives up the wait; the query goes on.
    pub(crate) async fn look_up(
        &self,
        deadline: Deadline,
        enough: impl Fn() -> bool,
    ) -> Result<(), LookUpError> {
        let mut progress = self.shared.progress.subscribe();
        let before = *progress.borrow_and_update();
        if enough() {
            return Ok(());
        }
        let view = self.shared.view.load_full();
        if view.stale.as_ref().is_some_and(|stale| stale.refused) {
            return Err(LookUpError::Refused);
        }
        self.shared.used.store(true, Ordering::Relaxed);
        let poke = self.start().ok_or(LookUpError::NoRuntime)?;
        if !self.shared.querying.load(Ordering::SeqCst) {
            // Full means that a query has been asked for already.
            let _ = poke.try_send(());
        }
        let mut restarted = false;
        loop {
            match tokio::time::timeout_at(deadline.instant(), progress.changed()).await {
                Ok(Ok(())) => {}
                // The sender lives in `self.shared`, so that it cannot be gone.
                Ok(Err(_)) | Err(_) => return Err(LookUpError::Deadline),
            }
            let now = *progress.borrow_and_update();
            if enough() || now.answers != before.answers {
                return Ok(());
            }
            if now.refusals != before.refusals {
                return Err(LookUpError::Refused);
            }
            // The task went to sleep just as it was asked. Once: a registry that panics would do so again.
            if now.ends != before.ends && !restarted {
                restarted = true;
                let _asks_by_itself = self.start().ok_or(LookUpError::NoRuntime)?;
            }
        }
    }

    /// Starts the task unless it runs; `None` outside a runtime.
    fn start(&self) -> Option<mpsc::Sender<()>> {
        let mut task = lock(&self.task);
        if let Some(task) = task.as_ref()
            && self.shared.running.load(Ordering::Acquire)
        {
            return Some(task.poke.clone());
        }
        let runtime = tokio::runtime::Handle::try_current().ok()?;
        let (poke, poked) = mpsc::channel(1);
        let running = task::Running::new(Arc::clone(&self.shared));
        let abort = runtime.spawn(task::run(running, poked)).abort_handle();
        *task = Some(Task {
            abort,
            poke: poke.clone(),
        });
        Some(poke)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let task = self
            .task
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(task) = task {
            task.abort.abort();
        }
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("name", &self.shared.name)
            .field("view", &self.view())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
