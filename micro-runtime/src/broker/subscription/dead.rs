//! Dead letters: what is published of an event that is given up.

use std::time::{Duration, SystemTime};

use prost_types::Timestamp;

use super::handler::Failure;
use crate::broker::event::Event;
use crate::broker::message::{MICRO_DEAD, MICRO_ID, MICRO_TOPIC, Message};
use crate::broker::topic::Topic;

/// How long publishing one may take; then the event is handed out again, later, and its letter is tried again.
/// Meanwhile it takes the place of another event, which is to wait no longer than that: where only the dead
/// letters have nobody who takes them, the rest goes on.
pub(super) const TIMEOUT: Duration = Duration::from_secs(5);

/// The longest reason that is told: brokers have limits for headers, and what failed may have much to say.
const LONGEST_REASON: usize = 512;

/// The dead letter of an event: its headers and body, and why it is one.
pub(super) fn letter(
    event: &Event,
    topic: &Topic,
    dead_letter: &str,
    failure: &Failure,
    attempts: u32,
) -> Message {
    let mut headers = event.headers().clone();
    let mut say = |what: &str, value: String| headers.insert(format!("{MICRO_DEAD}{what}"), value);
    say("topic", topic.name().to_owned());
    say("reason", visible(&failure.to_string()));
    say("attempts", attempts.to_string());
    say("time", Timestamp::from(SystemTime::now()).to_string());
    headers.insert(MICRO_TOPIC, dead_letter);
    // An id of its own: a broker that drops what it has seen must not take the letter for the event, nor for
    // that of another queue. The same each time, so that a letter that was published twice is one.
    let id = match event.headers().get(MICRO_ID) {
        Some(id) => format!(
            "{id}.{}.{dead_letter}",
            topic.queue_name().unwrap_or_default()
        ),
        None => uuid::Uuid::new_v4().to_string(),
    };
    let mut message = Message::new(dead_letter, event.body().clone()).id(id);
    message.headers = headers;
    message
}

/// The text as a header may have it.
fn visible(text: &str) -> String {
    text.chars()
        .take(LONGEST_REASON)
        .map(|c| match c {
            ' '..='~' => c,
            c if c.is_whitespace() => ' ',
            _ => '?',
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::Metadata;
    use crate::status::Status;

    #[test]
    fn a_letter_is_the_event_and_why() {
        let headers = Metadata::from_iter([
            ("content-type", "application/json; charset=utf-8"),
            ("micro-topic", "orders"),
            ("micro-id", "7"),
            ("x-user", "3"),
            ("x-name", "schön"),
            ("micro-dead-reason", "an older one"),
        ]);
        let event = Event::new("orders", headers, "{", 5, None);
        let topic = Topic::new("orders").queue("billing");
        let failure = Failure::Error(Status::internal("no\nmoney for schön"));
        let letter = letter(&event, &topic, "dead", &failure, 5);
        assert_eq!(
            (letter.topic.as_str(), &letter.body[..]),
            ("dead", &b"{"[..])
        );
        assert_eq!(letter.id, "7.billing.dead");
        let header = |name| letter.headers.get(name).unwrap();
        assert_eq!(header("content-type"), "application/json; charset=utf-8");
        assert_eq!(header("micro-topic"), "dead");
        assert_eq!(header("micro-id"), "7");
        assert_eq!(header("x-user"), "3");
        assert_eq!(header("micro-dead-topic"), "orders");
        assert_eq!(header("micro-dead-attempts"), "5");
        let reason: Vec<_> = letter.headers.get_all("micro-dead-reason").collect();
        assert!(
            reason.len() == 1 && reason[0].ends_with("no money for sch?n"),
            "{reason:?}"
        );
        assert!(header("micro-dead-time").ends_with('Z'));
        assert_eq!(header("x-name"), "schön");
    }

    #[test]
    fn a_long_reason_is_cut() {
        assert_eq!(visible(&"ä".repeat(10_000)).len(), LONGEST_REASON);
    }
}
