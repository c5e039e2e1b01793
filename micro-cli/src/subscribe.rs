//! `micro subscribe …`.

use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use micro_runtime::broker::{self, Broker as _, Delivery, Event, Topic};
use micro_runtime::prost_types::Timestamp;
use micro_runtime::{Context, Service, Status};
use serde_json::{Map, Value};
use tokio::sync::Notify;

use crate::arguments::{Output, Subscribe};
use crate::{json, signal};

/// How long an event that is being printed may take once a signal asks the command to end.
const GRACE: Duration = Duration::from_secs(2);

/// What the handlers share.
struct Printed {
    count: Option<u64>,
    so_far: AtomicU64,
    /// Why it is over, if that is an error.
    failed: Mutex<Option<String>>,
    over: Notify,
}

/// Prints the events of a topic until SIGINT or SIGTERM, until there were enough, or until nobody reads them.
pub(crate) async fn run(
    service: &Service,
    subscribe: &Subscribe,
    output: Output,
) -> Result<(), String> {
    let wrong = |error| format!("error subscribing to {}: {error:?}", subscribe.topic);
    let mut topic = Topic::new(&subscribe.topic);
    if let Some(queue) = &subscribe.queue {
        topic = topic.queue(queue);
    }
    if subscribe.at_least_once {
        topic = topic.delivery(Delivery::AtLeastOnce);
    }
    let printed = Arc::new(Printed {
        count: subscribe.count,
        so_far: AtomicU64::new(0),
        failed: Mutex::new(None),
        over: Notify::new(),
    });
    let end = signal::end()?;
    let shared = Arc::clone(&printed);
    let handler = move |_: Context, event: Event| {
        let printed = Arc::clone(&shared);
        async move { printed.take(&event, output).await }
    };
    let subscription = broker::subscribe(service.broker(), topic, handler).map_err(wrong)?;
    let refused = async {
        match subscription.ready().await {
            Ok(()) => {
                eprintln!("waiting for events of {}", subscribe.topic);
                std::future::pending().await
            }
            Err(error) => error,
        }
    };
    let (done, grace) = tokio::select! {
        error = refused => (Err(wrong(error)), Duration::ZERO),
        // The last event is settled, and its handler waits for just this.
        () = printed.over.notified() => (Ok(()), Duration::ZERO),
        () = end => (Ok(()), GRACE),
    };
    subscription.stop(grace).await;
    service.broker().close().await;
    let failed = printed
        .failed
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    done.and(failed.map_or(Ok(()), Err))
}

impl Printed {
    /// Prints an event. Comes to no end with the last one, so that no other is taken after it: the broker gives those
    /// to others.
    async fn take(&self, event: &Event, output: Output) -> Result<(), Status> {
        let line = line(event, output).and_then(|line| {
            writeln!(std::io::stdout(), "{line}").map_err(|error| unwritten(&error))
        });
        match line {
            Ok(()) => {
                self.so_far.fetch_add(1, Ordering::Relaxed);
                if !self.is_full() {
                    return Ok(());
                }
                if let Err(error) = event.ack().await {
                    eprintln!("the last event may come again: {error}");
                }
            }
            // It is not acknowledged: another one may print it.
            Err(why) => *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = why,
        }
        self.over.notify_one();
        std::future::pending().await
    }

    fn is_full(&self) -> bool {
        self.count
            .is_some_and(|count| self.so_far.load(Ordering::Relaxed) >= count)
    }
}

/// A reader that has gone (`micro … | head`) is no failure of ours.
fn unwritten(error: &std::io::Error) -> Option<String> {
    (error.kind() != std::io::ErrorKind::BrokenPipe)
        .then(|| format!("the event could not be printed: {error}"))
}

/// An event as one line.
fn line(event: &Event, output: Output) -> Result<String, Option<String>> {
    let headers: Map<String, Value> = event
        .headers()
        .iter()
        .map(|(name, value)| {
            let text = match name.ends_with("-bin") {
                true => STANDARD.encode(value),
                false => String::from_utf8_lossy(value).into_owned(),
            };
            (name.to_owned(), text.into())
        })
        .collect();
    let body = body(event.body());
    let time = Timestamp::from(SystemTime::now()).to_string();
    match output {
        Output::Json => {
            let line = serde_json::json!({
                "time": time,
                "topic": event.topic(),
                "attempt": event.attempt(),
                "headers": headers,
                "body": body,
            });
            json(&line, Output::Json).map_err(Some)
        }
        Output::Text => {
            let headers: Vec<_> = headers
                .iter()
                .map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default()))
                .collect();
            let body = match body {
                Value::String(text) => text,
                value => value.to_string(),
            };
            let line = format!("{time}  {}  {}  {body}", event.topic(), headers.join(","));
            // One event is one line, and no terminal is told what to do by a stranger.
            Ok(line
                .chars()
                .flat_map(|c| match c.is_control() {
                    true => c.escape_default().collect::<Vec<_>>(),
                    false => vec![c],
                })
                .collect())
        }
    }
}

/// JSON as it is, else text, else base64.
fn body(bytes: &[u8]) -> Value {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return Value::String(STANDARD.encode(bytes));
    };
    match serde_json::from_str(text) {
        Ok(value @ (Value::Object(_) | Value::Array(_))) => value,
        _ if text.contains(|c: char| c.is_control() && !c.is_whitespace()) => {
            Value::String(STANDARD.encode(bytes))
        }
        _ => Value::String(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use micro_runtime::Metadata;

    fn event(body: &'static [u8]) -> Event {
        let headers: Metadata = [("x-a", "1\u{1b}[2J")].into_iter().collect();
        Event::new("t", headers, body, 2, None)
    }

    #[test]
    fn a_line_has_no_line_break_and_no_control_character() {
        for body in [&b"a\nb"[..], b"{\"a\":\n1}", b"\x00\xff", b"\x1b[2J"] {
            for output in [Output::Text, Output::Json] {
                let line = line(&event(body), output).unwrap();
                assert!(!line.contains(char::is_control), "{line:?}");
            }
        }
    }

    #[test]
    fn a_body_is_shown_as_what_it_is() {
        assert_eq!(body(b"{\"a\":1}"), serde_json::json!({"a": 1}));
        assert_eq!(body(b"hi there"), "hi there");
        assert_eq!(body(b"7"), "7");
        assert_eq!(body(b"\xff\x00"), "/wA=");
    }
}
