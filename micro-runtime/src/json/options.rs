//! How JSON is written and read.

use std::fmt;
use std::sync::Arc;

use super::error::{JsonError, Result};
use super::message::{JsonMessage, Parsed};
use super::reader::JsonReader;
use super::registry::TypeRegistry;
use super::source;
use super::writer::JsonWriter;

/// How JSON is written and read: chosen at run time, for instance by the protocol that carries the message.
///
/// Cloning is cheap. By default names are lowerCamelCase, fields at their default are left out, enum values are
/// names, the text is compact, and unknown fields are ignored.
///
/// ```
/// use micro_runtime::json::Options;
/// use micro_runtime::prost_types::{Struct, Value, value::Kind};
///
/// let mut settings = Struct::default();
/// settings.fields.insert("on".to_owned(), Value { kind: Some(Kind::BoolValue(true)) });
/// assert_eq!(Options::new().pretty(true).to_string(&settings)?, "{\n  \"on\": true\n}");
/// # Ok::<(), micro_runtime::json::JsonError>(())
/// ```
#[derive(Clone, Default)]
pub struct Options {
    pub(super) reject_unknown_fields: bool,
    pub(super) proto_names: bool,
    pub(super) emit_defaults: bool,
    pub(super) enums_as_numbers: bool,
    pub(super) pretty: bool,
    types: Option<Arc<TypeRegistry>>,
}

// ===== impl Options =====

impl Options {
    /// The defaults.
    #[must_use]
    pub const fn new() -> Options {
        Options {
            reject_unknown_fields: false,
            proto_names: false,
            emit_defaults: false,
            enums_as_numbers: false,
            pretty: false,
            types: None,
        }
    }

    /// Whether a field that the message does not have, or the name of an enum value that the enum does not have, is
    /// an error when reading. Default: no, the field, or the element of the list or map, is ignored.
    #[must_use]
    pub fn reject_unknown_fields(mut self, reject: bool) -> Options {
        self.reject_unknown_fields = reject;
        self
    }

    /// Whether fields are written with their names in the proto (`display_name`) and not with their JSON names
    /// (`displayName`). Default: no. Both are always read.
    #[must_use]
    pub fn proto_names(mut self, proto_names: bool) -> Options {
        self.proto_names = proto_names;
        self
    }

    /// Whether fields without presence (numbers, strings, lists, maps …) are written even if they are at their
    /// default. Default: no. Fields with presence are written if they are set, in any case.
    #[must_use]
    pub fn emit_defaults(mut self, emit: bool) -> Options {
        self.emit_defaults = emit;
        self
    }

    /// Whether enum values are written as numbers and not as names. Default: no. Both are always read.
    #[must_use]
    pub fn enums_as_numbers(mut self, numbers: bool) -> Options {
        self.enums_as_numbers = numbers;
        self
    }

    /// Whether the text is spread over lines, indented by two spaces. Default: no.
    #[must_use]
    pub fn pretty(mut self, pretty: bool) -> Options {
        self.pretty = pretty;
        self
    }

    /// The types that an `Any` may hold. Default: [`TypeRegistry::well_known`].
    #[must_use]
    pub fn types(mut self, registry: impl Into<Arc<TypeRegistry>>) -> Options {
        self.types = Some(registry.into());
        self
    }

    pub(super) fn registry(&self) -> &TypeRegistry {
        match &self.types {
            Some(types) => types,
            None => TypeRegistry::shared(),
        }
    }

    /// A message as JSON text.
    ///
    /// # Errors
    /// As [`json::to_string`](super::to_string).
    pub fn to_string<M: JsonMessage>(&self, message: &M) -> Result<String> {
        String::from_utf8(self.to_vec(message)?).map_err(|_| {
            JsonError::write("expected UTF-8, found a name of a field or enum value that is not")
        })
    }

    /// A message as JSON bytes.
    ///
    /// # Errors
    /// As [`json::to_string`](super::to_string).
    pub fn to_vec<M: JsonMessage>(&self, message: &M) -> Result<Vec<u8>> {
        let mut buffer = Vec::with_capacity(128);
        self.append_to(message, &mut buffer)?;
        Ok(buffer)
    }

    /// Writes a message as JSON to the end of `buffer`. After an error the buffer is as before.
    ///
    /// # Errors
    /// As [`json::to_string`](super::to_string).
    pub fn append_to<M: JsonMessage>(&self, message: &M, buffer: &mut Vec<u8>) -> Result<()> {
        let start = buffer.len();
        let result = message.write_value(&mut JsonWriter::new(buffer, self));
        if result.is_err() {
            buffer.truncate(start);
        }
        result
    }

    /// Reads a message from JSON text.
    ///
    /// # Errors
    /// As [`json::from_str`](super::from_str).
    // Not `FromStr`: the options read, they are not what is read.
    #[allow(clippy::should_implement_trait)]
    pub fn from_str<M: JsonMessage>(&self, text: &str) -> Result<M> {
        self.from_slice(text.as_bytes())
    }

    /// Reads a message from JSON bytes.
    ///
    /// # Errors
    /// As [`json::from_str`](super::from_str).
    pub fn from_slice<M: JsonMessage>(&self, json: &[u8]) -> Result<M> {
        let mut read = None;
        source::drive(json, &mut |source| {
            read = Some(M::read_value(&mut JsonReader::new(source, self))?);
            Ok(())
        })?;
        match read {
            Some(Parsed::Value(message)) => Ok(message),
            Some(Parsed::Unknown) | None => Ok(M::default()),
            Some(Parsed::Null) => Err(JsonError::data(format_args!(
                "expected {}, found null",
                M::NAME
            ))),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("reject_unknown_fields", &self.reject_unknown_fields)
            .field("proto_names", &self.proto_names)
            .field("emit_defaults", &self.emit_defaults)
            .field("enums_as_numbers", &self.enums_as_numbers)
            .field("pretty", &self.pretty)
            .finish_non_exhaustive()
    }
}
