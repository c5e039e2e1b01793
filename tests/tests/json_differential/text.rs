//! JSON as it is written: keys may be there twice, and numbers keep their spelling.

use std::fmt;

use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    /// As it is spelled.
    Number(String),
    String(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

// ===== impl Json =====

impl Json {
    /// Reads a text, if it is JSON.
    pub(crate) fn parse(text: &[u8]) -> Option<Json> {
        let mut deserializer = serde_json::Deserializer::from_slice(text);
        let raw: &RawValue = serde::Deserialize::deserialize(&mut deserializer).ok()?;
        deserializer.end().ok()?;
        Json::from_raw(raw)
    }

    fn from_raw(raw: &RawValue) -> Option<Json> {
        let text = raw.get();
        let mut deserializer = serde_json::Deserializer::from_str(text);
        Some(match text.as_bytes().first()? {
            b'n' => Json::Null,
            b't' => Json::Bool(true),
            b'f' => Json::Bool(false),
            b'"' => Json::String(serde_json::from_str(text).ok()?),
            b'[' => Json::List(deserializer.deserialize_seq(Parts).ok()??),
            b'{' => Json::Object(deserializer.deserialize_map(Members).ok()??),
            _ => Json::Number(text.to_owned()),
        })
    }

    /// The text, with the strings that `escape` picks in escapes.
    pub(crate) fn print(&self, escape: &mut impl FnMut() -> bool) -> String {
        let mut text = String::new();
        self.print_to(&mut text, escape);
        text
    }

    fn print_to(&self, text: &mut String, escape: &mut impl FnMut() -> bool) {
        match self {
            Json::Null => text.push_str("null"),
            Json::Bool(value) => text.push_str(if *value { "true" } else { "false" }),
            Json::Number(number) => text.push_str(number),
            Json::String(string) => print_string(string, text, escape()),
            Json::List(elements) => {
                text.push('[');
                for (index, element) in elements.iter().enumerate() {
                    if index > 0 {
                        text.push(',');
                    }
                    element.print_to(text, escape);
                }
                text.push(']');
            }
            Json::Object(members) => {
                text.push('{');
                for (index, (key, value)) in members.iter().enumerate() {
                    if index > 0 {
                        text.push(',');
                    }
                    print_string(key, text, escape());
                    text.push(':');
                    value.print_to(text, escape);
                }
                text.push('}');
            }
        }
    }

    /// How many values there are, this one included.
    pub(crate) fn size(&self) -> usize {
        1 + match self {
            Json::List(elements) => elements.iter().map(Json::size).sum(),
            Json::Object(members) => members.iter().map(|(_, value)| value.size()).sum(),
            _ => 0,
        }
    }

    /// How many lists and objects are inside of each other.
    pub(crate) fn depth(&self) -> usize {
        let inside = match self {
            Json::List(elements) => elements.iter().map(Json::depth).max(),
            Json::Object(members) => members.iter().map(|(_, value)| value.depth()).max(),
            _ => return 0,
        };
        1 + inside.unwrap_or(0)
    }

    /// The value with this index, counted from the outside in.
    pub(crate) fn at(&mut self, index: usize) -> Option<&mut Json> {
        let Some(mut index) = index.checked_sub(1) else {
            return Some(self);
        };
        let parts: Vec<&mut Json> = match self {
            Json::List(elements) => elements.iter_mut().collect(),
            Json::Object(members) => members.iter_mut().map(|(_, value)| value).collect(),
            _ => Vec::new(),
        };
        for part in parts {
            let size = part.size();
            if index < size {
                return part.at(index);
            }
            index -= size;
        }
        None
    }
}

fn print_string(string: &str, text: &mut String, escape: bool) {
    if escape {
        text.push('"');
        for unit in string.encode_utf16() {
            text.push_str(&format!("\\u{unit:04X}"));
        }
        text.push('"');
    } else {
        text.push_str(&serde_json::Value::from(string).to_string());
    }
}

struct Parts;

impl<'de> Visitor<'de> for Parts {
    type Value = Option<Vec<Json>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(raw) = list.next_element::<&RawValue>()? {
            elements.push(Json::from_raw(raw));
        }
        Ok(elements.into_iter().collect())
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Option<Vec<(String, Json)>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some((key, raw)) = object.next_entry::<String, &RawValue>()? {
            members.push(Json::from_raw(raw).map(|value| (key, value)));
        }
        Ok(members.into_iter().collect())
    }
}
