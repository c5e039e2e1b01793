//! A watch: what was read, kept up to date by ZooKeeper's notices, and compared whole where those have gaps.
//!
//! A persistent recursive watch (ZooKeeper 3.6) tells which paths changed, not how, so each is read again. It
//! tells nothing of what changed while there was no connection: then all is read again, as it is from time to
//! time in any case. Without such watches all is read every few seconds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, warn};

use super::client::{self, Error as Refused};
use super::read::{self, NODES_MAX, Nodes};
use super::session::{Link, Session, Shared, refused};
use crate::backoff::jittered;
use crate::error::Error;
use crate::registry::common::group;
use crate::registry::{Action, Event, Service};

/// Events that a watcher may leave unread before its watch is ended.
pub(super) const BACKLOG: usize = 1024;

/// How often all is read again, and how often where there are no watches.
const WHOLE: Duration = Duration::from_secs(300);
const POLL: Duration = Duration::from_secs(5);

/// The pauses between attempts to read that ZooKeeper refuses.
const REFUSED: Duration = Duration::from_secs(1);

/// The pause before something is tried again that was lost with its connection.
const AGAIN: Duration = Duration::from_millis(100);

/// More changed paths than this are not read one by one.
const PATHS_MAX: usize = 256;

/// A watch on one service, or on all.
pub(super) struct Watch {
    link: Link,
    /// Of the service; `None` means all.
    name: Option<String>,
    directory: Option<String>,
    events: mpsc::Sender<Result<Event, Error>>,
    known: Nodes,
}

/// What is to be looked at.
#[derive(Debug, Default, PartialEq, Eq)]
struct Dirty {
    all: bool,
    paths: BTreeSet<String>,
}

/// Why a session's part of a watch ended.
enum End {
    /// There is, or will be, another session.
    Session,
    /// Nobody listens any more, or too slowly.
    Watcher,
}

// ===== impl Watch =====

impl Watch {
    pub(super) fn new(
        link: Link,
        name: Option<String>,
        events: mpsc::Sender<Result<Event, Error>>,
    ) -> Watch {
        Watch {
            link,
            directory: name.as_deref().map(super::record::name),
            name,
            events,
            known: Nodes::new(),
        }
    }

    /// Runs until the watcher or the registry is dropped. Says `ready` once it stands: what changes from then
    /// on is told.
    pub(super) async fn run(mut self, ready: oneshot::Sender<()>) {
        let mut ready = Some(ready);
        loop {
            let events = self.events.clone();
            let session = tokio::select! {
                () = events.closed() => return,
                session = self.link.session() => session,
            };
            let Some(session) = session else { return };
            let mut sessions = self.link.sessions.clone();
            let number = session.number;
            let over = async {
                let other =
                    |now: &Option<Session>| now.as_ref().is_none_or(|now| now.number != number);
                // Ended too when the registry is dropped, which the next turn finds.
                sessions.wait_for(other).await.is_ok()
            };
            let end = tokio::select! {
                () = events.closed() => return,
                _ = over => End::Session,
                end = self.serve(&session, &mut ready) => end,
            };
            match end {
                End::Watcher => return,
                // The session's task will see what this has seen; until then there is nothing to do.
                End::Session => tokio::select! {
                    () = events.closed() => return,
                    () = tokio::time::sleep(jittered(AGAIN)) => {}
                },
            }
        }
    }

    /// Watches over one session.
    async fn serve(&mut self, session: &Session, ready: &mut Option<oneshot::Sender<()>>) -> End {
        let shared = Arc::clone(&self.link.shared);
        let limit = shared.config.timeout;
        let mut watcher = None;
        let mut dirty = Dirty::all();
        let mut whole_at = None;
        loop {
            if !dirty.is_empty() {
                let look = async {
                    // A watch ends with its connection. The one before is dropped only after the new one
                    // stands, so that it is not taken away from the server in between.
                    if dirty.all {
                        let armed = self.arm(session).await?;
                        let every = if armed.is_some() { WHOLE } else { POLL };
                        whole_at = Some(Instant::now() + jittered(every));
                        watcher = armed;
                    }
                    self.look(&shared, session, &dirty, ready).await
                };
                let looked = timeout(limit, look).await;
                match looked.unwrap_or(Err(Refused::ConnectionLost)) {
                    Ok(true) => dirty = Dirty::default(),
                    Ok(false) => return End::Watcher,
                    Err(error) if session.client.is_over() => {
                        debug!(%error, "A ZooKeeper watch goes on with another session");
                        return End::Session;
                    }
                    Err(error) if super::session::is_lost(&error) => {
                        tokio::time::sleep(jittered(AGAIN)).await;
                        dirty = Dirty::all();
                        continue;
                    }
                    Err(error) => {
                        if let End::Watcher = self.fails(&error).await {
                            return End::Watcher;
                        }
                        dirty = Dirty::all();
                        continue;
                    }
                }
            }
            let notice = async {
                match &mut watcher {
                    Some(watcher) => watcher.next().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                path = notice => match path {
                    Some(path) => dirty.take(&path, &shared.config.root),
                    // The connection was lost, or more has changed than is told path by path.
                    None => {
                        dirty.all = true;
                        watcher = None;
                    }
                },
                () = at(whole_at) => dirty.all = true,
            }
            // As many as have come: one look serves them all.
            while let Some(path) = watcher.as_mut().and_then(client::Watch::ready) {
                dirty.take(&path, &shared.config.root);
            }
        }
    }

    /// Has ZooKeeper tell of changes, if it can.
    async fn arm(&self, session: &Session) -> Result<Option<client::Watch>, Refused> {
        let root = &self.link.shared.config.root;
        let path = match &self.directory {
            Some(directory) => format!("{root}/{directory}"),
            None => root.clone(),
        };
        match session.client.watch(&path).await {
            Ok(watcher) => Ok(Some(watcher)),
            Err(Refused::Unimplemented) => {
                debug!(
                    "This ZooKeeper has no recursive watches, its nodes are read every {POLL:?}"
                );
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Reads what is dirty and tells what has changed; `false` if nobody listens.
    async fn look(
        &mut self,
        shared: &Arc<Shared>,
        session: &Session,
        dirty: &Dirty,
        ready: &mut Option<oneshot::Sender<()>>,
    ) -> Result<bool, Refused> {
        let mut changes = Vec::new();
        if dirty.all {
            let mut now = read::nodes(shared, session, self.directory.as_deref()).await?;
            if let Some(name) = &self.name {
                // Another service may share the directory: `a/b` and `a-b`.
                now.retain(|_, (_, service)| service.name == *name);
            }
            let old = std::mem::replace(&mut self.known, now);
            changes = differences(old, &self.known);
        } else {
            for path in &dirty.paths {
                let now = read::node(shared, session, path).await?;
                let now = now.map(|(found, _)| found).filter(|(_, service)| {
                    self.name.as_ref().is_none_or(|name| *name == service.name)
                });
                if now.is_some() && self.known.len() >= NODES_MAX && !self.known.contains_key(path)
                {
                    continue;
                }
                let old = match &now {
                    Some(now) => self.known.insert(path.clone(), now.clone()),
                    None => self.known.remove(path),
                };
                difference(old.map(|old| old.1), now.map(|now| now.1), &mut changes);
            }
        }
        if let Some(ready) = ready.take() {
            // What was there before is no event.
            return Ok(ready.send(()).is_ok());
        }
        for event in group::events(changes) {
            if self.events.try_send(Ok(event)).is_err() {
                if !self.events.is_closed() {
                    warn!(
                        service = self.name,
                        "A watcher has left {BACKLOG} events unread, its watch ends"
                    );
                }
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn fails(&self, error: &Refused) -> End {
        let error = refused(error);
        debug!(service = self.name, %error, "A ZooKeeper watch fails");
        if self.events.try_send(Err(error)).is_err() {
            return End::Watcher;
        }
        tokio::time::sleep(jittered(REFUSED)).await;
        End::Session
    }
}

// ===== impl Dirty =====

impl Dirty {
    fn all() -> Dirty {
        Dirty {
            all: true,
            ..Dirty::default()
        }
    }

    fn is_empty(&self) -> bool {
        !self.all && self.paths.is_empty()
    }

    fn take(&mut self, path: &str, root: &str) {
        let below = path.strip_prefix(root);
        let below = below.and_then(|path| path.strip_prefix('/'));
        // Directories have no data of ours; deeper than nodes there is nothing.
        if let Some(path) = below.filter(|path| path.matches('/').count() == 1)
            && !self.all
        {
            self.paths.insert(path.to_owned());
            self.all = self.paths.len() > PATHS_MAX;
        }
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// What makes one of the other.
fn differences(mut old: Nodes, new: &Nodes) -> Vec<(Action, Service)> {
    let mut changes = Vec::new();
    // By the order in which they were written, so that the last has the last word on the service.
    let mut ordered: BTreeMap<(i64, &str), &Service> = BTreeMap::new();
    for (path, (written, service)) in new {
        ordered.insert((*written, path), service);
    }
    for ((written, path), service) in ordered {
        match old.remove(path) {
            // Written by the same transaction, it is the same.
            Some((before, _)) if before == written => {}
            before => difference(
                before.map(|before| before.1),
                Some(service.clone()),
                &mut changes,
            ),
        }
    }
    for (_, gone) in old.into_values() {
        difference(Some(gone), None, &mut changes);
    }
    changes
}

fn difference(old: Option<Service>, new: Option<Service>, changes: &mut Vec<(Action, Service)>) {
    match (old, new) {
        (None, None) => {}
        (None, Some(new)) => changes.push((Action::Create, new)),
        (Some(old), None) => changes.push((Action::Delete, old)),
        (Some(old), Some(new)) if old == new => {}
        (Some(old), Some(new)) => {
            let ids = |service: &Service| -> BTreeSet<String> {
                service.nodes.iter().map(|node| node.id.clone()).collect()
            };
            if (&old.name, &old.version, ids(&old)) == (&new.name, &new.version, ids(&new)) {
                changes.push((Action::Update, new));
            } else {
                changes.push((Action::Delete, old));
                changes.push((Action::Create, new));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Node;

    fn service(version: &str, id: &str, address: &str) -> Service {
        Service {
            name: "a".into(),
            version: version.into(),
            nodes: vec![Node {
                id: id.into(),
                address: address.into(),
                ..Node::default()
            }],
            ..Service::default()
        }
    }

    fn nodes(list: &[(i64, &str, &str)]) -> Nodes {
        let of = |(written, version, id): &(i64, &str, &str)| {
            let address = format!("{written}:1");
            (
                format!("a/{id}"),
                (*written, service(version, id, &address)),
            )
        };
        list.iter().map(of).collect()
    }

    fn told(changes: Vec<(Action, Service)>) -> Vec<String> {
        let events = group::events(changes).into_iter();
        events
            .map(|event| {
                let ids: Vec<_> = event.service.nodes.iter().map(|node| &*node.id).collect();
                format!(
                    "{:?} {} {}",
                    event.action,
                    event.service.version,
                    ids.join(",")
                )
            })
            .collect()
    }

    #[test]
    fn a_gap_is_told_by_what_differs() {
        let old = nodes(&[
            (1, "1", "same"),
            (2, "1", "gone"),
            (3, "1", "new"),
            (4, "1", "moved"),
        ]);
        let new = nodes(&[
            (1, "1", "same"),
            (7, "1", "new"),
            (6, "2", "moved"),
            (8, "2", "came"),
        ]);
        assert_eq!(
            told(differences(old, &new)),
            ["Delete 1 moved,gone", "Create 2 moved,came", "Update 1 new"]
        );
        assert!(differences(new.clone(), &new).is_empty());
    }

    #[test]
    fn rewritten_with_the_same_data_is_no_change() {
        let old: Nodes = [("a/x".into(), (1, service("1", "x", "h:1")))].into();
        let new: Nodes = [("a/x".into(), (9, service("1", "x", "h:1")))].into();
        assert!(differences(old, &new).is_empty());
    }

    #[test]
    fn notices_say_what_to_read() {
        let mut dirty = Dirty::default();
        let root = "/micro-registry";
        for path in [
            root,
            "/micro-registry/a",
            "/micro-registry/a/1/deep",
            "/other/a/1",
            "/micro-registryx/a",
        ] {
            dirty.take(path, root);
            assert!(dirty.is_empty(), "{path}");
        }
        dirty.take(&format!("{root}/a/1"), root);
        assert_eq!(dirty.paths, ["a/1".to_owned()].into());
        let mut dirty = Dirty::default();
        for id in 0..=PATHS_MAX {
            dirty.take(&format!("{root}/a/{id}"), root);
        }
        assert!(dirty.all);
    }
}
