//! [`Core`]: one question and its answer, whichever member gives it.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, timeout_at};

use super::auth::{Token, Tokens, wants_token};
use super::endpoint::{Connect, Credentials};
use super::keys::{Keys, Warned};
use super::lease::{COMMANDS, Command};
use super::link::{Link, Links};
use super::pb;
use crate::client::{Call, Unary};
use crate::context::Context;
use crate::error::Error;
use crate::exchange::BoxFuture;
use crate::lock::lock;
use crate::status::{Code, Result, Status};

/// How long one member may take over an answer before another is asked.
const ATTEMPT: Duration = Duration::from_secs(2);

/// Registrations whose own keys are watched at once. Further ones find out with their next renewal.
const GUARDS: usize = 32;

/// What everything of one registry shares.
pub(super) struct Core {
    /// The addresses, for messages.
    pub(super) shown: String,
    pub(super) links: Links,
    pub(super) tokens: Tokens,
    pub(super) keys: Keys,
    pub(super) warned: Warned,
    pub(super) guards: Arc<Semaphore>,
    /// Who keeps which key. Held for short sections without a wait.
    keepers: Mutex<HashMap<String, mpsc::Sender<Command>>>,
    timeout: Duration,
}

/// What a call is made with.
pub(super) struct Terms {
    pub(super) timeout: Option<Duration>,
    pub(super) token: Token,
}

// ===== impl Core =====

impl Core {
    pub(super) fn new(
        shown: String,
        connect: impl Connect,
        credentials: Option<Credentials>,
        prefix: &str,
        timeout: Duration,
    ) -> Core {
        Core {
            shown,
            links: Links::new(connect),
            tokens: Tokens::new(credentials),
            keys: Keys::new(prefix),
            warned: Warned::default(),
            guards: Arc::new(Semaphore::new(GUARDS)),
            keepers: Mutex::default(),
            timeout,
        }
    }

    /// Makes a call, that may be made more than once: on another member if the first is of no use, and with
    /// another token if the first is too old.
    pub(super) async fn call<T>(
        &self,
        make: impl for<'a> Fn(&'a Link, &'a Terms) -> BoxFuture<'a, Result<T>>,
    ) -> Result<T> {
        let by = Instant::now() + self.timeout;
        let mut lost = 0;
        let mut new_token = false;
        loop {
            let late = |_| {
                let within = self.timeout;
                Status::deadline_exceeded(format_args!("no member answered within {within:?}"))
            };
            let link = timeout_at(by, self.links.get()).await.map_err(late)??;
            let mut terms = Terms {
                timeout: Some(ATTEMPT.min(by - Instant::now())),
                token: None,
            };
            let answer = match timeout_at(by, self.tokens.get(&link, &terms))
                .await
                .map_err(late)?
            {
                Ok(token) => {
                    terms.token = token;
                    make(&link, &terms).await
                }
                Err(status) => Err(status),
            };
            let status = match answer {
                Ok(answer) => return Ok(answer),
                Err(status) => status,
            };
            if is_lost(&status) {
                self.links.lost(&link);
                lost += 1;
                // Each member, and the first one once more: its connection may just have been an old one.
                if lost > self.links.count() || Instant::now() >= by {
                    return Err(status);
                }
            } else if wants_token(status.code(), status.message())
                && !new_token
                && self.tokens.refused(&terms.token)
            {
                new_token = true;
            } else {
                return Err(status);
            }
        }
    }

    /// Hands a command to the keeper of a key. If there is none yet, the other end of its commands comes back.
    ///
    /// # Errors
    /// The keeper has too many commands to carry out.
    pub(super) fn command(
        &self,
        key: &str,
        command: Command,
    ) -> std::result::Result<Option<mpsc::Receiver<Command>>, Error> {
        let mut keepers = self.keepers();
        let full = |_| {
            Error::registry(format_args!(
                "{COMMANDS} registrations and deregistrations of {key:?} wait for etcd at {} already",
                self.shown
            ))
        };
        // One whose runtime is gone is no keeper any more.
        if let Some(keeper) = keepers.get(key).filter(|keeper| !keeper.is_closed()) {
            return keeper.try_send(command).map(|()| None).map_err(full);
        }
        let (sender, receiver) = mpsc::channel(COMMANDS);
        sender.try_send(command).map_err(full)?;
        keepers.insert(key.to_owned(), sender);
        Ok(Some(receiver))
    }

    /// Takes a keeper out that has nothing to do; whether it had not.
    pub(super) fn forget(&self, key: &str, commands: &mpsc::Receiver<Command>) -> bool {
        let mut keepers = self.keepers();
        let idle = commands.is_empty();
        if idle {
            keepers.remove(key);
        }
        idle
    }

    fn keepers(&self) -> MutexGuard<'_, HashMap<String, mpsc::Sender<Command>>> {
        lock(&self.keepers)
    }

    /// What of a lease is left, in seconds: 0 if there is none.
    pub(super) async fn keep_alive(&self, lease: i64) -> Result<i64> {
        self.call(|link, terms| {
            Box::pin(async move {
                let (mut requests, mut replies) =
                    terms.apply(link.lease.lease_keep_alive()).await?;
                requests
                    .send(pb::LeaseKeepAliveRequest { id: lease })
                    .await?;
                requests.finish().await?;
                match replies.recv().await? {
                    Some(reply) => Ok(reply.ttl),
                    None => Err(Status::unavailable("a renewal ended without an answer")),
                }
            })
        })
        .await
    }

    /// An error of the registry, which says what could not be done.
    pub(super) fn error(&self, what: impl fmt::Display, status: &Status) -> Error {
        Error::registry(format_args!(
            "etcd at {} could not {what}: {status}",
            self.shown
        ))
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core")
            .field("endpoints", &self.shown)
            .field("links", &self.links)
            .field("tokens", &self.tokens)
            .finish_non_exhaustive()
    }
}

// ===== impl Terms =====

impl Terms {
    /// Gives them to a call, which inherits nothing of the handler that asked: neither its deadline, since the
    /// work may be for others too, nor its metadata, which is none of etcd's business.
    pub(super) fn apply<Req, Rsp, K>(&self, call: Call<Req, Rsp, K>) -> Call<Req, Rsp, K> {
        let mut call = call.context(&Context::default());
        if let Some(timeout) = self.timeout {
            call = call.timeout(timeout);
        }
        match &self.token {
            Some(token) => call.metadata("token", &**token),
            None => call,
        }
    }
}

/// Whether it is the member, or the way to it, that failed: another one may do better.
pub(super) fn is_lost(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Internal
    )
}

/// A unary call as [`Core::call`] wants it.
pub(super) fn unary<'a, Req: Send + 'static, Rsp: Send + 'static>(
    call: Call<Req, Rsp, Unary>,
    terms: &Terms,
) -> BoxFuture<'a, Result<Rsp>> {
    Box::pin(terms.apply(call))
}
