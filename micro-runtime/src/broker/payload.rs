//! [`Payload`]: what a publisher writes and a handler takes.

use std::borrow::Cow;

use bytes::Bytes;

use super::event::Event;
use super::message::CONTENT_TYPE;
use crate::codec::{Codec, CodecFor, Encoding, ProstJson};
use crate::json::{self, JsonMessage};
use crate::status::{Result, Status};

/// What protobuf bodies are called: every subscriber of go-micro takes this name (`application/grpc+proto`,
/// its publishers' own, is dropped by its mucp servers).
const PROTOBUF: &str = "application/protobuf";
/// What JSON bodies are called.
const JSON: &str = "application/json";

/// The longest content type that an error repeats.
const SHOWN: usize = 80;

/// What is published and what a handler takes: every generated message, and [`Event`] itself, undecoded.
///
/// Another type, such as a message that was generated without JSON, becomes one by these two functions.
pub trait Payload: Sized + Send + 'static {
    /// Writes it as the body of an event.
    ///
    /// # Errors
    /// It cannot be written in this encoding.
    fn encode(&self, encoding: &Encoding) -> Result<Body>;

    /// Reads it from an event.
    ///
    /// # Errors
    /// The content type is not one that it can be read from, or the body is not one of this type. Such an
    /// event is not handed out again: see [`Topic::dead_letter`](super::Topic::dead_letter).
    fn decode(event: &Event) -> Result<Self>;
}

/// The body of an event on its way out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Body {
    /// What the header `content-type` will say; `None` leaves the header out.
    pub content_type: Option<Cow<'static, str>>,
    /// The bytes.
    pub bytes: Bytes,
}

// ===== impl Body =====

impl Body {
    /// A body of this content type.
    #[must_use]
    pub fn new(content_type: impl Into<Cow<'static, str>>, bytes: impl Into<Bytes>) -> Body {
        Body {
            content_type: Some(content_type.into()),
            bytes: bytes.into(),
        }
    }
}

impl<M: prost::Message + Default + JsonMessage + 'static> Payload for M {
    fn encode(&self, encoding: &Encoding) -> Result<Body> {
        let codec: Codec<M> = ProstJson::CODEC;
        let bytes = codec.encode(self, encoding, 0)?;
        Ok(Body::new(content_type(encoding), bytes))
    }

    fn decode(event: &Event) -> Result<M> {
        let codec: Codec<M> = ProstJson::CODEC;
        codec.decode(event.body().clone(), &event.encoding()?)
    }
}

/// Nothing is decoded; published, the body goes out as it came, with its content type and no other header.
impl Payload for Event {
    fn encode(&self, _: &Encoding) -> Result<Body> {
        Ok(Body {
            content_type: self
                .headers()
                .get(CONTENT_TYPE)
                .map(|text| Cow::Owned(text.to_owned())),
            bytes: self.body().clone(),
        })
    }

    fn decode(event: &Event) -> Result<Event> {
        Ok(event.clone())
    }
}

/// What an encoding is called.
fn content_type(encoding: &Encoding) -> &'static str {
    match encoding {
        Encoding::Proto => PROTOBUF,
        Encoding::Json(_) => JSON,
    }
}

/// The encoding that a content type names, as go-micro's subscribers read it. Bodies are never framed, also
/// not those of gRPC's names.
pub(super) fn encoding(content_type: Option<&str>) -> Result<Encoding> {
    let Some(whole) = content_type else {
        return Ok(Encoding::Proto);
    };
    let name = whole.split(';').next().unwrap_or_default().trim();
    let is = |other: &str| name.eq_ignore_ascii_case(other);
    let ends = |suffix: &str| {
        name.len()
            .checked_sub(suffix.len())
            .and_then(|at| name.get(at..))
            .is_some_and(|end| end.eq_ignore_ascii_case(suffix))
    };
    if name.is_empty()
        || is(PROTOBUF)
        || is("application/octet-stream")
        || is("application/grpc")
        || ends("+proto")
    {
        return Ok(Encoding::Proto);
    }
    if is(JSON) || ends("+json") {
        return Ok(Encoding::Json(json::Options::new()));
    }
    Err(Status::invalid_argument(format_args!(
        "expected a content type of protobuf ({PROTOBUF}, …+proto) or JSON ({JSON}, …+json), found {:?}",
        whole.chars().take(SHOWN).collect::<String>()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::Metadata;

    fn event(content_type: Option<&str>, body: &[u8]) -> Event {
        let mut headers = Metadata::new();
        if let Some(content_type) = content_type {
            headers.insert(CONTENT_TYPE, content_type);
        }
        Event::new("t", headers, body.to_vec(), 1, None)
    }

    #[test]
    fn content_types_are_read_as_go_reads_them() {
        for protobuf in [
            None,
            Some(""),
            Some("application/octet-stream"),
            Some("application/protobuf"),
            Some("Application/Protobuf; proto=x"),
            Some("application/grpc"),
            Some("application/grpc+proto"),
            Some("application/x+proto"),
        ] {
            let found = String::decode(&event(protobuf, b"\x0a\x02hi"));
            assert_eq!(found.unwrap(), "hi", "{protobuf:?}");
        }
        for json in [
            "application/json",
            "application/json; charset=utf-8",
            "application/grpc+json",
            "APPLICATION/JSON",
        ] {
            let found = String::decode(&event(Some(json), br#""hi""#));
            assert_eq!(found.unwrap(), "hi", "{json}");
        }
        for other in [
            "text/plain",
            "application/xml",
            "json",
            "+",
            "protobuf",
            "ü",
        ] {
            let error = String::decode(&event(Some(other), b"\x0a\x02hi")).unwrap_err();
            assert!(error.to_string().contains("content type"), "{error}");
        }
    }

    #[test]
    fn a_body_of_something_else_is_an_error() {
        assert!(String::decode(&event(None, b"\xff\xff")).is_err());
        assert!(String::decode(&event(Some(JSON), b"{")).is_err());
    }

    #[test]
    fn a_message_is_written_with_its_content_type() {
        let hi = "hi".to_owned();
        let protobuf = hi.encode(&Encoding::Proto).unwrap();
        assert_eq!(protobuf, Body::new(PROTOBUF, &b"\x0a\x02hi"[..]));
        let json = Encoding::Json(json::Options::new());
        assert_eq!(hi.encode(&json).unwrap(), Body::new(JSON, &br#""hi""#[..]));
    }

    #[test]
    fn an_event_is_passed_on_as_it_came() {
        let raw = event(Some("text/plain"), b"hi");
        let taken = Event::decode(&raw).unwrap();
        let body = taken.encode(&Encoding::Proto).unwrap();
        assert_eq!(body, Body::new("text/plain", &b"hi"[..]));
        let bare = event(None, b"hi").encode(&Encoding::Proto).unwrap();
        assert_eq!(bare.content_type, None);
    }
}
