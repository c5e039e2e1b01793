//! [`Client`]: one session with ZooKeeper, over one connection at a time.
//!
//! | file | holds |
//! |---|---|
//! | `jute` | ZooKeeper's encoding |
//! | `proto` | its messages |
//! | `wire` | connections: dialled, greeted, read |
//! | `task` | the task that has the connection |
//!
//! A connection that is lost is made again, to whichever server answers, with the same session. What was asked
//! on it and not answered fails, as does what is asked meanwhile, and watches end: whoever has one reads again,
//! since nobody tells what happened in between. A session that ZooKeeper has given up, or that no server was
//! found for, is over for good.

mod jute;
mod proto;
mod task;
#[cfg(test)]
mod tests;
mod wire;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, mpsc, oneshot, watch};

use self::jute::Reader;
use self::proto::op;
pub(super) use self::proto::{Acl, Error, Stat};
use self::task::Request;
use self::wire::Identity;
#[cfg(feature = "tls")]
use crate::transport::ClientTls;

/// The most bytes of an answer. A node has 1 MiB at most (`jute.maxbuffer`); the names of 65,536 nodes, which
/// are the longest answers, have some 4 MiB.
const ANSWER_MAX: usize = 8 * 1024 * 1024;

/// Requests that wait to be sent; further ones wait for room.
const QUEUE: usize = 64;

/// The paths that a watch holds for its reader; with more, it ends, and its reader reads all.
const NOTICES: usize = 1024;

/// How a session is made.
pub(super) struct Options {
    /// At least one.
    pub(super) servers: Vec<Server>,
    pub(super) session_timeout: Duration,
    /// `user:password`, a secret.
    pub(super) digest: Option<String>,
}

/// A server of the ensemble.
#[derive(Clone)]
pub(super) struct Server {
    /// A name or an address, without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// `None` speaks in plain text.
    #[cfg(feature = "tls")]
    pub(super) tls: Option<ClientTls>,
}

/// A session. Clones share it; when the last one is dropped it is closed, and with it go its ephemeral nodes.
#[derive(Clone)]
pub(super) struct Client {
    requests: mpsc::Sender<Request>,
    state: watch::Receiver<State>,
    tidy: Arc<Notify>,
    session: i64,
}

/// How a session is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    Connected,
    /// Another connection is sought; why there is none.
    Disconnected(String),
    /// For good; why.
    Over(String),
}

/// News of what is at a path and below it.
pub(super) struct Watch {
    paths: mpsc::Receiver<String>,
    /// Dropped after the receiver, so that the task finds it closed.
    _tidy: Tidy,
}

/// Has the task look for watches that nobody has any more.
struct Tidy(Arc<Notify>);

// ===== impl Client =====

impl Client {
    /// Begins a session with the first server that takes one. Each is tried once.
    ///
    /// # Errors
    ///
    /// None does; the text says why the last did not.
    pub(super) async fn connect(options: Arc<Options>) -> Result<Client, String> {
        let link = task::round(&options, &Identity::default(), task::LIMITS.1).await;
        let link = link.map_err(task::Failed::text)?;
        let (requests, asked) = mpsc::channel(QUEUE);
        let (told, state) = watch::channel(State::Connected);
        let tidy = Arc::new(Notify::new());
        let session = link.welcome.session;
        tokio::spawn(task::run(options, link, asked, told, Arc::clone(&tidy)));
        Ok(Client {
            requests,
            state,
            tidy,
            session,
        })
    }

    /// The number of the session.
    pub(super) fn session(&self) -> i64 {
        self.session
    }

    /// How the session is, and will be.
    pub(super) fn state(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    pub(super) fn is_over(&self) -> bool {
        // A task that is gone has not ended well.
        self.state.has_changed().is_err() || matches!(*self.state.borrow(), State::Over(_))
    }

    pub(super) async fn get_data(&self, path: &str) -> Result<(Bytes, Stat), Error> {
        let mut answer = self.call(op::GET_DATA, proto::path(path)).await?;
        Ok((answer.data()?, proto::stat(&mut answer)?))
    }

    pub(super) async fn children(&self, path: &str) -> Result<Vec<String>, Error> {
        let mut answer = self.call(op::GET_CHILDREN, proto::path(path)).await?;
        Ok(answer.texts()?)
    }

    pub(super) async fn create(
        &self,
        path: &str,
        data: &[u8],
        acl: Acl,
        is_ephemeral: bool,
    ) -> Result<(), Error> {
        let request = proto::create(path, data, acl, is_ephemeral);
        self.call(op::CREATE, request).await.map(drop)
    }

    /// Makes a persistent node without data, and those above it that are not there.
    pub(super) async fn create_all(&self, path: &str, acl: Acl) -> Result<(), Error> {
        let ends = path.match_indices('/').map(|(at, _)| at).skip(1);
        for end in ends.chain([path.len()]) {
            let Some(path) = path.get(..end) else {
                continue;
            };
            // It may be there and guarded against being made.
            match self.call(op::EXISTS, proto::path(path)).await {
                Err(Error::NoNode) => {}
                found => {
                    found?;
                    continue;
                }
            }
            match self.create(path, &[], acl, false).await {
                Ok(()) | Err(Error::NodeExists) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes a node that has this version.
    pub(super) async fn set_data(
        &self,
        path: &str,
        data: &[u8],
        version: i32,
    ) -> Result<(), Error> {
        let request = proto::set_data(path, data, version);
        self.call(op::SET_DATA, request).await.map(drop)
    }

    /// Replaces a node that has this version by an ephemeral one of this session's, at once.
    pub(super) async fn replace(
        &self,
        path: &str,
        version: i32,
        data: &[u8],
        acl: Acl,
    ) -> Result<(), Error> {
        let request = proto::transaction(&[
            (op::DELETE, proto::delete(path, version)),
            (op::CREATE, proto::create(path, data, acl, true)),
        ]);
        let answer = self.call(op::MULTI, request).await?;
        proto::transacted(answer)
    }

    /// Takes a node out, whatever its version.
    pub(super) async fn delete(&self, path: &str) -> Result<(), Error> {
        self.call(op::DELETE, proto::delete(path, -1))
            .await
            .map(drop)
    }

    /// Has ZooKeeper, 3.6 or later, tell of what changes at a path or below it, from now on.
    pub(super) async fn watch(&self, path: &str) -> Result<Watch, Error> {
        let (news, paths) = mpsc::channel(NOTICES);
        let watch = Watch {
            paths,
            _tidy: Tidy(Arc::clone(&self.tidy)),
        };
        let request = Request::new(op::ADD_WATCH, proto::add_watch(path));
        self.ask(request.watching(path, news)).await?;
        Ok(watch)
    }

    async fn call(&self, operation: i32, body: Bytes) -> Result<Reader, Error> {
        self.ask(Request::new(operation, body)).await
    }

    async fn ask(&self, mut request: Request) -> Result<Reader, Error> {
        let (reply, answer) = oneshot::channel();
        request.reply = Some(reply);
        let sent = self.requests.send(request).await;
        sent.map_err(|_| Error::SessionLost)?;
        answer.await.unwrap_or(Err(Error::ConnectionLost))
    }
}

// ===== impl Watch =====

impl Watch {
    /// The path of what was made, changed or taken out; `None` when more has happened than is told, and nothing
    /// further is.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub(super) async fn next(&mut self) -> Option<String> {
        self.paths.recv().await
    }

    /// The same, if it is there already.
    pub(super) fn ready(&mut self) -> Option<String> {
        self.paths.try_recv().ok()
    }
}

impl Drop for Tidy {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

// ===== impl Server =====

impl Server {
    fn is_secure(&self) -> bool {
        #[cfg(feature = "tls")]
        if self.tls.is_some() {
            return true;
        }
        false
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}
