//! Publishing many events together: written one behind the other, and answered together.
//!
//! Each event costs less than by itself: no timer, no waiter, no box. What does not go as it should is published again
//! by itself, as [`publish`](super::publish) does it, at least once under the same id, by which the stream knows it.

use std::collections::BTreeSet;

use async_nats::{HeaderMap, Subject, Subscriber};
use tokio::sync::SemaphorePermit;
use tokio::task::coop::unconstrained;
use tokio::time::{Instant, timeout_at};

use super::api;
use super::hub::{Hub, PUBLISHES_MAX};
use super::line::{Line, Lost, PUBLISH, next};
use super::publish::{self, fits, not_handed_over, payload_of};
use crate::broker::join::Join;
use crate::broker::{Delivery, Message, check_name};
use crate::deadline::Deadline;
use crate::error::Error;

/// Messages with their places among all.
type Events = Vec<(usize, Message)>;

/// Places of messages that are not known to be kept, and why.
type NotKept = Vec<(usize, Error)>;

/// The topics of many events, which are mostly one.
#[derive(Default)]
struct Topics {
    last: Option<Subject>,
    all: BTreeSet<Subject>,
}

/// Publishes messages until the deadline.
pub(super) async fn publish(
    hub: Result<Hub, Error>,
    messages: Vec<Message>,
    delivery: Delivery,
    deadline: Deadline,
) -> NotKept {
    let mut failed = Vec::new();
    let mut events = Vec::with_capacity(messages.len());
    for (place, message) in messages.into_iter().enumerate() {
        match check_name("topic", &message.topic) {
            Ok(()) => events.push((place, message)),
            Err(error) => failed.push((place, error)),
        }
    }
    let hub = match hub {
        Ok(hub) => hub,
        Err(error) => {
            failed.extend(events.iter().map(|(place, _)| (*place, error.again())));
            return failed;
        }
    };
    // No more at a time than may be under way.
    while !events.is_empty() {
        let rest = events.split_off(events.len().min(PUBLISHES_MAX));
        let now = std::mem::replace(&mut events, rest);
        failed.extend(match delivery {
            Delivery::AtMostOnce => at_most_once(&hub, now, deadline).await,
            Delivery::AtLeastOnce => at_least_once(&hub, now, deadline).await,
        });
    }
    failed
}

async fn room(hub: &Hub, publishes: usize) -> Option<SemaphorePermit<'_>> {
    let publishes = u32::try_from(publishes).unwrap_or(u32::MAX);
    // The semaphore is never closed.
    hub.publishes().acquire_many(publishes).await.ok()
}

/// Resolves when the server has read all of them.
async fn at_most_once(hub: &Hub, mut events: Events, deadline: Deadline) -> NotKept {
    let mut failed = Vec::new();
    let done = async {
        let _room = room(hub, events.len()).await;
        let line = hub.line().await?;
        let since = line.mark();
        let mut topics = Topics::default();
        let mut outgoing = Vec::with_capacity(events.len());
        events.retain(|(place, message)| {
            let payload = payload_of(message);
            match fits(&line, &message.topic, payload.len()) {
                Ok(()) => outgoing.push((topics.subject(&message.topic), payload)),
                Err(error) => {
                    failed.push((*place, error));
                    return false;
                }
            }
            true
        });
        let sent = line.publish_all(outgoing).await;
        let mut refused = Vec::new();
        for topic in topics.all {
            let allowed = match &sent {
                Ok(()) => line.allowed(&topic, since).await,
                Err(lost) => Err(lost.clone()),
            };
            refused.extend(allowed.err().map(|lost| (topic, lost)));
        }
        let of = |topic: &str| refused.iter().find(|(refused, _)| **refused == *topic);
        failed.extend(events.drain(..).filter_map(|(place, message)| {
            let (_, lost) = of(&message.topic)?;
            Some((place, not_handed_over(lost.clone(), &message.topic)))
        }));
        Ok(())
    };
    let done = match unconstrained(timeout_at(deadline.instant(), done)).await {
        Ok(done) => done,
        Err(_) => Err(hub.late("publishing", None)),
    };
    if let Err(error) = done {
        failed.extend(events.iter().map(|(place, _)| (*place, error.again())));
    }
    failed
}

/// Resolves when streams have all of them, or not in time.
async fn at_least_once(hub: &Hub, mut events: Events, deadline: Deadline) -> NotKept {
    for (_, message) in &mut events {
        if message.id.is_empty() {
            message.id = uuid::Uuid::new_v4().simple().to_string();
        }
    }
    let mut kept = vec![false; events.len()];
    let soon = deadline.instant().min(Instant::now() + api::TRY);
    // Why it did not go as it should, each one finds out by itself.
    let together = timeout_at(soon, store(hub, &events, &mut kept));
    let _ = unconstrained(together).await;
    let mut kept = kept.into_iter();
    events.retain(|_| kept.next() != Some(true));
    let again = events.iter().map(|(_, message)| {
        Box::pin(publish::publish(
            hub,
            message,
            Delivery::AtLeastOnce,
            deadline,
        ))
    });
    let failed = Join::new(again).failed().await;
    let place = |at: usize| events.get(at).map_or(at, |(place, _)| *place);
    failed
        .into_iter()
        .map(|(at, error)| (place(at), error))
        .collect()
}

/// Sends them to their streams, and notes which of them are kept.
async fn store(hub: &Hub, events: &Events, kept: &mut [bool]) -> Result<(), Lost> {
    let _room = room(hub, events.len()).await;
    let Ok(line) = hub.line().await else {
        return Err(Lost::Connection);
    };
    let Some((_, first)) = events.first() else {
        return Ok(());
    };
    let since = line.mark();
    let inbox = line.client.new_inbox();
    let subscribed = line.client.subscribe(format!("{inbox}.*")).await;
    let mut answers = subscribed.map_err(|_| Lost::Connection)?;
    let answered = async {
        let sent = send(hub, &line, events, &inbox).await?;
        note(&mut answers, sent, kept).await;
        Ok(())
    };
    tokio::select! {
        biased;
        answered = answered => answered,
        () = line.told_lost() => Err(Lost::Connection),
        why = line.refused(PUBLISH, &first.topic, since) => Err(Lost::Refused(why)),
    }
}

/// Sends what can be sent, each with a subject of its own to be answered on; how many that were.
async fn send(hub: &Hub, line: &Line, events: &Events, inbox: &str) -> Result<usize, Lost> {
    let mut topics = Topics::default();
    let mut sent = 0;
    for (at, (_, message)) in events.iter().enumerate() {
        let (topic, id) = (&message.topic, message.id.as_str());
        let payload = payload_of(message);
        let can_be_sent = api::is_id(id)
            && fits(line, topic, payload.len() + api::id_size(id)).is_ok()
            && hub.streams().ready(line, hub.config(), topic).await.is_ok();
        if !can_be_sent {
            continue;
        }
        let mut headers = HeaderMap::new();
        headers.insert(api::ID, id);
        let reply = format!("{inbox}.{at}");
        let subject = topics.subject(topic);
        line.client
            .publish_with_reply_and_headers(subject, reply, headers, payload)
            .await
            .map_err(|_| Lost::Connection)?;
        sent += 1;
    }
    Ok(sent)
}

/// Takes so many answers, and notes those that are good.
async fn note(answers: &mut Subscriber, sent: usize, kept: &mut [bool]) {
    for _ in 0..sent {
        let Some(answer) = next(answers).await else {
            return;
        };
        let place = answer.subject.rsplit('.').next();
        let place = place.and_then(|place| place.parse::<usize>().ok());
        if let Some(kept) = place.and_then(|place| kept.get_mut(place)) {
            *kept |= api::read_stored(&answer.payload).is_ok();
        }
    }
}

// ===== impl Topics =====

impl Topics {
    fn subject(&mut self, topic: &str) -> Subject {
        if let Some(last) = &self.last
            && **last == *topic
        {
            return last.clone();
        }
        let subject = Subject::from(topic);
        self.all.insert(subject.clone());
        self.last = Some(subject.clone());
        subject
    }
}
