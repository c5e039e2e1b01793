//! `micro watch`.

use std::fmt::Display;
use std::io::Write as _;
use std::time::{Duration, SystemTime};

use micro_runtime::prost_types::Timestamp;
use micro_runtime::registry::{Action, AnyRegistry, Event, Registry as _, Watcher};
use micro_runtime::{Error, ErrorKind, Service};
use tokio::time::sleep;

use crate::arguments::Output;
use crate::get::pairs;
use crate::{json, signal};

/// The first wait before a watch that ended, or could not begin, is begun again; each further one is twice as
/// long.
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// The longest such wait: what an operator in front of a terminal bears.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Prints what happens to one service, or to all, until SIGINT or SIGTERM, or until nobody reads it.
pub(crate) async fn run(
    service: &Service,
    name: Option<&str>,
    output: Output,
) -> Result<(), String> {
    let end = signal::end()?;
    let watch = watch(service.registry(), name, output);
    tokio::select! {
        result = watch => result,
        () = end => Ok(()),
    }
}

async fn watch(registry: &AnyRegistry, name: Option<&str>, output: Output) -> Result<(), String> {
    let mut outage = Outage::new(registry.name());
    loop {
        match registry.watch(name).await {
            Ok(watcher) => {
                outage.began();
                if !print_all(watcher, output, &mut outage).await? {
                    return Ok(());
                }
                outage.tell("the watch ended");
            }
            // Waiting does not mend what was asked wrongly, nor what cannot be.
            Err(error) if matches!(error.kind(), ErrorKind::Config | ErrorKind::Unsupported) => {
                return Err(said(registry, &error));
            }
            Err(error) => outage.tell(format_args!("{error:?}")),
        }
        outage.wait().await;
    }
}

fn said(registry: &AnyRegistry, error: &Error) -> String {
    format!("{}: {error:?}", registry.name())
}

/// Prints events until the watch ends; `false` if nobody reads them any more.
async fn print_all(
    mut watcher: Watcher,
    output: Output,
    outage: &mut Outage,
) -> Result<bool, String> {
    while let Some(next) = watcher.next().await {
        let event = match next {
            Ok(event) => event,
            Err(error) => {
                outage.tell(format_args!("{error:?}"));
                continue;
            }
        };
        outage.over();
        let text = match output {
            Output::Json => json(&event, output)?,
            Output::Text => text(&event, SystemTime::now()),
        };
        // In one piece, and at once, though stdout may be a pipe.
        let mut out = std::io::stdout().lock();
        let written = writeln!(out, "{text}").and_then(|()| out.flush());
        match written {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(false),
            Err(error) => return Err(format!("an event could not be written: {error}")),
            Ok(()) => {}
        }
    }
    Ok(true)
}

/// An event for people: a line per node with the time, what happened, service, version, node, address and
/// metadata, parted by tabs.
fn text(event: &Event, now: SystemTime) -> String {
    let action = match event.action {
        Action::Create => "create",
        Action::Update => "update",
        Action::Delete => "delete",
    };
    let seconds = Timestamp {
        nanos: 0,
        ..Timestamp::from(now)
    };
    let service = &event.service;
    let head = format!("{seconds}\t{action}\t{}\t{}", service.name, service.version);
    let mut lines: Vec<String> = service
        .nodes
        .iter()
        .map(|node| {
            let metadata = pairs(&node.metadata);
            format!("{head}\t{}\t{}\t{metadata}", node.id, node.address)
        })
        .collect();
    if lines.is_empty() {
        lines.push(head);
    }
    let clean = |line: &String| {
        // What a peer says must not move a terminal's cursor.
        line.trim_end()
            .replace(|each: char| each.is_control() && each != '\t', "\u{fffd}")
    };
    lines.iter().map(clean).collect::<Vec<_>>().join("\n")
}

/// What was said of a registry that does not answer.
struct Outage {
    registry: &'static str,
    last: Option<String>,
    begun: bool,
    wait: Duration,
}

impl Outage {
    fn new(registry: &'static str) -> Outage {
        Outage {
            registry,
            last: None,
            begun: false,
            wait: FIRST_WAIT,
        }
    }

    /// Says it on stderr, once for as long as it stays the same.
    fn tell(&mut self, what: impl Display) {
        let what = what.to_string();
        if self.last.as_ref() != Some(&what) {
            say(format_args!("{}: {what}; the watch goes on", self.registry));
            self.last = Some(what);
        }
    }

    /// The watch is there; what happens from now on is seen.
    fn began(&mut self) {
        if !self.begun {
            say(format_args!("{}: watching", self.registry));
            self.begun = true;
        }
    }

    /// The registry answers.
    fn over(&mut self) {
        self.wait = FIRST_WAIT;
        if self.last.take().is_some() {
            say(format_args!("{}: answers again", self.registry));
        }
    }

    async fn wait(&mut self) {
        // Between half of it and all: those who watch do not all come back at one moment.
        sleep(self.wait.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
        self.wait = (self.wait * 2).min(LONGEST_WAIT);
    }
}

/// A line on stderr; that nobody reads it is no failure.
fn say(line: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_a_line_a_node() {
        let event: Event = serde_json::from_str(
            r#"{"Action":"update","Service":{"name":"greeter","version":"1.2","nodes":[
                {"id":"greeter-1","address":"10.0.0.7:1","metadata":{"zone":"b\u001b[2J","a":"1"}},
                {"id":"greeter-2","address":"10.0.0.8:1"}]}}"#,
        )
        .unwrap();
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_900);
        assert_eq!(
            text(&event, now),
            "2023-11-14T22:13:20Z\tupdate\tgreeter\t1.2\tgreeter-1\t10.0.0.7:1\ta=1,zone=b\u{fffd}[2J\n\
             2023-11-14T22:13:20Z\tupdate\tgreeter\t1.2\tgreeter-2\t10.0.0.8:1"
        );
        let event: Event =
            serde_json::from_str(r#"{"Action":"delete","Service":{"name":"greeter"}}"#).unwrap();
        assert_eq!(text(&event, now), "2023-11-14T22:13:20Z\tdelete\tgreeter");
    }
}
