//! [`Tap`]: what the server says that the library does not pass on.
//!
//! The library keeps the server's version to itself, and gives a message that came back unroutable to
//! whichever publication is confirmed next, which with more than one on its way is often another one: that one
//! would be told an error, and the unroutable one that it is kept. So the bytes from the server are looked at
//! on their way to the library, and what came back is known by its routing key and message id before its
//! confirm is.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};

use crate::lock::lock;

/// The parts of a frame's head and end, in bytes (AMQP 0-9-1, 4.2.3).
const HEAD: usize = 7;
const END: usize = 1;

/// Types of frames.
const METHOD: u8 = 1;
const HEADER: u8 = 2;

/// Classes and methods.
const START: (u16, u16) = (10, 10);
const RETURN: (u16, u16) = (60, 50);

/// No frame is kept that is larger: the server holds to the size that was agreed, and the first ones are small.
const KEPT_MAX: usize = 1 << 17;

/// What was heard on a connection.
#[derive(Debug, Default)]
pub(super) struct Tap {
    version: OnceLock<String>,
    /// How many there are of each routing key and message id. Held for short sections without a wait.
    returned: Mutex<BTreeMap<(String, String), u32>>,
    /// How many there are, so that looking costs nothing while there are none.
    waiting: AtomicUsize,
}

/// Follows the frames of one direction of a connection.
#[derive(Debug)]
pub(super) struct Walker {
    head: [u8; HEAD],
    head_len: usize,
    /// What is left of the frame, its end among it.
    left: usize,
    /// What was seen of it, if it may matter.
    kept: Vec<u8>,
    keeping: bool,
    /// The channel and routing key of a returned message whose properties follow.
    returning: Option<(u16, String)>,
    /// Whether messages may be returned at all.
    publishes: bool,
    done: bool,
}

/// Reads numbers and texts from the front of some bytes.
struct Cursor<'a>(&'a [u8]);

// ===== impl Tap =====

impl Tap {
    /// The server's version: its first two numbers.
    pub(super) fn version(&self) -> Option<(u32, u32)> {
        let mut numbers = self.version.get()?.split('.').map(str::parse);
        match (numbers.next()?, numbers.next()?) {
            (Ok(major), Ok(minor)) => Some((major, minor)),
            _ => None,
        }
    }

    /// Whether a message of this routing key and id has come back, of which this is told once.
    pub(super) fn take_returned(&self, routing_key: &str, id: &str) -> bool {
        if self.waiting.load(Ordering::Acquire) == 0 {
            return false;
        }
        let mut returned = lock(&self.returned);
        let key = (routing_key.to_owned(), id.to_owned());
        let Some(count) = returned.get_mut(&key) else {
            return false;
        };
        *count -= 1;
        if *count == 0 {
            returned.remove(&key);
        }
        self.waiting.fetch_sub(1, Ordering::Release);
        true
    }

    fn came_back(&self, routing_key: String, id: String) {
        *lock(&self.returned).entry((routing_key, id)).or_default() += 1;
        self.waiting.fetch_add(1, Ordering::Release);
    }
}

// ===== impl Walker =====

impl Walker {
    /// One for a connection that publishes, or one that only needs the version.
    pub(super) fn new(publishes: bool) -> Walker {
        Walker {
            head: [0; HEAD],
            head_len: 0,
            left: 0,
            kept: Vec::new(),
            keeping: false,
            returning: None,
            publishes,
            done: false,
        }
    }

    /// Takes the next bytes from the server.
    pub(super) fn see(&mut self, mut bytes: &[u8], tap: &Tap) {
        while !bytes.is_empty() && !self.done {
            if self.left == 0 {
                let (now, later) = bytes.split_at(bytes.len().min(HEAD - self.head_len));
                for (to, from) in self.head.iter_mut().skip(self.head_len).zip(now) {
                    *to = *from;
                }
                self.head_len += now.len();
                bytes = later;
                if self.head_len == HEAD {
                    self.begin();
                }
                continue;
            }
            let (now, later) = bytes.split_at(bytes.len().min(self.left));
            if self.keeping {
                self.kept.extend_from_slice(now);
            }
            self.left -= now.len();
            bytes = later;
            if self.left == 0 {
                self.finish(tap);
            }
        }
    }

    fn begin(&mut self) {
        let [kind, _, _, size @ ..] = self.head;
        let size = usize::try_from(u32::from_be_bytes(size)).unwrap_or(usize::MAX);
        self.left = size.saturating_add(END);
        self.kept.clear();
        let matters = kind == METHOD || (kind == HEADER && self.returning.is_some());
        self.keeping = matters && size <= KEPT_MAX;
    }

    fn finish(&mut self, tap: &Tap) {
        self.head_len = 0;
        if !std::mem::take(&mut self.keeping) {
            return;
        }
        let [kind, high, low, ..] = self.head;
        let channel = u16::from_be_bytes([high, low]);
        let mut cursor = Cursor(&self.kept);
        if kind == METHOD {
            let method = cursor.u16().zip(cursor.u16());
            if method == Some(START) {
                if let Some(version) = version(&mut cursor) {
                    // Said once, at the beginning.
                    let _ = tap.version.set(version);
                }
                self.done = !self.publishes;
            } else if method == Some(RETURN) {
                self.returning = routing_key(&mut cursor).map(|key| (channel, key));
            }
        } else if self
            .returning
            .as_ref()
            .is_some_and(|(on, _)| *on == channel)
            && let Some((_, routing_key)) = self.returning.take()
        {
            let id = message_id(&mut cursor).unwrap_or_default();
            tap.came_back(routing_key, id);
        }
    }
}

/// The version among the server's properties, which `connection.start` says.
fn version(cursor: &mut Cursor<'_>) -> Option<String> {
    let (_major, _minor) = (cursor.u8()?, cursor.u8()?);
    let mut table = Cursor(cursor.long()?);
    loop {
        let name = table.short()?;
        let kind = table.u8()?;
        match kind {
            b'S' | b'x' | b'A' | b'F' => {
                let value = table.long()?;
                if name == b"version" {
                    return Some(String::from_utf8_lossy(value).into_owned());
                }
            }
            b't' | b'b' | b'B' => drop(table.take(1)?),
            b's' | b'u' => drop(table.take(2)?),
            b'I' | b'i' | b'f' => drop(table.take(4)?),
            b'D' => drop(table.take(5)?),
            b'l' | b'L' | b'd' | b'T' => drop(table.take(8)?),
            b'V' => {}
            _ => return None,
        }
    }
}

/// The routing key of `basic.return`, behind the code, its text and the exchange.
fn routing_key(cursor: &mut Cursor<'_>) -> Option<String> {
    cursor.u16()?;
    cursor.short()?;
    cursor.short()?;
    Some(String::from_utf8_lossy(cursor.short()?).into_owned())
}

/// The message id among a message's properties (AMQP 0-9-1, 1.8): a flag for each that is there, from the
/// highest bit down, then those that are there.
fn message_id(cursor: &mut Cursor<'_>) -> Option<String> {
    cursor.take(12)?;
    let flags = cursor.u16()?;
    let has = |bit: u16| flags & (1 << bit) != 0;
    for bit in [15, 14] {
        if has(bit) {
            cursor.short()?;
        }
    }
    if has(13) {
        cursor.long()?;
    }
    for bit in [12, 11] {
        if has(bit) {
            cursor.u8()?;
        }
    }
    for bit in [10, 9, 8] {
        if has(bit) {
            cursor.short()?;
        }
    }
    let id = if has(7) { cursor.short()? } else { &[] };
    Some(String::from_utf8_lossy(id).into_owned())
}

// ===== impl Cursor =====

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (now, later) = self.0.split_at_checked(count)?;
        self.0 = later;
        Some(now)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2)?.try_into().ok().map(u16::from_be_bytes)
    }

    /// A text with its length in one byte.
    fn short(&mut self) -> Option<&'a [u8]> {
        let length = self.u8()?;
        self.take(length.into())
    }

    /// Bytes with their length in four.
    fn long(&mut self) -> Option<&'a [u8]> {
        let length = self.take(4)?.try_into().ok().map(u32::from_be_bytes)?;
        self.take(usize::try_from(length).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![kind];
        frame.extend(channel.to_be_bytes());
        frame.extend(u32::try_from(payload.len()).unwrap().to_be_bytes());
        frame.extend(payload);
        frame.push(0xce);
        frame
    }

    fn short(text: &str) -> Vec<u8> {
        let mut bytes = vec![u8::try_from(text.len()).unwrap()];
        bytes.extend(text.as_bytes());
        bytes
    }

    fn long(bytes: &[u8]) -> Vec<u8> {
        let mut all = u32::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
        all.extend(bytes);
        all
    }

    fn start(version: &str) -> Vec<u8> {
        let capabilities = [short("publisher_confirms"), vec![b't', 1]].concat();
        let table = [
            short("capabilities"),
            vec![b'F'],
            long(&capabilities),
            short("product"),
            vec![b'S'],
            long(b"RabbitMQ"),
            short("version"),
            vec![b'S'],
            long(version.as_bytes()),
        ]
        .concat();
        let payload = [vec![0, 10, 0, 10, 0, 9], long(&table), long(b"PLAIN")].concat();
        frame(METHOD, 0, &payload)
    }

    fn returned(channel: u16, key: &str, id: Option<&str>) -> Vec<u8> {
        let method = [
            vec![0, 60, 0, 50, 1, 56],
            short("NO_ROUTE"),
            short("micro"),
            short(key),
        ]
        .concat();
        let flags: u16 = 1 << 15 | 1 << 13 | 1 << 12 | u16::from(id.is_some()) << 7;
        let mut header = vec![0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
        header.extend(flags.to_be_bytes());
        header.extend(short("text/plain"));
        header.extend(long(&[short("X-A"), vec![b'S'], long(b"1")].concat()));
        header.push(2);
        header.extend(id.map(short).unwrap_or_default());
        [
            frame(METHOD, channel, &method),
            frame(HEADER, channel, &header),
            frame(3, channel, b"hi"),
        ]
        .concat()
    }

    #[test]
    fn versions_and_returned_messages_are_seen_in_any_pieces() {
        let ack = frame(METHOD, 1, &[0, 60, 0, 80, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
        let all = [
            start("3.13.7"),
            ack.clone(),
            returned(1, "a.b", Some("one")),
            ack,
            returned(2, "a.b", None),
            returned(1, "a.b", Some("one")),
        ]
        .concat();
        for piece in 1..all.len() {
            let (tap, mut walker) = (Tap::default(), Walker::new(true));
            for bytes in all.chunks(piece) {
                walker.see(bytes, &tap);
            }
            assert_eq!(tap.version(), Some((3, 13)), "in pieces of {piece}");
            assert!(!tap.take_returned("a.b", "two"));
            assert!(tap.take_returned("a.b", "one") && tap.take_returned("a.b", "one"));
            assert!(!tap.take_returned("a.b", "one"), "in pieces of {piece}");
            assert!(tap.take_returned("a.b", "") && !tap.take_returned("a.b", ""));
        }
    }

    #[test]
    fn a_connection_that_does_not_publish_is_not_followed() {
        let (tap, mut walker) = (Tap::default(), Walker::new(false));
        walker.see(&start("4.0.1"), &tap);
        walker.see(&returned(1, "a", Some("b")), &tap);
        assert_eq!(tap.version(), Some((4, 0)));
        assert!(!tap.take_returned("a", "b"));
    }

    #[test]
    fn a_version_that_is_none_is_not_guessed() {
        for text in ["", "4", "x.1", "rabbit"] {
            let (tap, mut walker) = (Tap::default(), Walker::new(true));
            walker.see(&start(text), &tap);
            assert_eq!(tap.version(), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), head in 0_usize..3) {
            let (tap, mut walker) = (Tap::default(), Walker::new(true));
            let heads = [&[0, 60, 0, 50][..], &[0, 10, 0, 10], &[]];
            let payload = [heads[head], &bytes].concat();
            walker.see(&frame(METHOD, 1, &payload), &tap);
            walker.see(&frame(HEADER, 1, &bytes), &tap);
            walker.see(&bytes, &tap);
        }
    }
}
