//! [`Streams`]: the stream of a topic, made or looked at.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use tokio::sync::Semaphore;
use tracing::info;

use super::api::{self, Failed, STREAM_NOT_FOUND, StreamConfig, StreamInfo};
use super::config::{Config, covers};
use super::line::Line;
use super::names;
use crate::error::Error;
use crate::lock::lock;

/// How long the server knows the id of an event that it has (its own default).
const DUPLICATES: Duration = Duration::from_secs(120);

/// The most topics whose streams are remembered.
const TOPICS_MAX: usize = 4096;

/// The streams that are known to be right.
#[derive(Default)]
pub(super) struct Streams(Mutex<HashMap<String, Arc<Gate>>>);

/// One of many publishers of a topic looks at its stream, the others wait.
struct Gate {
    done: AtomicBool,
    turn: Semaphore,
}

/// Why something is not as it has to be.
#[derive(Debug)]
pub(super) enum Wrong {
    /// Waiting does not mend it.
    Config(Error),
    /// It may be right later.
    Later(String),
    /// Nobody answers for JetStream.
    Nobody,
}

#[derive(Deserialize)]
struct Names {
    streams: Option<Vec<String>>,
}

// ===== impl Streams =====

impl Streams {
    /// Makes sure that a stream has the topic.
    pub(super) async fn ready(
        &self,
        line: &Line,
        config: &Config,
        topic: &str,
    ) -> Result<(), Wrong> {
        let gate = {
            let mut gates = lock(&self.0);
            if gates.len() >= TOPICS_MAX && !gates.contains_key(topic) {
                gates.clear();
            }
            match gates.get(topic) {
                Some(gate) => Arc::clone(gate),
                None => {
                    let gate = Arc::new(Gate {
                        done: AtomicBool::new(false),
                        turn: Semaphore::new(1),
                    });
                    gates.insert(topic.to_owned(), Arc::clone(&gate));
                    gate
                }
            }
        };
        if gate.done.load(Ordering::Acquire) {
            return Ok(());
        }
        // Rare, and large: a publish to a stream that is there need have no room for it.
        let ensured = async {
            // The semaphore is never closed.
            let _turn = gate.turn.acquire().await;
            if gate.done.load(Ordering::Acquire) {
                return Ok(());
            }
            ensure(line, config, topic).await?;
            gate.done.store(true, Ordering::Release);
            Ok(())
        };
        Box::pin(ensured).await
    }

    /// The stream is to be looked at again.
    pub(super) fn forget(&self, topic: &str) {
        lock(&self.0).remove(topic);
    }
}

/// The stream that has the topic, which is made if there is none.
///
/// # Errors
/// It is not what the promise needs, or not what was configured.
pub(super) async fn ensure(line: &Line, config: &Config, topic: &str) -> Result<StreamInfo, Wrong> {
    let names: Names = api::call(line, "STREAM.NAMES", &json!({ "subject": topic }))
        .await
        .map_err(|failed| wrong("finding the stream of a topic", failed))?;
    let want = wanted(config, topic);
    let Some(found) = names.streams.unwrap_or_default().into_iter().next() else {
        return create(line, config, topic, want).await;
    };
    let info = stream(line, &found).await?;
    check(config, topic, &want, &info)?;
    Ok(info)
}

/// What the stream of the topic is, where there is none yet.
fn wanted(config: &Config, topic: &str) -> StreamConfig {
    let (name, subjects) = match config.named(topic) {
        Some(named) => (named.name.clone(), named.subjects.clone()),
        None => (names::stream(topic), vec![topic.to_owned()]),
    };
    let age = config.age();
    let window = if age.is_zero() {
        DUPLICATES
    } else {
        DUPLICATES.min(age)
    };
    StreamConfig {
        name,
        subjects,
        retention: "limits".into(),
        storage: storage(config).into(),
        // What is full refuses, rather than forget what it has confirmed.
        discard: if config.max_bytes.is_some() {
            "new"
        } else {
            "old"
        }
        .into(),
        num_replicas: config.replicas.unwrap_or(1),
        max_age: nanos(age),
        max_bytes: config
            .max_bytes
            .map_or(-1, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
        duplicate_window: nanos(window),
        description: "made by micro".into(),
        ..StreamConfig::default()
    }
}

fn storage(config: &Config) -> &'static str {
    if config.memory { "memory" } else { "file" }
}

pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

async fn create(
    line: &Line,
    config: &Config,
    topic: &str,
    want: StreamConfig,
) -> Result<StreamInfo, Wrong> {
    let method = format!("STREAM.CREATE.{}", want.name);
    match api::call::<StreamInfo>(line, &method, &want).await {
        Ok(info) => {
            info!(stream = want.name, topic, "A stream was made in NATS");
            // Somebody else may have been first, with the same settings.
            check(config, topic, &want, &info)?;
            Ok(info)
        }
        Err(Failed::Answer(refusal)) if refusal.is_taken() => {
            match stream(line, &want.name).await {
                Ok(info) => {
                    check(config, topic, &want, &info)?;
                    Ok(info)
                }
                // Another stream has got the topic meanwhile: the next look finds it.
                Err(Wrong::Later(_)) => Err(Wrong::Later(refusal.text())),
                Err(wrong) => Err(wrong),
            }
        }
        Err(Failed::Answer(refusal)) if !refusal.is_temporary() && !refusal.is_not_enabled() => {
            Err(Wrong::Config(Error::config(format_args!(
                "NATS does not make the stream {:?} for the topic {topic:?}: {}; give broker::Nats other \
                 settings, or make a stream for this subject by hand",
                want.name,
                refusal.text()
            ))))
        }
        Err(failed) => Err(wrong("making a stream", failed)),
    }
}

async fn stream(line: &Line, name: &str) -> Result<StreamInfo, Wrong> {
    match api::call(line, &format!("STREAM.INFO.{name}"), &json!({})).await {
        Err(Failed::Answer(refusal)) if refusal.err_code == STREAM_NOT_FOUND => {
            Err(Wrong::Later(refusal.text()))
        }
        info => info.map_err(|failed| wrong("looking at a stream", failed)),
    }
}

/// That the stream is what was configured, and keeps what it confirms.
fn check(
    config: &Config,
    topic: &str,
    want: &StreamConfig,
    info: &StreamInfo,
) -> Result<(), Wrong> {
    let found = &info.config;
    let mut differs = Vec::new();
    let mut compare = |what: &str, expected: String, found: String| {
        if expected != found {
            differs.push(format!("expected {what} {expected}, found {found}"));
        }
    };
    if !found.subjects.iter().any(|subject| covers(subject, topic)) {
        compare(
            "the subject",
            format!("{topic:?}"),
            format!("{:?}", found.subjects),
        );
    }
    compare(
        "acknowledgements (no_ack)",
        "false".into(),
        found.no_ack.to_string(),
    );
    compare("sealed", "false".into(), found.sealed.to_string());
    if !config.memory {
        compare("storage", "file".into(), found.storage.clone());
    }
    let is_named = config.named(topic).is_some();
    if is_named {
        compare("the stream", want.name.clone(), found.name.clone());
        let sorted = |subjects: &[String]| {
            let mut subjects = subjects.to_vec();
            subjects.sort_unstable();
            format!("{subjects:?}")
        };
        compare("subjects", sorted(&want.subjects), sorted(&found.subjects));
    }
    // A stream of the user's keeps what the user has said; one of ours keeps what we say.
    if want.name == found.name {
        if config.memory {
            compare("storage", want.storage.clone(), found.storage.clone());
        }
        if config.replicas.is_some() {
            compare(
                "replicas",
                want.num_replicas.to_string(),
                found.num_replicas.to_string(),
            );
        }
        if config.max_age.is_some() {
            let shown = |nanos| format!("{:?}", Duration::from_nanos(nanos));
            compare("max_age", shown(want.max_age), shown(found.max_age));
        }
        if config.max_bytes.is_some() {
            compare(
                "max_bytes",
                want.max_bytes.to_string(),
                found.max_bytes.to_string(),
            );
            compare("discard", want.discard.clone(), found.discard.clone());
        }
    }
    if differs.is_empty() {
        return Ok(());
    }
    Err(Wrong::Config(Error::config(format_args!(
        "the stream {:?} of NATS, which has the topic {topic:?}, is not what at least once needs here: {}; change \
         it (nats stream edit {}), or give broker::Nats the settings that it has",
        found.name,
        differs.join("; "),
        found.name
    ))))
}

/// What a request that failed says of whether to go on.
pub(super) fn wrong(doing: &str, failed: Failed) -> Wrong {
    match failed {
        Failed::Answer(refusal) if refusal.is_not_enabled() => {
            Wrong::Config(disabled(&refusal.text()))
        }
        Failed::Answer(refusal) if refusal.is_temporary() => Wrong::Later(refusal.text()),
        Failed::Answer(refusal) => Wrong::Config(Error::config(format_args!(
            "{doing} was refused by NATS: {}",
            refusal.text()
        ))),
        Failed::Denied(why) => Wrong::Config(denied(&why)),
        Failed::Nobody => Wrong::Nobody,
        Failed::Late(why) => Wrong::Later(why),
        Failed::Lost => Wrong::Later("the connection was lost".into()),
    }
}

/// The server has no JetStream.
pub(super) fn disabled(why: &str) -> Error {
    Error::config(format_args!(
        "at least once needs JetStream, which this NATS has not enabled ({why}): start the server with -js or \
         jetstream {{}} in its configuration, enable it for the account, or use Delivery::AtMostOnce"
    ))
}

/// The server does not allow something.
pub(super) fn denied(why: &str) -> Error {
    Error::config(format_args!(
        "NATS does not allow it: {why}; the user needs permission to publish and subscribe on its topics and on \
         _INBOX.> (or the inbox_prefix), and for at least once to publish on $JS.API.> and $JS.ACK.>"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        let none: [&str; 0] = [];
        Config::new(&none).unwrap()
    }

    fn info(config: StreamConfig) -> StreamInfo {
        StreamInfo {
            config,
            created: String::new(),
            state: api::StreamState::default(),
        }
    }

    fn error(result: Result<(), Wrong>) -> String {
        match result {
            Err(Wrong::Config(error)) => error.to_string(),
            other => panic!("expected an error of configuration, found {other:?}"),
        }
    }

    #[test]
    fn a_stream_of_the_users_is_used_as_it_is_if_it_keeps_the_promise() {
        let config = config();
        let want = wanted(&config, "a.b");
        let mut theirs = StreamConfig {
            name: "THEIRS".into(),
            subjects: vec!["a.>".into()],
            retention: "workqueue".into(),
            storage: "file".into(),
            num_replicas: 3,
            ..StreamConfig::default()
        };
        check(&config, "a.b", &want, &info(theirs.clone())).unwrap();
        theirs.no_ack = true;
        theirs.storage = "memory".into();
        let error = error(check(&config, "a.b", &want, &info(theirs)));
        for part in [
            "\"THEIRS\"",
            "no_ack",
            "expected storage file, found memory",
        ] {
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn what_was_configured_is_compared() {
        let mut config = config();
        config.max_age = Some(Duration::from_secs(60));
        config.replicas = Some(3);
        let want = wanted(&config, "a.b");
        check(&config, "a.b", &want, &info(want.clone())).unwrap();
        let mut other = want.clone();
        other.max_age = nanos(Duration::from_secs(5));
        other.num_replicas = 1;
        let error = error(check(&config, "a.b", &want, &info(other)));
        assert!(error.contains("expected max_age 60s, found 5s"), "{error}");
        assert!(error.contains("expected replicas 3, found 1"), "{error}");
    }

    #[test]
    fn a_named_stream_is_the_one() {
        let mut config = config();
        config.streams.push(super::super::config::Named {
            name: "ORDERS".into(),
            subjects: vec!["orders.>".into()],
        });
        let want = wanted(&config, "orders.placed");
        assert_eq!(
            (want.name.as_str(), &*want.subjects),
            ("ORDERS", &["orders.>".to_owned()][..])
        );
        assert_eq!(wanted(&config, "other").name, "micro-other");
        let mut other = want.clone();
        other.name = "ELSE".into();
        let error = error(check(&config, "orders.placed", &want, &info(other)));
        assert!(
            error.contains("expected the stream ORDERS, found ELSE"),
            "{error}"
        );
    }
}
