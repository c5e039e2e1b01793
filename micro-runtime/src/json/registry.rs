//! The types that an `Any` may hold.

use std::collections::HashMap;
use std::fmt;
use std::sync::OnceLock;

use prost::Message;

use super::error::{JsonError, Result};
use super::message::{JsonMessage, Merged, Parsed};
use super::reader::JsonReader;
use super::well_known;
use super::writer::JsonWriter;

/// The types that an `Any` may hold, by name. Filled explicitly: the code of each generated package has a
/// `register_types`.
///
/// ```
/// use micro_runtime::json::{Options, TypeRegistry};
/// use micro_runtime::prost_types::{Any, Duration};
///
/// let types = TypeRegistry::well_known();
/// let options = Options::new().types(types);
/// let any: Any = options.from_str(r#"{"@type": "type.googleapis.com/google.protobuf.Duration", "value": "1.5s"}"#)?;
/// assert_eq!(any.to_msg::<Duration>().unwrap().nanos, 500_000_000);
/// # Ok::<(), micro_runtime::json::JsonError>(())
/// ```
#[derive(Clone, Default)]
pub struct TypeRegistry {
    types: HashMap<&'static str, AnyType>,
}

/// How messages of one type are read and written inside of an `Any`.
#[derive(Clone, Copy)]
pub(super) struct AnyType {
    /// Whether the message is wrapped as `{"@type": …, "value": …}`.
    pub(super) special: bool,
    pub(super) start: fn() -> Box<dyn AnyMessage>,
    /// From protobuf: the fields of the message, or its value if it is special.
    pub(super) write: fn(&[u8], &mut JsonWriter<'_>) -> Result<()>,
}

/// A message of some type while it is read.
pub(super) trait AnyMessage {
    fn name(&self) -> &'static str;
    fn merge_field(&mut self, key: &str, r: &mut JsonReader<'_>) -> Result<Merged>;
    fn read_value(&mut self, r: &mut JsonReader<'_>) -> Result<Parsed<()>>;
    /// As protobuf.
    fn encode(&self) -> Vec<u8>;
}

// ===== impl TypeRegistry =====

impl TypeRegistry {
    /// No types at all.
    #[must_use]
    pub fn new() -> TypeRegistry {
        TypeRegistry::default()
    }

    /// The types that protobuf gives a JSON form of their own: `Any`, `Duration`, `Empty`, `FieldMask`, `Struct`,
    /// `Value`, `ListValue`, `Timestamp` and the wrappers.
    #[must_use]
    pub fn well_known() -> TypeRegistry {
        let mut registry = TypeRegistry::new();
        well_known::register_types(&mut registry);
        registry
    }

    /// What [`TypeRegistry::well_known`] gives, made once.
    pub(super) fn shared() -> &'static TypeRegistry {
        static SHARED: OnceLock<TypeRegistry> = OnceLock::new();
        SHARED.get_or_init(TypeRegistry::well_known)
    }

    /// Adds a type, under its full name.
    pub fn register<M: Message + JsonMessage + 'static>(&mut self) {
        self.types.insert(
            M::NAME,
            AnyType {
                special: M::SPECIAL,
                start: || Box::new(Typed(M::default())),
                write: |bytes, w| {
                    let message = M::decode(bytes).map_err(|error| {
                        JsonError::write(format_args!(
                            "expected an Any with {}, found other bytes: {error}",
                            M::NAME
                        ))
                    })?;
                    if M::SPECIAL {
                        message.write_value(w)
                    } else {
                        message.write_fields(w)
                    }
                },
            },
        );
    }

    /// Whether the type of this full name, such as `shop.v1.Item`, is known.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.types.contains_key(name)
    }

    /// The type of a URL such as `type.googleapis.com/shop.v1.Item`; what is before the last slash does not matter.
    pub(super) fn by_url(&self, url: &str) -> Option<AnyType> {
        let name = url.rsplit('/').next().unwrap_or(url);
        self.types.get(name).copied()
    }
}

impl fmt::Debug for TypeRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names: Vec<_> = self.types.keys().collect();
        names.sort_unstable();
        f.debug_set().entries(names).finish()
    }
}

struct Typed<M>(M);

// ===== impl Typed =====

impl<M: Message + JsonMessage> AnyMessage for Typed<M> {
    fn name(&self) -> &'static str {
        M::NAME
    }

    fn merge_field(&mut self, key: &str, r: &mut JsonReader<'_>) -> Result<Merged> {
        JsonMessage::merge_field(&mut self.0, key, r)
    }

    fn read_value(&mut self, r: &mut JsonReader<'_>) -> Result<Parsed<()>> {
        Ok(M::read_value(r)?.map(|message| self.0 = message))
    }

    fn encode(&self) -> Vec<u8> {
        self.0.encode_to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_types_by_name_and_url() {
        let mut registry = TypeRegistry::new();
        assert!(
            registry
                .by_url("type.googleapis.com/google.protobuf.Duration")
                .is_none()
        );
        registry.register::<prost_types::Duration>();
        assert!(registry.contains("google.protobuf.Duration"));
        assert!(!registry.contains("google.protobuf.Timestamp"));
        assert!(
            registry
                .by_url("type.googleapis.com/google.protobuf.Duration")
                .is_some()
        );
        assert!(
            registry
                .by_url("example.com/a/b/google.protobuf.Duration")
                .is_some()
        );
        assert!(registry.by_url("google.protobuf.Duration/").is_none());
        assert!(TypeRegistry::shared().contains("google.protobuf.StringValue"));
    }
}
