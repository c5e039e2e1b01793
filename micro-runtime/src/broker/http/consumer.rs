//! [`HttpConsumer`]: an open subscription.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;
use tokio::sync::{Semaphore, mpsc};

use super::entry::RegisteredEntry;
use super::receive::Subscription;
use super::server::Server;
use super::{BROADCAST, SERVICE};
use crate::broker::{Consumer, Event, Topic};
use crate::error::Error;
use crate::registry::{AnyRegistry, Node, Service};

/// An open subscription of [`Http`](super::Http).
///
/// Its events carry a receipt, although they are delivered at most once: how it is settled is what the publisher
/// is answered.
///
/// | settled by | answer |
/// |---|---|
/// | [`Ack`](crate::broker::Settle::Ack) | 200 |
/// | [`Retry`](crate::broker::Settle::Retry) | 500 with go-micro's error: the handler failed |
/// | [`Return`](crate::broker::Settle::Return), or dropped | 503: nobody worked on it |
pub struct HttpConsumer {
    /// Goes first, so that nobody posts to what is closed.
    place: Place,
    events: mpsc::Receiver<Event>,
    entry: RegisteredEntry,
}

/// A place among the server's subscriptions, which is given up when dropped.
struct Place {
    server: Arc<Server>,
    id: String,
}

// ===== impl HttpConsumer =====

impl HttpConsumer {
    pub(super) async fn open(
        registry: &AnyRegistry,
        server: Arc<Server>,
        topic: &Topic,
    ) -> Result<HttpConsumer, Error> {
        let id = format!("{}-{}", topic.name(), uuid::Uuid::new_v4());
        let node = Node {
            id: id.clone(),
            address: server.advertised().to_owned(),
            metadata: BTreeMap::from([
                ("broker".to_owned(), "http".to_owned()),
                ("secure".to_owned(), server.is_secure().to_string()),
                ("topic".to_owned(), topic.name().to_owned()),
            ]),
        };
        let service = Service {
            name: SERVICE.to_owned(),
            version: topic.queue_name().unwrap_or(BROADCAST).to_owned(),
            nodes: vec![node],
            ..Service::default()
        };
        let (sender, events) = mpsc::channel(topic.in_flight().max(1));
        let subscription = Subscription {
            topic: topic.name().into(),
            places: Arc::new(Semaphore::new(topic.in_flight().max(1))),
            events: sender,
        };
        // Who finds it in the registry is served at once.
        server.subscriptions().insert(id.clone(), subscription);
        let place = Place { server, id };
        let entry = RegisteredEntry::register(registry, service).await?;
        Ok(HttpConsumer {
            place,
            events,
            entry,
        })
    }
}

impl Stream for HttpConsumer {
    type Item = Result<Event, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.events.poll_recv(cx).map(|event| event.map(Ok))
    }
}

impl Consumer for HttpConsumer {
    fn stop(&mut self) {
        self.place.leave();
        self.entry.leave();
        // What nobody has taken goes back.
        self.events.close();
        while self.events.try_recv().is_ok() {}
    }

    async fn close(mut self) {
        self.stop();
        self.entry.remove().await;
    }
}

impl fmt::Debug for HttpConsumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpConsumer")
            .field("id", &self.place.id)
            .finish_non_exhaustive()
    }
}

// ===== impl Place =====

impl Place {
    fn leave(&self) {
        self.server.subscriptions().remove(&self.id);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.leave();
    }
}
