//! The JSON mapping on a message that is written out by hand, as generated code has it: every shape of field, and
//! every way to get one wrong.
//!
//! - [`item`]: the message
//! - [`refused`]: what is no JSON of it
//! - [`options`]: what the options change

mod item;
mod options;
mod refused;

use micro_runtime::json::{self, Options};
use micro_runtime::prost_types::{Any, FieldMask, Timestamp, Value};

use item::Item;

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
