//! [`Link`]: the connection that a broker's commands share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout_at};

use super::config::Config;
use super::connect::{self, dial};
use super::refusal::Refusal;
use crate::backoff::Backoff;
use crate::broker::common::outage::Outage;
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};

/// The pauses between attempts to connect.
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(100);
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A shared connection, made again whenever it is lost. Clones share it; when the last is dropped it is closed.
#[derive(Clone)]
pub(super) struct Link(Arc<Inner>);

struct Inner {
    state: watch::Receiver<State>,
    useless: Arc<Useless>,
    task: AbortHandle,
}

/// Told when a connection is of no use, though it stands, and which.
#[derive(Default)]
struct Useless {
    number: AtomicU64,
    told: Notify,
}

/// A connection, with its number.
#[derive(Clone)]
pub(super) struct Up {
    pub(super) connection: MultiplexedConnection,
    number: u64,
}

#[derive(Clone)]
enum State {
    /// There is none; why not.
    Trying(String),
    /// There is none, and waiting will not help.
    Refused(Refusal),
    Up(Up),
}

// ===== impl Link =====

impl Link {
    /// Starts to connect.
    ///
    /// # Errors
    /// Outside a tokio runtime.
    pub(super) fn start(config: Arc<Config>) -> Result<Link, Error> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|error| {
            Error::new(
                ErrorKind::Broker,
                "the redis broker must be used within a tokio runtime",
            )
            .with_source(error)
        })?;
        let (sender, state) = watch::channel(State::Trying("nothing was tried yet".to_owned()));
        let useless = Arc::<Useless>::default();
        let task = runtime.spawn(run(config, sender, Arc::clone(&useless)));
        Ok(Link(Arc::new(Inner {
            state,
            useless,
            task: task.abort_handle(),
        })))
    }

    /// Whether it has ended, with its runtime.
    pub(super) fn has_ended(&self) -> bool {
        self.0.task.is_finished()
    }

    /// The connection, as soon as there is one.
    ///
    /// # Errors
    /// There was none until the deadline, or we are refused.
    pub(super) async fn connection(&self, deadline: Deadline) -> Result<Up, Error> {
        if let State::Up(up) = &*self.0.state.borrow() {
            return Ok(up.clone());
        }
        let mut state = self.0.state.clone();
        let decided = state.wait_for(|state| !matches!(state, State::Trying(_)));
        let found = match timeout_at(deadline.instant(), decided).await {
            Ok(Ok(state)) => Some(state.clone()),
            Ok(Err(_)) => None,
            Err(_) => Some(self.0.state.borrow().clone()),
        };
        match found {
            Some(State::Up(up)) => Ok(up),
            Some(State::Refused(refusal)) => Err(refusal.into_error("cannot connect")),
            Some(State::Trying(why)) => Err(Error::new(
                ErrorKind::Broker,
                format_args!("redis was not reached before the deadline: {why}"),
            )),
            None => Err(Error::new(
                ErrorKind::Broker,
                "the redis broker's connection has ended with its tokio runtime",
            )),
        }
    }

    /// The connection, however long that takes; none when the runtime ends.
    pub(super) async fn whenever(&self) -> Option<Up> {
        if let State::Up(up) = &*self.0.state.borrow() {
            return Some(up.clone());
        }
        let mut state = self.0.state.clone();
        let up = state.wait_for(|state| matches!(state, State::Up(_)));
        match &*up.await.ok()? {
            State::Up(up) => Some(up.clone()),
            State::Trying(_) | State::Refused(_) => None,
        }
    }

    /// Says what was answered over this connection: if that is of no use, as one to a server that takes no
    /// writes, another is made, to the next server.
    pub(super) fn hears(&self, up: &Up, refusal: &Refusal) {
        if !matches!(refusal, Refusal::Elsewhere(_)) {
            return;
        }
        self.0.useless.number.store(up.number, Ordering::Relaxed);
        self.0.useless.told.notify_one();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Useless {
    /// Resolves when the connection of this number was said to be.
    async fn is(&self, number: u64) {
        loop {
            self.told.notified().await;
            if self.number.load(Ordering::Relaxed) == number {
                return;
            }
        }
    }
}

async fn run(config: Arc<Config>, state: watch::Sender<State>, useless: Arc<Useless>) {
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    let mut outage = Outage::new(format!("redis at {}", config.addresses()));
    let (mut was_up, mut refusals) = (false, 0);
    for (server, number) in config.servers.iter().cycle().zip(1..) {
        match dial(server, None).await {
            Ok(dialled) => {
                (was_up, refusals) = (true, 0);
                outage.is_over();
                state.send_replace(State::Up(Up {
                    connection: dialled.connection.clone(),
                    number,
                }));
                let lasted = tokio::time::Instant::now();
                tokio::select! {
                    () = dialled.driver => {}
                    () = connect::watch(dialled.connection) => {}
                    () = useless.is(number) => {}
                }
                let why = format!("the connection to {} was lost", server.address);
                outage.goes_on(&why);
                state.send_replace(State::Trying(why));
                if lasted.elapsed() > LONGEST_PAUSE {
                    backoff.reset();
                }
            }
            Err(refusal) => {
                outage.goes_on(refusal.why());
                // Who was let in once is let in again, or it is an operator's work in progress.
                refusals += u32::from(refusal.is_final());
                let next = if refusal.is_final() && !was_up && refusals >= connect::REFUSALS {
                    State::Refused(refusal)
                } else {
                    State::Trying(refusal.why().to_owned())
                };
                state.send_replace(next);
            }
        }
        sleep(backoff.next()).await;
    }
}
