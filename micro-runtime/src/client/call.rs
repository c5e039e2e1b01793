//! [`Call`]: a call, before and while it is made.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context as Task, Poll, ready};
use std::time::Duration;

use bytes::Bytes;

use super::intercept::{Intercepted, intercept, message_of};
use super::options::Settings;
use super::plan::{self, Opened, Plan, Reply};
use super::response::{About, Response, WithResponse};
use super::setup::{Route, Setup, setters};
use super::streams;
use super::target::Target;
use crate::codec::Codec;
use crate::codec::frame::{PREFIX, seal};
use crate::context::Context;
use crate::exchange::BoxFuture;
use crate::interceptor::{MethodName, Outcome};
use crate::lock::lock;
use crate::method::Method;
use crate::status::{Result, Status};
use crate::stream::{Inbound, Outbound};

/// A call with one request and one reply: its result is the reply.
#[derive(Clone, Copy, Debug)]
pub enum Unary {}

/// A call with many requests and one reply: its result is the [`Outbound`] half, whose
/// [`finish`](Outbound::finish) brings the reply.
#[derive(Clone, Copy, Debug)]
pub enum ClientStreaming {}

/// A call with one request and many replies: its result is the [`Inbound`] half.
#[derive(Clone, Copy, Debug)]
pub enum ServerStreaming {}

/// A call with many requests and many replies: its result is both halves.
#[derive(Clone, Copy, Debug)]
pub enum Bidi {}

/// The kinds of call: what a [`Call`] of it results in. Implemented by the four markers, and by nothing else.
pub trait Kind<Req: 'static, Rsp: 'static>: sealed::Kind<Req, Rsp> {}

mod sealed {
    use super::{Call, Poll, Result, Task};

    pub trait Kind<Req: 'static, Rsp: 'static>: Sized {
        type Output;
        fn poll(call: &mut Call<Req, Rsp, Self>, cx: &mut Task<'_>) -> Poll<Result<Self::Output>>;
    }
}

/// A call: a future that makes it when it is awaited.
///
/// It owns all that it needs, so that it can be spawned, joined or kept. What it inherits it takes from the
/// handler (or [`Context::scope`]) in which it is created, wherever it is awaited; its time-out begins when it
/// is first polled. Dropping it before it is done cancels the call.
///
/// Awaiting a unary call brings the reply. Awaiting a stream brings its halves as soon as a connection has
/// taken the call, without waiting for the server: some servers send nothing before their first message.
///
/// # Errors
/// The status that the server gave, or one made on this side, whose message says all that is known: what was
/// looked for and where, which nodes were tried, what failed last.
///
/// # Panics
/// Polled outside a tokio runtime.
#[must_use = "a call does nothing until it is awaited"]
pub struct Call<Req: 'static, Rsp: 'static, K> {
    method: &'static Method<Req, Rsp>,
    request: Option<Req>,
    target: Target,
    setup: Setup,
    state: State,
    kind: PhantomData<fn() -> K>,
}

#[expect(
    clippy::large_enum_variant,
    reason = "the large one is the fast way, which is to need no box"
)]
enum State {
    Start,
    /// A unary call on the fast way: the exchange, and the message that came ahead of its status.
    Waiting(Opened, Option<Bytes>),
    Slow(BoxFuture<'static, Result<Reply>>),
    /// A stream on the slow way, and its only request.
    Opening(BoxFuture<'static, Result<Opened>>, Option<Bytes>),
    /// And what came beside the reply of a unary call.
    Intercepted(Intercepted, Arc<Mutex<About>>),
    Over,
}

/// How a unary call ended well.
#[expect(clippy::large_enum_variant, reason = "as above")]
enum Done {
    Reply(Reply),
    /// Behind interceptors.
    Outcome(Outcome, About),
}

// ===== impl Call =====

impl<Req: 'static, Rsp: 'static, K> Call<Req, Rsp, K> {
    pub(super) fn new(
        target: Target,
        method: &'static Method<Req, Rsp>,
        request: Option<Req>,
    ) -> Call<Req, Rsp, K> {
        Call {
            method,
            request,
            target,
            setup: Setup::new(),
            state: State::Start,
            kind: PhantomData,
        }
    }

    setters! {
        "How often the call may be made again although it may have been processed. Default: the \
         method's, or the client's (1). It means nothing for a method that is not safe to repeat."
    }

    fn plan(&mut self, timeout: Option<Duration>) -> Result<Plan> {
        let route = Route::of(self.method.info(), &self.target);
        let limit = self.setup.limit(route.policy.timeout.unwrap_or(timeout))?;
        let balancer = self.setup.balancer(&self.target);
        self.setup.plan(&self.target, balancer, route, limit)
    }

    fn name(&self) -> MethodName {
        MethodName::Typed(self.method.info())
    }

    fn encode(&self, request: &Req) -> Result<Bytes> {
        encode(&self.method.request, request, self.target.settings())
    }
}

fn encode<M>(codec: &Codec<M>, message: &M, settings: &Settings) -> Result<Bytes> {
    seal(codec.encode(message, &settings.encoding, PREFIX)?)
}

/// Everything in it is `Unpin` or boxed, but for a message that is only moved.
impl<Req: 'static, Rsp: 'static, K> Unpin for Call<Req, Rsp, K> {}

impl<Req: 'static, Rsp: 'static, K: Kind<Req, Rsp>> Future for Call<Req, Rsp, K> {
    type Output = Result<K::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Task<'_>) -> Poll<Self::Output> {
        K::poll(self.get_mut(), cx)
    }
}

impl<Req: 'static, Rsp: 'static, K> fmt::Debug for Call<Req, Rsp, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("service", &self.target.name())
            .field("method", &self.method)
            .finish_non_exhaustive()
    }
}

fn over() -> Status {
    Status::internal("the call was polled again after it was done")
}

// ===== unary =====

impl<Req: Send + 'static, Rsp: Send + 'static> Call<Req, Rsp, Unary> {
    /// Brings the reply with its metadata, and where it came from.
    pub fn with_response(self) -> WithResponse<Req, Rsp> {
        WithResponse(self)
    }

    /// `whole`: the reply is to come with its metadata.
    fn poll_done(&mut self, cx: &mut Task<'_>, whole: bool) -> Poll<Result<Done>> {
        loop {
            match &mut self.state {
                State::Start => self.start(whole)?,
                State::Waiting(opened, kept) => {
                    let result = match opened.receiving.poll_single(kept, cx) {
                        Poll::Ready(result) => result.map_err(Ok),
                        Poll::Pending => Err(Err(ready!(opened.plan.limit.poll(cx)))),
                    };
                    let State::Waiting(opened, _) = std::mem::replace(&mut self.state, State::Over)
                    else {
                        return Poll::Ready(Err(over()));
                    };
                    match result {
                        Ok(message) => {
                            return Poll::Ready(Ok(Done::Reply(opened.succeeded(message))));
                        }
                        Err(Ok(failure)) => {
                            let plan = opened.again(&failure)?;
                            self.slow(plan)?;
                        }
                        Err(Err(over)) => return Poll::Ready(Err(opened.timed_out(over))),
                    }
                }
                State::Slow(run) => {
                    let reply = ready!(run.as_mut().poll(cx));
                    self.state = State::Over;
                    return Poll::Ready(reply.map(Done::Reply));
                }
                State::Intercepted(run, about) => {
                    let outcome = ready!(run.poll(cx));
                    let about = std::mem::take(&mut *lock(about));
                    self.state = State::Over;
                    return Poll::Ready(outcome.map(|outcome| Done::Outcome(outcome, about)));
                }
                State::Opening(..) | State::Over => return Poll::Ready(Err(over())),
            }
        }
    }

    fn start(&mut self, whole: bool) -> Result<()> {
        self.state = State::Over;
        let mut plan = self.plan(self.target.settings().timeout)?;
        plan.observed = whole;
        if !self.target.settings().interceptors.is_empty() {
            let codecs = (self.method.request, self.method.response);
            let about = Arc::new(Mutex::new(About::default()));
            let slot = Arc::clone(&about);
            let run = intercept(
                plan,
                self.name(),
                self.request.take(),
                move |plan, request| async move {
                    let request = request.ok_or_else(over)?;
                    let body = encode(&codecs.0, &request, plan.target.settings())?;
                    drop(request);
                    let target = plan.target.clone();
                    let reply = plan::unary(plan, body).await?;
                    let (message, about) = reply.into_parts(&codecs.1, target.settings())?;
                    *lock(&slot) = about;
                    Ok(Outcome::of(message))
                },
            );
            self.state = State::Intercepted(run, about);
            return Ok(());
        }
        let Some(request) = &self.request else {
            return Err(over());
        };
        let body = self.encode(request)?;
        if plan.is_hedged() {
            self.state = State::Slow(Box::pin(plan::unary(plan, body)));
            return Ok(());
        }
        self.state = match plan.try_open(Some(body), true) {
            Ok(mut opened) => {
                if !whole {
                    opened.receiving.discard_metadata();
                }
                State::Waiting(opened, None)
            }
            Err((plan, body)) => {
                State::Slow(Box::pin(plan::unary(*plan, body.unwrap_or_default())))
            }
        };
        Ok(())
    }

    fn slow(&mut self, plan: Plan) -> Result<()> {
        let Some(request) = &self.request else {
            return Err(over());
        };
        // Written anew rather than kept by every call: this is rare.
        let body = self.encode(request)?;
        self.state = State::Slow(Box::pin(plan::unary(plan, body)));
        Ok(())
    }

    pub(super) fn poll_response(&mut self, cx: &mut Task<'_>) -> Poll<Result<Response<Rsp>>> {
        let done = ready!(self.poll_done(cx, true))?;
        let (message, about) = match done {
            Done::Reply(reply) => {
                reply.into_parts(&self.method.response, self.target.settings())?
            }
            Done::Outcome(outcome, about) => (message_of(outcome)?, about),
        };
        Poll::Ready(Ok(Response::new(message, about)))
    }
}

impl<Req: Send + 'static, Rsp: Send + 'static> Kind<Req, Rsp> for Unary {}

impl<Req: Send + 'static, Rsp: Send + 'static> sealed::Kind<Req, Rsp> for Unary {
    type Output = Rsp;

    fn poll(call: &mut Call<Req, Rsp, Unary>, cx: &mut Task<'_>) -> Poll<Result<Rsp>> {
        Poll::Ready(match ready!(call.poll_done(cx, false))? {
            Done::Reply(reply) => reply.message(&call.method.response, call.target.settings()),
            Done::Outcome(outcome, _) => message_of(outcome),
        })
    }
}

// ===== impl Reply =====

impl Reply {
    fn message<M>(self, codec: &Codec<M>, settings: &Settings) -> Result<M> {
        let encoding = self.receiving.content_type().encoding(&settings.json);
        codec.decode(self.message, &encoding)
    }

    fn into_parts<M>(self, codec: &Codec<M>, settings: &Settings) -> Result<(M, About)> {
        let encoding = self.receiving.content_type().encoding(&settings.json);
        let message = codec.decode(self.message, &encoding)?;
        let (headers, trailers) = self.receiving.into_metadata();
        let about = About {
            headers,
            trailers,
            node: Some(self.node),
            attempts: self.attempts,
        };
        Ok((message, about))
    }
}

// ===== streams =====

/// A stream that was opened, and its only request, if it has one.
struct Begun(Opened, Option<Bytes>);

impl<Req: Send + 'static, Rsp: 'static, K> Call<Req, Rsp, K> {
    fn poll_open(&mut self, cx: &mut Task<'_>) -> Poll<Result<Begun>> {
        loop {
            match &mut self.state {
                State::Start => {
                    if let Some(begun) = self.start_stream()? {
                        return Poll::Ready(Ok(begun));
                    }
                }
                State::Opening(open, body) => {
                    let opened = ready!(open.as_mut().poll(cx));
                    let body = body.take();
                    self.state = State::Over;
                    return Poll::Ready(opened.map(|opened| Begun(opened, body)));
                }
                State::Intercepted(run, _) => {
                    let outcome = ready!(run.poll(cx));
                    self.state = State::Over;
                    return Poll::Ready(outcome.and_then(message_of::<Begun>));
                }
                State::Waiting(..) | State::Slow(_) | State::Over => {
                    return Poll::Ready(Err(over()));
                }
            }
        }
    }

    fn start_stream(&mut self) -> Result<Option<Begun>> {
        self.state = State::Over;
        let plan = self.plan(None)?;
        if !self.target.settings().interceptors.is_empty() {
            let codec = self.method.request;
            let run = intercept(
                plan,
                self.name(),
                self.request.take(),
                move |plan, request| async move {
                    let body = match request {
                        Some(request) => Some(encode(&codec, &request, plan.target.settings())?),
                        None => None,
                    };
                    let mut opened = plan.open(body.clone(), body.is_some()).await?;
                    opened.observe();
                    Ok(Outcome::of(Begun(opened, body)))
                },
            );
            self.state = State::Intercepted(run, Arc::default());
            return Ok(None);
        }
        let body = match self.request.take() {
            Some(request) => Some(self.encode(&request)?),
            None => None,
        };
        let end = body.is_some();
        match plan.try_open(body.clone(), end) {
            Ok(opened) => Ok(Some(Begun(opened, body))),
            Err((plan, body)) => {
                self.state = State::Opening(Box::pin(plan.open(body.clone(), end)), body);
                Ok(None)
            }
        }
    }
}

macro_rules! stream_kind {
    ($kind:ident, $output:ty, $make:path) => {
        impl<Req: Send + 'static, Rsp: Send + 'static> Kind<Req, Rsp> for $kind {}

        impl<Req: Send + 'static, Rsp: Send + 'static> sealed::Kind<Req, Rsp> for $kind {
            type Output = $output;

            fn poll(call: &mut Call<Req, Rsp, $kind>, cx: &mut Task<'_>) -> Poll<Result<$output>> {
                let Begun(opened, body) = ready!(call.poll_open(cx))?;
                let codecs = (call.method.request, call.method.response);
                Poll::Ready(Ok($make(opened, body, codecs)))
            }
        }
    };
}

stream_kind!(ServerStreaming, Inbound<Rsp>, streams::replies);
stream_kind!(ClientStreaming, Outbound<Req, Rsp>, streams::upload);
stream_kind!(Bidi, (Outbound<Req>, Inbound<Rsp>), streams::duplex);
