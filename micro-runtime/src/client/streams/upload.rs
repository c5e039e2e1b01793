//! The requests of a client-streaming call, and its reply.

use std::task::{Context, Poll, ready};

use bytes::Bytes;

use super::{answered, reached, report};
use crate::client::limit::{Limit, Over};
use crate::client::plan::Opened;
use crate::client::pool::Pool;
use crate::client::receive::{Failure, Receiving};
use crate::codec::frame::{PREFIX, seal};
use crate::codec::{Codec, Encoding};
use crate::exchange::Outgoing;
use crate::protocol::grpc::ContentType;
use crate::selector::Picked;
use crate::status::{Result, Status};
use crate::stream::{Outbound, Target};

struct Upload<Req, Rsp> {
    request: Codec<Req>,
    response: Codec<Rsp>,
    encoding: Encoding,
    limit: Limit,
    picked: Option<Picked<Pool>>,
    /// `None` once it was ended, or broke.
    out: Option<Outgoing>,
    /// `None` once the call is over.
    receiving: Option<Receiving>,
    /// The reply ahead of its status.
    kept: Option<Bytes>,
    result: Option<Result<(Bytes, ContentType)>>,
}

pub(in crate::client) fn upload<Req: 'static, Rsp: 'static>(
    mut opened: Opened,
    _: Option<Bytes>,
    (request, response): (Codec<Req>, Codec<Rsp>),
) -> Outbound<Req, Rsp> {
    reached(&mut opened);
    Outbound::new(Upload {
        request,
        response,
        encoding: opened.plan.target.settings().encoding.clone(),
        limit: opened.plan.limit,
        picked: Some(opened.picked),
        out: Some(opened.out),
        receiving: Some(opened.receiving),
        kept: None,
        result: None,
    })
}

impl<Req, Rsp> Upload<Req, Rsp> {
    /// Looks at the peer's side: ready when the call is over.
    fn poll_result(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(receiving) = &mut self.receiving else {
            return Poll::Ready(());
        };
        let content_type = match receiving.poll_single(&mut self.kept, cx) {
            Poll::Ready(Ok(message)) => {
                self.result = Some(Ok((message, receiving.content_type())));
                self.close();
                return Poll::Ready(());
            }
            Poll::Ready(Err(failure)) => Ok(failure),
            Poll::Pending => Err(ready!(self.limit.poll(cx))),
        };
        match content_type {
            Ok(failure) => self.fail(&failure),
            Err(over) => self.expire(over),
        }
        Poll::Ready(())
    }

    fn fail(&mut self, failure: &Failure) {
        let status = match &self.picked {
            Some(picked) => failure.at(picked),
            None => failure.status.clone(),
        };
        report(self.picked.take(), failure);
        self.result = Some(Err(self.limit.correct(status)));
        self.close();
    }

    fn expire(&mut self, over: Over) {
        self.result = Some(Err(self
            .limit
            .status(over, "the requests of the stream were sent")));
        self.close();
    }

    fn close(&mut self) {
        self.receiving = None;
        self.out = None;
    }

    /// The status of a call that is over.
    fn over(&self) -> Status {
        match &self.result {
            Some(Err(status)) => status.clone(),
            Some(Ok(_)) | None => answered(),
        }
    }
}

impl<Req, Rsp> Target<Req, Rsp> for Upload<Req, Rsp> {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        // An early status wins over whatever becomes of the requests.
        if self.poll_result(cx).is_ready() {
            return Poll::Ready(Err(self.over()));
        }
        let Some(out) = &mut self.out else {
            return Poll::Ready(Err(self.over()));
        };
        if let Err(broken) = ready!(out.poll_ready(cx)) {
            // The reason lies on the peer's side if it is anywhere; it may have come a moment ago.
            if self.poll_result(cx).is_pending() {
                self.fail(&Failure::broken(&broken, true));
            }
            return Poll::Ready(Err(self.over()));
        }
        Poll::Ready(Ok(()))
    }

    fn send(&mut self, message: Req) -> Result<()> {
        let Some(out) = &mut self.out else {
            return Err(self.over());
        };
        let bytes = seal(self.request.encode(&message, &self.encoding, PREFIX)?)?;
        // Should it break just now, the next look at the peer's side says why.
        if out.data(bytes, false).is_err() {
            self.out = None;
        }
        Ok(())
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<Rsp>> {
        if let Some(mut out) = self.out.take() {
            // As above.
            let _ = out.data(Bytes::new(), true);
        }
        ready!(self.poll_result(cx));
        Poll::Ready(match self.result.take() {
            Some(Ok((message, content_type))) => self
                .response
                .decode(message, &content_type.request_encoding()),
            Some(Err(status)) => Err(status),
            None => Err(answered()),
        })
    }
}
