//! How an exchange, or a whole connection, ends badly.

use std::fmt;

/// Reset codes, with the numbers of HTTP/2 (RFC 9113 §7); other engines use the same.
pub mod reset {
    /// Nothing is wrong.
    pub const NO_ERROR: u32 = 0x0;
    /// The peer broke the protocol.
    pub const PROTOCOL_ERROR: u32 = 0x1;
    /// This side failed.
    pub const INTERNAL_ERROR: u32 = 0x2;
    /// The peer broke flow control.
    pub const FLOW_CONTROL_ERROR: u32 = 0x3;
    /// The peer sent to a stream that it had closed.
    pub const STREAM_CLOSED: u32 = 0x5;
    /// A frame of the wrong size.
    pub const FRAME_SIZE_ERROR: u32 = 0x6;
    /// The stream was refused before anything of it was processed.
    pub const REFUSED_STREAM: u32 = 0x7;
    /// The stream is no longer wanted.
    pub const CANCEL: u32 = 0x8;
    /// Header compression failed.
    pub const COMPRESSION_ERROR: u32 = 0x9;
    /// A tunnelled connection failed.
    pub const CONNECT_ERROR: u32 = 0xa;
    /// The peer asks for too much.
    pub const ENHANCE_YOUR_CALM: u32 = 0xb;
    /// The connection is not secure enough.
    pub const INADEQUATE_SECURITY: u32 = 0xc;
}

/// An exchange ended before its end.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Broken {
    /// What happened.
    pub why: Why,
    /// Whether the peer may have begun with the request.
    pub processed: Processed,
    /// The engine's own words, for people; may be empty.
    pub detail: String,
}

/// What happened to an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// It was reset by the peer, with this code.
    Reset(u32),
    /// The peer said goodbye to the connection, with this code, and this exchange came too late.
    GoAway(u32),
    /// The connection is gone: refused, closed or lost.
    Closed,
    /// A time-out of the transport.
    Timeout,
    /// A limit of ours, named.
    Limit(&'static str),
    /// The peer broke the protocol.
    Protocol,
}

/// Whether the peer may have begun with the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Processed {
    /// Certainly not: it was never sent, or the peer said so. Sending it again is safe, always.
    No,
    /// It may have been.
    Maybe,
}

// ===== impl Broken =====

impl Broken {
    /// Broken for this reason, perhaps after the peer began.
    #[must_use]
    pub fn new(why: Why) -> Broken {
        let processed = match why {
            Why::Reset(reset::REFUSED_STREAM) | Why::GoAway(_) => Processed::No,
            _ => Processed::Maybe,
        };
        Broken {
            why,
            processed,
            detail: String::new(),
        }
    }

    /// The same, certainly before the peer began.
    #[must_use]
    pub fn unprocessed(mut self) -> Broken {
        self.processed = Processed::No;
        self
    }

    /// Adds words for people, at most the first KiB of them: they may be the peer's, and they travel on in the
    /// status of whoever made the call, for which peers allow some KiB of trailers.
    #[must_use]
    pub fn with_detail(mut self, detail: impl fmt::Display) -> Broken {
        let mut detail = detail.to_string();
        if detail.len() > DETAIL_MAX {
            let mut end = DETAIL_MAX;
            while !detail.is_char_boundary(end) {
                end -= 1;
            }
            detail.truncate(end);
            detail.push('…');
        }
        self.detail = detail;
        self
    }
}

/// The most bytes of a detail that are kept.
const DETAIL_MAX: usize = 1024;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.why {
            Why::Reset(code) => write!(f, "the stream was reset with code {code}")?,
            Why::GoAway(code) => write!(f, "the peer is closing the connection, code {code}")?,
            Why::Closed => f.write_str("the connection is closed")?,
            Why::Timeout => f.write_str("the connection timed out")?,
            Why::Limit(limit) => write!(f, "over the limit: {limit}")?,
            Why::Protocol => f.write_str("the peer broke the protocol")?,
        }
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)?;
        }
        Ok(())
    }
}

impl std::error::Error for Broken {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_detail_is_cut_between_characters() {
        let broken = |detail: &str| Broken::new(Why::Closed).with_detail(detail).detail;
        assert_eq!(broken("short"), "short");
        let (longest, longer) = ("x".repeat(1024), "x".repeat(1025));
        assert_eq!(broken(&longest), longest);
        assert_eq!(broken(&longer), format!("{longest}…"));
        let cut = broken(&format!("x{}", "ü".repeat(1024)));
        assert_eq!(cut, format!("x{}…", "ü".repeat(511)));
    }
}
