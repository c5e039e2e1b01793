//! [`Links`]: the one connection that everything goes over, and which member is next when it is gone.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::endpoint::Connect;
use super::pb;
use crate::client::{Client, ClientOptions};
use crate::exchange::{Broken, Connection, State};
use crate::lock::lock;
use crate::status::{Result, Status};

/// How long one member may take before the next is dialled beside it (RFC 8305 §5).
const NEXT_MEMBER: Duration = Duration::from_millis(250);

/// How long all of them may be silent before a member is dialled once more: a connection whose first packets
/// were lost takes longer to notice than another one to be made.
const NEXT_ROUND: Duration = Duration::from_millis(750);

/// How many connections are dialled beyond one to each member.
const FURTHER: usize = 2;

/// A connection that failed is not dialled again this soon; whoever asks gets the same answer.
const DIAL_GAP: Duration = Duration::from_millis(100);

/// The largest message that is taken. An answer holds up to [`super::list::PAGE`] keys, and each of them may
/// have a value of 1.5 MiB by etcd's own limit; a page that is larger is asked for again in halves.
const MAX_MESSAGE: usize = 4 * 1024 * 1024;

/// A connection to a member, with clients of what it serves.
pub(super) struct Link {
    pub(super) kv: pb::KvService,
    pub(super) watch: pb::WatchService,
    pub(super) lease: pb::LeaseService,
    pub(super) auth: pb::AuthService,
    connection: Connection,
    member: usize,
    /// Set when it was found to be of no use: whoever has a stream on it leaves.
    lost: watch::Sender<bool>,
}

/// Makes [`Link`]s, one at a time.
pub(super) struct Links {
    connect: Box<dyn Connect>,
    /// Held for short sections without a wait.
    state: Mutex<Current>,
    /// Whose turn it is to dial.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Current {
    link: Option<Arc<Link>>,
    /// The member that is dialled first.
    next: usize,
    /// How dialling failed last, and when.
    failed: Option<(Status, Instant)>,
}

// ===== impl Links =====

impl Links {
    pub(super) fn new(connect: impl Connect) -> Links {
        Links {
            connect: Box::new(connect),
            state: Mutex::default(),
            turn: tokio::sync::Mutex::new(()),
        }
    }

    /// How many members there are.
    pub(super) fn count(&self) -> usize {
        self.connect.count().max(1)
    }

    /// The connection that there is, or a new one to the first member that answers.
    pub(super) async fn get(&self) -> Result<Arc<Link>> {
        if let Some(link) = self.current() {
            return Ok(link);
        }
        let _turn = self.turn.lock().await;
        if let Some(link) = self.current() {
            return Ok(link);
        }
        let first = {
            let state = self.lock();
            if let Some((status, at)) = &state.failed
                && at.elapsed() < DIAL_GAP
            {
                return Err(copy(status));
            }
            state.next
        };
        let dialled = self.dial(first).await;
        let mut state = self.lock();
        match dialled {
            Ok((connection, member)) => {
                let link = Arc::new(Link::new(connection, member)?);
                tracing::debug!(peer = %link.connection.info().peer, "Connected to etcd");
                state.link = Some(Arc::clone(&link));
                state.next = member;
                state.failed = None;
                Ok(link)
            }
            Err(broken) => {
                let status = Status::unavailable(broken);
                state.failed = Some((copy(&status), Instant::now()));
                Err(status)
            }
        }
    }

    /// That a connection is of no use: the next one is to another member, if there is one.
    pub(super) fn lost(&self, link: &Arc<Link>) {
        link.lost.send_replace(true);
        let mut state = self.lock();
        if state
            .link
            .as_ref()
            .is_some_and(|current| Arc::ptr_eq(current, link))
        {
            state.link = None;
            state.next = (link.member + 1) % self.count();
        }
    }

    fn current(&self) -> Option<Arc<Link>> {
        let mut state = self.lock();
        let link = state.link.as_ref()?;
        if link.connection.load().state == State::Open {
            return Some(Arc::clone(link));
        }
        // Its member has said goodbye, or is gone.
        state.next = (link.member + 1) % self.count();
        state.link = None;
        None
    }

    /// Dials the members in turn until one answers.
    async fn dial(&self, first: usize) -> std::result::Result<(Connection, usize), Broken> {
        let count = self.count();
        let mut attempts = JoinSet::new();
        let mut launched = 0;
        let mut failed = None;
        loop {
            if launched < count + FURTHER && (launched < count || !attempts.is_empty()) {
                let member = (first + launched) % count;
                let connecting = self.connect.connect(member);
                attempts.spawn(async move { (connecting.await, member) });
                launched += 1;
            }
            let pause = if launched < count {
                NEXT_MEMBER
            } else {
                NEXT_ROUND
            };
            let ended = tokio::select! {
                ended = attempts.join_next() => ended,
                () = sleep(pause), if launched < count + FURTHER => continue,
            };
            match ended {
                Some(Ok((Ok(connection), member))) => return Ok((connection, member)),
                Some(Ok((Err(broken), _))) => {
                    tracing::debug!(error = %broken, "A member of etcd cannot be reached");
                    failed = Some(broken);
                }
                Some(Err(_)) => {}
                None => {
                    return Err(failed.unwrap_or_else(|| {
                        Broken::new(crate::exchange::Why::Closed).unprocessed()
                    }));
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Current> {
        lock(&self.state)
    }
}

impl fmt::Debug for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let link = self.lock().link.clone();
        f.debug_struct("Links")
            .field("connection", &link.map(|link| link.connection.clone()))
            .finish_non_exhaustive()
    }
}

// ===== impl Link =====

impl Link {
    fn new(connection: Connection, member: usize) -> Result<Link> {
        let options = ClientOptions::new().max_reply_size(MAX_MESSAGE).retries(0);
        let client = Client::over(connection.clone()).with(options)?;
        Ok(Link {
            kv: pb::new_kv_service("etcd", &client),
            watch: pb::new_watch_service("etcd", &client),
            lease: pb::new_lease_service("etcd", &client),
            auth: pb::new_auth_service("etcd", &client),
            connection,
            member,
            lost: watch::Sender::new(false),
        })
    }

    /// Resolves when it was found to be of no use.
    pub(super) async fn is_lost(&self) {
        let mut lost = self.lost.subscribe();
        // The sender lies beside; it cannot be gone.
        let _ = lost.wait_for(|lost| *lost).await;
    }
}

/// A status of this code and message.
pub(super) fn copy(status: &Status) -> Status {
    Status::new(status.code(), status.message())
}
