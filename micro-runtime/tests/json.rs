//! The JSON mapping on a message that is written out by hand, as generated code has it: every shape of field, and
//! every way to get one wrong.

use std::collections::{BTreeMap, HashMap};

use micro_runtime::json::{
    self, JsonEnum, JsonMessage, JsonReader, JsonWriter, Merged, Options, TypeRegistry,
};
use micro_runtime::prost_types::{Any, FieldMask, ListValue, NullValue, Struct, Timestamp, Value};

#[derive(Clone, PartialEq, prost::Message)]
struct Item {
    #[prost(string, tag = "1")]
    display_name: String,
    #[prost(int64, tag = "2")]
    price: i64,
    #[prost(enumeration = "Color", tag = "3")]
    color: i32,
    #[prost(float, tag = "4")]
    weight: f32,
    #[prost(bytes = "vec", tag = "5")]
    data: Vec<u8>,
    #[prost(bool, optional, tag = "6")]
    sold: Option<bool>,
    #[prost(uint32, repeated, tag = "7")]
    sizes: Vec<u32>,
    #[prost(enumeration = "Color", repeated, tag = "8")]
    colors: Vec<i32>,
    #[prost(map = "string, message", tag = "9")]
    parts: HashMap<String, Item>,
    #[prost(btree_map = "int32, enumeration(Color)", tag = "10")]
    shades: BTreeMap<i32, i32>,
    #[prost(message, optional, boxed, tag = "11")]
    parent: Option<Box<Item>>,
    #[prost(message, repeated, tag = "12")]
    children: Vec<Item>,
    #[prost(message, optional, tag = "13")]
    made: Option<Timestamp>,
    #[prost(message, optional, tag = "14")]
    note: Option<Value>,
    #[prost(message, optional, tag = "15")]
    limit: Option<u64>,
    #[prost(message, optional, tag = "16")]
    any: Option<Any>,
    #[prost(message, optional, tag = "17")]
    mask: Option<FieldMask>,
    #[prost(message, optional, tag = "18")]
    nothing: Option<()>,
    #[prost(oneof = "Kind", tags = "19, 20, 21, 22, 200")]
    kind: Option<Kind>,
    #[prost(double, tag = "100")]
    ratio: f64,
    #[prost(bytes = "bytes", repeated, tag = "101")]
    blobs: Vec<bytes::Bytes>,
    #[prost(btree_map = "bool, string", tag = "102")]
    answers: BTreeMap<bool, String>,
    #[prost(enumeration = "Color", optional, tag = "103")]
    background: Option<i32>,
    #[prost(message, optional, tag = "104")]
    details: Option<Struct>,
    #[prost(message, optional, tag = "105")]
    list: Option<ListValue>,
    #[prost(message, repeated, tag = "106")]
    notes: Vec<Value>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Kind {
    #[prost(string, tag = "19")]
    Text(String),
    #[prost(message, tag = "20")]
    Nested(Box<Item>),
    #[prost(enumeration = "Color", tag = "21")]
    Shade(i32),
    #[prost(enumeration = "NullValue", tag = "22")]
    Nil(i32),
    #[prost(int64, tag = "200")]
    Number(i64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
enum Color {
    None = 0,
    Red = 1,
    Blue = -2,
}

impl JsonEnum for Color {
    const NAME: &'static str = "test.Color";

    fn name(number: i32) -> Option<&'static str> {
        match number {
            0 => Some("NONE"),
            1 => Some("RED"),
            -2 => Some("BLUE"),
            _ => None,
        }
    }

    fn number(name: &str) -> Option<i32> {
        match name {
            "NONE" => Some(0),
            "RED" | "CRIMSON" => Some(1),
            "BLUE" => Some(-2),
            _ => None,
        }
    }
}

impl JsonMessage for Item {
    const NAME: &'static str = "test.Item";

    fn write_fields(&self, w: &mut JsonWriter<'_>) -> json::Result<()> {
        w.field("displayName", "display_name", &self.display_name)?;
        w.field("price", "price", &self.price)?;
        w.enumeration::<Color, _>("color", "color", &self.color)?;
        w.field("weight", "weight", &self.weight)?;
        w.field("data", "data", &self.data)?;
        w.field("sold", "sold", &self.sold)?;
        w.field("sizes", "sizes", &self.sizes)?;
        w.enumeration::<Color, _>("colors", "colors", &self.colors)?;
        w.field("parts", "parts", &self.parts)?;
        w.enumeration::<Color, _>("shades", "shades", &self.shades)?;
        w.field("parent", "parent", &self.parent)?;
        w.field("children", "children", &self.children)?;
        w.field("made", "made", &self.made)?;
        w.field("note", "note", &self.note)?;
        w.field("limit", "limit", &self.limit)?;
        w.field("any", "any", &self.any)?;
        w.field("mask", "mask", &self.mask)?;
        w.field("nothing", "nothing", &self.nothing)?;
        match &self.kind {
            Some(Kind::Text(value)) => w.required("text", "text", value)?,
            Some(Kind::Nested(value)) => w.required("nested", "nested", value)?,
            Some(Kind::Shade(value)) => w.required_enumeration::<Color>("shade", "shade", value)?,
            Some(Kind::Nil(value)) => w.required_enumeration::<NullValue>("nil", "nil", value)?,
            Some(Kind::Number(value)) => w.required("number", "number", value)?,
            None => {}
        }
        w.field("ratio", "ratio", &self.ratio)?;
        w.field("blobs", "blobs", &self.blobs)?;
        w.field("answers", "answers", &self.answers)?;
        w.enumeration::<Color, _>("background", "background", &self.background)?;
        w.field("details", "details", &self.details)?;
        w.field("list", "list", &self.list)?;
        w.field("notes", "notes", &self.notes)
    }

    fn merge_field(&mut self, key: &str, r: &mut JsonReader<'_>) -> json::Result<Merged> {
        match key {
            "displayName" | "display_name" => r.field(1, &mut self.display_name),
            "price" => r.field(2, &mut self.price),
            "color" => r.enumeration::<Color, _>(3, &mut self.color),
            "weight" => r.field(4, &mut self.weight),
            "data" => r.field(5, &mut self.data),
            "sold" => r.field(6, &mut self.sold),
            "sizes" => r.field(7, &mut self.sizes),
            "colors" => r.enumeration::<Color, _>(8, &mut self.colors),
            "parts" => r.field(9, &mut self.parts),
            "shades" => r.enumeration::<Color, _>(10, &mut self.shades),
            "parent" => r.field(11, &mut self.parent),
            "children" => r.field(12, &mut self.children),
            "made" => r.field(13, &mut self.made),
            "note" => r.field(14, &mut self.note),
            "limit" => r.field(15, &mut self.limit),
            "any" => r.field(16, &mut self.any),
            "mask" => r.field(17, &mut self.mask),
            "nothing" => r.field(18, &mut self.nothing),
            "text" => r.oneof(19, "kind", &mut self.kind, Kind::Text),
            "nested" => r.oneof(20, "kind", &mut self.kind, Kind::Nested),
            "shade" => r.oneof_enumeration::<Color, _>(21, "kind", &mut self.kind, Kind::Shade),
            "nil" => r.oneof_enumeration::<NullValue, _>(22, "kind", &mut self.kind, Kind::Nil),
            "number" => r.oneof(200, "kind", &mut self.kind, Kind::Number),
            "ratio" => r.field(100, &mut self.ratio),
            "blobs" => r.field(101, &mut self.blobs),
            "answers" => r.field(102, &mut self.answers),
            "background" => r.enumeration::<Color, _>(103, &mut self.background),
            "details" => r.field(104, &mut self.details),
            "list" => r.field(105, &mut self.list),
            "notes" => r.field(106, &mut self.notes),
            _ => Ok(Merged::Unknown),
        }
    }
}

/// Reads, and writes what was read.
fn canonical(json: &str) -> String {
    let item: Item = json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"));
    let text = json::to_string(&item).unwrap_or_else(|error| panic!("{json}: {error}"));
    let again: Item = json::from_str(&text).unwrap();
    // By the debug text, as NaN is not equal to itself.
    assert_eq!(format!("{again:?}"), format!("{item:?}"), "{text}");
    let mut appended = b"before".to_vec();
    Options::new().append_to(&item, &mut appended).unwrap();
    assert_eq!(&appended[6..], text.as_bytes());
    let pretty = Options::new()
        .pretty(true)
        .proto_names(true)
        .to_string(&item)
        .unwrap();
    let again: Item = json::from_str(&pretty).unwrap();
    assert_eq!(format!("{again:?}"), format!("{item:?}"), "{pretty}");
    text
}

fn error(json: &str) -> String {
    match json::from_str::<Item>(json) {
        Ok(item) => panic!("{json} was read as {item:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn reads_and_writes_every_shape() {
    let cases = [
        ("{}", "{}"),
        (r#" { "price" : 1 } "#, r#"{"price":"1"}"#),
        (
            r#"{"display_name":"a\u00e9\n\ud83d\ude00"}"#,
            "{\"displayName\":\"aé\\n😀\"}",
        ),
        (r#"{"displa\u0079Name":"x"}"#, r#"{"displayName":"x"}"#),
        (
            r#"{"price":"9223372036854775807"}"#,
            r#"{"price":"9223372036854775807"}"#,
        ),
        (
            r#"{"price":9007199254740993.0}"#,
            r#"{"price":"9007199254740993"}"#,
        ),
        (
            r#"{"price":-1e2,"weight":0.1}"#,
            r#"{"price":"-100","weight":0.1}"#,
        ),
        (r#"{"price":"1e2"}"#, r#"{"price":"100"}"#),
        (
            r#"{"price":null,"sizes":null,"parts":null,"parent":null}"#,
            "{}",
        ),
        (r#"{"color":"BLUE"}"#, r#"{"color":"BLUE"}"#),
        (r#"{"color":"CRIMSON"}"#, r#"{"color":"RED"}"#),
        (r#"{"color":1}"#, r#"{"color":"RED"}"#),
        (r#"{"color":7}"#, r#"{"color":7}"#),
        (r#"{"color":"-2"}"#, r#"{"color":"BLUE"}"#),
        (
            r#"{"color":"PUCE","colors":["RED","PUCE",1,-2.0]}"#,
            r#"{"colors":["RED","RED","BLUE"]}"#,
        ),
        (r#"{"weight":"NaN"}"#, r#"{"weight":"NaN"}"#),
        (r#"{"ratio":"-Infinity"}"#, r#"{"ratio":"-Infinity"}"#),
        (r#"{"ratio":-0.0}"#, r#"{"ratio":-0.0}"#),
        (r#"{"ratio":"1.5e3"}"#, r#"{"ratio":1500.0}"#),
        (r#"{"data":"-_8"}"#, r#"{"data":"+/8="}"#),
        (r#"{"sold":false}"#, r#"{"sold":false}"#),
        (r#"{"sizes":[]}"#, "{}"),
        (r#"{"sizes":[1,"2",3.0]}"#, r#"{"sizes":[1,2,3]}"#),
        (
            r#"{"parts":{"a":{"parts":{"b":{}}}}}"#,
            r#"{"parts":{"a":{"parts":{"b":{}}}}}"#,
        ),
        (
            r#"{"shades":{"-1":"RED","7":-2}}"#,
            r#"{"shades":{"-1":"RED","7":"BLUE"}}"#,
        ),
        (r#"{"shades":{"1":"PUCE"}}"#, "{}"),
        (r#"{"parent":{"parent":{}}}"#, r#"{"parent":{"parent":{}}}"#),
        (
            r#"{"children":[{},{"price":"1"}]}"#,
            r#"{"children":[{},{"price":"1"}]}"#,
        ),
        (
            r#"{"made":"2026-11-23T06:00:00.5+01:00"}"#,
            r#"{"made":"2026-11-23T05:00:00.500Z"}"#,
        ),
        (r#"{"note":null}"#, r#"{"note":null}"#),
        (
            r#"{"note":{"a":[1,null,{"b":"c"}],"d":true}}"#,
            r#"{"note":{"a":[1.0,null,{"b":"c"}],"d":true}}"#,
        ),
        (r#"{"notes":[null,1e2,[]]}"#, r#"{"notes":[null,100.0,[]]}"#),
        (r#"{"details":{"a":null}}"#, r#"{"details":{"a":null}}"#),
        (r#"{"list":[null,[]]}"#, r#"{"list":[null,[]]}"#),
        (r#"{"details":null,"list":null}"#, "{}"),
        (r#"{"limit":0}"#, r#"{"limit":"0"}"#),
        (r#"{"any":{}}"#, r#"{"any":{}}"#),
        (
            r#"{"mask":"displayName,parent.price"}"#,
            r#"{"mask":"displayName,parent.price"}"#,
        ),
        (r#"{"mask":""}"#, r#"{"mask":""}"#),
        (r#"{"nothing":{}}"#, r#"{"nothing":{}}"#),
        (r#"{"text":""}"#, r#"{"text":""}"#),
        (r#"{"text":null,"number":5}"#, r#"{"number":"5"}"#),
        (r#"{"nested":{"text":"x"}}"#, r#"{"nested":{"text":"x"}}"#),
        (r#"{"shade":0}"#, r#"{"shade":"NONE"}"#),
        (r#"{"nil":null}"#, r#"{"nil":null}"#),
        (r#"{"nil":"NULL_VALUE"}"#, r#"{"nil":null}"#),
        (r#"{"blobs":["AA==",""]}"#, r#"{"blobs":["AA==",""]}"#),
        (
            r#"{"answers":{"true":"y","false":"n"}}"#,
            r#"{"answers":{"false":"n","true":"y"}}"#,
        ),
        (r#"{"background":"NONE"}"#, r#"{"background":"NONE"}"#),
        (
            r#"{"unknown":[{"x":1e999,"y":[]}],"price":1}"#,
            r#"{"price":"1"}"#,
        ),
        (
            r#"{"$serde_json::private::Number":"1","price":1}"#,
            r#"{"price":"1"}"#,
        ),
        (
            r#"{"note":{"$serde_json::private::Number":"1"}}"#,
            r#"{"note":{"$serde_json::private::Number":"1"}}"#,
        ),
    ];
    for (json, expected) in cases {
        assert_eq!(canonical(json), expected, "{json}");
    }
}

#[test]
fn errors_name_the_place() {
    let cases = [
        (
            r#"{"children":[{},{},{},{"price":"ten"}]}"#,
            "children[3].price: expected a 64-bit integer, found \"ten\"",
        ),
        (
            "{\n  \"parts\": {\"a b\": {\"weight\": true}}\n}",
            "parts[\"a b\"].weight: expected a float, found true",
        ),
        (
            r#"{"price":1,"price":2}"#,
            "price: expected each field once, found it twice",
        ),
        (
            r#"{"displayName":"a","display_name":"b"}"#,
            "display_name: expected each field once, found it twice",
        ),
        (
            r#"{"text":"a","number":1}"#,
            "number: expected one member of the oneof kind at most, found a second one",
        ),
        (
            r#"{"parts":{"a":{},"a":{}}}"#,
            "parts[\"a\"]: expected each key once, found it twice",
        ),
        (
            r#"{"sizes":[1,null]}"#,
            "sizes[1]: expected a value, found null in a list",
        ),
        (
            r#"{"parts":{"a":null}}"#,
            "parts[\"a\"]: expected a value, found null in a map",
        ),
        (
            r#"{"children":[null]}"#,
            "children[0]: expected a value, found null in a list",
        ),
        (
            r#"{"sizes":[4294967296]}"#,
            "sizes[0]: expected an unsigned 32-bit integer, found 4294967296",
        ),
        (r#"{"sizes":-1}"#, "sizes: expected a list, found -1"),
        (r#"{"parts":[]}"#, "parts: expected an object, found a list"),
        (r#"{"parent":1}"#, "parent: expected an object, found 1"),
        (
            r#"{"displayName":{"a":{}}}"#,
            "displayName: expected a string, found an object",
        ),
        (
            r#"{"shades":{"1.5":0}}"#,
            "shades[\"1.5\"]: expected a 32-bit integer as a key, found \"1.5\"",
        ),
        (
            r#"{"answers":{"yes":"y"}}"#,
            "answers[\"yes\"]: expected \"true\" or \"false\" as a key, found \"yes\"",
        ),
        (r#"{"data":"?"}"#, "data: expected base64, found \"?\""),
        (
            r#"{"color":true}"#,
            "color: expected a value of the enum test.Color, found true",
        ),
        (
            r#"{"color":1.5}"#,
            "color: expected a 32-bit integer, found 1.5",
        ),
        (
            r#"{"price":0.5}"#,
            "price: expected a 64-bit integer, found 0.5",
        ),
        (
            r#"{"any":{"@type":"x/test.Unknown","a":1}}"#,
            "any.@type: expected the URL of a registered type in an Any, found \"x/test.Unknown\"; register it with \
             TypeRegistry::register",
        ),
        (
            r#"{"any":{"a":1}}"#,
            "any: expected an Any with the key \"@type\", found none",
        ),
        ("null", "expected test.Item, found null"),
        ("[]", "expected an object, found a list"),
    ];
    for (json, expected) in cases {
        let error = error(json);
        let (error, _) = error.split_once(" (line ").unwrap_or((&error, ""));
        assert_eq!(error, expected, "{json}");
    }
}

#[test]
fn errors_name_line_and_column() {
    let text = "{\n  \"children\": [\n    {\"price\": 1.5}\n  ]\n}";
    let error = json::from_str::<Item>(text).unwrap_err();
    assert_eq!((error.line(), error.column()), (Some(3), Some(18)));
    assert_eq!(error.path(), "children[0].price");
    assert!(
        error.to_string().ends_with(" (line 3, column 18)"),
        "{error}"
    );
}

#[test]
fn refuses_what_is_not_json() {
    for json in [
        "",
        " ",
        "{",
        "{}x",
        "{},",
        "{\"price\":01}",
        "{\"price\":1,}",
        "{price:1}",
        "{'price':1}",
        "{\"price\":NaN}",
        "{\"price\":+1}",
        "{\"displayName\":\"\\ud800\"}",
        "{\"displayName\":\"\n\"}",
        "\u{feff}{}",
        "{\"unknown\":[1,}",
    ] {
        let error = json::from_str::<Item>(json).expect_err(json);
        assert!(error.is_syntax(), "{json}: {error}");
        assert!(error.line().is_some(), "{json}: {error}");
    }
    assert!(
        json::from_slice::<Item>(b"{\"displayName\":\"\xff\"}")
            .unwrap_err()
            .is_syntax()
    );
}

#[test]
fn numbers_have_a_range() {
    // serde_json's error or ours: that depends on the features that the rest of a program turns on.
    for json in [
        r#"{"ratio":1e400}"#,
        r#"{"weight":1e39}"#,
        r#"{"price":1e19}"#,
        r#"{"note":-1e400}"#,
    ] {
        assert!(json::from_str::<Item>(json).is_err(), "{json}");
    }
}

#[test]
fn counts_nested_messages() {
    let nested = |depth: usize, open: &str, close: &str| {
        format!("{}{{}}{}", open.repeat(depth), close.repeat(depth))
    };

    for (open, close) in [
        ("{\"parent\":", "}"),
        ("{\"children\":[", "]}"),
        ("{\"parts\":{\"\":", "}}"),
    ] {
        let json = nested(99, open, close);
        let item: Item = json::from_str(&json).unwrap();
        assert_eq!(json::to_string(&item).unwrap(), json);
        let error = json::from_str::<Item>(&nested(100, open, close)).unwrap_err();
        assert!(
            error.to_string().contains("expected at most 100 messages"),
            "{error}"
        );

        let deeper = Item {
            parent: Some(Box::new(item)),
            ..Item::default()
        };
        let error = json::to_string(&deeper).unwrap_err();
        assert!(
            error.to_string().contains("expected at most 100 messages"),
            "{error}"
        );
    }
    assert!(json::from_str::<Value>(&nested(99, "[", "]")).is_ok());
    assert!(json::from_str::<Value>(&nested(100, "[", "]")).is_err());
    assert!(json::from_str::<ListValue>(&nested(100, "[", "]")).is_err());
    assert!(json::from_str::<Struct>(&nested(100, "{\"a\":", "}")).is_err());
    assert!(json::from_str::<Value>(&"[".repeat(1_000_000)).is_err());
    assert!(json::from_str::<Item>(&format!("{{\"unknown\":{}", "[".repeat(1_000_000))).is_err());

    let skipped = format!("{{\"unknown\":{}}}", nested(100_000, "[", "]"));
    assert!(json::from_str::<Item>(&skipped).is_ok());
}

#[test]
fn options_change_what_is_written() {
    let item: Item = json::from_str(r#"{"displayName":"x","color":1,"sold":false}"#).unwrap();
    let written = |options: Options| options.to_string(&item).unwrap();

    assert_eq!(
        written(Options::new().proto_names(true)),
        r#"{"display_name":"x","color":"RED","sold":false}"#
    );
    assert_eq!(
        written(Options::new().enums_as_numbers(true)),
        r#"{"displayName":"x","color":1,"sold":false}"#
    );
    assert_eq!(
        written(Options::new().pretty(true)),
        "{\n  \"displayName\": \"x\",\n  \"color\": \"RED\",\n  \"sold\": false\n}"
    );
    assert_eq!(
        written(Options::new().emit_defaults(true)),
        r#"{"displayName":"x","price":"0","color":"RED","weight":0.0,"data":"","sold":false,"sizes":[],"colors":[],"parts":{},"shades":{},"children":[],"ratio":0.0,"blobs":[],"answers":{},"notes":[]}"#
    );
    assert_eq!(
        Options::new()
            .pretty(true)
            .to_string(&Item::default())
            .unwrap(),
        "{}"
    );
}

#[test]
fn unknown_fields_are_refused_on_demand() {
    let strict = Options::new().reject_unknown_fields(true);
    let error = strict
        .from_str::<Item>(r#"{"parent":{"prize":1}}"#)
        .unwrap_err();
    assert!(error.is_unknown_field());
    assert_eq!(error.path(), "parent.prize");
    assert!(
        error
            .to_string()
            .starts_with("parent.prize: test.Item has no such field"),
        "{error}"
    );
    for json in [
        r#"{"color":"PUCE"}"#,
        r#"{"colors":["PUCE"]}"#,
        r#"{"shades":{"1":"PUCE"}}"#,
    ] {
        let error = strict.from_str::<Item>(json).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("expected a value of the enum test.Color, found \"PUCE\""),
            "{error}"
        );
    }
    assert_eq!(strict.from_str::<Item>(r#"{"color":7}"#).unwrap().color, 7);
}

#[test]
fn any_holds_registered_types() {
    let mut types = TypeRegistry::well_known();
    types.register::<Item>();
    let options = Options::new().types(types);
    for (json, expected) in [
        (
            r#"{"any":{"@type":"x/test.Item","price":1}}"#,
            r#"{"any":{"@type":"x/test.Item","price":"1"}}"#,
        ),
        (
            r#"{"any":{"price":1,"sold":true,"@type":"x/test.Item","weight":2}}"#,
            r#"{"any":{"@type":"x/test.Item","price":"1","weight":2.0,"sold":true}}"#,
        ),
        (
            r#"{"any":{"value":"1s","@type":"x/google.protobuf.Duration"}}"#,
            r#"{"any":{"@type":"x/google.protobuf.Duration","value":"1s"}}"#,
        ),
        (
            r#"{"any":{"@type":"x/google.protobuf.Any","value":{"@type":"x/google.protobuf.StringValue","value":"a"}}}"#,
            r#"{"any":{"@type":"x/google.protobuf.Any","value":{"@type":"x/google.protobuf.StringValue","value":"a"}}}"#,
        ),
        (
            r#"{"any":{"@type":"x/google.protobuf.Value","value":null}}"#,
            r#"{"any":{"@type":"x/google.protobuf.Value","value":null}}"#,
        ),
        (
            r#"{"any":{"@type":"x/google.protobuf.Empty"}}"#,
            r#"{"any":{"@type":"x/google.protobuf.Empty"}}"#,
        ),
    ] {
        let item: Item = options
            .from_str(json)
            .unwrap_or_else(|error| panic!("{json}: {error}"));
        assert_eq!(options.to_string(&item).unwrap(), expected, "{json}");
    }
    for json in [
        r#"{"any":{"@type":"x/test.Item","@type":"x/test.Item"}}"#,
        r#"{"any":{"@type":"x/test.Item","price":1,"price":1}}"#,
        r#"{"any":{"price":1,"@type":"x/test.Item","price":1}}"#,
        r#"{"any":{"price":"x","@type":"x/test.Item"}}"#,
        r#"{"any":{"@type":"","price":1}}"#,
        r#"{"any":{"@type":1}}"#,
        r#"{"any":{"@type":"x/google.protobuf.Duration"}}"#,
        r#"{"any":{"@type":"x/google.protobuf.Duration","value":null}}"#,
    ] {
        assert!(options.from_str::<Item>(json).is_err(), "{json}");
    }
}

#[test]
fn writing_can_fail_and_leaves_the_buffer_alone() {
    let cases = [
        Item {
            made: Some(Timestamp {
                seconds: i64::MAX,
                nanos: 0,
            }),
            ..Item::default()
        },
        Item {
            note: Some(Value::from(f64::NAN)),
            ..Item::default()
        },
        Item {
            mask: Some(FieldMask {
                paths: vec!["fooBar".to_owned()],
            }),
            ..Item::default()
        },
        Item {
            any: Some(Any {
                type_url: "x/test.Unknown".to_owned(),
                value: Vec::new(),
            }),
            ..Item::default()
        },
        Item {
            any: Some(Any {
                type_url: "x/google.protobuf.Duration".to_owned(),
                value: vec![0xff],
            }),
            ..Item::default()
        },
    ];
    for item in cases {
        let mut buffer = b"before".to_vec();
        Options::new()
            .append_to(&item, &mut buffer)
            .expect_err("nothing to write");
        assert_eq!(buffer, b"before");
    }
}
