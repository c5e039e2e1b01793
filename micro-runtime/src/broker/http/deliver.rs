//! [`Job`]: one event to one subscriber, or to one of a queue.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::directory::{Directory, Group, Sent, Target};
use crate::backoff::Backoff;
use crate::deadline::Deadline;

/// Between attempts.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What has to be done for one event.
pub(super) struct Job {
    directory: Arc<Directory>,
    topic: String,
    to: To,
    deadline: Deadline,
    retries: bool,
}

enum To {
    /// This one.
    Subscriber(Arc<Target>),
    /// Any of these, who are of this queue.
    Queue(String, Vec<Arc<Target>>),
}

/// What a round of attempts came to.
#[derive(Default)]
struct Round {
    /// Another round may end otherwise.
    again: bool,
    /// Whoever was not asked may have the event.
    goes_on: bool,
    why: Vec<String>,
    /// Who was asked, in this round or before.
    asked: Vec<Arc<Target>>,
}

// ===== impl Round =====

impl Round {
    fn has_asked(&self, target: &Arc<Target>) -> bool {
        self.asked.iter().any(|asked| Arc::ptr_eq(asked, target))
    }
}

// ===== impl Job =====

impl Job {
    /// What an event means for a group of subscribers: each of them, or one.
    pub(super) fn new(
        directory: &Arc<Directory>,
        topic: &str,
        group: &Group,
        deadline: Deadline,
        retries: bool,
    ) -> Vec<Job> {
        let job = |to| Job {
            directory: Arc::clone(directory),
            topic: topic.to_owned(),
            to,
            deadline,
            retries,
        };
        match &group.queue {
            Some(queue) => vec![job(To::Queue(queue.clone(), group.targets.clone()))],
            None => group
                .targets
                .iter()
                .map(|target| job(To::Subscriber(Arc::clone(target))))
                .collect(),
        }
    }

    /// Delivers the event; says whether anybody has taken it: nobody has if all who might have left meanwhile.
    ///
    /// # Errors
    /// Who did not take it, and why.
    pub(super) async fn deliver(&mut self, body: &Bytes) -> Result<bool, String> {
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let mut round = Round::default();
        let mut before = String::new();
        loop {
            round = Round {
                asked: round.asked,
                ..Round::default()
            };
            if self.round(body, &mut round).await {
                return Ok(true);
            }
            // Rare, and large.
            if !Box::pin(self.anybody_left()).await {
                return Ok(false);
            }
            // Who came meanwhile is asked at once.
            if round.goes_on && self.order().iter().any(|target| !round.has_asked(target)) {
                continue;
            }
            let pause = backoff.next();
            let why = round.why.join("; ");
            if !round.again || self.deadline.left() <= pause {
                // The last round may have had no time for more than to say so.
                return Err(match before.as_str() {
                    "" => why,
                    before if before == why => why,
                    before => format!("{why}; before that: {before}"),
                });
            }
            before = why;
            tokio::time::sleep(pause).await;
        }
    }

    /// Tries everybody once; says whether one has taken it.
    async fn round(&self, body: &Bytes, round: &mut Round) -> bool {
        for target in self.order() {
            let sent = target.send(body, self.deadline).await;
            if !round.has_asked(&target) {
                round.asked.push(target);
            }
            match sent {
                Sent::Taken => return true,
                Sent::Busy(why) => {
                    round.again = true;
                    round.why.push(why);
                }
                Sent::Gone(why) | Sent::Refused(why) => {
                    round.again |= self.retries;
                    round.why.push(why);
                }
                Sent::Failed(why) | Sent::Unknown(why) => {
                    round.again |= self.retries;
                    round.why.push(why);
                    // Another one would have it a second time.
                    if !self.retries {
                        round.again = false;
                        return false;
                    }
                }
            }
            if self.deadline.has_passed() {
                return false;
            }
        }
        round.goes_on = true;
        false
    }

    /// Who is tried, one after the other: from a random one on, those last who were not there last time.
    fn order(&self) -> Vec<Arc<Target>> {
        match &self.to {
            To::Subscriber(target) => vec![Arc::clone(target)],
            To::Queue(_, members) => {
                let mut order = members.clone();
                if !order.is_empty() {
                    order.rotate_left(fastrand::usize(..members.len()));
                }
                order.sort_by_key(|target| target.is_gone());
                order
            }
        }
    }

    /// Whether there is still anybody to have the event, as the registry tells by now.
    async fn anybody_left(&mut self) -> bool {
        match &mut self.to {
            To::Subscriber(target) => !self.directory.has_left(target, self.deadline).await,
            To::Queue(queue, members) => {
                for member in members.iter() {
                    if !self.directory.has_left(member, self.deadline).await {
                        let now = self.directory.members(&self.topic, Some(queue));
                        if !now.is_empty() {
                            *members = now;
                        }
                        return true;
                    }
                }
                // Others may have come.
                *members = self.directory.members(&self.topic, Some(queue));
                !members.is_empty()
            }
        }
    }
}
