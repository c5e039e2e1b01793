//! [`Subscriptions`]: what comes in, from a POST to a handler and back to an answer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use percent_encoding::percent_decode_str;
use serde::Serialize;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use crate::broker::message::MICRO_TOPIC;
use crate::broker::{Event, Receipt, Settle, envelope};
use crate::exchange::BoxFuture;
use crate::lock::lock;
use crate::transport::http1::{Answerer, Received, Refusal, Reply};

/// The id of every error that go-micro's broker answers.
const ERROR_ID: &str = "go.micro.broker";

/// How long an event waits for a place at the handlers. go-micro's publishers have no patience of their own, nor
/// do they send again: who waits here loses nothing.
const PLACE_WAIT: Duration = Duration::from_secs(5);

/// The open subscriptions, by the ids under which they are registered.
#[derive(Default)]
pub(super) struct Subscriptions(Mutex<HashMap<String, Subscription>>);

/// How events get to a subscription.
#[derive(Clone)]
pub(super) struct Subscription {
    pub(super) topic: Arc<str>,
    /// As many as may be handed out and not settled. Closed with the subscription.
    pub(super) places: Arc<Semaphore>,
    /// Holds as many.
    pub(super) events: mpsc::Sender<Event>,
}

/// go-micro's error (errors/errors.go).
#[derive(Serialize)]
struct GoError<'a> {
    id: &'static str,
    code: u16,
    detail: &'a str,
    status: &'static str,
}

/// What becomes of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Handled,
    Failed,
    /// Nobody worked on it.
    NotTaken,
    Gone,
}

// ===== impl Subscriptions =====

impl Subscriptions {
    pub(super) fn insert(&self, id: String, subscription: Subscription) {
        lock(&self.0).insert(id, subscription);
    }

    /// Takes a subscription out: whoever posts to it is told that it is gone.
    pub(super) fn remove(&self, id: &str) {
        let removed = lock(&self.0).remove(id);
        if let Some(subscription) = removed {
            subscription.places.close();
        }
    }

    /// The subscription that is meant. go-micro has one id for all subscriptions to a topic in one broker, and
    /// runs each of them; ours have an id each, so that each is posted to by itself.
    fn find(&self, id: &str, topic: &str) -> Option<Subscription> {
        let subscriptions = lock(&self.0);
        let found = subscriptions.get(id)?;
        (*found.topic == *topic).then(|| found.clone())
    }
}

impl Answerer for Subscriptions {
    fn answer(&self, received: Received) -> BoxFuture<'static, Reply> {
        let Received { query, body } = received;
        let (headers, body) = match envelope::read(&body) {
            Ok(read) => read,
            Err(why) => {
                let detail = format!("Error parsing request body: {why}");
                return ready(error(500, 500, &detail));
            }
        };
        let topic = match headers.get(MICRO_TOPIC) {
            Some(topic) if !topic.is_empty() => topic.to_owned(),
            _ => return ready(error(500, 500, "Topic not found")),
        };
        let id = id_of(&query);
        let Some(subscription) = self.find(&id, &topic) else {
            return ready(reply(Outcome::Gone));
        };
        let event = move |receipt| Event::new(topic, headers, body, 1, Some(receipt));
        Box::pin(async move { reply(subscription.hand_out(event).await) })
    }

    fn refuse(&self, refusal: &Refusal) -> Reply {
        match refusal {
            // go-micro's code in the body is another than the status.
            Refusal::Method => error(405, 400, "Method not allowed"),
            Refusal::TooLarge(most) => error(
                413,
                413,
                &format!("expected a body of at most {most} bytes, found more"),
            ),
            Refusal::Busy(waited) => error(
                503,
                503,
                &format!("no memory for the event came free within {waited:?}"),
            ),
            Refusal::Late(within) => error(
                408,
                408,
                &format!("expected the whole body within {within:?}"),
            ),
            Refusal::Unread(why) => error(500, 500, &format!("Error reading request body: {why}")),
        }
    }
}

// ===== impl Subscription =====

impl Subscription {
    /// Hands an event out when there is a place for it, and waits until it is settled.
    async fn hand_out(self, event: impl FnOnce(Receipt) -> Event) -> Outcome {
        let Subscription { places, events, .. } = self;
        let place = match timeout(PLACE_WAIT, places.acquire_owned()).await {
            Ok(Ok(place)) => place,
            Ok(Err(_)) => return Outcome::Gone,
            Err(_) => return Outcome::NotTaken,
        };
        let (settle, settled) = oneshot::channel();
        let receipt = Receipt::new(move |how: Settle| {
            // The publisher may be gone.
            let _ = settle.send(how);
            drop(place);
            async { Ok(()) }
        });
        // There is room as long as there are places. Refused, it is dropped, and with it the receipt.
        if events.try_send(event(receipt)).is_err() {
            return Outcome::Gone;
        }
        match settled.await {
            Ok(Settle::Ack) => Outcome::Handled,
            Ok(Settle::Retry(_)) => Outcome::Failed,
            Ok(Settle::Return) | Err(_) => Outcome::NotTaken,
        }
    }
}

fn ready(reply: Reply) -> BoxFuture<'static, Reply> {
    Box::pin(std::future::ready(reply))
}

fn reply(outcome: Outcome) -> Reply {
    match outcome {
        Outcome::Handled => Reply {
            status: 200,
            content_type: "",
            body: Bytes::new(),
        },
        Outcome::Failed => error(500, 500, "the handler failed"),
        Outcome::NotTaken => error(503, 503, "the subscriber is too busy, or stops"),
        Outcome::Gone => error(410, 410, "nobody is subscribed to the topic under this id"),
    }
}

fn error(status: u16, code: u16, detail: &str) -> Reply {
    let error = GoError {
        id: ERROR_ID,
        code,
        detail,
        status: match code {
            400 => "Bad Request",
            408 => "Request Timeout",
            410 => "Gone",
            413 => "Request Entity Too Large",
            503 => "Service Unavailable",
            _ => "Internal Server Error",
        },
    };
    Reply {
        status,
        content_type: "application/json",
        // Strings and a number: there is nothing in it that JSON cannot have.
        body: serde_json::to_vec(&error).unwrap_or_default().into(),
    }
}

/// The parameter `id` of a query, decoded as HTML forms are (Go's `url.Values`).
fn id_of(query: &str) -> String {
    let value = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("id="))
        .unwrap_or_default();
    let spaced = value.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_decoded_as_go_encodes_them() {
        for (query, id) in [
            ("id=a.b-1", "a.b-1"),
            ("x=1&id=a%2Fb+c%26", "a/b c&"),
            ("id=a&id=b", "a"),
            ("id=%zz%ff", "%zz\u{fffd}"),
            ("kid=a", ""),
            ("", ""),
        ] {
            assert_eq!(id_of(query), id, "{query}");
        }
    }

    #[test]
    fn errors_are_those_of_go() {
        let refused = Subscriptions::default().refuse(&Refusal::Method);
        assert_eq!(refused.status, 405);
        assert_eq!(
            &refused.body[..],
            br#"{"id":"go.micro.broker","code":400,"detail":"Method not allowed","status":"Bad Request"}"#
        );
    }
}
