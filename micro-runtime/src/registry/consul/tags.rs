//! Tags: what go-micro writes of a version, a node and its endpoints into the tags of a Consul service.
//!
//! A letter for the kind, `-`, and the text as a zlib stream (RFC 1950) in lower-case hex (go-plugins
//! registry/consul/encoding.go, v5 registry/consul/encoding.go):
//!
//! | tag | text |
//! |---|---|
//! | `v-…` | the version |
//! | `t-…` | one pair of the node's metadata, as a JSON object |
//! | `e-…` | one endpoint, as JSON |
//!
//! Older programs wrote `v=`, `t=` and `e=` and the plain text. Of each kind the form that is met first
//! counts. Other tags are other people's.

use std::collections::{BTreeMap, HashMap};
use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;

use super::literal;
use crate::registry::common::fit::{LeftOut, Room, fit};
use crate::registry::common::hex::{hex, unhex};
use crate::registry::{Endpoint, Node, Service, Value};

/// The most text that is unpacked from a tag. A tag of 64 KB could hold 32 MB of zeros.
pub(super) const TEXT_MAX: usize = 64 * 1024;

/// The most text that is unpacked from the tags of one answer of the agent.
const ANSWER_MAX: usize = 64 << 20;

/// The most endpoints of a service, and values of an endpoint, that are read: a few bytes of JSON each, some two
/// hundred in memory.
const ENDPOINTS_MAX: usize = 4096;
const VALUES_MAX: usize = 8192;

/// The bytes that the tags of one service may have. Every node of the service carries them, in every answer to
/// everyone who watches; and Consul's servers complain of entries of their log from 512 KiB on (raft suggested
/// maximum).
pub(super) const ROOM: Room = Room {
    details: 64 * 1024,
    all: 384 * 1024,
};

/// What the tags of a service say. Two services with the same tags read the same, so that what was read is kept.
#[derive(Default)]
pub(super) struct Reader {
    /// Texts by the tag that they were unpacked from.
    unpacked: HashMap<String, Option<String>>,
    /// Bytes unpacked so far.
    bytes: usize,
}

/// The kinds of tags.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Version,
    Metadata,
    Endpoint,
}

// ===== writing =====

/// The tags of a node, without what does not fit.
pub(super) fn write(service: &Service, node: &Node) -> (Vec<String>, LeftOut) {
    let mut tags: Vec<String> = node
        .metadata
        .iter()
        .map(|(key, value)| {
            let pair = BTreeMap::from([(key, value)]);
            pack(Kind::Metadata, &json(&pair))
        })
        .collect();
    let version = service.version_or_latest();
    let others = length(&tags);
    let (endpoints, left_out) = endpoints(&service.endpoints, others);
    tags.extend(endpoints);
    tags.push(pack(Kind::Version, version.as_bytes()));
    (tags, left_out)
}

fn endpoints(endpoints: &[Endpoint], others: usize) -> (Vec<String>, LeftOut) {
    let fitted = fit(endpoints.to_vec(), ROOM, |endpoints, limit| {
        let texts: Vec<Vec<u8>> = endpoints.iter().map(json).collect();
        if texts.len() > ENDPOINTS_MAX || texts.iter().any(|text| text.len() > TEXT_MAX) {
            return None;
        }
        let tags: Vec<String> = texts
            .iter()
            .map(|text| pack(Kind::Endpoint, text))
            .collect();
        (length(&tags) + others <= limit).then_some(tags)
    });
    fitted.unwrap_or((Vec::new(), LeftOut::Endpoints))
}

fn length(tags: &[String]) -> usize {
    tags.iter().map(String::len).sum()
}

fn json<T: serde::Serialize>(value: &T) -> Vec<u8> {
    // Writing maps with string keys into a Vec cannot fail.
    serde_json::to_vec(value).unwrap_or_default()
}

fn pack(kind: Kind, text: &[u8]) -> String {
    // Short texts are written bit by bit as Go does, since people filter services by their tags, and Consul
    // compares them as they are.
    let packed = literal::zlib(text).unwrap_or_else(|| {
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
        // Writing into a Vec cannot fail.
        zlib.write_all(text)
            .and_then(|()| zlib.finish())
            .unwrap_or_default()
    });
    format!("{}-{}", kind.letter(), hex(&packed))
}

// ===== impl Kind =====

impl Kind {
    fn letter(self) -> char {
        match self {
            Kind::Version => 'v',
            Kind::Metadata => 't',
            Kind::Endpoint => 'e',
        }
    }
}

// ===== impl Reader =====

impl Reader {
    /// The version, which is empty if no tag says it: of services that are not go-micro's.
    pub(super) fn version(&mut self, tags: &[String]) -> String {
        self.texts(Kind::Version, tags)
            .into_iter()
            .next()
            .unwrap_or_default()
    }

    /// The node's metadata.
    pub(super) fn metadata(&mut self, tags: &[String]) -> BTreeMap<String, String> {
        let mut metadata = BTreeMap::new();
        for text in self.texts(Kind::Metadata, tags) {
            if let Ok(pairs) = serde_json::from_str::<BTreeMap<String, String>>(&text) {
                metadata.extend(pairs);
            }
        }
        metadata
    }

    /// The endpoints.
    pub(super) fn endpoints(&mut self, tags: &[String]) -> Vec<Endpoint> {
        self.texts(Kind::Endpoint, tags)
            .iter()
            .filter_map(|text| serde_json::from_str::<Endpoint>(text).ok())
            // serde takes a list for a struct, too.
            .filter(|endpoint| {
                let shapes = [&endpoint.request, &endpoint.response];
                let values: usize = shapes.into_iter().flatten().map(count).sum();
                !endpoint.name.is_empty() && values <= VALUES_MAX
            })
            .take(ENDPOINTS_MAX)
            .collect()
    }

    /// The texts of one kind, in the form that is met first. What cannot be read is left out.
    fn texts(&mut self, kind: Kind, tags: &[String]) -> Vec<String> {
        let mut form = None;
        let mut texts = Vec::new();
        for tag in tags {
            let Some(rest) = tag.strip_prefix(kind.letter()) else {
                continue;
            };
            let plain = match rest.as_bytes().first() {
                Some(b'-') => false,
                Some(b'=') => true,
                _ => continue,
            };
            if form.is_some_and(|form| form != plain) {
                continue;
            }
            let text = match rest.get(1..) {
                Some(text) if plain => (text.len() <= TEXT_MAX).then(|| text.to_owned()),
                Some(packed) => self.unpacked(packed),
                None => None,
            };
            if let Some(text) = text {
                form = Some(plain);
                texts.push(text);
            }
        }
        texts
    }

    fn unpacked(&mut self, packed: &str) -> Option<String> {
        if let Some(known) = self.unpacked.get(packed) {
            return known.clone();
        }
        let left = ANSWER_MAX.saturating_sub(self.bytes).min(TEXT_MAX);
        let text = unpack(packed, left);
        self.bytes += text.as_ref().map_or(0, String::len);
        self.unpacked.insert(packed.to_owned(), text.clone());
        text
    }
}

fn unpack(packed: &str, limit: usize) -> Option<String> {
    let packed = unhex(packed.as_bytes())?;
    let mut text = Vec::new();
    let one_more = u64::try_from(limit).ok()?.checked_add(1)?;
    ZlibDecoder::new(packed.as_slice())
        .take(one_more)
        .read_to_end(&mut text)
        .ok()?;
    (text.len() <= limit).then(|| String::from_utf8(text).ok())?
}

/// A value and those in it. The JSON reader bounds the depth, at 128.
fn count(value: &Value) -> usize {
    1 + value.values.iter().map(count).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::keys;
    use proptest::prelude::*;

    /// What go-micro writes.
    const LATEST: &str = "v-789cca492c492d2e01040000ffff08cc028e";
    const GRPC: &str = "t-789caa562a28ca2fc94fcecf51b2524a2f2a4856aa05040000ffff468306d9";

    fn strings(tags: &[&str]) -> Vec<String> {
        tags.iter().map(|tag| (*tag).to_owned()).collect()
    }

    fn node(pairs: &[(&str, &str)]) -> Node {
        let pairs = pairs.iter().map(|(k, v)| ((*k).into(), (*v).into()));
        Node {
            metadata: pairs.collect(),
            ..Node::default()
        }
    }

    fn endpoint(name: &str, fields: usize) -> Endpoint {
        let field = |index| Value {
            name: format!("{name}_{index}_{:x}", fastrand::u64(..)),
            kind: "string".into(),
            values: Vec::new(),
        };
        Endpoint {
            name: name.into(),
            request: Some(Value {
                name: "Request".into(),
                kind: "Request".into(),
                values: (0..fields).map(field).collect(),
            }),
            response: None,
            metadata: [(keys::DESCRIPTION.to_owned(), "What it does.".to_owned())].into(),
        }
    }

    #[test]
    fn writes_what_go_writes() {
        let (tags, left_out) = write(&Service::default(), &node(&[("protocol", "grpc")]));
        assert_eq!(tags, [GRPC, LATEST]);
        assert_eq!(left_out, LeftOut::Nothing);
    }

    #[test]
    fn reads_what_go_writes() {
        let tags = strings(&["primary", GRPC, "v", "t", "", LATEST]);
        let mut reader = Reader::default();
        assert_eq!(reader.version(&tags), "latest");
        assert_eq!(reader.metadata(&tags)["protocol"], "grpc");
        assert!(reader.endpoints(&tags).is_empty());
    }

    #[test]
    fn the_form_that_is_met_first_counts() {
        let tags = strings(&[
            "t={\"a\":\"1\"}",
            GRPC,
            "t={\"b\":\"2\"}",
            "e={\"name\":\"A.B\"}",
            "v=1.2",
            LATEST,
        ]);
        let mut reader = Reader::default();
        let metadata = reader.metadata(&tags);
        assert_eq!(metadata.len(), 2);
        assert_eq!((&*metadata["a"], &*metadata["b"]), ("1", "2"));
        assert_eq!(reader.version(&tags), "1.2");
        assert_eq!(reader.endpoints(&tags)[0].name, "A.B");
    }

    #[test]
    fn what_cannot_be_read_is_left_out() {
        let bomb = pack(Kind::Version, &vec![b'0'; TEXT_MAX + 1]);
        assert!(bomb.len() < 400, "{}", bomb.len());
        let tags = strings(&[&bomb, "v-", "v-zz", "v-789c", "v-ü", "vü", LATEST]);
        assert_eq!(Reader::default().version(&tags), "latest");
        let most = pack(Kind::Version, &vec![b'0'; TEXT_MAX]);
        let version = Reader::default().version(&[most]);
        assert_eq!(version.len(), TEXT_MAX);
        let tags = strings(&["e={\"name\":7}", "e=[]", "e={\"name\":\"A.B\"}", "t=[1]"]);
        let mut reader = Reader::default();
        assert_eq!(reader.endpoints(&tags).len(), 1);
        assert!(reader.metadata(&tags).is_empty());
    }

    #[test]
    fn an_answer_unpacks_to_a_bounded_size() {
        let mut reader = Reader {
            bytes: ANSWER_MAX - 3,
            ..Reader::default()
        };
        let tags = strings(&[LATEST]);
        assert_eq!(reader.version(&tags), "");
        let short = [pack(Kind::Version, b"1.0")];
        assert_eq!(reader.version(&short), "1.0");
    }

    #[test]
    fn what_does_not_fit_is_left_out_in_steps() {
        for (endpoints, fields, expected) in [
            (10, 5, LeftOut::Nothing),
            (100, 100, LeftOut::Values),
            (5000, 1, LeftOut::Endpoints),
        ] {
            let service = Service {
                endpoints: (0..endpoints)
                    .map(|index| endpoint(&format!("Shop.Method{index}"), fields))
                    .collect(),
                ..Service::default()
            };
            let (tags, left_out) = write(&service, &node(&[("protocol", "grpc")]));
            assert_eq!(left_out, expected, "{endpoints} {fields}");
            assert!(length(&tags) <= ROOM.all);
            let mut reader = Reader::default();
            assert_eq!(reader.version(&tags), "latest");
            assert_eq!(reader.metadata(&tags)["protocol"], "grpc");
            let read = reader.endpoints(&tags);
            match left_out {
                LeftOut::Nothing => assert_eq!(read, service.endpoints),
                LeftOut::Values => assert_eq!(read.len(), endpoints),
                _ => assert!(read.is_empty()),
            }
        }
    }

    proptest! {
        #[test]
        fn reads_what_it_writes(version in ".{1,200}", key in ".{0,60}", value in ".{0,200}") {
            let service = Service { version: version.clone(), ..Service::default() };
            let (tags, _) = write(&service, &node(&[(&key, &value)]));
            let mut reader = Reader::default();
            prop_assert_eq!(reader.version(&tags), version);
            prop_assert_eq!(reader.metadata(&tags), [(key, value)].into());
        }

        #[test]
        fn any_tags_can_be_read(tags in proptest::collection::vec("[vte][-=][0-9a-f]{0,80}|.{0,20}", 0..20)) {
            let mut reader = Reader::default();
            reader.version(&tags);
            reader.metadata(&tags);
            reader.endpoints(&tags);
        }
    }
}
