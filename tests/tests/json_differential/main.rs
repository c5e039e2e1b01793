//! The JSON mapping of generated code against prost-reflect's, which knows messages by their descriptors alone.
//!
//! * `generate`: messages at random.
//! * `text`: JSON that keeps what a parser loses.
//! * `mutate`: changes to a text, most of which leave it JSON, and many of which leave it a message.
//! * `compare`: what both make of a text.
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
mod compare;
mod generate;
mod mutate;
mod restate;
mod text;

use compare::{Ours, Verdict, World, is_ambiguous, show};
use fastrand::Rng;
use generate::Generator;
use micro_runtime::json::{Options, TypeRegistry};
use micro_runtime::prost::Message as _;
use mutate::Mutator;
use other::constructs::{defaults, maps, proto2};
use prost_reflect::{
    DescriptorPool, DynamicMessage, MessageDescriptor, ReflectMessage as _, SerializeOptions,
};
use proto::json_test::{types, v1};
use text::Json;

/// Every message type there is.
fn world() -> World {
    let mut pool = DescriptorPool::decode(types::FILE_DESCRIPTOR_SET).expect("descriptors");
    // Editions are beyond prost-reflect.
    for set in [
        defaults::FILE_DESCRIPTOR_SET,
        maps::FILE_DESCRIPTOR_SET,
        proto2::FILE_DESCRIPTOR_SET,
    ] {
        pool.decode_file_descriptor_set(set).expect("descriptors");
    }
    let mut types = TypeRegistry::well_known();
    v1::register_types(&mut types);
    let mut world = World::new(pool, types);
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

/// The names of fields.
fn names(world: &World) -> Vec<String> {
    let messages = world
        .ours
        .iter()
        .filter(|ours| ours.of.package_name() == "json_test.v1");
    messages
        .flat_map(|ours| {
            ours.of
                .fields()
                .map(|field| field.name().to_owned())
                .collect::<Vec<_>>()
        })
        .collect()
}

/// A message type, and a message of it.
fn message<'w>(
    world: &'w World,
    rng: &mut Rng,
    finite_wrappers: bool,
) -> (&'w Ours, DynamicMessage) {
    let ours = &world.ours[rng.usize(0..world.ours.len())];
    let mut generator = Generator {
        rng,
        types: &world.any,
        finite_wrappers,
    };
    let message = generator.message(&ours.of, 3);
    let copy = (ours.copy)(&message.encode_to_vec());
    let copy = copy.and_then(|bytes| world.decode(&ours.of, &bytes));
    (ours, copy.unwrap_or(message))
}

/// Any options, but for names that cannot be read back.
fn write_options(world: &World, of: &MessageDescriptor, rng: &mut Rng) -> Options {
    world
        .options
        .clone()
        .proto_names(rng.bool() && !is_ambiguous(of))
        .emit_defaults(rng.bool())
        .enums_as_numbers(rng.bool())
        .pretty(rng.bool())
}

/// Writes a message by prost-reflect.
fn their_writing(message: &DynamicMessage, rng: &mut Rng) -> Result<String, String> {
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
    let world = world();
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
    let world = world();
    cases(|rng| {
        let (ours, message) = message(&world, rng, false);
        let options = write_options(&world, &ours.of, rng);
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
    let world = world();
    cases(|rng| {
        let (ours, message) = message(&world, rng, true);
        // prost-reflect writes those in wrappers as null.
        let json = their_writing(&message, rng)?;
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
    let world = world();
    let names = names(&world);
    let mut verdicts = [0_u64; 2];
    cases(|rng| {
        let (ours, message) = message(&world, rng, false);
        let options = write_options(&world, &ours.of, rng);
        let json = (ours.write)(&message.encode_to_vec(), &options)?;
        let mut json = Json::parse(json.as_bytes()).ok_or("what we wrote is no JSON")?;
        for _ in 0..rng.u32(1..4) {
            let names = &names;
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
