//! The JSON mapping of generated code against prost-reflect's, which knows messages by their descriptors alone.
//!
//! * `generate`: messages at random.
//! * `text`: JSON that keeps what a parser loses.
//! * `mutate`: changes to a text, most of which leave it JSON, and many of which leave it a message.
//! * `restate`: where prost-reflect is known to be wrong, each as a rule.
//!
//! Each test runs `PROPTEST_CASES` cases (64 if that is not set), from the seed `MICRO_TEST_SEED` (any, if that is not
//! set). What fails is shown with the seed of the one case.

mod proto {
    micro_runtime::include_proto!();
}
#[allow(dead_code)]
mod other {
    include!(concat!(env!("OUT_DIR"), "/constructs/mod.rs"));
}
mod generate;
mod mutate;
mod restate;
mod text;

use fastrand::Rng;
use generate::Generator;
use micro_runtime::json::{JsonMessage, Options, TypeRegistry};
use micro_runtime::prost::Message;
use mutate::Mutator;
use other::constructs::{defaults, maps, proto2};
use prost_reflect::{
    Cardinality, DescriptorPool, DeserializeOptions, DynamicMessage, Kind, MessageDescriptor,
    ReflectMessage as _, SerializeOptions, Value,
};
use proto::json_test::{types, v1};
use restate::{EMPTY_ANY, NO_SLASH, restate};
use text::Json;

/// A message type of ours, whichever it is.
struct Ours {
    of: MessageDescriptor,
    /// From protobuf to JSON.
    write: fn(&[u8], &Options) -> Result<String, String>,
    /// From JSON to protobuf.
    read: fn(&[u8], &Options) -> Result<Vec<u8>, String>,
    /// From protobuf to protobuf, which leaves out the fields that the message does not have: prost-types knows an
    /// older descriptor.proto than protoc.
    copy: fn(&[u8]) -> Option<Vec<u8>>,
}

/// Everything that the cases share.
struct World {
    pool: DescriptorPool,
    ours: Vec<Ours>,
    /// What an `Any` may hold.
    any: Vec<MessageDescriptor>,
    names: Vec<String>,
    options: Options,
}

// ===== impl World =====

impl World {
    fn new() -> World {
        let mut pool = DescriptorPool::decode(types::FILE_DESCRIPTOR_SET).expect("descriptors");
        // Editions are beyond prost-reflect.
        for set in [
            defaults::FILE_DESCRIPTOR_SET,
            maps::FILE_DESCRIPTOR_SET,
            proto2::FILE_DESCRIPTOR_SET,
        ] {
            pool.decode_file_descriptor_set(set).expect("descriptors");
        }
        let file = pool
            .get_file_by_name("json_test.proto")
            .expect("json_test.proto");
        let mut types = TypeRegistry::well_known();
        v1::register_types(&mut types);
        let mut world = World {
            any: pool
                .all_messages()
                .filter(|of| types.contains(of.full_name()) && !is_ambiguous(of))
                .collect(),
            names: file
                .messages()
                .flat_map(|of| {
                    of.fields()
                        .map(|field| field.name().to_owned())
                        .collect::<Vec<_>>()
                })
                .collect(),
            pool,
            ours: Vec::new(),
            options: Options::new().types(types),
        };
        world.add::<v1::Scalars>();
        world.add::<v1::Optionals>();
        world.add::<v1::Lists>();
        world.add::<v1::Maps>();
        world.add::<v1::Oneofs>();
        world.add::<v1::WellKnown>();
        world.add::<v1::Tree>();
        world.add::<v1::None>();
        world.add::<v1::Names>();
        world.add::<v1::Default>();
        world.add::<v1::Vec>();
        world.add::<v1::Order>();
        world.add::<types::Types>();
        world.add::<defaults::Integers>();
        world.add::<defaults::Floats>();
        world.add::<defaults::Texts>();
        world.add::<defaults::Blobs>();
        world.add::<defaults::Enums>();
        world.add::<defaults::Required>();
        world.add::<defaults::Members>();
        world.add::<maps::ByInt32>();
        world.add::<maps::ByUint64>();
        world.add::<maps::BySint64>();
        world.add::<maps::ByFixed32>();
        world.add::<maps::ByBool>();
        world.add::<maps::ByString>();
        world.add::<proto2::Presence>();
        world.add::<proto2::Required>();
        world.add::<proto2::Lists>();
        world.add::<proto2::Groups>();
        world.add::<proto2::Options>();
        world
    }

    fn add<M: JsonMessage + Message>(&mut self) {
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

    /// A message type, and a message of it.
    fn message(&self, rng: &mut Rng, finite_wrappers: bool) -> (&Ours, DynamicMessage) {
        let ours = &self.ours[rng.usize(0..self.ours.len())];
        let mut generator = Generator {
            rng,
            types: &self.any,
            finite_wrappers,
        };
        let message = generator.message(&ours.of, 3);
        let copy = (ours.copy)(&message.encode_to_vec());
        let copy = copy.and_then(|bytes| self.decode(&ours.of, &bytes));
        (ours, copy.unwrap_or(message))
    }

    /// The message that protobuf bytes of ours are. None if prost's limit of 100 levels is in the way: what is one
    /// level of a `Value` in JSON is three in protobuf.
    fn decode(&self, of: &MessageDescriptor, bytes: &[u8]) -> Option<DynamicMessage> {
        match DynamicMessage::decode(of.clone(), bytes) {
            Ok(message) => Some(message),
            Err(error) if error.to_string().contains("recursion limit") => None,
            Err(error) => panic!("what we encoded cannot be decoded: {error}"),
        }
    }

    /// Whether two messages are equal: NaN to itself, zeros of either sign where prost drops them, and what
    /// an `Any` holds. `theirs` may have the URLs that `restate` makes up.
    fn same(&self, ours: &DynamicMessage, theirs: &DynamicMessage) -> bool {
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

    fn write_options(&self, of: &MessageDescriptor, rng: &mut Rng) -> Options {
        self.options
            .clone()
            .proto_names(rng.bool() && !is_ambiguous(of))
            .emit_defaults(rng.bool())
            .enums_as_numbers(rng.bool())
            .pretty(rng.bool())
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

    /// Writes a message by prost-reflect.
    fn their_writing(&self, message: &DynamicMessage, rng: &mut Rng) -> Result<String, String> {
        let options = SerializeOptions::new()
            .stringify_64_bit_integers(rng.bool())
            .use_enum_numbers(rng.bool())
            .use_proto_field_name(rng.bool() && !is_ambiguous(&message.descriptor()))
            .skip_default_fields(rng.bool());
        let mut text = Vec::new();
        let mut serializer = serde_json::Serializer::new(&mut text);
        message
            .serialize_with_options(&mut serializer, &options)
            .map_err(|error| error.to_string())?;
        String::from_utf8(text).map_err(|error| error.to_string())
    }

    /// Compares what both readers make of a text.
    fn compare(&self, ours: &Ours, text: &[u8], reject: bool) -> Result<Verdict, String> {
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
fn show(message: &DynamicMessage) -> String {
    serde_json::to_string(message).unwrap_or_else(|_| format!("{message:?}"))
}

/// Whether one field's name in the proto is another's in JSON, so that names of the proto cannot be read back.
fn is_ambiguous(of: &MessageDescriptor) -> bool {
    of.fields().any(|field| {
        of.get_field_by_json_name(field.name())
            .is_some_and(|other| other != field)
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Read,
    Refused,
}

/// Runs the cases, each from a seed of its own.
fn cases(mut case: impl FnMut(&mut Rng) -> Result<(), String>) {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>());
    let count =
        number("PROPTEST_CASES").map_or(64, |count| count.expect("PROPTEST_CASES is a number"));
    let seed = number("MICRO_TEST_SEED").map(|seed| seed.expect("MICRO_TEST_SEED is a number"));
    let first = seed.unwrap_or_else(|| fastrand::u64(..));
    for seed in (0..count).map(|index| first.wrapping_add(index)) {
        if let Err(what) = case(&mut Rng::with_seed(seed)) {
            panic!("with MICRO_TEST_SEED={seed} PROPTEST_CASES=1: {what}");
        }
    }
}

#[test]
fn every_message_is_there() {
    let world = World::new();
    let file = world
        .pool
        .get_file_by_name("json_test.proto")
        .expect("the file");
    let missing: Vec<_> = file
        .messages()
        .filter(|of| !world.ours.iter().any(|ours| ours.of == *of))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn what_we_write_they_read() {
    let world = World::new();
    cases(|rng| {
        let (ours, message) = world.message(rng, false);
        let options = world.write_options(&ours.of, rng);
        let json = (ours.write)(&message.encode_to_vec(), &options)
            .map_err(|error| format!("{} was not written: {error}", show(&message)))?;
        match world.compare(ours, json.as_bytes(), true) {
            Ok(Verdict::Read) => {}
            Ok(Verdict::Refused) => return Err(format!("{json}: was refused")),
            Err(what) => return Err(format!("{json}: {what}")),
        }
        let read = (ours.read)(json.as_bytes(), &world.options)?;
        match world.decode(&ours.of, &read) {
            Some(read) if world.same(&read, &message) => Ok(()),
            _ => Err(format!("{json}: was written of {}", show(&message))),
        }
    });
}

#[test]
fn what_they_write_we_read() {
    let world = World::new();
    cases(|rng| {
        let (ours, message) = world.message(rng, true);
        // prost-reflect writes those in wrappers as null.
        let json = world.their_writing(&message, rng)?;
        let read = (ours.read)(json.as_bytes(), &world.options)
            .map_err(|error| format!("{json}: was refused: {error}"))?;
        match world.decode(&ours.of, &read) {
            Some(read) if world.same(&read, &message) => Ok(()),
            _ => Err(format!("{json}: was written of {}", show(&message))),
        }
    });
}

#[test]
fn both_read_changed_texts_alike() {
    let world = World::new();
    let mut verdicts = [0_u64; 2];
    cases(|rng| {
        let (ours, message) = world.message(rng, false);
        let options = world.write_options(&ours.of, rng);
        let json = (ours.write)(&message.encode_to_vec(), &options)?;
        let mut json = Json::parse(json.as_bytes()).ok_or("what we wrote is no JSON")?;
        for _ in 0..rng.u32(1..4) {
            let names = &world.names;
            Mutator { rng, names }.change(&mut json);
        }
        let escapes = rng.u32(0..8) == 0;
        let mut text = json.print(&mut || escapes && rng.bool()).into_bytes();
        if rng.u32(0..10) == 0 {
            mutate::damage(&mut text, rng);
        }
        let verdict = world.compare(ours, &text, rng.bool()).map_err(|what| {
            format!(
                "{} {}: {what}",
                ours.of.name(),
                String::from_utf8_lossy(&text)
            )
        })?;
        verdicts[usize::from(verdict == Verdict::Read)] += 1;
        Ok(())
    });
    println!("{} refused, {} read", verdicts[0], verdicts[1]);
    assert!(
        verdicts.iter().all(|count| *count > 0),
        "all cases ended alike"
    );
}
