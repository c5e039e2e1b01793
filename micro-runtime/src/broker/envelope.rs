//! The JSON form of a message, which go-micro's brokers write: `{"Header":{"Micro-Topic":"t"},"Body":"aGk="}`,
//! the body in standard base64 with padding, null when there is none.

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

use crate::metadata::Metadata;

/// What the form takes besides headers and body, and for each header besides its name and value.
const FRAME: usize = r#"{"Header":{},"Body":null}"#.len();
const HEADER: usize = r#""":"","#.len();

#[derive(serde::Deserialize)]
struct Read<'a> {
    #[serde(rename = "Header", default, borrow)]
    header: Option<Headers<'a>>,
    #[serde(rename = "Body", default, borrow)]
    body: Option<Text<'a>>,
}

/// The headers as they came.
struct Headers<'a>(Vec<(Text<'a>, Text<'a>)>);

/// A string of JSON, which is copied only if it has escapes.
struct Text<'a>(Cow<'a, str>);

/// The most headers of a message that is read: in a large one, those of a few bytes each would take many times its
/// size in memory. Nobody sends that many.
const MOST_HEADERS: usize = 1_024;

/// A message's headers and body in this form. Several values of one name are parted by commas, as in HTTP:
/// Go's map has one. Values of `-bin` names are written in base64. The names are sorted, as Go's are.
pub(crate) fn write(headers: &Metadata, body: &[u8]) -> Vec<u8> {
    let encoded = base64::encoded_len(body.len(), true).unwrap_or_default();
    let room: usize = headers
        .iter()
        .map(|(name, value)| name.len() + value.len() + HEADER)
        .sum();
    let mut out = Vec::with_capacity(FRAME + room + encoded);
    let mut sorted: Vec<_> = headers.iter().collect();
    // Stable: the values of a name keep their order.
    sorted.sort_by(|(a, _), (b, _)| canonical(a).cmp(canonical(b)));
    out.extend_from_slice(br#"{"Header":{"#);
    let mut last = None;
    for (name, value) in sorted {
        let text = header_value(name, value);
        if last == Some(name) {
            out.push(b',');
        } else {
            if last.is_some() {
                out.extend_from_slice(b"\",");
            }
            out.push(b'"');
            canonical(name).for_each(|byte| escape(&mut out, byte));
            out.extend_from_slice(b"\":\"");
            last = Some(name);
        }
        if text.bytes().any(needs_escape) {
            text.bytes().for_each(|byte| escape(&mut out, byte));
        } else {
            out.extend_from_slice(text.as_bytes());
        }
    }
    if last.is_some() {
        out.push(b'"');
    }
    out.extend_from_slice(br#"},"Body":"#);
    if body.is_empty() {
        out.extend_from_slice(b"null");
    } else {
        out.push(b'"');
        let at = out.len();
        out.resize(at + encoded, 0);
        let written = out
            .get_mut(at..)
            .and_then(|room| STANDARD.encode_slice(body, room).ok());
        debug_assert_eq!(written, Some(encoded), "the room is what base64 needs");
        out.push(b'"');
    }
    out.push(b'}');
    out
}

/// A name as [`header_name`](super::message::header_name) has it.
fn canonical(name: &str) -> impl Iterator<Item = u8> {
    let mut upper = true;
    name.bytes().map(move |byte| {
        let byte = if upper {
            byte.to_ascii_uppercase()
        } else {
            byte.to_ascii_lowercase()
        };
        upper = byte == b'-';
        byte
    })
}

fn needs_escape(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// A byte of a string in JSON: beyond quotes, backslashes and control characters it may be as it is.
fn escape(out: &mut Vec<u8>, byte: u8) {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    let short = match byte {
        b'"' | b'\\' => byte,
        0x08 => b'b',
        b'\t' => b't',
        b'\n' => b'n',
        0x0c => b'f',
        b'\r' => b'r',
        0..0x20 => {
            out.extend_from_slice(b"\\u00");
            let digit = |four: u8| DIGITS[usize::from(four & 0xf)];
            out.extend_from_slice(&[digit(byte >> 4), digit(byte)]);
            return;
        }
        _ => {
            out.push(byte);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

/// Reads this form. Headers are in the order of their names; of a name that is there twice the last counts.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn read(bytes: &[u8]) -> Result<(Metadata, Bytes), String> {
    // serde would take an array of the members' values, too.
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err("expected a message in go-micro's JSON form: an object".to_owned());
    }
    let read: Read<'_> = serde_json::from_slice(bytes)
        .map_err(|error| format!("expected a message in go-micro's JSON form: {error}"))?;
    let Headers(mut headers) = read.header.unwrap_or(Headers(Vec::new()));
    headers.sort_by(|(a, _), (b, _)| a.0.cmp(&b.0));
    let text = read.body.as_ref().map_or("", |body| &body.0);
    // One buffer has the body and every value: the message is read once, and kept together.
    let room: usize = headers.iter().map(|(_, value)| value.0.len()).sum();
    let mut all = Vec::with_capacity(base64::decoded_len_estimate(text.len()) + room);
    STANDARD
        .decode_vec(text, &mut all)
        .map_err(|error| format!("expected the body in base64: {error}"))?;
    let end_of_body = all.len();
    let mut names = Vec::with_capacity(headers.len());
    for (at, (name, value)) in headers.iter().enumerate() {
        let is_last = headers.get(at + 1).is_none_or(|(next, _)| next.0 != name.0);
        if !is_last {
            continue;
        }
        let mut add = |bytes: &[u8]| {
            let start = all.len();
            all.extend_from_slice(bytes);
            names.push((&*name.0, start..all.len()));
        };
        match binary(&name.0, &value.0) {
            Some(values) => values.iter().for_each(|bytes| add(bytes)),
            None => add(value.0.as_bytes()),
        }
    }
    let all = Bytes::from(all);
    let mut metadata = Metadata::new();
    for (name, range) in names {
        metadata.append_bin(name, all.slice(range));
    }
    Ok((metadata, all.slice(..end_of_body)))
}

impl<'de: 'a, 'a> Deserialize<'de> for Headers<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Headers<'a>, D::Error> {
        struct Entries;

        impl<'de> Visitor<'de> for Entries {
            type Value = Headers<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an object of at most {MOST_HEADERS} headers")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Headers<'de>, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    if entries.len() == MOST_HEADERS {
                        return Err(serde::de::Error::custom(format_args!(
                            "expected at most {MOST_HEADERS} headers, found more"
                        )));
                    }
                    entries.push(entry);
                }
                Ok(Headers(entries))
            }
        }

        deserializer.deserialize_map(Entries)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Text<'a>, D::Error> {
        struct Str;

        impl<'de> Visitor<'de> for Str {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(Str)
    }
}

/// A header's value as text.
pub(crate) fn header_value<'a>(name: &str, value: &'a [u8]) -> Cow<'a, str> {
    if name.ends_with("-bin") {
        Cow::Owned(STANDARD_NO_PAD.encode(value))
    } else {
        String::from_utf8_lossy(value)
    }
}

/// Takes a header that came as text: of a `-bin` name one value in base64, or several with commas between. One that
/// is no base64 is kept as it came.
#[cfg(any(feature = "rabbitmq", test))]
pub(crate) fn insert_header(headers: &mut Metadata, name: &str, value: String) {
    match binary(name, &value) {
        Some(values) => {
            for bytes in values {
                headers.append_bin(name, bytes);
            }
        }
        None => headers.append(name, value),
    }
}

/// The values that the text of a `-bin` header stands for.
fn binary(name: &str, value: &str) -> Option<Vec<Vec<u8>>> {
    let is_binary = name
        .get(name.len().saturating_sub(4)..)
        .is_some_and(|end| end.eq_ignore_ascii_case("-bin"));
    let decode = |part: &str| STANDARD_NO_PAD.decode(part.trim().trim_end_matches('='));
    is_binary
        .then(|| value.split(',').map(decode).collect::<Result<_, _>>().ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_written_as_go_writes_it() {
        let headers: Metadata = [("micro-topic", "t"), ("x-a", "1"), ("x-a", "2")]
            .into_iter()
            .collect();
        assert_eq!(
            String::from_utf8(write(&headers, b"hi")).unwrap(),
            r#"{"Header":{"Micro-Topic":"t","X-A":"1,2"},"Body":"aGk="}"#
        );
        assert_eq!(
            String::from_utf8(write(&Metadata::new(), b"")).unwrap(),
            r#"{"Header":{},"Body":null}"#
        );
    }

    #[test]
    fn is_read_as_go_writes_it() {
        let (headers, body) =
            read(br#"{"Header":{"Micro-Topic":"t","X-Foo-Bar":"Baz"},"Body":"CgJoaRAB"}"#).unwrap();
        assert_eq!(headers.get("micro-topic"), Some("t"));
        assert_eq!(headers.get("x-foo-bar"), Some("Baz"));
        assert_eq!(&body[..], b"\x0a\x02hi\x10\x01");
        let (headers, body) = read(br#"{"Header":null,"Body":null}"#).unwrap();
        assert!(headers.is_empty() && body.is_empty());
        // Of two headers of one name Go takes the last.
        let (headers, _) = read(br#"{"Header":{"A":"1","B":"2","A":"3"}}"#).unwrap();
        assert_eq!(headers.get_all("a").collect::<Vec<_>>(), ["3"]);
        assert!(read(br#"{}"#).unwrap().1.is_empty());
    }

    #[test]
    fn what_json_must_escape_is_escaped_as_serde_json_does() {
        let text: String = (0..=0x100).filter_map(char::from_u32).collect();
        let name = "x-\"\\\n\u{1}_é";
        let mut headers = Metadata::new();
        headers.append(name, text.clone());
        headers.append("x-_a", "2");
        headers.append("x-a", "1");
        let written = String::from_utf8(write(&headers, b"\0")).unwrap();
        let header: std::collections::BTreeMap<_, _> = headers
            .iter()
            .map(|(name, _)| (super::super::header_name(name), headers.get(name).unwrap()))
            .collect();
        let expected = format!(
            r#"{{"Header":{},"Body":"AA=="}}"#,
            serde_json::to_string(&header).unwrap()
        );
        assert_eq!(written, expected);
        let (read, _) = read(written.as_bytes()).unwrap();
        assert_eq!(read.get(name), Some(text.as_str()));
        let room = written.capacity();
        assert!(room < written.len() * 2, "{room}");
    }

    #[test]
    fn headers_are_in_the_order_of_their_names_and_the_last_of_a_name_counts() {
        let text = br#" {"Body":"aGk=","More":[{}],"Header":{"B":"1","a":"2","A":"3","B":"4","\u0061-b\u0069n":"AP8"}} "#;
        let (headers, body) = read(text).unwrap();
        let all: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name, &value[..]))
            .collect();
        let expected: [(&str, &[u8]); 4] =
            [("a", b"3"), ("b", b"4"), ("a", b"2"), ("a-bin", b"\0\xff")];
        assert_eq!(all, expected);
        assert_eq!(&body[..], b"hi");
    }

    #[test]
    fn binary_headers_survive() {
        let mut headers = Metadata::new();
        headers.insert_bin("trace-bin", vec![0, 255, 7]);
        let (read, _) = read(&write(&headers, b"")).unwrap();
        assert_eq!(read.get_bin("trace-bin").unwrap()[..], [0, 255, 7]);
    }

    #[test]
    fn several_binary_values_of_a_name_survive() {
        let mut headers = Metadata::new();
        headers.append_bin("x-bin", vec![0, 255]);
        headers.append_bin("x-bin", vec![]);
        headers.append_bin("x-bin", vec![7]);
        let (read, _) = read(&write(&headers, b"")).unwrap();
        let values: Vec<_> = read.iter().map(|(_, value)| value.to_vec()).collect();
        assert_eq!(values, [vec![0, 255], vec![], vec![7]]);
        // Text that is no base64 stays what it is.
        let mut headers = Metadata::new();
        insert_header(&mut headers, "X-Bin", "AP8,!".to_owned());
        assert_eq!(headers.get("x-bin"), Some("AP8,!"));
    }

    /// A few bytes of each of many headers would take a hundred times as much memory.
    #[test]
    fn no_more_headers_are_read_than_anybody_sends() {
        let of = |count: usize| {
            let headers: Vec<_> = (0..count).map(|name| format!("\"{name}\":\"\"")).collect();
            read(format!("{{\"Header\":{{{}}}}}", headers.join(",")).as_bytes())
        };
        assert_eq!(of(1_024).unwrap().0.len(), 1_024);
        let error = of(1_025).unwrap_err();
        assert!(error.contains("1024 headers"), "{error}");
    }

    #[test]
    fn bad_forms_are_refused() {
        for bad in [
            &b""[..],
            b"[]",
            b"{\"Header\":{\"a\":1}}",
            b"{\"Body\":\"!\"}",
            b"{\"Body\":\"aGk\"}",
            b"{\"Header\":[]}",
            b"{\"Body\":\"\"} x",
            b"{\"Body\":\"\",\"Body\":\"\"}",
            b"\xff",
        ] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }
}
