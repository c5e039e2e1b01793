//! What a feature makes of a field in Rust.

use micro_runtime::json::Options;
use micro_runtime::prost::Message;

use super::proto::constructs::{conflicts, edition2023, edition2024, recursion};

#[test]
fn presence_is_what_the_feature_says() {
    let presence = edition2023::Presence::default();
    let _: (i32, &str) = (presence.implicit, &presence.implicit_text);
    let _: (Option<i32>, &Option<String>) = (presence.explicit, &presence.explicit_text);
    let _: (i32, &str) = (presence.required, &presence.required_text);
    assert_eq!(presence.with_default(), -3);
    assert_eq!(presence.text_with_default(), "a\tb");
    assert_eq!(
        presence.closed_with_default(),
        edition2023::Closed::B,
        "the default of an enum of the edition"
    );
    // A closed enum without a 0 begins with what it has.
    assert_eq!(presence.required_closed(), edition2023::Closed::A);
    let _: Option<i32> = edition2024::Shown::default().number;
}

#[test]
fn an_explicit_zero_is_written() {
    let presence = edition2023::Presence {
        implicit: 0,
        explicit: Some(0),
        ..edition2023::Presence::default()
    };
    // Fields 2 (explicit), 3, 6 and 12 (required).
    assert_eq!(
        presence.encode_to_vec(),
        [0x10, 0, 0x18, 0, 0x32, 0, 0x60, 1]
    );
}

#[test]
fn numbers_that_a_closed_enum_does_not_have_are_kept() {
    // Other implementations keep them among the unknown fields. They are written again either way.
    let bytes: [u8; 2] = [0x58, 99];
    let presence = edition2023::Presence::decode(bytes.as_slice());
    assert_eq!(
        presence.map(|presence| presence.explicit_closed),
        Ok(Some(99))
    );
}

#[test]
fn fields_that_share_a_json_name_have_one_each() -> Result<(), Box<dyn std::error::Error>> {
    let message = conflicts::Twice {
        foo_1: Some(1),
        foo1: Some(2),
        other: Some(3),
        bar: Some(4),
    };
    let options = Options::new();
    let json = options.to_string(&message)?;
    assert_eq!(json, r#"{"foo_1":1,"foo1":2,"other":3,"bar":4}"#);
    assert_eq!(options.from_str::<conflicts::Twice>(&json)?, message);
    Ok(())
}

#[test]
fn messages_that_require_themselves_can_be_made() {
    let endless = recursion::Endless::default();
    assert_eq!(endless.again, None);
    assert_eq!(endless.delimited, None);
    // This one is no part of the circle.
    assert_eq!(endless.leaf, recursion::Leaf::default());
}
