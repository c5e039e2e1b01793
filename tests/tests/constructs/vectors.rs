//! Messages, against vectors made with another implementation.

use std::fmt::Debug;

use micro_runtime::json::{JsonMessage, Options, TypeRegistry};
use micro_runtime::prost::Message;

use super::proto::constructs::{
    defaults, edition2023, edition2024, maps, other, proto2, proto3, recursion, visible,
};

/// Message, protobuf as it is read, protobuf as it is written, and JSON, with tabs between them. `vectors/editions.py`
/// made them with Python's protobuf, which keeps extensions and unknown fields: without those. After a `~`, what is
/// written may be shorter, as long as it means the same.
const VECTORS: &str = include_str!("../../vectors/editions.tsv");

struct Vector<'v> {
    read: Vec<u8>,
    written: Vec<u8>,
    /// Whether other bytes may be written that mean the same.
    about: bool,
    json: &'v str,
}

/// Calls `check` for the message of this name.
macro_rules! check {
    ($name:expr, $vector:expr, { $($known:literal => $message:ty,)* }) => {
        match $name {
            $($known => check::<$message>($vector),)*
            other => Err(format!("there is no message {other} here")),
        }
    };
}

fn options() -> Options {
    let mut types = TypeRegistry::well_known();
    edition2023::register_types(&mut types);
    Options::new().types(types)
}

/// What is wrong with a vector, if anything is.
fn check<M: JsonMessage + Message + Debug>(vector: &Vector<'_>) -> Result<(), String> {
    let message = M::decode(vector.read.as_slice()).map_err(|error| error.to_string())?;
    check_written(vector, &message)?;
    let options = options();
    let json = options
        .to_string(&message)
        .map_err(|error| error.to_string())?;
    if parse(&json)? != parse(vector.json)? {
        return Err(format!("was written as {json}, expected {}", vector.json));
    }
    let message: M = options
        .from_str(vector.json)
        .map_err(|error| format!("{} was refused: {error}", vector.json))?;
    check_written(vector, &message).map_err(|what| format!("from {} {what}", vector.json))
}

fn check_written<M: Message + Debug + Default>(
    vector: &Vector<'_>,
    message: &M,
) -> Result<(), String> {
    let written = message.encode_to_vec();
    if written.len() != message.encoded_len() {
        return Err(format!("has the length {}", message.encoded_len()));
    }
    if written == vector.written {
        return Ok(());
    }
    if vector.about && written.len() < vector.written.len() {
        let expected = M::decode(vector.written.as_slice()).map_err(|error| error.to_string())?;
        // As text, so that NaN is equal to itself.
        if format!("{message:?}") == format!("{expected:?}") {
            return Ok(());
        }
    }
    Err(format!(
        "was written as {}, expected {}",
        hex(&written),
        hex(&vector.written)
    ))
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

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2)
        .map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).expect("hex digits"))
        .collect()
}

fn check_line(name: &str, vector: &Vector<'_>) -> Result<(), String> {
    check!(name, vector, {
        "defaults.Blobs" => defaults::Blobs,
        "defaults.Enums" => defaults::Enums,
        "defaults.Floats" => defaults::Floats,
        "defaults.Integers" => defaults::Integers,
        "defaults.Members" => defaults::Members,
        "defaults.Required" => defaults::Required,
        "defaults.Texts" => defaults::Texts,
        "edition2023.Extended" => edition2023::Extended,
        "edition2023.Leaf" => edition2023::Leaf,
        "edition2023.Lists" => edition2023::Lists,
        "edition2023.Messages" => edition2023::Messages,
        "edition2023.Presence" => edition2023::Presence,
        "edition2023.Texts" => edition2023::Texts,
        "edition2024.Hidden" => edition2024::Hidden,
        "edition2024.Shown" => edition2024::Shown,
        "maps.ByBool" => maps::ByBool,
        "maps.ByFixed32" => maps::ByFixed32,
        "maps.ByFixed64" => maps::ByFixed64,
        "maps.ByInt32" => maps::ByInt32,
        "maps.ByInt64" => maps::ByInt64,
        "maps.BySfixed32" => maps::BySfixed32,
        "maps.BySfixed64" => maps::BySfixed64,
        "maps.BySint32" => maps::BySint32,
        "maps.BySint64" => maps::BySint64,
        "maps.ByString" => maps::ByString,
        "maps.ByUint32" => maps::ByUint32,
        "maps.ByUint64" => maps::ByUint64,
        "maps.Value" => maps::Value,
        "other.Outer" => other::Outer,
        "proto2.Extended" => proto2::Extended,
        "proto2.Groups" => proto2::Groups,
        "proto2.Groups.Chosen" => proto2::groups::Chosen,
        "proto2.Groups.Many" => proto2::groups::Many,
        "proto2.Groups.Needed" => proto2::groups::Needed,
        "proto2.Groups.One" => proto2::groups::One,
        "proto2.Groups.One.Deeper" => proto2::groups::one::Deeper,
        "proto2.InGroup" => proto2::InGroup,
        "proto2.Item" => proto2::Item,
        "proto2.Lists" => proto2::Lists,
        "proto2.Options" => proto2::Options,
        "proto2.Presence" => proto2::Presence,
        "proto2.Required" => proto2::Required,
        "proto2.Set" => proto2::Set,
        "proto3.Lists" => proto3::Lists,
        "proto3.Members" => proto3::Members,
        "proto3.None" => proto3::None,
        "proto3.Optionals" => proto3::Optionals,
        "proto3.Scalars" => proto3::Scalars,
        "proto3.WellKnown" => proto3::WellKnown,
        "recursion.Branch" => recursion::Branch,
        "recursion.Direct" => recursion::Direct,
        "recursion.First" => recursion::First,
        "recursion.Leaf" => recursion::Leaf,
        "recursion.Left" => recursion::Left,
        "recursion.LeftPlain" => recursion::LeftPlain,
        "recursion.Outer" => recursion::Outer,
        "recursion.Outer.Middle" => recursion::outer::Middle,
        "recursion.Outer.Middle.Inner" => recursion::outer::middle::Inner,
        "recursion.Right" => recursion::Right,
        "recursion.RightPlain" => recursion::RightPlain,
        "recursion.Second" => recursion::Second,
        "recursion.Third" => recursion::Third,
        "visible.Seen" => visible::Seen,
        "visible.Seen.Inner" => visible::seen::Inner,
        "visible.Unseen" => visible::Unseen,
    })
}

#[test]
fn vectors() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for (number, line) in (1..).zip(VECTORS.lines()) {
        if line.starts_with('#') {
            continue;
        }
        let fields: Vec<&str> = line.split('\t').collect();
        let [name, read, written, json] = fields[..] else {
            panic!(
                "line {number}: expected four fields, found {}",
                fields.len()
            );
        };
        let vector = Vector {
            read: unhex(read),
            written: unhex(written.trim_start_matches('~')),
            about: written.starts_with('~'),
            json,
        };
        count += 1;
        if let Err(what) = check_line(name, &vector) {
            wrong.push(format!("line {number}: {name} {read} {what}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {count} vectors:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(count > 1000, "only {count} vectors");
}
