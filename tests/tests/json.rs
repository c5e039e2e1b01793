//! The JSON mapping of generated code, against vectors made with another implementation.

mod proto {
    micro_runtime::include_proto!();
}

/// The same messages, over well-known types that were compiled from their protos like any others.
mod own {
    include!(concat!(env!("OUT_DIR"), "/own/_micro.rs"));
}

use std::fmt::Debug;

use micro_runtime::json::{JsonMessage, Options, TypeRegistry};
use micro_runtime::prost::Message;
use own::json_test::v1 as own_v1;
use proto::json_test::v1;

/// Message, verdict (`ok` or `error`), JSON, canonical JSON, and protobuf in hex, with tabs between them. Python's
/// protobuf 7.36.2 made them; those where it does not keep to the mapping stand at the end, with the reason.
const VECTORS: &str = include_str!("../vectors/json.tsv");

struct Vector<'v> {
    line: usize,
    message: &'v str,
    verdict: &'v str,
    json: &'v str,
    canonical: &'v str,
    binary: Vec<u8>,
}

fn options() -> Options {
    let mut types = TypeRegistry::well_known();
    v1::register_types(&mut types);
    Options::new().types(types)
}

/// The same for messages over well-known types of their own.
fn own_options() -> Options {
    let mut types = TypeRegistry::new();
    own::google::protobuf::register_types(&mut types);
    own_v1::register_types(&mut types);
    Options::new().types(types)
}

/// What is wrong with a vector, if anything is.
fn check<M: JsonMessage + Message + PartialEq + Debug>(
    vector: &Vector<'_>,
    options: &Options,
) -> Result<(), String> {
    let message: M = match (options.from_str(vector.json), vector.verdict) {
        (Ok(message), "ok") => message,
        (Ok(message), _) => return Err(format!("was read as {message:?}")),
        (Err(_), "error") => return Ok(()),
        (Err(error), _) => return Err(format!("was refused: {error}")),
    };
    let expected = M::decode(vector.binary.as_slice()).map_err(|error| error.to_string())?;
    if !same(&message, &expected) {
        return Err(format!("was read as {message:?}, expected {expected:?}"));
    }
    let written = options
        .to_string(&message)
        .map_err(|error| error.to_string())?;
    let equal = written == vector.canonical || parse(&written)? == parse(vector.canonical)?;
    equal
        .then_some(())
        .ok_or_else(|| format!("was written as {written}, expected {}", vector.canonical))
}

/// Whether two messages are equal, if NaN is taken to be equal to itself.
fn same<M: PartialEq + Debug>(a: &M, b: &M) -> bool {
    a == b || format!("{a:?}") == format!("{b:?}")
}

/// JSON as a value in which equal numbers are equal, however they are spelled.
fn parse(text: &str) -> Result<serde_json::Value, String> {
    fn normalize(value: serde_json::Value) -> serde_json::Value {
        match value {
            serde_json::Value::Number(number) => number.as_f64().into(),
            serde_json::Value::Array(values) => values.into_iter().map(normalize).collect(),
            serde_json::Value::Object(members) => members
                .into_iter()
                .map(|(key, value)| (key, normalize(value)))
                .collect(),
            other => other,
        }
    }
    serde_json::from_str(text)
        .map(normalize)
        .map_err(|error| error.to_string())
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2)
        .map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).expect("hex digits"))
        .collect()
}

/// Checks a vector with the message of that name among the messages of a module.
macro_rules! check {
    ($module:ident, $vector:expr, $options:expr, [$($name:ident)*]) => {
        match $vector.message {
            $(stringify!($name) => check::<$module::$name>($vector, $options),)*
            other => panic!("line {}: no message {other}", $vector.line),
        }
    };
    ($module:ident, $vector:expr, $options:expr) => {
        check!($module, $vector, $options, [
            Scalars Optionals Lists Maps Oneofs WellKnown Tree None Names Vec Order
        ])
    };
}

/// Checks all vectors.
fn check_all(check: impl Fn(&Vector<'_>) -> Result<(), String>) {
    let mut wrong = Vec::new();
    let mut count = 0;
    for (index, line) in VECTORS.lines().enumerate() {
        if line.starts_with('#') {
            continue;
        }
        let fields: Vec<&str> = line.split('\t').collect();
        let [message, verdict, json, canonical, binary] = fields[..] else {
            panic!(
                "line {}: expected five fields, found {}",
                index + 1,
                fields.len()
            );
        };
        let vector = Vector {
            line: index + 1,
            message,
            verdict,
            json,
            canonical,
            binary: unhex(binary),
        };
        count += 1;
        if let Err(what) = check(&vector) {
            wrong.push(format!("line {}: {message} {json} {what}", vector.line));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {count} vectors:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn vectors() {
    let options = options();
    check_all(|vector| check!(v1, vector, &options));
}

#[test]
fn vectors_over_compiled_well_known_types() {
    let options = own_options();
    check_all(|vector| check!(own_v1, vector, &options));
}

#[test]
fn what_is_skipped_is_utf8_too() {
    let json = b"{\"unknown\":\"\xff\",\"name\":\"\"}";
    let error = options().from_slice::<v1::Tree>(json).unwrap_err();
    assert!(error.is_syntax(), "{error}");
    assert!(options().from_slice::<v1::Tree>(&[0xff]).is_err());
    assert!(
        options()
            .from_slice::<v1::Tree>(&[0xef, 0xbb, 0xbf, b'{', b'}'])
            .is_err()
    );
}
