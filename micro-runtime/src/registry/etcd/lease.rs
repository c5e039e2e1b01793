//! [`Keeper`]: the task that keeps one node registered.
//!
//! A registration lasts for its time to live and is then taken out, as the trait says. Within that time the
//! task renews the lease at a third of it, looks whether the key is there as it should be, and watches it: a
//! lease that is lost, or a key that somebody removed, is put back at once.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::keys::Range;
use super::pb;
use super::rpc::{Core, is_lost, unary};
use super::stream::{End, Stream};
use crate::backoff::{Backoff, jittered};
use crate::error::Error;
use crate::status::{Code, Result, Status};

/// Commands that may wait for one keeper.
pub(super) const COMMANDS: usize = 64;

/// etcd counts leases in seconds, and takes none longer than this (lease/lessor.go).
const TTL_MAX: i64 = 9_000_000_000;

/// The shortest and the longest time between two renewals, whatever time the server grants.
const RENEW_MIN: Duration = Duration::from_millis(300);
const RENEW_MAX: Duration = Duration::from_secs(86_400);

/// The pause before a registration is tried again that the server refused, though it had it once.
const REFUSED: Duration = Duration::from_secs(5);

/// A key that is removed again and again is not put back more often than this.
const RESTORE_GAP: Duration = Duration::from_secs(1);

/// When a connection is lost, its nodes are looked at within this time, not all at the same moment.
const LOOK_WITHIN: Duration = Duration::from_millis(200);

/// How often a lease may turn out lost within one refresh.
const LEASES: usize = 3;

/// What a keeper is told.
#[derive(Debug)]
pub(super) enum Command {
    /// That the node is there from now on for `ttl`; zero means without an end.
    Register {
        value: bytes::Bytes,
        ttl: Duration,
        done: Done,
    },
    /// That the node is gone.
    Deregister { done: Done },
}

/// Where the outcome goes.
pub(super) type Done = oneshot::Sender<std::result::Result<(), Error>>;

/// Keeps one key.
pub(super) struct Keeper {
    core: Arc<Core>,
    key: String,
    commands: mpsc::Receiver<Command>,
    held: Option<Held>,
}

/// What is registered.
struct Held {
    value: bytes::Bytes,
    ttl: Duration,
    /// When it is over, unless it is renewed.
    until: Option<Instant>,
    lease: Option<i64>,
    /// How long a renewal of the lease lasts.
    granted: Duration,
    /// Whether it was ever registered.
    confirmed: bool,
    /// Whether it was when it was last looked at, and its watch has not failed since.
    fresh: bool,
    /// Whether the log says that it could not be renewed, and not yet that it is again.
    told: bool,
    /// When it is looked at next.
    next: Instant,
    backoff: Backoff,
    /// Who waits for the outcome.
    waiting: Vec<Done>,
    guard: Guard,
    /// What the server said when the key was last seen as it should be.
    seen: pb::ResponseHeader,
    /// Before then the key is not looked at for what its watch says.
    quiet_until: Instant,
}

/// The watch of the node's own key.
enum Guard {
    /// As many as there may be run already.
    None,
    Off(OwnedSemaphorePermit),
    On(OwnedSemaphorePermit, Box<Stream>),
}

enum Step {
    Command(Option<Command>),
    /// The key was looked at and put right.
    Refreshed(Result<()>),
    Expired,
    /// The key is gone, or its watch is: it is to be looked at within this time.
    Look(Duration),
}

// ===== impl Keeper =====

impl Keeper {
    pub(super) fn new(core: Arc<Core>, key: String, commands: mpsc::Receiver<Command>) -> Keeper {
        Keeper {
            core,
            key,
            commands,
            held: None,
        }
    }

    /// Runs until it has nothing to keep.
    pub(super) async fn run(mut self) {
        loop {
            if self.held.is_none() && self.core.forget(&self.key, &self.commands) {
                return;
            }
            match self.step().await {
                Step::Command(None) => return,
                Step::Command(Some(command)) => self.command(command).await,
                Step::Refreshed(result) => self.refreshed(&result),
                Step::Expired => self.expired().await,
                Step::Look(within) => {
                    if let Some(held) = &mut self.held {
                        let now = Instant::now();
                        let at = (now + within.mul_f64(fastrand::f64())).max(held.quiet_until);
                        held.next = held.next.min(at);
                        held.quiet_until = held.next + RESTORE_GAP;
                    }
                }
            }
        }
    }

    async fn step(&mut self) -> Step {
        let Keeper {
            core,
            key,
            commands,
            held,
        } = self;
        let Some(held) = held else {
            return Step::Command(commands.recv().await);
        };
        let mut until = held.until;
        // Registering again what is being registered changes nothing, and waits for the same outcome: whoever
        // does so more often than one member is waited for would never be done otherwise.
        let same = (Instant::now() >= held.next).then(|| (held.value.clone(), held.ttl));
        let mut joined = Vec::new();
        let step = {
            let mut work = pin!(work(core, key, held));
            loop {
                let expiry = async {
                    match until {
                        Some(until) => sleep_until(until).await,
                        None => std::future::pending().await,
                    }
                };
                // Another command ends what is under way: nothing that it says is made better by an older wish.
                tokio::select! {
                    biased;
                    command = commands.recv() => match (command, &same) {
                        (Some(Command::Register { value, ttl, done }), Some(same))
                            if *same == (value.clone(), ttl) =>
                        {
                            until = end(ttl);
                            joined.push(done);
                        }
                        (command, _) => break Step::Command(command),
                    },
                    () = expiry => break Step::Expired,
                    step = &mut work => break step,
                }
            }
        };
        held.until = until;
        held.waiting.append(&mut joined);
        step
    }

    async fn command(&mut self, command: Command) {
        match command {
            Command::Register { value, ttl, done } => {
                let now = Instant::now();
                let until = end(ttl);
                match &mut self.held {
                    Some(held) => {
                        if held.ttl != ttl {
                            // Another time needs another lease; the former ends by itself, without its key.
                            held.lease = None;
                        }
                        held.value = value;
                        held.ttl = ttl;
                        held.until = until;
                        held.next = now;
                        held.waiting.retain(|waiting| !waiting.is_closed());
                        held.waiting.push(done);
                    }
                    held => {
                        let permit = Arc::clone(&self.core.guards).try_acquire_owned();
                        *held = Some(Held {
                            value,
                            ttl,
                            until,
                            lease: None,
                            granted: ttl,
                            confirmed: false,
                            fresh: false,
                            told: false,
                            next: now,
                            backoff: Backoff::new(super::BACKOFF_FIRST, super::BACKOFF_MAX),
                            waiting: vec![done],
                            guard: permit.map_or(Guard::None, Guard::Off),
                            seen: pb::ResponseHeader::default(),
                            quiet_until: now,
                        });
                    }
                }
            }
            Command::Deregister { done } => {
                let lease = self.held.take().and_then(|held| held.lease);
                let removed = remove(&self.core, &self.key, lease).await;
                // Nobody may wait any more.
                let _ = done.send(removed.map_err(|status| {
                    self.core
                        .error(format_args!("take out {:?}", self.key), &status)
                }));
            }
        }
    }

    fn refreshed(&mut self, result: &Result<()>) {
        let Some(held) = &mut self.held else { return };
        let now = Instant::now();
        match result {
            Ok(()) => {
                if std::mem::take(&mut held.told) {
                    tracing::info!(key = self.key, "A registration in etcd is renewed again");
                }
                held.confirmed = true;
                held.fresh = true;
                held.backoff.reset();
                held.next = now + jittered((held.granted / 3).clamp(RENEW_MIN, RENEW_MAX));
            }
            Err(status) => {
                held.fresh = false;
                let pause = if is_lost(status) {
                    held.backoff.next()
                } else {
                    jittered(REFUSED)
                };
                held.next = now + pause;
                if held.confirmed && held.waiting.is_empty() {
                    if !std::mem::replace(&mut held.told, true) {
                        tracing::warn!(key = self.key, error = %status, "A registration in etcd could not be renewed, it is tried on");
                    } else {
                        tracing::debug!(key = self.key, error = %status, ?pause, "A registration in etcd could not be renewed");
                    }
                }
            }
        }
        for done in held.waiting.drain(..) {
            let told = match result {
                Ok(()) => Ok(()),
                Err(status) => Err(self
                    .core
                    .error(format_args!("register {:?}", self.key), status)),
            };
            // Nobody may wait any more.
            let _ = done.send(told);
        }
        let over = match result {
            // Without a lease there is nothing to keep.
            Ok(()) => held.ttl.is_zero(),
            // Refused from the start: whoever wanted it knows.
            Err(status) => !held.confirmed && !is_lost(status),
        };
        if over {
            self.held = None;
        }
    }

    /// Takes out what was not renewed in time.
    async fn expired(&mut self) {
        let Some(held) = self.held.take() else { return };
        tracing::debug!(key = self.key, ttl = ?held.ttl, "A registration in etcd is over, it was not renewed");
        if let Err(status) = remove(&self.core, &self.key, held.lease).await {
            // Then it goes with its lease.
            tracing::debug!(key = self.key, error = %status, "A registration in etcd was not taken out");
        }
    }
}

/// When a registration of now is over; `None` if it never is.
fn end(ttl: Duration) -> Option<Instant> {
    (!ttl.is_zero())
        .then(|| Instant::now().checked_add(ttl))
        .flatten()
}

/// Takes a key out, and ends its lease.
async fn remove(core: &Core, key: &str, lease: Option<i64>) -> Result<()> {
    let range = Range::one(key);
    core.call(|link, terms| {
        let request = pb::DeleteRangeRequest {
            key: range.key.clone(),
            range_end: range.end.clone(),
        };
        unary(link.kv.delete_range(request), terms)
    })
    .await?;
    if let Some(lease) = lease {
        let revoke = pb::LeaseRevokeRequest { id: lease };
        let revoked = core.call(|link, terms| unary(link.lease.lease_revoke(revoke), terms));
        if let Err(status) = revoked.await {
            // The node is gone; the lease follows by itself.
            tracing::debug!(key, error = %status, "A lease of etcd was not revoked");
        }
    }
    Ok(())
}

/// Looks after the key until there is something to say.
async fn work(core: &Core, key: &str, held: &mut Held) -> Step {
    let next = held.next;
    if Instant::now() < next {
        tokio::select! {
            () = sleep_until(next) => {}
            step = guard(core, key, held) => return step,
        }
    }
    Step::Refreshed(refresh(core, key, held).await)
}

/// Watches the key, once it is there.
async fn guard(core: &Core, key: &str, held: &mut Held) -> Step {
    loop {
        let changes = match &mut held.guard {
            Guard::On(_, stream) => match stream.batch(core).await {
                Ok(changes) => changes,
                Err(end) => return held.unguarded(&end),
            },
            // One that failed is made again only once the key was seen again: until then it would fail as well.
            Guard::Off(_) if held.fresh => {
                let header = &held.seen;
                let next = header.revision.saturating_add(1);
                match Stream::open(core, &Range::one(key), next, header.cluster_id).await {
                    Ok(stream) => held.guard.on(stream),
                    Err(end) => return held.unguarded(&end),
                }
                continue;
            }
            Guard::Off(_) | Guard::None => return std::future::pending().await,
        };
        if changes
            .iter()
            .any(|change| change.r#type() == pb::EventType::Delete)
        {
            return Step::Look(Duration::ZERO);
        }
    }
}

/// Sees to it that the lease and the key are there.
async fn refresh(core: &Core, key: &str, held: &mut Held) -> Result<()> {
    let range = Range::one(key);
    for _ in 0..LEASES {
        let lease = match held.lease {
            Some(lease) if core.keep_alive(lease).await? > 0 => {
                let (found, header) = core.read(&range.key).await?;
                if found.is_some_and(|kv| kv.lease == lease && kv.value == held.value) {
                    held.seen = header;
                    return Ok(());
                }
                lease
            }
            Some(_) => {
                tracing::warn!(
                    key,
                    "The lease of a registration in etcd was lost, it is registered again"
                );
                held.lease = None;
                continue;
            }
            None if held.ttl.is_zero() => 0,
            None => grant(core, held).await?,
        };
        let put = core.call(|link, terms| {
            let request = pb::PutRequest {
                key: range.key.clone(),
                value: held.value.clone(),
                lease,
            };
            unary(link.kv.put(request), terms)
        });
        match put.await {
            Ok(answer) => {
                held.seen = answer.header.unwrap_or_default();
                return Ok(());
            }
            // The lease is gone again.
            Err(status) if status.code() == Code::NotFound => held.lease = None,
            Err(status) => return Err(status),
        }
    }
    Err(Status::aborted(format_args!(
        "{LEASES} leases were lost as soon as they were granted"
    )))
}

async fn grant(core: &Core, held: &mut Held) -> Result<i64> {
    // Up to a whole second: one that is shorter than asked for would end too early.
    let seconds = held
        .ttl
        .as_secs()
        .saturating_add(u64::from(held.ttl.subsec_nanos() > 0));
    let ttl = i64::try_from(seconds).unwrap_or(TTL_MAX).clamp(1, TTL_MAX);
    let answer = core
        .call(|link, terms| {
            unary(
                link.lease.lease_grant(pb::LeaseGrantRequest { ttl, id: 0 }),
                terms,
            )
        })
        .await?;
    if !answer.error.is_empty() {
        return Err(Status::unknown(format_args!(
            "no lease was granted: {}",
            answer.error
        )));
    }
    held.lease = Some(answer.id);
    held.granted = Duration::from_secs(u64::try_from(answer.ttl).unwrap_or(0)).min(held.ttl);
    Ok(answer.id)
}

// ===== impl Held =====

impl Held {
    fn unguarded(&mut self, end: &End) -> Step {
        tracing::debug!(?end, "The watch of a registration in etcd ended");
        self.fresh = false;
        let guard = std::mem::replace(&mut self.guard, Guard::None);
        // A user who may not watch does without.
        if let (Guard::On(permit, _) | Guard::Off(permit), false) =
            (guard, matches!(end, End::Refused(_)))
        {
            self.guard = Guard::Off(permit);
        }
        Step::Look(LOOK_WITHIN)
    }
}

// ===== impl Guard =====

impl Guard {
    fn on(&mut self, stream: Stream) {
        *self = match std::mem::replace(self, Guard::None) {
            Guard::On(permit, _) | Guard::Off(permit) => Guard::On(permit, Box::new(stream)),
            Guard::None => Guard::None,
        };
    }
}
