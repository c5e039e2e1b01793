//! The watch of [`Multi`](super::Multi): the events of all registries, and who may say that a node is gone.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use super::{Answer, Asked, Inner, Member, ask, together};
use crate::error::{Error, ErrorKind};
use crate::exchange::BoxFuture;
use crate::registry::common::diff::{self, by_key};
use crate::registry::common::join::all;
use crate::registry::{Action, AnyRegistry, Event, Node, Registry, Service, Watcher};

/// Events that a watcher may leave unread; beyond it the registries' own watches wait, by their own rules.
const BUFFER: usize = 256;

/// The longest that the opening of one registry's watch may take.
const OPEN: Duration = Duration::from_secs(4);

/// How long the opening of the other watches is waited for once one stands.
const OPEN_SETTLE: Duration = Duration::from_secs(1);

/// Between attempts to open a watch again; the longest lets news through within 3 s of a registry's return.
const REOPEN_FIRST: Duration = Duration::from_millis(100);
const REOPEN_LONGEST: Duration = Duration::from_millis(1500);

/// A watch that stood this long was well.
const WELL: Duration = Duration::from_secs(10);

/// The most services that the registries are asked about at once, to judge what left.
const AT_ONCE: usize = 64;

/// How often a registry that offers no watch is looked at: as the client's cache does.
const POLL: Duration = Duration::from_secs(15);

/// When it is looked again whether those still name a node who did when another registry said that it left. A watch
/// may miss a node that comes and goes quickly, and then says neither; who names it for so long has told of it, and
/// tells when it goes.
const LOOK_AGAIN: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(4),
    Duration::from_secs(15),
];

/// The most departures that wait for that; beyond it the watcher is to look for itself.
const HELD_MAX: usize = 1024;

type Item = Result<Event, Error>;

/// Where a registry says whether it could be watched: its number, and how the first attempt went.
type Tell = mpsc::Sender<(usize, Result<(), Error>)>;

/// Opens the watches; resolves when all of them have answered, or a second after one stands.
pub(super) async fn open(inner: &Arc<Inner>, name: Option<&str>) -> Result<Watcher, Error> {
    let (events, received) = mpsc::channel(BUFFER);
    let mut followers = JoinSet::new();
    // One word from each, so that there is always room.
    let (tell, mut told) = mpsc::channel(inner.members.len().max(1));
    for (index, member) in inner.members.iter().enumerate() {
        let follower = Follower {
            index,
            registry: member.registry.clone(),
            name: name.map(str::to_owned),
            events: events.clone(),
            alive: inner.alive.subscribe(),
        };
        followers.spawn(follower.run(tell.clone()));
    }
    drop((events, tell));
    let late = inner.late.subscribe();
    let mut limit: Option<Instant> = None;
    let mut errors: BTreeMap<usize, Error> = BTreeMap::new();
    loop {
        // `None`: the others open later, or all have spoken.
        let next = match limit {
            Some(limit) => timeout_at(limit, told.recv()).await.ok().flatten(),
            None => told.recv().await,
        };
        match next {
            Some((_, Ok(()))) => {
                limit.get_or_insert_with(|| Instant::now() + OPEN_SETTLE);
            }
            Some((index, Err(error))) => {
                errors.insert(index, error);
            }
            None => break,
        }
    }
    let errors: Vec<(&Member, Error)> = errors
        .into_iter()
        .filter_map(|(index, error)| Some((inner.members.get(index)?, error)))
        .collect();
    if errors.len() == inner.members.len() {
        return Err(together("no registry can be watched", &errors));
    }
    let (out, watcher) = mpsc::channel(BUFFER);
    let merger = Merger {
        inner: Arc::downgrade(inner),
        name: name.map(str::to_owned),
        out,
        held: Vec::new(),
    };
    tokio::spawn(merger.run(followers, received, late));
    Ok(Watcher::from_channel(watcher))
}

/// Follows one registry: opens its watch, and opens it again.
struct Follower {
    index: usize,
    registry: AnyRegistry,
    name: Option<String>,
    events: mpsc::Sender<(usize, Item)>,
    alive: tokio::sync::watch::Receiver<()>,
}

// ===== impl Follower =====

impl Follower {
    /// `tell` is told how the first attempt went.
    async fn run(mut self, tell: Tell) {
        let mut alive = self.alive.clone();
        tokio::select! {
            _ = alive.changed() => {}
            () = self.follow(tell) => {}
        }
    }

    async fn follow(&mut self, tell: Tell) {
        let mut tell = Some(tell);
        let index = self.index;
        let mut told = |result| match tell.take() {
            // Who waited may have gone, and has not heard of it then.
            Some(tell) => tell.try_send((index, result)).is_ok(),
            None => false,
        };
        let mut pause = REOPEN_FIRST;
        loop {
            let opening = timeout(OPEN, self.registry.watch(self.name.as_deref())).await;
            let opening = opening.unwrap_or_else(|_| {
                Err(Error::registry(format_args!(
                    "no watch within {} s",
                    OPEN.as_secs()
                )))
            });
            let opened = Instant::now();
            match opening {
                Ok(mut watcher) => {
                    // What happened in between is not told by anyone.
                    if !told(Ok(())) && !self.say("watched again").await {
                        return;
                    }
                    while let Some(item) = watcher.next().await {
                        if self.events.send((self.index, item)).await.is_err() {
                            return;
                        }
                    }
                    if !self.say("not watched for a moment").await {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Unsupported => {
                    let polled = self.name.clone();
                    told(match polled {
                        Some(_) => Ok(()),
                        None => Err(error),
                    });
                    if let Some(name) = polled {
                        self.poll(&name).await;
                    }
                    return;
                }
                Err(error) => {
                    tracing::debug!(registry = self.registry.name(), %error, "One of several watches failed");
                    told(Err(error));
                }
            }
            if opened.elapsed() >= WELL {
                pause = REOPEN_FIRST;
            }
            sleep(pause.mul_f64(0.8 + 0.4 * fastrand::f64())).await;
            pause = (pause * 2).min(REOPEN_LONGEST);
        }
    }

    /// Has the watcher look for itself; says whether anyone listens.
    async fn say(&self, what: &str) -> bool {
        let error = Error::registry(format_args!(
            "{} is {what}, look up what has changed",
            self.registry.name()
        ));
        self.events.send((self.index, Err(error))).await.is_ok()
    }

    /// Looks again and again, and tells the difference.
    async fn poll(&self, name: &str) {
        let mut old: Option<Vec<Service>> = None;
        loop {
            if let Ok(Ok(new)) = timeout(OPEN, self.registry.get(name)).await {
                if let Some(old) = &old {
                    for event in diff::events(old, &new) {
                        if self.events.send((self.index, Ok(event))).await.is_err() {
                            return;
                        }
                    }
                }
                old = Some(new);
            }
            sleep(POLL.mul_f64(0.8 + 0.4 * fastrand::f64())).await;
        }
    }
}

/// Joins what the followers bring.
struct Merger {
    inner: Weak<Inner>,
    name: Option<String>,
    out: mpsc::Sender<Item>,
    /// Departures that others had not heard of.
    held: Vec<Held>,
}

/// A registry's word that nodes left, which others still named.
struct Held {
    index: usize,
    event: Event,
    /// How often it was looked again.
    looked: usize,
    at: Instant,
}

// ===== impl Merger =====

impl Merger {
    /// Ends when the watcher or the last clone of the registry is dropped; the followers end with it.
    async fn run(
        mut self,
        followers: JoinSet<()>,
        mut events: mpsc::Receiver<(usize, Item)>,
        mut late: broadcast::Receiver<Event>,
    ) {
        let _followers = followers;
        loop {
            let look_again = self.held.iter().map(|held| held.at).min();
            tokio::select! {
                () = self.out.closed() => return,
                () = sleep_until(look_again.unwrap_or_else(Instant::now)), if look_again.is_some() => {
                    let Some(items) = self.look_again().await else { return };
                    for item in items {
                        if self.out.send(item).await.is_err() {
                            return;
                        }
                    }
                }
                event = late.recv() => {
                    let item = match event {
                        Ok(event) => Ok(event),
                        Err(broadcast::error::RecvError::Lagged(missed)) => Err(Error::registry(
                            format_args!("{missed} events were missed, look up what has changed"),
                        )),
                        // The last clone was dropped.
                        Err(broadcast::error::RecvError::Closed) => return,
                    };
                    let concerns = match (&item, &self.name) {
                        (Ok(event), Some(name)) => event.service.name == *name,
                        _ => true,
                    };
                    if concerns && self.out.send(item).await.is_err() {
                        return;
                    }
                }
                first = events.recv() => {
                    // `None`: no registry can be watched any more, and none ever could be.
                    let Some(first) = first else { return };
                    let mut batch = vec![first];
                    while batch.len() < BUFFER
                        && let Ok(next) = events.try_recv()
                    {
                        batch.push(next);
                    }
                    let batch = batch.into_iter().map(|(index, item)| (index, item, 0)).collect();
                    let Some(items) = self.judge(batch).await else { return };
                    for item in items {
                        if self.out.send(item).await.is_err() {
                            return;
                        }
                    }
                }
            }
        }
    }

    /// What of the departures that it is time for is passed on.
    async fn look_again(&mut self) -> Option<Vec<Item>> {
        let now = Instant::now();
        let (due, later): (Vec<_>, Vec<_>) = std::mem::take(&mut self.held)
            .into_iter()
            .partition(|held| held.at <= now);
        self.held = later;
        let due = due
            .into_iter()
            .map(|held| (held.index, Ok(held.event), held.looked + 1));
        self.judge(due.collect()).await
    }

    /// Keeps a departure that others have not heard of, to look again. An error tells the watcher to.
    fn hold(&mut self, index: usize, event: Event, looked: usize) -> Option<Item> {
        let after = LOOK_AGAIN.get(looked)?;
        if self.held.len() >= HELD_MAX {
            return Some(Err(Error::registry(format_args!(
                "nodes of {:?} left one registry and not another, look up whether they are gone",
                event.service.name
            ))));
        }
        self.held.push(Held {
            index,
            event,
            looked,
            at: Instant::now() + *after,
        });
        None
    }

    /// What of these events is passed on; with each, how often it was looked at before. The registries are asked once
    /// for each service that nodes are said to have left, after the events were taken in, so that what they answer is
    /// not older.
    async fn judge(&mut self, batch: Vec<(usize, Item, usize)>) -> Option<Vec<Item>> {
        let doubted: HashSet<String> = batch
            .iter()
            .filter_map(|(_, item, _)| item.as_ref().ok())
            .filter(|event| event.action == Action::Delete)
            .map(|event| event.service.name.clone())
            .collect();
        let doubted: Vec<String> = doubted.into_iter().collect();
        let mut asked = HashMap::new();
        for chunk in doubted.chunks(AT_ONCE) {
            let inner = self.inner.upgrade()?;
            let questions = chunk
                .iter()
                .map(|name| -> BoxFuture<'_, Asked> { Box::pin(ask(&inner, name)) });
            let answers = all(questions.collect()).await;
            asked.extend(chunk.iter().cloned().zip(answers));
        }
        let mut items = Vec::new();
        for (index, item, looked) in batch {
            match item {
                Ok(event) if event.action == Action::Delete => {
                    let answers = asked.get(&event.service.name);
                    let inner = self.inner.upgrade()?;
                    if let Some(answers) = answers {
                        let (passed, named) = gone(&inner, index, event, answers, looked > 0);
                        items.extend(passed);
                        if let Some(named) = named {
                            items.extend(self.hold(index, named, looked));
                        }
                    }
                }
                Ok(mut event) => {
                    // What one registry knows by its address alone, another may name better.
                    let Service { name, nodes, .. } = &mut event.service;
                    let inner = self.inner.upgrade()?;
                    let known = inner.known();
                    let before = nodes.len();
                    nodes.retain(|node| !known.is_named_better(name, node));
                    if before == 0 || !nodes.is_empty() {
                        items.push(Ok(event));
                    }
                }
                item => items.push(item),
            }
        }
        Some(items)
    }
}

/// What is passed on of a registry's word that nodes left, now or a while ago, and what is not, since they are named.
fn gone(
    inner: &Inner,
    index: usize,
    mut event: Event,
    asked: &Asked,
    again: bool,
) -> (Vec<Item>, Option<Event>) {
    // Without nodes it means all of the version: those that the others do not name.
    if event.service.nodes.is_empty() {
        let look = vec![Err(Error::registry(format_args!(
            "a registry dropped all nodes of {:?}, look up which others name",
            event.service.name
        )))];
        return (look, None);
    }
    let mut known = inner.known();
    let mut named: HashSet<&str> = HashSet::new();
    let mut perhaps: HashSet<String> = HashSet::new();
    for (other, answer) in asked.answers.iter().enumerate() {
        // Later it may be there again.
        if other == index && !(again && matches!(answer, Answer::Fresh(_))) {
            continue;
        }
        // By id alone, since some registries say no address of a node that goes.
        match answer {
            Answer::Fresh(services) => named.extend(by_key(services).into_keys().map(|(id, _)| id)),
            Answer::Remembered(..) => {
                let said = known.said(&event.service.name, other).unwrap_or_default();
                perhaps.extend(by_key(said).into_keys().map(|(id, _)| id.to_owned()));
            }
        }
    }
    let unnamed = event.service.nodes.iter();
    let unnamed = unnamed.filter(|node| !named.contains(node.id.as_str()));
    known.left(&event.service.name, unnamed);
    drop(known);
    let doubtful = event
        .service
        .nodes
        .iter()
        .any(|node| !named.contains(node.id.as_str()) && perhaps.contains(node.id.as_str()));
    let is_named = |node: &Node| named.contains(node.id.as_str());
    let (nodes, others): (Vec<Node>, Vec<Node>) = std::mem::take(&mut event.service.nodes)
        .into_iter()
        .partition(is_named);
    event.service.nodes = others;
    let still = (!nodes.is_empty()).then(|| Event {
        action: event.action,
        service: Service {
            nodes,
            name: event.service.name.clone(),
            version: event.service.version.clone(),
            ..Service::default()
        },
    });
    event
        .service
        .nodes
        .retain(|node| !perhaps.contains(node.id.as_str()));
    let mut items = Vec::new();
    if doubtful {
        items.push(Err(Error::registry(format_args!(
            "nodes of {:?} left one registry, and another that named them does not answer, look up what it says",
            event.service.name
        ))));
    }
    if !event.service.nodes.is_empty() {
        items.push(Ok(event));
    }
    (items, still)
}
