//! Scalars. As messages they are the wrappers of `google/protobuf/wrappers.proto`, which prost keeps as plain types.

use std::mem;

use super::bytes;
use super::error::Result;
use super::message::{JsonMessage, Merged, Parsed};
use super::number;
use super::reader::{JsonReader, expected};
use super::source::Token;
use super::writer::JsonWriter;

macro_rules! scalar {
    ($type:ty, $name:literal, |$token:ident| $read:expr, |$value:ident, $w:ident| $write:expr, $is_default:expr) => {
        impl JsonMessage for $type {
            const NAME: &'static str = concat!("google.protobuf.", $name);
            const SPECIAL: bool = true;
            const TOKEN: bool = true;

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
                r.token(|token, _| <$type>::from_token(token))
            }

            #[inline]
            fn from_token(token: &mut Token<'_>) -> Result<Parsed<$type>> {
                let $token = token;
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
    |token| number::integer_or_null(token),
    |value, w| w.int32(*value),
    |value| { *value == 0 }
);
scalar!(
    i64,
    "Int64Value",
    |token| number::integer_or_null(token),
    |value, w| w.quoted_signed(*value),
    |value| { *value == 0 }
);
scalar!(
    u32,
    "UInt32Value",
    |token| number::integer_or_null(token),
    |value, w| w.uint32(*value),
    |value| { *value == 0 }
);
scalar!(
    u64,
    "UInt64Value",
    |token| number::integer_or_null(token),
    |value, w| w.quoted_unsigned(*value),
    |value| { *value == 0 }
);
// Minus zero is not the default: it is written.
scalar!(
    f32,
    "FloatValue",
    |token| number::float_or_null(token),
    |value, w| w.float(*value),
    |value| value.to_bits() == 0
);
scalar!(
    f64,
    "DoubleValue",
    |token| number::float_or_null(token),
    |value, w| w.double(*value),
    |value| { value.to_bits() == 0 }
);
scalar!(
    bool,
    "BoolValue",
    |token| boolean(token),
    |value, w| w.bool(*value),
    |value| !*value
);
scalar!(
    String,
    "StringValue",
    |token| text(token),
    |value, w| w.string(value),
    String::is_empty
);
scalar!(
    Vec<u8>,
    "BytesValue",
    |token| binary(token),
    |value, w| w.bytes(value),
    Vec::is_empty
);
scalar!(
    ::bytes::Bytes,
    "BytesValue",
    |token| Ok(binary(token)?.map(Into::into)),
    |value, w| w.bytes(value),
    ::bytes::Bytes::is_empty
);

fn boolean(token: &Token<'_>) -> Result<Parsed<bool>> {
    match token {
        Token::Bool(value) => Ok(Parsed::Value(*value)),
        Token::Null => Ok(Parsed::Null),
        token => Err(expected("true or false", token)),
    }
}

fn text(token: &mut Token<'_>) -> Result<Parsed<String>> {
    match token {
        Token::Text(text) => Ok(Parsed::Value(mem::take(text).into_owned())),
        Token::Null => Ok(Parsed::Null),
        token => Err(expected("a string", token)),
    }
}

fn binary(token: &Token<'_>) -> Result<Parsed<Vec<u8>>> {
    match token {
        Token::Text(text) => bytes::decode(text).map(Parsed::Value),
        Token::Null => Ok(Parsed::Null),
        token => Err(expected("a string of base64", token)),
    }
}
