//! Protobuf's JSON mapping.

use std::fmt;

/// A message with a JSON form.
pub trait JsonMessage: Default {
    /// Its full name.
    const NAME: &'static str;
}

/// How JSON is written and read.
#[derive(Clone, Debug, Default)]
pub struct Options {}

impl Options {
    /// The defaults.
    #[must_use]
    pub fn new() -> Options {
        Options::default()
    }

    /// Writes the proto's names.
    #[must_use]
    pub fn proto_names(self, _: bool) -> Options {
        self
    }

    /// Appends a message.
    ///
    /// # Errors
    /// If it has no JSON form.
    pub fn append_to<M: JsonMessage>(&self, _: &M, _: &mut Vec<u8>) -> Result<(), JsonError> {
        Err(JsonError(String::new()))
    }

    /// Reads a message.
    ///
    /// # Errors
    /// If the text is not one.
    pub fn from_slice<M: JsonMessage>(&self, _: &[u8]) -> Result<M, JsonError> {
        Err(JsonError(String::new()))
    }
}

/// What is wrong with a JSON text.
#[derive(Debug)]
pub struct JsonError(String);

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for JsonError {}
