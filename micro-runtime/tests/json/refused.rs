//! What is no JSON of a message: where the error says it is, and what it says.

use micro_runtime::json;
use micro_runtime::prost_types::{ListValue, Struct, Value};

use crate::item::Item;

fn error(json: &str) -> String {
    match json::from_str::<Item>(json) {
        Ok(item) => panic!("{json} was read as {item:?}"),
        Err(error) => error.to_string(),
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
