//! [`malformed`]: what came at least once and is no message, which must not be lost in silence either.

use bytes::Bytes;

use crate::broker::message::CONTENT_TYPE;
use crate::metadata::Metadata;

/// A content type that nothing can be decoded from.
const UNDECODABLE: &str = "application/x-micro-undecodable";

/// The header that says what is wrong.
const WHY: &str = "micro-undecodable";

/// The longest reason that goes into a header.
const LONGEST: usize = 200;

/// The headers of an event whose body is what came: decoding it fails, so that it goes to the dead letter, and
/// handlers of raw events see the bytes.
pub(crate) fn malformed(why: &str, bytes: Bytes) -> (Metadata, Bytes) {
    let mut headers = Metadata::new();
    headers.insert(CONTENT_TYPE, UNDECODABLE);
    let shown = why.chars().filter(|c| ('\x20'..'\x7f').contains(c));
    headers.insert(WHY, shown.take(LONGEST).collect::<String>());
    (headers, bytes)
}
