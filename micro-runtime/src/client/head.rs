//! The heads of requests.

use std::time::Duration;

use bytes::Bytes;

use super::options::TIMEOUT;
use crate::exchange::{FieldValue, Line, OutFields, OutHead, Slot, Verb};
use crate::metadata::Metadata;
use crate::protocol::grpc::{ContentType, USER_AGENT, format_timeout, write_metadata};

type Fields = &'static [(Slot, &'static str)];

/// The constant fields of a client's requests: without a deadline, and with the default one. The latter is
/// what nearly every call sends, and costs nothing to write; the text stays the same from call to call, which
/// HPACK rewards, too.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heads {
    plain: Fields,
    default: Fields,
}

macro_rules! heads {
    ($content_type:ident) => {
        Heads {
            plain: const {
                &[
                    (Slot::ContentType, ContentType::$content_type.header()),
                    (Slot::Te, "trailers"),
                    (Slot::UserAgent, USER_AGENT),
                ]
            },
            default: const {
                &[
                    (Slot::ContentType, ContentType::$content_type.header()),
                    (Slot::Te, "trailers"),
                    (Slot::UserAgent, USER_AGENT),
                    (Slot::GrpcTimeout, "5000000u"),
                    (Slot::Timeout, "5000000000"),
                ]
            },
        }
    };
}

// ===== impl Heads =====

impl Heads {
    pub(super) fn of(content_type: ContentType) -> Heads {
        match content_type {
            ContentType::Grpc => heads!(Grpc),
            ContentType::Proto => heads!(Proto),
            ContentType::Json => heads!(Json),
        }
    }

    /// The head of a request with this much time left. The time is said twice: as gRPC does, and as go-micro's
    /// servers read it, in nanoseconds. And it says how often the call was repeated, if it was (gRPC's
    /// proposal A6).
    pub(super) fn request(
        self,
        path: Bytes,
        authority: Bytes,
        left: Option<Duration>,
        repeated: u32,
        metadata: &Metadata,
    ) -> OutHead {
        let mut fields = match left {
            None => OutFields::constant(self.plain),
            Some(TIMEOUT) => OutFields::constant(self.default),
            Some(left) => {
                let mut fields = OutFields::constant(self.plain);
                let text = format_timeout(left);
                fields.slot(Slot::GrpcTimeout, FieldValue::Bytes(text));
                let nanos = u64::try_from(left.as_nanos()).unwrap_or(u64::MAX).max(1);
                fields.slot(Slot::Timeout, FieldValue::Number(nanos));
                fields
            }
        };
        if repeated > 0 {
            let name = Bytes::from_static(b"grpc-previous-rpc-attempts");
            fields.text(name, FieldValue::Number(repeated.into()));
        }
        if !metadata.is_empty() {
            write_metadata(metadata, &mut fields);
        }
        OutHead {
            line: Line::Request {
                verb: Verb::Post,
                path,
                authority,
            },
            fields,
        }
    }
}

/// Checks metadata that is to be sent with a request: beside what every message of ours forbids, two headers
/// mean something to go-micro's servers that the caller cannot have meant.
pub(super) fn check(metadata: &Metadata) -> Result<(), String> {
    for (name, _) in metadata.iter() {
        if matches!(name, "timeout" | "x-content-type") {
            return Err(format!(
                "metadata name {name:?} is reserved: go-micro's servers read that header as the protocol's"
            ));
        }
    }
    metadata.check()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(left: Option<Duration>) -> (usize, Vec<FieldValue>) {
        let path = Bytes::from_static(b"/a.B/C");
        let head = Heads::of(ContentType::Grpc).request(
            path,
            Bytes::from_static(b"host:1"),
            left,
            0,
            &Metadata::new(),
        );
        let own = head.fields.others();
        let own = own.iter().map(|(_, value)| value.clone()).collect();
        (head.fields.constants().len(), own)
    }

    #[test]
    fn the_default_time_is_constant_and_right() {
        let (constants, own) = fields(Some(TIMEOUT));
        assert_eq!((constants, own.len()), (5, 0));
        let heads = Heads::of(ContentType::Json);
        let text = |slot| {
            let (_, text) = heads.default.iter().find(|(s, _)| *s == slot).unwrap();
            *text
        };
        assert_eq!(text(Slot::ContentType), "application/grpc+json");
        assert_eq!(text(Slot::GrpcTimeout).as_bytes(), format_timeout(TIMEOUT));
        assert_eq!(text(Slot::Timeout), TIMEOUT.as_nanos().to_string());
    }

    #[test]
    fn any_other_time_is_written_twice() {
        let (constants, own) = fields(Some(Duration::from_millis(1500)));
        assert_eq!(constants, 3);
        let text = FieldValue::Bytes(Bytes::from_static(b"1500000u"));
        assert_eq!(own, [text, FieldValue::Number(1_500_000_000)]);
        assert_eq!(fields(None), (3, Vec::new()));
    }

    #[test]
    fn what_go_reads_as_its_own_is_refused() {
        for name in ["timeout", "X-Content-Type", "grpc-status"] {
            let metadata = Metadata::from_iter([(name, "1")]);
            assert!(check(&metadata).is_err(), "{name}");
        }
        assert!(check(&Metadata::from_iter([("x-a", "1")])).is_ok());
    }
}
