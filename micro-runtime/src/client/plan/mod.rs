//! [`Plan`]: what one call is to do, and how far it has come; its attempts.

mod again;
mod hedge;
mod wait;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, timeout};

use super::limit::{Limit, Over};
use super::policy::{Hedge, Policy};
use super::pool::{NoConnection, Pool, Terms, Unsent};
use super::receive::{Failure, Receiving};
use super::target::Target;
use crate::deadline::Deadline;
use crate::exchange::{Incoming, OutHead, Outgoing};
use crate::interceptor::{Attempt, AttemptKind, Attempts};
use crate::metadata::Metadata;
use crate::registry::Node;
use crate::selector::{self, Balancer, CallInfo, NoNode, Picked, Slot, Tried};
use crate::status::Status;
pub(super) use wait::Wait;

/// How long look-up, pick and connect may take for a call without a deadline.
const OPENING: Duration = Duration::from_secs(5);

/// How long a call waits for a connection to one node while it could go to another: a host that is cut off
/// answers nothing, and must not use up the call's time. The dial goes on by itself.
const PATIENCE: Duration = Duration::from_secs(1);

/// So many attempts of a call are kept for its reply.
const LOG: usize = 64;

/// A call in the making.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) target: Target,
    pub(super) balancer: Arc<Balancer<Pool>>,
    pub(super) path: Bytes,
    pub(super) metadata: Metadata,
    pub(super) limit: Limit,
    deadline: Option<Deadline>,
    /// Whether it may be made again although it may have been processed.
    safe: bool,
    /// How often that may be done yet.
    retries: u32,
    /// How often it was done: what servers are told.
    repeated: u32,
    wait_for_ready: bool,
    hedge: Option<Arc<Hedge>>,
    /// How often it was sent to a node, or a connection to a node was made for it.
    attempts: u32,
    /// When the attempt that is under way began, and why.
    began: Instant,
    kind: AttemptKind,
    /// The attempts that failed; if the caller asked for them, that which succeeded, too.
    log: Vec<Attempt>,
    pub(super) observed: bool,
    /// What interceptors see of them.
    pub(super) observer: Option<Attempts>,
    /// The time left when no time has passed: [`Limit::left`] at the start, without a look at the clock.
    pub(super) whole: Option<Duration>,
    /// A node that was picked and did not take the call at once.
    picked: Option<Picked<Pool>>,
    /// A node whose connection takes longer than [`PATIENCE`]; the call comes back to it when there is no
    /// other.
    slow: Option<Slow>,
    tried: Tried,
    /// How often a node refused it after it had been sent there.
    refused: u32,
    /// How often a goodbye was forgiven.
    goodbyes: u32,
    /// How often it went to a node again.
    revisits: u32,
    /// A node could not be reached since the registry was last asked for others …
    unreached: bool,
    /// … which delays the call's end until then at most.
    ask_until: Option<Instant>,
    /// Of a call that waits for a node.
    wait: Option<Wait>,
    /// How long the server that answered last wants it to wait.
    delay: Option<Duration>,
    /// The last attempt's failure is one that a call that is safe to repeat may be repeated for.
    repeating: bool,
    last: Option<Status>,
    /// The same, if it is a node's own answer: it is the best that can be told.
    answer: Option<Status>,
}

/// An attempt that waits for its connection while the call goes elsewhere.
#[derive(Debug)]
struct Slow {
    picked: Picked<Pool>,
    began: Instant,
    kind: AttemptKind,
}

/// An attempt that is under way.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) plan: Plan,
    pub(super) picked: Picked<Pool>,
    pub(super) out: Outgoing,
    pub(super) receiving: Receiving,
}

// ===== impl Plan =====

impl Plan {
    pub(super) fn new(
        target: Target,
        balancer: Arc<Balancer<Pool>>,
        path: Bytes,
        metadata: Metadata,
        limit: Limit,
        policy: Policy,
    ) -> Plan {
        let retries = policy.repeats.unwrap_or_default();
        target.gate().call(limit.started());
        Plan {
            target,
            balancer,
            path,
            metadata,
            whole: limit.whole(),
            deadline: limit.deadline(),
            began: limit.started(),
            limit,
            safe: retries > 0 || policy.hedge.is_some(),
            retries,
            repeated: 0,
            wait_for_ready: policy.wait_for_ready,
            hedge: policy.hedge,
            attempts: 0,
            kind: AttemptKind::First,
            log: Vec::new(),
            observed: false,
            observer: None,
            picked: None,
            slow: None,
            tried: Tried::default(),
            refused: 0,
            goodbyes: 0,
            revisits: 0,
            unreached: false,
            ask_until: None,
            wait: None,
            delay: None,
            repeating: false,
            last: None,
            answer: None,
        }
    }

    /// A stream has ended well.
    pub(super) fn ended_well(&self) {
        self.target.gate().succeeded();
    }

    /// Whether a unary call may be at several nodes at once.
    pub(super) fn is_hedged(&self) -> bool {
        self.hedge.is_some()
    }

    /// Opens the call without waiting; called once, when no time has passed yet.
    ///
    /// # Errors
    /// It cannot be opened at once; what was to be sent comes back.
    pub(super) fn try_open(
        mut self,
        first: Option<Bytes>,
        end: bool,
    ) -> Result<Opened, (Box<Plan>, Option<Bytes>)> {
        // No time has passed: the clock need not be asked again.
        let Ok(picked) = self.pick(Some(self.limit.started())) else {
            return Err((Box::new(self), first));
        };
        let slot = picked.slot();
        let pool = slot.payload();
        let head = self.head(slot, self.whole);
        match pool.try_open(slot, self.terms(), head, first, end) {
            Ok((out, incoming)) => {
                self.attempts += 1;
                Ok(self.opened(picked, out, incoming))
            }
            // The slow way goes on with this node: were it to pick anew, nodes without a connection would
            // never get one.
            Err(Unsent(first)) => {
                self.picked = Some(picked);
                Err((Box::new(self), first))
            }
        }
    }

    /// Opens the call, with look-up, connect and further nodes.
    ///
    /// # Errors
    /// The call is over.
    pub(super) async fn open(mut self, first: Option<Bytes>, end: bool) -> Result<Opened, Status> {
        self.pushed_back().await?;
        self.listen();
        let mut opening = match self.limit.deadline() {
            None if !self.wait_for_ready => Some(self.limit.at_most(OPENING)),
            _ => None,
        };
        loop {
            if let Some(over) = self.limit.check() {
                return Err(self.over(over, format_args!("the call was to be opened")));
            }
            let (picked, patient) = match self.picked.take().map_or_else(|| self.pick(None), Ok) {
                Ok(picked) => {
                    self.began = Instant::now();
                    (picked, false)
                }
                Err(no_node) => match self.slow.take() {
                    Some(slow) => {
                        self.began = slow.began;
                        self.kind = slow.kind;
                        (slow.picked, true)
                    }
                    None => {
                        self.find(no_node, opening.as_mut()).await?;
                        continue;
                    }
                },
            };
            let limit = opening.as_mut().unwrap_or(&mut self.limit);
            let connecting = Connecting {
                target: &self.target,
                slot: picked.slot(),
                path: &self.path,
                metadata: &self.metadata,
                deadline: self.deadline,
                repeated: self.repeated,
                first: &first,
                end,
                eager: picked.is_probe(),
            };
            let connecting = connecting.run();
            let bound = if patient {
                limit.bound(connecting).await.map(Ok)
            } else {
                limit.bound(timeout(PATIENCE, connecting)).await
            };
            match bound {
                Ok(Ok(Ok((out, incoming)))) => {
                    self.attempts += u32::from(!patient);
                    self.give_up_slow();
                    let mut picked = picked;
                    picked.sent();
                    return Ok(self.opened(picked, out, incoming));
                }
                Ok(Ok(Err(failed))) => self.not_connected(picked, &failed, patient),
                // There may be another node meanwhile.
                Ok(Err(_)) => {
                    self.attempts += 1;
                    self.tried.add(&picked);
                    self.is_slow(picked, self.began, self.kind);
                    self.kind = AttemptKind::Transparent;
                }
                Err(over) => {
                    self.attempts += u32::from(!patient);
                    let address = picked.slot().node().address.clone();
                    let status = self.over(
                        over,
                        format_args!("a connection to node {address} was made"),
                    );
                    self.record(&picked, self.began, self.kind, Err(status.clone()));
                    return Err(status);
                }
            }
        }
    }

    /// A connection takes long. The call comes back to it when there is no other node, but to one such alone.
    fn is_slow(&mut self, picked: Picked<Pool>, began: Instant, kind: AttemptKind) {
        self.give_up_slow();
        self.slow = Some(Slow {
            picked,
            began,
            kind,
        });
    }

    /// The call does not come back to the connection that takes long.
    fn give_up_slow(&mut self) {
        if let Some(Slow {
            picked,
            began,
            kind,
        }) = self.slow.take()
        {
            let status = Status::cancelled("no connection yet, the call went to another node");
            self.record(&picked, began, kind, Err(status));
        }
    }

    fn pick(&self, now: Option<Instant>) -> Result<Picked<Pool>, NoNode> {
        // The path was made of text.
        let path = std::str::from_utf8(&self.path).unwrap_or_default();
        let mut call = CallInfo::new(self.target.name(), path).with_metadata(&self.metadata);
        if self.tried.len() > 0 {
            call = call.with_tried(&self.tried);
        }
        if let Some(now) = now {
            call = call.at(now.into_std());
        }
        self.balancer.pick(&call)
    }

    fn head(&self, slot: &Slot<Pool>, left: Option<Duration>) -> OutHead {
        let authority = slot.payload().authority(slot);
        let heads = self.target.settings().heads;
        heads.request(
            self.path.clone(),
            authority,
            left,
            self.repeated,
            &self.metadata,
        )
    }

    fn terms(&self) -> Terms {
        Terms {
            max_connections: self.target.settings().max_connections,
        }
    }

    fn opened(self, picked: Picked<Pool>, out: Outgoing, incoming: Incoming) -> Opened {
        let settings = self.target.settings();
        let receiving = Receiving::new(incoming, settings.content_type, settings.max_reply);
        Opened {
            plan: self,
            picked,
            out,
            receiving,
        }
    }

    /// The call has succeeded at this node.
    fn succeeded(&mut self, picked: &Picked<Pool>) {
        self.target.gate().succeeded();
        if self.observed {
            self.record(picked, self.began, self.kind, Ok(()));
        }
    }

    /// An attempt has ended.
    fn record(
        &mut self,
        picked: &Picked<Pool>,
        began: Instant,
        kind: AttemptKind,
        result: Result<(), Status>,
    ) {
        let attempt = Attempt {
            node: Arc::clone(&picked.slot().node()),
            kind,
            began: began.saturating_duration_since(self.limit.started()),
            duration: began.elapsed(),
            result,
        };
        if let Some(observer) = &self.observer {
            observer.push(attempt.clone());
        }
        if self.log.len() < LOG {
            self.log.push(attempt);
        }
    }
}

/// The way to a connection to one node.
struct Connecting<'a> {
    target: &'a Target,
    slot: &'a Arc<Slot<Pool>>,
    path: &'a Bytes,
    metadata: &'a Metadata,
    deadline: Option<Deadline>,
    repeated: u32,
    first: &'a Option<Bytes>,
    end: bool,
    eager: bool,
}

impl Connecting<'_> {
    async fn run(self) -> Result<(Outgoing, Incoming), NoConnection> {
        let settings = self.target.settings();
        let terms = Terms {
            max_connections: settings.max_connections,
        };
        let pool = self.slot.payload();
        let authority = pool.authority(self.slot);
        // Made when it is sent: it says how much time is left then.
        let head = || {
            let left = self.deadline.map(Deadline::left);
            let (path, authority) = (self.path.clone(), authority.clone());
            let heads = settings.heads;
            heads.request(path, authority, left, self.repeated, self.metadata)
        };
        let first = self.first.clone();
        pool.open(self.slot, terms, head, first, self.end, self.eager)
            .await
    }
}

/// The reply of a unary call.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) message: Bytes,
    pub(super) receiving: Receiving,
    pub(super) node: Arc<Node>,
    pub(super) attempts: Vec<Attempt>,
}

/// Makes a unary call to its end, with as many attempts as it may have.
pub(super) async fn unary(mut plan: Plan, body: Bytes) -> Result<Reply, Status> {
    if let Some(hedge) = plan.hedge.take() {
        // Boxed, so that calls that are not hedged need no room for it.
        return Box::pin(hedge::unary(plan, body, hedge)).await;
    }
    loop {
        let mut opened = plan.open(Some(body.clone()), true).await?;
        let mut kept = None;
        let receiving = &mut opened.receiving;
        let reply = std::future::poll_fn(|cx| receiving.poll_single(&mut kept, cx));
        let reply = opened.plan.limit.bound(reply).await;
        match reply {
            Ok(Ok(message)) => return Ok(opened.succeeded(message)),
            Ok(Err(failure)) => plan = opened.again(&failure)?,
            Err(over) => return Err(opened.timed_out(over)),
        }
    }
}

// ===== impl Opened =====

impl Opened {
    /// The reply is there.
    pub(super) fn succeeded(mut self, message: Bytes) -> Reply {
        let node = Arc::clone(&self.picked.slot().node());
        self.plan.succeeded(&self.picked);
        self.picked.succeeded();
        Reply {
            message,
            receiving: self.receiving,
            node,
            attempts: self.plan.log,
        }
    }

    /// A stream was opened, which is all that its interceptors see.
    pub(super) fn observe(&mut self) {
        let plan = &mut self.plan;
        plan.record(&self.picked, plan.began, plan.kind, Ok(()));
        plan.observer = None;
    }

    /// The attempt has failed: gives the call back if it may be made again, or its status.
    pub(super) fn again(self, failure: &Failure) -> Result<Plan, Status> {
        let Opened {
            mut plan, picked, ..
        } = self;
        let again = plan.again(failure, &picked);
        let status = failure.at(&picked);
        picked.failed(failure.report());
        if again {
            Ok(plan)
        } else {
            Err(plan.limit.correct(status))
        }
    }

    /// The call is over before its reply.
    pub(super) fn timed_out(mut self, over: Over) -> Status {
        let address = self.picked.slot().node().address.clone();
        let plan = &mut self.plan;
        let status = plan.over(
            over,
            format_args!("it waited for the reply of node {address}"),
        );
        plan.record(&self.picked, plan.began, plan.kind, Err(status.clone()));
        if over == Over::Deadline {
            self.picked.failed(selector::Failure::TimedOut);
        }
        status
    }
}
