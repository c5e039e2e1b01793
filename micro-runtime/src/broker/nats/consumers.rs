//! Consumers of JetStream: made, or looked at.

use std::time::Duration;

use serde_json::json;
use tracing::info;

use super::api::{self, CONSUMER_NOT_FOUND, ConsumerConfig, ConsumerInfo, Failed};
use super::line::Line;
use super::streams::{Wrong, nanos, wrong};
use crate::broker::Topic;
use crate::error::Error;

/// How long the server keeps the consumer of a subscriber without a queue that is silent: it is made again, from
/// where it was, if the subscriber comes back later.
const INACTIVE: Duration = Duration::from_secs(300);

/// Where a consumer that is made begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begin {
    /// With what is stored from now on.
    New,
    /// With the first event that the stream has.
    All,
    /// With this number.
    At(u64),
}

/// What a consumer for this topic is like.
pub(super) fn wanted(topic: &Topic, name: &str, begin: Begin) -> ConsumerConfig {
    let is_shared = topic.queue_name().is_some();
    let (deliver_policy, opt_start_seq) = match begin {
        Begin::New => ("new", None),
        Begin::All => ("all", None),
        Begin::At(number) => ("by_start_sequence", Some(number.max(1))),
    };
    ConsumerConfig {
        durable_name: is_shared.then(|| name.to_owned()),
        name: name.to_owned(),
        deliver_policy: deliver_policy.into(),
        opt_start_seq,
        ack_policy: "explicit".into(),
        ack_wait: nanos(topic.wait()),
        // Who counts attempts is the subscription, which knows of dead letters; and the events that one member
        // works on are bounded by what it asks for.
        max_deliver: -1,
        max_ack_pending: -1,
        filter_subject: topic.name().to_owned(),
        replay_policy: "instant".into(),
        inactive_threshold: if is_shared { 0 } else { nanos(INACTIVE) },
        mem_storage: !is_shared,
        description: "made by micro".into(),
        ..ConsumerConfig::default()
    }
}

/// The consumer, which is made if it is not there.
///
/// # Errors
/// One of the name is there and differs.
pub(super) async fn ensure(
    line: &Line,
    stream: &str,
    topic: &Topic,
    want: &ConsumerConfig,
) -> Result<(ConsumerInfo, bool), Wrong> {
    match look(line, stream, &want.name).await? {
        Some(info) => check(stream, topic, want, &info).map(|()| (info, false)),
        None => create(line, stream, topic, want).await,
    }
}

async fn look(line: &Line, stream: &str, name: &str) -> Result<Option<ConsumerInfo>, Wrong> {
    let method = format!("CONSUMER.INFO.{stream}.{name}");
    match api::call(line, &method, &json!({})).await {
        Ok(info) => Ok(Some(info)),
        Err(Failed::Answer(refusal)) if refusal.err_code == CONSUMER_NOT_FOUND => Ok(None),
        Err(failed) => Err(wrong("looking at a consumer", failed)),
    }
}

async fn create(
    line: &Line,
    stream: &str,
    topic: &Topic,
    want: &ConsumerConfig,
) -> Result<(ConsumerInfo, bool), Wrong> {
    let name = &want.name;
    let method = format!("CONSUMER.CREATE.{stream}.{name}.{}", want.filter_subject);
    let body = json!({ "stream_name": stream, "config": want, "action": "create" });
    match api::call::<ConsumerInfo>(line, &method, &body).await {
        Ok(info) => {
            info!(stream, consumer = name, "A consumer was made in NATS");
            // Somebody else may have been first.
            check(stream, topic, want, &info)?;
            Ok((info, true))
        }
        Err(Failed::Answer(refusal)) if refusal.is_taken() => {
            match look(line, stream, name).await? {
                Some(info) => check(stream, topic, want, &info).map(|()| (info, false)),
                None => Err(Wrong::Later(refusal.text())),
            }
        }
        Err(Failed::Answer(refusal)) if !refusal.is_temporary() && !refusal.is_not_enabled() => {
            Err(Wrong::Config(Error::config(format_args!(
                "NATS does not make the consumer {name:?} of the stream {stream:?} for the topic {:?}: {}; a stream \
                 with retention workqueue takes one queue for each subject, and limits of the stream count too",
                topic.name(),
                refusal.text()
            ))))
        }
        Err(failed) => Err(wrong("making a consumer", failed)),
    }
}

/// Asks the server to forget a consumer; it does so by itself too, later.
pub(super) async fn delete(line: &Line, stream: &str, name: &str) {
    let method = format!("CONSUMER.DELETE.{stream}.{name}");
    let _ = api::call::<serde_json::Value>(line, &method, &json!({})).await;
}

/// That a consumer which is there hands out as this subscription needs.
fn check(
    stream: &str,
    topic: &Topic,
    want: &ConsumerConfig,
    info: &ConsumerInfo,
) -> Result<(), Wrong> {
    let found = &info.config;
    let mut differs = Vec::new();
    let mut compare = |what: &str, expected: String, found: String| {
        if expected != found {
            differs.push(format!("expected {what} {expected}, found {found}"));
        }
    };
    let time = |nanos| format!("{:?}", Duration::from_nanos(nanos));
    let subjects = |config: &ConsumerConfig| match &*config.filter_subjects {
        [] => format!("{:?}", config.filter_subject),
        [one] => format!("{one:?}"),
        several => format!("{several:?}"),
    };
    compare(
        "a pull consumer",
        "true".into(),
        found.deliver_subject.is_none().to_string(),
    );
    compare("the subject", subjects(want), subjects(found));
    compare(
        "ack_policy",
        want.ack_policy.clone(),
        found.ack_policy.clone(),
    );
    compare("ack_wait", time(want.ack_wait), time(found.ack_wait));
    compare(
        "max_deliver",
        unlimited(want.max_deliver),
        unlimited(found.max_deliver),
    );
    compare(
        "max_ack_pending",
        unlimited(want.max_ack_pending),
        unlimited(found.max_ack_pending),
    );
    compare(
        "replay_policy",
        want.replay_policy.clone(),
        found.replay_policy.clone(),
    );
    compare(
        "headers_only",
        "false".into(),
        found.headers_only.to_string(),
    );
    compare("backoff", "[]".into(), format!("{:?}", found.backoff));
    let limits = [found.max_batch, found.max_bytes].map(|limit| limit.max(0));
    compare(
        "max_batch and max_bytes",
        "[0, 0]".into(),
        format!("{limits:?}"),
    );
    compare("max_expires", time(0), time(found.max_expires));
    let policy = found.priority_policy.as_deref().unwrap_or("none");
    compare("priority_policy", "none".into(), policy.into());
    if differs.is_empty() {
        return Ok(());
    }
    Err(Wrong::Config(Error::config(format_args!(
        "the consumer {:?} of the stream {stream:?} of NATS, for the queue {:?} of the topic {:?}, differs: {}; \
         subscribe as its other members do, take another queue, or remove it (nats consumer rm {stream} {}), with \
         which events are forgotten that it has not handed out",
        want.name,
        topic.queue_name().unwrap_or_default(),
        topic.name(),
        differs.join("; "),
        want.name
    ))))
}

fn unlimited(number: i64) -> String {
    if number <= 0 {
        "unlimited".into()
    } else {
        number.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_differs_is_an_error_that_says_how() {
        let topic = Topic::new("a.b").queue("q");
        let want = wanted(&topic, "q@a=b", Begin::New);
        let info = |config: ConsumerConfig| ConsumerInfo {
            config,
            ack_floor: api::Floor::default(),
        };
        // Where it began is its own affair.
        let begun = wanted(&topic, "q@a=b", Begin::At(7));
        check("S", &topic, &want, &info(begun)).unwrap();
        let mut other = want.clone();
        other.max_deliver = 3;
        other.ack_wait = nanos(Duration::from_secs(5));
        other.deliver_subject = Some("x".into());
        let Err(Wrong::Config(error)) = check("S", &topic, &want, &info(other)) else {
            panic!("expected an error");
        };
        let error = error.to_string();
        for part in [
            "expected a pull consumer true, found false",
            "expected max_deliver unlimited, found 3",
            "expected ack_wait 30s, found 5s",
            "nats consumer rm S q@a=b",
        ] {
            assert!(error.contains(part), "{error}");
        }
    }
}
