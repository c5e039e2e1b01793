//! Protobuf's JSON mapping, canonical (<https://protobuf.dev/programming-guides/json/>).
//!
//! Generated messages implement [`JsonMessage`]; [`Options`] say how they are written and read, and are
//! chosen at run time: one message is written with lowerCamelCase names here and with proto names there.
//!
//! ```
//! use micro_runtime::json::{self, Options};
//! use micro_runtime::prost_types::Timestamp;
//!
//! let time: Timestamp = json::from_str("\"2026-11-23T06:00:00+01:00\"")?;
//! assert_eq!(json::to_string(&time)?, "\"2026-11-23T05:00:00Z\"");
//!
//! let strict = Options::new().reject_unknown_fields(true);
//! assert!(strict.from_str::<Timestamp>("\"yesterday\"").is_err());
//! # Ok::<(), json::JsonError>(())
//! ```
//!
//! # What is read and written
//!
//! 64-bit integers are written as strings. Numbers are read as numbers or strings, exactly: `1e2` and `"1.0"` are
//! integers, `0.5` is not. Bytes are written as standard base64, and read in both alphabets, padded or not.
//! Enum values are written as names, and read as names or numbers. `null` leaves a field unset; inside of a
//! list or a map it is an error. Both the JSON name of a field and its name in the proto are read.
//!
//! Every message of `prost_types` has JSON: times, wrappers, `Any` and so on in forms of their own, the others as objects
//! of their fields.
//!
//! A key that appears twice, two members of one oneof, messages nested deeper than 100, and anything after the
//! value are errors. Fields that the message does not have are ignored, unless
//! [`Options::reject_unknown_fields`] says otherwise.
//!
//! # Why not serde's traits
//!
//! They take no options, cannot be implemented for `prost_types`, and `Any` needs a [`TypeRegistry`]. Tokens are
//! read, and text is written, by serde_json all the same. With the feature `serde`, the module `serde` puts messages
//! into structs and formats of serde.

mod bytes;
mod error;
mod field;
mod map;
mod message;
mod number;
mod options;
mod reader;
mod registry;
mod scalar;
#[cfg(feature = "serde")]
pub mod serde;
mod source;
mod well_known;
mod writer;

pub use self::error::{JsonError, Result};
pub use self::field::{Element, Enum, Field, Plain};
pub use self::map::MapKey;
pub use self::message::{JsonEnum, JsonMessage, Merged, Parsed};
pub use self::options::Options;
pub use self::reader::JsonReader;
pub use self::registry::TypeRegistry;
#[cfg(feature = "serde")]
pub use self::serde::Serde;
pub use self::writer::JsonWriter;

/// How deep messages may be nested, when read and when written; the limit that prost has for binary messages.
pub const DEPTH_LIMIT: u32 = 100;

/// A message as JSON text, with the default [`Options`].
///
/// # Errors
/// If the message holds something that JSON cannot: a time out of range, a number in a `Value` that is not
/// finite, an `Any` of an unknown type, messages nested deeper than [`DEPTH_LIMIT`].
pub fn to_string<M: JsonMessage>(message: &M) -> Result<String> {
    Options::new().to_string(message)
}

/// A message as JSON bytes, with the default [`Options`].
///
/// # Errors
/// As [`to_string`].
pub fn to_vec<M: JsonMessage>(message: &M) -> Result<Vec<u8>> {
    Options::new().to_vec(message)
}

/// Reads a message from JSON text, with the default [`Options`].
///
/// # Errors
/// If the text is not JSON, or not this message; the error names the place.
pub fn from_str<M: JsonMessage>(text: &str) -> Result<M> {
    Options::new().from_str(text)
}

/// Reads a message from JSON bytes, with the default [`Options`].
///
/// # Errors
/// As [`from_str`].
pub fn from_slice<M: JsonMessage>(json: &[u8]) -> Result<M> {
    Options::new().from_slice(json)
}
