//! Messages in structs and formats of serde: JSON as text and as a value, CBOR, TOML.

mod proto {
    micro_runtime::include_proto!();
}

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;

use ciborium::Value as Cbor;
use micro_runtime::json::serde::Shape;
use micro_runtime::json::{self, JsonMessage, Options, Serde, TypeRegistry};
use micro_runtime::prost::Message;
use micro_runtime::prost_types::{Any, Duration, Struct, Timestamp, Value, value::Kind};
use proto::json_test::v1::{Color, Lists, Maps, Oneofs, Scalars, Tree, WellKnown};
use serde::de::value::{Error as ValueError, MapDeserializer};
use serde::{Deserialize, Serialize};

fn to_cbor(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).unwrap();
    bytes
}

fn from_cbor<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Result<T, String> {
    ciborium::from_reader(bytes).map_err(|error| error.to_string())
}

/// Writes a shape in every format, and reads it back.
fn there_and_back<T: Shape + PartialEq + Debug + Clone>(shape: &T) {
    let shape = Serde(shape.clone());

    let text = serde_json::to_string(&shape).unwrap();
    assert_eq!(
        serde_json::from_str::<Serde<T>>(&text).unwrap(),
        shape,
        "{text}"
    );
    let value = serde_json::to_value(&shape).unwrap();
    assert_eq!(
        serde_json::from_value::<Serde<T>>(value).unwrap(),
        shape,
        "{text}"
    );
    assert_eq!(
        from_cbor::<Serde<T>>(&to_cbor(&shape)).unwrap(),
        shape,
        "{text}"
    );

    // TOML's integers end at 2^63, and its documents are tables.
    #[derive(Serialize, Deserialize)]
    struct Table<S> {
        shape: S,
    }
    if !text.contains("null") {
        let toml = toml::to_string(&Table { shape }).unwrap();
        let again: Table<Serde<T>> = toml::from_str(&toml).unwrap();
        assert_eq!(serde_json::to_string(&again.shape).unwrap(), text, "{toml}");
    }
}

fn scalars() -> Scalars {
    Scalars {
        int32: i32::MIN,
        int64: i64::MIN,
        uint32: u32::MAX,
        uint64: u64::MAX,
        float: 0.1,
        double: 0.1 + 0.2,
        bool: true,
        string: "a \"quoted\" ä\n".to_owned(),
        bytes: vec![0, 255, 62],
        color: Color::Blue.into(),
        ..Scalars::default()
    }
}

#[test]
fn every_shape_in_every_format() {
    there_and_back(&Scalars::default());
    there_and_back(&scalars());
    there_and_back(&Lists {
        float: vec![f32::NEG_INFINITY, f32::MIN_POSITIVE, 16_777_216.0],
        double: vec![f64::MAX, f64::MIN_POSITIVE, 5e-324, -0.0, 1.0],
        int64: vec![i64::MAX, 0, -1],
        message: vec![scalars(), Scalars::default()],
        ..Lists::default()
    });
    there_and_back(&Maps {
        int32: HashMap::from([(-7, 1)]),
        bool: HashMap::from([(true, false)]),
        message: HashMap::from([("key \"".to_owned(), scalars())]),
        ..Maps::default()
    });
    there_and_back(&WellKnown {
        timestamp: Some(Timestamp {
            seconds: 1_763_884_800,
            nanos: 5,
        }),
        duration: Some(Duration {
            seconds: -1,
            nanos: -500_000_000,
        }),
        r#struct: Some(Struct {
            fields: BTreeMap::from([(
                "on".to_owned(),
                Value {
                    kind: Some(Kind::BoolValue(true)),
                },
            )])
            .into_iter()
            .collect(),
        }),
        int64_value: Some(1 << 60),
        ..WellKnown::default()
    });
    there_and_back(&Some(scalars()));
    there_and_back(&None::<Scalars>);
    there_and_back(&vec![scalars(), Scalars::default()]);
    there_and_back(&HashMap::from([(3_u64, scalars())]));
    there_and_back(&BTreeMap::from([("a".to_owned(), Box::new(scalars()))]));
    there_and_back(&u64::MAX);
    there_and_back(&vec![1_u8, 2, 3]);
}

#[test]
fn json_is_the_json_of_the_mapping() {
    let mut message = scalars();
    for double in [f64::NAN, f64::INFINITY, 1e300, 0.5] {
        message.double = double;
        let text = serde_json::to_string(&Serde(message.clone())).unwrap();
        assert_eq!(text, json::to_string(&message).unwrap());
    }
}

#[test]
fn a_struct_of_serde_holds_messages() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Config {
        name: String,
        #[serde(with = "micro_runtime::json::serde")]
        limit: Duration,
        #[serde(with = "micro_runtime::json::serde", default)]
        since: Option<Timestamp>,
        #[serde(with = "micro_runtime::json::serde", default)]
        colors: Vec<Scalars>,
        #[serde(with = "micro_runtime::json::serde", default)]
        by_id: HashMap<u64, Scalars>,
        #[serde(with = "micro_runtime::json::serde")]
        large: u64,
    }

    let text = r#"
        name = "front"
        limit = "1.5s"
        large = "18446744073709551615"
        colors = [{ color = "COLOR_RED" }, { int64 = 5, double = 1 }]

        [by_id.7]
        display_name = "not known, and so ignored"
        float = nan
    "#;
    let config: Config = toml::from_str(text).unwrap();
    assert_eq!((config.limit.seconds, config.limit.nanos), (1, 500_000_000));
    assert_eq!(config.since, None);
    assert_eq!(config.large, u64::MAX);
    assert_eq!(config.colors[0].color(), Color::Red);
    assert_eq!((config.colors[1].int64, config.colors[1].double), (5, 1.0));
    assert!(config.by_id[&7].float.is_nan());

    let again = toml::to_string(&config).unwrap();
    assert!(again.contains("limit = \"1.500s\""), "{again}");
    assert!(!again.contains("since"), "{again}");
    let json = serde_json::to_value(&config).unwrap();
    assert_eq!(json["since"], serde_json::Value::Null);
    assert_eq!(json["byId"], serde_json::Value::Null);
    assert_eq!(json["by_id"]["7"]["float"], "NaN");
}

#[test]
fn what_only_other_formats_can_say_is_read() {
    let text = |text: &str| Cbor::Text(text.to_owned());
    let map = |members: Vec<(Cbor, Cbor)>| to_cbor(&Cbor::Map(members));

    let bytes = map(vec![
        (text("bytes"), Cbor::Bytes(vec![0, 255])),
        (text("double"), Cbor::Float(f64::INFINITY)),
        (text("float"), Cbor::Float(0.1_f32.into())),
        (text("int32"), Cbor::Float(3.0)),
        (text("uint64"), Cbor::Integer(u64::MAX.into())),
        (text("color"), Cbor::Integer((-2).into())),
        (text("string"), Cbor::Null),
    ]);
    let message = from_cbor::<Serde<Scalars>>(&bytes).unwrap().0;
    assert_eq!(
        message,
        Scalars {
            bytes: vec![0, 255],
            double: f64::INFINITY,
            float: 0.1,
            int32: 3,
            uint64: u64::MAX,
            color: Color::Blue.into(),
            ..Scalars::default()
        }
    );

    let keys = map(vec![
        (
            text("int32"),
            Cbor::Map(vec![(Cbor::Integer((-7).into()), Cbor::Integer(1.into()))]),
        ),
        (
            text("bool"),
            Cbor::Map(vec![(Cbor::Bool(true), Cbor::Bool(true))]),
        ),
    ]);
    let maps = from_cbor::<Serde<Maps>>(&keys).unwrap().0;
    assert_eq!(maps.int32, HashMap::from([(-7, 1)]));
    assert_eq!(maps.bool, HashMap::from([(true, true)]));
}

#[test]
fn errors_keep_their_path() {
    let cases = [
        (
            r#"{"message": [{}, {"int32": "ten"}]}"#,
            "message[1].int32: expected a 32-bit integer",
        ),
        (
            r#"{"double": [0.5, null]}"#,
            "double[1]: expected a value, found null in a list",
        ),
        (
            r#"{"int32": [1], "int32": [2]}"#,
            "int32: expected each field once",
        ),
        (r#"{"timestamp": ["yesterday"]}"#, "timestamp[0]: expected"),
        ("[]", "expected an object, found a list"),
    ];
    for (text, expected) in cases {
        let error = serde_json::from_str::<Serde<Lists>>(text).unwrap_err();
        assert!(error.to_string().starts_with(expected), "{text}: {error}");
    }
    let error = serde_json::from_str::<Serde<Scalars>>("null").unwrap_err();
    assert!(
        error
            .to_string()
            .contains("expected json_test.v1.Scalars, found null"),
        "{error}"
    );

    let keys = to_cbor(&Cbor::Map(vec![(Cbor::Float(0.5), Cbor::Null)]));
    let error = from_cbor::<Serde<Scalars>>(&keys).unwrap_err();
    assert!(error.contains("expected a key that is a string"), "{error}");
}

#[test]
fn what_cannot_be_written_says_why() {
    let message = WellKnown {
        value: Some(Value {
            kind: Some(Kind::NumberValue(f64::NAN)),
        }),
        ..WellKnown::default()
    };
    let error = serde_json::to_string(&Serde(message)).unwrap_err();
    assert!(
        error.to_string().contains("expected a finite number"),
        "{error}"
    );
}

#[test]
fn nesting_has_an_end() {
    fn nested(levels: usize) -> Oneofs {
        use proto::json_test::v1::oneofs::Kind;
        (1..levels).fold(Oneofs::default(), |inner, _| Oneofs {
            kind: Some(Kind::Boxed(Box::new(inner))),
            ..Oneofs::default()
        })
    }
    let deepest = Serde(nested(100));
    let text = serde_json::to_string(&deepest).unwrap();
    assert_eq!(
        serde_json::from_str::<Serde<Oneofs>>(&text).unwrap(),
        deepest
    );
    assert_eq!(
        from_cbor::<Serde<Oneofs>>(&to_cbor(&deepest)).unwrap(),
        deepest
    );
    assert!(serde_json::to_string(&Serde(nested(101))).is_err());

    let deep = |levels: usize| {
        let mut cbor = vec![0x81; levels];
        cbor.push(0x80);
        cbor
    };
    // Ciborium has a limit of its own, at 256.
    let error = from_cbor::<Serde<Value>>(&deep(120)).unwrap_err();
    assert!(error.contains("expected at most 100 messages"), "{error}");
    let error = from_cbor::<Serde<Value>>(&deep(220)).unwrap_err();
    assert!(
        error.contains("expected at most 200 lists and objects"),
        "{error}"
    );
}

#[test]
fn options_are_honoured() {
    let mut types = TypeRegistry::well_known();
    proto::json_test::v1::register_types(&mut types);
    let options = Options::new()
        .types(types)
        .proto_names(true)
        .emit_defaults(true);
    let any = Any {
        type_url: format!("type.googleapis.com/{}", <Scalars as JsonMessage>::NAME),
        value: scalars().encode_to_vec(),
    };
    let value = options
        .serialize(&any, serde_json::value::Serializer)
        .unwrap();
    assert_eq!(value["int32"], i32::MIN);
    assert_eq!(options.deserialize::<Any, _>(&value).unwrap(), any);
    assert!(Options::new().deserialize::<Any, _>(&value).is_err());

    let strict = Options::new().reject_unknown_fields(true);
    let unknown = serde_json::json!({"colour": 1});
    assert!(strict.deserialize::<Scalars, _>(&unknown).is_err());
    assert!(Options::new().deserialize::<Scalars, _>(&unknown).is_ok());

    let tree = Tree::default();
    let value = options
        .serialize(&tree, serde_json::value::Serializer)
        .unwrap();
    let text: serde_json::Value = serde_json::from_str(&options.to_string(&tree).unwrap()).unwrap();
    assert_eq!(value, text);
}

/// serde_json gives numbers as a map of one key, if a crate of the program turns on its `arbitrary_precision`.
#[test]
fn numbers_in_disguise_are_numbers() {
    let read = |key: &str, text: &str| {
        let number =
            MapDeserializer::<_, ValueError>::new([(key.to_owned(), text.to_owned())].into_iter());
        Options::new().deserialize::<Value, _>(number).unwrap().kind
    };
    let key = "$serde_json::private::Number";
    assert_eq!(read(key, "1.5e3"), Some(Kind::NumberValue(1500.0)));
    // What is no number is no way into the text either.
    for (key, text) in [(key, "1} {"), (key, "\"x\""), ("other", "1.5")] {
        let Some(Kind::StructValue(value)) = read(key, text) else {
            panic!("expected a struct for {key} and {text}");
        };
        assert_eq!(
            value.fields[key].kind,
            Some(Kind::StringValue(text.to_owned()))
        );
    }
}
