//! The session: made, kept, made anew when it is lost, and with it every node of ours.

use std::collections::BTreeMap;
use std::future::{Future, pending};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::{debug, info, warn};

use super::client::{self, Client, Options, State};
use super::config::Config;
use super::node;
use crate::backoff::Backoff;
use crate::error::Error;
use crate::lock::lock;

/// The pauses between attempts: a server that is back is found within a second.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// The same between attempts to write nodes that ZooKeeper refuses.
const REFUSED: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// How long a repeated call waits if no other session is in sight.
const AGAIN: Duration = Duration::from_millis(50);

/// A session; clones share it.
#[derive(Clone)]
pub(super) struct Session {
    pub(super) client: Client,
    /// Counts the sessions of one registry.
    pub(super) number: u64,
}

/// What the registry's handles, its session's task and its watches share.
pub(super) struct Shared {
    pub(super) config: Config,
    /// What is to be in ZooKeeper as long as there is a session: data by path. Short sections without a wait,
    /// hence a std mutex, as is the other.
    records: Mutex<BTreeMap<String, Arc<[u8]>>>,
    /// A record could not be written when it should have been.
    unwritten: Notify,
    /// Why there is no session.
    failure: Mutex<Option<String>>,
    /// Data that are no service have been found, which is said once.
    warned: AtomicBool,
}

/// Why a call failed.
pub(super) enum Failed {
    /// There was no answer; it may come to pass yet.
    Late(Error),
    /// ZooKeeper said no.
    Refused(Error),
}

/// The way to the session.
#[derive(Clone)]
pub(super) struct Link {
    pub(super) shared: Arc<Shared>,
    pub(super) sessions: watch::Receiver<Option<Session>>,
}

// ===== impl Shared =====

impl Shared {
    pub(super) fn new(config: Config) -> Shared {
        Shared {
            config,
            records: Mutex::default(),
            unwritten: Notify::new(),
            failure: Mutex::default(),
            warned: AtomicBool::new(false),
        }
    }

    pub(super) fn keep(&self, path: &str, data: Arc<[u8]>) {
        lock(&self.records).insert(path.to_owned(), data);
    }

    pub(super) fn forget(&self, path: &str) {
        lock(&self.records).remove(path);
    }

    pub(super) fn kept(&self, path: &str) -> Option<Arc<[u8]>> {
        lock(&self.records).get(path).cloned()
    }

    fn all_kept(&self) -> Vec<String> {
        lock(&self.records).keys().cloned().collect()
    }

    fn fails(&self, why: Option<String>) {
        *lock(&self.failure) = why;
    }

    pub(super) fn warn_of_data(&self, path: &str, why: &str) {
        if self.warned.swap(true, Ordering::Relaxed) {
            debug!(
                path,
                why, "A node in ZooKeeper is no service, it is left out"
            );
        } else {
            warn!(
                path,
                why,
                "A node in ZooKeeper is no service, it is left out; further ones are not told of"
            );
        }
    }

    /// Has the session's task write what could not be written.
    pub(super) fn write_later(&self) {
        self.unwritten.notify_one();
    }

    /// No answer came within the time of a call.
    pub(super) fn late(&self) -> Error {
        let (cluster, timeout) = (self.config.cluster(), self.config.timeout);
        let why = lock(&self.failure).clone();
        let why = why.map_or_else(String::new, |why| format!(": {why}"));
        Error::registry(format_args!(
            "zookeeper at {cluster} gave no answer within {timeout:?}{why}"
        ))
    }
}

// ===== impl Link =====

impl Link {
    /// The session, as soon as there is one; `None` when there will be none any more.
    pub(super) async fn session(&mut self) -> Option<Session> {
        let session = self.sessions.wait_for(Option::is_some).await;
        let session = session.ok()?.clone();
        // What was said last stays to be read after the task has ended.
        self.sessions.has_changed().ok()?;
        session
    }

    /// Makes a call, again and again until it has an answer or the time of a call is over. One that is lost
    /// with its connection or session may have been done, so it must bear to be done twice.
    pub(super) async fn call<T, F>(&mut self, call: impl Fn(Session) -> F) -> Result<T, Failed>
    where
        F: Future<Output = Result<T, client::Error>>,
    {
        let deadline = Instant::now() + self.shared.config.timeout;
        let late = |shared: &Shared| Failed::Late(shared.late());
        loop {
            let session = match timeout_at(deadline, self.session()).await {
                Ok(Some(session)) => session,
                Ok(None) => return Err(Failed::Late(ended())),
                Err(_) => return Err(late(&self.shared)),
            };
            let answer = tokio::select! {
                answer = timeout_at(deadline, call(session)) => answer.map_err(|_| late(&self.shared))?,
                changed = self.sessions.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return Err(Failed::Late(ended())),
                },
            };
            match answer {
                Ok(answer) => return Ok(answer),
                Err(error) if is_lost(&error) => {
                    // Another session is near, or the same one will be connected again.
                    let changed = timeout(AGAIN, self.sessions.changed()).await;
                    if matches!(changed, Ok(Err(_))) {
                        return Err(Failed::Late(ended()));
                    }
                    if Instant::now() >= deadline {
                        return Err(late(&self.shared));
                    }
                }
                Err(error) => return Err(Failed::Refused(refused(&error))),
            }
        }
    }
}

/// Whether a call may have been done or not, since what it went through is gone.
pub(super) fn is_lost(error: &client::Error) -> bool {
    use client::Error as E;
    matches!(error, E::ConnectionLost | E::SessionLost | E::Throttled)
}

impl From<Failed> for Error {
    fn from(failed: Failed) -> Error {
        match failed {
            Failed::Late(error) | Failed::Refused(error) => error,
        }
    }
}

pub(super) fn ended() -> Error {
    Error::registry("the zookeeper registry's task has ended with its tokio runtime")
}

pub(super) fn refused(error: &client::Error) -> Error {
    let hint = match error {
        client::Error::NoAuth => {
            "; the nodes of go-micro's registry are guarded there: give the address a user and password that \
             may read and write them"
        }
        client::Error::AuthFailed => "; the user or the password is wrong",
        _ => "",
    };
    Error::registry(format_args!("zookeeper refused: {error}{hint}"))
}

/// Keeps a session until nobody has the registry.
pub(super) async fn run(shared: Arc<Shared>, sessions: watch::Sender<Option<Session>>) {
    let mut number = 0;
    let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
    loop {
        let client = connect(&shared, &mut backoff).await;
        number += 1;
        let session = Session { client, number };
        shared.fails(None);
        debug!(number, "A ZooKeeper session was made");
        sessions.send_replace(Some(session.clone()));
        let begun = Instant::now();
        let why = serve(&shared, &session).await;
        info!(
            number,
            why, "The ZooKeeper session is over, another is made"
        );
        shared.fails(Some(format!("the session is over: {why}")));
        sessions.send_replace(None);
        // A session that ends at once, time after time, must not be made without a pause.
        if begun.elapsed() >= BACKOFF.1 {
            backoff.reset();
        }
        sleep(backoff.next()).await;
    }
}

/// Tries until there is a connection.
async fn connect(shared: &Shared, backoff: &mut Backoff) -> Client {
    let options = Arc::new(Options {
        servers: shared.config.servers.clone(),
        session_timeout: shared.config.session_timeout,
        digest: shared.config.digest.clone(),
    });
    let mut told = false;
    loop {
        let why = match Client::connect(Arc::clone(&options)).await {
            Ok(client) => {
                if told {
                    info!(servers = shared.config.cluster(), "ZooKeeper answers again");
                }
                return client;
            }
            Err(why) => why,
        };
        if !std::mem::replace(&mut told, true) {
            let servers = shared.config.cluster();
            warn!(servers, why, "ZooKeeper cannot be reached, it is tried on");
        }
        shared.fails(Some(why));
        sleep(backoff.next()).await;
    }
}

/// Uses a session until it is over; gives why.
async fn serve(shared: &Shared, session: &Session) -> String {
    let mut states = session.client.state();
    let mut refused = Backoff::new(REFUSED.0, REFUSED.1);
    let mut write_at = Some(Instant::now());
    loop {
        let state = states.borrow_and_update().clone();
        match state {
            State::Over(why) => return why,
            State::Disconnected(why) => {
                shared.fails(Some(why));
                if states.changed().await.is_err() {
                    return "its task has ended".to_owned();
                }
                // Whatever was written before is there, if the session is; whatever was under way may not be.
                write_at = Some(Instant::now());
                continue;
            }
            State::Connected => shared.fails(None),
        }
        let write = async {
            match write_at {
                Some(at) => tokio::time::sleep_until(at).await,
                None => pending().await,
            }
            write_all(shared, session).await
        };
        tokio::select! {
            changed = states.changed() => {
                if changed.is_err() {
                    return "its task has ended".to_owned();
                }
                // A connection that was lost and made again between two looks is one of those.
                write_at = Some(Instant::now());
            }
            done = write => {
                write_at = if done {
                    refused.reset();
                    None
                } else {
                    Some(Instant::now() + refused.next())
                };
            }
            () = shared.unwritten.notified() => {
                write_at.get_or_insert_with(Instant::now);
            }
        }
    }
}

/// Makes sure of every node of ours; whether all went well.
async fn write_all(shared: &Shared, session: &Session) -> bool {
    let mut well = true;
    for path in shared.all_kept() {
        // A node that is given up or changed meanwhile is looked at once more.
        while let Some(data) = shared.kept(&path) {
            if let Err(error) = node::ensure(shared, session, &path, &data).await {
                if !is_lost(&error) {
                    warn!(path, %error, "ZooKeeper refuses a node, it is tried on");
                }
                well = false;
                break;
            }
            if shared.kept(&path).as_deref() == Some(&*data) {
                break;
            }
            if shared.kept(&path).is_none()
                && let Err(error) = node::remove(shared, session, &path).await
            {
                debug!(path, %error, "A node that was given up could not be taken out, it ends with the session");
            }
        }
    }
    well
}
