//! Messages in serde's structs, and in every format that serde has (feature `serde`).
//!
//! What is written is the JSON mapping, whatever the format: fields have their JSON names, 64-bit integers are
//! strings, bytes are base64, a `Timestamp` is a string. What is read may be spelled in all the ways that JSON may,
//! and in those that other formats have beyond it: numbers as keys, bytes as bytes, NaN as a number. The format must
//! tell what comes next (JSON, CBOR, MessagePack, YAML and TOML do, bincode and postcard do not).
//!
//! [`Serde`] makes a message something that serde writes and reads:
//!
//! ```
//! use micro_runtime::json::Serde;
//! use micro_runtime::prost_types::Duration;
//!
//! let limits: Vec<Serde<Duration>> = serde_json::from_str(r#"["1.5s", "60s"]"#)?;
//! assert_eq!(limits[1].0.seconds, 60);
//! assert_eq!(serde_json::to_string(&limits)?, r#"["1.500s","60s"]"#);
//! # Ok::<(), serde_json::Error>(())
//! ```
//!
//! A field is written and read by this module, if serde is told so; it may be of any type that is a [`Shape`]:
//!
//! ```
//! use micro_runtime::prost_types::{Duration, Timestamp};
//!
//! #[derive(serde::Serialize, serde::Deserialize)]
//! struct Job {
//!     name: String,
//!     #[serde(with = "micro_runtime::json::serde")]
//!     limit: Duration,
//!     #[serde(with = "micro_runtime::json::serde", default, skip_serializing_if = "Option::is_none")]
//!     started: Option<Timestamp>,
//! }
//!
//! let job: Job = serde_json::from_str(r#"{"name": "count", "limit": "3s"}"#)?;
//! assert_eq!((job.limit.seconds, job.started), (3, None));
//! # Ok::<(), serde_json::Error>(())
//! ```
//!
//! Both use the default [`Options`]. [`Options::serialize`] and [`Options::deserialize`] use others, such as those
//! with a registry for the messages in an `Any`; a `with` module of one's own needs no more than those two.
//!
//! An error of the mapping becomes the format's, with its path (`items[3].price: expected …`). Lists and objects
//! inside of each other are read up to twice [`DEPTH_LIMIT`] deep.
//!
//! The message goes through JSON text, so this costs about twice what [`to_vec`](super::to_vec) and
//! [`from_slice`](super::from_slice) do; use those where JSON is all that is wanted. This module is the one place
//! where the traits of serde are part of the interface.

mod read;
mod write;

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, Hash};

use ::serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::DEPTH_LIMIT;
use super::error::{JsonError, Result};
use super::field::{Element, Field, Plain};
use super::map::MapKey;
use super::message::{JsonMessage, Parsed};
use super::options::Options;
use super::reader::JsonReader;
use super::writer::JsonWriter;

/// A message, or any other [`Shape`], as something that serde writes and reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serde<T>(pub T);

impl<T: Shape> Serialize for Serde<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize(&self.0, serializer)
    }
}

impl<'de, T: Shape> Deserialize<'de> for Serde<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Serde<T>, D::Error> {
        deserialize(deserializer).map(Serde)
    }
}

impl<T> From<T> for Serde<T> {
    fn from(value: T) -> Serde<T> {
        Serde(value)
    }
}

/// For `#[serde(with = "micro_runtime::json::serde")]`: writes with the default [`Options`].
///
/// # Errors
/// Those of the serializer, and those of [`to_string`](super::to_string).
pub fn serialize<T: Shape, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    Options::new().serialize(value, serializer)
}

/// For `#[serde(with = "micro_runtime::json::serde")]`: reads with the default [`Options`].
///
/// # Errors
/// Those of the deserializer, and those of [`from_str`](super::from_str).
pub fn deserialize<'de, T: Shape, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    Options::new().deserialize(deserializer)
}

// ===== impl Options =====

impl Options {
    /// Writes a message, or another [`Shape`], to a serializer of serde.
    ///
    /// ```
    /// use micro_runtime::json::Options;
    /// use micro_runtime::prost_types::FieldMask;
    ///
    /// let mask = FieldMask { paths: vec!["display_name".to_owned()] };
    /// let value = Options::new().serialize(&mask, serde_json::value::Serializer)?;
    /// assert_eq!(value, "displayName");
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of the serializer, and those of [`to_string`](super::to_string).
    pub fn serialize<T: Shape, S: Serializer>(
        &self,
        value: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        write::serialize(self, value, serializer)
    }

    /// Reads a message, or another [`Shape`], from a deserializer of serde.
    ///
    /// ```
    /// use micro_runtime::json::Options;
    /// use micro_runtime::prost_types::Duration;
    ///
    /// let limit: Duration = Options::new().deserialize(serde_json::json!("3s"))?;
    /// assert_eq!(limit.seconds, 3);
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of the deserializer, and those of [`from_str`](super::from_str).
    pub fn deserialize<'de, T: Shape, D: Deserializer<'de>>(
        &self,
        deserializer: D,
    ) -> Result<T, D::Error> {
        read::deserialize(self, deserializer)
    }
}

// ===== Shapes =====

/// What can be a field of serde's structs: a message or a scalar of protobuf, and an `Option`, `Box`, `Vec`,
/// `HashMap` or `BTreeMap` of those; `null` is none, or empty. Nothing else can implement it.
pub trait Shape: sealed::Sealed {}

impl<T: sealed::Sealed> Shape for T {}

mod sealed {
    use super::{JsonReader, JsonWriter, Result};

    pub trait Sealed: Sized {
        fn write(&self, w: &mut JsonWriter<'_>) -> Result<()>;
        fn read(r: &mut JsonReader<'_>) -> Result<Self>;
    }
}

impl<M: JsonMessage> sealed::Sealed for M {
    fn write(&self, w: &mut JsonWriter<'_>) -> Result<()> {
        self.write_value(w)
    }

    fn read(r: &mut JsonReader<'_>) -> Result<M> {
        match M::read_value(r)? {
            Parsed::Value(message) => Ok(message),
            Parsed::Null | Parsed::Unknown => Err(JsonError::data(format_args!(
                "expected {}, found null",
                M::NAME
            ))),
        }
    }
}

impl<M: JsonMessage> sealed::Sealed for Option<M> {
    fn write(&self, w: &mut JsonWriter<'_>) -> Result<()> {
        match self {
            Some(message) => message.write_value(w),
            None => w.null(),
        }
    }

    fn read(r: &mut JsonReader<'_>) -> Result<Option<M>> {
        Ok(match M::read_value(r)? {
            Parsed::Value(message) => Some(message),
            Parsed::Null | Parsed::Unknown => None,
        })
    }
}

impl<M: JsonMessage> sealed::Sealed for Vec<M> {
    fn write(&self, w: &mut JsonWriter<'_>) -> Result<()> {
        w.list(|w| {
            for message in self {
                w.separate();
                message.write_value(w)?;
            }
            Ok(())
        })
    }

    fn read(r: &mut JsonReader<'_>) -> Result<Vec<M>> {
        let mut list = Vec::new();
        Field::<Plain>::merge(&mut list, r)?;
        Ok(list)
    }
}

impl<K, M, S> sealed::Sealed for HashMap<K, M, S>
where
    K: MapKey + Eq + Hash,
    M: Element<Plain>,
    S: BuildHasher + Default,
{
    fn write(&self, w: &mut JsonWriter<'_>) -> Result<()> {
        entries(self.iter(), w)
    }

    fn read(r: &mut JsonReader<'_>) -> Result<HashMap<K, M, S>> {
        let mut map = HashMap::default();
        Field::<Plain>::merge(&mut map, r)?;
        Ok(map)
    }
}

impl<K: MapKey + Ord, M: Element<Plain>> sealed::Sealed for BTreeMap<K, M> {
    fn write(&self, w: &mut JsonWriter<'_>) -> Result<()> {
        entries(self.iter(), w)
    }

    fn read(r: &mut JsonReader<'_>) -> Result<BTreeMap<K, M>> {
        let mut map = BTreeMap::new();
        Field::<Plain>::merge(&mut map, r)?;
        Ok(map)
    }
}

fn entries<'m, K: MapKey + 'm, M: Element<Plain> + 'm>(
    entries: impl Iterator<Item = (&'m K, &'m M)>,
    w: &mut JsonWriter<'_>,
) -> Result<()> {
    w.map(|w| {
        for (key, value) in entries {
            w.separate();
            key.write_key(w)?;
            w.colon();
            value.write(w)?;
        }
        Ok(())
    })
}
