//! Reading: the driver of objects, and what generated code calls.

use std::borrow::Cow;
use std::fmt;

use serde_json::value::RawValue;

use super::DEPTH_LIMIT;
use super::error::{JsonError, Result, excerpt};
use super::field::{Element, Enum, Field, Plain};
use super::message::{JsonEnum, JsonMessage, Merged, Parsed};
use super::options::Options;
use super::source::{Source, Token, drive_once};

/// A value that is about to be read into a field; generated code passes it on, with the field.
pub struct JsonReader<'a> {
    source: &'a mut dyn Source,
    scope: Scope<'a>,
}

/// What is the same for all values of an object.
#[derive(Clone, Copy)]
struct Scope<'a> {
    options: &'a Options,
    /// How many messages may still be nested here.
    depth: u32,
}

// ===== impl JsonReader =====

impl<'a> JsonReader<'a> {
    pub(super) fn new(source: &'a mut dyn Source, options: &'a Options) -> JsonReader<'a> {
        JsonReader {
            source,
            scope: Scope {
                options,
                depth: DEPTH_LIMIT,
            },
        }
    }

    /// Reads the value into a field of any shape: a scalar or a message, in an `Option` or not, a list or a map.
    ///
    /// `number` is the field's number.
    ///
    /// # Errors
    /// If the value does not fit the field.
    pub fn field<T: Field<Plain>>(&mut self, number: u32, field: &mut T) -> Result<Merged> {
        field.merge(self)?;
        Ok(Merged::Field(number))
    }

    /// As [`JsonReader::field`], for a field of any shape whose values, or a map's values, are of the enum `E`.
    ///
    /// # Errors
    /// If the value does not fit the field.
    pub fn enumeration<E: JsonEnum, T: Field<Enum<E>>>(
        &mut self,
        number: u32,
        field: &mut T,
    ) -> Result<Merged> {
        field.merge(self)?;
        Ok(Merged::Field(number))
    }

    /// Reads the value into a member of a oneof. `oneof` is the oneof's name, `member` makes the oneof of the value.
    ///
    /// # Errors
    /// If the value does not fit the member, or the oneof is already set.
    pub fn oneof<T: Element<Plain>, O>(
        &mut self,
        number: u32,
        oneof: &str,
        field: &mut Option<O>,
        member: fn(T) -> O,
    ) -> Result<Merged> {
        self.member::<Plain, T, O>(oneof, field, member)?;
        Ok(Merged::Field(number))
    }

    /// As [`JsonReader::oneof`], for a member of the enum `E`.
    ///
    /// # Errors
    /// If the value does not fit the member, or the oneof is already set.
    pub fn oneof_enumeration<E: JsonEnum, O>(
        &mut self,
        number: u32,
        oneof: &str,
        field: &mut Option<O>,
        member: fn(i32) -> O,
    ) -> Result<Merged> {
        self.member::<Enum<E>, i32, O>(oneof, field, member)?;
        Ok(Merged::Field(number))
    }

    /// Leaves the value of a key that the message does not have.
    ///
    /// # Errors
    /// None: what becomes of such a key is decided later, by [`Options::reject_unknown_fields`].
    pub fn unknown(&mut self) -> Result<Merged> {
        Ok(Merged::Unknown)
    }

    fn member<K, T: Element<K>, O>(
        &mut self,
        oneof: &str,
        field: &mut Option<O>,
        member: fn(T) -> O,
    ) -> Result<()> {
        let Parsed::Value(value) = T::read(self)? else {
            return Ok(());
        };
        if field.is_some() {
            return Err(JsonError::data(format_args!(
                "expected one member of the oneof {oneof} at most, found a second one"
            )));
        }
        *field = Some(member(value));
        Ok(())
    }

    /// Reads an object of a message's fields.
    pub(super) fn message(
        &mut self,
        name: &'static str,
        fields: &mut dyn Fields,
    ) -> Result<Parsed<()>> {
        let mut seen = Seen::default();
        self.object(&mut |key, r| {
            let merged = fields.merge(key, r)?;
            seen.check(merged, name, r.scope.options)
        })
    }

    /// Reads an object that is a message, and counts a level of nesting; `Null` if there is none.
    pub(super) fn object(
        &mut self,
        member: &mut dyn FnMut(&str, &mut JsonReader<'_>) -> Result<()>,
    ) -> Result<Parsed<()>> {
        let scope = self.nested()?;
        let token = self.source.read(
            None,
            Some(&mut |key, source| {
                member(key, &mut JsonReader { source, scope }).map_err(|error| error.in_field(key))
            }),
        )?;
        match token {
            Token::Object => Ok(Parsed::Value(())),
            Token::Null => Ok(Parsed::Null),
            token => Err(expected("an object", &token)),
        }
    }

    /// Reads anything, and counts a level of nesting.
    pub(super) fn anything(
        &mut self,
        element: &mut dyn FnMut(&mut JsonReader<'_>) -> Result<()>,
        member: &mut dyn FnMut(&str, &mut JsonReader<'_>) -> Result<()>,
    ) -> Result<Token<'_>> {
        let scope = self.nested()?;
        self.source.read(
            Some(&mut on_element(scope, element)),
            Some(&mut on_member(scope, member)),
        )
    }

    /// The text of the value, to be read later by [`JsonReader::replay`].
    pub(super) fn raw(&mut self) -> Result<Box<RawValue>> {
        self.source.raw().map(ToOwned::to_owned)
    }

    /// Reads a text in place of this value, which has been read.
    pub(super) fn replay(
        &mut self,
        raw: &RawValue,
        read: &mut dyn FnMut(&mut JsonReader<'_>) -> Result<()>,
    ) -> Result<()> {
        let scope = self.scope;
        drive_once(raw.get(), self.source.is_exact(), &mut |source| {
            read(&mut JsonReader { source, scope })
        })
        .map_err(JsonError::without_position)
    }

    /// The scope inside of this value, if nesting may go on.
    fn nested(&self) -> Result<Scope<'a>> {
        match self.scope.depth.checked_sub(1) {
            Some(depth) => Ok(Scope {
                depth,
                ..self.scope
            }),
            None => Err(JsonError::data(format_args!(
                "expected at most {DEPTH_LIMIT} messages inside of each other, found more"
            ))),
        }
    }

    /// Reads a value that is no container.
    pub(super) fn scalar(&mut self) -> Result<Token<'_>> {
        self.source.scalar()
    }

    /// Reads a value from the token that it is.
    #[inline]
    pub(super) fn token<T>(
        &mut self,
        read: impl FnOnce(&mut Token<'_>, &Options) -> Result<Parsed<T>>,
    ) -> Result<Parsed<T>> {
        let options = self.scope.options;
        let mut outcome = self.source.scalar();
        // By reference: to move the token right after it was written costs more than to parse a number, since the
        // copy has to wait for the writes.
        match &mut outcome {
            Ok(token) => read(token, options),
            Err(_) => outcome.map(|_| Parsed::Null),
        }
    }

    /// Reads a list of values that are single tokens; `Null` if there is none.
    pub(super) fn tokens(
        &mut self,
        mut element: impl FnMut(&mut Token<'_>, &Options) -> Result<()>,
    ) -> Result<Parsed<()>> {
        let options = self.scope.options;
        let mut index = 0;
        let token = self
            .source
            .scalars(&mut |token| match element(token, options) {
                Ok(()) => {
                    index += 1;
                    Ok(())
                }
                Err(error) => Err(error.at_index(index)),
            })?;
        match token {
            Token::List => Ok(Parsed::Value(())),
            Token::Null => Ok(Parsed::Null),
            token => Err(expected("a list", &token)),
        }
    }

    /// Reads a list; `Null` if there is none.
    pub(super) fn list(
        &mut self,
        element: &mut dyn FnMut(&mut JsonReader<'_>) -> Result<()>,
    ) -> Result<Parsed<()>> {
        let scope = self.scope;
        let token = self
            .source
            .read(Some(&mut on_element(scope, element)), None)?;
        match token {
            Token::List => Ok(Parsed::Value(())),
            Token::Null => Ok(Parsed::Null),
            token => Err(expected("a list", &token)),
        }
    }

    /// Reads a list, and counts a level of nesting; `Null` if there is none.
    pub(super) fn nested_list(
        &mut self,
        element: &mut dyn FnMut(&mut JsonReader<'_>) -> Result<()>,
    ) -> Result<Parsed<()>> {
        let scope = self.nested()?;
        JsonReader {
            source: &mut *self.source,
            scope,
        }
        .list(element)
    }

    /// Reads an object of anything; `Null` if there is none.
    pub(super) fn map(
        &mut self,
        member: &mut dyn FnMut(&str, &mut JsonReader<'_>) -> Result<()>,
    ) -> Result<Parsed<()>> {
        let scope = self.scope;
        let token = self
            .source
            .read(None, Some(&mut on_member(scope, member)))?;
        match token {
            Token::Object => Ok(Parsed::Value(())),
            Token::Null => Ok(Parsed::Null),
            token => Err(expected("an object", &token)),
        }
    }

    pub(super) fn options(&self) -> &'a Options {
        self.scope.options
    }
}

fn on_element<'a>(
    scope: Scope<'a>,
    element: &'a mut dyn FnMut(&mut JsonReader<'_>) -> Result<()>,
) -> impl FnMut(&mut dyn Source) -> Result<()> + 'a {
    let mut index = 0;
    move |source| {
        element(&mut JsonReader { source, scope }).map_err(|error| error.at_index(index))?;
        index += 1;
        Ok(())
    }
}

fn on_member<'a>(
    scope: Scope<'a>,
    member: &'a mut dyn FnMut(&str, &mut JsonReader<'_>) -> Result<()>,
) -> impl FnMut(&str, &mut dyn Source) -> Result<()> + 'a {
    move |key, source| {
        member(key, &mut JsonReader { source, scope }).map_err(|error| error.at_key(key))
    }
}

impl fmt::Debug for JsonReader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonReader")
            .field("options", self.scope.options)
            .field("depth", &self.scope.depth)
            .finish_non_exhaustive()
    }
}

/// The part of [`JsonMessage`] that the driver needs, as a trait object: the driver is compiled once.
pub(super) trait Fields {
    fn merge(&mut self, key: &str, r: &mut JsonReader<'_>) -> Result<Merged>;
}

impl<M: JsonMessage> Fields for M {
    fn merge(&mut self, key: &str, r: &mut JsonReader<'_>) -> Result<Merged> {
        self.merge_field(key, r)
    }
}

/// The numbers of the fields that an object has had.
#[derive(Default)]
pub(super) struct Seen {
    /// Bits of the numbers 0–63, which nearly all fields have.
    low: u64,
    /// Bits of the others, 64 in each word, with the words' indexes. At most one word for each field of the message.
    high: Vec<(u32, u64)>,
}

// ===== impl Seen =====

impl Seen {
    /// Refuses a field that was there before, and an unknown one if the options say so.
    pub(super) fn check(&mut self, merged: Merged, message: &str, options: &Options) -> Result<()> {
        match merged {
            Merged::Field(number) if self.insert(number) => Ok(()),
            Merged::Field(_) => Err(JsonError::data("expected each field once, found it twice")),
            Merged::Unknown if options.reject_unknown_fields => {
                Err(JsonError::unknown_field(message))
            }
            Merged::Unknown => Ok(()),
        }
    }

    /// Whether the number was new.
    fn insert(&mut self, number: u32) -> bool {
        let bit = 1 << (number % 64);
        let word = match number / 64 {
            0 => &mut self.low,
            index => {
                let at = match self.high.binary_search_by_key(&index, |(index, _)| *index) {
                    Ok(at) => at,
                    Err(at) => {
                        self.high.insert(at, (index, 0));
                        at
                    }
                };
                match self.high.get_mut(at) {
                    Some((_, word)) => word,
                    None => return true,
                }
            }
        };
        let new = *word & bit == 0;
        *word |= bit;
        new
    }
}

/// What a token is, for an error.
pub(super) fn found(token: &Token<'_>) -> Cow<'static, str> {
    match token {
        Token::Null => "null".into(),
        Token::Bool(value) => value.to_string().into(),
        Token::Unsigned(value) => value.to_string().into(),
        Token::Signed(value) => value.to_string().into(),
        Token::Float(value) => value.to_string().into(),
        Token::Decimal(text) => excerpt(text).into(),
        Token::Text(text) => format!("{:?}", excerpt(text)).into(),
        Token::List => "a list".into(),
        Token::Object => "an object".into(),
    }
}

#[cold]
pub(super) fn expected(what: &str, token: &Token<'_>) -> JsonError {
    JsonError::data(format_args!("expected {what}, found {}", found(token)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sees_each_number_once() {
        let mut seen = Seen::default();
        let numbers = [1, 63, 64, 65, 127, 1_000, 18_999, 536_870_911, 0];
        for number in numbers {
            assert!(seen.insert(number), "{number}");
        }
        for number in numbers {
            assert!(!seen.insert(number), "{number}");
        }
        assert_eq!(seen.high.len(), 4);
    }
}
