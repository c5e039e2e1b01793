//! The requests of a client-streaming call, and its reply.

use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;

use super::{answered, reached};
use crate::client::plan::{Opened, Plan};
use crate::client::pool::Pool;
use crate::client::receive::{Failure, Receiving};
use crate::codec::frame::{PREFIX, seal};
use crate::codec::{Codec, Encoding};
use crate::exchange::{BoxFuture, Outgoing};
use crate::selector::Picked;
use crate::status::{Result, Status};
use crate::stream::{Outbound, Target};

struct Upload<Req, Rsp> {
    request: Codec<Req>,
    response: Codec<Rsp>,
    encoding: Encoding,
    state: State,
    /// A request was handed to a connection: the call cannot go elsewhere any more.
    sent: bool,
    finishing: bool,
    /// The reply ahead of its status.
    kept: Option<Bytes>,
}

enum State {
    Open(Box<Open>),
    /// The node has certainly processed nothing: the call goes to another.
    Again(BoxFuture<'static, Result<Opened>>),
    Over(Result<(Bytes, Encoding)>),
}

struct Open {
    plan: Plan,
    picked: Picked<Pool>,
    /// `None` once it was ended.
    out: Option<Outgoing>,
    receiving: Receiving,
}

pub(in crate::client) fn upload<Req: 'static, Rsp: 'static>(
    opened: Opened,
    _: Option<Bytes>,
    (request, response): (Codec<Req>, Codec<Rsp>),
) -> Outbound<Req, Rsp> {
    Outbound::new(Upload {
        request,
        response,
        encoding: opened.plan.target.settings().encoding.clone(),
        state: State::Open(Box::new(Open::new(opened))),
        sent: false,
        finishing: false,
        kept: None,
    })
}

impl Open {
    fn new(mut opened: Opened) -> Open {
        reached(&mut opened);
        Open {
            plan: opened.plan,
            picked: opened.picked,
            out: Some(opened.out),
            receiving: opened.receiving,
        }
    }

    fn finish(&mut self) {
        if let Some(mut out) = self.out.take() {
            // Should it break just now, the peer's side says why.
            let _ = out.data(Bytes::new(), true);
        }
    }
}

impl<Req, Rsp> Upload<Req, Rsp> {
    /// Looks at the peer's side: ready when the call is over.
    fn poll_result(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match &mut self.state {
                State::Over(_) => return Poll::Ready(()),
                State::Again(again) => match ready!(again.as_mut().poll(cx)) {
                    Ok(opened) => {
                        let mut open = Open::new(opened);
                        if self.finishing {
                            open.finish();
                        }
                        self.state = State::Open(Box::new(open));
                    }
                    Err(status) => self.state = State::Over(Err(status)),
                },
                State::Open(open) => match open.receiving.poll_single(&mut self.kept, cx) {
                    Poll::Ready(Ok(message)) => {
                        open.plan.ended_well();
                        let json = &open.plan.target.settings().json;
                        let encoding = open.receiving.content_type().encoding(json);
                        self.state = State::Over(Ok((message, encoding)));
                    }
                    Poll::Ready(Err(failure)) => self.fail(&failure),
                    Poll::Pending => {
                        let over = ready!(open.plan.limit.poll(cx));
                        let what = format_args!("the requests of the stream were sent");
                        self.state = State::Over(Err(open.plan.over(over, what)));
                    }
                },
            }
        }
    }

    fn fail(&mut self, failure: &Failure) {
        let over = State::Over(Err(answered()));
        let State::Open(open) = std::mem::replace(&mut self.state, over) else {
            return;
        };
        let Open {
            mut plan, picked, ..
        } = *open;
        let again = !self.sent && plan.again(failure, &picked);
        let status = failure.at(&picked);
        picked.failed(failure.report());
        self.state = if again {
            State::Again(Box::pin(plan.open(None, false)))
        } else {
            State::Over(Err(plan.limit.correct(status)))
        };
    }

    /// The sending side broke: the reason lies on the peer's side if it is anywhere.
    fn broke(&mut self, failure: &Failure, cx: &mut Context<'_>) {
        if self.poll_result(cx).is_pending() && !matches!(self.state, State::Again(_)) {
            self.fail(failure);
        }
    }

    /// The status of a call that is over.
    fn over(&self) -> Status {
        match &self.state {
            State::Over(Err(status)) => status.clone(),
            _ => answered(),
        }
    }
}

impl<Req, Rsp> Target<Req, Rsp> for Upload<Req, Rsp> {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        loop {
            // An early status wins over whatever becomes of the requests.
            if self.poll_result(cx).is_ready() {
                return Poll::Ready(Err(self.over()));
            }
            let State::Open(open) = &mut self.state else {
                return Poll::Pending;
            };
            let Some(out) = &mut open.out else {
                return Poll::Ready(Err(answered()));
            };
            match ready!(out.poll_ready(cx)) {
                Ok(_) => return Poll::Ready(Ok(())),
                Err(broken) => self.broke(&Failure::broken(&broken, self.sent), cx),
            }
        }
    }

    fn send(&mut self, message: Req) -> Result<()> {
        let State::Open(open) = &mut self.state else {
            return Err(self.over());
        };
        let Some(out) = &mut open.out else {
            return Err(answered());
        };
        let bytes = seal(self.request.encode(&message, &self.encoding, PREFIX)?)?;
        self.sent = true;
        let Err(broken) = out.data(bytes, false) else {
            return Ok(());
        };
        let mut cx = Context::from_waker(Waker::noop());
        self.broke(&Failure::broken(&broken, true), &mut cx);
        Err(self.over())
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<Rsp>> {
        self.finishing = true;
        if let State::Open(open) = &mut self.state {
            open.finish();
        }
        ready!(self.poll_result(cx));
        let over = State::Over(Err(answered()));
        Poll::Ready(match std::mem::replace(&mut self.state, over) {
            State::Over(Ok((message, encoding))) => self.response.decode(message, &encoding),
            State::Over(Err(status)) => Err(status),
            State::Open(_) | State::Again(_) => Err(answered()),
        })
    }
}
