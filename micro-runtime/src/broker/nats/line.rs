//! [`Line`]: one connection, from its beginning to its loss.

use std::collections::{HashSet, VecDeque};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{
    Client, ConnectOptions, Event as Change, Message, ServerError, Subject, Subscriber,
};
use bytes::Bytes;
use futures_core::Stream;
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::coop::unconstrained;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use super::config::Config;
use crate::lock::lock;
use crate::nats::{self, Failure, shown};

/// The most messages of one subscription that wait for its task, which takes them at once: more than a
/// subscription asks for at a time.
pub(super) const RECEIVE_MAX: usize = 32_768;

/// The most messages that wait to be written; publishing waits for room then.
const SEND_MAX: usize = 1024;

/// What the server did not allow is remembered up to this many sentences, the latest ones.
const REFUSALS_MAX: usize = 1024;

/// The topics of which is remembered that the server allows to publish on them.
const ALLOWED_MAX: usize = 4096;

/// How long a refusal may take through the library, once for each topic that was not refused so far.
const REFUSAL: Duration = Duration::from_millis(5);

/// The most round trips under way of those who flush: one that returns and one that begins meanwhile.
const FLUSHES_MAX: usize = 2;

/// What the server's words on a refusal have in them.
pub(super) const PUBLISH: &str = "Publish";
pub(super) const SUBSCRIBE: &str = "Subscription";

/// How often the library is asked for its state, in case the news of a loss did not get through.
const LOOK: Duration = Duration::from_millis(500);

/// A connection.
pub(super) struct Line {
    pub(super) client: Client,
    news: Arc<News>,
    flusher: Arc<Flusher>,
    /// Topics on which something was published and not refused.
    allowed: Mutex<HashSet<String>>,
    task: tokio::task::AbortHandle,
}

/// What the library tells of a connection.
#[derive(Default)]
struct News {
    lost: watch::Sender<bool>,
    /// Short sections without a wait, hence a std mutex.
    refusals: Mutex<Refusals>,
    refused: Notify,
    /// Messages that the library had no room for.
    dropped: AtomicU64,
}

/// The server's words on what it does not allow, each once, in the order in which they were said last.
#[derive(Default)]
struct Refusals {
    said: VecDeque<(u64, String)>,
    /// How many there were.
    count: u64,
}

#[derive(Default)]
struct Flusher {
    waiting: Mutex<Waiting>,
    asked: Notify,
}

#[derive(Default)]
struct Waiting {
    /// Why nothing can be flushed any more.
    failed: Option<Lost>,
    /// Events to be sent. No more than may be published at a time, and those given up.
    events: Vec<Outgoing>,
    for_next: Vec<Waiter>,
}

/// An event: its topic and its payload.
pub(super) type Outgoing = (Subject, Bytes);

type Waiter = oneshot::Sender<Result<(), Lost>>;

/// Tells the flusher's task, when it is dropped, that somebody waits.
struct Ask<'a>(&'a Flusher);

/// Why something was not done on a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// The connection is gone.
    Connection,
    /// The server does not allow it.
    Refused(String),
}

// ===== impl Line =====

impl Line {
    pub(super) async fn open(config: &Config) -> Result<Arc<Line>, Failure> {
        let news = Arc::new(News::default());
        let told = Arc::clone(&news);
        let mut options = ConnectOptions::new()
            .client_capacity(SEND_MAX)
            .subscription_capacity(RECEIVE_MAX)
            .event_callback(move |change| {
                told.take(change);
                async {}
            });
        if let Some(prefix) = &config.inbox_prefix {
            options = options.custom_inbox_prefix(prefix);
        }
        let client = nats::connect(&config.servers, options).await?;
        let away = |why: String| Failure {
            why,
            refused: false,
        };
        let inbox = client.new_inbox();
        let echoes = client
            .subscribe(inbox.clone())
            .await
            .map_err(|error| away(shown(error)))?;
        let flusher = Arc::<Flusher>::default();
        let task = tokio::spawn(flush(
            client.clone(),
            inbox,
            echoes,
            Arc::clone(&flusher),
            Arc::clone(&news),
        ));
        Ok(Arc::new(Line {
            client,
            news,
            flusher,
            allowed: Mutex::default(),
            task: task.abort_handle(),
        }))
    }

    /// Resolves when the connection is lost.
    pub(super) async fn lost(&self) {
        let mut lost = self.news.lost.subscribe();
        loop {
            tokio::select! {
                _ = lost.wait_for(|lost| *lost) => return,
                () = sleep(LOOK) => {}
            }
            if self.client.connection_state() != State::Connected {
                self.news.lost.send_replace(true);
                return;
            }
        }
    }

    /// Whether it is known to be lost.
    pub(super) fn is_lost(&self) -> bool {
        *self.news.lost.borrow()
    }

    /// A future that resolves when the connection is lost, as the one who watches over it finds out.
    pub(super) async fn told_lost(&self) {
        self.news.gone().await;
    }

    /// Sends a message; waits while there is no room.
    pub(super) async fn send(&self, subject: &str, payload: Bytes) -> Result<(), Lost> {
        self.or_lost(self.client.publish(subject.to_owned(), payload))
            .await
    }

    /// Sends a message with a subject to answer on; waits while there is no room.
    pub(super) async fn ask(
        &self,
        subject: &str,
        reply: String,
        payload: Bytes,
    ) -> Result<(), Lost> {
        let sent = self
            .client
            .publish_with_reply(subject.to_owned(), reply, payload);
        self.or_lost(sent).await
    }

    async fn or_lost<E: std::error::Error>(
        &self,
        sent: impl Future<Output = Result<(), E>>,
    ) -> Result<(), Lost> {
        tokio::select! {
            biased;
            sent = sent => sent.map_err(|error| {
                debug!(why = shown(error), "A message was not sent over NATS");
                Lost::Connection
            }),
            () = self.told_lost() => Err(Lost::Connection),
        }
    }

    /// Resolves when the server has taken all that was sent before. One round trip answers everybody who waits.
    pub(super) async fn flush(&self) -> Result<(), Lost> {
        self.flush_with(None, true).await
    }

    /// Sends an event, and resolves when the server has taken it, or has not allowed it. What many publish at a time
    /// goes out together.
    pub(super) async fn publish(&self, topic: &str, payload: Bytes) -> Result<(), Lost> {
        let since = self.mark();
        self.flush_with(Some((topic.into(), payload)), true).await?;
        self.allowed(topic, since).await
    }

    /// Sends events, and resolves when the server has read them; whether it has allowed them, [`Line::allowed`] knows.
    pub(super) async fn publish_all(&self, events: Vec<Outgoing>) -> Result<(), Lost> {
        self.flush_with(events, false).await
    }

    /// With `others`, those who are about to publish share the round trip.
    async fn flush_with(
        &self,
        events: impl IntoIterator<Item = Outgoing>,
        others: bool,
    ) -> Result<(), Lost> {
        let (done, flushed) = oneshot::channel();
        let is_first = {
            let mut waiting = lock(&self.flusher.waiting);
            if let Some(failed) = &waiting.failed {
                return Err(failed.clone());
            }
            let is_first = waiting.for_next.is_empty() || waiting.events.is_empty();
            waiting.events.extend(events);
            waiting.for_next.push(done);
            is_first
        };
        if is_first {
            let _ask = Ask(&self.flusher);
            if others {
                tokio::task::yield_now().await;
            }
        }
        flushed.await.unwrap_or(Err(Lost::Connection))
    }

    /// Whether the server has allowed what was published on this topic since the mark, and flushed.
    pub(super) async fn allowed(&self, topic: &str, since: u64) -> Result<(), Lost> {
        if !lock(&self.allowed).contains(topic) {
            // Rare, and large: who publishes on a known topic need have no room for it.
            Box::pin(self.find_out(topic, since)).await?;
        }
        match self.refusal(PUBLISH, topic, since) {
            Some(why) => {
                lock(&self.allowed).remove(topic);
                Err(Lost::Refused(why))
            }
            None => Ok(()),
        }
    }

    /// Waits for a refusal, for a moment; without one the topic is known from now on.
    async fn find_out(&self, topic: &str, since: u64) -> Result<(), Lost> {
        // The server's refusal came before the answer to the flush, on another way through the library, whose task
        // may be kept waiting.
        let _ = timeout(REFUSAL, self.refused(PUBLISH, topic, since)).await;
        self.flush().await?;
        if self.refusal(PUBLISH, topic, since).is_none() {
            let mut allowed = lock(&self.allowed);
            if allowed.len() >= ALLOWED_MAX {
                allowed.clear();
            }
            allowed.insert(topic.to_owned());
        }
        Ok(())
    }

    /// What the server refuses from now on counts for whoever asks with this: it may have allowed since what it
    /// refused before.
    pub(super) fn mark(&self) -> u64 {
        lock(&self.news.refusals).count
    }

    /// What the server said if it did not allow to do this with the subject, since the mark.
    pub(super) fn refusal(&self, what: &str, subject: &str, since: u64) -> Option<String> {
        self.news.refusal(what, subject, since)
    }

    /// Resolves when the server has refused to let us do this with the subject, since the mark.
    pub(super) async fn refused(&self, what: &str, subject: &str, since: u64) -> String {
        self.news
            .until_refused(|| self.refusal(what, subject, since))
            .await
    }

    /// How many messages the library had no room for.
    pub(super) fn take_dropped(&self) -> u64 {
        self.news.dropped.swap(0, Ordering::Relaxed)
    }

    /// The largest payload.
    pub(super) fn max_payload(&self) -> usize {
        self.client.max_payload()
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Drop for Ask<'_> {
    fn drop(&mut self) {
        self.0.asked.notify_one();
    }
}

// ===== impl News =====

impl News {
    fn take(&self, change: Change) {
        match change {
            Change::Disconnected | Change::Closed => {
                self.lost.send_replace(true);
            }
            Change::ServerError(ServerError::Other(text)) => {
                warn!(text, "NATS reports an error");
                if text.to_ascii_lowercase().contains("permissions violation") {
                    lock(&self.refusals).push(text);
                    self.refused.notify_waiters();
                }
            }
            Change::SlowConsumer(_) => {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
            _ => {}
        }
    }

    /// Resolves when the connection is known to be lost.
    async fn gone(&self) {
        let mut lost = self.lost.subscribe();
        let _ = lost.wait_for(|lost| *lost).await;
    }

    /// Resolves when the server has refused to let us use this inbox.
    async fn refuses(&self, inbox: &str) -> String {
        self.until_refused(|| {
            let why = self.refusal(PUBLISH, inbox, 0);
            why.or_else(|| self.refusal(SUBSCRIBE, inbox, 0))
        })
        .await
    }

    /// Resolves when this finds what it looks for among the refusals.
    async fn until_refused(&self, look: impl Fn() -> Option<String>) -> String {
        loop {
            let next = self.refused.notified();
            tokio::pin!(next);
            next.as_mut().enable();
            if let Some(why) = look() {
                return why;
            }
            next.await;
        }
    }

    fn refusal(&self, what: &str, subject: &str, since: u64) -> Option<String> {
        let refusals = lock(&self.refusals);
        if refusals.count <= since {
            // As nearly always, with nothing to look through, and nothing to allocate.
            return None;
        }
        let newest = refusals.said.iter().rev();
        let late = newest.take_while(|(number, _)| *number >= since);
        let subject = format!("\"{subject}\"");
        late.map(|(_, text)| text)
            .find(|text| text.contains(what) && text.contains(&subject))
            .cloned()
    }
}

// ===== impl Refusals =====

impl Refusals {
    fn push(&mut self, text: String) {
        self.said.retain(|(_, said)| *said != text);
        if self.said.len() >= REFUSALS_MAX {
            self.said.pop_front();
        }
        self.said.push_back((self.count, text));
        self.count += 1;
    }
}

/// Sends what is to be sent, and has the server answer for all who wait, one round trip for those who came before it
/// began.
async fn flush(
    client: Client,
    inbox: String,
    mut echoes: Subscriber,
    flusher: Arc<Flusher>,
    news: Arc<News>,
) {
    let mut number: u64 = 0;
    let (gone, refuses) = (news.gone(), news.refuses(&inbox));
    tokio::pin!(gone, refuses);
    // Who waits for which echo; they come in order.
    let mut under_way: VecDeque<(u64, Vec<Waiter>)> = VecDeque::new();
    let why = loop {
        tokio::select! {
            biased;
            echo = next(&mut echoes) => {
                let Some(echo) = echo else {
                    break Lost::Connection;
                };
                let Ok(echoed) = <[u8; 8]>::try_from(&*echo.payload).map(u64::from_be_bytes) else {
                    continue;
                };
                while under_way.front().is_some_and(|(number, _)| *number <= echoed) {
                    for waiting in under_way.pop_front().into_iter().flat_map(|(_, all)| all) {
                        // Who has gone does not wait.
                        let _ = waiting.send(Ok(()));
                    }
                }
            }
            () = &mut gone => break Lost::Connection,
            why = &mut refuses, if !under_way.is_empty() => break Lost::Refused(why),
            () = flusher.asked.notified() => {}
        }
        let (events, waiting) = {
            let mut waiting = lock(&flusher.waiting);
            let events = std::mem::take(&mut waiting.events);
            // While enough is under way they wait for what returns next.
            let may_ask = under_way.len() < FLUSHES_MAX;
            let for_next = may_ask.then(|| std::mem::take(&mut waiting.for_next));
            (events, for_next.unwrap_or_default())
        };
        let marker = (!waiting.is_empty()).then(|| {
            number += 1;
            under_way.push_back((number, waiting));
            (
                inbox.clone().into(),
                Bytes::copy_from_slice(&number.to_be_bytes()),
            )
        });
        // Without a pause between them: the library writes at once what it has.
        let send = async {
            for (subject, payload) in events.into_iter().chain(marker) {
                client.publish(subject, payload).await?;
            }
            Ok::<_, async_nats::PublishError>(())
        };
        let sent = tokio::select! {
            sent = unconstrained(send) => sent.map_err(|error| {
                debug!(why = shown(error), "A message was not sent over NATS");
            }),
            () = &mut gone => Err(()),
        };
        if sent.is_err() {
            break Lost::Connection;
        }
    };
    let waiting = {
        let mut waiting = lock(&flusher.waiting);
        waiting.failed = Some(why.clone());
        waiting.events = Vec::new();
        std::mem::take(&mut waiting.for_next)
    };
    let under_way = under_way.into_iter().flat_map(|(_, waiting)| waiting);
    for waiting in under_way.chain(waiting) {
        let _ = waiting.send(Err(why.clone()));
    }
}

/// The next message; `None` when the connection is closed.
pub(super) async fn next(subscriber: &mut Subscriber) -> Option<Message> {
    std::future::poll_fn(|cx| Pin::new(&mut *subscriber).poll_next(cx)).await
}
