//! The replies of a server-streaming call.

use std::task::{Context, Poll, ready};

use bytes::Bytes;

use super::reached;
use crate::client::limit::Over;
use crate::client::plan::{Opened, Plan};
use crate::client::pool::Pool;
use crate::client::receive::{Failure, Receiving};
use crate::codec::Codec;
use crate::exchange::{BoxFuture, Outgoing};
use crate::metadata::Metadata;
use crate::selector::Picked;
use crate::status::{Result, Status};
use crate::stream::{Inbound, Source};

struct Replies<Rsp> {
    codec: Codec<Rsp>,
    state: State,
    headers: Metadata,
    trailers: Option<Metadata>,
}

enum State {
    Open(Box<Open>),
    /// The node has certainly processed nothing: the call goes to another.
    Again(BoxFuture<'static, Result<Opened>>, Bytes),
    Over,
}

struct Open {
    plan: Plan,
    picked: Picked<Pool>,
    /// Held so that a request that is still being sent is sent to its end.
    _out: Outgoing,
    receiving: Receiving,
    /// The request, until a reply begins.
    body: Option<Bytes>,
}

pub(in crate::client) fn replies<Req, Rsp: 'static>(
    opened: Opened,
    body: Option<Bytes>,
    (_, codec): (Codec<Req>, Codec<Rsp>),
) -> Inbound<Rsp> {
    Inbound::new(Replies {
        codec,
        state: State::Open(Box::new(Open::new(opened, body))),
        headers: Metadata::new(),
        trailers: None,
    })
}

impl Open {
    fn new(mut opened: Opened, body: Option<Bytes>) -> Open {
        reached(&mut opened);
        Open {
            plan: opened.plan,
            picked: opened.picked,
            _out: opened.out,
            receiving: opened.receiving,
            body,
        }
    }

    fn over(&mut self, over: Over) -> Status {
        let what = format_args!("it waited for the next reply of the stream");
        self.plan.over(over, what)
    }
}

impl<Rsp> Replies<Rsp> {
    /// Drives the exchange to its head (`None`), or to the next message, its end or its failure.
    fn poll(&mut self, cx: &mut Context<'_>, head_only: bool) -> Poll<Option<Result<Option<Rsp>>>> {
        loop {
            match &mut self.state {
                State::Over => return Poll::Ready(None),
                State::Again(again, body) => {
                    let opened = ready!(again.as_mut().poll(cx));
                    let body = std::mem::take(body);
                    match opened {
                        Ok(opened) => {
                            self.state = State::Open(Box::new(Open::new(opened, Some(body))));
                        }
                        Err(status) => {
                            self.state = State::Over;
                            return Poll::Ready(Some(Err(status)));
                        }
                    }
                }
                State::Open(open) => {
                    let polled = if head_only {
                        open.receiving.poll_head(cx).map(|head| match head {
                            Ok(()) => None,
                            Err(failure) => Some(Err(failure)),
                        })
                    } else {
                        open.receiving
                            .poll_message(cx)
                            .map(Some)
                            .map(Option::flatten)
                    };
                    let Poll::Ready(polled) = polled else {
                        let over = ready!(open.plan.limit.poll(cx));
                        let status = open.over(over);
                        self.state = State::Over;
                        return Poll::Ready(Some(Err(status)));
                    };
                    if open.receiving.has_head() {
                        open.body = None;
                    }
                    match polled {
                        Some(Ok(bytes)) => {
                            let json = &open.plan.target.settings().json;
                            let encoding = open.receiving.content_type().encoding(json);
                            let message = self.codec.decode(bytes, &encoding).map(Some);
                            if message.is_err() {
                                self.state = State::Over;
                            }
                            return Poll::Ready(Some(message));
                        }
                        None if head_only => return Poll::Ready(Some(Ok(None))),
                        None => {
                            self.end();
                            return Poll::Ready(None);
                        }
                        Some(Err(failure)) => {
                            if let Some(status) = self.fail(failure) {
                                return Poll::Ready(Some(Err(status)));
                            }
                        }
                    }
                }
            }
        }
    }

    fn end(&mut self) {
        if let State::Open(open) = std::mem::replace(&mut self.state, State::Over) {
            open.plan.ended_well();
            let (headers, trailers) = open.receiving.into_metadata();
            self.headers = headers;
            self.trailers = Some(trailers);
        }
    }

    /// The status of a stream that failed; `None` if it is opened again.
    fn fail(&mut self, failure: Failure) -> Option<Status> {
        let State::Open(open) = std::mem::replace(&mut self.state, State::Over) else {
            return Some(failure.status);
        };
        let Open {
            mut plan,
            picked,
            receiving,
            body,
            ..
        } = *open;
        if let Some(body) = body
            && plan.again(&failure, &picked)
        {
            picked.failed(failure.report());
            self.state = State::Again(Box::pin(plan.open(Some(body.clone()), true)), body);
            return None;
        }
        let status = plan.limit.correct(failure.at(&picked));
        picked.failed(failure.report());
        let (headers, trailers) = receiving.into_metadata();
        self.headers = headers;
        self.trailers = Some(trailers);
        Some(status)
    }
}

impl<Rsp> Source<Rsp> for Replies<Rsp> {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Rsp>>> {
        self.poll(cx, false).map(|polled| match polled {
            Some(Ok(Some(message))) => Some(Ok(message)),
            Some(Err(status)) => Some(Err(status)),
            Some(Ok(None)) | None => None,
        })
    }

    fn poll_headers(&mut self, cx: &mut Context<'_>) -> Poll<Result<&Metadata>> {
        if let Some(Err(status)) = ready!(self.poll(cx, true)) {
            return Poll::Ready(Err(status));
        }
        Poll::Ready(Ok(match &self.state {
            State::Open(open) => open.receiving.headers().unwrap_or(&self.headers),
            State::Again(..) | State::Over => &self.headers,
        }))
    }

    fn trailers(&self) -> Option<&Metadata> {
        self.trailers.as_ref()
    }
}
