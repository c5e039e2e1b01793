//! [`Link`]: a connection that is made when it is needed, and again when it is lost.
//!
//! The library's own recovery is not used: it gives up after some tries. A connection of its own serves until
//! it fails, and is then replaced by another one.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_core::Stream;
use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo};
use lapin::{Connection, ConnectionProperties, Event as Change};
use tokio::runtime::Handle;
use tokio::sync::{Notify, OnceCell, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, warn};

use super::config::{Config, Server};
use super::fault::{ACCESS_REFUSED, Fault, NOT_ALLOWED, reply, shown};
use super::publish::Outlet;
use super::socket::{Socket, speak};
use super::tap::Tap;
use super::trial::Trials;
use crate::backoff::Backoff;
use crate::exchange::Io;
use crate::lock::lock;
use crate::transport::dial_tcp;

/// The pauses between attempts: a server that is back is found within a second.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// A connection that lives that long was a good one: the next pause is the shortest again.
const WELL: Duration = Duration::from_secs(5);

/// How long a server may take to take us.
const CONNECT: Duration = Duration::from_secs(5);

/// How long a server may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(2);

/// In seconds: asked for twice in this time; a server that says nothing for twice as long is gone.
const HEARTBEAT: u16 = 5;

/// The largest frame, in bytes. The library keeps buffers of 32 frames each way: 2 MiB with this.
pub(super) const FRAME_MAX: u32 = 1 << 16;

/// How often a connection is looked at that has not told of its end.
const LOOK: Duration = Duration::from_millis(500);

/// How often it is said that a server is still away.
const TELL: Duration = Duration::from_secs(30);

/// What a connection is for. They are apart, because a server that runs out of memory or disk reads nothing
/// more from connections that publish, acknowledgements too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Publish,
    Consume,
}

/// A connection that is made when it is needed. Dropping this ends it.
pub(super) struct Link {
    shared: Arc<Shared>,
    /// Held for a look at the task, or to start it.
    running: Mutex<Option<AbortHandle>>,
}

struct Shared {
    config: Arc<Config>,
    role: Role,
    state: watch::Sender<State>,
}

#[derive(Clone)]
enum State {
    Idle,
    /// With what went wrong last, if anything did.
    Trying(Option<Arc<str>>),
    /// Nobody tries any more, until somebody asks again.
    Refused(Arc<str>),
    Up(Arc<Connected>),
}

/// A connection that stands, or stood.
pub(super) struct Connected {
    pub(super) connection: Connection,
    pub(super) tap: Arc<Tap>,
    /// The server's address.
    pub(super) server: String,
    /// For publications at most once, and at least once.
    pub(super) outlets: [OnceCell<Arc<Outlet>>; 2],
    /// Of the topics that are published on, in the same order.
    pub(super) trials: [Trials; 2],
    gone: watch::Sender<bool>,
    useless: Notify,
    /// Why the server takes no publications at the moment.
    blocked: Mutex<Option<String>>,
}

// ===== impl Link =====

impl Link {
    pub(super) fn new(config: Arc<Config>, role: Role) -> Link {
        Link {
            shared: Arc::new(Shared {
                config,
                role,
                state: watch::Sender::new(State::Idle),
            }),
            running: Mutex::new(None),
        }
    }

    /// The connection, which is waited for. Says in `why` what it waits for.
    ///
    /// # Errors
    /// The servers refuse us, or there is no runtime.
    pub(super) async fn up(&self, why: &mut Option<String>) -> Result<Arc<Connected>, Fault> {
        if let State::Up(connected) = &*self.shared.state.borrow() {
            return Ok(Arc::clone(connected));
        }
        let mut state = self.shared.state.subscribe();
        self.start()?;
        loop {
            let now = state.borrow_and_update().clone();
            match now {
                State::Up(connected) => return Ok(connected),
                State::Refused(text) => return Err(Fault::Config(text.to_string())),
                State::Trying(text) => *why = text.as_deref().map(str::to_owned).or(why.take()),
                // Somebody has stopped it.
                State::Idle => self.start()?,
            }
            if state.changed().await.is_err() {
                return Err(Fault::Lost("the connection is closed".to_owned()));
            }
        }
    }

    /// Starts the task, if there is none, or none any more.
    fn start(&self) -> Result<(), Fault> {
        let mut running = lock(&self.running);
        if running.as_ref().is_some_and(|task| !task.is_finished()) {
            return Ok(());
        }
        let runtime = Handle::try_current().map_err(|_| {
            Fault::Lost("broker::RabbitMq must be used within a tokio runtime".to_owned())
        })?;
        self.shared.state.send_replace(State::Trying(None));
        let task = runtime.spawn(keep(Arc::clone(&self.shared)));
        *running = Some(task.abort_handle());
        Ok(())
    }

    /// Ends the connection; whoever needs one again makes another.
    pub(super) async fn stop(&self) {
        let before = {
            let mut running = lock(&self.running);
            if let Some(task) = running.take() {
                task.abort();
            }
            self.shared.state.send_replace(State::Idle)
        };
        if let State::Up(connected) = before {
            connected.gone.send_replace(true);
            let goodbye = connected.connection.close(200, "closed".into());
            // The server's answer matters to nobody.
            let _ = timeout(GOODBYE, goodbye).await;
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Some(task) = lock(&self.running).take() {
            task.abort();
        }
    }
}

// ===== impl Connected =====

impl Connected {
    /// Resolves when it is lost.
    pub(super) async fn lost(&self) {
        // Its sender lives as long as this.
        let _ = self.gone.subscribe().wait_for(|gone| *gone).await;
    }

    /// Has it replaced: something on it has failed for good, though it may stand.
    pub(super) fn give_up(&self) {
        self.useless.notify_one();
    }

    /// Why the server takes no publications at the moment, if it said so.
    pub(super) fn blocked(&self) -> Option<String> {
        lock(&self.blocked).clone()
    }
}

// ===== the task =====

/// Keeps a connection until the servers refuse us.
async fn keep(shared: Arc<Shared>) {
    let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
    let mut first = 0;
    let mut told: Option<Instant> = None;
    loop {
        let why = match connect(&shared, &mut first).await {
            Ok(connected) => {
                if told.take().is_some() {
                    info!(server = connected.server, role = ?shared.role, "RabbitMQ answers again");
                }
                let since = Instant::now();
                let connected = Arc::new(connected);
                shared.state.send_replace(State::Up(Arc::clone(&connected)));
                let why = watch(&connected).await;
                connected.gone.send_replace(true);
                if since.elapsed() > WELL {
                    backoff.reset();
                }
                first += 1;
                why
            }
            Err(Fault::Config(text)) => {
                shared.state.send_replace(State::Refused(text.into()));
                return;
            }
            Err(Fault::Lost(why)) => why,
        };
        if told.is_none_or(|told| told.elapsed() > TELL) {
            told = Some(Instant::now());
            warn!(role = ?shared.role, why, "RabbitMQ cannot be reached, it is tried on");
        }
        shared.state.send_replace(State::Trying(Some(why.into())));
        sleep(backoff.next()).await;
    }
}

/// Tries each server once, from this one on.
async fn connect(shared: &Shared, first: &mut usize) -> Result<Connected, Fault> {
    let servers = &shared.config.servers;
    let mut lost = Vec::new();
    let mut refused = Vec::new();
    for number in 0..servers.len() {
        let index = (*first + number) % servers.len();
        let Some(server) = servers.get(index) else {
            continue;
        };
        match attempt(&shared.config, server, shared.role).await {
            Ok(connected) => {
                *first = index;
                return Ok(connected);
            }
            Err(Fault::Lost(why)) => lost.push(why),
            Err(Fault::Config(why)) => refused.push(why),
        }
    }
    if lost.is_empty() {
        return Err(Fault::Config(refused.join("; ")));
    }
    lost.append(&mut refused);
    Err(Fault::Lost(lost.join("; ")))
}

async fn attempt(config: &Config, server: &Server, role: Role) -> Result<Connected, Fault> {
    let address = &server.shown;
    match timeout(CONNECT, handshake(config, server, role)).await {
        Ok(result) => result,
        Err(_) => Err(Fault::Lost(format!(
            "{address} gave no answer within {CONNECT:?}"
        ))),
    }
}

async fn handshake(config: &Config, server: &Server, role: Role) -> Result<Connected, Fault> {
    let address = &server.shown;
    let dialled = dial_tcp(&server.host, server.port).await;
    let io = Io::new(
        dialled.map_err(|error| Fault::Lost(format!("cannot connect to {address}: {error}")))?,
    );
    #[cfg(feature = "tls")]
    let io = match config.tls.as_ref().or(server.tls.as_ref()) {
        Some(tls) => tls.connect(io, &server.host, &[]).await.map_err(|broken| {
            Fault::Lost(format!("cannot connect to {address}: {}", broken.detail))
        })?,
        None => io,
    };
    #[cfg(not(feature = "tls"))]
    let _ = config;
    let tap = Arc::new(Tap::default());
    let (socket, scissors) = Socket::new(io, Arc::clone(&tap), role == Role::Publish);
    let name = match role {
        Role::Publish => "micro, publishing",
        Role::Consume => "micro, consuming",
    };
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    let spoken = speak(socket, uri(server), properties).await;
    let connection = spoken.map_err(|error| refusal(server, &error))?;
    scissors.spare();
    debug!(server = address, ?role, "connected to RabbitMQ");
    Ok(Connected {
        connection,
        tap,
        server: address.clone(),
        outlets: Default::default(),
        trials: [Trials::new(), Trials::new()],
        gone: watch::Sender::new(false),
        useless: Notify::new(),
        blocked: Mutex::default(),
    })
}

fn uri(server: &Server) -> AMQPUri {
    AMQPUri {
        // What is under AMQP is made already.
        scheme: AMQPScheme::AMQP,
        authority: AMQPAuthority {
            userinfo: AMQPUserInfo {
                username: server.user.clone(),
                password: server.password.clone(),
            },
            host: server.host.clone(),
            port: server.port,
        },
        vhost: server.vhost.clone(),
        query: AMQPQueryString {
            heartbeat: Some(HEARTBEAT),
            frame_max: Some(FRAME_MAX),
            ..AMQPQueryString::default()
        },
    }
}

/// Why a server did not take us.
fn refusal(server: &Server, error: &lapin::Error) -> Fault {
    let (address, user, vhost) = (&server.shown, &server.user, &server.vhost);
    match reply(error) {
        Some((ACCESS_REFUSED, text)) => Fault::Config(format!(
            "RabbitMQ at {address} refuses the user {user:?}: {text}; give the right user and password in the \
             address, amqp://user:password@host/vhost"
        )),
        // A virtual host that is being started is called down.
        Some((NOT_ALLOWED, text)) if !text.contains(" down") => Fault::Config(format!(
            "RabbitMQ at {address} does not let the user {user:?} into the virtual host {vhost:?}: {text}; \
             name one that there is in the address, amqp://user:password@host/vhost, or give the user its rights"
        )),
        _ => Fault::Lost(format!("cannot connect to {address}: {}", shown(error))),
    }
}

/// Resolves when the connection is lost or of no use, with the reason.
async fn watch(connected: &Connected) -> String {
    let mut changes = pin!(connected.connection.events_listener());
    loop {
        let change = poll_fn(|cx| changes.as_mut().poll_next(cx));
        tokio::select! {
            change = change => match change {
                Some(Change::Error(error)) => {
                    return format!("the connection to {} was lost: {}", connected.server, shown(&error));
                }
                Some(Change::ConnectionBlocked(reason)) => {
                    warn!(server = connected.server, reason, "RabbitMQ takes no publications for now");
                    *lock(&connected.blocked) = Some(reason);
                }
                Some(Change::ConnectionUnblocked) => {
                    info!(server = connected.server, "RabbitMQ takes publications again");
                    *lock(&connected.blocked) = None;
                }
                Some(_) => {}
                None => return format!("the connection to {} was lost", connected.server),
            },
            () = connected.useless.notified() => {
                return format!("the connection to {} failed, it is made anew", connected.server);
            }
            // Its end may have come before it was listened to.
            () = sleep(LOOK) => if !connected.connection.status().connected() {
                return format!("the connection to {} was lost", connected.server);
            },
        }
    }
}
