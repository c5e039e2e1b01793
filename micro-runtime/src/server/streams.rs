//! The streams that a handler gets: requests in, responses out.

use std::sync::{Arc, Mutex};
use std::task::{Context as Task, Poll, Wake, Waker, ready};

use bytes::Bytes;

use super::Shared;
use super::reply::Reply;
use crate::codec::frame::{PREFIX, seal};
use crate::codec::{Codec, Encoding};
use crate::context::Context;
use crate::exchange::{Broken, Incoming};
use crate::lock::lock;
use crate::metadata::Metadata;
use crate::method::Method;
use crate::protocol::grpc::{ContentType, MessageReader, status_of};
use crate::status::{Result, Status};
use crate::stream::{Inbound, Outbound, Source, Target};

/// The requests of a stream.
struct Requests<Req> {
    reader: MessageReader,
    codec: Codec<Req>,
    encoding: Encoding,
    context: Context,
}

pub(super) fn inbound<Req: 'static, Rsp>(
    method: &Method<Req, Rsp>,
    body: Incoming,
    context: &Context,
    content_type: ContentType,
    shared: &Shared,
) -> Inbound<Req> {
    Inbound::new(Requests {
        reader: MessageReader::new(body, shared.limits.max_message),
        codec: method.request,
        encoding: content_type.encoding(&shared.json),
        context: context.clone(),
    })
}

impl<Req> Source<Req> for Requests<Req> {
    fn poll_next(&mut self, cx: &mut Task<'_>) -> Poll<Option<Result<Req>>> {
        Poll::Ready(match ready!(self.reader.poll_message(cx)) {
            Some(Ok(bytes)) => Some(self.codec.decode(bytes, &self.encoding)),
            Some(Err(error)) => Some(Err(error.status())),
            None => None,
        })
    }

    fn poll_headers(&mut self, _: &mut Task<'_>) -> Poll<Result<&Metadata>> {
        Poll::Ready(Ok(self.context.metadata()))
    }

    fn trailers(&self) -> Option<&Metadata> {
        None
    }
}

/// The reply of a streaming call, which two look after at once: the handler's [`Outbound`], perhaps in a task
/// of its own, and the call itself, which watches for the caller's going. An engine remembers one waker, so
/// it is given one that wakes both.
#[derive(Debug)]
pub(super) struct SharedReply {
    state: Mutex<State>,
    wakers: Arc<Wakers>,
    context: Context,
}

#[derive(Debug)]
struct State {
    /// `None` once the call has ended.
    reply: Option<Reply>,
}

#[derive(Debug, Default)]
struct Wakers(Mutex<[Option<Waker>; 2]>);

const CALL: usize = 0;
const HANDLER: usize = 1;

impl Wake for Wakers {
    fn wake(self: Arc<Self>) {
        let wakers = std::mem::take(&mut *lock(&self.0));
        wakers.into_iter().flatten().for_each(Waker::wake);
    }
}

// ===== impl SharedReply =====

impl SharedReply {
    pub(super) fn new(reply: Reply, context: Context) -> Arc<SharedReply> {
        Arc::new(SharedReply {
            state: Mutex::new(State { reply: Some(reply) }),
            wakers: Arc::default(),
            context,
        })
    }

    /// The reply, to be ended. The handler's side fails from now on.
    pub(super) fn take(&self) -> Option<Reply> {
        lock(&self.state).reply.take()
    }

    /// Ready when the caller is gone.
    pub(super) fn poll_closed(&self, cx: &mut Task<'_>) -> Poll<Broken> {
        self.with_both(CALL, cx, |reply, cx| match reply {
            Some(reply) => reply.outgoing.poll_closed(cx),
            None => Poll::Pending,
        })
    }

    fn poll_ready(&self, cx: &mut Task<'_>) -> Poll<Result<()>> {
        self.with_both(HANDLER, cx, |reply, cx| match reply {
            Some(reply) => {
                reply.send_head(&self.context)?;
                let window = ready!(reply.outgoing.poll_ready(cx));
                Poll::Ready(window.map(drop).map_err(|broken| status_of(&broken)))
            }
            None => Poll::Ready(Err(over())),
        })
    }

    fn send(&self, message: Bytes) -> Result<()> {
        match &mut lock(&self.state).reply {
            Some(reply) => reply
                .outgoing
                .data(message, false)
                .map_err(|broken| status_of(&broken)),
            None => Err(over()),
        }
    }

    fn with_both<T>(
        &self,
        who: usize,
        cx: &Task<'_>,
        poll: impl FnOnce(Option<&mut Reply>, &mut Task<'_>) -> Poll<T>,
    ) -> Poll<T> {
        // Set before polling: a wake between the two is not lost.
        lock(&self.wakers.0)[who] = Some(cx.waker().clone());
        let waker = Waker::from(Arc::clone(&self.wakers));
        poll(
            lock(&self.state).reply.as_mut(),
            &mut Task::from_waker(&waker),
        )
    }
}

fn over() -> Status {
    Status::cancelled("the call is over: its handler has returned, or its caller is gone")
}

/// The responses of a stream.
struct Responses<Rsp> {
    reply: Arc<SharedReply>,
    codec: Codec<Rsp>,
    encoding: Encoding,
}

pub(super) fn outbound<Req, Rsp: 'static>(
    method: &Method<Req, Rsp>,
    reply: &Arc<SharedReply>,
    content_type: ContentType,
    shared: &Shared,
) -> Outbound<Rsp> {
    Outbound::new(Responses {
        reply: Arc::clone(reply),
        codec: method.response,
        encoding: content_type.encoding(&shared.json),
    })
}

impl<Rsp> Target<Rsp, ()> for Responses<Rsp> {
    fn poll_ready(&mut self, cx: &mut Task<'_>) -> Poll<Result<()>> {
        self.reply.poll_ready(cx)
    }

    fn send(&mut self, message: Rsp) -> Result<()> {
        let bytes = seal(self.codec.encode(&message, &self.encoding, PREFIX)?)?;
        self.reply.send(bytes)
    }

    fn poll_finish(&mut self, cx: &mut Task<'_>) -> Poll<Result<()>> {
        self.reply.poll_ready(cx)
    }
}
