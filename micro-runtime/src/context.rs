//! [`Context`]: what a handler knows of its call or event, and what the calls that it makes inherit.

use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use tokio::sync::Notify;

use crate::broker::Event;
use crate::broker::message::{CONTENT_TYPE, MICRO_DEAD};
use crate::deadline::Deadline;
use crate::exchange::{ConnInfo, Head, PeerAddr, PeerIdentity};
use crate::lock::lock;
use crate::metadata::{Metadata, can_be_sent};
use crate::protocol::grpc;

tokio::task_local! {
    /// The context of the handler that is being polled.
    static CURRENT: Context;
}

/// A call, or an event, as its handler sees it. Cloning it is cheap; a clone in a task of its own outlives the handler.
///
/// # Cancellation
/// When the caller gives the call up, or its deadline passes, the handler's future is dropped at its next
/// await. Work that must finish goes into a task of its own (`tokio::spawn`); such a task can ask
/// [`Context::cancelled`]. A handler that returns cancels nothing.
///
/// # What the calls of a handler inherit
/// A call that is made while a handler runs inherits its deadline (it may be shortened, never extended), its
/// cancellation and its metadata, but for the headers of one hop (`content-…`, `grpc-…`, `user-agent`,
/// `timeout` and their like) and for credentials (`authorization`, `cookie`), which go on only when the call
/// says so. It is taken when the call is created, so that `tokio::spawn(stock.left(order))` inherits. A task
/// that makes calls itself is wrapped in [`Context::scope`]. Events that are published meanwhile inherit the same.
///
/// `Context::default()` is the context of no call, for tests of a handler alone: no metadata, no deadline.
#[derive(Clone, Default)]
pub struct Context(Arc<Inner>);

#[derive(Default)]
struct Inner {
    head: Option<Head>,
    event: Option<Event>,
    metadata: OnceLock<Metadata>,
    deadline: Option<Deadline>,
    conn: Option<Arc<ConnInfo>>,
    reply: Mutex<Reply>,
    cancelled: AtomicBool,
    notify: Notify,
}

#[derive(Default)]
struct Reply {
    headers: Metadata,
    trailers: Metadata,
}

// ===== impl Context =====

impl Context {
    pub(crate) fn of_request(
        head: Head,
        deadline: Option<Deadline>,
        conn: Arc<ConnInfo>,
    ) -> Context {
        Context(Arc::new(Inner {
            head: Some(head),
            deadline,
            conn: Some(conn),
            ..Inner::default()
        }))
    }

    /// The context of a handler of this event.
    pub(crate) fn of_event(event: Event, deadline: Option<Deadline>) -> Context {
        Context(Arc::new(Inner {
            event: Some(event),
            deadline,
            ..Inner::default()
        }))
    }

    /// A context without metadata.
    pub(crate) fn with_deadline(deadline: Option<Deadline>) -> Context {
        Context(Arc::new(Inner {
            deadline,
            ..Inner::default()
        }))
    }

    /// A context with this metadata and no deadline, for tests of a handler alone.
    #[must_use]
    pub fn with_metadata(metadata: Metadata) -> Context {
        Context(Arc::new(Inner {
            metadata: OnceLock::from(metadata),
            ..Inner::default()
        }))
    }

    /// The metadata that came with the request, or the headers of the event, but for its content type.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        self.0
            .metadata
            .get_or_init(|| match (&self.0.head, &self.0.event) {
                (Some(head), _) => grpc::read_request(head),
                (None, Some(event)) => {
                    let mut metadata = event.headers().clone();
                    metadata.remove(CONTENT_TYPE);
                    metadata
                }
                (None, None) => Metadata::new(),
            })
    }

    /// When the call is over, whatever happens; `None` if its caller set no deadline.
    #[must_use]
    pub fn deadline(&self) -> Option<Deadline> {
        self.0.deadline
    }

    /// Who calls; `None` for [`Context::default`].
    #[must_use]
    pub fn peer(&self) -> Option<&PeerAddr> {
        self.0.conn.as_ref().map(|conn| &conn.peer)
    }

    /// Who the caller's connection has proved to be, by a certificate (mTLS, see
    /// `transport::ServerTls`); `None` without TLS, and for a caller without one. A proxy
    /// in between is the caller.
    #[must_use]
    pub fn peer_identity(&self) -> Option<&PeerIdentity> {
        self.0.conn.as_ref()?.identity.as_ref()
    }

    /// Waits until the call is cancelled: given up by its caller, or past its deadline. Never resolves
    /// otherwise.
    pub async fn cancelled(&self) {
        let notified = self.0.notify.notified();
        tokio::pin!(notified);
        // Enabled before the flag is read, so that a cancellation between the two is not lost.
        notified.as_mut().enable();
        if !self.is_cancelled() {
            notified.await;
        }
    }

    /// Whether the call is cancelled.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::Acquire)
    }

    pub(crate) fn cancel(&self) {
        self.0.cancelled.store(true, Ordering::Release);
        self.0.notify.notify_waiters();
    }

    /// Adds a header to the reply; without effect once the reply's first message went out. A name or value
    /// that cannot be sent makes the call fail with INTERNAL, which says which.
    pub fn header(&self, name: impl AsRef<str>, value: impl Into<String>) {
        self.reply().headers.append(name, value);
    }

    /// Adds a trailer to the reply.
    pub fn trailer(&self, name: impl AsRef<str>, value: impl Into<String>) {
        self.reply().trailers.append(name, value);
    }

    /// Changes the reply's headers, for values that are bytes.
    pub fn headers_mut<T>(&self, change: impl FnOnce(&mut Metadata) -> T) -> T {
        change(&mut self.reply().headers)
    }

    /// Changes the reply's trailers, for values that are bytes.
    pub fn trailers_mut<T>(&self, change: impl FnOnce(&mut Metadata) -> T) -> T {
        change(&mut self.reply().trailers)
    }

    pub(crate) fn take_headers(&self) -> Metadata {
        std::mem::take(&mut self.reply().headers)
    }

    pub(crate) fn take_trailers(&self) -> Metadata {
        std::mem::take(&mut self.reply().trailers)
    }

    fn reply(&self) -> std::sync::MutexGuard<'_, Reply> {
        lock(&self.0.reply)
    }

    /// Runs a future in this context: the calls that it makes inherit from it.
    pub async fn scope<F: Future>(&self, future: F) -> F::Output {
        CURRENT.scope(self.clone(), future).await
    }

    /// Runs one poll in this context. A future that is pinned already needs no copy of itself for that, as
    /// [`Context::scope`] would make.
    pub(crate) fn enter<T>(&self, poll: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(self.clone(), poll)
    }

    /// The context of the handler, or of the [`Context::scope`], that runs now.
    #[must_use]
    pub fn current() -> Option<Context> {
        CURRENT.try_with(Context::clone).ok()
    }

    /// The metadata that the calls of a handler take over: all but the headers of one hop, and of the
    /// credentials those alone that are named in `forward`.
    pub(crate) fn inherited_metadata(&self, forward: &[Box<str>]) -> Metadata {
        let mut metadata = Metadata::new();
        // Those of a request have come through a protocol that has the same rules.
        let any = self.0.event.is_some();
        for (name, value) in self.metadata().iter() {
            if is_inherited(name, forward) && (!any || can_be_sent(name, value)) {
                metadata.append_bin(name, value.clone());
            }
        }
        metadata
    }

    /// Whether there is metadata at all; cheaper than building it.
    pub(crate) fn has_metadata(&self) -> bool {
        match (&self.0.head, &self.0.event, self.0.metadata.get()) {
            (_, _, Some(metadata)) => !metadata.is_empty(),
            (Some(head), _, None) => head.rest().len() > 0,
            (None, Some(event), None) => !event.headers().is_empty(),
            (None, None, None) => false,
        }
    }
}

/// Headers that belong to one hop (go-micro forwards them all the same, and they leak: `Micro-Topic`,
/// `Content-Type`, `Timeout`, `Remote` …), and credentials.
fn is_inherited(name: &str, forward: &[Box<str>]) -> bool {
    match name {
        "authorization" | "proxy-authorization" | "cookie" | "set-cookie" => forward
            .iter()
            .any(|allowed| name.eq_ignore_ascii_case(allowed)),
        "user-agent" | "accept" | "accept-encoding" | "timeout" | "te" | "host" | "connection"
        | "remote" | "local" | "x-content-type" | "via" | "forwarded" | "expect" | "upgrade"
        | "micro-id" | "micro-service" | "micro-method" | "micro-endpoint" | "micro-error"
        | "micro-stream" | "micro-topic" => false,
        _ => {
            !name.starts_with(':')
                && !name.starts_with("grpc-")
                && !name.starts_with("content-")
                && !name.starts_with("connect-")
                && !name.starts_with(MICRO_DEAD)
        }
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("metadata", self.metadata())
            .field("deadline", &self.deadline())
            .field("peer", &self.peer())
            .field("cancelled", &self.is_cancelled())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn cancellation_reaches_every_clone() {
        let context = Context::default();
        let clone = context.clone();
        let waiting = tokio::spawn(async move { clone.cancelled().await });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        context.cancel();
        waiting.await.unwrap();
        context.cancelled().await;
    }

    #[tokio::test]
    async fn a_scope_is_seen_inside_and_only_there() {
        let context = Context::with_metadata([("x-a", "1")].into_iter().collect());
        assert!(Context::current().is_none());
        context
            .scope(async {
                assert_eq!(Context::current().unwrap().metadata().get("x-a"), Some("1"));
            })
            .await;
        assert!(Context::current().is_none());
    }

    /// go-micro's headers may have any character. Calls refuse what cannot be sent: all calls of the event's handler
    /// would fail.
    #[test]
    fn headers_of_an_event_that_no_call_can_have_stay() {
        let headers = Metadata::from_iter([
            ("x-user", "7"),
            ("x-name", "sch\u{f6}n"),
            ("x-line", "a\nb"),
            ("not a name", "1"),
            ("sch\u{f6}n", "1"),
        ]);
        let event = Event::new("t", headers, "", 1, None);
        let context = Context::of_event(event, None);
        assert_eq!(context.metadata().len(), 5);
        let inherited = context.inherited_metadata(&[]);
        assert_eq!(
            inherited.iter().map(|(name, _)| name).collect::<Vec<_>>(),
            ["x-user"]
        );
        inherited.check().unwrap();
    }

    #[test]
    fn headers_of_one_hop_and_credentials_stay() {
        let pairs = [
            ("x-user", "7"),
            ("authorization", "Bearer a"),
            ("micro-topic", "t"),
            ("micro-from-service", "web"),
            ("content-length", "1"),
            ("remote", "1.2.3.4"),
        ];
        let context = Context::with_metadata(pairs.into_iter().collect());
        let names = |forward: &[Box<str>]| {
            context
                .inherited_metadata(forward)
                .iter()
                .map(|(name, _)| name.to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(&[]), ["x-user", "micro-from-service"]);
        let forwarded = names(&["Authorization".into()]);
        assert_eq!(forwarded, ["x-user", "authorization", "micro-from-service"]);
    }
}
