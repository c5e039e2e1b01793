//! The tokens of a JSON text, by serde_json, behind one trait object.
//!
//! serde hands containers out in call-backs that are generic over the caller. Were generated code to take part in
//! that, every message would be compiled again for every type of reader. So this file alone is generic, is used for
//! one type (a `str`), and the rest of the module talks to [`Source`].

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::value::RawValue;

use super::error::{JsonError, Result};

/// Called with each element of a list.
pub(super) type OnElement<'f> = dyn FnMut(&mut dyn Source) -> Result<()> + 'f;

/// Called with each key of an object, and its value.
pub(super) type OnMember<'f> = dyn FnMut(&str, &mut dyn Source) -> Result<()> + 'f;

/// Called with each element of a list of scalars.
pub(super) type OnToken<'f> = dyn FnMut(&mut Token<'_>) -> Result<()> + 'f;

/// One value that is about to be read. What nobody reads is skipped.
pub(super) trait Source {
    /// Reads the value. A list or object is handed out in parts; where no call-back is given it is skipped.
    fn read(
        &mut self,
        on_element: Option<&mut OnElement<'_>>,
        on_member: Option<&mut OnMember<'_>>,
    ) -> Result<Token<'_>>;

    /// Reads a value that should be no container; one that is a container is skipped.
    fn scalar(&mut self) -> Result<Token<'_>>;

    /// Reads a list of values that should be no containers; those that are containers are skipped. For the many
    /// numbers that a list may hold, this costs half of what [`Source::read`] does.
    fn scalars(&mut self, on_token: &mut OnToken<'_>) -> Result<Token<'_>>;

    /// The text of the value.
    fn raw(&mut self) -> Result<&RawValue>;

    /// Whether numbers come as [`Token::Decimal`] at all times, so that [`Token::Float`] need not be asked to.
    fn is_exact(&self) -> bool;
}

/// A value, or the fact that it was a container. Public as a part of hidden methods only.
#[derive(Debug)]
pub enum Token<'s> {
    Null,
    Bool(bool),
    /// A number without fraction or exponent.
    Unsigned(u64),
    /// A negative number without fraction or exponent.
    Signed(i64),
    /// Any other number, rounded to the nearest double.
    Float(f64),
    /// Any number, as it stands.
    Decimal(Cow<'s, str>),
    Text(Cow<'s, str>),
    List,
    Object,
}

/// Reads a whole text: hands its value to `read`, then refuses anything that follows.
///
/// A number that is no plain integer comes as a double at first, which is fast and nearly always enough. Where it is
/// not, the reader asks for the text ([`JsonError::inexact`]) and is called again from the start, with every number
/// as text: serde_json can only give either.
pub(super) fn drive(json: &[u8], read: &mut OnElement<'_>) -> Result<()> {
    // Once for the whole text, which costs less than once for each string.
    let text = std::str::from_utf8(json).map_err(|error| JsonError::not_utf8(json, error))?;
    match drive_once(text, false, read) {
        Err(error) if error.is_inexact() => drive_once(text, true, read),
        result => result,
    }
}

/// As [`drive`], once. With `exact` every number that is read as a scalar comes as text.
pub(super) fn drive_once(text: &str, exact: bool, read: &mut OnElement<'_>) -> Result<()> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    // Its limit of 127 counts lists, too, so that a hundred messages in repeated fields would not pass. Ours counts
    // messages, and every list and object inside of a `Value`; skipping does not recurse.
    deserializer.disable_recursion_limit();
    let mut failure = None;
    let seed = ValueSeed {
        exact,
        read,
        failure: &mut failure,
    };
    let outcome = seed.deserialize(&mut deserializer);
    settle(outcome, failure)?;
    deserializer.end().map_err(JsonError::syntax)
}

/// A call-back's error comes out of serde_json as a blank error of its own; this puts it back.
fn settle<T, E: fmt::Display>(outcome: Result<T, E>, failure: Option<JsonError>) -> Result<T> {
    outcome.map_err(|error| match failure {
        Some(mut failure) => {
            failure.locate(error);
            failure
        }
        None => JsonError::syntax(error),
    })
}

/// A deserializer that is used once.
struct Once<'de, D> {
    deserializer: Option<D>,
    exact: bool,
    /// The text outlives this, and so may be borrowed from.
    text: PhantomData<&'de str>,
}

// ===== impl Once =====

impl<'de, D: Deserializer<'de>> Source for Once<'de, D> {
    fn read(
        &mut self,
        on_element: Option<&mut OnElement<'_>>,
        on_member: Option<&mut OnMember<'_>>,
    ) -> Result<Token<'_>> {
        let deserializer = self.deserializer.take().ok_or_else(read_twice)?;
        let mut failure = None;
        let outcome = deserializer.deserialize_any(TokenVisitor {
            exact: self.exact,
            on_element,
            on_member,
            failure: &mut failure,
        });
        settle(outcome, failure)
    }

    fn scalar(&mut self) -> Result<Token<'_>> {
        let deserializer = self.deserializer.take().ok_or_else(read_twice)?;
        if self.exact {
            let mut failure = None;
            let seed = ExactSeed {
                failure: &mut failure,
            };
            let outcome = seed.deserialize(deserializer);
            return settle(outcome, failure);
        }
        deserializer
            .deserialize_any(ScalarVisitor)
            .map_err(JsonError::syntax)
    }

    fn scalars(&mut self, on_token: &mut OnToken<'_>) -> Result<Token<'_>> {
        let deserializer = self.deserializer.take().ok_or_else(read_twice)?;
        let mut failure = None;
        let outcome = deserializer.deserialize_any(ScalarsVisitor {
            exact: self.exact,
            on_token,
            failure: &mut failure,
        });
        settle(outcome, failure)
    }

    fn raw(&mut self) -> Result<&RawValue> {
        let deserializer = self.deserializer.take().ok_or_else(read_twice)?;
        serde::Deserialize::deserialize(deserializer).map_err(JsonError::syntax)
    }

    fn is_exact(&self) -> bool {
        self.exact
    }
}

#[cold]
fn read_twice() -> JsonError {
    JsonError::data(
        "expected each value to be read once, found a second read of it; this is a bug in the reader",
    )
}

/// The token of a text that serde_json has checked.
fn exact_token(text: &str) -> Result<Token<'_>> {
    Ok(match text.as_bytes().first() {
        Some(b'n') => Token::Null,
        Some(b't') => Token::Bool(true),
        Some(b'f') => Token::Bool(false),
        Some(b'[') => Token::List,
        Some(b'{') => Token::Object,
        Some(b'"') => serde_json::Deserializer::from_str(text)
            .deserialize_any(ScalarVisitor)
            .map_err(JsonError::syntax)?,
        _ => Token::Decimal(Cow::Borrowed(text)),
    })
}

/// A token that has been read before anyone asked for it.
struct Already<'t>(Option<Token<'t>>);

// ===== impl Already =====

impl Source for Already<'_> {
    fn read(
        &mut self,
        _: Option<&mut OnElement<'_>>,
        _: Option<&mut OnMember<'_>>,
    ) -> Result<Token<'_>> {
        match self.0.take().ok_or_else(read_twice)? {
            Token::List | Token::Object => Err(JsonError::data(format_args!(
                "expected any other key, found {NUMBER_KEY:?} with a list or object; serde_json keeps this key to itself"
            ))),
            token => Ok(token),
        }
    }

    fn scalar(&mut self) -> Result<Token<'_>> {
        self.read(None, None)
    }

    fn scalars(&mut self, _: &mut OnToken<'_>) -> Result<Token<'_>> {
        self.read(None, None)
    }

    fn raw(&mut self) -> Result<&RawValue> {
        Err(JsonError::data(format_args!(
            "expected any other key, found {NUMBER_KEY:?}; serde_json keeps this key to itself"
        )))
    }

    fn is_exact(&self) -> bool {
        true
    }
}

// ===== serde's side =====

/// What serde_json names a number's text, if another crate of the program turns `arbitrary_precision` on: then a
/// number that is no plain integer comes as a map of this one key.
pub(super) const NUMBER_KEY: &str = "$serde_json::private::Number";

/// The methods of a visitor that get a scalar; `$wrap` makes the visitor's value of a token.
macro_rules! scalars {
    ($wrap:expr) => {
        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok($wrap(Token::Null))
        }

        fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
            Ok($wrap(Token::Bool(value)))
        }

        fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
            Ok($wrap(Token::Unsigned(value)))
        }

        fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
            Ok($wrap(Token::Signed(value)))
        }

        fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
            Ok($wrap(Token::Float(value)))
        }

        fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
            Ok($wrap(Token::Text(Cow::Borrowed(text))))
        }

        fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
            Ok($wrap(Token::Text(Cow::Owned(text.to_owned()))))
        }
    };
}

/// Reads a value by handing it out as a [`Source`], and skips it if it comes back unread.
struct ValueSeed<'a, 'f> {
    exact: bool,
    read: &'a mut OnElement<'f>,
    failure: &'a mut Option<JsonError>,
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let mut source = Once {
            deserializer: Some(deserializer),
            exact: self.exact,
            text: PhantomData,
        };
        if let Err(error) = (self.read)(&mut source) {
            *self.failure = Some(error);
            return Err(D::Error::custom("stopped"));
        }
        match source.deserializer {
            Some(unread) => unread.deserialize_ignored_any(IgnoredAny).map(|_| ()),
            None => Ok(()),
        }
    }
}

/// Reads a key without copying it, unless it has escapes.
struct KeySeed;

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for KeySeed {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(key))
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(key.to_owned()))
    }
}

/// Tells a number's text from a string of the text: only the former comes as an owned `String`.
struct NumberTextSeed;

enum NumberText<'de> {
    Number(String),
    Other(Token<'de>),
}

impl<'de> DeserializeSeed<'de> for NumberTextSeed {
    type Value = NumberText<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for NumberTextSeed {
    type Value = NumberText<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    scalars!(NumberText::Other);

    fn visit_string<E>(self, text: String) -> Result<Self::Value, E> {
        Ok(NumberText::Number(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        Ok(NumberText::Other(Token::List))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(NumberText::Other(Token::Object))
    }
}

/// Reads a scalar, and skips a container; a number comes as its text.
struct ExactSeed<'a> {
    failure: &'a mut Option<JsonError>,
}

impl<'de> DeserializeSeed<'de> for ExactSeed<'_> {
    type Value = Token<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Token<'de>, D::Error> {
        let raw: &'de RawValue = serde::Deserialize::deserialize(deserializer)?;
        exact_token(raw.get()).map_err(|error| {
            *self.failure = Some(error);
            D::Error::custom("stopped")
        })
    }
}

/// Reads a scalar, and skips a container.
struct ScalarVisitor;

impl<'de> DeserializeSeed<'de> for ScalarVisitor {
    type Value = Token<'de>;

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Token<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Token<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    scalars!(std::convert::identity);

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Token::List)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        if let Some(key) = members.next_key_seed(KeySeed)? {
            if key == NUMBER_KEY {
                if let NumberText::Number(text) = members.next_value_seed(NumberTextSeed)? {
                    return Ok(Token::Decimal(Cow::Owned(text)));
                }
            } else {
                members.next_value::<IgnoredAny>()?;
            }
        }
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Token::Object)
    }
}

/// Reads a list of scalars; anything else is read as a scalar, or skipped.
struct ScalarsVisitor<'a, 'f> {
    exact: bool,
    on_token: &'a mut OnToken<'f>,
    failure: &'a mut Option<JsonError>,
}

impl<'de> Visitor<'de> for ScalarsVisitor<'_, '_> {
    type Value = Token<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    scalars!(std::convert::identity);

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        loop {
            let next = if self.exact {
                elements.next_element_seed(ExactSeed {
                    failure: &mut *self.failure,
                })?
            } else {
                elements.next_element_seed(ScalarVisitor)?
            };
            let Some(mut token) = next else {
                return Ok(Token::List);
            };
            if let Err(error) = (self.on_token)(&mut token) {
                *self.failure = Some(error);
                return Err(A::Error::custom("stopped"));
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Self::Value, A::Error> {
        ScalarVisitor.visit_map(members)
    }
}

/// Reads any value, and hands a container out in parts.
struct TokenVisitor<'a, 'f, 'g> {
    exact: bool,
    on_element: Option<&'a mut OnElement<'f>>,
    on_member: Option<&'a mut OnMember<'g>>,
    failure: &'a mut Option<JsonError>,
}

impl<'de> Visitor<'de> for TokenVisitor<'_, '_, '_> {
    type Value = Token<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    scalars!(std::convert::identity);

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        match self.on_element {
            Some(on_element) => {
                while elements
                    .next_element_seed(ValueSeed {
                        exact: self.exact,
                        read: &mut *on_element,
                        failure: &mut *self.failure,
                    })?
                    .is_some()
                {}
            }
            None => while elements.next_element::<IgnoredAny>()?.is_some() {},
        }
        Ok(Token::List)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut on_member = self.on_member;
        let mut first = true;
        while let Some(key) = members.next_key_seed(KeySeed)? {
            if first && key == NUMBER_KEY {
                match members.next_value_seed(NumberTextSeed)? {
                    NumberText::Number(text) => return Ok(Token::Decimal(Cow::Owned(text))),
                    NumberText::Other(token) => {
                        if let Some(on_member) = &mut on_member
                            && let Err(error) = on_member(&key, &mut Already(Some(token)))
                        {
                            *self.failure = Some(error);
                            return Err(A::Error::custom("stopped"));
                        }
                    }
                }
            } else if let Some(on_member) = &mut on_member {
                members.next_value_seed(ValueSeed {
                    exact: self.exact,
                    read: &mut |source| on_member(&key, source),
                    failure: &mut *self.failure,
                })?;
            } else {
                members.next_value::<IgnoredAny>()?;
            }
            first = false;
        }
        Ok(Token::Object)
    }
}
