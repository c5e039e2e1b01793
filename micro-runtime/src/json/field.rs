//! The shapes that a field can have in prost's messages: singular, optional, repeated, map.

use std::fmt;
use std::marker::PhantomData;

use super::error::{JsonError, Result};
use super::message::{JsonEnum, JsonMessage, Parsed};
use super::number;
use super::options::Options;
use super::reader::{JsonReader, expected};
use super::source::Token;
use super::writer::JsonWriter;

/// Marks fields whose Rust type says all: scalars and messages.
#[derive(Clone, Copy, Debug)]
pub enum Plain {}

/// Marks fields of the enum `E`: prost holds their values as `i32`, which does not say of what enum.
pub struct Enum<E>(PhantomData<fn() -> E>);

impl<E> fmt::Debug for Enum<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Enum")
    }
}

/// A single value, of the kind `K` ([`Plain`] or [`Enum`]): implemented by scalars, messages, and `i32` for enums.
pub trait Element<K>: Sized {
    /// Whether the value is a single token, never a list or an object.
    #[doc(hidden)]
    const TOKEN: bool;

    #[doc(hidden)]
    fn from_token(token: &mut Token<'_>, options: &Options) -> Result<Parsed<Self>>;

    #[doc(hidden)]
    fn read(r: &mut JsonReader<'_>) -> Result<Parsed<Self>>;

    #[doc(hidden)]
    fn write(&self, w: &mut JsonWriter<'_>) -> Result<()>;

    #[doc(hidden)]
    fn is_default(&self) -> bool;
}

/// A field of any shape, of the kind `K` ([`Plain`] or [`Enum`]): implemented by elements, and by `Option`, `Vec`,
/// `HashMap` and `BTreeMap` of them.
pub trait Field<K> {
    #[doc(hidden)]
    fn merge(&mut self, r: &mut JsonReader<'_>) -> Result<()>;

    /// Writes the value, after `key`, unless the field is left out.
    #[doc(hidden)]
    fn write(&self, json_name: &str, proto_name: &str, w: &mut JsonWriter<'_>) -> Result<()>;
}

// ===== Elements =====

impl<M: JsonMessage> Element<Plain> for M {
    const TOKEN: bool = M::TOKEN;

    #[inline]
    fn from_token(token: &mut Token<'_>, _: &Options) -> Result<Parsed<M>> {
        M::from_token(token)
    }

    fn read(r: &mut JsonReader<'_>) -> Result<Parsed<M>> {
        M::read_value(r)
    }

    fn write(&self, w: &mut JsonWriter<'_>) -> Result<()> {
        self.write_value(w)
    }

    fn is_default(&self) -> bool {
        JsonMessage::is_default(self)
    }
}

impl<E: JsonEnum> Element<Enum<E>> for i32 {
    const TOKEN: bool = true;

    fn from_token(token: &mut Token<'_>, options: &Options) -> Result<Parsed<i32>> {
        match &*token {
            Token::Null if E::NULL => Ok(Parsed::Value(0)),
            Token::Null => Ok(Parsed::Null),
            Token::Text(name) => match E::number(name).or_else(|| number::quoted(name)) {
                Some(number) => Ok(Parsed::Value(number)),
                None if options.reject_unknown_fields => Err(not_a_value::<E>(token)),
                None => Ok(Parsed::Unknown),
            },
            Token::Unsigned(_) | Token::Signed(_) | Token::Float(_) | Token::Decimal(_) => {
                number::integer(token).map(Parsed::Value)
            }
            Token::Bool(_) | Token::List | Token::Object => Err(not_a_value::<E>(token)),
        }
    }

    fn read(r: &mut JsonReader<'_>) -> Result<Parsed<i32>> {
        r.token(<i32 as Element<Enum<E>>>::from_token)
    }

    fn write(&self, w: &mut JsonWriter<'_>) -> Result<()> {
        if E::NULL {
            return w.null();
        }
        match E::name(*self) {
            Some(name) if !w.options().enums_as_numbers => w.string(name),
            _ => w.int32(*self),
        }
    }

    fn is_default(&self) -> bool {
        *self == 0
    }
}

#[cold]
fn not_a_value<E: JsonEnum>(token: &Token<'_>) -> JsonError {
    expected(&format!("a value of the enum {}", E::NAME), token)
}

// ===== Shapes =====

impl<T: Element<Plain>> Field<Plain> for T {
    fn merge(&mut self, r: &mut JsonReader<'_>) -> Result<()> {
        merge(self, r)
    }

    fn write(&self, json_name: &str, proto_name: &str, w: &mut JsonWriter<'_>) -> Result<()> {
        write(self, json_name, proto_name, w)
    }
}

impl<E: JsonEnum> Field<Enum<E>> for i32 {
    fn merge(&mut self, r: &mut JsonReader<'_>) -> Result<()> {
        merge::<Enum<E>, i32>(self, r)
    }

    fn write(&self, json_name: &str, proto_name: &str, w: &mut JsonWriter<'_>) -> Result<()> {
        write::<Enum<E>, i32>(self, json_name, proto_name, w)
    }
}

fn merge<K, T: Element<K>>(field: &mut T, r: &mut JsonReader<'_>) -> Result<()> {
    if let Parsed::Value(value) = T::read(r)? {
        *field = value;
    }
    Ok(())
}

fn write<K, T: Element<K>>(
    field: &T,
    json_name: &str,
    proto_name: &str,
    w: &mut JsonWriter<'_>,
) -> Result<()> {
    if field.is_default() && !w.options().emit_defaults {
        return Ok(());
    }
    w.key(json_name, proto_name);
    field.write(w)
}

impl<K, T: Element<K>> Field<K> for Option<T> {
    fn merge(&mut self, r: &mut JsonReader<'_>) -> Result<()> {
        if let Parsed::Value(value) = T::read(r)? {
            *self = Some(value);
        }
        Ok(())
    }

    fn write(&self, json_name: &str, proto_name: &str, w: &mut JsonWriter<'_>) -> Result<()> {
        match self {
            Some(value) => {
                w.key(json_name, proto_name);
                value.write(w)
            }
            None => Ok(()),
        }
    }
}

impl<K, T: Element<K>> Field<K> for Vec<T> {
    fn merge(&mut self, r: &mut JsonReader<'_>) -> Result<()> {
        let read = if T::TOKEN {
            r.tokens(|token, options| push(self, T::from_token(token, options)?))
        } else {
            r.list(&mut |r| push(self, T::read(r)?))
        };
        read.map(|_| ())
    }

    fn write(&self, json_name: &str, proto_name: &str, w: &mut JsonWriter<'_>) -> Result<()> {
        if self.is_empty() && !w.options().emit_defaults {
            return Ok(());
        }
        w.key(json_name, proto_name);
        w.list(|w| {
            for element in self {
                w.separate();
                element.write(w)?;
            }
            Ok(())
        })
    }
}

#[inline]
fn push<T>(list: &mut Vec<T>, element: Parsed<T>) -> Result<()> {
    match element {
        Parsed::Value(value) => list.push(value),
        Parsed::Unknown => {}
        Parsed::Null => return Err(JsonError::data("expected a value, found null in a list")),
    }
    Ok(())
}
