//! Where NATS is, and what the registry says there.

use std::fmt;
use std::time::Duration;

use crate::error::Error;
use crate::nats::Servers;
use crate::registry::common::CALL_TIMEOUT;

/// How long answers to a query are waited for (go-micro's registry timeout).
const WINDOW: Duration = Duration::from_millis(100);

/// How long a node may be silent that says no time itself: three of go-micro's renewals, each after 30 s.
const SILENCE: Duration = Duration::from_secs(90);

/// The subjects of go-micro's registries: of v5 and v6, and of the plugins for v2 and v4.
const QUERY: [&str; 2] = ["micro.nats.query", "micro.registry.nats.query"];
const WATCH: [&str; 2] = ["micro.nats.watch", "micro.registry.nats.watch"];

#[derive(Clone)]
pub(super) struct Config {
    pub(super) servers: Servers,
    pub(super) query_subjects: Vec<String>,
    pub(super) watch_subjects: Vec<String>,
    pub(super) window: Duration,
    pub(super) silence: Duration,
    pub(super) timeout: Duration,
}

// ===== impl Config =====

impl Config {
    pub(super) fn new<A: AsRef<str>>(addresses: &[A]) -> Result<Config, Error> {
        Ok(Config {
            servers: Servers::new(addresses)?,
            query_subjects: QUERY.map(str::to_owned).into(),
            watch_subjects: WATCH.map(str::to_owned).into(),
            window: WINDOW,
            silence: SILENCE,
            timeout: CALL_TIMEOUT,
        })
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("servers", &self.servers)
            .field("query_subjects", &self.query_subjects)
            .field("watch_subjects", &self.watch_subjects)
            .field("window", &self.window)
            .field("silence", &self.silence)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// That this is a subject to publish on: parts without blanks and wildcards.
pub(super) fn check_subject(subject: &str) -> Result<(), Error> {
    let wrong = |part: &str| {
        part.is_empty()
            || part.contains(|c: char| c.is_whitespace() || c.is_control() || "*>".contains(c))
    };
    if subject.split('.').any(wrong) {
        return Err(Error::config(format_args!(
            "expected a NATS subject such as micro.nats.query, found {subject:?}"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_have_no_blanks_and_no_wildcards() {
        for bad in ["", "a..b", "a b", "a.*", "a.>", "a\n"] {
            assert!(check_subject(bad).is_err(), "{bad:?}");
        }
        assert!(check_subject("micro.nats.query").is_ok());
    }
}
