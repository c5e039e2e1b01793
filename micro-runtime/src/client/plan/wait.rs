//! How a call that finds no node waits for one, or has the registry asked for more of them.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::again::Pause;
use super::{OPENING, Plan};
use crate::client::limit::{Limit, Over};
use crate::deadline::Deadline;
use crate::selector::{News, NoNode, Tried};
use crate::status::Status;

/// How much later a call fails at most because the registry is asked for further nodes before: far above what an
/// answer takes, and little beside a connection that is given up.
const ASK: Duration = Duration::from_millis(250);

/// How often a call that waits looks for a node although it has heard nothing: for what nobody tells of, such as
/// room in a line, or a registry without a watch.
const BACKSTOP: Pause = Pause {
    first: Duration::from_millis(100),
    most: Duration::from_secs(1),
};

/// So much news in a row is heard at once: a node is dialled, then probed, and only then there for everybody.
const BURST: u32 = 3;

/// The least time between two looks after that, however much is heard: a node that comes and goes must not keep a
/// call busy.
const REST: Pause = Pause {
    first: Duration::from_millis(20),
    most: Duration::from_millis(500),
};

/// The wait of a call for a node that takes it.
#[derive(Debug)]
pub(in crate::client) struct Wait {
    news: News,
    /// When the call last began to look for a node.
    looked: Instant,
    /// How often it has waited.
    waits: u32,
    /// How often it has heard news since it was last quiet.
    wakes: u32,
    /// When a node may be dialled again that was passed over.
    dial_at: Option<Instant>,
}

// ===== impl Wait =====

impl Wait {
    /// Begins to listen. What happens from now on ends the first wait, so that nothing is missed.
    pub(in crate::client) fn new(news: News) -> Wait {
        Wait {
            news,
            looked: Instant::now(),
            waits: 0,
            wakes: 0,
            dial_at: None,
        }
    }

    /// A node was passed over that may be dialled again then.
    pub(super) fn dial_at(&mut self, instant: Instant) {
        self.dial_at = Some(self.dial_at.map_or(instant, |at| at.min(instant)));
    }

    /// Ready when it is worth while to look for a node again.
    ///
    /// # Cancel safety
    /// Dropping the future loses no news.
    pub(in crate::client) async fn again(&mut self, no_node: &NoNode) {
        let now = Instant::now();
        let backstop = now + BACKSTOP.after(self.waits);
        // What is known to become possible then, though nobody will say so.
        let probe = no_node.probe_in().map(|after| now + after);
        let due = [probe, self.dial_at.take()].into_iter().flatten();
        let until = due.fold(backstop, Instant::min);
        let heard = self.news.until(until).await;
        if now.elapsed() >= REST.most {
            self.wakes = 0;
        }
        let rest = match self.wakes.checked_sub(BURST) {
            Some(before) if heard => REST.after(before),
            None if heard => Duration::ZERO,
            _ => REST.first,
        };
        self.wakes = self.wakes.saturating_add(heard.into());
        sleep_until(self.looked + rest).await;
        self.waits = self.waits.saturating_add(1);
        self.looked = Instant::now();
    }
}

// ===== impl Plan =====

impl Plan {
    /// Called before the first look for a node by a call that may wait for one.
    pub(super) fn listen(&mut self) {
        if self.wait_for_ready && self.wait.is_none() {
            self.wait = Some(Wait::new(self.balancer.news()));
        }
    }

    /// Waits until it is worth while to look for a node again.
    pub(super) async fn wait(&mut self, no_node: &NoNode) -> Result<(), Status> {
        self.tried = Tried::default();
        let balancer = &self.balancer;
        let wait = self.wait.get_or_insert_with(|| Wait::new(balancer.news()));
        match self.limit.bound(wait.again(no_node)).await {
            Ok(()) => Ok(()),
            Err(over) => Err(self.over(over, format_args!("a node was waited for: {no_node}"))),
        }
    }

    /// Has the registry asked for nodes beyond those that the call has been to, if one of these could not be
    /// reached since that was last done. Says whether there is one now.
    pub(super) async fn look_again(
        &mut self,
        no_node: &NoNode,
        opening: Option<&mut Limit>,
    ) -> Result<bool, Status> {
        if !std::mem::take(&mut self.unreached) || no_node.is_declined() {
            return Ok(false);
        }
        let now = Instant::now();
        // At first an answer serves that came while the call was made, as that to its own look-up did.
        let since = match self.ask_until {
            None => self.limit.started(),
            Some(_) => now,
        };
        let until = *self.ask_until.get_or_insert(now + ASK);
        // A call that waits has all the time there is.
        let until = if self.wait.is_some() {
            now + ASK
        } else {
            until
        };
        if until <= now {
            return Ok(false);
        }
        let limit = opening.unwrap_or(&mut self.limit);
        let deadline = Deadline::at(until).earlier(limit.deadline());
        // Who found out only now that a node is gone wants an answer that is younger than that.
        let patient = self.attempts > 0 && self.wait.is_none();
        let asking = self
            .balancer
            .look_again(&self.tried, since, patient, deadline);
        match limit.bound(asking).await {
            Ok(found) => Ok(found),
            // There was no time for it: the call ends as it would have ended without.
            Err(Over::Deadline) => Ok(false),
            Err(over) => Err(self.over(over, format_args!("the registry was asked for nodes"))),
        }
    }

    pub(super) async fn look_up(
        &mut self,
        opening: Option<&mut Limit>,
    ) -> Result<Result<(), NoNode>, Status> {
        let limit = opening.unwrap_or(&mut self.limit);
        // Without a deadline only a call that waits for ever comes here, and asks again and again.
        let deadline = limit.deadline().unwrap_or_else(|| Deadline::after(OPENING));
        match limit.bound(self.balancer.ready(deadline)).await {
            Ok(found) => Ok(found),
            Err(over) => {
                let registry = self.target.registry_name();
                let name = self.balancer.name();
                Err(self.over(
                    over,
                    format_args!("service {name:?} was looked up in the registry {registry}"),
                ))
            }
        }
    }
}
