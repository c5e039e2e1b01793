//! A subscription to a channel: at most once.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use redis::{PushInfo, PushKind, Value};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};
use tracing::warn;

use super::config::Config;
use super::connect::{self, dial};
use super::link::{FIRST_PAUSE, LONGEST_PAUSE};
use super::refusal::Refusal;
use crate::backoff::Backoff;
use crate::broker::common::malformed::malformed;
use crate::broker::common::outage::Outage;
use crate::broker::{Event, envelope};
use crate::error::{Error, ErrorKind};
use crate::lock::lock;

/// The events, and the bytes of their bodies, that wait for the handlers of one subscription. Redis sends on
/// whether we read or not and cuts who does not, so that what is beyond this is dropped here.
const EVENTS: usize = 16_384;
const BYTES: usize = 16 * 1024 * 1024;

/// How often it is said that events are dropped.
const SAY_AGAIN: Duration = Duration::from_secs(10);

/// What an open subscription holds.
pub(super) struct Channel {
    events: mpsc::Receiver<(Event, usize)>,
    inbox: Arc<Inbox>,
    task: AbortHandle,
}

/// Where the connection leaves what it hears.
struct Inbox {
    topic: String,
    events: mpsc::Sender<(Event, usize)>,
    bytes: AtomicUsize,
    dropped: AtomicU64,
    /// When it was last said that some were.
    said: Mutex<Option<Instant>>,
}

// ===== impl Channel =====

impl Channel {
    /// Subscribes, and resolves when the server has confirmed it.
    pub(super) async fn open(config: Arc<Config>, topic: &str) -> Result<Channel, Error> {
        let (sender, events) = mpsc::channel(EVENTS);
        let inbox = Arc::new(Inbox {
            topic: topic.to_owned(),
            events: sender,
            bytes: AtomicUsize::new(0),
            dropped: AtomicU64::new(0),
            said: Mutex::new(None),
        });
        let (ready, subscribed) = oneshot::channel();
        let task = tokio::spawn(run(config, Arc::clone(&inbox), ready)).abort_handle();
        let channel = Channel {
            events,
            inbox,
            task,
        };
        match subscribed.await {
            Ok(Ok(())) => Ok(channel),
            Ok(Err(refusal)) => Err(refusal.into_error(&format!("cannot subscribe to {topic:?}"))),
            Err(_) => Err(Error::new(
                ErrorKind::Broker,
                "the redis broker's subscription has ended with its tokio runtime",
            )),
        }
    }

    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        let next = self.events.poll_recv(cx);
        next.map(|next| {
            let (event, bytes) = next?;
            self.inbox.bytes.fetch_sub(bytes, Ordering::Relaxed);
            Some(event)
        })
    }

    /// Ends the connection; nothing more comes.
    pub(super) fn stop(&self) {
        self.task.abort();
    }

    /// How many events were dropped.
    pub(super) fn dropped(&self) -> u64 {
        self.inbox.dropped.load(Ordering::Relaxed)
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.stop();
    }
}

// ===== impl Inbox =====

impl Inbox {
    /// Takes what the server says by itself.
    fn hear(&self, push: PushInfo) {
        if push.kind != PushKind::Message {
            return;
        }
        let Ok([_, Value::BulkString(payload)]) = <[Value; 2]>::try_from(push.data) else {
            return;
        };
        let bytes = payload.len();
        let (headers, body) =
            envelope::read(&payload).unwrap_or_else(|why| malformed(&why, payload.into()));
        let waiting = self.bytes.load(Ordering::Relaxed);
        if waiting > 0 && waiting.saturating_add(bytes) > BYTES {
            return self.drops("too many bytes wait for the handler");
        }
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let event = Event::new(&*self.topic, headers, body, 1, None);
        if self.events.try_send((event, bytes)).is_err() {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.drops("too many events wait for the handler");
        }
    }

    fn drops(&self, why: &str) {
        let dropped = self.dropped.fetch_add(1, Ordering::Relaxed) + 1;
        let now = Instant::now();
        let mut said = lock(&self.said);
        if said.is_none_or(|said| now - said >= SAY_AGAIN) {
            *said = Some(now);
            drop(said);
            warn!(topic = %self.topic, dropped, why, "events of a subscription are dropped");
        }
    }
}

type Ready = oneshot::Sender<Result<(), Refusal>>;

async fn run(config: Arc<Config>, inbox: Arc<Inbox>, ready: Ready) {
    let mut ready = Some(ready);
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    let mut outage = Outage::new(format!(
        "redis at {} (subscribed to {})",
        config.addresses(),
        inbox.topic
    ));
    let mut refusals = 0;
    for server in config.servers.iter().cycle() {
        let heard = Arc::clone(&inbox);
        let dialled = dial(server, Some(Box::new(move |push| heard.hear(push)))).await;
        let ended = match dialled {
            Ok(mut dialled) => {
                let mut subscribing = dialled.connection.clone();
                let subscribed = tokio::select! {
                    () = &mut dialled.driver => Err(Refusal::Lost("the connection was lost".to_owned())),
                    () = sleep(connect::CONNECT) => Err(Refusal::Lost("SUBSCRIBE was not answered".to_owned())),
                    answer = subscribing.subscribe(&*inbox.topic) => answer.map_err(|error| Refusal::of(&error)),
                };
                match subscribed {
                    Ok(()) => {
                        outage.is_over();
                        if let Some(ready) = ready.take() {
                            // Who subscribed may have gone: then this task is aborted.
                            let _ = ready.send(Ok(()));
                        }
                        let lasted = Instant::now();
                        tokio::select! {
                            () = dialled.driver => {}
                            () = connect::watch(dialled.connection) => {}
                        }
                        if lasted.elapsed() > LONGEST_PAUSE {
                            backoff.reset();
                        }
                        Refusal::Lost(format!("the connection to {} was lost", server.address))
                    }
                    Err(refusal) => refusal,
                }
            }
            Err(refusal) => refusal,
        };
        outage.goes_on(ended.why());
        refusals += u32::from(ended.is_final());
        if refusals >= connect::REFUSALS
            && ended.is_final()
            && let Some(ready) = ready.take()
        {
            let _ = ready.send(Err(ended));
            return;
        }
        sleep(backoff.next()).await;
    }
}
