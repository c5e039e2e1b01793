//! [`Receiving`]: the peer's side of a call, read by gRPC's rules; and [`Failure`], how an attempt ends badly.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;

use super::pool::Pool;
use crate::exchange::{Broken, Head, Incoming, Processed, Slot, Why};
use crate::metadata::Metadata;
use crate::protocol::grpc::{
    ContentType, MessageReader, ReadError, Unsupported, of_http, read_metadata, read_status,
    status_of,
};
use crate::selector::{self, Picked};
use crate::status::{Code, Status};

/// How an attempt failed.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) status: Status,
    /// Certainly nothing of the call was processed: it may go elsewhere, whatever it is.
    pub(super) unprocessed: bool,
    /// The peer only said goodbye to the connection: it may still be the right one for another.
    pub(super) goodbye: bool,
    /// A reply had begun.
    pub(super) committed: bool,
    /// The peer answered, as opposed to a connection that broke.
    pub(super) answered: bool,
    /// The connection broke, and the node may be gone.
    pub(super) gone: bool,
    /// What the peer said about another attempt.
    pub(super) pushback: Pushback,
}

/// What a server says about another attempt at a call, in `grpc-retry-pushback-ms` (gRPC's proposal A6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Pushback {
    /// Nothing.
    #[default]
    None,
    /// Not before this time has passed.
    After(Duration),
    /// There is to be none.
    Never,
}

// ===== impl Failure =====

impl Failure {
    fn answered(status: Status, committed: bool) -> Failure {
        Failure {
            status,
            unprocessed: false,
            goodbye: false,
            committed,
            answered: true,
            gone: false,
            pushback: Pushback::None,
        }
    }

    fn with_pushback(mut self, pushback: Pushback) -> Failure {
        self.pushback = pushback;
        self
    }

    pub(super) fn broken(broken: &Broken, committed: bool) -> Failure {
        // What no connection can carry fails on every node alike.
        if broken.why == Why::Protocol && broken.processed == Processed::No {
            return Failure::answered(Status::internal(broken), committed);
        }
        Failure {
            status: status_of(broken),
            unprocessed: broken.processed == Processed::No,
            goodbye: matches!(broken.why, Why::GoAway(_)),
            committed,
            answered: false,
            gone: matches!(broken.why, Why::Closed | Why::Timeout | Why::GoAway(_)),
            pushback: Pushback::None,
        }
    }

    /// The status for the caller: one that was made on this side names the node.
    pub(super) fn at(&self, picked: &Picked<Pool>) -> Status {
        if self.answered {
            return self.status.clone();
        }
        let address = &picked.slot().node().address;
        let message = self.status.message();
        Status::new(
            self.status.code(),
            format_args!("node {address}: {message}"),
        )
    }

    /// Whether a call that is safe to repeat is repeated for it: UNAVAILABLE, or a lost connection, before a
    /// reply had begun.
    pub(super) fn is_repeatable(&self) -> bool {
        !self.unprocessed && !self.committed && self.status.code() == Code::Unavailable
    }

    /// What it says of the node.
    pub(super) fn report(&self) -> selector::Failure {
        if self.answered {
            selector::Failure::answered(self.status.code())
        } else if self.goodbye {
            selector::Failure::Goodbye
        } else {
            selector::Failure::Lost
        }
    }
}

// ===== impl Pushback =====

impl Pushback {
    /// What a head or trailers say. What is no number of milliseconds, or said twice, means never, as in gRPC.
    fn of(head: &Head) -> Pushback {
        let mut said = head
            .rest()
            .filter(|(name, _)| *name == "grpc-retry-pushback-ms");
        let Some((_, value)) = said.next() else {
            return Pushback::None;
        };
        let text = std::str::from_utf8(value).unwrap_or_default();
        // A signed number of 32 bits, without a plus.
        match text.parse::<i32>().map(u64::try_from) {
            Ok(Ok(millis)) if said.next().is_none() && !text.starts_with('+') => {
                Pushback::After(Duration::from_millis(millis))
            }
            _ => Pushback::Never,
        }
    }
}

/// Reads the head, the messages and the status of a reply.
#[derive(Debug)]
pub(super) struct Receiving {
    reader: MessageReader,
    /// The request's, then the reply's.
    content_type: ContentType,
    seen_head: bool,
    /// A status in the head: right if nothing follows it.
    early: Option<Result<(), Status>>,
    /// And the pushback beside it.
    pushback: Pushback,
    headers: Option<Metadata>,
    trailers: Option<Metadata>,
    /// Nobody will ask for the metadata of a success.
    discard: bool,
    ended: bool,
}

// ===== impl Receiving =====

impl Receiving {
    pub(super) fn new(incoming: Incoming, content_type: ContentType, limit: usize) -> Receiving {
        Receiving {
            reader: MessageReader::new(incoming, limit),
            content_type,
            seen_head: false,
            early: None,
            pushback: Pushback::None,
            headers: None,
            trailers: None,
            discard: false,
            ended: false,
        }
    }

    /// Spares the metadata of a success, which nobody will ask for; that of an error is its status's.
    pub(super) fn discard_metadata(&mut self) {
        self.discard = true;
    }

    /// How the messages are written, known with the first one.
    pub(super) fn content_type(&self) -> ContentType {
        self.content_type
    }

    pub(super) fn has_head(&self) -> bool {
        self.seen_head
    }

    /// The leading metadata, once the head is there.
    pub(super) fn headers(&self) -> Option<&Metadata> {
        self.headers.as_ref()
    }

    pub(super) fn into_metadata(self) -> (Metadata, Metadata) {
        (
            self.headers.unwrap_or_default(),
            self.trailers.unwrap_or_default(),
        )
    }

    /// Ready when the head is there.
    pub(super) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        if self.seen_head || self.ended {
            return Poll::Ready(Ok(()));
        }
        let head = match ready!(self.reader.body().poll_head(cx)) {
            Ok(head) => head,
            Err(broken) => {
                self.ended = true;
                return Poll::Ready(Err(Failure::broken(&broken, false)));
            }
        };
        self.seen_head = true;
        let checked = self.take_head(&head);
        self.ended = checked.is_err();
        Poll::Ready(checked)
    }

    fn take_head(&mut self, head: &Head) -> Result<(), Failure> {
        let content_type = ContentType::parse(head.get(Slot::ContentType));
        self.early = status_in(head);
        // A status that was said counts, whatever else there is (gRPC's http-grpc-status-mapping).
        if self.early.is_none()
            && (head.status() != 200 || content_type == Err(Unsupported::Protocol))
        {
            let failure = Failure::answered(of_http(head), false);
            return Err(failure.with_pushback(Pushback::of(head)));
        }
        if matches!(self.early, Some(Err(_))) {
            self.pushback = Pushback::of(head);
        }
        if let Ok(content_type) = content_type {
            self.content_type = content_type;
        }
        if !self.discard || matches!(self.early, Some(Err(_))) {
            self.headers = Some(read_metadata(head));
        }
        Ok(())
    }

    /// The next message; `None` at an end with status OK, after which nothing follows.
    pub(super) fn poll_message(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Failure>>> {
        if let Err(failure) = ready!(self.poll_head(cx)) {
            return Poll::Ready(Some(Err(failure)));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        let failure = match ready!(self.reader.poll_message(cx)) {
            Some(Ok(message)) => return Poll::Ready(Some(Ok(message))),
            None => match self.finish() {
                Ok(()) => {
                    self.ended = true;
                    return Poll::Ready(None);
                }
                Err(failure) => failure,
            },
            Some(Err(ReadError::Broken(broken))) => match self.early.take() {
                // The peer had said all that it had to say.
                Some(Err(status)) => Failure::answered(status, true),
                _ => Failure::broken(&broken, true),
            },
            Some(Err(error @ ReadError::Frame(_))) => Failure::answered(error.status(), true),
        };
        self.ended = true;
        Poll::Ready(Some(Err(failure)))
    }

    fn finish(&mut self) -> Result<(), Failure> {
        let Some(trailers) = self.reader.trailers() else {
            return match self.early.take() {
                Some(Ok(())) => Ok(()),
                Some(Err(mut status)) => {
                    // Trailers alone: what stands in the head is theirs.
                    self.trailers = self.headers.take();
                    self.headers = Some(Metadata::new());
                    if let Some(trailers) = &self.trailers {
                        *status.metadata_mut() = trailers.clone();
                    }
                    // No reply had begun.
                    Err(Failure::answered(status, false).with_pushback(self.pushback))
                }
                None => Err(Failure::answered(
                    Status::internal(
                        "the peer ended the reply without trailers: expected them with a grpc-status",
                    ),
                    true,
                )),
            };
        };
        let status = status_in(trailers);
        if self.discard && matches!(status, Some(Ok(()))) {
            return Ok(());
        }
        let metadata = read_metadata(trailers);
        let pushback = match &status {
            Some(Err(_)) => Pushback::of(trailers),
            _ => Pushback::None,
        };
        let result = match status {
            Some(Ok(())) => Ok(()),
            Some(Err(status)) => Err(status.with_metadata(metadata.clone())),
            None => Err(Status::unknown(
                "the trailers of the reply have no grpc-status",
            )),
        };
        self.trailers = Some(metadata);
        result.map_err(|status| Failure::answered(status, true).with_pushback(pushback))
    }

    /// The only message of a reply that has one, once its status is known to be OK. `kept` keeps the message
    /// from poll to poll.
    pub(super) fn poll_single(
        &mut self,
        kept: &mut Option<Bytes>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Bytes, Failure>> {
        loop {
            let cardinality = |found: &str| {
                Failure::answered(
                    Status::unimplemented(format_args!(
                        "expected one reply message, found {found}: is the method of another kind on the server?"
                    )),
                    true,
                )
            };
            match ready!(self.poll_message(cx)) {
                Some(Ok(message)) => {
                    if kept.replace(message).is_some() {
                        self.ended = true;
                        return Poll::Ready(Err(cardinality("more")));
                    }
                }
                Some(Err(failure)) => return Poll::Ready(Err(failure)),
                None => return Poll::Ready(kept.take().ok_or_else(|| cardinality("none"))),
            }
        }
    }
}

/// The status in a head or in trailers, if there is one; a success without allocation.
fn status_in(head: &Head) -> Option<Result<(), Status>> {
    match head.get(Slot::GrpcStatus)? {
        b"0" => Some(Ok(())),
        _ => read_status(head).map(|status| match status.code() {
            Code::Ok => Ok(()),
            _ => Err(status),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_time_means_never() {
        let of = |values: &[&[u8]]| {
            let mut builder = Head::trailers(0);
            for value in values {
                builder.field("grpc-retry-pushback-ms", value);
            }
            Pushback::of(&builder.build())
        };
        let after = |millis| Pushback::After(Duration::from_millis(millis));
        assert_eq!(of(&[]), Pushback::None);
        assert_eq!(of(&[b"0"]), after(0));
        assert_eq!(of(&[b"250"]), after(250));
        assert_eq!(of(&[b"2147483647"]), after(2_147_483_647));
        for never in [
            &b"-1"[..],
            b"",
            b"+1",
            b"1.5",
            b"1s",
            b"2147483648",
            b"\xff",
        ] {
            assert_eq!(of(&[never]), Pushback::Never, "{never:?}");
        }
        assert_eq!(of(&[b"1", b"1"]), Pushback::Never);
    }
}
