//! [`Response`]: a reply with everything that came with it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::call::{Call, Unary};
use crate::interceptor::Attempt;
use crate::metadata::Metadata;
use crate::registry::Node;
use crate::status::Result;

/// A reply, with the metadata that came with it, and where it came from.
#[derive(Clone, Debug)]
pub struct Response<T> {
    message: T,
    about: About,
}

/// What [`Response`] has beside the message.
#[derive(Clone, Debug, Default)]
pub(super) struct About {
    pub(super) headers: Metadata,
    pub(super) trailers: Metadata,
    pub(super) node: Option<Arc<Node>>,
    pub(super) attempts: Vec<Attempt>,
}

// ===== impl Response =====

impl<T> Response<T> {
    pub(super) fn new(message: T, about: About) -> Response<T> {
        Response { message, about }
    }

    /// The reply's message.
    #[must_use]
    pub fn message(&self) -> &T {
        &self.message
    }

    /// The same, by value.
    #[must_use]
    pub fn into_message(self) -> T {
        self.message
    }

    /// The leading metadata.
    #[must_use]
    pub fn headers(&self) -> &Metadata {
        &self.about.headers
    }

    /// The trailing metadata.
    #[must_use]
    pub fn trailers(&self) -> &Metadata {
        &self.about.trailers
    }

    /// The node that answered; `None` if an interceptor of the client did.
    #[must_use]
    pub fn node(&self) -> Option<&Node> {
        self.about.node.as_deref()
    }

    /// Where the call was sent, or was to be sent, until there was a reply, in the order in which that ended;
    /// at most 64 of them. Empty if an interceptor of the client answered.
    #[must_use]
    pub fn attempts(&self) -> &[Attempt] {
        &self.about.attempts
    }
}

/// A call whose reply comes as a [`Response`]; made by [`Call::with_response`].
#[must_use = "a call does nothing until it is awaited"]
pub struct WithResponse<Req: 'static, Rsp: 'static>(pub(super) Call<Req, Rsp, Unary>);

impl<Req: Send + 'static, Rsp: Send + 'static> Future for WithResponse<Req, Rsp> {
    type Output = Result<Response<Rsp>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll_response(cx)
    }
}

impl<Req: 'static, Rsp: 'static> fmt::Debug for WithResponse<Req, Rsp> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WithResponse").field(&self.0).finish()
    }
}
