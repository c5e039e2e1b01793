//! Which encoding a content type names.

use crate::codec::Encoding;
use crate::json;

/// The content types of gRPC that are spoken here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ContentType {
    /// `application/grpc`
    Grpc,
    /// `application/grpc+proto`
    Proto,
    /// `application/grpc+json`
    Json,
}

/// Why a content type is not spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unsupported {
    /// It is gRPC's, with an encoding that is not known: answered with a status.
    Encoding,
    /// It is not gRPC's at all: answered with HTTP 415.
    Protocol,
}

// ===== impl ContentType =====

impl ContentType {
    /// Reads the header of a request or a reply. Parameters (`; charset=…`) mean nothing here.
    pub(crate) fn parse(header: Option<&[u8]>) -> Result<ContentType, Unsupported> {
        let header = header.ok_or(Unsupported::Protocol)?;
        let essence = header
            .split(|&byte| byte == b';')
            .next()
            .unwrap_or_default()
            .trim_ascii();
        let rest = essence
            .split_at_checked(b"application/grpc".len())
            .filter(|(start, _)| start.eq_ignore_ascii_case(b"application/grpc"))
            .map(|(_, rest)| rest)
            .ok_or(Unsupported::Protocol)?;
        match rest {
            b"" => Ok(ContentType::Grpc),
            _ if rest.eq_ignore_ascii_case(b"+proto") => Ok(ContentType::Proto),
            _ if rest.eq_ignore_ascii_case(b"+json") => Ok(ContentType::Json),
            [b'+', ..] => Err(Unsupported::Encoding),
            _ => Err(Unsupported::Protocol),
        }
    }

    /// Reads a content type as go-micro's options name it: the table of its gRPC client.
    pub(crate) fn of_option(text: &str) -> Option<ContentType> {
        Some(match text {
            "application/grpc" => ContentType::Grpc,
            "application/grpc+proto"
            | "application/proto"
            | "application/protobuf"
            | "application/octet-stream" => ContentType::Proto,
            "application/grpc+json" | "application/json" => ContentType::Json,
            _ => return None,
        })
    }

    /// The header's value.
    pub(crate) const fn header(self) -> &'static str {
        match self {
            ContentType::Grpc => "application/grpc",
            ContentType::Proto => "application/grpc+proto",
            ContentType::Json => "application/grpc+json",
        }
    }

    /// The encoding of messages; JSON with these options.
    pub(crate) fn encoding(self, json: &json::Options) -> Encoding {
        match self {
            ContentType::Grpc | ContentType::Proto => Encoding::Proto,
            ContentType::Json => Encoding::Json(json.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_header_is_read_or_refused(header in any::<Vec<u8>>(), behind in ".{0,8}") {
            let _ = ContentType::parse(Some(&header));
            let ours = format!("application/grpc{behind}");
            if let Ok(found) = ContentType::parse(Some(ours.as_bytes())) {
                let header = found.header();
                prop_assert_eq!(ContentType::parse(Some(header.as_bytes())), Ok(found));
            }
        }
    }

    #[test]
    fn reads_headers() {
        let parse = |text: &'static str| ContentType::parse(Some(text.as_bytes()));
        assert_eq!(parse("application/grpc"), Ok(ContentType::Grpc));
        assert_eq!(parse("Application/GRPC+Proto"), Ok(ContentType::Proto));
        assert_eq!(
            parse("application/grpc+json; charset=utf-8"),
            Ok(ContentType::Json)
        );
        assert_eq!(parse("application/grpc+thrift"), Err(Unsupported::Encoding));
        assert_eq!(parse("application/grpc-web"), Err(Unsupported::Protocol));
        assert_eq!(parse("text/html"), Err(Unsupported::Protocol));
        assert_eq!(parse("application/grp"), Err(Unsupported::Protocol));
        assert_eq!(ContentType::parse(None), Err(Unsupported::Protocol));
    }

    #[test]
    fn options_are_named_as_in_go() {
        assert_eq!(
            ContentType::of_option("application/protobuf"),
            Some(ContentType::Proto)
        );
        assert_eq!(
            ContentType::of_option("application/json"),
            Some(ContentType::Json)
        );
        assert_eq!(ContentType::of_option("text/plain"), None);
    }
}
