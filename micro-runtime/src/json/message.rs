//! What generated code implements: [`JsonMessage`] for messages, [`JsonEnum`] for enums.

use super::error::Result;
use super::reader::{JsonReader, expected};
use super::source::Token;
use super::writer::JsonWriter;

/// A message with a JSON form; generated code implements it.
///
/// By hand, one line for each field on either side:
///
/// ```
/// use micro_runtime::json::{self, JsonMessage, JsonReader, JsonWriter, Merged};
///
/// #[derive(Debug, Default, PartialEq)]
/// struct Item {
///     display_name: String,
///     price: i64,
/// }
///
/// impl JsonMessage for Item {
///     const NAME: &'static str = "shop.v1.Item";
///
///     fn write_fields(&self, w: &mut JsonWriter<'_>) -> json::Result<()> {
///         w.field("displayName", "display_name", &self.display_name)?;
///         w.field("price", "price", &self.price)
///     }
///
///     fn merge_field(&mut self, key: &str, r: &mut JsonReader<'_>) -> json::Result<Merged> {
///         match key {
///             "displayName" | "display_name" => r.field(1, &mut self.display_name),
///             "price" => r.field(2, &mut self.price),
///             _ => r.unknown(),
///         }
///     }
/// }
///
/// let item: Item = json::from_str(r#"{"display_name": "Tea", "price": "9007199254740993"}"#)?;
/// assert_eq!(item.price, 9007199254740993);
/// assert_eq!(json::to_string(&item)?, r#"{"displayName":"Tea","price":"9007199254740993"}"#);
/// # Ok::<(), json::JsonError>(())
/// ```
pub trait JsonMessage: Default {
    /// The full name of the message, such as `shop.v1.Item`.
    const NAME: &'static str;

    /// Whether the type's JSON is its own, and not an object of the fields; such a type is wrapped as
    /// `{"@type": …, "value": …}` inside of an `Any`.
    #[doc(hidden)]
    const SPECIAL: bool = false;

    /// Writes every field that is set. By default: nothing, for a message without fields.
    ///
    /// # Errors
    /// As [`to_string`](super::to_string).
    fn write_fields(&self, w: &mut JsonWriter<'_>) -> Result<()> {
        let _ = w;
        Ok(())
    }

    /// Reads the value of `key` into the field of that name.
    ///
    /// Returns [`Merged::Unknown`], with the value unread, if the message has no such field; this is the default, for a
    /// message without fields.
    ///
    /// # Errors
    /// If the value does not fit the field.
    fn merge_field(&mut self, key: &str, r: &mut JsonReader<'_>) -> Result<Merged> {
        let _ = key;
        r.unknown()
    }

    /// Writes the message as a value: an object of the fields, unless the type has a form of its own.
    #[doc(hidden)]
    fn write_value(&self, w: &mut JsonWriter<'_>) -> Result<()> {
        w.object(|w| self.write_fields(w))
    }

    /// Reads the message from a value: an object of the fields, unless the type has a form of its own.
    #[doc(hidden)]
    fn read_value(r: &mut JsonReader<'_>) -> Result<Parsed<Self>> {
        let mut message = Self::default();
        Ok(r.message(Self::NAME, &mut message)?.map(|()| message))
    }

    /// Whether values of the type are single tokens, never lists or objects: then [`JsonMessage::from_token`] reads
    /// them.
    #[doc(hidden)]
    const TOKEN: bool = false;

    #[doc(hidden)]
    fn from_token(token: &mut Token<'_>) -> Result<Parsed<Self>> {
        Err(expected("an object", token))
    }

    /// Whether a field of this type that has no presence would be left out.
    #[doc(hidden)]
    fn is_default(&self) -> bool {
        false
    }
}

/// An enum with a JSON form; generated code implements it.
pub trait JsonEnum {
    /// The full name of the enum, such as `shop.v1.State`.
    const NAME: &'static str;

    /// Whether `null` is the value 0, as in `google.protobuf.NullValue` alone.
    #[doc(hidden)]
    const NULL: bool = false;

    /// The name of a number, as in the proto; the first, if there are several.
    fn name(number: i32) -> Option<&'static str>;

    /// The number of a name, as in the proto.
    fn number(name: &str) -> Option<i32>;
}

/// What became of a key of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merged {
    /// It was read into the field with this number.
    Field(u32),
    /// The message has no such field, and the value is unread.
    Unknown,
}

/// What became of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed<T> {
    /// It was read.
    Value(T),
    /// It is `null`, and the type has no value for that.
    Null,
    /// It is the name of an enum value that is not known here, and unknown ones are ignored.
    Unknown,
}

// ===== impl Parsed =====

impl<T> Parsed<T> {
    /// Turns the value, if there is one, into another.
    pub(super) fn map<U>(self, f: impl FnOnce(T) -> U) -> Parsed<U> {
        match self {
            Parsed::Value(value) => Parsed::Value(f(value)),
            Parsed::Null => Parsed::Null,
            Parsed::Unknown => Parsed::Unknown,
        }
    }
}

impl<M: JsonMessage> JsonMessage for Box<M> {
    const NAME: &'static str = M::NAME;
    const SPECIAL: bool = M::SPECIAL;

    fn write_fields(&self, w: &mut JsonWriter<'_>) -> Result<()> {
        M::write_fields(self, w)
    }

    fn merge_field(&mut self, key: &str, r: &mut JsonReader<'_>) -> Result<Merged> {
        M::merge_field(self, key, r)
    }

    fn write_value(&self, w: &mut JsonWriter<'_>) -> Result<()> {
        M::write_value(self, w)
    }

    fn read_value(r: &mut JsonReader<'_>) -> Result<Parsed<Self>> {
        Ok(M::read_value(r)?.map(Box::new))
    }
}
