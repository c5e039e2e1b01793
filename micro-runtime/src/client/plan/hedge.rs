//! A hedged call: attempts at several nodes at once, of which the first good reply wins.
//!
//! The call's own future drives them all, so that dropping it drops them, which tells the servers.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, Sleep, sleep, timeout};

use super::{Connecting, OPENING, PATIENCE, Plan, Reply};
use crate::client::limit::{Limit, Over};
use crate::client::policy::Hedge;
use crate::client::pool::{NoConnection, Pool, Unsent};
use crate::client::receive::{Failure, Pushback, Receiving};
use crate::client::target::Target;
use crate::deadline::Deadline;
use crate::exchange::{BoxFuture, Incoming, Outgoing};
use crate::interceptor::AttemptKind;
use crate::metadata::Metadata;
use crate::selector::{self, NoNode, Picked, Slot, Tried};
use crate::status::Status;

/// How soon at the earliest a hedge that could not be made is tried again.
const AGAIN: Duration = Duration::from_millis(10);

/// Makes a unary call to its end, with hedges.
pub(super) async fn unary(mut plan: Plan, body: Bytes, hedge: Arc<Hedge>) -> Result<Reply, Status> {
    plan.listen();
    let opening = match plan.limit.deadline() {
        None if !plan.wait_for_ready => Some(plan.limit.at_most(OPENING)),
        _ => None,
    };
    let race = Race {
        metadata: Arc::new(plan.metadata.clone()),
        opening,
        plan,
        body,
        hedge,
        running: Vec::with_capacity(2),
        begun: 0,
        due: Due::Never,
    };
    race.run().await
}

struct Race {
    plan: Plan,
    body: Bytes,
    hedge: Arc<Hedge>,
    metadata: Arc<Metadata>,
    opening: Option<Limit>,
    running: Vec<Runner>,
    /// The first attempt, and the hedges.
    begun: u32,
    due: Due,
}

/// When the next hedge is due.
enum Due {
    Now,
    At(Pin<Box<Sleep>>),
    /// Not any more.
    Never,
}

/// An attempt that is under way. Its node is among those that the call has been to.
struct Runner {
    picked: Picked<Pool>,
    began: Instant,
    kind: AttemptKind,
    run: BoxFuture<'static, Ended>,
}

#[expect(
    clippy::large_enum_variant,
    reason = "it is moved once, and the large one is the usual one"
)]
enum Ended {
    /// Only the wait for a connection: now the call is sent.
    Connected(Outgoing, Incoming),
    Reply(Bytes, Receiving),
    NotConnected(NoConnection),
    /// There is no connection yet, and there may be another node.
    Slow,
    Failed(Failure),
}

#[expect(clippy::large_enum_variant, reason = "as above")]
enum Event {
    Ended(usize, Ended),
    Due,
    Over(Over),
}

// ===== impl Race =====

impl Race {
    async fn run(mut self) -> Result<Reply, Status> {
        self.begin(AttemptKind::First).await?;
        self.begun = 1;
        self.schedule();
        loop {
            match self.event().await {
                Event::Due => self.hedge().await?,
                Event::Over(over) => return Err(self.timed_out(over)),
                Event::Ended(place, ended) => {
                    let mut runner = self.running.swap_remove(place);
                    match ended {
                        Ended::Connected(out, incoming) => {
                            runner.picked.sent();
                            runner.run = self.receive(out, incoming);
                            self.running.push(runner);
                        }
                        Ended::Reply(message, receiving) => {
                            return Ok(self.won(runner, message, receiving));
                        }
                        Ended::NotConnected(failed) => self.not_connected(runner, &failed).await?,
                        Ended::Slow => self.slow(runner).await?,
                        Ended::Failed(failure) => self.failed(runner, &failure).await?,
                    }
                }
            }
        }
    }

    async fn event(&mut self) -> Event {
        poll_fn(|cx| {
            for (place, runner) in self.running.iter_mut().enumerate() {
                if let Poll::Ready(ended) = runner.run.as_mut().poll(cx) {
                    return Poll::Ready(Event::Ended(place, ended));
                }
            }
            let due = match &mut self.due {
                Due::Now => true,
                Due::At(sleep) => sleep.as_mut().poll(cx).is_ready(),
                Due::Never => false,
            };
            if due {
                return Poll::Ready(Event::Due);
            }
            self.plan.limit.poll(cx).map(Event::Over)
        })
        .await
    }

    /// The next hedge follows after the delay.
    fn schedule(&mut self) {
        self.due = match self.hedge.delay() {
            Some(delay) if self.begun < self.hedge.attempts() => Due::at(delay),
            _ => Due::Never,
        };
    }

    /// The next hedge, which there is no node or no budget for, is tried again: a call whose node has fallen
    /// silent in the same moment as much else would wait in vain for ever.
    fn postpone(&mut self) {
        let delay = self.hedge.delay().unwrap_or_default();
        self.due = Due::at(delay.max(AGAIN));
    }

    /// Begins an attempt. While others are under way it goes to another node, or there is none; else it waits
    /// until there is a node for it.
    async fn begin(&mut self, kind: AttemptKind) -> Result<(), Status> {
        loop {
            if let Some(over) = self.plan.limit.check() {
                return Err(self.timed_out(over));
            }
            let picked = self.plan.picked.take();
            match picked.map_or_else(|| self.plan.pick(None), Ok) {
                Ok(picked) => {
                    self.start(picked, kind, Instant::now(), false);
                    return Ok(());
                }
                Err(_) if !self.running.is_empty() => return Ok(()),
                Err(no_node) => match self.plan.slow.take() {
                    Some(slow) => {
                        self.start(slow.picked, slow.kind, slow.began, true);
                        return Ok(());
                    }
                    None => self.find(no_node).await?,
                },
            }
        }
    }

    async fn find(&mut self, no_node: NoNode) -> Result<(), Status> {
        self.plan.find(no_node, self.opening.as_mut()).await
    }

    fn start(&mut self, picked: Picked<Pool>, kind: AttemptKind, began: Instant, patient: bool) {
        if !patient {
            self.plan.tried.add(&picked);
        }
        let slot = picked.slot();
        let head = self.plan.head(slot, self.plan.limit.left());
        let (terms, first) = (self.plan.terms(), Some(self.body.clone()));
        let run = match slot.payload().try_open(slot, terms, head, first, true) {
            Ok((out, incoming)) => self.receive(out, incoming),
            Err(Unsent(_)) => self.connect(&picked, patient),
        };
        self.running.push(Runner {
            picked,
            began,
            kind,
            run,
        });
    }

    fn connect(&self, picked: &Picked<Pool>, patient: bool) -> BoxFuture<'static, Ended> {
        let patience = match self.plan.deadline {
            _ if !patient => Some(PATIENCE),
            None if !self.plan.wait_for_ready => Some(OPENING),
            _ => None,
        };
        let connect = Connect {
            target: self.plan.target.clone(),
            slot: Arc::clone(picked.slot()),
            path: self.plan.path.clone(),
            metadata: Arc::clone(&self.metadata),
            deadline: self.plan.deadline,
            repeated: self.plan.repeated,
            body: self.body.clone(),
            eager: picked.is_probe(),
            patience,
        };
        Box::pin(connect.run())
    }

    fn receive(&self, out: Outgoing, incoming: Incoming) -> BoxFuture<'static, Ended> {
        let settings = self.plan.target.settings();
        let mut receiving = Receiving::new(incoming, settings.content_type, settings.max_reply);
        Box::pin(async move {
            // Held, so that a request that is still being sent is sent to its end.
            let _out = out;
            let mut kept = None;
            match poll_fn(|cx| receiving.poll_single(&mut kept, cx)).await {
                Ok(message) => Ended::Reply(message, receiving),
                Err(failure) => Ended::Failed(failure),
            }
        })
    }

    /// A hedge is due.
    async fn hedge(&mut self) -> Result<(), Status> {
        self.due = Due::Never;
        // Looked for before it is paid for.
        let picked = match self.plan.pick(None) {
            Ok(picked) => Some(picked),
            Err(_) if self.running.is_empty() => None,
            Err(_) => {
                self.postpone();
                return Ok(());
            }
        };
        if !self.plan.target.gate().repeat() {
            self.postpone();
            return self.ended();
        }
        self.begun += 1;
        self.plan.repeated += 1;
        self.plan.picked = picked;
        self.begin(AttemptKind::Hedge).await?;
        self.schedule();
        Ok(())
    }

    /// The call's status, if nothing is under way any more.
    fn ended(&mut self) -> Result<(), Status> {
        if !self.running.is_empty() {
            return Ok(());
        }
        let answer = self.plan.answer.take();
        let status = answer.or_else(|| self.plan.last.take());
        let status = status.unwrap_or_else(|| Status::unavailable("every attempt has failed"));
        Err(self.plan.limit.correct(status))
    }

    /// Makes the plan look as if this were its only attempt.
    fn turn_to(&mut self, runner: &Runner) {
        self.plan.began = runner.began;
        self.plan.kind = runner.kind;
    }

    async fn not_connected(&mut self, runner: Runner, failed: &NoConnection) -> Result<(), Status> {
        self.turn_to(&runner);
        self.plan.attempts += u32::from(matches!(failed, NoConnection::Failed(_)));
        self.plan.not_connected(runner.picked, failed, true);
        self.begin(AttemptKind::Transparent).await
    }

    async fn slow(&mut self, runner: Runner) -> Result<(), Status> {
        self.plan.attempts += 1;
        if runner.began.elapsed() >= OPENING && self.running.is_empty() {
            // Only a call without a deadline gives a node up after that time.
            let what = format_args!("a connection was made");
            return Err(self.plan.over(Over::Deadline, what));
        }
        self.plan.is_slow(runner.picked, runner.began, runner.kind);
        self.begin(AttemptKind::Transparent).await
    }

    async fn failed(&mut self, runner: Runner, failure: &Failure) -> Result<(), Status> {
        self.turn_to(&runner);
        self.plan.attempts += 1;
        let status = failure.at(&runner.picked);
        let (began, kind) = (runner.began, runner.kind);
        self.plan
            .record(&runner.picked, began, kind, Err(status.clone()));
        self.plan.report(failure, &runner.picked, began);
        runner.picked.failed(failure.report());
        if !failure.unprocessed && !failure.is_repeatable() {
            self.cancel();
            return Err(self.plan.limit.correct(status));
        }
        self.plan.last = Some(status);
        self.plan.answer = failure.answered.then(|| failure.status.clone());
        self.plan.unreached |= failure.gone;
        if failure.unprocessed {
            if !self.plan.may_go_elsewhere() {
                return self.ended();
            }
            if failure.goodbye && self.plan.goodbyes == 0 {
                // It only closes this connection: the node is as good as any.
                self.plan.goodbyes += 1;
                self.plan.tried = Tried::default();
                for runner in &self.running {
                    self.plan.tried.add(&runner.picked);
                }
            }
            return self.begin(AttemptKind::Transparent).await;
        }
        self.plan.repeating = true;
        self.due = match failure.pushback {
            _ if self.begun >= self.hedge.attempts() => Due::Never,
            Pushback::None => Due::Now,
            Pushback::After(delay) if self.plan.can_wait(delay) => Due::at(delay),
            Pushback::After(_) | Pushback::Never => Due::Never,
        };
        match self.due {
            Due::Never => self.ended(),
            Due::Now | Due::At(_) => Ok(()),
        }
    }

    fn won(mut self, runner: Runner, message: Bytes, receiving: Receiving) -> Reply {
        self.plan.attempts += 1;
        self.hedge.record(runner.began.elapsed());
        for loser in std::mem::take(&mut self.running) {
            self.plan.attempts += 1;
            let (began, kind) = (loser.began, loser.kind);
            let status = Status::cancelled("another attempt was faster");
            self.plan.record(&loser.picked, began, kind, Err(status));
            if began < runner.began {
                // How long it would have taken is not known, but that it is long.
                self.hedge.record(began.elapsed());
                loser.picked.overtaken();
            } else {
                loser.picked.beaten();
            }
        }
        self.plan.give_up_slow();
        self.turn_to(&runner);
        let node = Arc::clone(&runner.picked.slot().node());
        self.plan.succeeded(&runner.picked);
        runner.picked.succeeded();
        Reply {
            message,
            receiving,
            node,
            attempts: self.plan.log,
        }
    }

    /// Gives up what is under way.
    fn cancel(&mut self) {
        self.plan.give_up_slow();
        for runner in std::mem::take(&mut self.running) {
            self.plan.attempts += 1;
            let status = Status::cancelled("another attempt has ended the call");
            self.plan
                .record(&runner.picked, runner.began, runner.kind, Err(status));
            runner.picked.beaten();
        }
    }

    fn timed_out(&mut self, over: Over) -> Status {
        self.plan.give_up_slow();
        let running = std::mem::take(&mut self.running);
        self.plan.attempts += u32::try_from(running.len()).unwrap_or(u32::MAX);
        let nodes: Vec<_> = running
            .iter()
            .map(|runner| runner.picked.slot().node().address.clone())
            .collect();
        let nodes = nodes.join(", ");
        let status = self.plan.over(
            over,
            format_args!("it waited for the reply of a node ({nodes})"),
        );
        for runner in running {
            let (began, kind) = (runner.began, runner.kind);
            self.plan
                .record(&runner.picked, began, kind, Err(status.clone()));
            if over == Over::Deadline {
                runner.picked.failed(selector::Failure::TimedOut);
            }
        }
        status
    }
}

// ===== impl Due =====

impl Due {
    fn at(delay: Duration) -> Due {
        if delay.is_zero() {
            Due::Now
        } else {
            Due::At(Box::pin(sleep(delay)))
        }
    }
}

/// The wait for a connection to one node, with all that it needs.
struct Connect {
    target: Target,
    slot: Arc<Slot<Pool>>,
    path: Bytes,
    metadata: Arc<Metadata>,
    deadline: Option<Deadline>,
    repeated: u32,
    body: Bytes,
    eager: bool,
    patience: Option<Duration>,
}

impl Connect {
    async fn run(self) -> Ended {
        let first = Some(self.body);
        let connecting = Connecting {
            target: &self.target,
            slot: &self.slot,
            path: &self.path,
            metadata: &self.metadata,
            deadline: self.deadline,
            repeated: self.repeated,
            first: &first,
            end: true,
            eager: self.eager,
        };
        let connected = match self.patience {
            None => connecting.run().await,
            Some(patience) => match timeout(patience, connecting.run()).await {
                Ok(connected) => connected,
                Err(_) => return Ended::Slow,
            },
        };
        match connected {
            Ok((out, incoming)) => Ended::Connected(out, incoming),
            Err(failed) => Ended::NotConnected(failed),
        }
    }
}
