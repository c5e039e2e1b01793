//! The task of one service: its watch, its queries, its clock.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::request::{Boxed, REQUEST_TIMEOUT, fate, late, listener, open, take_over};
use super::{Shared, Stale, View, lock, snapshot};
use crate::backoff::{Backoff, jittered};
use crate::error::{Error, ErrorKind};
use crate::registry::{Event, Service, Watcher};

/// Between queries while a watch stands: the life of an entry in go-micro's cache (registry/cache, 1 min).
const REFRESH_WATCHED: Duration = Duration::from_secs(60);

/// Between queries of a registry that offers no watch.
const REFRESH_UNWATCHED: Duration = Duration::from_secs(15);

/// After an error: 100 ms, growing as gRPC's connection back-off does (× 1.6), but no further than what lets
/// a call succeed within 2 s of the registry's return.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_millis(1500);

/// The longest pause before a watch is opened again. A query that succeeds after an outage ends it.
const WATCH_BACKOFF_MAX: Duration = Duration::from_secs(15);

/// A watch that lasted this long was well; the next one is opened without delay.
const WATCH_WELL: Duration = Duration::from_secs(10);

/// Changes that follow a published one this closely are published together.
const PUBLISH_GAP: Duration = Duration::from_millis(100);

/// The least time between the starts of two queries that callers asked for.
const QUERY_GAP: Duration = Duration::from_millis(100);

/// While nodes are kept that the registry does not name, how often they are looked at.
const PRUNE: Duration = Duration::from_secs(5);

/// How long a service may go without a call before its task goes to sleep (gRPC's channel idle time-out).
const IDLE: Duration = Duration::from_secs(30 * 60);

/// Events that come while a query is under way are applied again after its answer, which may be older. More
/// than this many, and the query is made once more instead.
const REPLAY_MAX: usize = 1024;

/// How long the registry has for its first answer before the snapshot on disk stands in for it, if there is
/// one. With the time that reading it takes, a client that starts without a registry answers within 100 ms.
const SNAPSHOT_AFTER: Duration = Duration::from_millis(50);

/// The least time between two snapshots, and how often one is written that is only to say that nothing has
/// changed: it may be a day old at most.
const SNAPSHOT_GAP: Duration = Duration::from_secs(1);
const SNAPSHOT_RENEWED: Duration = Duration::from_secs(15 * 60);

/// Marks the entry as having a task, until dropped: at the task's end, or with the runtime.
pub(super) struct Running(Arc<Shared>);

/// Runs until idle. Dropping the future at any point is safe: what is known lies in [`Shared`].
pub(super) async fn run(running: Running, poked: mpsc::Receiver<()>) {
    let mut driver = Driver::new(Arc::clone(&running.0), poked);
    while let Some(step) = driver.next().await {
        driver.take(step);
    }
}

enum Watch {
    /// It is being opened.
    Opening(Boxed<Result<Watcher, Error>>),
    Open {
        watcher: Watcher,
        since: Instant,
    },
    /// It failed, and is opened again then.
    Closed(Instant),
    /// The registry offers none.
    Unsupported,
}

enum Step {
    Opened(Result<Watcher, Error>),
    Event(Option<Result<Event, Error>>),
    Answer(Result<bool, Error>),
    Loaded(Option<Vec<Service>>),
    Saved,
    Poked,
    Time,
}

/// What is under way between the task and its snapshot on disk.
enum Disk {
    Idle,
    Loading(JoinHandle<Option<Vec<Service>>>),
    Saving(JoinHandle<()>),
}

struct Driver {
    shared: Arc<Shared>,
    poked: mpsc::Receiver<()>,
    watch: Watch,
    watch_backoff: Backoff,
    /// Gives whether the answer, which it has taken over, changed anything.
    query: Option<Boxed<Result<bool, Error>>>,
    query_started: Instant,
    query_backoff: Backoff,
    /// Events since the query started.
    replay: Vec<Event>,
    /// The answer of the query under way will be too old: when to ask again.
    query_again: Option<Instant>,
    next_query: Instant,
    /// When the pause after an error ends; callers do not shorten it.
    not_before: Instant,
    published: Instant,
    publish_at: Option<Instant>,
    prune_at: Option<Instant>,
    disk: Disk,
    /// When the snapshot stands in for an answer; `None` once there was the one or the other.
    load_at: Option<Instant>,
    saved: Option<Instant>,
    save_at: Option<Instant>,
    last_used: Instant,
    sleep: Pin<Box<Sleep>>,
}

// ===== impl Running =====

impl Running {
    pub(super) fn new(shared: Arc<Shared>) -> Running {
        shared.running.store(true, Ordering::Release);
        Running(shared)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.querying.store(false, Ordering::SeqCst);
        self.0.running.store(false, Ordering::Release);
        // Whoever waits for an answer that will not come asks for another task.
        self.0.progress.send_modify(|progress| progress.ends += 1);
    }
}

// ===== impl Driver =====

impl Driver {
    fn new(shared: Arc<Shared>, poked: mpsc::Receiver<()>) -> Driver {
        let now = Instant::now();
        let watch = Watch::Opening(open(&shared));
        let unknown = shared.view.load().answered.is_none();
        let load_at = (unknown && shared.snapshots.is_some()).then(|| now + SNAPSHOT_AFTER);
        Driver {
            shared,
            poked,
            watch,
            watch_backoff: Backoff::new(BACKOFF_FIRST, WATCH_BACKOFF_MAX),
            query: None,
            query_started: now,
            query_backoff: Backoff::new(BACKOFF_FIRST, BACKOFF_MAX),
            replay: Vec::new(),
            query_again: None,
            next_query: now,
            not_before: now,
            published: now,
            publish_at: None,
            prune_at: None,
            disk: Disk::Idle,
            load_at,
            saved: None,
            save_at: None,
            last_used: now,
            sleep: Box::pin(sleep_until(now)),
        }
    }

    /// Waits for the next thing to do; `None` when nobody uses the service.
    async fn next(&mut self) -> Option<Step> {
        let now = Instant::now();
        if self.shared.used.swap(false, Ordering::Relaxed) {
            self.last_used = now;
        } else if now.duration_since(self.last_used) >= IDLE {
            tracing::debug!(service = %self.shared.name, "Nobody calls the service, its watch ends");
            return None;
        }
        let mut due = self.last_used + IDLE;
        let mut until = |instant: Instant| due = due.min(instant);
        if let Watch::Closed(retry) = self.watch {
            until(retry);
        }
        if self.query.is_none() {
            until(self.next_query);
        }
        let applying = self.shared.applying.load(Ordering::Acquire);
        if !applying {
            self.publish_at.map(&mut until);
            self.prune_at.map(&mut until);
        }
        if let Disk::Idle = self.disk {
            self.load_at.map(&mut until);
            self.save_at.map(&mut until);
        }
        self.sleep.as_mut().reset(due);

        let Driver {
            watch,
            query,
            disk,
            poked,
            sleep,
            ..
        } = self;
        // What is rare comes first, so that a registry which says event after event hides neither its own answer
        // nor what is due.
        let step = poll_fn(|cx| {
            if let Watch::Opening(opening) = watch
                && let Poll::Ready(opened) = opening.as_mut().poll(cx)
            {
                return Poll::Ready(Step::Opened(opened));
            }
            // While a query is under way, its answer serves whoever asks.
            if query.is_none()
                && let Poll::Ready(Some(())) = poked.poll_recv(cx)
            {
                return Poll::Ready(Step::Poked);
            }
            if due <= Instant::now() {
                return Poll::Ready(Step::Time);
            }
            if let Some(query) = query
                && let Poll::Ready(answer) = query.as_mut().poll(cx)
            {
                return Poll::Ready(Step::Answer(answer));
            }
            match disk {
                // What panicked has nothing to say.
                Disk::Loading(loading) => {
                    if let Poll::Ready(loaded) = Pin::new(loading).poll(cx) {
                        return Poll::Ready(Step::Loaded(loaded.unwrap_or_default()));
                    }
                }
                Disk::Saving(saving) => {
                    if Pin::new(saving).poll(cx).is_ready() {
                        return Poll::Ready(Step::Saved);
                    }
                }
                Disk::Idle => {}
            }
            if let Watch::Open { watcher, .. } = watch
                && let Poll::Ready(event) = watcher.0.poll_recv(cx)
            {
                return Poll::Ready(Step::Event(event));
            }
            sleep.as_mut().poll(cx).map(|()| Step::Time)
        })
        .await;
        Some(step)
    }

    fn take(&mut self, step: Step) {
        let now = Instant::now();
        match step {
            Step::Opened(Ok(watcher)) => {
                self.watch = Watch::Open {
                    watcher,
                    since: now,
                };
                // Whatever happened before the watch stood is known only to a query that starts now.
                self.query_soon(now);
            }
            Step::Opened(Err(error)) if error.kind() == ErrorKind::Unsupported => {
                self.watch = Watch::Unsupported;
            }
            Step::Opened(Err(error)) => {
                tracing::debug!(service = %self.shared.name, %error, "The watch could not be opened");
                self.watch = Watch::Closed(now + self.watch_backoff.next());
            }
            Step::Event(Some(Ok(event))) => self.event(event, now),
            Step::Event(Some(Err(error))) => {
                tracing::debug!(service = %self.shared.name, %error, "The watch failed");
                self.query_soon(now + jittered(BACKOFF_FIRST));
            }
            Step::Event(None) => {
                if let Watch::Open { since, .. } = self.watch
                    && now.duration_since(since) >= WATCH_WELL
                {
                    self.watch_backoff.reset();
                }
                self.watch = Watch::Closed(now + self.watch_backoff.next());
                // It may have ended because the registry did, which a query finds out.
                self.query_soon(now + jittered(BACKOFF_FIRST));
            }
            Step::Answer(answer) => self.answer(answer, now),
            Step::Loaded(services) => self.loaded(services, now),
            Step::Saved => self.disk = Disk::Idle,
            Step::Poked => {
                let earliest = self.not_before.max(self.query_started + QUERY_GAP);
                self.next_query = self.next_query.min(earliest.max(now));
            }
            Step::Time => self.time(now),
        }
    }

    fn event(&mut self, event: Event, now: Instant) {
        if event.service.name != *self.shared.name {
            return;
        }
        if self.query.is_some() {
            if self.replay.len() < REPLAY_MAX {
                self.replay.push(event.clone());
            } else {
                self.query_soon(self.query_started + QUERY_GAP);
            }
        }
        let shared = &self.shared;
        if shared.applying.load(Ordering::Acquire) {
            // It comes after the answer; one of a task that has ended is not ours.
            if self.query.is_none() {
                self.query_soon(now);
            }
            return;
        }
        let changed = lock(&shared.model).event(event, now, &|node| fate(shared, node));
        if changed {
            self.publish_soon(now);
            // Some may be kept that it says left.
            self.plan_prune(now);
        }
    }

    fn answer(&mut self, answer: Result<bool, Error>, now: Instant) {
        self.query = None;
        // Before the counts change: who has seen it set has yet to see them change.
        self.shared.querying.store(false, Ordering::SeqCst);
        let replay = std::mem::take(&mut self.replay);
        let again = std::mem::take(&mut self.query_again);
        let old = self.shared.view.load_full();
        match answer {
            Ok(mut changed) => {
                self.query_backoff.reset();
                self.not_before = now;
                let interval = match self.watch {
                    Watch::Open { .. } => REFRESH_WATCHED,
                    _ => REFRESH_UNWATCHED,
                };
                self.next_query = again.map_or(now + jittered(interval), |again| again.max(now));
                let nodes = {
                    let mut model = lock(&self.shared.model);
                    for event in replay {
                        changed |= model.event(event, now, &|node| fate(&self.shared, node));
                    }
                    (changed || self.publish_at.is_some()).then(|| model.nodes())
                };
                if old.stale.is_some() {
                    if let Watch::Closed(retry) = &mut self.watch {
                        *retry = now;
                    }
                    tracing::info!(service = %self.shared.name, registry = self.shared.registry.name(),
                        "The registry answers again");
                }
                if self
                    .saved
                    .is_none_or(|saved| saved + SNAPSHOT_RENEWED <= now)
                {
                    self.save_soon(now);
                }
                self.load_at = None;
                self.publish(nodes, Some(now), None, now);
                self.shared
                    .progress
                    .send_modify(|progress| progress.answers += 1);
            }
            Err(error) => {
                let pause = self.query_backoff.next();
                self.not_before = now + pause;
                self.next_query = self.not_before;
                let text: Arc<str> = format!("{error:?}").into();
                if old.stale.is_none() {
                    let (shared, why) = (Arc::clone(&self.shared), Arc::clone(&text));
                    let nodes = old.nodes.len();
                    // A runtime that is ending runs no new task: that its registry fails then is no news.
                    tokio::spawn(async move {
                        tracing::warn!(service = %shared.name, registry = shared.registry.name(), error = %why, nodes,
                            "The registry fails, what is known of the service stays in use");
                    });
                }
                let stale = Stale {
                    since: old.stale.as_ref().map_or(now, |stale| stale.since),
                    error: text,
                    // Nothing that waiting could mend.
                    refused: matches!(error.kind(), ErrorKind::Config | ErrorKind::Unsupported),
                };
                let refused = stale.refused;
                if let Some(load_at) = &mut self.load_at {
                    *load_at = now;
                }
                // Events may have come with their own changes; they are published when due.
                self.publish(None, old.answered, Some(stale), now);
                if refused {
                    self.shared
                        .progress
                        .send_modify(|progress| progress.refusals += 1);
                }
            }
        }
        if let Some(listener) = listener(&self.shared) {
            listener.tick();
        }
        self.plan_prune(now);
    }

    fn time(&mut self, now: Instant) {
        if let Watch::Closed(retry) = self.watch
            && retry <= now
        {
            self.watch = Watch::Opening(open(&self.shared));
        }
        // While the model is at work elsewhere, these wait for the answer.
        let applying = self.shared.applying.load(Ordering::Acquire);
        if !applying && self.publish_at.is_some_and(|at| at <= now) {
            self.publish_model(now);
        }
        if !applying && self.prune_at.is_some_and(|at| at <= now) {
            let pruned = lock(&self.shared.model).prune(now, &|node| fate(&self.shared, node));
            if pruned {
                self.publish_soon(now);
            }
            self.plan_prune(now);
        }
        if let Disk::Idle = self.disk {
            self.disk(now);
        }
        if self.query.is_none() && self.next_query <= now {
            self.query_started = now;
            self.shared.querying.store(true, Ordering::SeqCst);
            let shared = Arc::clone(&self.shared);
            self.query = Some(Box::pin(async move {
                let registry = &shared.registry;
                match timeout(REQUEST_TIMEOUT, registry.get(&shared.name)).await {
                    Ok(answer) => take_over(&shared, answer?).await,
                    Err(_) => Err(late("a query")),
                }
            }));
        }
    }

    /// Begins to load or to save the snapshot, if it is time.
    fn disk(&mut self, now: Instant) {
        let Some(snapshots) = self.shared.snapshots.clone() else {
            return;
        };
        let name = Arc::clone(&self.shared.name);
        if self.load_at.is_some_and(|at| at <= now) {
            self.load_at = None;
            let load = move || match snapshots.load(&name, SystemTime::now()) {
                Ok(services) => services,
                Err(error) => {
                    tracing::warn!(%error, "No snapshot");
                    None
                }
            };
            self.disk = Disk::Loading(spawn_blocking(load));
        } else if self.save_at.is_some_and(|at| at <= now) {
            self.save_at = None;
            self.saved = Some(now);
            let view = self.shared.view.load_full();
            let save = move || {
                // Here, since it takes a while for ten thousand nodes.
                let services = snapshot::services(&view.nodes);
                if let Err(error) = snapshots.save(&name, services, SystemTime::now()) {
                    tracing::warn!(error = ?error, "The snapshot was not saved");
                }
            };
            self.disk = Disk::Saving(spawn_blocking(save));
        }
    }

    /// The snapshot stands in for the registry, unless that has answered meanwhile.
    fn loaded(&mut self, services: Option<Vec<Service>>, now: Instant) {
        self.disk = Disk::Idle;
        let view = self.shared.view.load_full();
        let Some(mut services) = services.filter(|_| view.answered.is_none()) else {
            return;
        };
        services.retain(|service| service.name == *self.shared.name);
        let nodes = {
            let mut model = lock(&self.shared.model);
            let restored = model.restore(services);
            restored.then(|| model.nodes())
        };
        if let Some(nodes) = nodes {
            tracing::warn!(service = %self.shared.name, registry = self.shared.registry.name(), nodes = nodes.len(),
                "The registry does not answer, the snapshot on disk stands in for it");
            self.publish(Some(nodes), None, view.stale.clone(), now);
        }
    }

    /// Plans a snapshot of what the registry has confirmed.
    fn save_soon(&mut self, now: Instant) {
        if self.shared.snapshots.is_some() && self.save_at.is_none() {
            let earliest = self.saved.map_or(now, |saved| saved + SNAPSHOT_GAP);
            self.save_at = Some(now.max(earliest));
        }
    }

    /// A query at that time, or after the one under way, but within the pause that follows an error.
    fn query_soon(&mut self, at: Instant) {
        if self.query.is_some() {
            let again = self.query_again.map_or(at, |again| again.min(at));
            self.query_again = Some(again);
        } else {
            self.next_query = self.next_query.min(at).max(self.not_before);
        }
    }

    fn plan_prune(&mut self, now: Instant) {
        if self.prune_at.is_some_and(|at| at > now) {
            return;
        }
        self.prune_at = lock(&self.shared.model).keeps_any().then(|| now + PRUNE);
    }

    /// At once, or with what else changes within the gap. Whoever waits for the first node does not wait longer.
    fn publish_soon(&mut self, now: Instant) {
        let at = self.published + PUBLISH_GAP;
        if at <= now || self.shared.view.load().nodes.is_empty() {
            self.publish_model(now);
        } else {
            self.publish_at = Some(at);
        }
    }

    fn publish_model(&mut self, now: Instant) {
        let old = self.shared.view.load_full();
        let nodes = lock(&self.shared.model).nodes();
        self.publish(Some(nodes), old.answered, old.stale.clone(), now);
    }

    /// Makes a new view known: first to the listener, so that whoever waits finds its work done.
    fn publish(
        &mut self,
        nodes: Option<Vec<super::Known>>,
        answered: Option<Instant>,
        stale: Option<Stale>,
        now: Instant,
    ) {
        let changed = nodes.is_some();
        let confirmed = answered.is_some() && stale.is_none();
        let old = self.shared.view.load_full();
        let view = Arc::new(View {
            nodes: nodes.map_or_else(|| Arc::clone(&old.nodes), Arc::from),
            answered,
            stale,
        });
        self.shared.view.store(view);
        if changed {
            self.published = now;
            self.publish_at = None;
            // What the registry has not confirmed is not made younger by saving it again.
            if confirmed {
                self.save_soon(now);
            }
            if let Some(listener) = listener(&self.shared) {
                listener.changed();
            }
        }
        self.shared
            .progress
            .send_modify(|progress| progress.version += 1);
    }
}
