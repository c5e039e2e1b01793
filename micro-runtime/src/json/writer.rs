//! Writing: structure by hand, strings and numbers by serde_json.

use std::fmt;

use serde::Serializer as _;
use serde_json::ser::{CompactFormatter, Formatter};

use super::error::{JsonError, Result};
use super::field::{Element, Enum, Field, Plain};
use super::message::JsonEnum;
use super::options::Options;
use super::{DEPTH_LIMIT, bytes};

/// Where a message writes its fields; generated code passes them on.
///
/// The names of fields are written as they are: they must not hold anything that a JSON string has to escape.
pub struct JsonWriter<'a> {
    buffer: &'a mut Vec<u8>,
    options: &'a Options,
    /// How many messages may still be nested here.
    depth: u32,
    /// How many lists and objects are open, for the indent.
    open: usize,
    /// Whether the innermost of them is still empty.
    empty: bool,
}

/// A place in what is written.
#[cfg(feature = "serde")]
#[derive(Clone, Copy)]
pub(super) struct Mark {
    length: usize,
    empty: bool,
}

// ===== impl JsonWriter =====

impl<'a> JsonWriter<'a> {
    pub(super) fn new(buffer: &'a mut Vec<u8>, options: &'a Options) -> JsonWriter<'a> {
        JsonWriter {
            buffer,
            options,
            depth: DEPTH_LIMIT,
            open: 0,
            empty: true,
        }
    }

    /// Writes a field of any shape, unless it is left out: a scalar that is at its default, an `Option` that is
    /// `None`, a list or map that is empty.
    ///
    /// # Errors
    /// As [`to_string`](super::to_string).
    pub fn field<T: Field<Plain>>(
        &mut self,
        json_name: &str,
        proto_name: &str,
        field: &T,
    ) -> Result<()> {
        field.write(json_name, proto_name, self)
    }

    /// As [`JsonWriter::field`], for a field of any shape whose values, or a map's values, are of the enum `E`.
    ///
    /// # Errors
    /// As [`to_string`](super::to_string).
    pub fn enumeration<E: JsonEnum, T: Field<Enum<E>>>(
        &mut self,
        json_name: &str,
        proto_name: &str,
        field: &T,
    ) -> Result<()> {
        field.write(json_name, proto_name, self)
    }

    /// Writes a single value in any case: a member of a oneof, or a field that is required.
    ///
    /// # Errors
    /// As [`to_string`](super::to_string).
    pub fn required<T: Element<Plain>>(
        &mut self,
        json_name: &str,
        proto_name: &str,
        value: &T,
    ) -> Result<()> {
        self.key(json_name, proto_name);
        value.write(self)
    }

    /// As [`JsonWriter::required`], for a value of the enum `E`.
    ///
    /// # Errors
    /// As [`to_string`](super::to_string).
    pub fn required_enumeration<E: JsonEnum>(
        &mut self,
        json_name: &str,
        proto_name: &str,
        value: &i32,
    ) -> Result<()> {
        self.key(json_name, proto_name);
        Element::<Enum<E>>::write(value, self)
    }

    pub(super) fn options(&self) -> &'a Options {
        self.options
    }

    // ===== Structure =====

    /// Writes an object of a message's fields.
    pub(super) fn object(&mut self, fields: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        self.nested(|w| w.map(fields))
    }

    /// Counts a level of nesting.
    pub(super) fn nested(&mut self, write: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        self.depth = self.depth.checked_sub(1).ok_or_else(|| {
            JsonError::write(format_args!(
                "expected at most {DEPTH_LIMIT} messages inside of each other, found more"
            ))
        })?;
        write(self)?;
        self.depth += 1;
        Ok(())
    }

    /// Writes an object of anything.
    pub(super) fn map(&mut self, members: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        self.container(b'{', b'}', members)
    }

    /// Writes a list.
    pub(super) fn list(&mut self, elements: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        self.container(b'[', b']', elements)
    }

    fn container(
        &mut self,
        start: u8,
        end: u8,
        content: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        self.start(start);
        content(self)?;
        self.end(end);
        Ok(())
    }

    /// Opens a list or an object, which [`JsonWriter::end`] closes.
    pub(super) fn start(&mut self, bracket: u8) {
        self.buffer.push(bracket);
        self.open += 1;
        self.empty = true;
    }

    pub(super) fn end(&mut self, bracket: u8) {
        self.open -= 1;
        if self.options.pretty && !self.empty {
            self.new_line();
        }
        self.buffer.push(bracket);
        self.empty = false;
    }

    /// Comes before every element of a list and every key of an object.
    #[inline]
    pub(super) fn separate(&mut self) {
        if !self.empty {
            self.buffer.push(b',');
        }
        self.empty = false;
        if self.options.pretty {
            self.new_line();
        }
    }

    /// Comes between a key and its value.
    pub(super) fn colon(&mut self) {
        self.buffer
            .extend_from_slice(if self.options.pretty { b": " } else { b":" });
    }

    /// Writes a field's name.
    pub(super) fn key(&mut self, json_name: &str, proto_name: &str) {
        self.separate();
        let name = if self.options.proto_names {
            proto_name
        } else {
            json_name
        };
        self.buffer.push(b'"');
        self.buffer.extend_from_slice(name.as_bytes());
        self.buffer.push(b'"');
        self.colon();
    }

    #[cold]
    fn new_line(&mut self) {
        self.buffer.push(b'\n');
        for _ in 0..self.open {
            self.buffer.extend_from_slice(b"  ");
        }
    }

    // ===== Values =====

    pub(super) fn null(&mut self) -> Result<()> {
        self.buffer.extend_from_slice(b"null");
        Ok(())
    }

    pub(super) fn bool(&mut self, value: bool) -> Result<()> {
        let text: &[u8] = if value { b"true" } else { b"false" };
        self.buffer.extend_from_slice(text);
        Ok(())
    }

    pub(super) fn int32(&mut self, value: i32) -> Result<()> {
        CompactFormatter
            .write_i32(&mut *self.buffer, value)
            .map_err(JsonError::write)
    }

    pub(super) fn uint32(&mut self, value: u32) -> Result<()> {
        CompactFormatter
            .write_u32(&mut *self.buffer, value)
            .map_err(JsonError::write)
    }

    pub(super) fn signed(&mut self, value: i64) -> Result<()> {
        CompactFormatter
            .write_i64(&mut *self.buffer, value)
            .map_err(JsonError::write)
    }

    pub(super) fn unsigned(&mut self, value: u64) -> Result<()> {
        CompactFormatter
            .write_u64(&mut *self.buffer, value)
            .map_err(JsonError::write)
    }

    /// Writes what displays as a number.
    #[cfg(feature = "serde")]
    pub(super) fn number(&mut self, number: &dyn fmt::Display) -> Result<()> {
        use std::io::Write as _;

        write!(self.buffer, "{number}").map_err(JsonError::write)
    }

    /// The place that [`JsonWriter::rewind`] goes back to.
    #[cfg(feature = "serde")]
    pub(super) fn mark(&self) -> Mark {
        Mark {
            length: self.buffer.len(),
            empty: self.empty,
        }
    }

    /// Takes back what was written since, in which every list and object that was opened was closed.
    #[cfg(feature = "serde")]
    pub(super) fn rewind(&mut self, mark: Mark) {
        self.buffer.truncate(mark.length);
        self.empty = mark.empty;
    }

    pub(super) fn quoted_signed(&mut self, value: i64) -> Result<()> {
        self.buffer.push(b'"');
        self.signed(value)?;
        self.buffer.push(b'"');
        Ok(())
    }

    pub(super) fn quoted_unsigned(&mut self, value: u64) -> Result<()> {
        self.buffer.push(b'"');
        self.unsigned(value)?;
        self.buffer.push(b'"');
        Ok(())
    }

    pub(super) fn double(&mut self, value: f64) -> Result<()> {
        match not_finite(value) {
            Some(name) => self.buffer.extend_from_slice(name),
            None => CompactFormatter
                .write_f64(&mut *self.buffer, value)
                .map_err(JsonError::write)?,
        }
        Ok(())
    }

    pub(super) fn float(&mut self, value: f32) -> Result<()> {
        match not_finite(f64::from(value)) {
            Some(name) => self.buffer.extend_from_slice(name),
            None => CompactFormatter
                .write_f32(&mut *self.buffer, value)
                .map_err(JsonError::write)?,
        }
        Ok(())
    }

    pub(super) fn string(&mut self, value: &str) -> Result<()> {
        serde_json::Serializer::new(&mut *self.buffer)
            .serialize_str(value)
            .map_err(JsonError::write)
    }

    pub(super) fn bytes(&mut self, value: &[u8]) -> Result<()> {
        self.buffer.push(b'"');
        bytes::encode(value, self.buffer);
        self.buffer.push(b'"');
        Ok(())
    }
}

impl fmt::Debug for JsonWriter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonWriter")
            .field("options", self.options)
            .field("depth", &self.depth)
            .finish_non_exhaustive()
    }
}

/// What JSON has no number for.
fn not_finite(value: f64) -> Option<&'static [u8]> {
    if value.is_finite() {
        None
    } else if value.is_nan() {
        Some(b"\"NaN\"")
    } else if value > 0.0 {
        Some(b"\"Infinity\"")
    } else {
        Some(b"\"-Infinity\"")
    }
}
