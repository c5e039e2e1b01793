//! What both make of a text, compared.

use micro_runtime::json::{JsonMessage, Options, TypeRegistry};
use micro_runtime::prost::Message;
use prost_reflect::{
    Cardinality, DescriptorPool, DeserializeOptions, DynamicMessage, Kind, MessageDescriptor,
    ReflectMessage as _, Value,
};

use crate::restate::{EMPTY_ANY, NO_SLASH, restate};
use crate::text::Json;

/// A message type of ours, whichever it is.
pub(crate) struct Ours {
    pub(crate) of: MessageDescriptor,
    /// From protobuf to JSON.
    pub(crate) write: fn(&[u8], &Options) -> Result<String, String>,
    /// From JSON to protobuf.
    pub(crate) read: fn(&[u8], &Options) -> Result<Vec<u8>, String>,
    /// From protobuf to protobuf, which leaves out the fields that the message does not have: prost-types knows an
    /// older descriptor.proto than protoc.
    pub(crate) copy: fn(&[u8]) -> Option<Vec<u8>>,
}

/// Everything that the cases share.
pub(crate) struct World {
    pub(crate) pool: DescriptorPool,
    pub(crate) ours: Vec<Ours>,
    /// What an `Any` may hold.
    pub(crate) any: Vec<MessageDescriptor>,
    pub(crate) options: Options,
}

// ===== impl World =====

impl World {
    /// No message types yet; those in `types` may be in an `Any`.
    pub(crate) fn new(pool: DescriptorPool, types: TypeRegistry) -> World {
        World {
            any: pool
                .all_messages()
                .filter(|of| types.contains(of.full_name()) && !is_ambiguous(of))
                .collect(),
            pool,
            ours: Vec::new(),
            options: Options::new().types(types),
        }
    }

    /// Adds a message type.
    pub(crate) fn add<M: JsonMessage + Message>(&mut self) {
        let of = self.pool.get_message_by_name(M::NAME).expect(M::NAME);
        self.ours.push(Ours {
            of,
            write: |bytes, options| {
                let message = M::decode(bytes).map_err(|error| error.to_string())?;
                options
                    .to_string(&message)
                    .map_err(|error| error.to_string())
            },
            read: |json, options| {
                let message: M = options
                    .from_slice(json)
                    .map_err(|error| error.to_string())?;
                Ok(message.encode_to_vec())
            },
            copy: |bytes| Some(M::decode(bytes).ok()?.encode_to_vec()),
        });
    }

    /// The message that protobuf bytes of ours are. None if prost's limit of 100 levels is in the way: what is one
    /// level of a `Value` in JSON is three in protobuf.
    pub(crate) fn decode(&self, of: &MessageDescriptor, bytes: &[u8]) -> Option<DynamicMessage> {
        match DynamicMessage::decode(of.clone(), bytes) {
            Ok(message) => Some(message),
            Err(error) if error.to_string().contains("recursion limit") => None,
            Err(error) => panic!("what we encoded cannot be decoded: {error}"),
        }
    }

    /// Whether two messages are equal: NaN to itself, zeros of either sign where prost drops them, and what
    /// an `Any` holds. `theirs` may have the URLs that `restate` makes up.
    pub(crate) fn same(&self, ours: &DynamicMessage, theirs: &DynamicMessage) -> bool {
        let of = ours.descriptor();
        if of.full_name() == "google.protobuf.Any" {
            return self.same_any(ours, theirs);
        }
        of.fields().all(|field| {
            // Whatever number it has in JSON, it is written as null.
            let is_null = |kind: Kind| matches!(kind, Kind::Enum(of) if of.full_name() == "google.protobuf.NullValue");
            if is_null(field.kind()) && !field.supports_presence() {
                return true;
            }
            // prost always writes what is required.
            if field.cardinality() == Cardinality::Required && !theirs.has_field(&field) {
                return self.same_value(&ours.get_field(&field), &field.default_value(), true);
            }
            if !ours.has_field(&field) || !theirs.has_field(&field) {
                return ours.has_field(&field) == theirs.has_field(&field);
            }
            if is_null(field.kind()) {
                return true;
            }
            let in_place = field.supports_presence() || field.is_list();
            match (&*ours.get_field(&field), &*theirs.get_field(&field)) {
                (Value::List(a), Value::List(b)) => {
                    a.len() == b.len()
                        && a.iter()
                            .zip(b)
                            .all(|(a, b)| self.same_value(a, b, in_place))
                }
                (Value::Map(a), Value::Map(b)) => {
                    let same = |(key, a)| b.get(key).is_some_and(|b| self.same_value(a, b, false));
                    a.len() == b.len() && a.iter().all(same)
                }
                (a, b) => self.same_value(a, b, in_place),
            }
        })
    }

    /// `signed_zero`: whether prost keeps the sign of a zero here. It takes it for the default elsewhere.
    fn same_value(&self, ours: &Value, theirs: &Value, signed_zero: bool) -> bool {
        match (ours, theirs) {
            (Value::Message(a), Value::Message(b)) => self.same(a, b),
            (Value::F32(a), Value::F32(b)) => {
                let same_sign = !signed_zero || a.is_sign_negative() == b.is_sign_negative();
                a == b && same_sign || a.is_nan() && b.is_nan()
            }
            (Value::F64(a), Value::F64(b)) => {
                let same_sign = !signed_zero || a.is_sign_negative() == b.is_sign_negative();
                a == b && same_sign || a.is_nan() && b.is_nan()
            }
            (a, b) => a == b,
        }
    }

    fn same_any(&self, ours: &DynamicMessage, theirs: &DynamicMessage) -> bool {
        let parts = |any: &DynamicMessage| {
            let any: micro_runtime::prost_types::Any = any.transcode_to().expect("an Any");
            (any.type_url, any.value)
        };
        let (our_url, our_bytes) = parts(ours);
        let (url, bytes) = match parts(theirs) {
            (url, bytes) if url == EMPTY_ANY && bytes.is_empty() => (String::new(), bytes),
            (url, bytes) => match url.strip_prefix(NO_SLASH) {
                Some(name) => (name.to_owned(), bytes),
                None => (url, bytes),
            },
        };
        if our_url != url {
            return false;
        }
        match self
            .pool
            .get_message_by_name(url.rsplit('/').next().unwrap_or_default())
        {
            Some(of) => match (self.decode(&of, &our_bytes), self.decode(&of, &bytes)) {
                (Some(ours), Some(theirs)) => self.same(&ours, &theirs),
                _ => our_bytes.len() == bytes.len(),
            },
            None => our_bytes == bytes,
        }
    }

    /// Reads a text by prost-reflect.
    fn their_reading(
        &self,
        of: &MessageDescriptor,
        json: &str,
        reject: bool,
    ) -> Result<DynamicMessage, String> {
        let mut deserializer = serde_json::Deserializer::from_str(json);
        deserializer.disable_recursion_limit();
        let options = DeserializeOptions::new().deny_unknown_fields(reject);
        let message =
            DynamicMessage::deserialize_with_options(of.clone(), &mut deserializer, &options)
                .map_err(|error| error.to_string())?;
        deserializer.end().map_err(|error| error.to_string())?;
        Ok(message)
    }

    /// Compares what both readers make of a text.
    pub(crate) fn compare(
        &self,
        ours: &Ours,
        text: &[u8],
        reject: bool,
    ) -> Result<Verdict, String> {
        let options = self.options.clone().reject_unknown_fields(reject);
        let our_reading = (ours.read)(text, &options);
        let refused = |why: &str| match &our_reading {
            Ok(bytes) => Err(format!(
                "expected to be refused ({why}), was read as {}",
                self.decode(&ours.of, bytes)
                    .map_or_else(String::new, |message| show(&message))
            )),
            Err(_) => Ok(Verdict::Refused),
        };
        let Some(json) = Json::parse(text) else {
            return refused("it is not JSON");
        };
        let restated = match restate(&json, &ours.of, reject) {
            Ok(json) => json.print(&mut || false),
            Err(why) => return refused(why.0),
        };
        match (
            self.their_reading(&ours.of, &restated, reject),
            &our_reading,
        ) {
            (Ok(theirs), Ok(bytes)) => {
                let message = match self.decode(&ours.of, bytes) {
                    Some(message) => message,
                    None if json.depth() > 30 => return Ok(Verdict::Read),
                    None => return Err("cannot be decoded".to_owned()),
                };
                match self.same(&message, &theirs) {
                    true => Ok(Verdict::Read),
                    false => Err(format!(
                        "was read as {}, by prost-reflect as {}",
                        show(&message),
                        show(&theirs)
                    )),
                }
            }
            (Err(why), _) if why.contains("recursion limit") && json.depth() > 30 => {
                Ok(Verdict::Refused)
            }
            (Err(why), _) => refused(&why),
            (Ok(theirs), Err(error)) => Err(format!(
                "was refused: {error}; was read by prost-reflect, as {restated}, as {}",
                show(&theirs)
            )),
        }
    }
}

/// A message for people.
pub(crate) fn show(message: &DynamicMessage) -> String {
    serde_json::to_string(message).unwrap_or_else(|_| format!("{message:?}"))
}

/// Whether one field's name in the proto is another's in JSON, so that names of the proto cannot be read back.
pub(crate) fn is_ambiguous(of: &MessageDescriptor) -> bool {
    of.fields().any(|field| {
        of.get_field_by_json_name(field.name())
            .is_some_and(|other| other != field)
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Read,
    Refused,
}
