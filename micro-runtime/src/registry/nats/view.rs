//! What watches have heard of: nodes, when each last gave a sign of life, and who is to be told.
//!
//! Nothing in NATS says that a process has died. A node that has been silent for its time is asked after, and
//! taken out when the server carried the question and nobody answered for it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::wire::{Query, Said};
use crate::error::Error;
use crate::registry::common::group;
use crate::registry::{Action, Event, Node, Service};

/// Events that a watcher may leave unread before its watch is ended.
pub(super) const BACKLOG: usize = 1024;

/// The most nodes that are kept in mind; further ones are passed over until others go.
const NODES_MAX: usize = 65_536;

/// Who listens.
#[derive(Debug)]
struct Listener {
    /// To what; `None` means everything.
    name: Option<String>,
    events: mpsc::Sender<Result<Event, Error>>,
    /// What was there when it came has been found out, so that all else is news.
    stands: bool,
}

/// Where a node is known: name, version, id.
type Key = (String, String, String);

#[derive(Debug)]
struct Heard {
    /// Without its nodes.
    service: Service,
    node: Node,
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
}

// ===== impl View =====

impl View {
    pub(super) fn new(silence: Duration) -> View {
        View {
            nodes: BTreeMap::new(),
            listeners: Vec::new(),
            silence,
            limit: NODES_MAX,
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
            self.nodes.retain(|key, _| names.contains(&*key.0));
        }
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
        let Said { mut service, ttl } = said;
        if !self.concerns(&service.name) {
            return;
        }
        let ttl = ttl.unwrap_or(self.silence);
        let nodes = std::mem::take(&mut service.nodes);
        let mut changes = Vec::new();
        for node in nodes {
            let key = (
                service.name.clone(),
                service.version.clone(),
                node.id.clone(),
            );
            let whole = Service {
                nodes: vec![node.clone()],
                ..service.clone()
            };
            let full = self.nodes.len() >= self.limit;
            match self.nodes.get_mut(&key) {
                Some(heard) => {
                    heard.last = heard.last.max(now);
                    heard.ttl = ttl;
                    if heard.node != node || heard.service != service {
                        heard.node = node;
                        heard.service = service.clone();
                        changes.push((Action::Update, whole));
                    }
                    continue;
                }
                None if full => continue,
                None => changes.push((Action::Create, whole)),
            }
            // One that has another version now is no longer of the one before.
            let before = self.versions_of(&key);
            changes.extend(before.into_iter().filter_map(|key| self.take(&key)));
            let heard = Heard {
                service: service.clone(),
                node,
                last: now,
                ttl,
            };
            self.nodes.insert(key, heard);
        }
        self.tell(changes);
    }

    /// Nodes of a service have said that they go. A node id is enough: Go may leave out the rest.
    pub(super) fn gone(&mut self, service: &Service) {
        let ids = service.nodes.iter().map(|node| {
            let (name, version) = (service.name.clone(), service.version.clone());
            (name, version, node.id.clone())
        });
        let keys: Vec<Key> = ids.collect();
        let changes: Vec<_> = keys.iter().filter_map(|key| self.take(key)).collect();
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
        let changes: Vec<_> = keys.iter().filter_map(|key| self.take(key)).collect();
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
    fn versions_of(&self, (name, version, id): &Key) -> Vec<Key> {
        let first = (name.clone(), String::new(), String::new());
        let of_service = self
            .nodes
            .range(first..)
            .take_while(|(key, _)| key.0 == *name);
        of_service
            .filter(|(key, _)| key.2 == *id && key.1 != *version)
            .map(|(key, _)| key.clone())
            .collect()
    }

    fn take(&mut self, key: &Key) -> Option<(Action, Service)> {
        let heard = self.nodes.remove(key)?;
        let service = Service {
            nodes: vec![heard.node],
            ..heard.service
        };
        Some((Action::Delete, service))
    }

    fn tell(&mut self, changes: Vec<(Action, Service)>) {
        if changes.is_empty() {
            return;
        }
        let events = group::events(changes);
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
}
