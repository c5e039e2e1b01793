//! [`Hub`]: the way to the connection, and the task that keeps one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::config::Config;
use super::line::Line;
use super::streams::Streams;
use crate::backoff::Backoff;
use crate::error::{Error, ErrorKind};
use crate::nats::Failure;

/// The pauses between attempts: a server that is back is found within a second.
pub(super) const BACKOFF: (Duration, Duration) =
    (Duration::from_millis(100), Duration::from_secs(1));

/// A connection that lives that long was a good one.
const WELL: Duration = Duration::from_secs(5);

/// How often it is told that something is still waited for.
pub(super) const TELL: Duration = Duration::from_secs(10);

/// The most publishes at a time; further ones wait.
pub(super) const PUBLISHES_MAX: usize = 16_384;

/// The way to the connection. Clones are one.
#[derive(Clone)]
pub(super) struct Hub(Arc<Inner>);

struct Inner {
    config: Config,
    state: watch::Sender<State>,
    publishes: Semaphore,
    streams: Streams,
    /// Subscriptions that use the connection.
    open: AtomicUsize,
    close: Notify,
    /// Who waits for a connection; `wanted` tells the task of it when it has closed the last one.
    waiting: AtomicUsize,
    wanted: Notify,
    dropped: AtomicU64,
}

#[derive(Clone)]
enum State {
    /// There is none yet, or none any more: why the last attempt failed.
    Down(Option<Failure>),
    Up(Arc<Line>),
}

/// A subscription that counts as open until this is dropped.
pub(super) struct Open(Hub);

/// Somebody who counts as waiting for a connection until this is dropped.
struct Waits<'a>(&'a Inner);

// ===== impl Hub =====

impl Hub {
    pub(super) fn new(config: Config) -> Hub {
        Hub(Arc::new(Inner {
            config,
            state: watch::Sender::new(State::Down(None)),
            publishes: Semaphore::new(PUBLISHES_MAX),
            streams: Streams::default(),
            open: AtomicUsize::new(0),
            close: Notify::new(),
            waiting: AtomicUsize::new(0),
            wanted: Notify::new(),
            dropped: AtomicU64::new(0),
        }))
    }

    /// The same, whose connection ended with the runtime that it was in.
    pub(super) fn again(self) -> Hub {
        self.0.state.send_replace(State::Down(None));
        self
    }

    pub(super) fn config(&self) -> &Config {
        &self.0.config
    }

    pub(super) fn streams(&self) -> &Streams {
        &self.0.streams
    }

    pub(super) fn publishes(&self) -> &Semaphore {
        &self.0.publishes
    }

    pub(super) fn open(&self) -> Open {
        self.0.open.fetch_add(1, Ordering::Relaxed);
        Open(self.clone())
    }

    pub(super) fn add_dropped(&self, count: u64) {
        self.0.dropped.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn dropped(&self) -> u64 {
        let in_library = match &*self.0.state.borrow() {
            State::Up(line) => line.take_dropped(),
            State::Down(_) => 0,
        };
        self.0.dropped.fetch_add(in_library, Ordering::Relaxed) + in_library
    }

    /// The connection, if there is one now.
    pub(super) fn up(&self) -> Option<Arc<Line>> {
        match &*self.0.state.borrow() {
            State::Up(line) => Some(Arc::clone(line)),
            State::Down(_) => None,
        }
    }

    /// The connection, when there is one.
    ///
    /// # Errors
    /// The servers refuse us.
    pub(super) async fn line(&self) -> Result<Arc<Line>, Error> {
        if let Some(line) = self.up()
            && !line.is_lost()
        {
            return Ok(line);
        }
        // Rare, and large: who has a connection need have no room for it.
        Box::pin(self.line_by_and_by()).await
    }

    async fn line_by_and_by(&self) -> Result<Arc<Line>, Error> {
        let _waits = self.waits();
        let mut state = self.0.state.subscribe();
        loop {
            match &*state.borrow_and_update() {
                State::Up(line) if !line.is_lost() => return Ok(Arc::clone(line)),
                State::Down(Some(failure)) if failure.refused => return Err(self.refused(failure)),
                State::Up(_) | State::Down(_) => {}
            }
            // The sender is ours too.
            let _ = state.changed().await;
        }
    }

    /// The connection, when there is one, however long they refuse us.
    pub(super) async fn line_at_last(&self) -> Arc<Line> {
        let _waits = self.waits();
        let mut state = self.0.state.subscribe();
        loop {
            if let State::Up(line) = &*state.borrow_and_update()
                && !line.is_lost()
            {
                return Arc::clone(line);
            }
            // The sender is ours too.
            let _ = state.changed().await;
        }
    }

    fn waits(&self) -> Waits<'_> {
        self.0.waiting.fetch_add(1, Ordering::SeqCst);
        self.0.wanted.notify_one();
        Waits(&self.0)
    }

    /// Resolves when somebody waits for a connection.
    async fn wanted(&self) {
        while self.0.waiting.load(Ordering::SeqCst) == 0 {
            self.0.wanted.notified().await;
        }
    }

    fn refused(&self, failure: &Failure) -> Error {
        Error::config(format_args!(
            "NATS at {} takes us not in: {}",
            self.0.config.servers, failure.why
        ))
    }

    /// Nothing was done until the deadline; `why` is known already, or the connection's state says it.
    pub(super) fn late(&self, what: &str, why: Option<String>) -> Error {
        let why = match &*self.0.state.borrow() {
            State::Up(_) => why.unwrap_or_else(|| "the server gave no answer in time".to_owned()),
            State::Down(Some(failure)) => failure.why.clone(),
            State::Down(None) => "there is no connection yet".to_owned(),
        };
        broker(format_args!(
            "{what} over NATS at {} was not done until its deadline: {why}",
            self.0.config.servers
        ))
    }

    /// Ends the connection if no subscription uses it.
    pub(super) fn close(&self) {
        if self.0.open.load(Ordering::Relaxed) == 0 {
            self.0.close.notify_one();
        }
    }

    /// Keeps a connection. One that was closed is made again when somebody wants one: a publish may begin while
    /// the connection is being closed.
    pub(super) async fn run(self) {
        let hub = &*self.0;
        let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
        loop {
            // What was said of an earlier connection is not for this one.
            tokio::select! {
                biased;
                () = hub.close.notified() => {}
                () = std::future::ready(()) => {}
            }
            self.keep(&mut backoff).await;
            hub.state.send_replace(State::Down(None));
            self.wanted().await;
            backoff.reset();
        }
    }

    /// Keeps a connection until it is closed.
    async fn keep(&self, backoff: &mut Backoff) {
        let hub = &*self.0;
        loop {
            let line = tokio::select! {
                line = self.connect(backoff) => line,
                () = hub.close.notified() => return,
            };
            let begun = Instant::now();
            hub.state.send_replace(State::Up(Arc::clone(&line)));
            let closed = tokio::select! {
                () = line.lost() => false,
                () = hub.close.notified() => true,
            };
            self.add_dropped(line.take_dropped());
            if closed {
                return;
            }
            let servers = hub.config.servers.addresses();
            info!(?servers, "The connection to NATS was lost, another is made");
            hub.state.send_replace(State::Down(None));
            if begun.elapsed() >= WELL {
                backoff.reset();
            }
            tokio::select! {
                () = sleep(backoff.next()) => {}
                () = hub.close.notified() => return,
            }
        }
    }

    async fn connect(&self, backoff: &mut Backoff) -> Arc<Line> {
        let config = &self.0.config;
        let servers = config.servers.addresses();
        let mut told: Option<Instant> = None;
        loop {
            let failure = match Line::open(config).await {
                Ok(line) => {
                    if told.is_some() {
                        info!(?servers, "NATS answers again");
                    }
                    return line;
                }
                Err(failure) => failure,
            };
            if told.is_none_or(|told| told.elapsed() >= TELL) {
                told = Some(Instant::now());
                warn!(
                    ?servers,
                    why = failure.why,
                    "NATS cannot be reached, it is tried on"
                );
            }
            self.0.state.send_replace(State::Down(Some(failure)));
            sleep(backoff.next()).await;
        }
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

pub(super) fn broker(message: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Broker, message)
}
