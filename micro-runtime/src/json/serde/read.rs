//! Messages from a deserializer: what it holds is written as JSON text, which is then read as always.

use std::fmt::{self, Display};

use ::serde::Deserializer;
use ::serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Unexpected, Visitor};

use super::{DEPTH_LIMIT, Shape};
use crate::json::error::{JsonError, Result};
use crate::json::number;
use crate::json::options::Options;
use crate::json::reader::JsonReader;
use crate::json::source::{self, NUMBER_KEY};
use crate::json::writer::JsonWriter;

/// Lists and objects inside of each other: a message can have a list or a map between it and the next one. Each
/// level here is a level of calls, so there has to be an end.
const LEVELS: u32 = 2 * DEPTH_LIMIT;

pub(super) fn deserialize<'de, T: Shape, D: Deserializer<'de>>(
    options: &Options,
    deserializer: D,
) -> Result<T, D::Error> {
    let mut buffer = Vec::new();
    // Compact, whatever the options say.
    let compact = Options::new();
    let mut writer = JsonWriter::new(&mut buffer, &compact);
    deserializer.deserialize_any(Text {
        w: &mut writer,
        levels: LEVELS,
    })?;
    read(options, &buffer).map_err(|error| D::Error::custom(error.without_position()))
}

fn read<T: Shape>(options: &Options, text: &[u8]) -> Result<T> {
    let mut read = None;
    source::drive(text, &mut |source| {
        read = Some(T::read(&mut JsonReader::new(source, options))?);
        Ok(())
    })?;
    read.ok_or_else(|| JsonError::data("expected a value, found none"))
}

/// Writes the value that it visits, and says what it was as far as [`Object`] has to know.
struct Text<'a, 'w> {
    w: &'a mut JsonWriter<'w>,
    /// How many lists and objects may still be inside of each other here.
    levels: u32,
}

/// What a value was.
enum Was {
    String(String),
    Other,
}

// ===== impl Text =====

impl<'w> Text<'_, 'w> {
    fn again(&mut self) -> Text<'_, 'w> {
        Text {
            w: &mut *self.w,
            levels: self.levels,
        }
    }

    fn nested<E: Error>(&mut self) -> Result<(), E> {
        self.levels = self.levels.checked_sub(1).ok_or_else(|| {
            E::custom(format_args!(
                "expected at most {LEVELS} lists and objects inside of each other, found more"
            ))
        })?;
        Ok(())
    }
}

/// The writer's errors as the format's; it has none for what is written here.
fn done<E: Error>(result: Result<()>) -> Result<Was, E> {
    result.map(|()| Was::Other).map_err(E::custom)
}

impl<'de> DeserializeSeed<'de> for Text<'_, '_> {
    type Value = Was;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Was, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Text<'_, '_> {
    type Value = Was;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("something that JSON can hold")
    }

    fn visit_unit<E: Error>(self) -> Result<Was, E> {
        done(self.w.null())
    }

    fn visit_none<E: Error>(self) -> Result<Was, E> {
        done(self.w.null())
    }

    fn visit_some<D: Deserializer<'de>>(mut self, deserializer: D) -> Result<Was, D::Error> {
        // An option may hold another one: this counts, too.
        self.nested()?;
        deserializer.deserialize_any(self)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(
        mut self,
        deserializer: D,
    ) -> Result<Was, D::Error> {
        self.nested()?;
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Was, E> {
        done(self.w.bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Was, E> {
        done(self.w.unsigned(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Was, E> {
        done(self.w.signed(value))
    }

    fn visit_u128<E: Error>(self, value: u128) -> Result<Was, E> {
        done(self.w.number(&value))
    }

    fn visit_i128<E: Error>(self, value: i128) -> Result<Was, E> {
        done(self.w.number(&value))
    }

    fn visit_f32<E: Error>(self, value: f32) -> Result<Was, E> {
        done(self.w.float(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Was, E> {
        done(self.w.double(value))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Was, E> {
        done(self.w.string(text))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Was, E> {
        self.w.string(&text).map_err(E::custom)?;
        Ok(Was::String(text))
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Was, E> {
        done(self.w.bytes(bytes))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut elements: A) -> Result<Was, A::Error> {
        self.nested()?;
        self.w.start(b'[');
        loop {
            let rewind = self.w.mark();
            self.w.separate();
            if elements.next_element_seed(self.again())?.is_none() {
                self.w.rewind(rewind);
                self.w.end(b']');
                return Ok(Was::Other);
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<Was, A::Error> {
        self.nested()?;
        let whole = self.w.mark();
        self.w.start(b'{');
        // A map of one key that serde_json keeps to itself is a number, if another crate of the program turns on
        // serde_json's `arbitrary_precision`.
        let mut number = None;
        let mut count = 0;
        while let Some(key) = members.next_key_seed(Key)? {
            self.w.separate();
            self.w.string(&key).map_err(A::Error::custom)?;
            self.w.colon();
            let was = members.next_value_seed(self.again())?;
            count += 1;
            number = match was {
                Was::String(text) if key == NUMBER_KEY && number::is_number(&text) => Some(text),
                _ => None,
            };
        }
        self.w.end(b'}');
        if let (1, Some(text)) = (count, number) {
            self.w.rewind(whole);
            return done(self.w.number(&text));
        }
        Ok(Was::Other)
    }
}

/// A key, as text.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Key {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key that is a string, an integer, true or false")
    }

    fn visit_bool<E: Error>(self, key: bool) -> Result<String, E> {
        text_of(&key)
    }

    fn visit_u64<E: Error>(self, key: u64) -> Result<String, E> {
        text_of(&key)
    }

    fn visit_i64<E: Error>(self, key: i64) -> Result<String, E> {
        text_of(&key)
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<String, E> {
        text_of(&key)
    }

    fn visit_string<E: Error>(self, key: String) -> Result<String, E> {
        Ok(key)
    }

    fn visit_bytes<E: Error>(self, key: &[u8]) -> Result<String, E> {
        match std::str::from_utf8(key) {
            Ok(key) => text_of(&key),
            Err(_) => Err(E::invalid_value(Unexpected::Bytes(key), &self)),
        }
    }
}

fn text_of<E>(key: &impl Display) -> Result<String, E> {
    Ok(key.to_string())
}
