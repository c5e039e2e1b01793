//! The watch: a list, and from its version on what happens to pods, as what happens to nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use serde::de::IgnoredAny;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::Inner;
use super::api::{Api, NoWatch};
use super::pods::{Line, Pod, Status, selector};
use crate::backoff::Backoff;
use crate::error::Error;
use crate::registry::common::diff::{self, by_key};
use crate::registry::{Action, Event, Service};
use crate::transport::http1::Streaming;

/// Between attempts after a failure; the longest lets news through within 3 s of the server's return.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_LONGEST: Duration = Duration::from_millis(1500);

/// Even a watch that seems well is checked against a list when it ends, unless it was listed since: a store that
/// was put back from a backup has lower versions, of which a watch from a higher one is told nothing.
const RELIST: Duration = Duration::from_secs(150);

/// A watch that stood this long was well.
const WELL: Duration = Duration::from_secs(10);

type Item = Result<Event, Error>;

/// What the pods run, and from which version on that is to be watched.
pub(super) struct State {
    name: Option<String>,
    pods: BTreeMap<String, Vec<Service>>,
    version: String,
    /// When this was listed; `None` if that is to be done again.
    listed: Option<Instant>,
}

/// What a line of a watch asks for.
enum Said {
    /// Tell this.
    Events(Vec<Event>),
    /// List again.
    Gone,
    Failed(String),
}

// ===== impl State =====

impl State {
    pub(super) async fn list(api: &Api, name: Option<&str>) -> Result<State, Error> {
        let with_services = |pod: Pod| {
            let services = pod.services(name);
            (!services.is_empty()).then_some((pod.metadata.name, services))
        };
        let (pods, version) = api.list(&selector(name), with_services).await?;
        Ok(State {
            name: name.map(str::to_owned),
            pods: pods.into_iter().collect(),
            version,
            listed: Some(Instant::now()),
        })
    }

    /// All that the pods run, each version of a service once.
    pub(super) fn services(&self) -> Vec<Service> {
        merged(self.pods.values().flatten())
    }

    /// Takes over a newer list.
    fn replace(&mut self, new: State) -> Vec<Item> {
        let (before, after) = (by_name(self.services()), by_name(new.services()));
        let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        let mut items = Vec::new();
        for name in names {
            let old = before.get(name).map_or(&[][..], Vec::as_slice);
            let new = after.get(name).map_or(&[][..], Vec::as_slice);
            items.extend(diff::told("Kubernetes", old, new));
        }
        *self = new;
        items
    }

    fn take(&mut self, line: &[u8]) -> Said {
        let kind = match serde_json::from_slice::<Line<IgnoredAny>>(line) {
            Ok(line) => line.kind,
            Err(error) => return Said::Failed(format!("a line of the watch is none: {error}")),
        };
        if kind == "ERROR" {
            let status = serde_json::from_slice::<Line<Status>>(line).map(|line| line.object);
            let status = status.unwrap_or_default();
            return if status.code == 410 {
                Said::Gone
            } else {
                Said::Failed(format!(
                    "the watch ended with {}: {}",
                    status.code, status.message
                ))
            };
        }
        let pod = match serde_json::from_slice::<Line<Pod>>(line) {
            Ok(line) => line.object,
            Err(error) => {
                return Said::Failed(format!("an object of the watch is no pod: {error}"));
            }
        };
        if !pod.metadata.resource_version.is_empty() {
            self.version.clone_from(&pod.metadata.resource_version);
        }
        match kind.as_str() {
            "ADDED" | "MODIFIED" => {
                let services = pod.services(self.name.as_deref());
                Said::Events(self.set(&pod.metadata.name, services))
            }
            "DELETED" => Said::Events(self.set(&pod.metadata.name, Vec::new())),
            // A bookmark brings a version alone.
            _ => Said::Events(Vec::new()),
        }
    }

    /// A pod runs these services now.
    fn set(&mut self, pod: &str, new: Vec<Service>) -> Vec<Event> {
        let old = self.pods.remove(pod).unwrap_or_default();
        let (before, after) = (by_name(old), by_name(new.clone()));
        if !new.is_empty() {
            self.pods.insert(pod.to_owned(), new);
        }
        let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        let mut events = Vec::new();
        for name in names {
            let old = before.get(name).map_or(&[][..], Vec::as_slice);
            let new = after.get(name).map_or(&[][..], Vec::as_slice);
            events.extend(diff::events(old, new));
        }
        for event in &mut events {
            if event.action == Action::Delete {
                // Another pod may say that it runs the same node.
                let Service { name, nodes, .. } = &mut event.service;
                let others: Vec<&Service> = self
                    .pods
                    .values()
                    .flatten()
                    .filter(|service| service.name == *name)
                    .collect();
                nodes.retain(|node| {
                    let mut others = others.iter().flat_map(|service| &service.nodes);
                    !others.any(|other| diff::key(other) == diff::key(node))
                });
            }
        }
        events.retain(|event| !event.service.nodes.is_empty());
        events
    }
}

/// Each version of each service once, with all of its nodes.
pub(super) fn merged<'a>(services: impl Iterator<Item = &'a Service>) -> Vec<Service> {
    let mut versions: BTreeMap<(&str, &str), Service> = BTreeMap::new();
    for service in services {
        let version = versions
            .entry((&service.name, &service.version))
            .or_insert_with(|| Service {
                nodes: Vec::new(),
                ..service.clone()
            });
        version.nodes.extend(service.nodes.iter().cloned());
    }
    let mut merged: Vec<Service> = versions.into_values().collect();
    for service in &mut merged {
        let nodes = std::mem::take(&mut service.nodes);
        service.nodes = by_key(&[Service {
            nodes,
            ..Service::default()
        }])
        .into_values()
        .map(|(_, node)| node.clone())
        .collect();
    }
    merged
}

fn by_name(services: Vec<Service>) -> BTreeMap<String, Vec<Service>> {
    let mut names: BTreeMap<String, Vec<Service>> = BTreeMap::new();
    for service in services {
        names.entry(service.name.clone()).or_default().push(service);
    }
    names
}

/// Watches until the watcher is gone. While the server fails, what is known stays; when it is back, the watch
/// goes on from where it was, or from a new list.
pub(super) async fn follow(inner: Weak<Inner>, mut state: State, events: mpsc::Sender<Item>) {
    let mut backoff = Backoff::new(PAUSE_FIRST, PAUSE_LONGEST);
    let mut failing = false;
    loop {
        let opened = Instant::now();
        let Some(api) = inner.upgrade().and_then(|inner| inner.api().ok()) else {
            return;
        };
        let due = state.listed.is_none_or(|listed| listed.elapsed() >= RELIST);
        let listed = if due {
            relist(&api, &mut state, &events).await
        } else {
            Ended::Time
        };
        let ended = match listed {
            Ended::Time => {
                let selector = selector(state.name.as_deref());
                match api.watch(&selector, &state.version).await {
                    Ok(stream) => {
                        if std::mem::take(&mut failing) {
                            tracing::info!("Kubernetes is watched again");
                        }
                        read(&api, stream, &mut state, &events).await
                    }
                    Err(NoWatch::Gone) => Ended::Gone,
                    Err(NoWatch::Failed(error)) => Ended::Failed(error.to_string()),
                }
            }
            failed => failed,
        };
        let ended = match ended {
            Ended::Gone => relist(&api, &mut state, &events).await,
            ended => ended,
        };
        drop(api);
        match ended {
            Ended::Unwatched => return,
            Ended::Time | Ended::Gone => {}
            Ended::Failed(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(error, "Kubernetes cannot be watched, what is known stays");
                }
            }
        }
        if opened.elapsed() >= WELL {
            backoff.reset();
        }
        sleep(backoff.next()).await;
    }
}

/// Lists again and tells the difference; until that works it stays to be done.
async fn relist(api: &Api, state: &mut State, events: &mpsc::Sender<Item>) -> Ended {
    state.listed = None;
    match State::list(api, state.name.as_deref()).await {
        Ok(new) => {
            for item in state.replace(new) {
                if events.send(item).await.is_err() {
                    return Ended::Unwatched;
                }
            }
            Ended::Time
        }
        Err(error) => Ended::Failed(error.to_string()),
    }
}

/// Why a watch is over.
enum Ended {
    /// The server let it stand no longer.
    Time,
    /// Too much has happened: list again.
    Gone,
    Failed(String),
    /// Nobody listens.
    Unwatched,
}

async fn read(
    api: &Arc<Api>,
    mut stream: Streaming,
    state: &mut State,
    events: &mpsc::Sender<Item>,
) -> Ended {
    loop {
        let line = match api.line(&mut stream).await {
            Ok(Some(line)) => line,
            Ok(None) => return Ended::Time,
            Err(error) => return Ended::Failed(error.to_string()),
        };
        match state.take(&line) {
            Said::Events(told) => {
                for event in told {
                    if events.send(Ok(event)).await.is_err() {
                        return Ended::Unwatched;
                    }
                }
            }
            Said::Gone => return Ended::Gone,
            Said::Failed(error) => {
                // From the same version on, it might say the same for ever.
                state.listed = None;
                return Ended::Failed(error);
            }
        }
    }
}
