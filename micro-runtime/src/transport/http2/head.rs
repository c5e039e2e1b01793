//! Heads, from the engine's form to ours and back.

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};

use crate::exchange::{
    FieldName, FieldValue, Head, HeadBuilder, Line, OutFields, OutHead, Slot, Verb,
};

const fn slot_name(slot: usize) -> HeaderName {
    HeaderName::from_static(Slot::ALL[slot].name())
}

static NAMES: [HeaderName; Slot::COUNT] = [
    slot_name(0),
    slot_name(1),
    slot_name(2),
    slot_name(3),
    slot_name(4),
    slot_name(5),
    slot_name(6),
    slot_name(7),
    slot_name(8),
    slot_name(9),
    slot_name(10),
    slot_name(11),
    slot_name(12),
    slot_name(13),
    slot_name(14),
    slot_name(15),
];

/// The first codes of gRPC's status, which every reply ends with, need no memory of their own.
const SMALL: [&str; 17] = [
    "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16",
];

/// The head of a request that came in.
pub(super) fn request(parts: &http::request::Parts) -> Head {
    let verb = match parts.method {
        Method::POST => Verb::Post,
        Method::GET => Verb::Get,
        Method::OPTIONS => Verb::Options,
        _ => Verb::Other,
    };
    let path = parts.uri.path_and_query().map_or("", PathAndQuery::as_str);
    let authority = parts.uri.authority().map_or("", Authority::as_str);
    let size = path.len() + authority.len() + size(&parts.headers);
    fill(Head::request(verb, path, authority, size), &parts.headers)
}

/// The head of a reply that came in.
pub(super) fn response(parts: &http::response::Parts) -> Head {
    let builder = Head::response(parts.status.as_u16(), size(&parts.headers));
    fill(builder, &parts.headers)
}

/// Trailers that came in.
pub(super) fn trailers(headers: &HeaderMap) -> Head {
    fill(Head::trailers(size(headers)), headers)
}

/// The bytes that the fields take in a head. Exact, because a block that is filled to its end is shared
/// without a further allocation.
fn size(headers: &HeaderMap) -> usize {
    let mut seen = [false; Slot::COUNT];
    headers
        .iter()
        .map(|(name, value)| match Slot::of(name.as_str()) {
            Some(slot) if !std::mem::replace(&mut seen[slot as usize], true) => value.len(),
            _ => name.as_str().len() + value.len(),
        })
        .sum()
}

fn fill(mut builder: HeadBuilder, headers: &HeaderMap) -> Head {
    for (name, value) in headers {
        builder.field(name.as_str(), value.as_bytes());
    }
    builder.build()
}

/// A request that goes out, over TLS if it is `secure`; the error says what was wrong with the head.
pub(super) fn to_request(head: &OutHead, secure: bool) -> Result<Request<()>, String> {
    let Line::Request {
        verb,
        path,
        authority,
    } = &head.line
    else {
        return Err("expected a request's head, found a reply's".to_owned());
    };
    let mut request = Request::new(());
    *request.version_mut() = http::Version::HTTP_2;
    *request.method_mut() = match verb {
        Verb::Post => Method::POST,
        Verb::Get => Method::GET,
        Verb::Options => Method::OPTIONS,
        Verb::Other => {
            return Err("expected a method that can be sent: post, get, options".to_owned());
        }
    };
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(match secure {
        true => Scheme::HTTPS,
        false => Scheme::HTTP,
    });
    // A Unix socket has no authority of its own; gRPC sends this name there.
    parts.authority = Some(if authority.is_empty() {
        Authority::from_static("localhost")
    } else {
        Authority::from_maybe_shared(authority.clone())
            .map_err(|error| format!("the authority {authority:?} cannot be sent: {error}"))?
    });
    parts.path_and_query = Some(
        PathAndQuery::from_maybe_shared(path.clone())
            .map_err(|error| format!("the path {path:?} cannot be sent: {error}"))?,
    );
    *request.uri_mut() = Uri::from_parts(parts).map_err(|error| {
        format!("path {path:?} and authority {authority:?} cannot be sent: {error}")
    })?;
    *request.headers_mut() = to_headers(&head.fields);
    Ok(request)
}

/// The head of a reply that goes out.
pub(super) fn to_response(head: &OutHead) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = match head.line {
        Line::Status(status) => {
            StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
        }
        Line::Request { .. } => StatusCode::INTERNAL_SERVER_ERROR,
    };
    *response.headers_mut() = to_headers(&head.fields);
    response
}

/// Fields that go out. What cannot be sent is left out, with a warning: names and values are checked where
/// they are taken from the user, so that this is the second line of defence.
pub(super) fn to_headers(fields: &OutFields) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(fields.len());
    for &(slot, text) in fields.constants() {
        let value = HeaderValue::from_maybe_shared(Bytes::from_static(text.as_bytes()));
        append(&mut headers, NAMES[slot as usize].clone(), value.ok());
    }
    for (name, value) in fields.others() {
        let name = match name {
            FieldName::Slot(slot) => Some(NAMES[*slot as usize].clone()),
            FieldName::Text(text) => HeaderName::from_bytes(text).ok(),
        };
        let Some(name) = name else {
            tracing::warn!("a field was not sent: its name is not a valid header name");
            continue;
        };
        append(&mut headers, name, to_value(value));
    }
    headers
}

fn to_value(value: &FieldValue) -> Option<HeaderValue> {
    let bytes = match value {
        FieldValue::Static(text) => Bytes::from_static(text.as_bytes()),
        FieldValue::Bytes(bytes) => bytes.clone(),
        FieldValue::Number(number) => {
            match usize::try_from(*number).ok().and_then(|n| SMALL.get(n)) {
                Some(text) => Bytes::from_static(text.as_bytes()),
                None => return Some(HeaderValue::from(*number)),
            }
        }
    };
    HeaderValue::from_maybe_shared(bytes).ok()
}

fn append(headers: &mut HeaderMap, name: HeaderName, value: Option<HeaderValue>) {
    let Some(value) = value else {
        tracing::warn!(%name, "a field was not sent: its value is not a valid header value");
        return;
    };
    // RFC 9113 §8.2.2: fields of a connection do not exist here, and make a message malformed.
    let of_connection = match name.as_str() {
        "connection" | "transfer-encoding" | "upgrade" | "keep-alive" | "proxy-connection" => true,
        "te" => value != "trailers",
        _ => false,
    };
    if of_connection {
        tracing::debug!(%name, "a field was not sent: HTTP/2 has no fields of a connection");
    } else if let Err(error) = headers.try_append(name, value) {
        tracing::warn!(%error, "a field was not sent: there are too many");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_survives_there_and_back() {
        let mut fields = OutFields::constant(&[
            (Slot::ContentType, "application/grpc"),
            (Slot::Te, "trailers"),
        ]);
        fields.slot(
            Slot::GrpcTimeout,
            FieldValue::Bytes(Bytes::from_static(b"5S")),
        );
        fields.text(Bytes::from_static(b"x-a"), FieldValue::Static("1"));
        fields.text(Bytes::from_static(b"x-a"), FieldValue::Number(70_000));
        let head = OutHead {
            line: Line::Request {
                verb: Verb::Post,
                path: Bytes::from_static(b"/a.B/C?q=1"),
                authority: Bytes::from_static(b"host:1"),
            },
            fields,
        };
        let (parts, ()) = to_request(&head, false).unwrap().into_parts();
        let back = request(&parts);
        assert_eq!(back.verb(), Verb::Post);
        assert_eq!(back.path(), "/a.B/C?q=1");
        assert_eq!(back.authority(), "host:1");
        assert_eq!(back.get_str(Slot::ContentType), Some("application/grpc"));
        assert_eq!(back.get_str(Slot::GrpcTimeout), Some("5S"));
        let rest: Vec<_> = back.rest().collect();
        assert_eq!(rest, [("x-a", &b"1"[..]), ("x-a", &b"70000"[..])]);
    }

    #[test]
    fn what_cannot_be_sent_is_left_out() {
        let mut fields = OutFields::default();
        fields.text(Bytes::from_static(b"bad name"), FieldValue::Static("1"));
        fields.text(Bytes::from_static(b""), FieldValue::Static("1"));
        fields.text(
            Bytes::from_static(b"x-split"),
            FieldValue::Static("a\r\nb: c"),
        );
        fields.text(
            Bytes::from_static(b"connection"),
            FieldValue::Static("close"),
        );
        fields.text(
            Bytes::from_static(b"transfer-encoding"),
            FieldValue::Static("chunked"),
        );
        fields.slot(Slot::Te, FieldValue::Static("gzip"));
        fields.slot(Slot::GrpcStatus, FieldValue::Number(16));
        let headers = to_headers(&fields);
        assert_eq!(headers.len(), 1);
        assert_eq!(headers["grpc-status"], "16");
    }

    #[test]
    fn a_bad_first_line_is_an_error() {
        let head = |verb, path: &'static str, authority: &'static str| OutHead {
            line: Line::Request {
                verb,
                path: Bytes::from_static(path.as_bytes()),
                authority: Bytes::from_static(authority.as_bytes()),
            },
            fields: OutFields::default(),
        };
        assert!(to_request(&head(Verb::Post, "/a", ""), true).is_ok());
        assert!(to_request(&head(Verb::Other, "/a", "b"), false).is_err());
        assert!(to_request(&head(Verb::Post, "/a b", "b"), false).is_err());
        assert!(to_request(&head(Verb::Post, "/a", "b c"), false).is_err());
        let reply = OutHead {
            line: Line::Status(200),
            fields: OutFields::default(),
        };
        assert!(to_request(&reply, false).is_err());
        assert_eq!(to_response(&head(Verb::Post, "/", "")).status(), 500);
    }

    #[test]
    fn the_block_is_filled_to_its_end() {
        let mut headers = HeaderMap::new();
        headers.append("content-type", HeaderValue::from_static("a"));
        headers.append("content-type", HeaderValue::from_static("bb"));
        headers.append("x-y", HeaderValue::from_static("ccc"));
        // The repeated one goes by name.
        assert_eq!(size(&headers), 1 + ("content-type".len() + 2) + 3 + 3);
        assert_eq!(trailers(&headers).rest().len(), 2);
    }
}
