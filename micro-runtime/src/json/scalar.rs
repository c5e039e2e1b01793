//! Scalars. As messages they are the wrappers of `google/protobuf/wrappers.proto`, which prost keeps as plain types.

use super::bytes;
use super::error::Result;
use super::message::{JsonMessage, Merged, Parsed};
use super::number;
use super::reader::{JsonReader, expected};
use super::source::Token;
use super::writer::JsonWriter;

macro_rules! scalar {
    ($type:ty, $name:literal, |$r:ident| $read:expr, |$value:ident, $w:ident| $write:expr, $is_default:expr) => {
        impl JsonMessage for $type {
            const NAME: &'static str = concat!("google.protobuf.", $name);
            const SPECIAL: bool = true;

            fn write_fields(&self, w: &mut JsonWriter<'_>) -> Result<()> {
                w.required("value", "value", self)
            }

            fn merge_field(&mut self, key: &str, r: &mut JsonReader<'_>) -> Result<Merged> {
                match key {
                    "value" => r.field(1, self),
                    _ => Ok(Merged::Unknown),
                }
            }

            fn write_value(&self, $w: &mut JsonWriter<'_>) -> Result<()> {
                let $value = self;
                $write
            }

            fn read_value(r: &mut JsonReader<'_>) -> Result<Parsed<$type>> {
                let $r = r;
                $read
            }

            fn is_default(&self) -> bool {
                let is_default: fn(&$type) -> bool = $is_default;
                is_default(self)
            }
        }
    };
}

scalar!(
    i32,
    "Int32Value",
    |r| number::read_integer(r),
    |value, w| w.int32(*value),
    |value| { *value == 0 }
);
scalar!(
    i64,
    "Int64Value",
    |r| number::read_integer(r),
    |value, w| w.quoted_signed(*value),
    |value| { *value == 0 }
);
scalar!(
    u32,
    "UInt32Value",
    |r| number::read_integer(r),
    |value, w| w.uint32(*value),
    |value| { *value == 0 }
);
scalar!(
    u64,
    "UInt64Value",
    |r| number::read_integer(r),
    |value, w| w.quoted_unsigned(*value),
    |value| { *value == 0 }
);
// Minus zero is not the default: it is written.
scalar!(
    f32,
    "FloatValue",
    |r| number::read_float(r),
    |value, w| w.float(*value),
    |value| value.to_bits() == 0
);
scalar!(
    f64,
    "DoubleValue",
    |r| number::read_float(r),
    |value, w| w.double(*value),
    |value| { value.to_bits() == 0 }
);
scalar!(
    bool,
    "BoolValue",
    |r| boolean(r),
    |value, w| w.bool(*value),
    |value| !*value
);
scalar!(
    String,
    "StringValue",
    |r| text(r),
    |value, w| w.string(value),
    String::is_empty
);
scalar!(
    Vec<u8>,
    "BytesValue",
    |r| binary(r),
    |value, w| w.bytes(value),
    Vec::is_empty
);
scalar!(
    ::bytes::Bytes,
    "BytesValue",
    |r| Ok(binary(r)?.map(Into::into)),
    |value, w| w.bytes(value),
    ::bytes::Bytes::is_empty
);

fn boolean(r: &mut JsonReader<'_>) -> Result<Parsed<bool>> {
    match r.scalar()? {
        Token::Bool(value) => Ok(Parsed::Value(value)),
        Token::Null => Ok(Parsed::Null),
        token => Err(expected("true or false", &token)),
    }
}

fn text(r: &mut JsonReader<'_>) -> Result<Parsed<String>> {
    match r.scalar()? {
        Token::Text(text) => Ok(Parsed::Value(text.into_owned())),
        Token::Null => Ok(Parsed::Null),
        token => Err(expected("a string", &token)),
    }
}

fn binary(r: &mut JsonReader<'_>) -> Result<Parsed<Vec<u8>>> {
    match r.scalar()? {
        Token::Text(text) => bytes::decode(&text).map(Parsed::Value),
        Token::Null => Ok(Parsed::Null),
        token => Err(expected("a string of base64", &token)),
    }
}
