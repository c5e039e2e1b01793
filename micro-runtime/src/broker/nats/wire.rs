//! Events as they are on the wire: go-micro's JSON form, and the subjects of JetStream.

use bytes::Bytes;

use crate::broker::message::CONTENT_TYPE;
use crate::broker::{Event, Receipt, envelope};
use crate::metadata::Metadata;

/// The content type of an event that is not in go-micro's form: no codec has it, so that it cannot be decoded.
const UNDECODABLE: &str = "application/x-micro-undecodable";

/// The header that says what is wrong with it.
const WHY: &str = "micro-undecodable";

/// The event that a payload is. One that is not in go-micro's form is handed out as it came, with a content type
/// that no codec has: handlers of messages fail on it, those of raw events see its bytes.
pub(super) fn read_event(
    topic: &str,
    payload: &Bytes,
    attempt: u32,
    receipt: Option<Receipt>,
) -> Event {
    match envelope::read(payload) {
        Ok((headers, body)) => Event::new(topic, headers, body, attempt, receipt),
        Err(why) => {
            let mut headers = Metadata::new();
            headers.insert(CONTENT_TYPE, UNDECODABLE);
            headers.insert(WHY, why);
            Event::new(topic, headers, payload.clone(), attempt, receipt)
        }
    }
}

/// How many times the event was handed out, and its number in the stream, from the subject to answer on:
/// `$JS.ACK.<stream>.<consumer>.<count>.<number>.<…>.<…>.<…>`, with the domain and the account before the stream
/// on newer servers.
pub(super) fn read_reply(reply: &str) -> Option<(u32, u64)> {
    let mut parts = reply.strip_prefix("$JS.ACK.")?.split('.');
    let before = match reply.split('.').count() {
        9 => 2,
        11.. => 4,
        _ => return None,
    };
    let count: u64 = parts.nth(before)?.parse().ok()?;
    let number = parts.next()?.parse().ok()?;
    Some((u32::try_from(count).unwrap_or(u32::MAX), number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_to_answer_on_are_read() {
        assert_eq!(
            read_reply("$JS.ACK.S.q@a=b.3.17.9.1700000000000.0"),
            Some((3, 17))
        );
        let new = "$JS.ACK._.hash.S.q@a=b.3.17.9.1700000000000.0.x";
        assert_eq!(read_reply(new), Some((3, 17)));
        for bad in [
            "",
            "$JS.ACK.",
            "$JS.ACK.S.c.x.1.1.1.1",
            "_INBOX.x",
            "$JS.ACK.S.c.1",
        ] {
            assert_eq!(read_reply(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_no_message_is_handed_out_as_it_came() {
        let event = read_event("t", &Bytes::from_static(b"\xffgarbage"), 2, None);
        assert_eq!(&event.body()[..], b"\xffgarbage");
        assert_eq!(event.headers().get(CONTENT_TYPE), Some(UNDECODABLE));
        assert!(event.headers().get(WHY).is_some());
        assert_eq!(event.attempt(), 2);
    }
}
