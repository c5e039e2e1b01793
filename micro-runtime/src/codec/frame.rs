//! Length-prefixed messages: one flag byte, four bytes of length in network order, the message
//! (gRPC over HTTP/2, "Length-Prefixed-Message").

use bytes::{Buf, Bytes, BytesMut};

use crate::status::Status;

/// The bytes before each message.
pub(crate) const PREFIX: usize = 5;

/// Memory for a message that is not here yet grows by at most this much ahead of its bytes: an announced
/// length is a claim, not an allocation.
const STEP: usize = 64 * 1024;

/// Writes the prefix into the first bytes of a buffer that holds [`PREFIX`] bytes of headroom and a message.
///
/// # Errors
/// RESOURCE_EXHAUSTED if the message is longer than the prefix can say.
pub(crate) fn seal(mut buffer: Vec<u8>) -> Result<Bytes, Status> {
    let length = u32::try_from(buffer.len() - PREFIX).map_err(|_| {
        Status::resource_exhausted(
            "a message cannot be longer than 4 GiB, the limit of its length prefix",
        )
    })?;
    buffer[0] = 0;
    buffer[1..PREFIX].copy_from_slice(&length.to_be_bytes());
    Ok(Bytes::from(buffer))
}

/// Why bytes are no messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameError {
    /// The prefix announces more than the limit.
    TooLarge { length: usize, limit: usize },
    /// The flag says "compressed".
    Compressed,
    /// The flag is neither 0 nor 1.
    Flag(u8),
    /// The stream ended within a message.
    Cut { have: usize },
}

impl FrameError {
    /// The status that gRPC's table of library errors has for it.
    pub(crate) fn status(self) -> Status {
        match self {
            FrameError::TooLarge { length, limit } => Status::resource_exhausted(format_args!(
                "found a message of {length} bytes, the limit is {limit} bytes"
            )),
            FrameError::Compressed => Status::internal(
                "found a compressed message, but no grpc-encoding that says how: send it uncompressed",
            ),
            FrameError::Flag(flag) => Status::internal(format_args!(
                "expected a message prefix that begins with 0 or 1, found {flag}: this is no gRPC message"
            )),
            FrameError::Cut { have } => Status::internal(format_args!(
                "the stream ended within a message, after {have} of its bytes"
            )),
        }
    }
}

/// Cuts a stream of bytes into messages. A message that lies whole in one piece is given as a part of that
/// piece; only others are copied.
#[derive(Debug)]
pub(crate) struct Deframer {
    limit: usize,
    /// What came and is not cut yet.
    piece: Bytes,
    /// The beginning of a message whose end is not here yet, prefix included.
    partial: BytesMut,
}

impl Deframer {
    /// Messages of at most `limit` bytes.
    pub(crate) fn new(limit: usize) -> Deframer {
        Deframer {
            limit,
            piece: Bytes::new(),
            partial: BytesMut::new(),
        }
    }

    /// Takes the next bytes; call it when [`Deframer::next`] has given `None`.
    pub(crate) fn push(&mut self, piece: Bytes) {
        debug_assert!(self.piece.is_empty(), "the last piece is cut up first");
        self.piece = piece;
    }

    /// The next message, or `None` if more bytes are needed.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, FrameError> {
        if self.partial.is_empty() {
            if self.piece.len() >= PREFIX {
                let end = PREFIX + self.length(&self.piece)?;
                if self.piece.len() >= end {
                    let mut message = self.piece.split_to(end);
                    message.advance(PREFIX);
                    return Ok(Some(message));
                }
            }
            if self.piece.is_empty() {
                return Ok(None);
            }
        }
        if self.partial.len() < PREFIX {
            self.take(PREFIX);
            if self.partial.len() < PREFIX {
                return Ok(None);
            }
        }
        let end = PREFIX + self.length(&self.partial)?;
        self.take(end);
        if self.partial.len() < end {
            return Ok(None);
        }
        let mut message = std::mem::take(&mut self.partial).freeze();
        message.advance(PREFIX);
        Ok(Some(message))
    }

    /// Checks that the stream ends between two messages.
    pub(crate) fn finish(&self) -> Result<(), FrameError> {
        match self.partial.len() + self.piece.len() {
            0 => Ok(()),
            have => Err(FrameError::Cut { have }),
        }
    }

    /// Moves bytes over until `partial` has `end` of them, as far as there are any.
    fn take(&mut self, end: usize) {
        let count = (end - self.partial.len()).min(self.piece.len());
        self.partial
            .reserve(count.max(STEP.min(end - self.partial.len())));
        self.partial.extend_from_slice(&self.piece.split_to(count));
    }

    fn length(&self, bytes: &[u8]) -> Result<usize, FrameError> {
        let &[flag, a, b, c, d, ..] = bytes else {
            return Ok(0);
        };
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        match flag {
            _ if length > self.limit => Err(FrameError::TooLarge {
                length,
                limit: self.limit,
            }),
            0 => Ok(length),
            1 => Err(FrameError::Compressed),
            flag => Err(FrameError::Flag(flag)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn framed(message: &[u8]) -> Vec<u8> {
        let mut buffer = vec![0; PREFIX];
        buffer.extend_from_slice(message);
        seal(buffer).unwrap().to_vec()
    }

    #[test]
    fn a_whole_message_is_not_copied() {
        let piece = Bytes::from(framed(b"hello"));
        let address = piece[PREFIX..].as_ptr();
        let mut deframer = Deframer::new(10);
        deframer.push(piece);
        let message = deframer.next().unwrap().unwrap();
        assert_eq!(message, "hello");
        assert_eq!(message.as_ptr(), address);
        assert_eq!(deframer.next(), Ok(None));
        assert_eq!(deframer.finish(), Ok(()));
    }

    #[test]
    fn an_announced_length_allocates_one_step_at_most() {
        let mut deframer = Deframer::new(usize::MAX);
        deframer.push(Bytes::from_static(&[0, 0xff, 0xff, 0xff, 0xff, 1]));
        assert_eq!(deframer.next(), Ok(None));
        assert!(deframer.partial.capacity() <= 2 * STEP);
        assert_eq!(deframer.finish(), Err(FrameError::Cut { have: 6 }));
    }

    #[test]
    fn refuses_what_is_no_message() {
        let refused = |bytes: &'static [u8]| {
            let mut deframer = Deframer::new(10);
            deframer.push(Bytes::from_static(bytes));
            deframer.next().unwrap_err()
        };
        let too_large = FrameError::TooLarge {
            length: 11,
            limit: 10,
        };
        assert_eq!(refused(&[0, 0, 0, 0, 11]), too_large);
        assert_eq!(refused(&[1, 0, 0, 0, 1]), FrameError::Compressed);
        assert_eq!(refused(&[7, 0, 0, 0, 1]), FrameError::Flag(7));
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_messages(
            messages in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..8),
            cuts in proptest::collection::vec(1usize..20, 1..40),
        ) {
            let bytes: Vec<u8> = messages.iter().flat_map(|message| framed(message)).collect();
            let mut deframer = Deframer::new(64);
            let mut found = Vec::new();
            let mut rest = Bytes::from(bytes);
            let mut cuts = cuts.into_iter().cycle();
            while !rest.is_empty() {
                let length = cuts.next().unwrap().min(rest.len());
                deframer.push(rest.split_to(length));
                while let Some(message) = deframer.next().unwrap() {
                    found.push(message.to_vec());
                }
            }
            prop_assert_eq!(found, messages);
            prop_assert_eq!(deframer.finish(), Ok(()));
        }

        #[test]
        fn any_bytes_end_in_messages_or_an_error(pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..64), 0..16)) {
            let mut deframer = Deframer::new(1 << 20);
            'stream: for piece in pieces {
                deframer.push(Bytes::from(piece));
                loop {
                    match deframer.next() {
                        Ok(Some(_)) => {}
                        Ok(None) => break,
                        Err(_) => break 'stream,
                    }
                }
            }
        }
    }
}
