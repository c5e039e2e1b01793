//! A call on the server, from its head to its trailers: one future, in one box.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::time::Sleep;

use super::Shared;
use super::reply::Reply;
use super::streams::{self, SharedReply};
use crate::codec::Encoding;
use crate::codec::frame::{PREFIX, seal};
use crate::context::Context;
use crate::cost::PollCost;
use crate::deadline::Deadline;
use crate::exchange::{Broken, Incoming};
use crate::interceptor::{Invocation, MethodName, Next, Outcome, Side};
use crate::method::{Method, MethodInfo};
use crate::protocol::grpc::{ContentType, MessageReader};
use crate::status::{Code, Result, Status};
use crate::stream::{Inbound, Outbound};

/// A request whose method is known.
pub(super) struct Incall {
    pub(super) context: Context,
    pub(super) body: Incoming,
    pub(super) reply: Reply,
    pub(super) content_type: ContentType,
    pub(super) shared: Arc<Shared>,
    pub(super) cost: Arc<PollCost>,
}

/// One request, one reply.
///
/// Not an `async fn`, which would keep room for the call as it came beside the parts that it is taken to.
pub(super) fn unary<H, Req, Rsp, F, Fut>(
    call: Incall,
    method: &'static Method<Req, Rsp>,
    handler: Arc<H>,
    function: F,
) -> impl Future<Output = ()> + Send
where
    H: Send + Sync + 'static,
    Req: Send + 'static,
    Rsp: Send + 'static,
    F: Fn(Arc<H>, Context, Req) -> Fut + Copy + Send + Sync + 'static,
    Fut: Future<Output = Result<Rsp>> + Send + 'static,
{
    let Incall {
        context,
        body,
        mut reply,
        content_type,
        shared,
        cost,
    } = call;
    let encoding = content_type.encoding(&shared.json);
    async move {
        let work = pin!(async {
            let mut reader = MessageReader::new(body, shared.limits.max_message);
            let bytes = only_message(&mut reader, shared.limits.body_stall).await?;
            let request = method.request.decode(bytes, &encoding)?;
            drop(reader);
            let message = if shared.interceptors.is_empty() {
                function(handler, context.clone(), request).await?
            } else {
                let terminal = {
                    let context = context.clone();
                    move |call: Invocation| async move {
                        let request = take_message::<Req>(call.message)?;
                        function(handler, context, request).await.map(Outcome::of)
                    }
                };
                let call = invocation(&shared, &method.info, &context, Some(Box::new(request)));
                let outcome = Next::new(Arc::clone(&shared.interceptors), terminal)
                    .run(call)
                    .await?;
                take_message::<Rsp>(outcome.message)?
            };
            encode(method, &message, &encoding)
        });
        let outgoing = &mut reply.outgoing;
        let end = watch(work, &context, &cost, |cx| outgoing.poll_closed(cx)).await;
        match end {
            End::Finished(Ok(message)) => reply.finish_with(message, &context, &shared.name),
            End::Finished(Err(status)) => reply.finish_error(&status, &context, &shared.name),
            End::Gone => {}
        }
    }
}

/// Many requests, one reply.
pub(super) async fn client_streaming<H, Req, Rsp, F, Fut>(
    call: Incall,
    method: &'static Method<Req, Rsp>,
    handler: Arc<H>,
    function: F,
) where
    H: Send + Sync + 'static,
    Req: Send + 'static,
    Rsp: Send + 'static,
    F: Fn(Arc<H>, Context, Inbound<Req>) -> Fut + Copy + Send + Sync + 'static,
    Fut: Future<Output = Result<Rsp>> + Send + 'static,
{
    let Incall {
        context,
        body,
        mut reply,
        content_type,
        shared,
        cost,
    } = call;
    let encoding = content_type.encoding(&shared.json);
    let work = pin!(async {
        let requests = streams::inbound(method, body, &context, content_type, &shared);
        let message = if shared.interceptors.is_empty() {
            function(handler, context.clone(), requests).await?
        } else {
            let terminal = {
                let context = context.clone();
                move |_| async move { function(handler, context, requests).await.map(Outcome::of) }
            };
            let call = invocation(&shared, &method.info, &context, None);
            let outcome = Next::new(Arc::clone(&shared.interceptors), terminal)
                .run(call)
                .await?;
            take_message::<Rsp>(outcome.message)?
        };
        encode(method, &message, &encoding)
    });
    let outgoing = &mut reply.outgoing;
    let end = watch(work, &context, &cost, |cx| outgoing.poll_closed(cx)).await;
    match end {
        End::Finished(Ok(message)) => reply.finish_with(message, &context, &shared.name),
        End::Finished(Err(status)) => reply.finish_error(&status, &context, &shared.name),
        End::Gone => {}
    }
}

/// One request, many replies. The handler begins with the request's first message, not with the end of the
/// request: go-micro's clients never end theirs.
pub(super) async fn server_streaming<H, Req, Rsp, F, Fut>(
    call: Incall,
    method: &'static Method<Req, Rsp>,
    handler: Arc<H>,
    function: F,
) where
    H: Send + Sync + 'static,
    Req: Send + 'static,
    Rsp: Send + 'static,
    F: Fn(Arc<H>, Context, Req, Outbound<Rsp>) -> Fut + Copy + Send + Sync + 'static,
    Fut: Future<Output = Result<()>> + Send + 'static,
{
    let Incall {
        context,
        body,
        reply,
        content_type,
        shared,
        cost,
    } = call;
    let reply = SharedReply::new(reply, context.clone());
    let work = pin!(async {
        let mut reader = MessageReader::new(body, shared.limits.max_message);
        let bytes = first_message(&mut reader, shared.limits.body_stall).await?;
        let request = method
            .request
            .decode(bytes, &content_type.encoding(&shared.json))?;
        let responses = streams::outbound(method, &reply, content_type, &shared);
        let result = if shared.interceptors.is_empty() {
            function(handler, context.clone(), request, responses).await
        } else {
            let terminal = {
                let context = context.clone();
                move |call: Invocation| async move {
                    let request = take_message::<Req>(call.message)?;
                    function(handler, context, request, responses)
                        .await
                        .map(|()| Outcome::empty())
                }
            };
            let call = invocation(&shared, &method.info, &context, Some(Box::new(request)));
            Next::new(Arc::clone(&shared.interceptors), terminal)
                .run(call)
                .await
                .map(drop)
        };
        // Held until here: letting go of it would say that the rest of the request is not wanted, which is
        // a reset for a client that has not ended it.
        drop(reader);
        result
    });
    let end = watch(work, &context, &cost, |cx| reply.poll_closed(cx)).await;
    finish_stream(end, &reply, &context, &shared);
}

/// Many requests, many replies.
pub(super) async fn bidi<H, Req, Rsp, F, Fut>(
    call: Incall,
    method: &'static Method<Req, Rsp>,
    handler: Arc<H>,
    function: F,
) where
    H: Send + Sync + 'static,
    Req: Send + 'static,
    Rsp: Send + 'static,
    F: Fn(Arc<H>, Context, Inbound<Req>, Outbound<Rsp>) -> Fut + Copy + Send + Sync + 'static,
    Fut: Future<Output = Result<()>> + Send + 'static,
{
    let Incall {
        context,
        body,
        reply,
        content_type,
        shared,
        cost,
    } = call;
    let reply = SharedReply::new(reply, context.clone());
    let work = pin!(async {
        let requests = streams::inbound(method, body, &context, content_type, &shared);
        let responses = streams::outbound(method, &reply, content_type, &shared);
        if shared.interceptors.is_empty() {
            function(handler, context.clone(), requests, responses).await
        } else {
            let terminal = {
                let context = context.clone();
                move |_| async move {
                    function(handler, context, requests, responses)
                        .await
                        .map(|()| Outcome::empty())
                }
            };
            let call = invocation(&shared, &method.info, &context, None);
            Next::new(Arc::clone(&shared.interceptors), terminal)
                .run(call)
                .await
                .map(drop)
        }
    });
    let end = watch(work, &context, &cost, |cx| reply.poll_closed(cx)).await;
    finish_stream(end, &reply, &context, &shared);
}

fn finish_stream(end: End<()>, reply: &Arc<SharedReply>, context: &Context, shared: &Shared) {
    let Some(reply) = reply.take() else { return };
    match end {
        End::Finished(Ok(())) => reply.finish_ok(context, &shared.name),
        End::Finished(Err(status)) => reply.finish_error(&status, context, &shared.name),
        End::Gone => {}
    }
}

/// How the work on a call ended.
enum End<T> {
    /// With a result, which its caller is told.
    Finished(Result<T>),
    /// The caller is gone.
    Gone,
}

/// Runs the work of a call in its context, until it is done, panics, or has to stop: because its caller is
/// gone, or its deadline has passed. The timer is made only for work that waits.
fn watch<T, W, C>(
    mut work: Pin<&mut W>,
    context: &Context,
    cost: &PollCost,
    mut poll_closed: C,
) -> impl Future<Output = End<T>>
where
    W: Future<Output = Result<T>>,
    C: FnMut(&mut std::task::Context<'_>) -> Poll<Broken>,
{
    let mut started: Option<Instant> = cost.start();
    let mut timer: Option<Pin<Box<Sleep>>> = None;
    poll_fn(move |cx| {
        let poll = || context.enter(|| work.as_mut().poll(cx));
        let polled = catch_unwind(AssertUnwindSafe(poll));
        if let Some(started) = started.take() {
            cost.record(started.elapsed());
        }
        match polled {
            Ok(Poll::Ready(result)) => return Poll::Ready(End::Finished(result)),
            Ok(Poll::Pending) => {}
            Err(panic) => {
                tracing::error!(panic = text_of(&*panic), "a handler panicked");
                context.cancel();
                let status = Status::internal("the handler panicked").with_id("go.micro.server");
                return Poll::Ready(End::Finished(Err(status)));
            }
        }
        if let Poll::Ready(broken) = poll_closed(cx) {
            tracing::debug!(%broken, "the caller gave the call up");
            context.cancel();
            return Poll::Ready(End::Gone);
        }
        let Some(deadline) = context.deadline() else {
            return Poll::Pending;
        };
        let timer =
            timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline.instant())));
        ready!(timer.as_mut().poll(cx));
        context.cancel();
        Poll::Ready(End::Finished(Err(expired())))
    })
}

pub(super) fn expired() -> Status {
    Status::deadline_exceeded("the deadline passed before the handler was done")
}

/// What a panic said, for the log: the caller is not told.
fn text_of(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("of no text")
}

/// The next message of a request that is not a stream. A caller that stays silent for long is not waited for:
/// the timer is made only for a message that is not here yet.
async fn next_message(reader: &mut MessageReader, stall: Duration) -> Result<Option<Bytes>> {
    let mut timer: Option<Pin<Box<Sleep>>> = None;
    let mut taken = reader.taken();
    poll_fn(|cx| {
        if let Poll::Ready(message) = reader.poll_message(cx) {
            return Poll::Ready(message.transpose().map_err(|error| error.status()));
        }
        let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(stall)));
        while timer.as_mut().poll(cx).is_ready() {
            if taken == reader.taken() {
                return Poll::Ready(Err(Status::deadline_exceeded(format_args!(
                    "nothing of the request came for {stall:?}, the limit for a silent caller"
                ))));
            }
            taken = reader.taken();
            timer.as_mut().reset(tokio::time::Instant::now() + stall);
        }
        Poll::Pending
    })
    .await
}

/// The first message of a request that has one.
async fn first_message(reader: &mut MessageReader, stall: Duration) -> Result<Bytes> {
    next_message(reader, stall)
        .await?
        .ok_or_else(|| Status::unimplemented("expected one request message, found none"))
}

/// The message of a request that has one, and no more.
async fn only_message(reader: &mut MessageReader, stall: Duration) -> Result<Bytes> {
    let message = first_message(reader, stall).await?;
    match next_message(reader, stall).await? {
        None => Ok(message),
        Some(_) => Err(Status::unimplemented(
            "expected one request message, found a second one",
        )),
    }
}

fn encode<Req, Rsp>(
    method: &Method<Req, Rsp>,
    message: &Rsp,
    encoding: &Encoding,
) -> Result<Bytes> {
    seal(method.response.encode(message, encoding, PREFIX)?)
}

fn take_message<M: 'static>(message: Option<Box<dyn Any + Send>>) -> Result<M> {
    message
        .and_then(|message| message.downcast::<M>().ok())
        .map(|message| *message)
        .ok_or_else(|| {
            Status::new(
                Code::Internal,
                format_args!(
                    "an interceptor put a message of another type in the place of {}",
                    std::any::type_name::<M>()
                ),
            )
        })
}

fn invocation(
    shared: &Shared,
    info: &'static MethodInfo,
    context: &Context,
    message: Option<Box<dyn Any + Send>>,
) -> Invocation {
    Invocation {
        side: Side::Server,
        service: Arc::clone(&shared.name),
        method: MethodName::Typed(info),
        metadata: context.metadata().clone(),
        message,
        context: Some(context.clone()),
        attempts: None,
    }
}

/// The earliest of the deadlines that a request names.
pub(super) fn deadline_of(head: &crate::exchange::Head, go: bool) -> Result<Option<Deadline>> {
    use crate::exchange::Slot;
    use crate::protocol::grpc::{parse_go, parse_timeout};

    let grpc = match head.get(Slot::GrpcTimeout) {
        Some(text) => Some(parse_timeout(text).map_err(|()| {
            Status::internal(format_args!(
                "expected grpc-timeout as at most eight digits and one of H M S m u n, found {:?}",
                String::from_utf8_lossy(text)
            ))
        })?),
        None => None,
    };
    // Only go-micro's clients mean nanoseconds by a bare `timeout`.
    let micro = if go {
        head.get(Slot::Timeout).and_then(parse_go)
    } else {
        None
    };
    let time = match (grpc, micro) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    };
    Ok(time.map(Deadline::after))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Prost;
    use crate::method::MethodKind;

    static PING: Method<String, String> =
        Method::new::<Prost>(MethodKind::Unary, "A", "Ping", "/A/Ping", "A.Ping");

    fn size_of_output<F>(_: impl FnOnce(Incall) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_unary_call_is_a_small_block() {
        let size = size_of_output(|call| {
            unary(call, &PING, Arc::new(()), |_, _, request: String| async {
                Ok(request)
            })
        });
        // glibc keeps freed blocks of up to 1032 bytes at hand for each thread; a larger one costs some 900
        // instructions more to get and to give back.
        assert!(size <= 1032, "{size} bytes");
    }
}
