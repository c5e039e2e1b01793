//! [`Lookup`]: asking for something until there is an answer, or time is up.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::name::Name;
use crate::error::Error;
use crate::registry::Service;

/// When the question is asked, counted from the start. go-micro asks once.
const QUERIES: [Duration; 4] = [
    Duration::ZERO,
    Duration::from_millis(100),
    Duration::from_millis(300),
    Duration::from_millis(700),
];

/// When silence is taken for "none seen".
pub(super) const GIVE_UP: Duration = Duration::from_millis(1500);

/// How long other nodes are waited for after the first complete answer.
const SETTLE: Duration = Duration::from_millis(50);

/// The same for the list of services, which every host has a part of: long enough for the second query.
const SETTLE_LIST: Duration = Duration::from_millis(200);

/// The most names of a list.
const MAX_NAMES: usize = 4096;

/// What is looked up.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    /// The nodes of a service.
    Service(String),
    /// The names of all services.
    List,
}

/// Where the result goes.
pub(super) type Reply = oneshot::Sender<Result<Vec<Service>, Error>>;

/// A look-up under way, shared by all who ask for the same at the same time.
#[derive(Debug)]
pub(super) struct Lookup {
    /// The name to ask for.
    pub(super) name: Name,
    /// How many queries had left this process when it began.
    pub(super) sent_before: u64,
    /// For the list: the names so far.
    pub(super) names: BTreeSet<String>,
    started: Instant,
    asked: usize,
    settled: Option<Instant>,
    replies: Vec<Reply>,
}

/// What a look-up wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// To wait.
    Wait,
    /// The question to be asked.
    Ask,
    /// To end.
    End,
}

// ===== impl Lookup =====

impl Lookup {
    pub(super) fn new(now: Instant, name: Name, sent_before: u64) -> Lookup {
        Lookup {
            name,
            sent_before,
            names: BTreeSet::new(),
            started: now,
            asked: 0,
            settled: None,
            replies: Vec::new(),
        }
    }

    /// Adds someone who asks for the same.
    pub(super) fn join(&mut self, reply: Reply) {
        self.replies.push(reply);
    }

    /// A node has answered in full.
    pub(super) fn answered(&mut self, now: Instant) {
        self.settled.get_or_insert(now + SETTLE);
    }

    /// A host has told its part of the list.
    pub(super) fn listed(&mut self, now: Instant, names: &BTreeSet<String>) {
        self.settled.get_or_insert(now + SETTLE_LIST);
        let room = MAX_NAMES.saturating_sub(self.names.len());
        self.names.extend(names.iter().take(room).cloned());
    }

    /// When [`step`](Lookup::step) is to be called next.
    pub(super) fn next(&self) -> Instant {
        let end = self.settled.unwrap_or(self.started + GIVE_UP);
        match QUERIES.get(self.asked) {
            Some(offset) => end.min(self.started + *offset),
            None => end,
        }
    }

    /// What to do now; asking counts as done.
    pub(super) fn step(&mut self, now: Instant) -> Step {
        self.replies.retain(|reply| !reply.is_closed());
        let over = self.settled.unwrap_or(self.started + GIVE_UP) <= now;
        if over || self.replies.is_empty() {
            return Step::End;
        }
        let due = QUERIES
            .iter()
            .filter(|offset| self.started + **offset <= now);
        let due = due.count();
        if due > self.asked {
            self.asked = due;
            return Step::Ask;
        }
        Step::Wait
    }

    /// Ends it with this result.
    pub(super) fn finish(self, result: &Result<Vec<Service>, String>) {
        for reply in self.replies {
            // Whoever asked may have stopped waiting.
            let _ = reply.send(result.clone().map_err(Error::registry));
        }
    }
}
