//! [`Outage`]: what is logged about a server that is away.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

/// How often it is said that a server is still away.
const AGAIN: Duration = Duration::from_secs(30);

/// Says when a server is away, every 30 s that it still is, and when it is back.
#[derive(Debug)]
pub(crate) struct Outage {
    /// What is away, and what for: `redis (publishing)`.
    what: String,
    began: Option<Instant>,
    told: Option<Instant>,
}

// ===== impl Outage =====

impl Outage {
    pub(crate) fn new(what: impl Into<String>) -> Outage {
        Outage {
            what: what.into(),
            began: None,
            told: None,
        }
    }

    /// It failed again.
    pub(crate) fn goes_on(&mut self, why: impl fmt::Display) {
        let now = Instant::now();
        self.began.get_or_insert(now);
        if self.told.is_none_or(|told| now - told >= AGAIN) {
            self.told = Some(now);
            warn!(what = %self.what, %why, "a broker cannot be used, it is tried on");
        }
    }

    /// It works.
    pub(crate) fn is_over(&mut self) {
        if let Some(began) = self.began.take() {
            info!(what = %self.what, after = ?began.elapsed(), "a broker can be used again");
        }
        self.told = None;
    }
}
