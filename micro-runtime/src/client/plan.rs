//! [`Plan`]: what one call is to do, and how far it has come; its attempts.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, timeout};

use super::limit::{Limit, Over};
use super::pool::{NoConnection, Pool, Terms, Unsent};
use super::receive::{Failure, Receiving};
use super::target::Target;
use crate::deadline::Deadline;
use crate::exchange::{Incoming, OutHead, Outgoing};
use crate::metadata::Metadata;
use crate::registry::Node;
use crate::selector::{self, Balancer, CallInfo, NoNode, Picked, Slot, Tried};
use crate::status::{Code, Status};

/// How long look-up, pick and connect may take for a call without a deadline.
const OPENING: Duration = Duration::from_secs(5);

/// How long a call waits for a connection to one node while it could go to another: a host that is cut off
/// answers nothing, and must not use up the call's time. The dial goes on by itself.
const PATIENCE: Duration = Duration::from_secs(1);

/// The pause before the call goes to a node again that it has been to; grows by [`PAUSE_FACTOR`].
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_FACTOR: f64 = 1.6;
const PAUSE_JITTER: f64 = 0.2;

/// A call in the making.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) target: Target,
    pub(super) balancer: Arc<Balancer<Pool>>,
    pub(super) path: Bytes,
    pub(super) metadata: Metadata,
    pub(super) limit: Limit,
    deadline: Option<Deadline>,
    /// How often it may be made again although it may have been processed; 0 if it is not safe to repeat.
    pub(super) retries: u32,
    /// How often it was sent, or was to be sent, to a node.
    pub(super) attempts: u32,
    /// The time left when no time has passed: [`Limit::left`] at the start, without a look at the clock.
    pub(super) whole: Option<Duration>,
    /// A node that was picked and did not take the call at once.
    picked: Option<Picked<Pool>>,
    /// A node whose connection takes longer than [`PATIENCE`]; the call comes back to it when there is no
    /// other.
    slow: Option<Picked<Pool>>,
    tried: Tried,
    /// How often a goodbye was forgiven.
    goodbyes: u32,
    /// How often it went to a node again.
    revisits: u32,
    /// The last attempt's failure is one that a call that is safe to repeat may be repeated for.
    repeating: bool,
    last: Option<Status>,
    /// The same, if it is a node's own answer: it is the best that can be told.
    answer: Option<Status>,
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
        retries: u32,
    ) -> Plan {
        Plan {
            target,
            balancer,
            path,
            metadata,
            whole: limit.whole(),
            deadline: limit.deadline(),
            limit,
            retries,
            attempts: 0,
            picked: None,
            slow: None,
            tried: Tried::default(),
            goodbyes: 0,
            revisits: 0,
            repeating: false,
            last: None,
            answer: None,
        }
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
        let mut opening = match self.limit.deadline() {
            Some(_) => None,
            None => Some(self.limit.at_most(OPENING)),
        };
        loop {
            if let Some(over) = self.limit.check() {
                return Err(self.over(over, format_args!("the call was to be opened")));
            }
            let (picked, patient) = match self.picked.take().map_or_else(|| self.pick(None), Ok) {
                Ok(picked) => (picked, false),
                Err(no_node) => match self.slow.take() {
                    Some(picked) => (picked, true),
                    None => {
                        self.find(no_node, opening.as_mut()).await?;
                        continue;
                    }
                },
            };
            self.attempts += u32::from(!patient);
            let limit = opening.as_mut().unwrap_or(&mut self.limit);
            let connecting = Connecting {
                target: &self.target,
                slot: picked.slot(),
                path: &self.path,
                metadata: &self.metadata,
                deadline: self.deadline,
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
                    let mut picked = picked;
                    picked.sent();
                    self.slow = None;
                    return Ok(self.opened(picked, out, incoming));
                }
                Ok(Ok(Err(failed))) => self.not_connected(picked, &failed, patient),
                // There may be another node meanwhile.
                Ok(Err(_)) => {
                    self.tried.add(&picked);
                    self.slow = Some(picked);
                }
                Err(over) => {
                    let address = &picked.slot().node().address;
                    return Err(self.over(
                        over,
                        format_args!("a connection to node {address} was made"),
                    ));
                }
            }
        }
    }

    fn not_connected(&mut self, picked: Picked<Pool>, failed: &NoConnection, counted: bool) {
        let address = &picked.slot().node().address;
        self.last = Some(match &failed {
            NoConnection::Failed(broken) => {
                Status::unavailable(format_args!("no connection to node {address}: {broken}"))
            }
            NoConnection::BackingOff(broken) => Status::unavailable(format_args!(
                "no connection to node {address} a moment ago: {broken}"
            )),
            NoConnection::Crowded => Status::resource_exhausted(format_args!(
                "too many calls wait for a connection to node {address}"
            )),
        });
        self.answer = None;
        self.repeating = false;
        if !counted {
            self.tried.add(&picked);
        }
        match failed {
            NoConnection::Failed(_) => picked.failed(selector::Failure::Connection),
            NoConnection::BackingOff(_) | NoConnection::Crowded => drop(picked),
        }
    }

    /// Makes a node available, after none could be picked: looks the service up, or lets the call go to one
    /// that it has been to.
    async fn find(&mut self, no_node: NoNode, opening: Option<&mut Limit>) -> Result<(), Status> {
        if self.tried.len() > 0 {
            if self.repeating {
                let pause = self.pause();
                if self.limit.left().is_none_or(|left| left > pause) {
                    self.revisits += 1;
                    self.repeating = false;
                    self.tried = Tried::default();
                    if let Err(over) = self.limit.bound(tokio::time::sleep(pause)).await {
                        return Err(self.over(over, format_args!("it waited to be sent again")));
                    }
                    return Ok(());
                }
            }
            return Err(self.exhausted(&no_node));
        }
        if !no_node.is_unknown() {
            return Err(self.exhausted(&no_node));
        }
        let limit = opening.unwrap_or(&mut self.limit);
        // The one or the other has a deadline.
        let deadline = limit.deadline().unwrap_or_else(|| Deadline::after(OPENING));
        match limit.bound(self.balancer.ready(deadline)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(no_node)) => Err(self.exhausted(&no_node)),
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

    /// Whether the call may be made again after this failure; if so, it is prepared for that.
    pub(super) fn again(&mut self, failure: &Failure, picked: &Picked<Pool>) -> bool {
        let repeats = failure.status.code() == Code::Unavailable
            && !failure.committed
            && self.retries > 0
            && !failure.unprocessed;
        if !failure.unprocessed && !repeats {
            return false;
        }
        if repeats {
            self.retries -= 1;
        }
        self.repeating = repeats;
        if failure.goodbye && failure.unprocessed && self.goodbyes == 0 {
            // It only closes this connection: the node is as good as any.
            self.goodbyes += 1;
        } else {
            self.tried.add(picked);
        }
        self.last = Some(failure.at(picked));
        self.answer = failure.answered.then(|| failure.status.clone());
        true
    }

    /// The status of a call that its limit ended.
    pub(super) fn over(&self, over: Over, what: std::fmt::Arguments<'_>) -> Status {
        if self.limit.deadline().is_none() && over == Over::Deadline {
            return self.with_last(
                Code::Unavailable,
                format_args!("the call could not be opened within {OPENING:?}, while {what}"),
            );
        }
        let status = self.limit.status(over, what);
        self.with_last(status.code(), format_args!("{}", status.message()))
    }

    fn exhausted(&mut self, no_node: &NoNode) -> Status {
        if let Some(answer) = self.answer.take() {
            return answer;
        }
        let code = match &self.last {
            Some(last) => last.code(),
            None => Code::Unavailable,
        };
        self.with_last(code, format_args!("{no_node}"))
    }

    fn with_last(&self, code: Code, text: std::fmt::Arguments<'_>) -> Status {
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

    fn pick(&self, now: Option<Instant>) -> Result<Picked<Pool>, NoNode> {
        // The path was made of text.
        let path = std::str::from_utf8(&self.path).unwrap_or_default();
        let mut call = CallInfo::new(self.target.name(), path).with_metadata(&self.metadata);
        if self.tried.len() > 0 {
            call = call.with_tried(&self.tried);
        }
        if let Some(now) = now {
            call = call.at(now);
        }
        self.balancer.pick(&call)
    }

    fn head(&self, slot: &Slot<Pool>, left: Option<Duration>) -> OutHead {
        let authority = slot.payload().authority(slot);
        let heads = self.target.settings().heads;
        heads.request(self.path.clone(), authority, left, &self.metadata)
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

    fn pause(&self) -> Duration {
        let exponent = i32::try_from(self.revisits.min(16)).unwrap_or(16);
        let jitter = 1.0 - PAUSE_JITTER + 2.0 * PAUSE_JITTER * fastrand::f64();
        PAUSE.mul_f64(PAUSE_FACTOR.powi(exponent) * jitter)
    }
}

/// The way to a connection to one node.
struct Connecting<'a> {
    target: &'a Target,
    slot: &'a Arc<Slot<Pool>>,
    path: &'a Bytes,
    metadata: &'a Metadata,
    deadline: Option<Deadline>,
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
            settings.heads.request(path, authority, left, self.metadata)
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
    pub(super) attempts: u32,
}

/// Makes a unary call to its end, with as many attempts as it may have.
pub(super) async fn unary(mut plan: Plan, body: Bytes) -> Result<Reply, Status> {
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
    pub(super) fn succeeded(self, message: Bytes) -> Reply {
        let node = Arc::clone(&self.picked.slot().node());
        self.picked.succeeded();
        Reply {
            message,
            receiving: self.receiving,
            node,
            attempts: self.plan.attempts,
        }
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
    pub(super) fn timed_out(self, over: Over) -> Status {
        let address = &self.picked.slot().node().address;
        let status = self.plan.over(
            over,
            format_args!("it waited for the reply of node {address}"),
        );
        if over == Over::Deadline {
            self.picked.failed(selector::Failure::TimedOut);
        }
        status
    }
}
