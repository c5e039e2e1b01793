//! [`Message`]: what is published, in go-micro's model: headers and a body.

use bytes::Bytes;

use crate::metadata::Metadata;

/// The header that says what the body is.
pub(crate) const CONTENT_TYPE: &str = "content-type";
/// The header with the topic.
pub(crate) const MICRO_TOPIC: &str = "micro-topic";
/// The header with the event's id.
pub(crate) const MICRO_ID: &str = "micro-id";
/// The header with the name of the service that published.
pub(crate) const MICRO_FROM_SERVICE: &str = "micro-from-service";
/// What the headers of a dead letter begin with, which say where it is from and why.
pub(crate) const MICRO_DEAD: &str = "micro-dead-";

/// An event on its way to a broker: the topic, headers and the bytes of the body.
///
/// The headers hold everything that Go reads there, `Content-Type`, `Micro-Topic` and `Micro-Id` among them;
/// brokers write the names as Go does ([`header_name`]).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message {
    /// The topic.
    pub topic: String,
    /// An id by which a broker may tell that it has the event already; the same in every retry of one
    /// `publish`. Empty if the level needs none.
    pub id: String,
    /// Events of one key keep their order, where the broker says so. Default: none.
    pub key: Option<String>,
    /// The headers.
    pub headers: Metadata,
    /// The body.
    pub body: Bytes,
}

// ===== impl Message =====

impl Message {
    /// A message for a topic, without headers.
    #[must_use]
    pub fn new(topic: impl Into<String>, body: impl Into<Bytes>) -> Message {
        Message {
            topic: topic.into(),
            body: body.into(),
            ..Message::default()
        }
    }

    /// With this header; an earlier one of the name goes.
    #[must_use]
    pub fn header(mut self, name: impl AsRef<str>, value: impl Into<String>) -> Message {
        self.headers.insert(name, value);
        self
    }

    /// With this key.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Message {
        self.key = Some(key.into());
        self
    }

    /// With this id, instead of one of the publisher's.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Message {
        self.id = id.into();
        self
    }
}

/// A header's name as Go writes it: the first letter and each one behind a hyphen in upper case, the others
/// in lower case (`textproto.CanonicalMIMEHeaderKey`). go-micro looks names up in just this form.
#[must_use]
pub fn header_name(name: &str) -> String {
    let mut upper = true;
    name.chars()
        .map(|c| {
            let c = if upper {
                c.to_ascii_uppercase()
            } else {
                c.to_ascii_lowercase()
            };
            upper = c == '-';
            c
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_as_go_writes_them() {
        for (ours, go) in [
            ("content-type", "Content-Type"),
            ("micro-id", "Micro-Id"),
            ("X-FOO_bar", "X-Foo_bar"),
            ("", ""),
        ] {
            assert_eq!(header_name(ours), go);
        }
    }
}
