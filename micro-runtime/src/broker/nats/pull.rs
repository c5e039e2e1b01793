//! The task of a subscription at least once: a pull consumer of JetStream.
//!
//! It asks for as many events as there is room for, so that no more than [`Topic::in_flight`] are out, and waits
//! for them for [`EXPIRES`]. While it waits the server gives a sign of life every [`HEARTBEAT`]; when it does not,
//! stream and consumer are looked at again, as after each new connection.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Message, StatusCode, Subscriber};
use bytes::Bytes;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tracing::{debug, info, warn};

use super::consumers::{self, Begin};
use super::core::stopped;
use super::held::{Came, Held, Said, What};
use super::hub::{BACKOFF, Hub, TELL};
use super::line::{Line, Lost, next};
use super::streams::{self, Wrong, disabled, nanos};
use super::wire;
use crate::backoff::Backoff;
use crate::broker::{Settle, Topic};
use crate::error::Error;

/// How long the server keeps a request for events, and how often it says that it does.
const EXPIRES: Duration = Duration::from_secs(20);
const HEARTBEAT: Duration = Duration::from_secs(2);

/// No sign of life for this long means that the request is forgotten.
const SILENCE: Duration = Duration::from_secs(5);

/// The most events that are asked for at a time, a quarter of what there is room for in the library.
const ASK_MAX: usize = super::line::RECEIVE_MAX / 4;

/// The messages that are taken before settled events are told of.
const TAKE_MAX: usize = 256;

/// How long a server may be without JetStream before it is believed that it has none: it is there a moment after
/// the first connections.
const NOBODY: Duration = Duration::from_secs(3);

/// How long the end of a subscription waits for the server.
const CLOSE: Duration = Duration::from_secs(5);

/// A subscription's own part.
pub(super) struct Pull {
    pub(super) hub: Hub,
    pub(super) topic: Topic,
    /// The consumer's name.
    pub(super) name: String,
    pub(super) held: Arc<Held>,
    pub(super) events: mpsc::Sender<Result<Handed, Error>>,
    pub(super) stop: watch::Receiver<bool>,
    /// When the stream was made that is consumed.
    pub(super) created: Option<String>,
    /// The number that comes next, without a queue; the last that all members have acknowledged, with one.
    pub(super) place: u64,
}

/// An event on its way to the handlers, as it came.
pub(super) struct Handed {
    pub(super) number: u64,
    pub(super) attempt: u32,
    pub(super) payload: Bytes,
}

/// What belongs to one connection.
struct Bound {
    line: Arc<Line>,
    stream: String,
    /// What answers come on begins so.
    inbox: String,
    subscriber: Subscriber,
    /// How many events are asked for and have not come.
    asked: usize,
    requests: u64,
    /// When the server gave its last sign of life.
    heard: Instant,
    /// No request before this.
    paused_until: Option<Instant>,
    confirming: HashMap<u64, oneshot::Sender<()>>,
}

enum Next {
    /// On.
    Go,
    /// The consumer must be looked at.
    Look(String),
    /// Nobody takes events any more.
    Stop,
}

#[derive(Serialize)]
struct Request {
    batch: usize,
    expires: u64,
    idle_heartbeat: u64,
}

// ===== impl Pull =====

impl Pull {
    /// Runs until it is told to stop, or cannot go on.
    pub(super) async fn run(mut self, ready: oneshot::Sender<Result<(), Error>>) {
        let _open = self.hub.open();
        let mut stop = self.stop.clone();
        let bound = tokio::select! {
            bound = self.bind(true) => bound,
            () = stopped(&mut stop) => return,
        };
        let mut bound = match bound {
            Ok(bound) => bound,
            Err(error) => {
                let _ = ready.send(Err(error));
                return;
            }
        };
        if ready.send(Ok(())).is_err() {
            self.end(bound).await;
            return;
        }
        while let Some(why) = self.serve(&mut bound).await {
            drop(bound);
            info!(
                topic = self.topic.name(),
                why, "The subscription over NATS is made again"
            );
            let again = tokio::select! {
                again = self.bind(false) => again,
                () = stopped(&mut stop) => return,
            };
            bound = match again {
                Ok(bound) => bound,
                Err(error) => {
                    // There is room: it has one more than there are events out.
                    let _ = self.events.send(Err(error)).await;
                    return;
                }
            };
        }
        self.end(bound).await;
    }

    /// Makes sure of stream and consumer, however long it takes to reach them.
    async fn bind(&mut self, first: bool) -> Result<Bound, Error> {
        let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
        let mut told: Option<Instant> = None;
        let mut nobody: Option<Instant> = None;
        loop {
            let line = if first {
                self.hub.line().await?
            } else {
                self.hub.line_at_last().await
            };
            let why = match self.try_bind(line).await {
                Ok(bound) => return Ok(bound),
                Err(Wrong::Config(error)) => return Err(error),
                Err(Wrong::Nobody) => {
                    let since = *nobody.get_or_insert_with(Instant::now);
                    let why = "nobody answers on $JS.API".to_owned();
                    if first && since.elapsed() >= NOBODY {
                        return Err(disabled(&why));
                    }
                    why
                }
                Err(Wrong::Later(why)) => why,
            };
            if told.is_none_or(|told| told.elapsed() >= TELL) {
                told = Some(Instant::now());
                let topic = self.topic.name();
                warn!(topic, why, "Cannot subscribe over NATS yet, it is tried on");
            }
            sleep(backoff.next()).await;
        }
    }

    async fn try_bind(&mut self, line: Arc<Line>) -> Result<Bound, Wrong> {
        let is_shared = self.topic.queue_name().is_some();
        let stream = streams::ensure(&line, self.hub.config(), self.topic.name()).await?;
        let begin = match &self.created {
            None if is_shared => Begin::New,
            None => Begin::At(stream.state.last_seq + 1),
            Some(created) if *created != stream.created => {
                // Everything in it came after we had subscribed.
                self.held.forget();
                self.place = 0;
                Begin::All
            }
            Some(_) if is_shared => Begin::At(self.place + 1),
            Some(_) => Begin::At(self.held.first_open(self.place)),
        };
        let name = &stream.config.name;
        let want = consumers::wanted(&self.topic, &self.name, begin);
        let (consumer, made) = consumers::ensure(&line, name, &self.topic, &want).await?;
        if made && self.created.is_some() {
            self.held.made_anew();
        }
        if is_shared {
            self.place = match begin {
                _ if !made => consumer.ack_floor.stream_seq,
                Begin::New => stream.state.last_seq,
                Begin::All => 0,
                Begin::At(number) => number.saturating_sub(1),
            };
        } else if self.created.is_none() {
            self.place = stream.state.last_seq + 1;
        }
        self.created = Some(stream.created);
        let inbox = line.client.new_inbox();
        let subscriber = tokio::select! {
            subscriber = line.client.subscribe(format!("{inbox}.*")) => {
                subscriber.map_err(|error| Wrong::Later(error.to_string()))?
            }
            () = line.told_lost() => return Err(Wrong::Later("the connection was lost".into())),
        };
        Ok(Bound {
            line,
            stream: stream.config.name,
            inbox,
            subscriber,
            asked: 0,
            requests: 0,
            heard: Instant::now(),
            paused_until: None,
            confirming: HashMap::new(),
        })
    }

    /// Hands out what comes, and says what is settled. `None` when it is told to stop, else why the consumer must
    /// be looked at.
    async fn serve(&mut self, bound: &mut Bound) -> Option<String> {
        let line = Arc::clone(&bound.line);
        let lost = line.told_lost();
        tokio::pin!(lost);
        let held = Arc::clone(&self.held);
        let mut stop = self.stop.clone();
        let stopping = stopped(&mut stop);
        tokio::pin!(stopping);
        // Each third of the time until the server would give an event to somebody else.
        let life = self.topic.wait() / 3;
        let mut tick = interval(life.min(Duration::from_secs(1)));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // At once: while there was no connection nothing was said.
        let mut alive_at = Instant::now();
        const GONE: &str = "the connection was lost";
        loop {
            if self.say(bound).await.is_err() || self.ask(bound).await.is_err() {
                return Some(GONE.into());
            }
            tokio::select! {
                biased;
                () = &mut stopping => return None,
                message = next(&mut bound.subscriber) => {
                    let Some(message) = message else {
                        return Some(GONE.into());
                    };
                    let mut taken = self.take(bound, message);
                    for _ in 0..TAKE_MAX {
                        match taken {
                            Next::Go => {}
                            Next::Look(why) => return Some(why),
                            Next::Stop => return None,
                        }
                        match ready(&mut bound.subscriber) {
                            Some(message) => taken = self.take(bound, message),
                            None => break,
                        }
                    }
                    match taken {
                        Next::Go => {}
                        Next::Look(why) => return Some(why),
                        Next::Stop => return None,
                    }
                }
                () = &mut lost => return Some(GONE.into()),
                () = held.settled.notified() => {}
                now = tick.tick() => {
                    if bound.asked > 0 && bound.heard.elapsed() > SILENCE {
                        return Some("the server gave no sign of life".into());
                    }
                    if now >= alive_at {
                        alive_at = now + life;
                        if say_alive(bound, &self.held).await.is_err() {
                            return Some(GONE.into());
                        }
                    }
                }
            }
        }
    }

    /// Tells the server what was settled.
    async fn say(&self, bound: &mut Bound) -> Result<(), Lost> {
        let mut said = self.held.said().into_iter();
        while let Some(one) = said.next() {
            if let Err(lost) = say_one(bound, one).await {
                // The one that was being sent may have arrived; if not, the event comes again.
                self.held.unsaid(said.collect());
                return Err(lost);
            }
        }
        Ok(())
    }

    /// Asks for as many events as there is room for.
    async fn ask(&self, bound: &mut Bound) -> Result<(), Lost> {
        let room = self.topic.in_flight();
        let free = room.saturating_sub(self.held.len() + bound.asked);
        // Not for each single one, while others are on their way.
        let enough = if bound.asked == 0 {
            1
        } else {
            (room / 4).max(1)
        };
        let batch = free.min(ASK_MAX.saturating_sub(bound.asked));
        if batch < enough {
            return Ok(());
        }
        if bound
            .paused_until
            .is_some_and(|until| Instant::now() < until)
        {
            return Ok(());
        }
        bound.paused_until = None;
        let request = Request {
            batch,
            expires: nanos(EXPIRES),
            idle_heartbeat: nanos(HEARTBEAT),
        };
        let payload = serde_json::to_vec(&request).unwrap_or_default();
        bound.requests += 1;
        let reply = format!("{}.{}", bound.inbox, bound.requests);
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{}.{}", bound.stream, self.name);
        if bound.asked == 0 {
            bound.heard = Instant::now();
        }
        bound.asked += batch;
        bound.line.ask(&subject, reply, payload.into()).await
    }

    fn take(&mut self, bound: &mut Bound, message: Message) -> Next {
        bound.heard = Instant::now();
        if let Some(rest) = message.subject.strip_prefix(bound.inbox.as_str()) {
            if let Some(number) = rest.strip_prefix(".a").and_then(|n| n.parse().ok()) {
                if let Some(confirmed) = bound.confirming.remove(&number) {
                    let _ = confirmed.send(());
                }
                return Next::Go;
            }
            if let Some(status) = message.status {
                return self.take_status(bound, status, &message);
            }
        }
        let parsed = message.reply.as_deref().and_then(wire::read_reply);
        let (Some(reply), Some((count, number))) = (message.reply.as_deref(), parsed) else {
            debug!(subject = %message.subject, "What came is not of JetStream, it is passed over");
            return Next::Go;
        };
        bound.asked = bound.asked.saturating_sub(1);
        if self.topic.queue_name().is_none() {
            if number < self.place && !self.held.is_open(number) {
                // Settled, and handed out by a consumer that was made anew.
                let said = Said {
                    reply: reply.to_owned(),
                    number,
                    what: What::Ack,
                    confirmed: None,
                };
                self.held.unsaid(vec![said]);
                return Next::Go;
            }
            self.place = self.place.max(number + 1);
        }
        let Came::New(attempt) = self.held.take(number, reply, count) else {
            return Next::Go;
        };
        let handed = Handed {
            number,
            attempt,
            payload: message.payload,
        };
        match self.events.try_send(Ok(handed)) {
            Ok(()) => Next::Go,
            Err(mpsc::error::TrySendError::Full(_)) => {
                // More than were asked for. It was out, so there is nothing that could fail.
                let _ = self.held.settle(number, Settle::Return, false);
                Next::Go
            }
            Err(mpsc::error::TrySendError::Closed(_)) => Next::Stop,
        }
    }

    /// What the server says of a request.
    fn take_status(&self, bound: &mut Bound, status: StatusCode, message: &Message) -> Next {
        let text = message.description.as_deref().unwrap_or_default();
        if status == StatusCode::IDLE_HEARTBEAT {
            return Next::Go;
        }
        let ended = [
            StatusCode::TIMEOUT,
            StatusCode::REQUEST_TERMINATED,
            StatusCode::NOT_FOUND,
        ];
        if !ended.contains(&status) {
            // 503: nobody has the consumer. Others are not known.
            return Next::Look(format!("the server answered {status} {text}"));
        }
        let pending = message
            .headers
            .as_ref()
            .and_then(|headers| headers.get("Nats-Pending-Messages"))
            .and_then(|pending| pending.as_str().parse().ok());
        bound.asked = match pending {
            Some(pending) => bound.asked.saturating_sub(pending),
            None => 0,
        };
        if status == StatusCode::TIMEOUT || text == "Batch Completed" {
            return Next::Go;
        }
        debug!(%status, text, "A request for events over NATS was ended");
        if text.contains("Deleted") || text.contains("push based") {
            return Next::Look(text.to_owned());
        }
        // Too many requests of others, a new leader, a server that goes: soon again.
        bound.paused_until = Some(Instant::now() + BACKOFF.0);
        Next::Go
    }

    /// Gives back what is out, and waits until the server knows.
    async fn end(self, mut bound: Bound) {
        let ended = async {
            // What is on its way comes still, and goes back.
            let _ = bound.subscriber.drain().await;
            bound.line.flush().await?;
            let mut more = ready(&mut bound.subscriber);
            while let Some(message) = more {
                if let Some((count, number)) = message.reply.as_deref().and_then(wire::read_reply) {
                    let reply = message.reply.as_deref().unwrap_or_default();
                    self.held.take(number, reply, count);
                }
                more = ready(&mut bound.subscriber);
            }
            self.held.end();
            self.say(&mut bound).await?;
            bound.line.flush().await?;
            if self.topic.queue_name().is_none() {
                consumers::delete(&bound.line, &bound.stream, &self.name).await;
            }
            Ok::<_, Lost>(())
        };
        // What the server does not hear of is handed out again after the topic's `ack_wait`.
        let _ = timeout(CLOSE, ended).await;
    }
}

async fn say_one(bound: &mut Bound, said: Said) -> Result<(), Lost> {
    let payload = match said.what {
        What::Ack => Bytes::from_static(b"+ACK"),
        What::Nak(Duration::ZERO) => Bytes::from_static(b"-NAK"),
        What::Nak(delay) => format!("-NAK {{\"delay\": {}}}", nanos(delay)).into(),
    };
    match said.confirmed {
        None => bound.line.send(&said.reply, payload).await,
        Some(confirmed) => {
            bound.confirming.retain(|_, waiting| !waiting.is_closed());
            bound.confirming.insert(said.number, confirmed);
            let inbox = format!("{}.a{}", bound.inbox, said.number);
            bound.line.ask(&said.reply, inbox, payload).await
        }
    }
}

/// Says that the handlers of events run, so that they are not handed to others.
async fn say_alive(bound: &Bound, held: &Held) -> Result<(), Lost> {
    for reply in held.replies() {
        bound.line.send(&reply, Bytes::from_static(b"+WPI")).await?;
    }
    Ok(())
}

/// A message that is there.
fn ready(subscriber: &mut Subscriber) -> Option<Message> {
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    match futures_core::Stream::poll_next(std::pin::Pin::new(subscriber), &mut cx) {
        std::task::Poll::Ready(message) => message,
        std::task::Poll::Pending => None,
    }
}
