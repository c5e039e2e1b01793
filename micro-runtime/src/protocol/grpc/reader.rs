//! [`MessageReader`]: frames of an exchange in, messages out.

use std::task::{Context, Poll, ready};

use bytes::Bytes;

use super::status_of;
use crate::codec::frame::{Deframer, FrameError};
use crate::exchange::{Broken, Frame, Head, Incoming};
use crate::status::Status;

/// Why no further message comes.
#[derive(Clone, Debug)]
pub(crate) enum ReadError {
    /// The exchange broke.
    Broken(Broken),
    /// The bytes are no messages.
    Frame(FrameError),
}

impl ReadError {
    pub(crate) fn status(&self) -> Status {
        match self {
            ReadError::Broken(broken) => status_of(broken),
            ReadError::Frame(error) => error.status(),
        }
    }
}

/// Reads the messages of one side of an exchange, one at a time: what is not asked for stays in the window,
/// which is given back piece by piece.
#[derive(Debug)]
pub(crate) struct MessageReader {
    body: Incoming,
    frames: Deframer,
    ended: bool,
    trailers: Option<Head>,
    taken: u64,
}

// ===== impl MessageReader =====

impl MessageReader {
    /// Reads messages of at most `limit` bytes.
    pub(crate) fn new(body: Incoming, limit: usize) -> MessageReader {
        MessageReader {
            body,
            frames: Deframer::new(limit),
            ended: false,
            trailers: None,
            taken: 0,
        }
    }

    /// How many bytes have come; it grows while the peer is alive.
    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }

    /// The exchange's receiving half, for its head.
    pub(crate) fn body(&mut self) -> &mut Incoming {
        &mut self.body
    }

    /// The next message; `None` at the peer's end, after which [`MessageReader::trailers`] has what came.
    pub(crate) fn poll_message(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, ReadError>>> {
        loop {
            match self.frames.next() {
                Ok(Some(message)) => return Poll::Ready(Some(Ok(message))),
                Ok(None) => {}
                Err(error) => {
                    self.ended = true;
                    return Poll::Ready(Some(Err(ReadError::Frame(error))));
                }
            }
            if self.ended {
                return Poll::Ready(None);
            }
            match ready!(self.body.poll_frame(cx)) {
                Some(Ok(Frame::Data(bytes))) => {
                    self.taken += bytes.len() as u64;
                    self.body.release(bytes.len());
                    self.frames.push(bytes);
                }
                Some(Ok(Frame::Trailers(head))) => {
                    self.trailers = Some(head);
                    if let Err(error) = self.finish() {
                        return Poll::Ready(Some(Err(error)));
                    }
                }
                Some(Err(broken)) => {
                    self.ended = true;
                    return Poll::Ready(Some(Err(ReadError::Broken(broken))));
                }
                None => {
                    if let Err(error) = self.finish() {
                        return Poll::Ready(Some(Err(error)));
                    }
                }
            }
        }
    }

    fn finish(&mut self) -> Result<(), ReadError> {
        self.ended = true;
        self.frames.finish().map_err(ReadError::Frame)
    }

    /// The trailers, once the end was reached; `None` if the peer sent none.
    pub(crate) fn trailers(&self) -> Option<&Head> {
        self.trailers.as_ref()
    }
}
