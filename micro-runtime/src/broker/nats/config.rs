//! [`Config`]: where NATS is, and what its streams are to be like.

use std::fmt;
use std::time::Duration;

use crate::error::Error;
use crate::nats::Servers;

/// The longest name of a stream or a consumer (the server's `JSMaxNameLen`).
pub(super) const NAME_MAX: usize = 255;

/// How long streams of ours keep events, unless told otherwise: as long as Kafka's topics do.
const MAX_AGE: Duration = Duration::from_secs(7 * 24 * 3600);

#[derive(Clone)]
pub(super) struct Config {
    pub(super) servers: Servers,
    /// Streams that the user has named.
    pub(super) streams: Vec<Named>,
    /// Whether a stream may be in memory.
    pub(super) memory: bool,
    pub(super) replicas: Option<usize>,
    pub(super) max_age: Option<Duration>,
    pub(super) max_bytes: Option<u64>,
    pub(super) double_ack: bool,
    pub(super) inbox_prefix: Option<String>,
}

/// A stream by name, with the subjects it has.
#[derive(Clone, Debug)]
pub(super) struct Named {
    pub(super) name: String,
    pub(super) subjects: Vec<String>,
}

// ===== impl Config =====

impl Config {
    pub(super) fn new<A: AsRef<str>>(addresses: &[A]) -> Result<Config, Error> {
        Ok(Config {
            servers: Servers::new(addresses)?,
            streams: Vec::new(),
            memory: false,
            replicas: None,
            max_age: None,
            max_bytes: None,
            double_ack: false,
            inbox_prefix: None,
        })
    }

    /// How long streams that are made keep events; zero is for ever.
    pub(super) fn age(&self) -> Duration {
        self.max_age.unwrap_or(MAX_AGE)
    }

    /// The named stream for this topic.
    pub(super) fn named(&self, topic: &str) -> Option<&Named> {
        let covers = |named: &&Named| named.subjects.iter().any(|subject| covers(subject, topic));
        self.streams.iter().find(covers)
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("servers", &self.servers)
            .field("streams", &self.streams)
            .field("memory", &self.memory)
            .field("replicas", &self.replicas)
            .field("max_age", &self.max_age)
            .field("max_bytes", &self.max_bytes)
            .field("double_ack", &self.double_ack)
            .field("inbox_prefix", &self.inbox_prefix)
            .finish()
    }
}

/// Whether a subject, which may have wildcards, has this topic.
pub(super) fn covers(subject: &str, topic: &str) -> bool {
    let mut parts = topic.split('.');
    let mut wanted = subject.split('.').peekable();
    while let Some(part) = wanted.next() {
        if part == ">" && wanted.peek().is_none() {
            return parts.next().is_some();
        }
        match parts.next() {
            Some(found) if part == "*" || part == found => {}
            _ => return false,
        }
    }
    parts.next().is_none()
}

/// That this can be the name of a stream.
pub(super) fn check_name(name: &str) -> Result<(), Error> {
    let wrong = |c: char| c.is_whitespace() || c.is_control() || ".*>/\\".contains(c);
    if name.is_empty() || name.len() > NAME_MAX || name.contains(wrong) {
        return Err(Error::config(format_args!(
            "expected a stream's name of 1 to {NAME_MAX} characters without blanks and any of . * > / \\, found {:?}",
            name.chars().take(300).collect::<String>()
        )));
    }
    Ok(())
}

/// That this is a subject; with `wildcards` it may have some.
pub(super) fn check_subject(subject: &str, wildcards: bool) -> Result<(), Error> {
    let count = subject.split('.').count();
    let wrong = |(at, part): (usize, &str)| match part {
        "" => true,
        "*" => !wildcards,
        ">" => !wildcards || at + 1 < count,
        _ => part.contains(|c: char| c.is_whitespace() || c.is_control() || "*>".contains(c)),
    };
    if subject.split('.').enumerate().any(wrong) {
        return Err(Error::config(format_args!(
            "expected a subject of NATS such as orders.placed{}, found {subject:?}",
            if wildcards { " or orders.>" } else { "" }
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_cover_topics_as_the_server_says() {
        for (subject, topic, expected) in [
            ("a.b", "a.b", true),
            ("a.b", "a", false),
            ("a", "a.b", false),
            ("a.*", "a.b", true),
            ("a.*", "a.b.c", false),
            ("a.>", "a.b.c", true),
            ("a.>", "a", false),
            (">", "a", true),
            ("*.b", "a.b", true),
            ("*.c", "a.b", false),
        ] {
            assert_eq!(covers(subject, topic), expected, "{subject} {topic}");
        }
    }

    #[test]
    fn names_and_subjects_that_cannot_be_are_errors() {
        assert!(check_name("ORDERS-1=x").is_ok());
        for bad in ["", "a.b", "a b", "a*", "a/b", &"x".repeat(256)] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
        assert!(check_subject("a.*.>", true).is_ok());
        for bad in ["", "a.", "a.>.b", "a b", "a*"] {
            assert!(check_subject(bad, true).is_err(), "{bad:?}");
        }
        assert!(check_subject("a.>", false).is_err());
    }
}
