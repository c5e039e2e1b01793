//! The task of one [`Watcher`](crate::registry::Watcher): lists once, then watches from that revision on.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use super::keys::Range;
use super::list::{Listed, Read};
use super::rpc::Core;
use super::stream::{End, Stream};
use super::view::View;
use crate::backoff::{Backoff, jittered};
use crate::error::Error;
use crate::registry::Event;
use crate::status::{Result, Status};

/// Even a watch that seems well is checked against a list this often.
const RELIST: Duration = Duration::from_secs(300);

/// The longest pause before a watch that was refused is tried again.
const REFUSED_MAX: Duration = Duration::from_secs(15);

/// A watch that lasted this long was well.
const WELL: Duration = Duration::from_secs(10);

/// Where events go.
pub(super) type Events = mpsc::Sender<std::result::Result<Event, Error>>;

/// A watch of one service, or of all.
pub(super) struct Watch {
    core: Arc<Core>,
    range: Range,
    view: View,
    /// The first revision that is not known yet.
    next: i64,
    /// The cluster that it is of.
    cluster: u64,
    /// Whether the keys have to be listed before it can go on.
    gap: bool,
    events: Events,
    /// How often in a row the connection was lost.
    lost: usize,
}

/// The watcher is gone.
struct Dropped;

// ===== impl Watch =====

impl Watch {
    /// Lists what there is, which is no event.
    pub(super) async fn begin(
        core: Arc<Core>,
        name: Option<&str>,
        events: Events,
    ) -> Result<Watch> {
        let mut watch = Watch {
            range: core.keys.nodes(name),
            core,
            view: View::new(name),
            next: 0,
            cluster: 0,
            gap: true,
            events,
            lost: 0,
        };
        let listed = watch.core.list(&watch.range, Read::Latest).await?;
        watch.take(listed);
        Ok(watch)
    }

    /// Runs until the watcher is dropped.
    pub(super) async fn run(mut self) {
        let closed = self.events.clone();
        tokio::select! {
            () = closed.closed() => {}
            Dropped = self.follow() => {}
        }
    }

    async fn follow(&mut self) -> Dropped {
        let mut lost = Backoff::new(super::BACKOFF_FIRST, super::BACKOFF_MAX);
        let mut refused = Backoff::new(super::BACKOFF_FIRST, REFUSED_MAX);
        // A pause of its own: after a long outage the list must not wait for as long as the dialling did.
        let mut gaps = Backoff::new(super::BACKOFF_FIRST, REFUSED_MAX);
        loop {
            let begun = Instant::now();
            let end = match self.stream(&mut lost).await {
                Ok(end) => end,
                Err(Dropped) => return Dropped,
            };
            if begun.elapsed() >= WELL {
                refused.reset();
                gaps.reset();
            }
            match end {
                // Time for the list that comes now and then.
                None => self.gap = true,
                Some(End::Token) => sleep(refused.next()).await,
                Some(End::Gap(why)) => {
                    tracing::debug!(why, "A watch of etcd lists again");
                    self.gap = true;
                    sleep(gaps.next()).await;
                }
                Some(End::Lost(status)) => {
                    self.lost += 1;
                    // The first member's loss is nobody's matter if a second one takes over.
                    if self.lost == self.core.links.count().min(2) {
                        self.tell(&status);
                    }
                    sleep(lost.next()).await;
                }
                Some(End::Refused(status)) => {
                    tracing::warn!(error = %status, "A watch of etcd is refused");
                    self.tell(&status);
                    sleep(refused.next()).await;
                }
            }
        }
    }

    /// One stream, from its beginning to its end; `None` if it is time to list again.
    async fn stream(&mut self, lost: &mut Backoff) -> std::result::Result<Option<End>, Dropped> {
        if self.gap {
            let listed = match self.core.list(&self.range, Read::Latest).await {
                Ok(listed) => listed,
                Err(status) => return Ok(Some(End::of(status))),
            };
            let events = self.take(listed);
            self.send(events).await?;
        }
        let mut stream = match Stream::open(&self.core, &self.range, self.next, self.cluster).await
        {
            Ok(stream) => stream,
            Err(end) => return Ok(Some(end)),
        };
        lost.reset();
        self.lost = 0;
        let relist = Instant::now() + jittered(RELIST);
        loop {
            let batch = tokio::select! {
                batch = stream.batch(&self.core) => batch,
                () = sleep_until(relist) => return Ok(None),
            };
            let changes = match batch {
                Ok(changes) => changes,
                Err(end) => return Ok(Some(end)),
            };
            let events = self.view.apply(changes, &self.core.warned);
            // Before they are sent: what was taken over must not be asked for again.
            self.next = stream.next;
            self.send(events).await?;
        }
    }

    fn take(&mut self, listed: Listed) -> Vec<Event> {
        self.next = listed.revision.saturating_add(1);
        self.cluster = listed.cluster;
        self.gap = false;
        self.view.list(listed.kvs, &self.core.warned)
    }

    async fn send(&mut self, events: Vec<Event>) -> std::result::Result<(), Dropped> {
        for event in events {
            self.events.send(Ok(event)).await.map_err(|_| Dropped)?;
        }
        Ok(())
    }

    /// Tells the watcher of an outage, unless it does not read anyway.
    fn tell(&mut self, status: &Status) {
        let error = self.core.error("be watched", status);
        let _ = self.events.try_send(Err(error));
    }
}
