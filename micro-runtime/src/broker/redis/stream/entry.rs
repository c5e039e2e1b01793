//! Entries of a stream: what is written into one, and how the server's answers are read.

use std::fmt;

use bytes::Bytes;
use redis::{Pipeline, Value};

use crate::broker::envelope;
use crate::metadata::Metadata;

/// The fields of an entry: the id that the publisher gave the event, which is the same in every copy that a
/// publisher's retries have made, and the message in go-micro's JSON form.
const ID: &str = "id";
const MESSAGE: &str = "message";

/// The id of an entry: milliseconds, and a number within them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct EntryId(u64, u64);

/// An entry as it was read. No fields mean that it was deleted.
#[derive(Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) id: EntryId,
    pub(super) fields: Option<Vec<(Value, Value)>>,
}

/// Adds the command that appends a message.
pub(in crate::broker::redis) fn add(
    pipeline: &mut Pipeline,
    key: &str,
    id: &str,
    payload: &[u8],
    max_len: Option<u64>,
) {
    let command = pipeline.cmd("XADD").arg(key);
    if let Some(max_len) = max_len {
        command.arg("MAXLEN").arg("~").arg(max_len);
    }
    command.arg("*").arg(ID).arg(id).arg(MESSAGE).arg(payload);
}

// ===== impl EntryId =====

impl EntryId {
    pub(super) fn parse(text: &[u8]) -> Option<EntryId> {
        let (time, number) = std::str::from_utf8(text).ok()?.split_once('-')?;
        Some(EntryId(time.parse().ok()?, number.parse().ok()?))
    }

    pub(super) fn of(value: &Value) -> Option<EntryId> {
        match value {
            Value::BulkString(text) => EntryId::parse(text),
            Value::SimpleString(text) => EntryId::parse(text.as_bytes()),
            _ => None,
        }
    }

    /// The lowest id above this one.
    pub(super) fn next(self) -> EntryId {
        match self.1.checked_add(1) {
            Some(number) => EntryId(self.0, number),
            None => EntryId(self.0.saturating_add(1), 0),
        }
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.0, self.1)
    }
}

// ===== impl Entry =====

impl Entry {
    /// Headers and body; as an error the bytes of what is no message of ours, and what is wrong with it.
    pub(super) fn into_message(self) -> Result<(Metadata, Bytes), (Bytes, String)> {
        let message = self.fields.into_iter().flatten().find_map(|(name, value)| {
            let is_it = matches!(name, Value::BulkString(name) if name == MESSAGE.as_bytes());
            match value {
                Value::BulkString(bytes) if is_it => Some(bytes),
                _ => None,
            }
        });
        let Some(bytes) = message else {
            let why = format!("expected an entry with the field {MESSAGE:?}, found none");
            return Err((Bytes::new(), why));
        };
        envelope::read(&bytes).map_err(|why| (bytes.into(), why))
    }

    /// Reads `[id, [field, value, …]]`.
    fn of(value: Value) -> Option<Entry> {
        let Value::Array(parts) = value else {
            return None;
        };
        let mut parts = parts.into_iter();
        let id = EntryId::of(&parts.next()?)?;
        let fields = match parts.next()? {
            Value::Array(flat) => {
                let mut fields = Vec::with_capacity(flat.len() / 2);
                let mut flat = flat.into_iter();
                while let (Some(name), Some(value)) = (flat.next(), flat.next()) {
                    fields.push((name, value));
                }
                Some(fields)
            }
            _ => None,
        };
        Some(Entry { id, fields })
    }
}

/// The entries of an answer to XCLAIM.
pub(super) fn entries(value: Value) -> Vec<Entry> {
    match value {
        Value::Array(values) => values.into_iter().filter_map(Entry::of).collect(),
        _ => Vec::new(),
    }
}

/// The entries of an answer to XREADGROUP of one stream: nothing, or `[[key, entries]]`.
pub(super) fn read(value: Value) -> Vec<Entry> {
    let Value::Array(mut streams) = value else {
        return Vec::new();
    };
    match streams.pop() {
        Some(Value::Array(mut stream)) => stream.pop().map(entries).unwrap_or_default(),
        _ => Vec::new(),
    }
}

/// The ids and delivery counts of an answer to XPENDING with a range: `[[id, consumer, idle, count], …]`.
pub(super) fn pending(value: &Value) -> Vec<(EntryId, u32)> {
    let Value::Array(values) = value else {
        return Vec::new();
    };
    let one = |value: &Value| match value {
        Value::Array(parts) => match &parts[..] {
            [id, _, _, Value::Int(count)] => {
                Some((EntryId::of(id)?, u32::try_from(*count).unwrap_or(u32::MAX)))
            }
            _ => None,
        },
        _ => None,
    };
    values.iter().filter_map(one).collect()
}

/// A list of names and values, such as XINFO answers with, as the value of one name.
pub(super) fn named<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    let Value::Array(flat) = value else {
        return None;
    };
    flat.chunks_exact(2).find_map(|pair| match pair {
        [Value::BulkString(found), value] if found == name.as_bytes() => Some(value),
        _ => None,
    })
}

/// A text of the server.
pub(super) fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    #[test]
    fn ids_are_read_written_and_ordered() {
        let id = EntryId::parse(b"1700000000000-7").unwrap();
        assert_eq!(id.to_string(), "1700000000000-7");
        assert_eq!(id.next().to_string(), "1700000000000-8");
        assert_eq!(EntryId(1, u64::MAX).next(), EntryId(2, 0));
        assert!(EntryId(9, 0) < EntryId(10, 0) && EntryId(9, 9) < EntryId(9, 10));
        for bad in [
            &b"1"[..],
            b"-",
            b"a-b",
            b"1-",
            b"\xff-1",
            b"99999999999999999999-1",
        ] {
            assert_eq!(EntryId::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn answers_are_read_whatever_they_are() {
        let entry = Value::Array(vec![
            bulk("1-2"),
            Value::Array(vec![bulk("id"), bulk("x"), bulk("message"), bulk("{}")]),
        ]);
        let answer = Value::Array(vec![Value::Array(vec![
            bulk("key"),
            Value::Array(vec![entry]),
        ])]);
        let mut found = read(answer);
        assert_eq!(found.len(), 1);
        let (headers, body) = found.remove(0).into_message().unwrap();
        assert!(headers.is_empty() && body.is_empty());
        for odd in [
            Value::Nil,
            Value::Okay,
            Value::Array(vec![]),
            Value::Array(vec![Value::Nil]),
            Value::Array(vec![Value::Array(vec![])]),
            Value::Array(vec![Value::Array(vec![
                bulk("key"),
                Value::Array(vec![Value::Int(1)]),
            ])]),
        ] {
            assert_eq!(read(odd), []);
        }
        let row = Value::Array(vec![bulk("3-4"), bulk("me"), Value::Int(5), Value::Int(6)]);
        let rows = Value::Array(vec![row, Value::Nil, Value::Array(vec![bulk("1-1")])]);
        assert_eq!(pending(&rows), [(EntryId(3, 4), 6)]);
    }

    #[test]
    fn what_is_no_message_keeps_its_bytes() {
        let entry = |name: &str, value: &str| Entry {
            id: EntryId(1, 1),
            fields: Some(vec![(bulk(name), bulk(value))]),
        };
        let (bytes, _) = entry("message", "hello").into_message().unwrap_err();
        assert_eq!(&bytes[..], b"hello");
        let (bytes, why) = entry("other", "hello").into_message().unwrap_err();
        assert!(bytes.is_empty() && why.contains("\"message\""), "{why}");
    }
}
