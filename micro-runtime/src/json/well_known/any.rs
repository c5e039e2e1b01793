//! `Any`: the message's own fields beside `"@type"`, or `"value"` for a type that has a form of its own.

use prost_types::Any;
use serde_json::value::RawValue;

use crate::json::error::{JsonError, Result, excerpt};
use crate::json::message::{JsonMessage, Merged, Parsed};
use crate::json::reader::{JsonReader, Seen, expected};
use crate::json::registry::{AnyMessage, AnyType};
use crate::json::source::Token;
use crate::json::writer::JsonWriter;

const TYPE: &str = "@type";
const VALUE: &str = "value";

impl JsonMessage for Any {
    const NAME: &'static str = "google.protobuf.Any";
    const SPECIAL: bool = true;

    fn write_fields(&self, w: &mut JsonWriter<'_>) -> Result<()> {
        w.field("typeUrl", "type_url", &self.type_url)?;
        w.field(VALUE, VALUE, &self.value)
    }

    fn merge_field(&mut self, key: &str, r: &mut JsonReader<'_>) -> Result<Merged> {
        match key {
            "typeUrl" | "type_url" => r.field(1, &mut self.type_url),
            VALUE => r.field(2, &mut self.value),
            _ => Ok(Merged::Unknown),
        }
    }

    fn write_value(&self, w: &mut JsonWriter<'_>) -> Result<()> {
        if self.type_url.is_empty() && self.value.is_empty() {
            return w.map(|_| Ok(()));
        }
        let kind = w
            .options()
            .registry()
            .by_url(&self.type_url)
            .ok_or_else(|| JsonError::write(not_registered(&self.type_url)))?;
        w.object(|w| {
            w.key(TYPE, TYPE);
            w.string(&self.type_url)?;
            if kind.special {
                w.key(VALUE, VALUE);
            }
            (kind.write)(&self.value, w)
        })
    }

    fn read_value(r: &mut JsonReader<'_>) -> Result<Parsed<Any>> {
        let mut reading = Reading::default();
        let read = r.object(&mut |key, r| reading.member(key, r))?;
        match read {
            Parsed::Value(()) => reading.finish().map(Parsed::Value),
            Parsed::Null | Parsed::Unknown => Ok(Parsed::Null),
        }
    }
}

fn not_registered(url: &str) -> String {
    format!(
        "expected the URL of a registered type in an Any, found {:?}; register it with TypeRegistry::register",
        excerpt(url)
    )
}

/// An `Any` while it is read.
#[derive(Default)]
struct Reading {
    typed: Option<Typed>,
    /// What came before `"@type"`.
    early: Vec<(String, Box<RawValue>)>,
}

struct Typed {
    url: String,
    kind: AnyType,
    message: Box<dyn AnyMessage>,
    seen: Seen,
    /// Whether `"value"` has been there, for a type with a form of its own.
    has_value: bool,
}

// ===== impl Reading =====

impl Reading {
    fn member(&mut self, key: &str, r: &mut JsonReader<'_>) -> Result<()> {
        match (&mut self.typed, key) {
            (None, TYPE) => {
                let mut typed = Typed::read(r)?;
                for (key, raw) in self.early.drain(..) {
                    r.replay(&raw, &mut |r| typed.member(&key, r))
                        .map_err(|error| error.in_field(&key))?;
                }
                self.typed = Some(typed);
                Ok(())
            }
            (None, key) => {
                self.early.push((key.to_owned(), r.raw()?));
                Ok(())
            }
            (Some(_), TYPE) => Err(JsonError::data("expected each field once, found it twice")),
            (Some(typed), key) => typed.member(key, r),
        }
    }

    fn finish(self) -> Result<Any> {
        match self.typed {
            Some(typed) => typed.finish(),
            None if self.early.is_empty() => Ok(Any::default()),
            None => Err(JsonError::data(
                "expected an Any with the key \"@type\", found none",
            )),
        }
    }
}

// ===== impl Typed =====

impl Typed {
    fn read(r: &mut JsonReader<'_>) -> Result<Typed> {
        let options = r.options();
        let url = match r.scalar()? {
            Token::Text(url) if !url.is_empty() => url.into_owned(),
            token => return Err(expected("the URL of a type", &token)),
        };
        let kind = options
            .registry()
            .by_url(&url)
            .ok_or_else(|| JsonError::data(not_registered(&url)))?;
        Ok(Typed {
            url,
            kind,
            message: (kind.start)(),
            seen: Seen::default(),
            has_value: false,
        })
    }

    fn member(&mut self, key: &str, r: &mut JsonReader<'_>) -> Result<()> {
        // `Empty` is an object of its fields here, of which there are none. Go takes it for a type with a form of its own.
        let has_form = self.kind.special || self.message.name() == <()>::NAME;
        let merged = match key {
            VALUE if has_form => {
                if let Parsed::Null = self.message.read_value(r)? {
                    return Err(JsonError::data(format_args!(
                        "expected {}, found null",
                        self.message.name()
                    )));
                }
                self.has_value = true;
                Merged::Field(1)
            }
            _ if self.kind.special => Merged::Unknown,
            key => self.message.merge_field(key, r)?,
        };
        self.seen.check(merged, self.message.name(), r.options())
    }

    fn finish(self) -> Result<Any> {
        if self.kind.special && !self.has_value {
            return Err(JsonError::data(format_args!(
                "expected the key \"value\" in an Any with {}, found none",
                self.message.name()
            )));
        }
        Ok(Any {
            type_url: self.url,
            value: self.message.encode(),
        })
    }
}
