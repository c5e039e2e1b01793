//! The text of an instance: JSON, compressed, in hex, in a TXT record.
//!
//! go-micro's form (v2.9.1 registry/mdns_registry.go): a JSON object with capital keys, as a zlib stream
//! (RFC 1950), in lower-case hex, cut into strings of 255 bytes.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use serde::{Deserialize, Serialize};

use crate::registry::common::fit::{LeftOut, Room, fit};
use crate::registry::common::hex::{hex, unhex};
use crate::registry::{Endpoint, Node, Service, Value};

/// The most JSON that is unpacked from a text. A record's 64 KB of hex can hold 32 MB of zeros.
pub(super) const MAX_JSON: usize = 1 << 20;

/// The most endpoints, and the most values of all of them, that a text may list: a few bytes of JSON each,
/// some two hundred in memory.
const MAX_ENDPOINTS: usize = 4096;
const MAX_VALUES: usize = 32_768;

/// The bytes that a record may have. macOS sends no larger datagram than 9,216 bytes unless told to, and beyond the
/// interface's MTU each loss of a fragment loses the whole; and a packet must hold it all, in at most 65,507 bytes.
pub(super) const ROOM: Room = Room {
    details: 8 * 1024,
    all: 60 * 1024,
};

/// The longest string in a TXT record (RFC 1035 §3.3).
const STRING: usize = 255;

/// What an instance says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Text {
    pub(super) service: String,
    pub(super) version: String,
    pub(super) endpoints: Option<Vec<Endpoint>>,
    pub(super) metadata: Option<BTreeMap<String, String>>,
}

/// Why a record is not an instance's text.
#[derive(Debug)]
pub(super) enum BadText {
    /// A string's length runs past the record's end.
    Strings,
    /// It is not hex, as the entries of the list of services, which are empty.
    Hex,
    /// It is no zlib stream.
    Zlib(std::io::Error),
    /// It unpacks to more than the limit, which is given.
    TooLarge(usize),
    /// It is not the JSON that was expected.
    Json(serde_json::Error),
    /// It lists more endpoints or values than the limits.
    TooMany,
}

// ===== impl Text =====

impl Text {
    /// The text for a node of a service.
    pub(super) fn new(service: &Service, node: &Node) -> Text {
        Text {
            service: service.name.clone(),
            // go-micro's watchers ignore what has none.
            version: service.version_or_latest().to_owned(),
            endpoints: Some(service.endpoints.clone()).filter(|list| !list.is_empty()),
            metadata: Some(node.metadata.clone()).filter(|map| !map.is_empty()),
        }
    }

    /// The record's data, without what does not fit; `None` if the metadata alone does not.
    pub(super) fn encode_to_fit(mut self) -> Option<(Vec<u8>, LeftOut)> {
        let endpoints = self.endpoints.take().unwrap_or_default();
        fit(endpoints, ROOM, |endpoints, limit| {
            self.endpoints = Some(endpoints.to_vec()).filter(|list| !list.is_empty());
            Some(self.encode()).filter(|data| data.len() <= limit)
        })
    }

    /// The record's data, whatever its length.
    pub(super) fn encode(&self) -> Vec<u8> {
        // Writing maps with string keys, and into a Vec, cannot fail; an empty text would be ignored by
        // whoever reads it.
        let json = serde_json::to_vec(self).unwrap_or_default();
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
        let packed = zlib
            .write_all(&json)
            .and_then(|()| zlib.finish())
            .unwrap_or_default();
        strings(hex(&packed).as_bytes())
    }

    /// Reads a record's data.
    pub(super) fn decode(data: &[u8]) -> Result<Text, BadText> {
        Text::decode_within(data, &mut { MAX_JSON })
    }

    /// Reads a record's data, unpacking no more bytes than `budget`, which is made smaller by those that
    /// were unpacked: for the several texts of a packet.
    pub(super) fn decode_within(data: &[u8], budget: &mut usize) -> Result<Text, BadText> {
        let packed = unhex(&concat(data)?).ok_or(BadText::Hex)?;
        let mut json = Vec::new();
        let limit = *budget;
        let one_more = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
        let read = ZlibDecoder::new(packed.as_slice())
            .take(one_more)
            .read_to_end(&mut json);
        *budget = limit.saturating_sub(json.len());
        read.map_err(BadText::Zlib)?;
        if json.len() > limit {
            return Err(BadText::TooLarge(limit));
        }
        let text: Text = serde_json::from_slice(&json).map_err(BadText::Json)?;
        let endpoints = text.endpoints.as_deref().unwrap_or_default();
        let values: usize = endpoints
            .iter()
            .flat_map(|endpoint| [&endpoint.request, &endpoint.response])
            .flatten()
            .map(count)
            .sum();
        if endpoints.len() > MAX_ENDPOINTS || values > MAX_VALUES {
            return Err(BadText::TooMany);
        }
        Ok(text)
    }
}

// ===== impl BadText =====

impl fmt::Display for BadText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadText::Strings => f.write_str("a string runs past the end of the record"),
            BadText::Hex => f.write_str("it is not hex"),
            BadText::Zlib(error) => write!(f, "it is no zlib stream: {error}"),
            BadText::TooLarge(limit) => write!(f, "it unpacks to more than {limit} bytes"),
            BadText::Json(error) => write!(f, "it is not the JSON of a service: {error}"),
            BadText::TooMany => write!(
                f,
                "it lists more than {MAX_ENDPOINTS} endpoints or {MAX_VALUES} values"
            ),
        }
    }
}

/// A value and those in it. The JSON reader bounds the depth, at 128.
fn count(value: &Value) -> usize {
    1 + value.values.iter().map(count).sum::<usize>()
}

/// Cuts bytes into strings behind their lengths.
fn strings(bytes: &[u8]) -> Vec<u8> {
    let mut data = Vec::with_capacity(bytes.len() + bytes.len() / STRING + 1);
    for string in bytes.chunks(STRING) {
        data.push(u8::try_from(string.len()).unwrap_or(u8::MAX));
        data.extend_from_slice(string);
    }
    data
}

/// Joins strings that stand behind their lengths.
fn concat(mut data: &[u8]) -> Result<Vec<u8>, BadText> {
    let mut bytes = Vec::with_capacity(data.len());
    while let Some((length, rest)) = data.split_first() {
        let (string, rest) = rest
            .split_at_checked(usize::from(*length))
            .ok_or(BadText::Strings)?;
        bytes.extend_from_slice(string);
        data = rest;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::registry::keys;

    /// As a go-micro v2.9.1 program wrote it.
    const GO: &str = "789c1cccb10903310c05d05d7eed09d4a74c15482f7c9f601092919534c6bb076e81b7f162fe4627049f24\
        8b898637738d70084c8babd0f0f06bc6f05a10ff9a353c597a692964636654f4b01b991de7fc030000ffff43cb1e97";

    fn greeter() -> Text {
        let node = Node {
            metadata: [("protocol".to_owned(), "grpc".to_owned())].into(),
            ..Node::default()
        };
        let service = Service {
            name: "greeter".into(),
            ..Service::default()
        };
        Text::new(&service, &node)
    }

    fn with_endpoints(count: usize, fields: usize) -> Text {
        // Names that do not compress away.
        let mut random = fastrand::Rng::with_seed(7);
        let mut word = |length| -> String { (0..length).map(|_| random.alphanumeric()).collect() };
        let endpoints = (0..count)
            .map(|_| Endpoint {
                name: word(24),
                request: Some(Value {
                    name: "Request".into(),
                    kind: "Request".into(),
                    values: (0..fields)
                        .map(|_| Value {
                            name: word(24),
                            kind: "string".into(),
                            values: Vec::new(),
                        })
                        .collect(),
                }),
                ..Endpoint::default()
            })
            .collect();
        Text {
            endpoints: Some(endpoints),
            ..greeter()
        }
    }

    #[test]
    fn reads_what_go_writes() {
        let data = strings(GO.as_bytes());
        assert_eq!(data[0], 0xb4, "one string of 180 hex digits");
        assert_eq!(Text::decode(&data).unwrap(), greeter());
        let upper = strings(GO.to_uppercase().as_bytes());
        assert_eq!(Text::decode(&upper).unwrap(), greeter());
    }

    #[test]
    fn writes_the_json_that_go_writes() {
        assert_eq!(
            serde_json::to_string(&greeter()).unwrap(),
            r#"{"Service":"greeter","Version":"latest","Endpoints":null,"Metadata":{"protocol":"grpc"}}"#
        );
        let (data, left_out) = greeter().encode_to_fit().unwrap();
        assert_eq!(left_out, LeftOut::Nothing);
        assert!(data[1..].starts_with(b"789c"), "zlib at the default level");
        assert_eq!(Text::decode(&data).unwrap(), greeter());
    }

    #[test]
    fn long_texts_are_cut_into_strings_of_255() {
        let text = with_endpoints(10, 2);
        let data = text.encode();
        assert_eq!(data[0], 255);
        assert_eq!(data[256], 255);
        assert_eq!(Text::decode(&data).unwrap(), text);
    }

    #[test]
    fn what_does_not_fit_is_left_out_in_steps() {
        let (data, left_out) = with_endpoints(20, 30).encode_to_fit().unwrap();
        assert_eq!(left_out, LeftOut::Values);
        assert!(data.len() <= ROOM.details);
        let text = Text::decode(&data).unwrap();
        let endpoints = text.endpoints.unwrap();
        assert_eq!(endpoints.len(), 20);
        let request = endpoints[0].request.as_ref().unwrap();
        assert_eq!(
            (request.kind.as_str(), request.values.len()),
            ("Request", 0)
        );

        let (data, left_out) = with_endpoints(2000, 0).encode_to_fit().unwrap();
        assert_eq!(left_out, LeftOut::Endpoints);
        assert_eq!(Text::decode(&data).unwrap(), greeter());

        let mut text = greeter();
        let long = (0..60_000).map(|_| fastrand::alphanumeric()).collect();
        text.metadata = Some([("k".to_owned(), long)].into());
        assert!(text.encode_to_fit().is_none());
    }

    #[test]
    fn comments_are_the_first_to_go() {
        let mut text = with_endpoints(20, 2);
        let mut random = fastrand::Rng::with_seed(7);
        for endpoint in text.endpoints.iter_mut().flatten() {
            for key in [
                keys::DESCRIPTION,
                keys::REQUEST_DESCRIPTION,
                keys::RESPONSE_DESCRIPTION,
            ] {
                let words = (0..100).map(|_| random.alphanumeric()).collect();
                endpoint.metadata.insert(key.to_owned(), words);
            }
            endpoint.metadata.insert("rpc".into(), "/a.B/C".into());
        }
        let (data, left_out) = text.clone().encode_to_fit().unwrap();
        assert_eq!(left_out, LeftOut::Comments);
        assert!(data.len() <= ROOM.details);
        for endpoint in text.endpoints.iter_mut().flatten() {
            endpoint.metadata = [("rpc".to_owned(), "/a.B/C".to_owned())].into();
        }
        assert_eq!(Text::decode(&data).unwrap(), text, "all else is there");
    }

    #[test]
    fn an_empty_record_is_no_text() {
        assert!(matches!(Text::decode(b""), Err(BadText::Hex)));
        assert!(matches!(Text::decode(b"\0"), Err(BadText::Hex)));
        assert!(matches!(Text::decode(b"\x05ab"), Err(BadText::Strings)));
    }

    #[test]
    fn unpacking_is_bounded() {
        let pack = |bytes: &[u8]| {
            let mut zlib = ZlibEncoder::new(Vec::new(), Compression::best());
            zlib.write_all(bytes).unwrap();
            strings(hex(&zlib.finish().unwrap()).as_bytes())
        };
        let zeros = pack(&vec![b' '; 2 << 20]);
        assert!(
            zeros.len() < 5_000,
            "thirteen times as much would fit a record"
        );
        assert!(matches!(Text::decode(&zeros), Err(BadText::TooLarge(_))));

        let many = format!(r#"{{"Endpoints":[{}{{}}]}}"#, "{},".repeat(MAX_ENDPOINTS));
        assert!(matches!(
            Text::decode(&pack(many.as_bytes())),
            Err(BadText::TooMany)
        ));
        let deep = format!(
            r#"{{"Endpoints":[{{"request":{}{}}}]}}"#,
            r#"{"values":["#.repeat(1000),
            "]}".repeat(1000)
        );
        assert!(matches!(
            Text::decode(&pack(deep.as_bytes())),
            Err(BadText::Json(_))
        ));
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = ("\\PC{0,12}", "[a-z]{0,8}").prop_map(|(name, kind)| Value {
            name,
            kind,
            values: Vec::new(),
        });
        leaf.prop_recursive(3, 12, 4, |inner| {
            ("[a-z]{0,8}", prop::collection::vec(inner, 0..4)).prop_map(|(name, values)| Value {
                kind: name.clone(),
                name,
                values,
            })
        })
    }

    fn text() -> impl Strategy<Value = Text> {
        let map = prop::collection::btree_map("\\PC{0,12}", "\\PC{0,40}", 1..5);
        let endpoint = (
            "\\PC{0,20}",
            prop::option::of(value()),
            prop::option::of(value()),
        )
            .prop_map(|(name, request, response)| Endpoint {
                name,
                request,
                response,
                ..Endpoint::default()
            });
        (
            "\\PC{0,20}",
            "\\PC{0,9}",
            prop::option::of(prop::collection::vec(endpoint, 1..6)),
            prop::option::of(map),
        )
            .prop_map(|(service, version, endpoints, metadata)| Text {
                service,
                version,
                endpoints,
                metadata,
            })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(text in text()) {
            prop_assert_eq!(Text::decode(&text.encode()).unwrap(), text);
        }

        #[test]
        fn arbitrary_bytes_do_no_harm(data in prop::collection::vec(any::<u8>(), 0..600)) {
            let _ = Text::decode(&data);
            let _ = Text::decode(&strings(hex(&data).as_bytes()));
        }

        #[test]
        fn mutated_texts_do_no_harm(text in text(), at in any::<prop::sample::Index>(), byte: u8) {
            let mut data = text.encode();
            let at = at.index(data.len());
            data[at] = byte;
            let _ = Text::decode(&data);
            data.truncate(at);
            let _ = Text::decode(&data);
        }
    }
}
