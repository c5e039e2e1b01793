//! The options of the JSON mapping, against vectors made with another implementation.

mod proto {
    micro_runtime::include_proto!();
}

use std::fmt::Debug;

use micro_runtime::json::{JsonMessage, Options, TypeRegistry};
use micro_runtime::prost::Message;
use proto::json_test::v1;
use serde_json::Value;

/// Message, options, JSON, and protobuf in hex, with tabs between them; the first lines say the rest.
const VECTORS: &str = include_str!("../vectors/json_options.tsv");

fn options(letters: &str) -> Options {
    let mut types = TypeRegistry::well_known();
    v1::register_types(&mut types);
    Options::new()
        .types(types)
        .reject_unknown_fields(true)
        .proto_names(letters.contains('n'))
        .emit_defaults(letters.contains('d'))
        .enums_as_numbers(letters.contains('e'))
}

/// JSON as a value in which equal numbers are equal, however they are spelled.
fn parse(text: &str) -> Value {
    fn normalize(value: Value) -> Value {
        match value {
            Value::Number(number) => number.as_f64().into(),
            Value::Array(values) => values.into_iter().map(normalize).collect(),
            Value::Object(members) => members
                .into_iter()
                .map(|(key, value)| (key, normalize(value)))
                .collect(),
            other => other,
        }
    }
    normalize(serde_json::from_str(text).expect("JSON"))
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2)
        .map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).expect("hex digits"))
        .collect()
}

/// What is wrong with a vector, if anything is.
fn check<M: JsonMessage + Message + PartialEq + Debug>(
    letters: &str,
    json: &str,
    binary: &[u8],
) -> Option<String> {
    let message = M::decode(binary).expect("a message");
    let options = options(letters);
    for options in [options.clone(), options.pretty(true)] {
        let written = match options.to_string(&message) {
            Ok(written) => written,
            Err(error) => return Some(format!("was refused: {error}")),
        };
        if parse(&written) != parse(json) {
            return Some(format!("was written as {written}, expected {json}"));
        }
        // And it is read again, whatever it was written with. In `Names` the JSON name of one field is the proto's
        // name of another, so that names of the proto are ambiguous there.
        if M::NAME == v1::Names::NAME {
            continue;
        }
        match options.from_str::<M>(&written) {
            // NaN is not equal to itself.
            Ok(again) if again == message || format!("{again:?}") == format!("{message:?}") => {}
            Ok(again) => return Some(format!("{written} was read as {again:?}")),
            Err(error) => return Some(format!("{written} was refused: {error}")),
        }
    }
    None
}

#[test]
fn vectors() {
    let mut wrong = Vec::new();
    for line in VECTORS.lines().filter(|line| !line.starts_with('#')) {
        let [message, letters, json, binary] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("expected four fields, found {line}");
        };
        let check = match message {
            "Scalars" => check::<v1::Scalars>,
            "Optionals" => check::<v1::Optionals>,
            "Lists" => check::<v1::Lists>,
            "Maps" => check::<v1::Maps>,
            "Oneofs" => check::<v1::Oneofs>,
            "WellKnown" => check::<v1::WellKnown>,
            "Tree" => check::<v1::Tree>,
            "None" => check::<v1::None>,
            "Names" => check::<v1::Names>,
            "Vec" => check::<v1::Vec>,
            "Order" => check::<v1::Order>,
            other => panic!("no message {other}"),
        };
        if let Some(what) = check(letters, json, &unhex(binary)) {
            wrong.push(format!("{message} {binary} with {letters:?} {what}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
