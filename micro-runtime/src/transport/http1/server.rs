//! [`serve`]: a server of POST requests whose bodies fit into memory.
//!
//! What peers may do to the process is bounded: connections, and the bytes of all bodies that are in memory at
//! once, in number; heads, bodies and idle connections in time.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::watched::{Activity, Phase, Watched};
use crate::exchange::{BoxFuture, Drain, DrainState};
use crate::transport::accept::{Entered, accept_with};
use crate::transport::{Listener, ServerLimits};

/// The most headers of a request, and the most bytes of its head.
const HEADERS_MAX: usize = 64;
const HEAD_MAX: usize = 64 * 1024;

/// How long an idle connection is kept: longer than clients keep theirs (ours 50 s, Go's 90 s where one is set), so
/// that they close it, who know that nothing is on its way.
const IDLE_FOR: Duration = Duration::from_secs(300);

/// What a request counts for at least, in bytes of memory: its task, its head and its buffers.
const COUNTED_LEAST: usize = 4096;

/// What bodies may take.
#[derive(Clone, Debug)]
pub(crate) struct BodyLimits {
    /// The most bytes of one.
    pub(crate) largest: usize,
    /// The most bytes of all that are in memory.
    pub(crate) memory: usize,
    /// How long a request waits for room in that memory.
    pub(crate) room: Duration,
    /// How long one may take to arrive.
    pub(crate) arrival: Duration,
}

/// A request.
#[derive(Debug)]
pub(crate) struct Received {
    /// What stands behind the `?`.
    pub(crate) query: String,
    pub(crate) body: Bytes,
}

/// What is answered.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    pub(crate) body: Bytes,
}

/// Why a request did not become one that is [`Received`].
#[derive(Debug)]
pub(crate) enum Refusal {
    /// Its method is not POST.
    Method,
    /// Its body has more bytes than this.
    TooLarge(usize),
    /// There was no room for its body within this time.
    Busy(Duration),
    /// Its body was not there within this time.
    Late(Duration),
    /// Its body broke off.
    Unread(String),
}

/// Answers requests.
pub(crate) trait Answerer: Send + Sync + 'static {
    /// Answers one. The future is dropped when the peer is gone.
    fn answer(&self, received: Received) -> BoxFuture<'static, Reply>;

    /// Words a refusal.
    fn refuse(&self, refusal: &Refusal) -> Reply;
}

/// What every connection needs.
struct Shared {
    bodies: BodyLimits,
    memory: Arc<Semaphore>,
    answerer: Arc<dyn Answerer>,
}

/// Serves until the drain begins; connections then end by themselves, with everything answered, each holding the
/// drain until it is over. Heads must come within [`ServerLimits::detect_timeout`].
pub(crate) async fn serve(
    listener: Listener,
    limits: ServerLimits,
    bodies: BodyLimits,
    answerer: Arc<dyn Answerer>,
    drain: Drain,
) {
    let memory = bodies.memory.min(Semaphore::MAX_PERMITS);
    let shared = Arc::new(Shared {
        memory: Arc::new(Semaphore::new(memory)),
        bodies,
        answerer,
    });
    accept_with(listener, Arc::new(limits), drain, move |entered, drain| {
        connection(entered, Arc::clone(&shared), drain)
    })
    .await;
}

async fn connection(entered: Entered, shared: Arc<Shared>, mut drain: Drain) {
    let Entered {
        io, info, limits, ..
    } = entered;
    let activity = Activity::new();
    let io = Watched::new(io, activity.clone());
    let service = service_fn(|request| {
        let (shared, activity) = (Arc::clone(&shared), activity.clone());
        async move {
            activity.set(Phase::Busy);
            let reply = shared.respond(request).await;
            activity.set(Phase::Idle);
            Ok::<_, Infallible>(written(reply))
        }
    });
    let mut served = pin!(
        hyper::server::conn::http1::Builder::new()
            .header_read_timeout(None)
            .max_headers(HEADERS_MAX)
            .max_buf_size(HEAD_MAX)
            .serve_connection(TokioIo::new(io), service)
    );
    let mut overdue = pin!(activity.overdue(limits.detect_timeout, IDLE_FOR));
    let mut state = DrainState::Draining;
    loop {
        tokio::select! {
            ended = served.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(peer = %info.peer, %error, "a connection broke");
                }
                return;
            }
            () = drain.reached(state) => {
                if state == DrainState::Closing {
                    return;
                }
                state = DrainState::Closing;
                served.as_mut().graceful_shutdown();
            }
            phase = overdue.as_mut() => {
                tracing::debug!(peer = %info.peer, ?phase, "a connection kept us waiting, it is closed");
                return;
            }
        }
    }
}

// ===== impl Shared =====

impl Shared {
    async fn respond(&self, request: http::Request<Incoming>) -> Reply {
        match self.receive(request).await {
            Ok((received, room)) => {
                let reply = self.answerer.answer(received).await;
                drop(room);
                reply
            }
            Err(refusal) => self.answerer.refuse(&refusal),
        }
    }

    /// Reads a request, once there is room for it.
    async fn receive(
        &self,
        request: http::Request<Incoming>,
    ) -> Result<(Received, OwnedSemaphorePermit), Refusal> {
        if request.method() != http::Method::POST {
            return Err(Refusal::Method);
        }
        let BodyLimits {
            largest,
            room,
            arrival,
            ..
        } = self.bodies;
        let (head, body) = request.into_parts();
        let size = body.size_hint();
        let length = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        if length(size.lower()) > largest {
            return Err(Refusal::TooLarge(largest));
        }
        // A body in chunks does not say how long it is.
        let counted = size
            .upper()
            .map_or(largest, length)
            .clamp(COUNTED_LEAST, largest.max(COUNTED_LEAST))
            .min(self.bodies.memory);
        let counted = u32::try_from(counted).unwrap_or(u32::MAX);
        let acquired = Arc::clone(&self.memory).acquire_many_owned(counted);
        let Ok(Ok(permit)) = timeout(room, acquired).await else {
            return Err(Refusal::Busy(room));
        };
        let body = match timeout(arrival, Limited::new(body, largest).collect()).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                return Err(Refusal::TooLarge(largest));
            }
            Ok(Err(error)) => return Err(Refusal::Unread(error.to_string())),
            Err(_) => return Err(Refusal::Late(arrival)),
        };
        let query = head.uri.query().unwrap_or_default().to_owned();
        Ok((Received { query, body }, permit))
    }
}

fn written(reply: Reply) -> http::Response<Full<Bytes>> {
    let mut written = http::Response::new(Full::new(reply.body));
    *written.status_mut() =
        http::StatusCode::from_u16(reply.status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    let headers = written.headers_mut();
    if !reply.content_type.is_empty() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(reply.content_type));
    }
    // RFC 9110 §15.5.6.
    if reply.status == 405 {
        headers.insert(ALLOW, HeaderValue::from_static("POST"));
    }
    written
}
