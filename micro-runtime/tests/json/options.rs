//! What the options change: how fields are written, what is refused, what an `Any` may hold.

use micro_runtime::json::{self, Options, TypeRegistry};

use crate::item::Item;

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
