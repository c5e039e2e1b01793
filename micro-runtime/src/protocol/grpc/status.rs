//! A [`Status`] in trailers: `grpc-status`, `grpc-message`, `grpc-status-details-bin`, and the forms of it
//! that go-micro's clients read.

use std::fmt::Write as _;

use base64::Engine as _;
use bytes::Bytes;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode, utf8_percent_encode};
use prost::Message;
use prost_types::Any;
use serde::{Deserialize, Serialize};

use super::binary::BASE64;
use super::metadata;
use crate::exchange::{FieldValue, Head, OutFields, Slot};
use crate::status::{Code, Status};

/// Whom a status goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Any gRPC client: the plain message, and the typed details alone.
    Plain,
    /// A client of this runtime: go-micro's id and number come behind the typed details.
    Micro,
    /// A client of go-micro: JSON in the message, and its own detail first. It casts the first detail
    /// without a check (`client/grpc/error.go`): any other in first place ends the process.
    Go,
}

const TYPE_URL: &str = "type.googleapis.com/errors.Error";

/// What gRPC percent-encodes in `grpc-message`: all but printable ASCII, and `%` itself.
const ENCODED: &AsciiSet = &CONTROLS.add(b'%');

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `errors.Error`, go-micro's own.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
struct MicroError {
    #[prost(string, tag = "1")]
    #[serde(skip_serializing_if = "String::is_empty")]
    id: String,
    #[prost(int32, tag = "2")]
    #[serde(skip_serializing_if = "is_zero")]
    code: i32,
    #[prost(string, tag = "3")]
    #[serde(skip_serializing_if = "String::is_empty")]
    detail: String,
    #[prost(string, tag = "4")]
    #[serde(skip_serializing_if = "String::is_empty")]
    status: String,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
fn is_zero(number: &i32) -> bool {
    *number == 0
}

/// The trailers of a success; nothing to allocate.
pub(crate) const OK_TRAILERS: OutFields = OutFields::constant(&[(Slot::GrpcStatus, "0")]);

/// Writes a status, and its metadata, into trailers. `id` stands in for an id that was not set.
pub(crate) fn write(status: &Status, dialect: Dialect, id: &str, fields: &mut OutFields) {
    fields.slot(
        Slot::GrpcStatus,
        FieldValue::Number(u64::from(status.code().number())),
    );
    let micro = || micro_error(status, id);
    let (message, details) = match dialect {
        Dialect::Plain => (status.message().to_owned(), status.details().to_vec()),
        Dialect::Micro => {
            let mut details = status.details().to_vec();
            details.push(detail_of(&micro()));
            (status.message().to_owned(), details)
        }
        Dialect::Go => {
            let micro = micro();
            let mut details = vec![detail_of(&micro)];
            details.extend_from_slice(status.details());
            (go_json(&micro), details)
        }
    };
    if !message.is_empty() {
        let text = utf8_percent_encode(&message, ENCODED).to_string();
        fields.slot(Slot::GrpcMessage, FieldValue::Bytes(Bytes::from(text)));
    }
    if !details.is_empty() {
        let rpc = RpcStatus {
            code: i32::from(status.code().number()),
            message,
            details,
        };
        let text = BASE64.encode(rpc.encode_to_vec());
        fields.slot(Slot::GrpcDetails, FieldValue::Bytes(Bytes::from(text)));
    }
    metadata::write(status.metadata(), fields);
}

/// Reads the status of a call from its trailers, or from the head of a reply that is trailers alone;
/// `None` if there is no `grpc-status`.
pub(crate) fn read(trailers: &Head) -> Option<Status> {
    let number = trailers.get_str(Slot::GrpcStatus)?;
    let code = number.parse().map_or(Code::Unknown, Code::from_number);
    let message = trailers
        .get(Slot::GrpcMessage)
        .map_or_else(String::new, |text| {
            percent_decode(text).decode_utf8_lossy().into_owned()
        });
    let details = trailers
        .get(Slot::GrpcDetails)
        .and_then(|text| BASE64.decode(text).ok())
        .and_then(|bytes| RpcStatus::decode(bytes.as_slice()).ok())
        .map_or_else(Vec::new, |rpc| rpc.details);

    let mut micro = None;
    let mut typed = Vec::new();
    for detail in details {
        if micro.is_none() && detail.type_url == TYPE_URL {
            micro = MicroError::decode(detail.value.as_slice()).ok();
        } else {
            typed.push(detail);
        }
    }
    // go-micro puts the same into the message, for readers that do not know its detail.
    let micro = micro.or_else(|| {
        message
            .starts_with('{')
            .then(|| serde_json::from_str::<MicroError>(&message).ok())
            .flatten()
            .filter(|micro| micro.code > 0)
    });
    let mut status = match micro {
        Some(micro) => {
            let mut status = Status::new(code, &micro.detail).with_id(micro.id);
            if micro.code != 0 {
                status = status.with_micro_code(micro.code);
            }
            status
        }
        None => Status::new(code, message),
    };
    for detail in typed {
        status = status.with_detail(detail);
    }
    Some(status)
}

/// The status of a reply that is no gRPC: what its HTTP status means (gRPC's `http-grpc-status-mapping.md`).
pub(crate) fn of_http(head: &Head) -> Status {
    let code = match head.status() {
        400 => Code::Internal,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::Unimplemented,
        429 | 502 | 503 | 504 => Code::Unavailable,
        // Too many, or too large, headers.
        431 => Code::ResourceExhausted,
        _ => Code::Unknown,
    };
    let kind = head.get_str(Slot::ContentType).unwrap_or("none");
    Status::new(
        code,
        format_args!(
            "expected a gRPC reply, found HTTP status {} with content-type {kind:?}",
            head.status()
        ),
    )
}

fn micro_error(status: &Status, id: &str) -> MicroError {
    let code = status.micro_code();
    MicroError {
        id: if status.id().is_empty() {
            id.to_owned()
        } else {
            status.id().to_owned()
        },
        code,
        detail: status.message().to_owned(),
        status: reason(code).to_owned(),
    }
}

fn detail_of(error: &MicroError) -> Any {
    Any {
        type_url: TYPE_URL.to_owned(),
        value: error.encode_to_vec(),
    }
}

/// JSON as Go's encoder writes it: `<`, `>` and `&` escaped, keys in the order of the fields, zeros left out.
fn go_json(error: &MicroError) -> String {
    let plain = serde_json::to_string(error).unwrap_or_default();
    let mut text = String::with_capacity(plain.len());
    for character in plain.chars() {
        match character {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                let _ = write!(text, "\\u{:04x}", u32::from(character));
            }
            _ => text.push(character),
        }
    }
    text
}

/// The reason phrases of HTTP, as Go's `http.StatusText` has them; empty for other numbers.
fn reason(code: i32) -> &'static str {
    u16::try_from(code)
        .ok()
        .and_then(|code| REASONS.iter().find(|(number, _)| *number == code))
        .map_or("", |(_, text)| text)
}

const REASONS: [(u16, &str); 62] = [
    (100, "Continue"),
    (101, "Switching Protocols"),
    (102, "Processing"),
    (103, "Early Hints"),
    (200, "OK"),
    (201, "Created"),
    (202, "Accepted"),
    (203, "Non-Authoritative Information"),
    (204, "No Content"),
    (205, "Reset Content"),
    (206, "Partial Content"),
    (207, "Multi-Status"),
    (208, "Already Reported"),
    (226, "IM Used"),
    (300, "Multiple Choices"),
    (301, "Moved Permanently"),
    (302, "Found"),
    (303, "See Other"),
    (304, "Not Modified"),
    (305, "Use Proxy"),
    (307, "Temporary Redirect"),
    (308, "Permanent Redirect"),
    (400, "Bad Request"),
    (401, "Unauthorized"),
    (402, "Payment Required"),
    (403, "Forbidden"),
    (404, "Not Found"),
    (405, "Method Not Allowed"),
    (406, "Not Acceptable"),
    (407, "Proxy Authentication Required"),
    (408, "Request Timeout"),
    (409, "Conflict"),
    (410, "Gone"),
    (411, "Length Required"),
    (412, "Precondition Failed"),
    (413, "Request Entity Too Large"),
    (414, "Request URI Too Long"),
    (415, "Unsupported Media Type"),
    (416, "Requested Range Not Satisfiable"),
    (417, "Expectation Failed"),
    (418, "I'm a teapot"),
    (421, "Misdirected Request"),
    (422, "Unprocessable Entity"),
    (423, "Locked"),
    (424, "Failed Dependency"),
    (425, "Too Early"),
    (426, "Upgrade Required"),
    (428, "Precondition Required"),
    (429, "Too Many Requests"),
    (431, "Request Header Fields Too Large"),
    (451, "Unavailable For Legal Reasons"),
    (500, "Internal Server Error"),
    (501, "Not Implemented"),
    (502, "Bad Gateway"),
    (503, "Service Unavailable"),
    (504, "Gateway Timeout"),
    (505, "HTTP Version Not Supported"),
    (506, "Variant Also Negotiates"),
    (507, "Insufficient Storage"),
    (508, "Loop Detected"),
    (510, "Not Extended"),
    (511, "Network Authentication Required"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What arrives of fields that go out.
    fn arrived(fields: &OutFields) -> Head {
        let mut head = Head::trailers(64);
        for (slot, value) in fields.constants() {
            head.slot(*slot, value.as_bytes());
        }
        for (name, value) in fields.others() {
            let value = match value {
                FieldValue::Static(text) => Bytes::from_static(text.as_bytes()),
                FieldValue::Bytes(bytes) => bytes.clone(),
                FieldValue::Number(number) => Bytes::from(number.to_string()),
            };
            match name {
                crate::exchange::FieldName::Slot(slot) => head.slot(*slot, &value),
                crate::exchange::FieldName::Text(name) => {
                    head.field(std::str::from_utf8(name).unwrap(), &value);
                }
            }
        }
        head.build()
    }

    fn sent(status: &Status, dialect: Dialect) -> Head {
        let mut fields = OutFields::default();
        write(status, dialect, "hellooo", &mut fields);
        arrived(&fields)
    }

    #[test]
    fn go_gets_the_bytes_that_go_sends() {
        let status = Status::not_found("no such thing 7").with_id("go.micro.srv.greeter");
        let head = sent(&status, Dialect::Go);
        assert_eq!(head.get_str(Slot::GrpcStatus), Some("5"));
        assert_eq!(
            head.get_str(Slot::GrpcMessage),
            Some(
                r#"{"id":"go.micro.srv.greeter","code":404,"detail":"no such thing 7","status":"Not Found"}"#
            )
        );
        // Seen on the wire from a server of go-micro v2.9.1.
        assert_eq!(
            head.get_str(Slot::GrpcDetails),
            Some(concat!(
                "CAUSWHsiaWQiOiJnby5taWNyby5zcnYuZ3JlZXRlciIsImNvZGUiOjQwNCwiZGV0YWlsIjoibm8gc3VjaCB0aGluZyA3",
                "Iiwic3RhdHVzIjoiTm90IEZvdW5kIn0aWQogdHlwZS5nb29nbGVhcGlzLmNvbS9lcnJvcnMuRXJyb3ISNQoUZ28ubWlj",
                "cm8uc3J2LmdyZWV0ZXIQlAMaD25vIHN1Y2ggdGhpbmcgNyIJTm90IEZvdW5k"
            ))
        );
    }

    #[test]
    fn a_teapot_survives_both_dialects() {
        let status = Status::from_micro_code(418, "as asked").with_id("hellooo.fail");
        for dialect in [Dialect::Go, Dialect::Micro] {
            let read = read(&sent(&status, dialect)).unwrap();
            assert_eq!(read.code(), Code::Unknown);
            assert_eq!(read.micro_code(), 418);
            assert_eq!(read.id(), "hellooo.fail");
            assert_eq!(read.message(), "as asked");
            assert!(read.details().is_empty());
        }
    }

    #[test]
    fn everyone_else_gets_the_message_and_typed_details_alone() {
        let detail = Any {
            type_url: "type.googleapis.com/google.protobuf.Empty".to_owned(),
            value: Vec::new(),
        };
        let status = Status::aborted("again")
            .with_id("x")
            .with_detail(detail.clone());
        let head = sent(&status, Dialect::Plain);
        assert_eq!(head.get_str(Slot::GrpcMessage), Some("again"));
        let back = read(&head).unwrap();
        assert_eq!(back.details(), [detail]);
        assert_eq!(back.id(), "");
        let bare = sent(&Status::aborted("again"), Dialect::Plain);
        assert_eq!(bare.get(Slot::GrpcDetails), None);
    }

    #[test]
    fn the_id_of_the_service_stands_in() {
        let back = read(&sent(&Status::internal("a < b & c"), Dialect::Go)).unwrap();
        assert_eq!(back.id(), "hellooo");
        assert_eq!(back.message(), "a < b & c");
        let head = sent(&Status::internal("a < b"), Dialect::Go);
        assert!(
            head.get_str(Slot::GrpcMessage)
                .unwrap()
                .contains("a \\u003c b")
        );
    }

    #[test]
    fn a_message_in_another_tongue_survives() {
        let text = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈 100%\t\n";
        for dialect in [Dialect::Plain, Dialect::Go] {
            let back = read(&sent(&Status::unknown(text), dialect)).unwrap();
            assert_eq!(back.message(), text);
        }
    }

    #[test]
    fn no_grpc_status_is_no_status() {
        assert!(read(&Head::trailers(0).build()).is_none());
    }

    proptest! {
        #[test]
        fn any_trailers_can_be_read(status in ".{0,4}", message in any::<Vec<u8>>(), details in any::<Vec<u8>>()) {
            let mut head = Head::trailers(64);
            head.slot(Slot::GrpcStatus, status.as_bytes());
            head.slot(Slot::GrpcMessage, &message);
            head.slot(Slot::GrpcDetails, &details);
            prop_assert!(read(&head.build()).is_some());
        }

        #[test]
        fn any_message_survives(message in ".{0,60}") {
            let back = read(&sent(&Status::unknown(&message), Dialect::Micro)).unwrap();
            prop_assert_eq!(back.message(), message);
        }
    }
}
