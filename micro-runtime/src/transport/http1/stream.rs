//! [`Streaming`]: an answer that is read while it comes, line by line.

use std::fmt;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::time::timeout;

use super::client::{Failure, told};
use super::pool::Sender;

/// An answer whose head is there. Dropping it closes its connection.
pub(crate) struct Streaming {
    pub(crate) status: u16,
    body: Incoming,
    /// The connection ends with it.
    _sender: Sender,
    /// What came behind the last line.
    buffer: BytesMut,
    /// How far the buffer is known to have no end of a line.
    searched: usize,
    ended: bool,
}

// ===== impl Streaming =====

impl Streaming {
    pub(super) fn new(status: u16, body: Incoming, sender: Sender) -> Streaming {
        Streaming {
            status,
            body,
            _sender: sender,
            buffer: BytesMut::new(),
            searched: 0,
            ended: false,
        }
    }

    /// The next line that is not empty, without its end; `None` when the answer has ended. The rest of an
    /// answer that ended within a line is a line too.
    ///
    /// # Errors
    ///
    /// The connection broke, nothing came for `idle`, or the line has more than `max` bytes. There is nothing
    /// to read after that.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub(crate) async fn line(
        &mut self,
        idle: Duration,
        max: usize,
    ) -> Result<Option<Bytes>, Failure> {
        loop {
            let end = self.buffer.get(self.searched..);
            let end = end.and_then(|rest| rest.iter().position(|byte| *byte == b'\n'));
            if let Some(end) = end {
                let mut line = self.buffer.split_to(self.searched + end + 1);
                self.searched = 0;
                line.truncate(line.len() - 1);
                if line.iter().any(|byte| !byte.is_ascii_whitespace()) {
                    return Ok(Some(line.freeze()));
                }
                continue;
            }
            self.searched = self.buffer.len();
            if self.buffer.len() > max {
                return Err(Failure::TooLarge(max));
            }
            if self.ended {
                let rest = self.buffer.split();
                self.searched = 0;
                let blank = rest.iter().all(u8::is_ascii_whitespace);
                return Ok((!blank).then(|| rest.freeze()));
            }
            match timeout(idle, self.body.frame()).await {
                Err(_) => return Err(Failure::Late(idle)),
                Ok(None) => self.ended = true,
                Ok(Some(Err(error))) => return Err(Failure::Broken(told(&error))),
                Ok(Some(Ok(frame))) => {
                    // Trailers say nothing here.
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
            }
        }
    }
}

impl fmt::Debug for Streaming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streaming")
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}
