//! Messages to a serializer: by way of JSON text, and of a tree that tells how long each list and object is.

use ::serde::ser::{Error as _, SerializeMap as _, SerializeSeq as _};
use ::serde::{Serialize, Serializer};

use super::Shape;
use crate::json::error::{JsonError, Result};
use crate::json::number;
use crate::json::options::Options;
use crate::json::source::{self, Source, Token};
use crate::json::writer::JsonWriter;

pub(super) fn serialize<T: Shape, S: Serializer>(
    options: &Options,
    value: &T,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    tree_of(options, value)
        .map_err(S::Error::custom)?
        .serialize(serializer)
}

fn tree_of<T: Shape>(options: &Options, value: &T) -> Result<Tree> {
    let mut text = Vec::new();
    value.write(&mut JsonWriter::new(&mut text, options))?;
    let mut tree = Tree::Null;
    source::drive(&text, &mut |source| {
        tree = Tree::read(source)?;
        Ok(())
    })
    .map_err(JsonError::without_position)?;
    Ok(tree)
}

/// Any JSON, in the order in which it was written.
enum Tree {
    Null,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(String),
    List(Vec<Tree>),
    Object(Vec<(String, Tree)>),
}

// ===== impl Tree =====

impl Tree {
    /// Reads what the writer wrote; it went no deeper than its limit, so this does neither.
    fn read(source: &mut dyn Source) -> Result<Tree> {
        let mut list = Vec::new();
        let mut object = Vec::new();
        let token = source.read(
            Some(&mut |source| {
                list.push(Tree::read(source)?);
                Ok(())
            }),
            Some(&mut |key, source| {
                object.push((key.to_owned(), Tree::read(source)?));
                Ok(())
            }),
        )?;
        Ok(match token {
            Token::Null => Tree::Null,
            Token::Bool(value) => Tree::Bool(value),
            Token::Unsigned(value) => Tree::Unsigned(value),
            Token::Signed(value) => Tree::Signed(value),
            Token::Text(text) => Tree::Text(text.into_owned()),
            Token::List => Tree::List(list),
            Token::Object => Tree::Object(object),
            number => Tree::Float(number::float(&number)?),
        })
    }
}

impl Serialize for Tree {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            // Not a unit: TOML, which has no null, leaves out what is none.
            Tree::Null => serializer.serialize_none(),
            Tree::Bool(value) => serializer.serialize_bool(*value),
            Tree::Unsigned(value) => serializer.serialize_u64(*value),
            Tree::Signed(value) => serializer.serialize_i64(*value),
            Tree::Float(value) => serializer.serialize_f64(*value),
            Tree::Text(text) => serializer.serialize_str(text),
            Tree::List(elements) => {
                let mut list = serializer.serialize_seq(Some(elements.len()))?;
                for element in elements {
                    list.serialize_element(element)?;
                }
                list.end()
            }
            Tree::Object(members) => {
                let mut map = serializer.serialize_map(Some(members.len()))?;
                for (key, value) in members {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    }
}
