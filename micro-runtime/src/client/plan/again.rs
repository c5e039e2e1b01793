//! What comes after a failure: another node, another attempt, or the end.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{OPENING, Plan};
use crate::client::limit::{Limit, Over};
use crate::client::pool::{NoConnection, Pool};
use crate::client::receive::{Failure, Pushback};
use crate::interceptor::AttemptKind;
use crate::selector::{self, NoNode, Picked, Tried};
use crate::status::{Code, Status};

/// The pause before the call goes to a node again that it has been to; it grows. These are the first retry's
/// in the examples of gRPC's proposal A6, and the factor and the jitter of gRPC's connection back-off.
const PAUSE: Pause = Pause {
    first: Duration::from_millis(100),
    most: Duration::from_secs(120),
};

pub(super) struct Pause {
    pub(super) first: Duration,
    pub(super) most: Duration,
}

const FACTOR: f64 = 1.6;
const JITTER: f64 = 0.2;

// ===== impl Pause =====

impl Pause {
    /// The pause after so many before it.
    pub(super) fn after(&self, before: u32) -> Duration {
        let exponent = i32::try_from(before.min(32)).unwrap_or(32);
        let jitter = 1.0 - JITTER + 2.0 * JITTER * fastrand::f64();
        let pause = self.first.mul_f64(FACTOR.powi(exponent)).min(self.most);
        pause.mul_f64(jitter)
    }
}

// ===== impl Plan =====

impl Plan {
    /// Waits for as long as the server that answered last wants it.
    pub(super) async fn pushed_back(&mut self) -> Result<(), Status> {
        let Some(delay) = self.delay.take() else {
            return Ok(());
        };
        match self.limit.bound(sleep(delay)).await {
            Ok(()) => Ok(()),
            Err(over) => Err(self.over(over, format_args!("it waited to be sent again"))),
        }
    }

    pub(super) fn not_connected(
        &mut self,
        picked: Picked<Pool>,
        failed: &NoConnection,
        counted: bool,
    ) {
        let address = &picked.slot().node().address;
        let status = match &failed {
            NoConnection::Failed(broken) => {
                Status::unavailable(format_args!("no connection to node {address}: {broken}"))
            }
            NoConnection::BackingOff(broken, _) => Status::unavailable(format_args!(
                "no connection to node {address} a moment ago: {broken}"
            )),
            NoConnection::Crowded => Status::resource_exhausted(format_args!(
                "too many calls wait for a connection to node {address}"
            )),
        };
        self.last = Some(status.clone());
        self.answer = None;
        self.unreached |= !matches!(failed, NoConnection::Crowded);
        if !counted {
            self.tried.add(&picked);
        }
        match failed {
            NoConnection::Failed(_) => {
                self.attempts += u32::from(!counted);
                self.record(&picked, self.began, self.kind, Err(status));
                self.kind = AttemptKind::Transparent;
                picked.failed(selector::Failure::Connection);
            }
            // Nobody was asked anything: that was no attempt.
            NoConnection::BackingOff(_, again) => {
                if let Some(wait) = &mut self.wait {
                    wait.dial_at(*again);
                }
                drop(picked);
            }
            NoConnection::Crowded => drop(picked),
        }
    }

    /// Makes a node available, after none could be picked: looks the service up, or lets the call go to one
    /// that it has been to.
    pub(super) async fn find(
        &mut self,
        no_node: NoNode,
        opening: Option<&mut Limit>,
    ) -> Result<(), Status> {
        let no_node = if self.tried.len() == 0 && no_node.is_unknown() {
            match self.look_up(opening).await? {
                Ok(()) => return Ok(()),
                Err(no_node) => no_node,
            }
        } else if self.look_again(&no_node, opening).await? {
            return Ok(());
        } else {
            no_node
        };
        let pause = if self.repeating && self.tried.len() > 0 {
            self.revisits += 1;
            let pause = PAUSE.after(self.revisits - 1);
            if self.limit.left().is_some_and(|left| left <= pause) {
                return Err(self.exhausted(&no_node));
            }
            self.repeating = false;
            pause
        } else if self.wait_for_ready && self.answer.is_none() {
            return self.wait(&no_node).await;
        } else {
            return Err(self.exhausted(&no_node));
        };
        self.tried = Tried::default();
        match self.limit.bound(sleep(pause)).await {
            Ok(()) => Ok(()),
            Err(over) => Err(self.over(over, format_args!("a node was waited for: {no_node}"))),
        }
    }

    /// Whether the call may be made again after this failure; if so, it is prepared for that.
    pub(in crate::client) fn again(&mut self, failure: &Failure, picked: &Picked<Pool>) -> bool {
        let status = failure.at(picked);
        self.record(picked, self.began, self.kind, Err(status.clone()));
        self.report(failure, picked, self.began);
        let repeating = !failure.unprocessed;
        let again = if repeating {
            self.may_repeat(failure)
        } else {
            self.may_go_elsewhere()
        };
        if !again {
            return false;
        }
        self.repeating = repeating;
        if repeating {
            self.repeated += 1;
            self.kind = AttemptKind::Retry;
        } else {
            self.kind = AttemptKind::Transparent;
        }
        if failure.goodbye && failure.unprocessed && self.goodbyes == 0 {
            // It only closes this connection: the node is as good as any.
            self.goodbyes += 1;
        } else {
            self.tried.add(picked);
        }
        self.last = Some(status);
        self.answer = failure.answered.then(|| failure.status.clone());
        self.unreached |= failure.gone;
        true
    }

    /// Tells the service's gate of a failure, if it is one that a call is repeated for.
    pub(super) fn report(&self, failure: &Failure, picked: &Picked<Pool>, began: Instant) {
        let repeatable = failure.is_repeatable() || failure.pushback == Pushback::Never;
        if !self.safe || !repeatable {
            return;
        }
        let gate = self.target.gate();
        if failure.answered {
            gate.failed();
        } else {
            gate.lost(Arc::as_ptr(picked.slot()).addr(), began);
        }
    }

    /// Whether the call, which a node certainly did not process, may go to another. The first time it is
    /// free; when nodes refuse one after the other they are in trouble, and the budget bounds what that adds.
    pub(super) fn may_go_elsewhere(&mut self) -> bool {
        self.refused += 1;
        self.refused == 1 || self.target.gate().pay()
    }

    /// Whether the call, which may have been processed, may be made again. If so, it is paid for.
    fn may_repeat(&mut self, failure: &Failure) -> bool {
        if self.retries == 0 || !failure.is_repeatable() {
            return false;
        }
        let delay = match failure.pushback {
            Pushback::None => None,
            Pushback::After(delay) => Some(delay),
            Pushback::Never => return false,
        };
        if !self.can_wait(delay.unwrap_or_default()) {
            return false;
        }
        if !self.target.gate().repeat() {
            return false;
        }
        self.retries -= 1;
        self.delay = delay;
        true
    }

    /// Whether there is time for an attempt after this pause. A call without a deadline takes none that is longer
    /// than its own would ever be: a server may name 24 days.
    pub(super) fn can_wait(&self, pause: Duration) -> bool {
        match self.limit.left() {
            Some(left) => pause < left,
            None => pause <= PAUSE.most,
        }
    }

    /// The status of a call that its limit ended.
    pub(in crate::client) fn over(&self, over: Over, what: fmt::Arguments<'_>) -> Status {
        if self.limit.deadline().is_none() && over == Over::Deadline {
            return self.with_last(
                Code::Unavailable,
                format_args!("the call could not be opened within {OPENING:?}, while {what}"),
            );
        }
        let status = self.limit.status(over, what);
        self.with_last(status.code(), format_args!("{}", status.message()))
    }

    pub(super) fn exhausted(&mut self, no_node: &NoNode) -> Status {
        if let Some(answer) = self.answer.take() {
            return answer;
        }
        let code = match &self.last {
            Some(last) => last.code(),
            None => Code::Unavailable,
        };
        self.with_last(code, format_args!("{no_node}"))
    }

    fn with_last(&self, code: Code, text: fmt::Arguments<'_>) -> Status {
        match &self.last {
            Some(last) => Status::new(
                code,
                format_args!(
                    "{text}; attempts: {}, the last one: {}",
                    self.attempts,
                    last.message()
                ),
            ),
            None => Status::new(code, text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_limit() {
        let pauses = Pause {
            first: Duration::from_millis(20),
            most: Duration::from_millis(500),
        };
        for (before, millis) in [
            (0, 20.0),
            (1, 32.0),
            (4, 131.072),
            (10, 500.0),
            (1000, 500.0),
        ] {
            let pause = pauses.after(before).as_secs_f64() * 1000.0;
            let around = millis * (1.0 - JITTER)..=millis * (1.0 + JITTER);
            assert!(around.contains(&pause), "{before}: {pause} ms");
        }
        assert!(PAUSE.after(0) >= Duration::from_millis(80));
    }
}
