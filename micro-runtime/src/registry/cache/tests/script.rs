//! Registries that do what they are told.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;

use super::service;
use crate::error::{Error, ErrorKind};
use crate::registry::{Action, Event, Registry, Service, Watcher};

/// Answers with what was put in; counts the queries.
#[derive(Clone, Default)]
pub(super) struct Script(pub(super) Arc<ScriptInner>);

#[derive(Default)]
pub(super) struct ScriptInner {
    pub(super) services: Mutex<Vec<Service>>,
    error: Mutex<Option<ErrorKind>>,
    delay: Mutex<Duration>,
    watch: Mutex<Watching>,
    pub(super) watchers: Mutex<Vec<mpsc::Sender<Result<Event, Error>>>>,
    queries: AtomicUsize,
    together: AtomicUsize,
    pub(super) most_together: AtomicUsize,
    watches: AtomicUsize,
}

#[derive(Clone, Copy, Default)]
pub(super) enum Watching {
    #[default]
    Works,
    Unsupported,
    Fails,
}

impl Script {
    pub(super) fn of(nodes: &[&str]) -> Script {
        let script = Script::default();
        script.set(nodes);
        script
    }

    pub(super) fn set(&self, nodes: &[&str]) {
        *self.0.services.lock().unwrap() = vec![service(nodes)];
    }

    pub(super) fn fail(&self, kind: impl Into<Option<ErrorKind>>) {
        *self.0.error.lock().unwrap() = kind.into();
    }

    pub(super) fn delay(&self, delay: Duration) {
        *self.0.delay.lock().unwrap() = delay;
    }

    pub(super) fn watching(&self, watching: Watching) {
        *self.0.watch.lock().unwrap() = watching;
    }

    pub(super) fn queries(&self) -> usize {
        self.0.queries.load(Ordering::SeqCst)
    }

    pub(super) fn watches(&self) -> usize {
        self.0.watches.load(Ordering::SeqCst)
    }

    pub(super) fn tell(&self, action: Action, service: Service) {
        let event = Event { action, service };
        self.0
            .watchers
            .lock()
            .unwrap()
            .retain(|watcher| watcher.try_send(Ok(event.clone())).is_ok());
    }

    pub(super) fn end_watches(&self) {
        self.0.watchers.lock().unwrap().clear();
    }

    fn error(&self) -> Option<Error> {
        let kind = *self.0.error.lock().unwrap();
        kind.map(|kind| Error::new(kind, "the agent is gone"))
    }
}

impl Registry for Script {
    fn name(&self) -> &'static str {
        "script"
    }

    async fn register(&self, _service: &Service, _ttl: Duration) -> Result<(), Error> {
        Ok(())
    }

    async fn deregister(&self, _service: &Service) -> Result<(), Error> {
        Ok(())
    }

    async fn get(&self, _name: &str) -> Result<Vec<Service>, Error> {
        self.0.queries.fetch_add(1, Ordering::SeqCst);
        let together = self.0.together.fetch_add(1, Ordering::SeqCst) + 1;
        self.0.most_together.fetch_max(together, Ordering::SeqCst);
        let delay = *self.0.delay.lock().unwrap();
        // What a query sees is what was there when it began, so that it can be overtaken by events.
        let answer = match self.error() {
            None => Ok(self.0.services.lock().unwrap().clone()),
            Some(error) => Err(error),
        };
        if !delay.is_zero() {
            sleep(delay).await;
        }
        self.0.together.fetch_sub(1, Ordering::SeqCst);
        answer
    }

    async fn list(&self) -> Result<Vec<Service>, Error> {
        Registry::get(self, "").await
    }

    async fn watch(&self, _name: Option<&str>) -> Result<Watcher, Error> {
        self.0.watches.fetch_add(1, Ordering::SeqCst);
        let watching = *self.0.watch.lock().unwrap();
        match watching {
            Watching::Works => {
                if let Some(error) = self.error() {
                    return Err(error);
                }
                let (events, watcher) = mpsc::channel(4096);
                self.0.watchers.lock().unwrap().push(events);
                Ok(Watcher::from_channel(watcher))
            }
            Watching::Unsupported => Err(Error::new(ErrorKind::Unsupported, "no watch")),
            Watching::Fails => Err(Error::registry("no watch today")),
        }
    }
}

/// Panics at its first query.
#[derive(Clone)]
pub(super) struct Panics(pub(super) Script);

impl Registry for Panics {
    fn name(&self) -> &'static str {
        "panics"
    }

    async fn register(&self, _service: &Service, _ttl: Duration) -> Result<(), Error> {
        Ok(())
    }

    async fn deregister(&self, _service: &Service) -> Result<(), Error> {
        Ok(())
    }

    async fn get(&self, name: &str) -> Result<Vec<Service>, Error> {
        let answer = Registry::get(&self.0, name).await;
        assert!(self.0.queries() > 1, "a bug in a user's registry");
        answer
    }

    async fn list(&self) -> Result<Vec<Service>, Error> {
        Registry::list(&self.0).await
    }

    async fn watch(&self, name: Option<&str>) -> Result<Watcher, Error> {
        Registry::watch(&self.0, name).await
    }
}
