//! [`Metadata`] in heads: which headers are the user's, and how values are written.

use base64::Engine as _;
use bytes::Bytes;

use super::binary::BASE64;
use crate::exchange::{FieldValue, Head, OutFields, Slot};
use crate::metadata::{Metadata, is_reserved};

/// What of a head is the user's metadata. Values of `-bin` names are decoded; one that does not decode is
/// left out, since it means nothing.
pub(crate) fn read(head: &Head) -> Metadata {
    let mut metadata = Metadata::new();
    for (name, value) in head.rest_shared() {
        if is_reserved(name) {
            continue;
        }
        if name.ends_with("-bin") {
            // A list of values may come in one header, parted by commas.
            for part in value.split(|&byte| byte == b',') {
                if let Ok(bytes) = BASE64.decode(part.trim_ascii()) {
                    metadata.append_bin(name, bytes);
                }
            }
        } else {
            metadata.append_bin(name, value);
        }
    }
    metadata
}

/// What of a request's head a handler sees beside it: headers that have a place of their own in a [`Head`]
/// and are metadata all the same.
pub(crate) fn read_request(head: &Head) -> Metadata {
    let mut metadata = read(head);
    if let Some(agent) = head.get_str(Slot::UserAgent) {
        metadata.append("user-agent", agent);
    }
    metadata
}

/// Writes metadata that was [checked](Metadata::check) into fields.
pub(crate) fn write(metadata: &Metadata, fields: &mut OutFields) {
    for (name, value) in metadata.iter() {
        let value = if name.ends_with("-bin") {
            Bytes::from(BASE64.encode(value))
        } else {
            value.clone()
        };
        fields.text(
            Bytes::copy_from_slice(name.as_bytes()),
            FieldValue::Bytes(value),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::Verb;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_header_is_metadata_or_left_out(name in "[a-z0-9:-]{1,12}", value in any::<Vec<u8>>()) {
            let mut head = Head::request(Verb::Post, "/a/B", "", 64);
            head.field(&name, &value);
            let metadata = read_request(&head.build());
            // A list of binary values may come in one header.
            prop_assert!(metadata.len() <= 1 || name.ends_with("-bin"));
        }
    }

    #[test]
    fn binary_values_are_decoded_with_or_without_padding() {
        let mut head = Head::request(Verb::Post, "/a/B", "", 64);
        head.field("x-a-bin", b"q6ur");
        head.field("x-b-bin", b"qw==,qw");
        head.field("x-c-bin", b"!!!");
        head.field("x-d", b"text");
        let metadata = read(&head.build());
        assert_eq!(metadata.get_bin("x-a-bin").unwrap()[..], [0xab; 3]);
        assert_eq!(
            metadata
                .iter()
                .filter(|(name, _)| *name == "x-b-bin")
                .count(),
            2
        );
        assert!(metadata.get_bin("x-c-bin").is_none());
        assert_eq!(metadata.get("x-d"), Some("text"));
    }

    #[test]
    fn protocol_headers_are_not_metadata() {
        let mut head = Head::request(Verb::Post, "/a/B", "", 64);
        head.field("content-type", b"application/grpc");
        head.field("grpc-previous-rpc-attempts", b"1");
        head.field("timeout", b"1");
        head.field("user-agent", b"grpc-go/1.26");
        let metadata = read_request(&head.build());
        assert_eq!(metadata.len(), 1);
        assert_eq!(metadata.get("user-agent"), Some("grpc-go/1.26"));
    }
}
