//! The tasks behind watchers: blocking queries, one after the other.

use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::agents::{Agents, Blocking, Indexed};
use super::api::Instance;
use super::follow::{HOLD, Index, News, Tracker};
use super::slots::Follower;
use crate::backoff::{Backoff, jittered};
use crate::error::Error;
use crate::registry::Event;

/// The events that a watcher may be behind; then its queries wait for it.
pub(super) const BACKLOG: usize = 1024;

/// The least time between the starts of two queries for one service, and for the list of services, which
/// changes with each of them.
const GAP: Duration = Duration::from_millis(100);
const LIST_GAP: Duration = Duration::from_millis(250);

/// Between queries that are answered before their time without any news, which is not as it should be.
const NO_NEWS_FIRST: Duration = Duration::from_secs(1);
const NO_NEWS_MOST: Duration = Duration::from_secs(15);

/// An answer this late has waited.
const WAITED: Duration = Duration::from_secs(1);

/// After errors. A node that came back with its agent is seen within 3 s of that, and both wait.
const ERROR_FIRST: Duration = Duration::from_millis(100);
const ERROR_MOST: Duration = Duration::from_secs(1);

/// The most services that a watch of all follows.
const SERVICES_MAX: usize = 1024;

/// For how long a service is followed that is not in the list any more: until its last nodes are gone for good.
const UNLISTED: Duration = Duration::from_secs(HOLD.as_secs() + 30);

pub(super) type Events = mpsc::Sender<Result<Event, Error>>;

/// When to ask, and on which index.
struct Pace {
    index: Index,
    gap: Duration,
    started: Instant,
    not_before: Instant,
    no_news: Backoff,
    errors: Backoff,
    /// Since the last answer there was an error, or the agent has lost its memory.
    broken: bool,
    /// The error was told.
    told: bool,
}

// ===== impl Pace =====

impl Pace {
    fn new(gap: Duration) -> Pace {
        let now = Instant::now();
        Pace {
            index: Index::default(),
            gap,
            started: now,
            not_before: now,
            no_news: Backoff::new(NO_NEWS_FIRST, NO_NEWS_MOST),
            errors: Backoff::new(ERROR_FIRST, ERROR_MOST),
            broken: false,
            told: false,
        }
    }

    /// Waits until the next query may start.
    async fn ready(&mut self) {
        sleep_until(self.not_before).await;
        self.started = Instant::now();
    }

    /// Takes over an answer's index; says whether the answer continues the last one.
    fn answered(&mut self, index: Option<u64>) -> bool {
        let now = Instant::now();
        let first = self.index.get().is_none();
        let news = self.index.take(index);
        self.errors.reset();
        self.told = false;
        let early = now.duration_since(self.started) < WAITED;
        self.not_before = match news {
            News::Fresh => {
                self.no_news.reset();
                self.started + jittered(self.gap)
            }
            News::Same if !early => now,
            News::Same | News::Lost => now + self.no_news.next(),
        };
        let continuous = !self.broken && (news != News::Lost || first);
        self.broken = news == News::Lost;
        continuous
    }

    /// Takes over an error; says whether it is the first since the last answer.
    fn failed(&mut self) -> bool {
        self.index.reset();
        self.broken = true;
        self.not_before = Instant::now() + self.errors.next();
        !std::mem::replace(&mut self.told, true)
    }
}

/// Watches one service, beginning with what is there. Fails if that cannot be found out.
pub(super) async fn one(
    agents: Agents,
    name: String,
    events: Events,
) -> Result<impl Future<Output = ()>, Error> {
    let mut follow = Follow::new(agents, name, events, true);
    let (instances, index) = follow.agents.instances(&follow.name, None).await?;
    let first = follow.take(instances, index);
    Ok(async move {
        for event in first {
            follow.tell(Ok(event)).await;
        }
        follow.run().await;
    })
}

/// The watch of one service.
struct Follow {
    agents: Agents,
    name: String,
    follower: Follower,
    pace: Pace,
    tracker: Tracker,
    events: Events,
    /// Errors are told too.
    tells_errors: bool,
}

// ===== impl Follow =====

impl Follow {
    fn new(agents: Agents, name: String, events: Events, tells_errors: bool) -> Follow {
        let follower = agents.slots().join();
        Follow {
            agents,
            name,
            follower,
            pace: Pace::new(GAP),
            tracker: Tracker::default(),
            events,
            tells_errors,
        }
    }

    /// Follows the service until nobody listens.
    async fn run(mut self) {
        while !self.events.is_closed() {
            self.pace.ready().await;
            let answer = {
                let Follow {
                    agents,
                    name,
                    follower,
                    pace,
                    tracker,
                    events,
                    ..
                } = &mut self;
                let query = blocking(follower, pace.index.get(), |blocking| {
                    agents.instances(name, blocking)
                });
                let mut query = pin!(query);
                // While the query waits, the time of held nodes may run out.
                loop {
                    let due = tracker.next_due();
                    tokio::select! {
                        answer = &mut query => break answer,
                        () = until(due) => {
                            for event in tracker.due(Instant::now()) {
                                if events.send(Ok(event)).await.is_err() {
                                    return;
                                }
                            }
                        }
                    }
                }
            };
            match answer {
                None => {}
                Some(Ok((instances, index))) => {
                    for event in self.take(instances, index) {
                        self.tell(Ok(event)).await;
                    }
                }
                Some(Err(error)) => {
                    let first = self.pace.failed();
                    if first && self.tells_errors {
                        self.tell(Err(error)).await;
                    }
                }
            }
        }
    }

    fn take(&mut self, instances: Vec<Instance>, index: Option<u64>) -> Vec<Event> {
        let continuous = self.pace.answered(index);
        let now = Instant::now();
        let held = self.tracker.held();
        let mut events = self.tracker.due(now);
        events.extend(self.tracker.take(instances, continuous, now));
        let more = self.tracker.held().saturating_sub(held);
        if more > 0 {
            tracing::warn!(service = %self.name, nodes = more,
                "Consul has lost nodes in a way that is not theirs, they are kept for {} s", HOLD.as_secs());
        }
        events
    }

    async fn tell(&self, event: Result<Event, Error>) {
        // That nobody listens any more is found out by `run`, and by whoever has spawned it.
        let _ = self.events.send(event).await;
    }
}

/// Watches all services, beginning with what is there.
pub(super) async fn all(agents: Agents, events: Events) -> Result<impl Future<Output = ()>, Error> {
    let follower = agents.slots().join();
    let mut pace = Pace::new(LIST_GAP);
    let (names, index) = agents.names(None).await?;
    pace.answered(index);
    Ok(async move {
        let mut all = All {
            agents,
            events,
            services: BTreeMap::new(),
            tasks: JoinSet::new(),
            full: false,
        };
        all.listed(names);
        while !all.events.is_closed() {
            pace.ready().await;
            let agents = all.agents.clone();
            let query = blocking(&follower, pace.index.get(), |wait| agents.names(wait));
            match query.await {
                None => {}
                Some(Ok((names, index))) => {
                    pace.answered(index);
                    all.listed(names);
                }
                Some(Err(error)) => {
                    let first = pace.failed();
                    if first {
                        let _ = all.events.send(Err(error)).await;
                    }
                }
            }
        }
    })
}

/// The watch of all services: one of each.
struct All {
    agents: Agents,
    events: Events,
    services: BTreeMap<String, Followed>,
    tasks: JoinSet<()>,
    /// It was said that there are too many.
    full: bool,
}

struct Followed {
    task: tokio::task::AbortHandle,
    /// Since when it is not in the list.
    unlisted: Option<Instant>,
}

// ===== impl All =====

impl All {
    fn listed(&mut self, names: Vec<String>) {
        let now = Instant::now();
        while self.tasks.try_join_next().is_some() {}
        for followed in self.services.values_mut() {
            followed.unlisted.get_or_insert(now);
        }
        for name in names {
            if let Some(followed) = self.services.get_mut(&name) {
                followed.unlisted = None;
            } else if self.services.len() < SERVICES_MAX {
                let follow = Follow::new(
                    self.agents.clone(),
                    name.clone(),
                    self.events.clone(),
                    false,
                );
                let task = self.tasks.spawn(follow.run());
                let unlisted = None;
                self.services.insert(name, Followed { task, unlisted });
            } else if !std::mem::replace(&mut self.full, true) {
                tracing::warn!(
                    "Consul has more than {SERVICES_MAX} services, a watch of all follows no more of them"
                );
            }
        }
        self.services.retain(|_, followed| {
            let stays = followed
                .unlisted
                .is_none_or(|since| now.duration_since(since) < UNLISTED);
            if !stays {
                followed.task.abort();
            }
            stays
        });
    }
}

/// Makes a query, which waits for news if there is an index to wait on. `None` if it had to make room for others.
async fn blocking<T, F>(
    follower: &Follower,
    index: Option<u64>,
    query: impl FnOnce(Option<Blocking>) -> F,
) -> Option<Result<Indexed<T>, Error>>
where
    F: Future<Output = Result<Indexed<T>, Error>>,
{
    let slot = follower.slot().await;
    let wait = slot.wait;
    let query = query(index.map(|index| Blocking { index, wait }));
    tokio::select! {
        answer = query => Some(answer),
        () = follower.give_way(&slot) => None,
    }
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}
