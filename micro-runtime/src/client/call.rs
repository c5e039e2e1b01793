//! [`Call`]: a call, before and while it is made.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context as Task, Poll, ready};
use std::time::Duration;

use bytes::Bytes;

use super::Mode;
use super::head;
use super::limit::Limit;
use super::options::boxed;
use super::plan::{self, Opened, Plan, Reply};
use super::response::{About, Response, WithResponse};
use super::streams;
use super::target::Target;
use crate::codec::frame::{PREFIX, seal};
use crate::codec::{Codec, Encoding};
use crate::context::Context;
use crate::exchange::BoxFuture;
use crate::interceptor::{Invocation, MethodName, Next, Outcome, Side};
use crate::metadata::Metadata;
use crate::method::{Idempotency, Method, MethodInfo};
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
    context: Option<Context>,
    /// `None`: what the client says.
    timeout: Option<Option<Duration>>,
    extra: Option<Box<Extra>>,
    state: State,
    kind: PhantomData<fn() -> K>,
}

/// What few calls set.
#[derive(Default)]
struct Extra {
    metadata: Metadata,
    forward: Vec<Box<str>>,
    address: Option<String>,
    retries: Option<u32>,
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
    Intercepted(Intercepted),
    Over,
}

struct Intercepted {
    run: BoxFuture<'static, Result<Outcome>>,
    /// Of the call inside, beside its message.
    about: Arc<Mutex<About>>,
    limit: Limit,
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
            context: Context::current(),
            timeout: None,
            extra: None,
            state: State::Start,
            kind: PhantomData,
        }
    }

    /// How long the call may take, everything included, from when it is first polled. Default: the client's
    /// (5 s) for a unary call, none for a stream. `None` takes the default away. A deadline that the call
    /// inherits stays, if it is earlier.
    pub fn timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.timeout = Some(timeout.into());
        self
    }

    /// Adds metadata. It replaces what the call would inherit, or have from the client, under the same name.
    /// A name or a value that cannot be sent fails the call with INTERNAL.
    pub fn metadata(mut self, name: impl AsRef<str>, value: impl Into<String>) -> Self {
        self.extra().metadata.append(name, value);
        self
    }

    /// The same with a value of bytes, for a name that ends in `-bin`.
    pub fn metadata_bin(mut self, name: impl AsRef<str>, value: impl Into<Bytes>) -> Self {
        self.extra().metadata.append_bin(name, value);
        self
    }

    /// How often the call may be made again although it may have been processed. Default: the client's (1). It
    /// means nothing for a method that is not declared safe to repeat.
    pub fn retries(mut self, retries: u32) -> Self {
        self.extra().retries = Some(retries);
        self
    }

    /// Calls the node at this address, whatever the registry says.
    pub fn address(mut self, address: impl Into<String>) -> Self {
        self.extra().address = Some(address.into());
        self
    }

    /// Inherits from this context: deadline, cancellation and metadata. Default: the context of the handler in
    /// which the call is created, if there is one.
    pub fn context(mut self, context: &Context) -> Self {
        self.context = Some(context.clone());
        self
    }

    /// Credentials among the inherited metadata that go on with this call, such as `authorization`, beside
    /// those that the client forwards anyway.
    pub fn forward<N: AsRef<str>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        let names = boxed(names);
        self.extra().forward.extend(names);
        self
    }

    fn extra(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }

    fn plan(&mut self, timeout: Option<Duration>) -> Result<Plan> {
        let timeout = self.timeout.unwrap_or(timeout);
        let extra = self.extra.take();
        prepare(
            &self.target,
            self.method.info(),
            self.context.take(),
            timeout,
            extra,
        )
    }

    /// What runs behind the interceptors, and they.
    fn intercept<F, Fut>(&mut self, mut plan: Plan, about: Arc<Mutex<About>>, terminal: F)
    where
        Req: Send,
        F: FnOnce(Plan, Option<Box<Req>>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<Outcome>> + Send + 'static,
    {
        let invocation = Invocation {
            side: Side::Client,
            service: Arc::clone(self.target.shared_name()),
            method: MethodName::Typed(self.method.info()),
            metadata: std::mem::take(&mut plan.metadata),
            message: self
                .request
                .take()
                .map(|request| Box::new(request) as Box<dyn Any + Send>),
            context: plan.limit.context().cloned(),
        };
        let chain = Arc::clone(&self.target.settings().interceptors);
        let limit = plan.limit.twin();
        let next = Next::new(chain, move |call: Invocation| async move {
            plan.metadata = call.metadata;
            head::check(&plan.metadata).map_err(Status::internal)?;
            let request = match call.message.map(<Box<dyn Any + Send>>::downcast::<Req>) {
                None => None,
                Some(Ok(request)) => Some(request),
                Some(Err(_)) => {
                    return Err(Status::internal(
                        "an interceptor gave the call a request of another type than its method's",
                    ));
                }
            };
            terminal(plan, request).await
        });
        self.state = State::Intercepted(Intercepted {
            run: Box::pin(next.run(invocation)),
            about,
            limit,
        });
    }

    fn encode(&self, request: &Req) -> Result<Bytes> {
        encode(&self.method.request, request, self.target.settings())
    }
}

fn encode<M>(codec: &Codec<M>, message: &M, settings: &super::options::Settings) -> Result<Bytes> {
    seal(codec.encode(message, &settings.encoding, PREFIX)?)
}

fn prepare(
    target: &Target,
    method: &'static MethodInfo,
    context: Option<Context>,
    timeout: Option<Duration>,
    extra: Option<Box<Extra>>,
) -> Result<Plan> {
    let settings = target.settings();
    let extra = extra.map(|extra| *extra).unwrap_or_default();
    let metadata = metadata(extra.metadata, context.as_ref(), &extra.forward, target)?;
    let balancer = match &extra.address {
        Some(address) if matches!(target.client().0.shared.mode, Mode::Registry) => {
            target.client().selector().address(address)
        }
        _ => Arc::clone(target.balancer()),
    };
    let path = match &settings.proxy {
        // A proxy finds the service by the path (go-micro's own form of it, util/grpc/grpc.go).
        Some(_) => Bytes::from(format!(
            "/{}.{}",
            target.name(),
            method.endpoint.replacen('.', "/", 1)
        )),
        None => Bytes::from_static(method.path.as_bytes()),
    };
    let retries = match method.idempotency {
        Idempotency::Unknown => 0,
        Idempotency::NoSideEffects | Idempotency::Idempotent => {
            extra.retries.unwrap_or(settings.retries)
        }
    };
    let limit = Limit::new(timeout, context);
    if let Some(over) = limit.check() {
        return Err(limit.status(over, "it had not begun"));
    }
    Ok(Plan::new(
        target.clone(),
        balancer,
        path,
        metadata,
        limit,
        retries,
    ))
}

/// What a call sends along: its own, then what it inherits, then what the client adds; of a name only the
/// first of these that have it.
fn metadata(
    own: Metadata,
    context: Option<&Context>,
    forward: &[Box<str>],
    target: &Target,
) -> Result<Metadata> {
    let settings = target.settings();
    let mut metadata = own;
    head::check(&metadata).map_err(Status::internal)?;
    if let Some(context) = context.filter(|context| context.has_metadata()) {
        let inherited = if forward.is_empty() {
            context.inherited_metadata(&settings.forward)
        } else {
            context.inherited_metadata(&[forward, &settings.forward].concat())
        };
        add_missing(&mut metadata, &inherited);
    }
    add_missing(&mut metadata, &settings.metadata);
    Ok(metadata)
}

fn add_missing(metadata: &mut Metadata, more: &Metadata) {
    let own = metadata.clone();
    for (name, value) in more.iter() {
        if own.get_bin(name).is_none() {
            metadata.append_bin(name, value.clone());
        }
    }
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

fn no_reply() -> Status {
    Status::internal("an interceptor answered the call with another type than its method's")
}

// ===== unary =====

impl<Req: Send + 'static, Rsp: Send + 'static> Call<Req, Rsp, Unary> {
    /// Brings the reply with its metadata, and where it came from.
    pub fn with_response(self) -> WithResponse<Req, Rsp> {
        WithResponse(self)
    }

    fn poll_done(&mut self, cx: &mut Task<'_>) -> Poll<Result<Done>> {
        loop {
            match &mut self.state {
                State::Start => self.start()?,
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
                State::Intercepted(run) => {
                    let outcome = ready!(run.poll(cx));
                    let about = run.about();
                    self.state = State::Over;
                    return Poll::Ready(outcome.map(|outcome| Done::Outcome(outcome, about)));
                }
                State::Opening(..) | State::Over => return Poll::Ready(Err(over())),
            }
        }
    }

    fn start(&mut self) -> Result<()> {
        self.state = State::Over;
        let plan = self.plan(self.target.settings().timeout)?;
        if !self.target.settings().interceptors.is_empty() {
            let method = self.method;
            let about = Arc::new(Mutex::new(About::default()));
            let slot = Arc::clone(&about);
            self.intercept(plan, about, move |plan, request| async move {
                let Some(request) = request else {
                    return Err(over());
                };
                let settings = plan.target.settings();
                let body = encode(&method.request, &*request, settings)?;
                drop(request);
                let reply = plan::unary(plan, body).await?;
                let (message, about) = reply.into_parts(&method.response)?;
                *slot.lock().unwrap_or_else(PoisonError::into_inner) = about;
                Ok(Outcome::of(message))
            });
            return Ok(());
        }
        let Some(request) = &self.request else {
            return Err(over());
        };
        let body = self.encode(request)?;
        self.state = match plan.try_open(Some(body), true) {
            Ok(opened) => State::Waiting(opened, None),
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
        let done = ready!(self.poll_done(cx))?;
        let (message, about) = match done {
            Done::Reply(reply) => reply.into_parts(&self.method.response)?,
            Done::Outcome(outcome, about) => (message_of(outcome)?, about),
        };
        Poll::Ready(Ok(Response::new(message, about)))
    }
}

fn message_of<M: 'static>(outcome: Outcome) -> Result<M> {
    let message = outcome.message.and_then(|any| any.downcast::<M>().ok());
    message.map(|message| *message).ok_or_else(no_reply)
}

impl<Req: Send + 'static, Rsp: Send + 'static> Kind<Req, Rsp> for Unary {}

impl<Req: Send + 'static, Rsp: Send + 'static> sealed::Kind<Req, Rsp> for Unary {
    type Output = Rsp;

    fn poll(call: &mut Call<Req, Rsp, Unary>, cx: &mut Task<'_>) -> Poll<Result<Rsp>> {
        Poll::Ready(match ready!(call.poll_done(cx))? {
            Done::Reply(reply) => reply.message(&call.method.response),
            Done::Outcome(outcome, _) => message_of(outcome),
        })
    }
}

// ===== impl Reply =====

impl Reply {
    fn message<M>(self, codec: &Codec<M>) -> Result<M> {
        let encoding: Encoding = self.receiving.content_type().request_encoding();
        codec.decode(self.message, &encoding)
    }

    fn into_parts<M>(self, codec: &Codec<M>) -> Result<(M, About)> {
        let encoding: Encoding = self.receiving.content_type().request_encoding();
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

// ===== impl Intercepted =====

impl Intercepted {
    fn poll(&mut self, cx: &mut Task<'_>) -> Poll<Result<Outcome>> {
        match self.run.as_mut().poll(cx) {
            Poll::Ready(outcome) => Poll::Ready(outcome),
            Poll::Pending => {
                let over = ready!(self.limit.poll(cx));
                Poll::Ready(Err(self.limit.status(over, "its interceptors ran")))
            }
        }
    }

    fn about(&self) -> About {
        std::mem::take(&mut *self.about.lock().unwrap_or_else(PoisonError::into_inner))
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
                State::Intercepted(run) => {
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
            let method = self.method;
            self.intercept(plan, Arc::default(), move |plan, request| async move {
                let body = match request {
                    Some(request) => {
                        Some(encode(&method.request, &*request, plan.target.settings())?)
                    }
                    None => None,
                };
                let opened = plan.open(body.clone(), body.is_some()).await?;
                Ok(Outcome::of(Begun(opened, body)))
            });
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
