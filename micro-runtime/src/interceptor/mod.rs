//! Interceptors: code around every call, on a client or on a server.
//!
//! An interceptor sees the [`Invocation`] (method, metadata, the message of a unary call), passes it on with
//! [`Next::run`] (or answers itself), and sees the [`Outcome`]. The first one given is the outermost. With
//! none, a call costs nothing more. On a client it runs around the whole call, and [`Invocation::attempts`]
//! shows what tries there were: nodes, times, statuses.
//!
//! ```
//! use micro_runtime::interceptor::{self, Invocation, Next, Outcome};
//! use micro_runtime::{Result, Status};
//!
//! let guard = interceptor::from_fn(|call: Invocation, next: Next| async move {
//!     if call.metadata().get("authorization").is_none() {
//!         return Err(Status::unauthenticated("expected the metadata \"authorization\", found none"));
//!     }
//!     next.run(call).await
//! });
//! # let _ = guard;
//! ```

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use crate::context::Context;
use crate::exchange::BoxFuture;
use crate::metadata::Metadata;
use crate::method::{MethodInfo, MethodKind};
use crate::status::Result;

mod attempt;

pub use attempt::{Attempt, AttemptKind, Attempts};

/// Code around every call.
pub trait Interceptor: Send + Sync + 'static {
    /// Handles a call: passes it on with [`Next::run`], or answers itself. Dropping the future gives the call
    /// up.
    fn intercept(
        &self,
        call: Invocation,
        next: Next,
    ) -> impl Future<Output = Result<Outcome>> + Send;
}

/// An interceptor of a closure.
pub fn from_fn<F, Fut>(function: F) -> FromFn<F>
where
    F: Fn(Invocation, Next) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Outcome>> + Send,
{
    FromFn(function)
}

/// What [`from_fn`] gives.
#[derive(Clone, Copy)]
pub struct FromFn<F>(F);

impl<F, Fut> Interceptor for FromFn<F>
where
    F: Fn(Invocation, Next) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Outcome>> + Send,
{
    fn intercept(
        &self,
        call: Invocation,
        next: Next,
    ) -> impl Future<Output = Result<Outcome>> + Send {
        (self.0)(call, next)
    }
}

impl<F> fmt::Debug for FromFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FromFn")
    }
}

/// On which side of a call an interceptor runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Before the call leaves.
    Client,
    /// Before the handler runs.
    Server,
}

/// The method of a call, typed or made by name.
#[derive(Clone, Debug)]
pub(crate) enum MethodName {
    Typed(&'static MethodInfo),
    Named { path: Arc<str>, endpoint: Arc<str> },
}

/// A call on its way in.
pub struct Invocation {
    pub(crate) side: Side,
    pub(crate) service: Arc<str>,
    pub(crate) method: MethodName,
    pub(crate) metadata: Metadata,
    pub(crate) message: Option<Box<dyn Any + Send>>,
    pub(crate) context: Option<Context>,
    /// `None` on a server.
    pub(crate) attempts: Option<Attempts>,
}

// ===== impl Invocation =====

impl Invocation {
    /// On which side it is.
    #[must_use]
    pub fn side(&self) -> Side {
        self.side
    }

    /// The name of the service in the registry: on a client the one that is called, on a server one's own.
    #[must_use]
    pub fn service(&self) -> &str {
        &self.service
    }

    /// The path on the wire, such as `/peer.v1.Peer/Unary`.
    #[must_use]
    pub fn path(&self) -> &str {
        match &self.method {
            MethodName::Typed(info) => info.path,
            MethodName::Named { path, .. } => path,
        }
    }

    /// The endpoint's name in the registry, such as `Peer.Unary`.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        match &self.method {
            MethodName::Typed(info) => info.endpoint,
            MethodName::Named { endpoint, .. } => endpoint,
        }
    }

    /// How many messages go each way.
    #[must_use]
    pub fn kind(&self) -> MethodKind {
        match &self.method {
            MethodName::Typed(info) => info.kind,
            MethodName::Named { .. } => MethodKind::Unary,
        }
    }

    /// What the generator says of the method; `None` for a call made by name.
    #[must_use]
    pub fn method(&self) -> Option<&'static MethodInfo> {
        match self.method {
            MethodName::Typed(info) => Some(info),
            MethodName::Named { .. } => None,
        }
    }

    /// On a client the metadata that will be sent, on a server that which came.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The same, to be changed: on a client before it is sent. On a server the handler's
    /// [`Context::metadata`] stays as it came.
    pub fn metadata_mut(&mut self) -> &mut Metadata {
        &mut self.metadata
    }

    /// The request of a unary or server-streaming call, if it is of this type.
    #[must_use]
    pub fn message<M: 'static>(&self) -> Option<&M> {
        self.message.as_ref()?.downcast_ref()
    }

    /// The same, to be changed.
    pub fn message_mut<M: 'static>(&mut self) -> Option<&mut M> {
        self.message.as_mut()?.downcast_mut()
    }

    /// On a server the context that the handler gets; on a client that of the handler that makes the call, if
    /// there is one.
    #[must_use]
    pub fn context(&self) -> Option<&Context> {
        self.context.as_ref()
    }

    /// On a client the attempts that the call is made with, which are there once [`Next::run`] has come back,
    /// whether it succeeded or not; of a stream those until it was opened. On a server there are none.
    #[must_use]
    pub fn attempts(&self) -> Attempts {
        self.attempts.clone().unwrap_or_default()
    }
}

impl fmt::Debug for Invocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invocation")
            .field("side", &self.side)
            .field("path", &self.path())
            .field("metadata", &self.metadata)
            .finish_non_exhaustive()
    }
}

/// A call that succeeded; for a stream: that was opened (client), or that ended well (server).
pub struct Outcome {
    pub(crate) message: Option<Box<dyn Any + Send>>,
}

// ===== impl Outcome =====

impl Outcome {
    pub(crate) fn of(message: impl Any + Send) -> Outcome {
        Outcome {
            message: Some(Box::new(message)),
        }
    }

    pub(crate) fn empty() -> Outcome {
        Outcome { message: None }
    }

    /// An outcome with this reply, for an interceptor that answers a unary call itself. A reply of another
    /// type than the method's makes the call fail with INTERNAL.
    #[must_use]
    pub fn reply(message: impl Any + Send) -> Outcome {
        Outcome::of(message)
    }

    /// The reply of a unary call, if it is of this type.
    #[must_use]
    pub fn message<M: 'static>(&self) -> Option<&M> {
        self.message.as_ref()?.downcast_ref()
    }

    /// The same, to be changed.
    pub fn message_mut<M: 'static>(&mut self) -> Option<&mut M> {
        self.message.as_mut()?.downcast_mut()
    }
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outcome").finish_non_exhaustive()
    }
}

/// [`Interceptor`] as an object; every interceptor is one.
pub(crate) trait DynInterceptor: Send + Sync + 'static {
    fn intercept<'a>(&'a self, call: Invocation, next: Next) -> BoxFuture<'a, Result<Outcome>>;
}

impl<I: Interceptor> DynInterceptor for I {
    fn intercept<'a>(&'a self, call: Invocation, next: Next) -> BoxFuture<'a, Result<Outcome>> {
        Box::pin(Interceptor::intercept(self, call, next))
    }
}

/// A client's or server's interceptors, outermost first.
pub(crate) type Chain = Arc<[Arc<dyn DynInterceptor>]>;

type Terminal = Box<dyn FnOnce(Invocation) -> BoxFuture<'static, Result<Outcome>> + Send>;

/// The rest of the way: the next interceptor, or the call itself.
pub struct Next {
    chain: Chain,
    index: usize,
    terminal: Terminal,
}

// ===== impl Next =====

impl Next {
    pub(crate) fn new<F, Fut>(chain: Chain, terminal: F) -> Next
    where
        F: FnOnce(Invocation) -> Fut + Send + 'static,
        Fut: Future<Output = Result<Outcome>> + Send + 'static,
    {
        Next {
            chain,
            index: 0,
            terminal: Box::new(move |call| Box::pin(terminal(call))),
        }
    }

    /// Passes the call on.
    ///
    /// # Errors
    /// The status with which the call failed.
    pub async fn run(mut self, call: Invocation) -> Result<Outcome> {
        match self.chain.get(self.index).cloned() {
            Some(interceptor) => {
                self.index += 1;
                interceptor.intercept(call, self).await
            }
            None => (self.terminal)(call).await,
        }
    }
}

impl fmt::Debug for Next {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Next").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    fn invocation() -> Invocation {
        Invocation {
            side: Side::Client,
            service: "a".into(),
            method: MethodName::Named {
                path: "/a.B/C".into(),
                endpoint: "B.C".into(),
            },
            metadata: Metadata::new(),
            message: Some(Box::new(1u8)),
            context: None,
            attempts: None,
        }
    }

    #[tokio::test]
    async fn the_first_is_the_outermost() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let layer = |name: &'static str| {
            let seen = Arc::clone(&seen);
            let interceptor: Arc<dyn DynInterceptor> =
                Arc::new(from_fn(move |mut call: Invocation, next: Next| {
                    seen.lock().unwrap().push(name);
                    *call.message_mut::<u8>().unwrap() += 1;
                    next.run(call)
                }));
            interceptor
        };
        let chain: Chain = [layer("a"), layer("b")].into();
        let next = Next::new(chain, |call| async move {
            Ok(Outcome::of(*call.message::<u8>().unwrap()))
        });
        let outcome = next.run(invocation()).await.unwrap();
        assert_eq!(outcome.message::<u8>(), Some(&3));
        assert_eq!(*seen.lock().unwrap(), ["a", "b"]);
    }

    #[tokio::test]
    async fn one_may_answer_itself() {
        let chain: Chain = [
            Arc::new(from_fn(|_, _| async { Ok(Outcome::reply("cached")) }))
                as Arc<dyn DynInterceptor>,
        ]
        .into();
        let next = Next::new(chain, |_| async { panic!("not reached") });
        let outcome = next.run(invocation()).await.unwrap();
        assert_eq!(outcome.message::<&str>(), Some(&"cached"));
    }
}
