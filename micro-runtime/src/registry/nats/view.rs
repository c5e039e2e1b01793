//! What watches have heard of: nodes, when each last gave a sign of life, and who is to be told.
//!
//! Nothing in NATS says that a process has died. A node that has been silent for its time is asked after, and
//! taken out when the server carried the question and nobody answered for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::wire::{Query, Said};
use crate::error::Error;
use crate::registry::common::group::Changes;
use crate::registry::{Action, Event, Node, Service};

/// Events that a watcher may leave unread before its watch is ended.
pub(super) const BACKLOG: usize = 1024;

/// The most nodes that are kept in mind; further ones are passed over until others go.
const NODES_MAX: usize = 65_536;

/// The most bytes of all they were said with.
const BYTES_MAX: usize = 256 * 1024 * 1024;

/// Who listens.
#[derive(Debug)]
struct Listener {
    /// To what; `None` means everything.
    name: Option<String>,
    events: mpsc::Sender<Result<Event, Error>>,
    /// What was there when it came has been found out, so that all else is news.
    stands: bool,
}

/// Where a node is known: name, id, version.
type Key = (String, String, String);

#[derive(Debug)]
struct Heard {
    /// Without its nodes; shared by those that were said with it. One message of 1 MiB may have a service of half
    /// that and ten thousand nodes.
    service: Arc<Service>,
    node: Node,
    /// Its part of the message that said it, in bytes.
    bytes: usize,
    last: Instant,
    /// How long it may be silent.
    ttl: Duration,
}

#[derive(Debug)]
pub(super) struct View {
    nodes: BTreeMap<Key, Heard>,
    listeners: Vec<Listener>,
    /// Of nodes that do not say it.
    silence: Duration,
    limit: usize,
    /// Of all nodes, and their limit.
    bytes: usize,
    bytes_limit: usize,
}

// ===== impl View =====

impl View {
    pub(super) fn new(silence: Duration) -> View {
        View {
            nodes: BTreeMap::new(),
            listeners: Vec::new(),
            silence,
            limit: NODES_MAX,
            bytes: 0,
            bytes_limit: BYTES_MAX,
        }
    }

    /// Adds a listener, who is told nothing until [`stand`](View::stand).
    pub(super) fn listen(
        &mut self,
        name: Option<String>,
        events: mpsc::Sender<Result<Event, Error>>,
    ) {
        self.listeners.push(Listener {
            name,
            events,
            stands: false,
        });
    }

    /// Forgets who no longer listens, and what nobody listens to.
    pub(super) fn tidy(&mut self) {
        self.listeners
            .retain(|listener| !listener.events.is_closed());
        if !self.listens_to_all() {
            let listeners = &self.listeners;
            let names: BTreeSet<_> = listeners
                .iter()
                .filter_map(|of| of.name.as_deref())
                .collect();
            let bytes = &mut self.bytes;
            self.nodes.retain(|key, heard| {
                let stays = names.contains(&*key.0);
                if !stays {
                    *bytes -= heard.bytes;
                }
                stays
            });
        }
    }

    #[cfg(test)]
    pub(super) fn listeners(&self) -> usize {
        self.listeners.len()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.listeners.is_empty()
    }

    /// What to ask to know everything anew.
    pub(super) fn questions(&self) -> BTreeSet<Query> {
        if self.listens_to_all() {
            return [Query::List].into();
        }
        let names = self.names().into_iter();
        names.map(|name| Query::Get(name.to_owned())).collect()
    }

    /// What to ask for those who have just come.
    pub(super) fn new_questions(&self) -> BTreeSet<Query> {
        let new = self.listeners.iter().filter(|listener| !listener.stands);
        new.map(|listener| match &listener.name {
            Some(name) => Query::Get(name.clone()),
            None => Query::List,
        })
        .collect()
    }

    /// From now on those are told of news who wait for nothing but these answers.
    pub(super) fn stand(&mut self, asked: &BTreeSet<Query>) {
        for listener in &mut self.listeners {
            listener.stands |= match &listener.name {
                Some(name) => {
                    asked.contains(&Query::List) || asked.contains(&Query::Get(name.clone()))
                }
                None => asked.contains(&Query::List),
            };
        }
    }

    /// Nodes of a service have given a sign of life.
    pub(super) fn heard(&mut self, said: Said, now: Instant) {
        let Said {
            mut service,
            ttl,
            bytes,
        } = said;
        if !self.concerns(&service.name) {
            return;
        }
        let ttl = ttl.unwrap_or(self.silence);
        let nodes = std::mem::take(&mut service.nodes);
        let bytes = bytes / nodes.len().max(1);
        let service = Arc::new(service);
        // Nodes that were said together are compared with what was said of them together, once.
        let mut compared: Option<(Arc<Service>, bool)> = None;
        let mut is_as_before = |before: &Arc<Service>| match &compared {
            Some((known, is_same)) if Arc::ptr_eq(known, before) => *is_same,
            _ => {
                let is_same = *before == service;
                compared = Some((Arc::clone(before), is_same));
                is_same
            }
        };
        let mut changes = Changes::default();
        for node in nodes {
            let key = (
                service.name.clone(),
                node.id.clone(),
                service.version.clone(),
            );
            if let Some(heard) = self.nodes.get_mut(&key) {
                heard.last = heard.last.max(now);
                heard.ttl = ttl;
                if heard.node != node || !is_as_before(&heard.service) {
                    self.bytes = self.bytes - heard.bytes + bytes;
                    heard.bytes = bytes;
                    heard.node = node.clone();
                    heard.service = Arc::clone(&service);
                    changes.add(Action::Update, &service, node);
                }
                continue;
            }
            if self.nodes.len() >= self.limit || self.bytes.saturating_add(bytes) > self.bytes_limit
            {
                continue;
            }
            // One that has another version now is no longer of the one before.
            for before in self.versions_of(&key) {
                self.take(&before, &mut changes);
            }
            changes.add(Action::Create, &service, node.clone());
            let heard = Heard {
                service: Arc::clone(&service),
                node,
                bytes,
                last: now,
                ttl,
            };
            self.bytes += bytes;
            self.nodes.insert(key, heard);
        }
        self.tell(changes);
    }

    /// Nodes of a service have said that they go. A node id is enough: Go may leave out the rest.
    pub(super) fn gone(&mut self, service: &Service) {
        let mut changes = Changes::default();
        for node in &service.nodes {
            let (name, version) = (service.name.clone(), service.version.clone());
            self.take(&(name, node.id.clone(), version), &mut changes);
        }
        self.tell(changes);
    }

    /// Whom to ask after, since they have been silent for their time.
    pub(super) fn silent(&self, now: Instant) -> BTreeSet<Query> {
        let silent = self.nodes.iter().filter(|(_, heard)| heard.due() <= now);
        silent.map(|(key, _)| Query::Get(key.0.clone())).collect()
    }

    /// Takes out who has been silent for its time and has not answered these questions either.
    pub(super) fn expire(&mut self, asked: &BTreeSet<Query>, asked_at: Instant) {
        let was_asked = |name: &str| {
            asked.contains(&Query::List) || asked.contains(&Query::Get(name.to_owned()))
        };
        let keys: Vec<Key> = self
            .nodes
            .iter()
            .filter(|(key, heard)| heard.due() <= asked_at && was_asked(&key.0))
            .map(|(key, _)| key.clone())
            .collect();
        let mut changes = Changes::default();
        for key in &keys {
            self.take(key, &mut changes);
        }
        self.tell(changes);
    }

    /// Nobody could be heard for a while: silence begins anew.
    pub(super) fn forgive(&mut self, now: Instant) {
        for heard in self.nodes.values_mut() {
            heard.last = heard.last.max(now);
        }
    }

    /// When somebody will have been silent for its time.
    pub(super) fn due(&self) -> Option<Instant> {
        self.nodes.values().map(Heard::due).min()
    }

    fn names(&self) -> BTreeSet<&str> {
        let listeners = self.listeners.iter();
        listeners
            .filter_map(|listener| listener.name.as_deref())
            .collect()
    }

    fn listens_to_all(&self) -> bool {
        self.listeners
            .iter()
            .any(|listener| listener.name.is_none())
    }

    fn concerns(&self, name: &str) -> bool {
        let mut listeners = self.listeners.iter();
        listeners.any(|listener| listener.name.as_deref().is_none_or(|of| of == name))
    }

    /// Where else the node is known.
    fn versions_of(&self, (name, id, version): &Key) -> Vec<Key> {
        let first = (name.clone(), id.clone(), String::new());
        let of_node = self.nodes.range(first..);
        of_node
            .take_while(|(key, _)| key.0 == *name && key.1 == *id)
            .filter(|(key, _)| key.2 != *version)
            .map(|(key, _)| key.clone())
            .collect()
    }

    fn take(&mut self, key: &Key, changes: &mut Changes) {
        if let Some(heard) = self.nodes.remove(key) {
            self.bytes -= heard.bytes;
            changes.add(Action::Delete, &heard.service, heard.node);
        }
    }

    fn tell(&mut self, changes: Changes) {
        let events = changes.events();
        if events.is_empty() {
            return;
        }
        self.listeners.retain(|listener| {
            let name = listener.name.as_deref();
            events
                .iter()
                .filter(|event| {
                    listener.stands && name.is_none_or(|name| name == event.service.name)
                })
                // Full or closed: either way the watch is over.
                .all(|event| listener.events.try_send(Ok(event.clone())).is_ok())
        });
    }
}

// ===== impl Heard =====

impl Heard {
    fn due(&self) -> Instant {
        self.last + self.ttl
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENCE: Duration = Duration::from_secs(90);

    fn said(version: &str, ids: &[&str], ttl: Option<u64>) -> Said {
        let node = |id: &&str| Node {
            id: (*id).into(),
            address: "h:1".into(),
            ..Node::default()
        };
        Said {
            service: Service {
                name: "a".into(),
                version: version.into(),
                nodes: ids.iter().map(node).collect(),
                ..Service::default()
            },
            ttl: ttl.map(Duration::from_secs),
            bytes: 100,
        }
    }

    fn get(name: &str) -> BTreeSet<Query> {
        [Query::Get(name.into())].into()
    }

    type Events = mpsc::Receiver<Result<Event, Error>>;

    fn view(name: Option<&str>) -> (View, Events) {
        let mut view = View::new(SILENCE);
        let events = listen(&mut view, name);
        (view, events)
    }

    fn listen(view: &mut View, name: Option<&str>) -> Events {
        let (sender, events) = mpsc::channel(BACKLOG);
        view.listen(name.map(str::to_owned), sender);
        view.stand(&view.new_questions());
        events
    }

    fn told(events: &mut Events) -> Vec<String> {
        let mut told = Vec::new();
        while let Ok(Ok(event)) = events.try_recv() {
            let ids: Vec<_> = event.service.nodes.iter().map(|node| &*node.id).collect();
            let version = &event.service.version;
            told.push(format!("{:?} {version} {}", event.action, ids.join(",")));
        }
        told
    }

    #[test]
    fn only_what_changes_is_told() {
        let (mut view, mut events) = view(Some("a"));
        let now = Instant::now();
        view.heard(said("1", &["x", "y"], None), now);
        view.heard(said("1", &["x", "y"], None), now);
        let mut changed = said("1", &["x"], None);
        changed.service.nodes[0].address = "h:2".into();
        view.heard(changed, now);
        let mut other = said("1", &["x"], None);
        other.service.name = "b".into();
        view.heard(other, now);
        view.gone(&said("1", &["y", "z"], None).service);
        assert_eq!(
            told(&mut events),
            ["Create 1 x,y", "Update 1 x", "Delete 1 y"]
        );
        view.heard(said("2", &["x"], None), now);
        assert_eq!(told(&mut events), ["Delete 1 x", "Create 2 x"]);
    }

    #[test]
    fn what_was_there_before_is_no_news() {
        let mut view = View::new(SILENCE);
        let (sender, mut events) = mpsc::channel(BACKLOG);
        view.listen(Some("a".into()), sender);
        assert_eq!(view.new_questions(), get("a"));
        view.heard(said("1", &["old"], None), Instant::now());
        view.stand(&get("b"));
        view.heard(said("1", &["older"], None), Instant::now());
        view.stand(&get("a"));
        assert!(view.new_questions().is_empty());
        view.heard(said("1", &["new"], None), Instant::now());
        assert_eq!(told(&mut events), ["Create 1 new"]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_silent_for_its_time_is_asked_after_and_goes() {
        let (mut view, mut events) = view(None);
        let start = Instant::now();
        view.heard(said("1", &["ours"], Some(10)), start);
        view.heard(said("1", &["go"], None), start);
        assert_eq!(view.due(), Some(start + Duration::from_secs(10)));
        assert!(view.silent(start + Duration::from_secs(9)).is_empty());
        tokio::time::advance(Duration::from_secs(10)).await;
        let asked_at = Instant::now();
        let asked = view.silent(asked_at);
        assert_eq!(asked, get("a"));
        told(&mut events);
        // It answers: it stays.
        view.heard(said("1", &["ours"], Some(10)), Instant::now());
        view.expire(&asked, asked_at);
        assert!(told(&mut events).is_empty());
        tokio::time::advance(Duration::from_secs(10)).await;
        view.expire(&get("b"), Instant::now());
        assert!(told(&mut events).is_empty(), "it was not asked after");
        view.expire(&get("a"), Instant::now());
        assert_eq!(told(&mut events), ["Delete 1 ours"]);
        tokio::time::advance(Duration::from_secs(70)).await;
        view.expire(&[Query::List].into(), Instant::now());
        assert_eq!(told(&mut events), ["Delete 1 go"]);
        assert_eq!(view.due(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_nobodys_silence() {
        let (mut view, mut events) = view(None);
        view.heard(said("1", &["x"], Some(10)), Instant::now());
        tokio::time::advance(Duration::from_secs(60)).await;
        view.forgive(Instant::now());
        assert!(view.silent(Instant::now()).is_empty());
        view.expire(&get("a"), Instant::now());
        assert_eq!(told(&mut events), ["Create 1 x"]);
    }

    #[test]
    fn who_reads_too_slowly_or_not_at_all_is_left() {
        let (mut view, mut slow) = view(None);
        let mut quick = listen(&mut view, Some("a"));
        let dropped = listen(&mut view, None);
        drop(dropped);
        let now = Instant::now();
        for id in 0..=BACKLOG {
            view.heard(said("1", &[&id.to_string()], None), now);
            assert_eq!(told(&mut quick).len(), 1);
        }
        assert_eq!(told(&mut slow).len(), BACKLOG);
        assert!(matches!(
            slow.try_recv(),
            Err(mpsc::error::TryRecvError::Disconnected)
        ));
        assert_eq!(view.questions(), get("a"), "nobody listens to everything");
        drop(quick);
        view.tidy();
        assert!(view.is_idle() && view.due().is_none());
    }

    #[test]
    fn a_flood_of_nodes_is_bounded() {
        let (mut view, mut events) = view(None);
        view.limit = 2;
        view.heard(said("1", &["x", "y", "z"], None), Instant::now());
        assert_eq!(told(&mut events), ["Create 1 x,y"]);
        view.gone(&said("1", &["x"], None).service);
        view.heard(said("1", &["z"], None), Instant::now());
        assert_eq!(told(&mut events), ["Delete 1 x", "Create 1 z"]);
    }

    /// A message of 1 MiB may say a service with half of that in endpoints, and ten thousand nodes of it: that is
    /// kept once, not ten thousand times, and takes time in proportion.
    #[test]
    fn what_one_message_says_is_kept_once() {
        let ids: Vec<_> = (0..10_000).map(|id| format!("{id:05}")).collect();
        let ids: Vec<_> = ids.iter().map(String::as_str).collect();
        let large = || {
            let mut said = said("1", &ids, None);
            let text = "x".repeat(512 * 1024);
            said.service.metadata = [("text".to_owned(), text)].into();
            said
        };
        let (mut view, mut events) = view(Some("a"));
        let begun = std::time::Instant::now();
        // As it is said anew every 30 s.
        for _ in 0..3 {
            view.heard(large(), Instant::now());
        }
        let first = view.nodes.values().next().unwrap();
        assert!(
            view.nodes
                .values()
                .all(|heard| Arc::ptr_eq(&heard.service, &first.service)),
            "one service for all"
        );
        assert_eq!(told(&mut events).len(), 1);
        view.heard(said("2", &ids, None), Instant::now());
        assert_eq!(
            view.nodes.len(),
            ids.len(),
            "each has moved to another version"
        );
        assert_eq!(told(&mut events).len(), 2);
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "{:?}",
            begun.elapsed()
        );
    }

    #[test]
    fn a_flood_of_bytes_is_bounded() {
        let (mut view, mut events) = view(None);
        view.bytes_limit = 250;
        for id in ["x", "y", "z"] {
            view.heard(said("1", &[id], None), Instant::now());
        }
        assert_eq!(told(&mut events), ["Create 1 x", "Create 1 y"]);
        view.gone(&said("1", &["x"], None).service);
        view.heard(said("1", &["z"], None), Instant::now());
        assert_eq!(told(&mut events), ["Delete 1 x", "Create 1 z"]);
        view.heard(said("2", &["y", "z"], None), Instant::now());
        assert_eq!(view.bytes, 100);
        view.gone(&said("2", &["y", "z"], None).service);
        view.gone(&said("1", &["y", "z"], None).service);
        assert_eq!(view.bytes, 0);
    }
}
