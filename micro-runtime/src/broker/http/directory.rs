//! [`Directory`]: who subscribed to what, as far as the registry tells.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::{BROADCAST, SERVICE};
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};
use crate::lock::lock;
use crate::registry::cache::{Cache, Entry, Fate, Listener, LookUpError, View};
use crate::registry::{AnyRegistry, Node};
use crate::transport::Address;
#[cfg(feature = "tls")]
use crate::transport::ClientTls;
use crate::transport::http1::{Client, Failure, Origin, Request};

/// How old an answer may be that names no subscriber of a topic, before the registry is asked again; and how long
/// asking after a subscriber that is not reached may take.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The most connections to one program, and the most of them that are kept between events.
const CONNECTIONS: usize = 128;
const IDLE_CONNECTIONS: usize = 64;

/// The most bytes of an answer.
const ANSWER_MAX: usize = 64 * 1024;

/// What an id may have as it is (Go's `url.QueryEscape`).
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Who subscribed, kept up to date by the registry's cache.
pub(super) struct Directory {
    cache: Cache,
    entry: Arc<Entry>,
    index: Mutex<Arc<Index>>,
    #[cfg(feature = "tls")]
    tls: ClientTls,
}

/// A view of the registry, sorted by topics.
#[derive(Default)]
struct Index {
    /// What it was made of.
    view: Option<Arc<View>>,
    topics: HashMap<String, Arc<[Group]>>,
    targets: HashMap<String, Arc<Target>>,
    remotes: HashMap<(String, bool), Arc<Remote>>,
}

/// The subscribers of a topic with one queue, or those without.
#[derive(Clone)]
pub(super) struct Group {
    pub(super) queue: Option<String>,
    pub(super) targets: Vec<Arc<Target>>,
}

/// A subscription of somebody's.
pub(super) struct Target {
    id: String,
    address: String,
    /// Path and query of its requests.
    path: String,
    remote: Arc<Remote>,
    /// When last tried, nobody was there.
    gone: AtomicBool,
    /// When last tried, it said itself that it has unsubscribed.
    left: AtomicBool,
    /// When the registry was last asked about that.
    asked: Mutex<Option<Instant>>,
}

/// A program that has subscriptions.
struct Remote {
    client: Result<Client, String>,
    places: Semaphore,
}

/// What came of sending an event.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sent {
    Taken,
    /// It was not taken, but may be if it is sent again.
    Busy(String),
    /// Nobody is there; it cannot have been taken.
    Gone(String),
    /// It was refused before any handler had it.
    Refused(String),
    /// Its handler failed: it may have done a part of its work.
    Failed(String),
    /// It may have been taken, or not.
    Unknown(String),
}

// ===== impl Directory =====

impl Directory {
    pub(super) fn new(
        registry: &AnyRegistry,
        #[cfg(feature = "tls")] tls: ClientTls,
    ) -> Arc<Directory> {
        let cache = Cache::new(Arc::clone(registry.object()));
        let directory = Arc::new(Directory {
            entry: cache.entry(SERVICE),
            cache,
            index: Mutex::default(),
            #[cfg(feature = "tls")]
            tls,
        });
        let listener: Weak<Directory> = Arc::downgrade(&directory);
        directory.entry.listen(listener);
        directory
    }

    pub(super) fn registry_name(&self) -> &'static str {
        self.cache.registry_name()
    }

    /// The subscribers of a topic. While the registry is away, those that were known before; if there are none,
    /// it is waited for, since there may be some by now.
    ///
    /// # Errors
    /// None is known, and the registry did not answer until the deadline.
    pub(super) async fn find(
        &self,
        topic: &str,
        deadline: Deadline,
    ) -> Result<Arc<[Group]>, Error> {
        self.entry.touch();
        let groups = self.groups(topic);
        let answered = self.entry.view().answered;
        let is_recent = |at: Instant| at.elapsed() < LOOK_AGAIN;
        if answered.is_some() && !groups.is_empty() || answered.is_some_and(is_recent) {
            return Ok(groups);
        }
        let wait = deadline.left();
        // Those who are known before the first answer may not be all.
        let enough = || answered.is_some() && !self.groups(topic).is_empty();
        let looked = Box::pin(self.entry.look_up(deadline, enough)).await;
        let groups = self.groups(topic);
        let Err(error) = looked else {
            return Ok(groups);
        };
        if !groups.is_empty() {
            return Ok(groups);
        }
        let why = match error {
            LookUpError::Deadline => format!("no answer within {wait:?}"),
            LookUpError::Refused => "it refuses".to_owned(),
            LookUpError::NoRuntime => "there is no runtime to ask from".to_owned(),
        };
        let last = match &self.entry.view().stale {
            Some(stale) => format!(": {}", stale.error),
            None => String::new(),
        };
        Err(Error::new(
            ErrorKind::Broker,
            format_args!(
                "the subscribers of {topic:?} cannot be looked up in the registry {}: {why}{last}",
                self.registry_name()
            ),
        ))
    }

    /// The subscribers of a topic that are known now.
    fn groups(&self, topic: &str) -> Arc<[Group]> {
        let index = self.index();
        index
            .topics
            .get(topic)
            .cloned()
            .unwrap_or_else(|| Arc::new([]))
    }

    /// The members of a queue that are known now, but for those who said that they have left.
    pub(super) fn members(&self, topic: &str, queue: Option<&str>) -> Vec<Arc<Target>> {
        let groups = self.groups(topic);
        let group = groups.iter().find(|group| group.queue.as_deref() == queue);
        let targets = group.map_or(&[][..], |group| &group.targets);
        let stays = |target: &&Arc<Target>| !target.left.load(Ordering::Relaxed);
        targets.iter().filter(stays).cloned().collect()
    }

    fn knows(&self, target: &Target) -> bool {
        let index = self.index();
        let known = index.targets.get(&target.id);
        known.is_some_and(|known| known.address == target.address)
    }

    /// Whether a subscriber has said that it left, or the registry no longer has one whom nobody answers for. Asks it,
    /// once a second at most.
    pub(super) async fn has_left(&self, target: &Target, deadline: Deadline) -> bool {
        if !target.gone.load(Ordering::Relaxed) {
            return false;
        }
        if !self.knows(target) {
            return true;
        }
        let now = Instant::now();
        let recently = lock(&target.asked)
            .replace(now)
            .is_some_and(|asked| now.duration_since(asked) < LOOK_AGAIN);
        if !recently {
            let by = deadline.earlier(Some(Deadline::after(LOOK_AGAIN)));
            // Without an answer it is as before.
            let _ = self.entry.look_up(by, || !self.knows(target)).await;
        }
        // Whoever said so has left, whatever the registry tells; it was asked for others who may have come.
        target.left.load(Ordering::Relaxed) || !self.knows(target)
    }

    /// The index of the view as it is now.
    fn index(&self) -> Arc<Index> {
        let view = self.entry.view();
        let mut index = lock(&self.index);
        let is_current = index
            .view
            .as_ref()
            .is_some_and(|indexed| Arc::ptr_eq(indexed, &view));
        if !is_current {
            *index = Arc::new(self.sorted(&view, &index));
        }
        Arc::clone(&index)
    }

    fn sorted(&self, view: &Arc<View>, before: &Index) -> Index {
        let mut sorted = Index {
            view: Some(Arc::clone(view)),
            ..Index::default()
        };
        let mut topics: HashMap<String, Vec<Group>> = HashMap::new();
        for known in view.nodes.iter() {
            let node = &known.node;
            let text = |key: &str| node.metadata.get(key).map_or("", String::as_str);
            if text("broker") != "http" || text("topic").is_empty() {
                continue;
            }
            let secure = text("secure") == "true";
            let key = (node.address.clone(), secure);
            let remote = Arc::clone(sorted.remotes.entry(key).or_insert_with_key(|key| {
                match before.remotes.get(key) {
                    Some(remote) => Arc::clone(remote),
                    None => Arc::new(self.remote(&node.address, secure)),
                }
            }));
            let target = match before.targets.get(&node.id) {
                Some(target) if Arc::ptr_eq(&target.remote, &remote) => Arc::clone(target),
                _ => Arc::new(Target::new(node, remote)),
            };
            sorted.targets.insert(node.id.clone(), Arc::clone(&target));
            let version = &known.service.version;
            let queue = (version != BROADCAST).then(|| version.clone());
            let groups = topics.entry(text("topic").to_owned()).or_default();
            match groups.iter_mut().find(|group| group.queue == queue) {
                Some(group) => group.targets.push(target),
                None => groups.push(Group {
                    queue,
                    targets: vec![target],
                }),
            }
        }
        sorted.topics = topics
            .into_iter()
            .map(|(topic, groups)| (topic, groups.into()))
            .collect();
        sorted
    }

    fn remote(&self, address: &str, secure: bool) -> Remote {
        Remote {
            client: self.client(address, secure),
            places: Semaphore::new(CONNECTIONS),
        }
    }

    fn client(&self, address: &str, secure: bool) -> Result<Client, String> {
        let (host, port) = match address.parse() {
            Ok(Address::Tcp { host, port }) => (host, port),
            Ok(Address::Unix(_)) => {
                return Err(format!("expected host:port, found {address:?}"));
            }
            Err(error) => return Err(error.to_string()),
        };
        #[cfg(not(feature = "tls"))]
        if secure {
            return Err(
                "it speaks TLS, and micro-runtime is built without its feature tls".to_owned(),
            );
        }
        let origin = Origin {
            host,
            port,
            prefix: String::new(),
            #[cfg(feature = "tls")]
            tls: secure.then(|| self.tls.clone()),
        };
        Client::keeping(origin, IDLE_CONNECTIONS).map_err(|failure| failure.to_string())
    }
}

impl Listener for Directory {
    fn changed(&self) {}

    fn tick(&self) {}

    /// Programs that stop leave the registry all at once, which looks as if the registry had lost them: who is not
    /// there any more is dead.
    fn fate(&self, node: &Node) -> Fate {
        let index = Arc::clone(&lock(&self.index));
        match index.targets.get(&node.id) {
            Some(target) if target.gone.load(Ordering::Relaxed) => Fate::Dead,
            _ => Fate::Unknown,
        }
    }
}

// ===== impl Target =====

impl Target {
    fn new(node: &Node, remote: Arc<Remote>) -> Target {
        Target {
            id: node.id.clone(),
            address: node.address.clone(),
            path: format!("/?id={}", utf8_percent_encode(&node.id, PLAIN)),
            remote,
            gone: AtomicBool::new(false),
            left: AtomicBool::new(false),
            asked: Mutex::new(None),
        }
    }

    /// Whether nobody was there when it was last tried.
    pub(super) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    /// Posts an event to it, once. What is said of it names it.
    pub(super) async fn send(&self, body: &Bytes, deadline: Deadline) -> Sent {
        let named = |why: &dyn std::fmt::Display| format!("{} at {}: {why}", self.id, self.address);
        let client = match &self.remote.client {
            Ok(client) => client,
            Err(why) => return Sent::Refused(named(why)),
        };
        let place = timeout_at(deadline.instant(), self.remote.places.acquire());
        let Ok(Ok(_place)) = place.await else {
            let why =
                format!("{CONNECTIONS} other events were on their way to it until the deadline");
            return Sent::Refused(named(&why));
        };
        let request = Request::post(self.path.clone(), body.clone());
        let answered = client.send(&request, deadline.left(), ANSWER_MAX).await;
        let left = matches!(&answered, Ok(answer) if answer.status == 410);
        let (sent, gone) = match answered {
            Ok(answer) => {
                let words = || named(&format_args!("{} {}", answer.status, answer.words()));
                match answer.status {
                    200..=299 => (Sent::Taken, false),
                    429 | 503 => (Sent::Busy(words()), false),
                    410 => (Sent::Gone(words()), true),
                    500.. => (Sent::Failed(words()), false),
                    _ => (Sent::Refused(words()), false),
                }
            }
            Err(failure @ Failure::Unreachable(_)) => (Sent::Gone(named(&failure)), true),
            Err(failure @ Failure::Unwritable(_)) => (Sent::Refused(named(&failure)), false),
            Err(failure) => (Sent::Unknown(named(&failure)), false),
        };
        self.gone.store(gone, Ordering::Relaxed);
        self.left.store(left, Ordering::Relaxed);
        sent
    }
}
