//! The JSON mapping of generated code, against chance: messages that go there and back, and texts that make no sense.

mod proto {
    micro_runtime::include_proto!();
}

use std::fmt::Debug;

use micro_runtime::json::{JsonMessage, Options, TypeRegistry};
use micro_runtime::prost::Message;
use micro_runtime::prost_types::value::Kind;
use micro_runtime::prost_types::{Any, Duration, FieldMask, ListValue, Struct, Timestamp, Value};
use proptest::collection::{hash_map, vec};
use proptest::option;
use proptest::prelude::*;
use proto::json_test::v1::tree::Leaf;
use proto::json_test::v1::tree::leaf::{Shape, Vein};
use proto::json_test::v1::{Color, Lists, Maps, Oneofs, Scalars, Tree, WellKnown, oneofs};

fn options() -> Options {
    let mut types = TypeRegistry::well_known();
    proto::json_test::v1::register_types(&mut types);
    Options::new().types(types)
}

/// All that may be chosen when writing.
fn all_options() -> impl Strategy<Value = Options> {
    any::<[bool; 4]>().prop_map(|[proto_names, defaults, numbers, pretty]| {
        options()
            .proto_names(proto_names)
            .emit_defaults(defaults)
            .enums_as_numbers(numbers)
            .pretty(pretty)
            .reject_unknown_fields(true)
    })
}

/// Writes a message, reads it back, and compares.
fn there_and_back<M: JsonMessage + Message + PartialEq + Debug>(
    message: &M,
    options: &Options,
) -> Result<(), TestCaseError> {
    let text = options
        .to_string(message)
        .map_err(|error| TestCaseError::fail(error.to_string()))?;
    let again: M = options
        .from_str(&text)
        .map_err(|error| TestCaseError::fail(format!("{text}: {error}")))?;
    prop_assert_eq!(message, &again, "{}", text);
    Ok(())
}

fn color() -> impl Strategy<Value = i32> {
    prop_oneof![
        Just(Color::Unspecified.into()),
        Just(Color::Red.into()),
        Just(Color::Blue.into()),
        any::<i32>()
    ]
}

/// Infinities and all; but NaN is not equal to itself, and JSON has one of them only.
fn float() -> impl Strategy<Value = f32> {
    proptest::num::f32::ANY.prop_map(|number| {
        if number.is_nan() {
            f32::MIN_POSITIVE
        } else {
            number
        }
    })
}

fn double() -> impl Strategy<Value = f64> {
    proptest::num::f64::ANY.prop_map(|number| {
        if number.is_nan() {
            f64::MIN_POSITIVE
        } else {
            number
        }
    })
}

fn numbers() -> impl Strategy<Value = Scalars> {
    let integers = (
        any::<(i32, i64, u32, u64, i32)>(),
        any::<(i64, u32, u64, i32, i64)>(),
    );
    let floats = (float(), double());
    (integers, floats, color()).prop_map(|((a, b), (float, double), color)| Scalars {
        int32: a.0,
        int64: a.1,
        uint32: a.2,
        uint64: a.3,
        sint32: a.4,
        sint64: b.0,
        fixed32: b.1,
        fixed64: b.2,
        sfixed32: b.3,
        sfixed64: b.4,
        float,
        double,
        color,
        ..Scalars::default()
    })
}

fn scalars() -> impl Strategy<Value = Scalars> {
    (numbers(), any::<(bool, String, Vec<u8>)>()).prop_map(|(numbers, (bool, string, bytes))| {
        Scalars {
            bool,
            string,
            bytes,
            ..numbers
        }
    })
}

fn timestamp() -> impl Strategy<Value = Timestamp> {
    (-62_135_596_800_i64..=253_402_300_799, 0..1_000_000_000)
        .prop_map(|(seconds, nanos)| Timestamp { seconds, nanos })
}

fn duration() -> impl Strategy<Value = Duration> {
    (0_i64..=315_576_000_000, 0_i32..1_000_000_000, any::<bool>()).prop_map(
        |(seconds, nanos, negative)| {
            if negative {
                Duration {
                    seconds: -seconds,
                    nanos: -nanos,
                }
            } else {
                Duration { seconds, nanos }
            }
        },
    )
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Kind::NullValue(0)),
        any::<f64>()
            .prop_filter("a Value holds finite numbers", |number| number.is_finite())
            .prop_map(Kind::NumberValue),
        any::<String>().prop_map(Kind::StringValue),
        any::<bool>().prop_map(Kind::BoolValue),
    ];
    let kind = leaf.prop_recursive(5, 30, 5, |inner| {
        let inner = inner.prop_map(|kind| Value { kind: Some(kind) });
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(|values| Kind::ListValue(ListValue { values })),
            proptest::collection::btree_map(any::<String>(), inner, 0..5)
                .prop_map(|fields| Kind::StructValue(Struct { fields })),
        ]
    });
    kind.prop_map(|kind| Value { kind: Some(kind) })
}

fn lists() -> impl Strategy<Value = Lists> {
    let numbers = (
        vec(any::<i32>(), 0..9),
        vec(any::<u64>(), 0..9),
        vec(float(), 0..9),
    );
    let others = (
        vec(any::<String>(), 0..9),
        vec(any::<Vec<u8>>(), 0..9),
        vec(color(), 0..9),
    );
    let messages = (
        vec(scalars(), 0..3),
        vec(value(), 0..3),
        vec(timestamp(), 0..3),
    );
    (numbers, others, messages).prop_map(|(numbers, others, messages)| Lists {
        int32: numbers.0,
        uint64: numbers.1,
        float: numbers.2,
        string: others.0.clone(),
        string_value: others.0,
        bytes: others.1,
        color: others.2,
        message: messages.0,
        value: messages.1,
        timestamp: messages.2,
        ..Lists::default()
    })
}

fn maps() -> impl Strategy<Value = Maps> {
    let numbers = (
        hash_map(any::<i32>(), any::<i32>(), 0..5),
        hash_map(any::<u64>(), any::<u64>(), 0..5),
        hash_map(any::<i32>(), double(), 0..5),
    );
    let others = (
        hash_map(any::<bool>(), any::<bool>(), 0..3),
        hash_map(any::<String>(), any::<String>(), 0..5),
        hash_map(any::<String>(), color(), 0..5),
    );
    let messages = (
        hash_map(any::<String>(), scalars(), 0..3),
        hash_map(any::<String>(), value(), 0..3),
    );
    (numbers, others, messages).prop_map(|(numbers, others, messages)| Maps {
        int32: numbers.0,
        uint64: numbers.1,
        double: numbers.2,
        bool: others.0,
        string: others.1,
        color: others.2,
        message: messages.0,
        value: messages.1,
        ..Maps::default()
    })
}

fn oneofs() -> impl Strategy<Value = Oneofs> {
    let leaf = prop_oneof![
        any::<u64>().prop_map(oneofs::Kind::Uint64),
        any::<f32>().prop_map(oneofs::Kind::Float),
        any::<String>().prop_map(oneofs::Kind::String),
        any::<Vec<u8>>().prop_map(oneofs::Kind::Bytes),
        color().prop_map(oneofs::Kind::Color),
        scalars().prop_map(oneofs::Kind::Message),
        Just(oneofs::Kind::NullValue(0)),
        value().prop_map(oneofs::Kind::Value),
        Just(oneofs::Kind::Empty(())),
    ];
    let kind = leaf.prop_recursive(5, 8, 1, |inner| {
        inner.prop_map(|kind| {
            oneofs::Kind::Boxed(Box::new(Oneofs {
                kind: Some(kind),
                other: None,
            }))
        })
    });
    (option::of(kind), option::of(any::<String>())).prop_map(|(kind, other)| Oneofs {
        kind,
        other: other.map(oneofs::Other::OtherString),
    })
}

fn well_known() -> impl Strategy<Value = WellKnown> {
    let packed = prop_oneof![
        Just(Any::default()),
        scalars().prop_map(|message| pack("json_test.v1.Scalars", &message)),
        timestamp().prop_map(|message| pack("google.protobuf.Timestamp", &message)),
        value().prop_map(|message| pack("google.protobuf.Value", &message)),
        any::<u64>().prop_map(|message| pack("google.protobuf.UInt64Value", &message)),
        timestamp().prop_map(|message| {
            let inner = pack("google.protobuf.Timestamp", &message);
            pack("google.protobuf.Any", &inner)
        }),
    ];
    let paths = vec(
        "[a-z][a-z0-9]{0,4}(_[a-z][a-z0-9]{0,3}){0,2}(\\.[a-z]{1,3}){0,2}",
        0..4,
    );
    let times = (
        option::of(timestamp()),
        option::of(duration()),
        option::of(value()),
    );
    let wrappers = any::<(
        Option<bool>,
        Option<i64>,
        Option<u32>,
        Option<f64>,
        Option<String>,
        Option<Vec<u8>>,
    )>();
    (option::of(packed), option::of(paths), times, wrappers).prop_map(
        |(any, paths, times, wrappers)| WellKnown {
            any,
            field_mask: paths.map(|paths| FieldMask { paths }),
            timestamp: times.0,
            duration: times.1,
            value: times.2,
            bool_value: wrappers.0,
            int64_value: wrappers.1,
            uint32_value: wrappers.2,
            double_value: wrappers.3,
            string_value: wrappers.4,
            bytes_value: wrappers.5,
            ..WellKnown::default()
        },
    )
}

fn pack(name: &str, message: &impl Message) -> Any {
    Any {
        type_url: format!("type.googleapis.com/{name}"),
        value: message.encode_to_vec(),
    }
}

fn tree() -> impl Strategy<Value = Tree> {
    let leaf =
        (any::<String>(), option::of(vec(any::<i32>(), 0..3))).prop_map(|(name, veins)| Tree {
            name,
            leaf: veins.map(|veins| Leaf {
                shape: Shape::Long.into(),
                veins: veins.into_iter().map(|width| Vein { width }).collect(),
            }),
            ..Tree::default()
        });
    leaf.prop_recursive(6, 40, 4, |inner| {
        (
            any::<String>(),
            option::of(inner.clone()),
            vec(inner.clone(), 0..3),
            hash_map(any::<String>(), inner, 0..3),
        )
            .prop_map(|(name, parent, children, by_name)| Tree {
                name,
                parent: parent.map(Box::new),
                children,
                by_name,
                ..Tree::default()
            })
    })
}

/// Pieces that JSON is made of, and some that it is not.
const PIECES: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\",
    "\\u",
    "d800",
    "null",
    "true",
    "-",
    ".",
    "e",
    "0",
    "1",
    "99999999999",
    "1e400",
    "1.0",
    "\"@type\":",
    "\"value\":",
    "\"int32\":",
    "\"any\":",
    "\"kind\"",
    "\u{0}",
    "é",
    "\"$serde_json::private::Number\":",
    "\"type.googleapis.com/google.protobuf.Any\"",
];

/// Damages a text in a few places.
fn damage(text: &str, cuts: &[(usize, usize, usize)]) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for (at, length, piece) in cuts {
        let at = at % (bytes.len() + 1);
        let end = (at + length % 4).min(bytes.len());
        bytes.splice(at..end, PIECES[piece % PIECES.len()].bytes());
    }
    bytes
}

/// Reads anything as every message: what is read must be written, too.
fn read_anything(json: &[u8]) {
    fn read<M: JsonMessage>(json: &[u8]) {
        let options = options();
        if let Ok(message) = options.from_slice::<M>(json) {
            let text = options
                .to_string(&message)
                .expect("what was read can be written");
            options
                .from_str::<M>(&text)
                .expect("what was written can be read");
        }
    }

    read::<Scalars>(json);
    read::<Lists>(json);
    read::<Maps>(json);
    read::<Oneofs>(json);
    read::<WellKnown>(json);
    read::<Tree>(json);
    read::<Value>(json);
    read::<Any>(json);
}

/// `PROPTEST_CASES` cases, or 64 if that is not set.
fn config() -> ProptestConfig {
    let config = ProptestConfig::default();
    ProptestConfig {
        cases: match std::env::var_os("PROPTEST_CASES") {
            Some(_) => config.cases,
            None => 64,
        },
        failure_persistence: None,
        ..config
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn scalars_there_and_back(message in scalars(), options in all_options()) {
        there_and_back(&message, &options)?;
    }

    #[test]
    fn lists_there_and_back(message in lists(), options in all_options()) {
        there_and_back(&message, &options)?;
    }

    #[test]
    fn maps_there_and_back(message in maps(), options in all_options()) {
        there_and_back(&message, &options)?;
    }

    #[test]
    fn oneofs_there_and_back(message in oneofs(), options in all_options()) {
        there_and_back(&message, &options)?;
    }

    #[test]
    fn well_known_there_and_back(message in well_known(), options in all_options()) {
        there_and_back(&message, &options)?;
    }

    #[test]
    fn trees_there_and_back(message in tree(), options in all_options()) {
        there_and_back(&message, &options)?;
    }

    #[test]
    fn a_number_that_needs_its_text_changes_no_other(message in lists()) {
        let options = options();
        let text = options.to_string(&message).unwrap();
        let (start, rest) = text.split_at(1);
        let comma = if rest == "}" { "" } else { "," };
        // A fraction makes the reader begin again with every number as text.
        let again: Lists = options.from_str(&format!("{start}\"int64\":[1.0]{comma}{rest}")).unwrap();
        prop_assert_eq!(&again.int64, &[1]);
        prop_assert_eq!(Lists { int64: Vec::new(), ..again }, message);
    }

    #[test]
    fn any_bytes(json in vec(any::<u8>(), 0..100)) {
        read_anything(&json);
    }

    #[test]
    fn any_pieces(pieces in vec(0..PIECES.len(), 0..40)) {
        let json: String = pieces.into_iter().map(|piece| PIECES[piece]).collect();
        read_anything(json.as_bytes());
    }

    #[test]
    fn damaged_messages(
        message in (scalars(), lists(), maps(), oneofs(), well_known()),
        cuts in vec(any::<(usize, usize, usize)>(), 1..4),
    ) {
        let options = options();
        read_anything(&damage(&options.to_string(&message.0).unwrap(), &cuts));
        read_anything(&damage(&options.to_string(&message.1).unwrap(), &cuts));
        read_anything(&damage(&options.to_string(&message.2).unwrap(), &cuts));
        read_anything(&damage(&options.to_string(&message.3).unwrap(), &cuts));
        read_anything(&damage(&options.to_string(&message.4).unwrap(), &cuts));
    }

    #[test]
    fn writing_never_panics(bytes in vec(any::<u8>(), 0..60)) {
        if let Ok(message) = WellKnown::decode(bytes.as_slice()) {
            let _ = options().to_string(&message);
        }
        let url = "type.googleapis.com/json_test.v1.WellKnown".to_owned();
        let _ = options().to_string(&Any { type_url: url, value: bytes });
    }
}

#[test]
fn nested_any_is_bounded() {
    let mut any = Any::default();
    for _ in 0..1_000 {
        any = pack("google.protobuf.Any", &any);
    }
    let error = options().to_string(&any).unwrap_err();
    assert!(
        error.to_string().contains("expected at most 100 messages"),
        "{error}"
    );

    let open = "{\"@type\":\"type.googleapis.com/google.protobuf.Any\",\"value\":";
    let json = format!("{}{{}}{}", open.repeat(1_000), "}".repeat(1_000));
    let error = options().from_str::<Any>(&json).unwrap_err();
    assert!(
        error.to_string().contains("expected at most 100 messages"),
        "{error}"
    );

    // The type last: what comes before it is read again at each level.
    let close = ",\"@type\":\"type.googleapis.com/google.protobuf.Any\"}";
    let json = format!("{}{{}}{}", "{\"value\":".repeat(1_000), close.repeat(1_000));
    let error = options().from_str::<Any>(&json).unwrap_err();
    assert!(
        error.to_string().contains("expected at most 100 messages"),
        "{error}"
    );
}
