//! A registry that fails as it is told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::error::Error;
use crate::registry::{Action, Event, Node, Registry, Service, Watcher};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Mood {
    Works,
    Fails,
    Hangs,
    /// Answers that there is none, as one does that has lost its data.
    Forgets,
}

/// Knows which nodes there are, and says so while it can.
#[derive(Clone)]
pub(super) struct Script(Arc<Mutex<State>>);

struct State {
    /// Ids by address.
    nodes: BTreeMap<String, String>,
    mood: Mood,
    watchers: Vec<mpsc::Sender<Result<Event, Error>>>,
    made: u32,
}

// ===== impl Script =====

impl Script {
    pub(super) fn new() -> Script {
        Script(Arc::new(Mutex::new(State {
            nodes: BTreeMap::new(),
            mood: Mood::Works,
            watchers: Vec::new(),
            made: 0,
        })))
    }

    pub(super) fn join(&self, address: &str) {
        let mut state = self.lock();
        if state.nodes.contains_key(address) {
            return;
        }
        state.made += 1;
        let id = format!("echo-{}", state.made);
        state.nodes.insert(address.to_owned(), id.clone());
        state.tell(Action::Create, address, &id);
    }

    pub(super) fn leave(&self, address: &str) {
        let mut state = self.lock();
        if let Some(id) = state.nodes.remove(address) {
            state.tell(Action::Delete, address, &id);
        }
    }

    /// Nobody is told: as a node that is gone when its time to live has passed while all watches are cut.
    pub(super) fn mood(&self, mood: Mood) {
        let mut state = self.lock();
        if state.mood != mood {
            state.mood = mood;
            // What was not told meanwhile is found by asking anew.
            state.watchers.clear();
        }
    }

    /// The addresses, in order.
    pub(super) fn truth(&self) -> Vec<String> {
        self.lock().nodes.keys().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    async fn answer(&self) -> Result<Vec<Service>, Error> {
        let mood = self.lock().mood;
        match mood {
            Mood::Fails => Err(Error::registry("it is gone")),
            Mood::Hangs => {
                sleep(Duration::from_secs(3)).await;
                Err(Error::registry("it does not answer"))
            }
            Mood::Forgets => Ok(Vec::new()),
            Mood::Works => {
                let answer = self.lock().services();
                sleep(Duration::from_millis(2)).await;
                Ok(answer)
            }
        }
    }
}

impl Registry for Script {
    fn name(&self) -> &'static str {
        "script"
    }

    async fn register(&self, _: &Service, _: Duration) -> Result<(), Error> {
        Ok(())
    }

    async fn deregister(&self, _: &Service) -> Result<(), Error> {
        Ok(())
    }

    async fn get(&self, _: &str) -> Result<Vec<Service>, Error> {
        self.answer().await
    }

    async fn list(&self) -> Result<Vec<Service>, Error> {
        self.answer().await
    }

    async fn watch(&self, _: Option<&str>) -> Result<Watcher, Error> {
        let mut state = self.lock();
        if state.mood != Mood::Works {
            return Err(Error::registry("no watch now"));
        }
        let (events, watcher) = mpsc::channel(1024);
        state.watchers.push(events);
        Ok(Watcher::from_channel(watcher))
    }
}

// ===== impl State =====

impl State {
    fn tell(&mut self, action: Action, address: &str, id: &str) {
        if self.mood != Mood::Works {
            return;
        }
        let event = Event {
            action,
            service: service(vec![node(address, id)]),
        };
        self.watchers
            .retain(|watcher| watcher.try_send(Ok(event.clone())).is_ok());
    }

    fn services(&self) -> Vec<Service> {
        let nodes = self.nodes.iter().map(|(address, id)| node(address, id));
        let nodes: Vec<_> = nodes.collect();
        if nodes.is_empty() {
            return Vec::new();
        }
        vec![service(nodes)]
    }
}

fn node(address: &str, id: &str) -> Node {
    Node {
        id: id.into(),
        address: address.into(),
        ..Node::default()
    }
}

fn service(nodes: Vec<Node>) -> Service {
    Service {
        name: "echo".into(),
        nodes,
        ..Service::default()
    }
}
