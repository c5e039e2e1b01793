//! Map fields. Their keys are strings in JSON, whatever they are in the proto.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, Hash};

use super::error::{JsonError, Result, excerpt};
use super::field::{Element, Field};
use super::message::Parsed;
use super::number;
use super::reader::JsonReader;
use super::writer::JsonWriter;

/// The key of a map field: an integer, a bool or a string.
pub trait MapKey: Sized {
    #[doc(hidden)]
    fn parse(key: &str) -> Result<Self>;

    #[doc(hidden)]
    fn write_key(&self, w: &mut JsonWriter<'_>) -> Result<()>;
}

impl MapKey for String {
    fn parse(key: &str) -> Result<String> {
        Ok(key.to_owned())
    }

    fn write_key(&self, w: &mut JsonWriter<'_>) -> Result<()> {
        w.string(self)
    }
}

impl MapKey for bool {
    fn parse(key: &str) -> Result<bool> {
        key.parse().map_err(|_| {
            JsonError::data(format_args!(
                "expected \"true\" or \"false\" as a key, found {:?}",
                excerpt(key)
            ))
        })
    }

    fn write_key(&self, w: &mut JsonWriter<'_>) -> Result<()> {
        w.string(if *self { "true" } else { "false" })
    }
}

macro_rules! integer_key {
    ($($type:ty => $write:ident,)*) => {$(
        impl MapKey for $type {
            fn parse(key: &str) -> Result<$type> {
                number::key(key)
            }

            fn write_key(&self, w: &mut JsonWriter<'_>) -> Result<()> {
                w.$write((*self).into())
            }
        }
    )*};
}

integer_key! {
    i32 => quoted_signed,
    i64 => quoted_signed,
    u32 => quoted_unsigned,
    u64 => quoted_unsigned,
}

/// Reads an object into a map, by way of `insert`, which says whether the key was new.
fn merge<M: MapKey, K, V: Element<K>>(
    r: &mut JsonReader<'_>,
    mut insert: impl FnMut(M, V) -> bool,
) -> Result<()> {
    r.map(&mut |key, r| {
        let parsed = M::parse(key)?;
        match V::read(r)? {
            Parsed::Value(value) => match insert(parsed, value) {
                true => Ok(()),
                false => Err(JsonError::data("expected each key once, found it twice")),
            },
            Parsed::Unknown => Ok(()),
            Parsed::Null => Err(JsonError::data("expected a value, found null in a map")),
        }
    })
    .map(|_| ())
}

fn write<'m, M: MapKey + 'm, K, V: Element<K> + 'm>(
    entries: impl ExactSizeIterator<Item = (&'m M, &'m V)>,
    json_name: &str,
    proto_name: &str,
    w: &mut JsonWriter<'_>,
) -> Result<()> {
    if entries.len() == 0 && !w.options().emit_defaults {
        return Ok(());
    }
    w.key(json_name, proto_name);
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

impl<K, M, V, S> Field<K> for HashMap<M, V, S>
where
    M: MapKey + Eq + Hash,
    V: Element<K>,
    S: BuildHasher,
{
    fn merge(&mut self, r: &mut JsonReader<'_>) -> Result<()> {
        merge(r, |key, value| self.insert(key, value).is_none())
    }

    fn write(&self, json_name: &str, proto_name: &str, w: &mut JsonWriter<'_>) -> Result<()> {
        write(self.iter(), json_name, proto_name, w)
    }
}

impl<K, M, V> Field<K> for BTreeMap<M, V>
where
    M: MapKey + Ord,
    V: Element<K>,
{
    fn merge(&mut self, r: &mut JsonReader<'_>) -> Result<()> {
        merge(r, |key, value| self.insert(key, value).is_none())
    }

    fn write(&self, json_name: &str, proto_name: &str, w: &mut JsonWriter<'_>) -> Result<()> {
        write(self.iter(), json_name, proto_name, w)
    }
}
