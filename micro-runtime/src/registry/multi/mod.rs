//! [`Multi`]: several registries at once.
//!
//! # Why a union, and not the first answer alone
//!
//! Two registries are there at once mostly because a fleet moves from one to the other. Half-way, some nodes
//! are known only in the old one and some only in the new one, and the first answer would hide half of the
//! fleet, a different half each time. So an answer is the union of what the registries name, and the first
//! answer only decides how long the others are waited for. By the rule above all (absence removes none) what a
//! registry named when it last answered stands in for the answer it does not give now, except for nodes that
//! another one has dropped since: then that one's word is the fresher.

mod known;
mod watch;

use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{broadcast, mpsc};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::common::diff::by_key;
use super::common::join::all;
use super::{AnyRegistry, Event, Registry, Service, Watcher};
use crate::backoff::Backoff;
use crate::error::{Error, ErrorKind};
use crate::exchange::BoxFuture;
use crate::lock::lock;
use known::{Known, union};

/// How long the others are waited for once a registry has named a node: time for one that is near, and little
/// beside what a first call costs anyway.
const SETTLE: Duration = Duration::from_millis(100);

/// How long the others are waited for once a registry has said that there is no node: longer than mDNS takes
/// to give up (1.5 s), so that its silence is heard.
const SETTLE_EMPTY: Duration = Duration::from_secs(2);

/// The longest that one registry may take over a look-up; whoever asks has mostly gone before.
const ASK: Duration = Duration::from_secs(5);

/// The longest that one registry may hold up a registration, a deregistration or a list: less than the 5 s
/// that a server gives all of them.
const WRITE: Duration = Duration::from_secs(3);

/// Between attempts at a registration that one registry refused while another took it.
const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_LONGEST: Duration = Duration::from_secs(2);

/// Events that are told to watches because an answer came late; who falls further behind looks anew.
const LATE: usize = 64;

/// Several registries at once, such as the old and the new one while a fleet moves.
///
/// | | |
/// |---|---|
/// | [`get`](Registry::get) | asks all at once. Answers what they name together, as soon as all have answered, or 100 ms after the first that named a node. "None" is answered only if every registry has said so, now or when it last answered: one that never did makes it an error. In place of an answer that fails or comes late stands that registry's last one, without the nodes that another has dropped since |
/// | [`watch`](Registry::watch) | the events of all. A deletion is passed on when no other registry names the node; if one that might cannot be asked, an error tells the watcher to look for itself. A registry that offers no watch is looked at every 15 s if one service is watched, and left out if all are |
/// | [`list`](Registry::list) | what they name together; those that fail are left out as long as one answers |
/// | [`register`](Registry::register) | goes to all, and succeeds if one takes it. The others are tried again in the background every 0.5 s to 2 s until they take it, or the next registration or deregistration comes |
/// | [`deregister`](Registry::deregister) | goes to all, and fails if one of them did, since the node is known there until its time is up |
///
/// A node that several registries name counts once, by id and address; so does one that a registry without
/// ids (DNS, [`Fixed`](super::Fixed)) names beside one that has them. Where they differ on a version's
/// endpoints or metadata, the registry added first holds.
///
/// To move a fleet without a stop: give every service both registries (in any order, one service after the
/// other), and when all have them, take the old one away. As settings, `MICRO_REGISTRY=multi` and
/// `MICRO_REGISTRY_ADDRESS=consul://10.0.0.7:8500,etcd+https://10.0.0.8:2379,mdns`: each item is one registry,
/// by its name, and after `://` its addresses, parted by `;`; with `+` between name and address, the address
/// keeps its own scheme.
///
/// Clones share what they know; when the last one is dropped, watches and whatever runs in the background end.
///
/// ```
/// use micro_runtime::registry::{Memory, Multi, Node, Registry, Service};
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), micro_runtime::Error> {
/// let (old, new) = (Memory::new(), Memory::new());
/// let both = Multi::new().and(old.clone()).and(new.clone());
/// let greeter = Service {
///     name: "greeter".into(),
///     nodes: vec![Node { id: "greeter-1".into(), address: "10.0.0.7:5000".into(), ..Node::default() }],
///     ..Service::default()
/// };
/// both.register(&greeter, Duration::from_secs(90)).await?;
/// old.deregister(&greeter).await?;
/// assert_eq!(both.get("greeter").await?[0].nodes, new.get("greeter").await?[0].nodes);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Multi(Arc<Inner>);

struct Inner {
    members: Vec<Member>,
    /// Held for short sections without a wait, as are the others here.
    known: Mutex<Known>,
    /// What late answers brought, for the watches.
    late: broadcast::Sender<Event>,
    /// Closed when the last clone is dropped, which ends every task.
    alive: tokio::sync::watch::Sender<()>,
    /// What is being registered or tried again.
    registrations: Mutex<Registrations>,
}

struct Member {
    registry: AnyRegistry,
    /// Whether the last write failed, so that its log says when that changes.
    failing: AtomicBool,
}

#[derive(Default)]
struct Registrations {
    list: Vec<Registration>,
    /// Counts them.
    last: u64,
}

/// The latest registration of these nodes.
struct Registration {
    number: u64,
    service: String,
    nodes: Vec<String>,
    /// The registries are being told.
    open: bool,
    /// Those that refused it, to each of which it is told again.
    retries: Vec<AbortHandle>,
}

/// Says that the registries are being told of a registration, until dropped.
struct Turn<'a> {
    inner: &'a Inner,
    number: u64,
}

/// What came of asking every registry about one service.
struct Asked {
    /// Of each registry, in their order.
    answers: Vec<Answer>,
}

enum Answer {
    Fresh(Vec<Service>),
    /// It failed, or has not answered yet: what it said last, and why there is nothing newer.
    Remembered(Option<Vec<Service>>, Error),
}

// ===== impl Multi =====

impl Default for Multi {
    fn default() -> Multi {
        Multi::of(Vec::new())
    }
}

impl Multi {
    /// No registry yet; [`and`](Multi::and) adds them. With none, every call fails and says so.
    #[must_use]
    pub fn new() -> Multi {
        Multi::default()
    }

    /// One more registry, after those that are there. What clones made before know is not shared with this one.
    #[must_use]
    pub fn and(self, registry: impl Registry) -> Multi {
        let mut registries: Vec<AnyRegistry> = self
            .0
            .members
            .iter()
            .map(|member| member.registry.clone())
            .collect();
        registries.push(AnyRegistry::new(registry));
        Multi::of(registries)
    }

    pub(crate) fn of(registries: Vec<AnyRegistry>) -> Multi {
        let members = registries.into_iter().map(|registry| Member {
            registry,
            failing: AtomicBool::new(false),
        });
        Multi(Arc::new(Inner {
            members: members.collect(),
            known: Mutex::default(),
            late: broadcast::Sender::new(LATE),
            alive: tokio::sync::watch::Sender::new(()),
            registrations: Mutex::default(),
        }))
    }

    fn members(&self) -> Result<&[Member], Error> {
        if self.0.members.is_empty() {
            return Err(Error::config(
                "the registry multi needs at least one registry, it has none; add one with Multi::and",
            ));
        }
        Ok(&self.0.members)
    }
}

impl Registry for Multi {
    fn name(&self) -> &'static str {
        "multi"
    }

    /// # Errors
    ///
    /// No registry has taken it; the error names each with its reason.
    async fn register(&self, service: &Service, ttl: Duration) -> Result<(), Error> {
        let members = self.members()?;
        let turn = self.0.begin(service);
        let writes = members
            .iter()
            .map(|member| bounded(WRITE, member.registry.register(service, ttl)));
        let results = all(writes.collect()).await;
        let mut errors = Vec::new();
        let mut refused = Vec::new();
        for (index, (member, result)) in members.iter().zip(results).enumerate() {
            member.note("registration", result.as_ref().err());
            if let Err(error) = result {
                refused.push(index);
                errors.push((member, error));
            }
        }
        if refused.len() == members.len() {
            return Err(together("no registry took the registration", &errors));
        }
        for (index, (_, error)) in refused.into_iter().zip(errors) {
            // What it will never take, such as a name it has no way to write, is not tried again.
            if !refuses(&error) {
                self.0.retry(turn.number, index, service, ttl);
            }
        }
        Ok(())
    }

    /// # Errors
    ///
    /// A registry failed; the error names each that did. The others have let the node go.
    async fn deregister(&self, service: &Service) -> Result<(), Error> {
        let members = self.members()?;
        self.0.stop_retries(service);
        let writes = members
            .iter()
            .map(|member| bounded(WRITE, member.registry.deregister(service)));
        let results = all(writes.collect()).await;
        let mut errors = Vec::new();
        for (member, result) in members.iter().zip(results) {
            if let Err(error) = result
                && error.kind() != ErrorKind::Unsupported
            {
                errors.push((member, error));
            }
        }
        if errors.is_empty() {
            Ok(())
        } else {
            Err(together("the node is still known", &errors))
        }
    }

    /// # Errors
    ///
    /// No registry answered; or those that did know no node, and one that has never answered might.
    async fn get(&self, name: &str) -> Result<Vec<Service>, Error> {
        let members = self.members()?;
        let asked = ask(&self.0, name).await;
        let mut answers = Vec::new();
        let mut fresh = false;
        let mut unheard = false;
        let mut errors = Vec::new();
        for (member, answer) in members.iter().zip(asked.answers) {
            match answer {
                Answer::Fresh(services) => {
                    fresh = true;
                    answers.push(services);
                }
                Answer::Remembered(remembered, error) => {
                    unheard |= remembered.is_none() && !refuses(&error);
                    answers.extend(remembered);
                    errors.push((member, error));
                }
            }
        }
        if !fresh {
            return Err(together("no registry answered", &errors));
        }
        let services = union(answers);
        if unheard && by_key(&services).is_empty() {
            return Err(together(
                "the registries that answered know no node, and others did not answer",
                &errors,
            ));
        }
        Ok(services)
    }

    /// # Errors
    ///
    /// No registry has a list, or none answered; the error names each with its reason.
    async fn list(&self) -> Result<Vec<Service>, Error> {
        let members = self.members()?;
        let lists = members
            .iter()
            .map(|member| bounded(WRITE, member.registry.list()));
        let results = all(lists.collect()).await;
        let mut answers = Vec::new();
        let mut errors = Vec::new();
        for (member, result) in members.iter().zip(results) {
            match result {
                Ok(services) => answers.push(services),
                Err(error) => errors.push((member, error)),
            }
        }
        if answers.is_empty() {
            return Err(together("no registry has a list", &errors));
        }
        for (member, error) in errors {
            if refuses(&error) {
                tracing::debug!(registry = member.name(), %error, "The list is without those of a registry");
            } else {
                tracing::warn!(registry = member.name(), %error, "The list is without those of a registry");
            }
        }
        Ok(union(answers))
    }

    /// # Errors
    ///
    /// No registry can be watched now; the error names each with its reason, and is
    /// [`ErrorKind::Unsupported`] if none ever can.
    async fn watch(&self, name: Option<&str>) -> Result<Watcher, Error> {
        self.members()?;
        watch::open(&self.0, name).await
    }
}

impl fmt::Debug for Multi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let registries = self.0.members.iter().map(|member| &member.registry);
        f.debug_list().entries(registries).finish()
    }
}

// ===== impl Inner =====

impl Inner {
    fn known(&self) -> MutexGuard<'_, Known> {
        lock(&self.known)
    }

    /// A registration begins, which ends what is left of former ones of the same nodes.
    fn begin(&self, service: &Service) -> Turn<'_> {
        let mut registrations = lock(&self.registrations);
        registrations.end(service);
        registrations.last += 1;
        let number = registrations.last;
        registrations.list.push(Registration {
            number,
            service: service.name.clone(),
            nodes: ids(service),
            open: true,
            retries: Vec::new(),
        });
        Turn {
            inner: self,
            number,
        }
    }

    /// Tries a registration again until one registry takes it or refuses it for good, its time is up, it is
    /// stopped, or everything is dropped. Nothing if it has been stopped already.
    fn retry(self: &Arc<Inner>, number: u64, index: usize, service: &Service, ttl: Duration) {
        let mut registrations = lock(&self.registrations);
        let mut list = registrations.list.iter_mut();
        let Some(registration) = list.find(|registration| registration.number == number) else {
            return;
        };
        let inner = Arc::downgrade(self);
        let mut alive = self.alive.subscribe();
        let service = service.clone();
        let end = (!ttl.is_zero()).then(|| Instant::now().checked_add(ttl));
        let end = end.flatten();
        let attempts = async move {
            let mut backoff = Backoff::new(RETRY_FIRST, RETRY_LONGEST);
            loop {
                sleep(backoff.next()).await;
                // The others let go of it by now.
                if end.is_some_and(|end| end <= Instant::now()) {
                    return;
                }
                // Strong only for an attempt, which is bounded.
                let Some(inner) = inner.upgrade() else { return };
                let Some(member) = inner.members.get(index) else {
                    return;
                };
                let result = bounded(WRITE, member.registry.register(&service, ttl)).await;
                member.note("registration", result.as_ref().err());
                if result.as_ref().map_or_else(refuses, |_| true) {
                    return;
                }
            }
        };
        let task = tokio::spawn(async move {
            tokio::select! {
                _ = alive.changed() => {}
                () = attempts => {}
            }
        });
        registration.retries.push(task.abort_handle());
    }

    fn stop_retries(&self, service: &Service) {
        lock(&self.registrations).end(service);
    }
}

// ===== impl Registrations =====

impl Registrations {
    /// Ends those of these nodes, and forgets those that have ended.
    fn end(&mut self, service: &Service) {
        let nodes = ids(service);
        self.list.retain(|registration| {
            let same = registration.service == service.name && registration.nodes == nodes;
            if same {
                registration.retries.iter().for_each(AbortHandle::abort);
            }
            !same && !registration.is_over()
        });
    }
}

impl Registration {
    fn is_over(&self) -> bool {
        !self.open && self.retries.iter().all(AbortHandle::is_finished)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut registrations = lock(&self.inner.registrations);
        let mut list = registrations.list.iter_mut();
        if let Some(registration) = list.find(|registration| registration.number == self.number) {
            registration.open = false;
        }
        registrations
            .list
            .retain(|registration| !registration.is_over());
    }
}

fn ids(service: &Service) -> Vec<String> {
    service.nodes.iter().map(|node| node.id.clone()).collect()
}

/// Asks every registry about a service, and waits as [`Multi`] says. Answers that come later are kept for the
/// next time, and told to the watches.
async fn ask(inner: &Arc<Inner>, name: &str) -> Asked {
    let round = inner.known().begin(name, inner.members.len());
    let (sender, mut receiver) = mpsc::channel(inner.members.len().max(1));
    for (index, member) in inner.members.iter().enumerate() {
        let registry = member.registry.clone();
        let name = name.to_owned();
        let sender = sender.clone();
        let weak = Arc::downgrade(inner);
        let mut alive = inner.alive.subscribe();
        tokio::spawn(async move {
            let answer = tokio::select! {
                _ = alive.changed() => return,
                answer = bounded(ASK, registry.get(&name)) => answer,
            };
            drop(registry);
            let Some(inner) = weak.upgrade() else { return };
            let events = match &answer {
                Ok(services) => inner.known().heard(&name, index, round, services),
                Err(_) => Vec::new(),
            };
            if sender.send((index, answer)).await.is_err() {
                for event in events {
                    // That nobody watches is no error.
                    let _ = inner.late.send(event);
                }
            }
        });
    }
    drop(sender);
    let mut results: Vec<Option<Result<Vec<Service>, Error>>> = Vec::new();
    results.resize_with(inner.members.len(), || None);
    let started = Instant::now();
    let mut limit: Option<Instant> = None;
    loop {
        let next = match limit {
            Some(limit) => timeout_at(limit, receiver.recv()).await.ok().flatten(),
            None => receiver.recv().await,
        };
        let Some((index, answer)) = next else { break };
        if let Ok(services) = &answer {
            let names_a_node = services.iter().any(|service| !service.nodes.is_empty());
            let wait = if names_a_node { SETTLE } else { SETTLE_EMPTY };
            let until = Instant::now() + wait;
            limit = Some(limit.map_or(until, |limit| limit.min(until)));
        }
        if let Some(result) = results.get_mut(index) {
            *result = Some(answer);
        }
    }
    // From here on an answer is late, and its task tells the watches.
    receiver.close();
    while let Ok((index, answer)) = receiver.try_recv() {
        if let Some(result) = results.get_mut(index) {
            *result = Some(answer);
        }
    }
    let known = inner.known();
    let answers = results.into_iter().enumerate().map(|(index, result)| {
        let error = match result {
            Some(Ok(services)) => return Answer::Fresh(services),
            Some(Err(error)) => error,
            None => Error::registry(format_args!(
                "no answer within {} ms",
                started.elapsed().as_millis()
            )),
        };
        Answer::Remembered(known.remembered(name, index), error)
    });
    Asked {
        answers: answers.collect(),
    }
}

// ===== impl Member =====

impl Member {
    fn name(&self) -> &'static str {
        self.registry.name()
    }

    /// Logs that writes begin to fail, or that they no longer do.
    fn note(&self, what: &str, error: Option<&Error>) {
        let failed = self.failing.swap(error.is_some(), Ordering::Relaxed);
        match error {
            Some(error) if !failed => {
                tracing::warn!(registry = self.name(), %error, "One of several registries refuses a {what}");
            }
            None if failed => {
                tracing::info!(registry = self.name(), "It takes the {what} again");
            }
            _ => {}
        }
    }
}

/// Errors of several registries as one. It is of a kind that waiting does not mend only if all of them are.
fn together(what: &str, errors: &[(&Member, Error)]) -> Error {
    let kinds = [ErrorKind::Unsupported, ErrorKind::Config];
    let kind = kinds
        .into_iter()
        .find(|kind| errors.iter().all(|(_, error)| error.kind() == *kind))
        .unwrap_or(ErrorKind::Registry);
    let mut text = what.to_owned();
    for (index, (member, error)) in errors.iter().enumerate() {
        text.push_str(if index == 0 { ": " } else { "; " });
        text.push_str(&format!("{}: {error:?}", member.name()));
    }
    Error::new(kind, text)
}

/// Whether waiting mends nothing.
fn refuses(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Config | ErrorKind::Unsupported)
}

/// The result, or an error when the time is up.
fn bounded<'a, T: 'a>(
    time: Duration,
    request: impl Future<Output = Result<T, Error>> + Send + 'a,
) -> BoxFuture<'a, Result<T, Error>> {
    Box::pin(async move {
        timeout(time, request).await.unwrap_or_else(|_| {
            Err(Error::registry(format_args!(
                "no answer within {} s",
                time.as_secs()
            )))
        })
    })
}

#[cfg(test)]
mod tests;
