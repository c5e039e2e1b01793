//! Well-known types that a user compiles from their protos again: the same protobuf, but other Rust types.
//!
//! They take their JSON from the types that the runtime knows, by way of protobuf. So `Struct` and `Value` may be nested
//! as deep as prost decodes them: 33 objects or 50 lists.

use prost::Message;

use crate::json::error::{JsonError, Result};
use crate::json::message::{JsonMessage, Parsed};
use crate::json::reader::JsonReader;
use crate::json::writer::JsonWriter;

impl JsonWriter<'_> {
    /// Writes a message as the well-known type `W` that it is; generated code calls it for well-known types that
    /// are compiled again.
    ///
    /// # Errors
    /// As [`to_string`](crate::json::to_string), and if the message is nested deeper than prost decodes it.
    pub fn well_known<W: JsonMessage + Message, M: Message>(&mut self, message: &M) -> Result<()> {
        let known = W::decode(message.encode_to_vec().as_slice());
        known
            .map_err(|error| JsonError::write(mismatch::<W>(&error)))?
            .write_value(self)
    }
}

impl JsonReader<'_> {
    /// Reads a message as the well-known type `W` that it is; generated code calls it for well-known types that are
    /// compiled again.
    ///
    /// # Errors
    /// If the value does not fit the type, or is nested deeper than prost decodes it.
    pub fn well_known<W: JsonMessage + Message, M: Message + Default>(
        &mut self,
    ) -> Result<Parsed<M>> {
        Ok(match W::read_value(self)? {
            Parsed::Value(known) => Parsed::Value(
                M::decode(known.encode_to_vec().as_slice())
                    .map_err(|error| JsonError::data(mismatch::<W>(&error)))?,
            ),
            Parsed::Null => Parsed::Null,
            Parsed::Unknown => Parsed::Unknown,
        })
    }
}

fn mismatch<W: JsonMessage>(error: &prost::DecodeError) -> String {
    format!("expected {}, found what is none: {error}", W::NAME)
}
