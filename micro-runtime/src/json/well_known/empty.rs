//! `Empty`, and the enum `NullValue`.

use prost_types::NullValue;

use crate::json::message::{JsonEnum, JsonMessage};

impl JsonMessage for () {
    const NAME: &'static str = "google.protobuf.Empty";
}

impl JsonEnum for NullValue {
    const NAME: &'static str = "google.protobuf.NullValue";
    const NULL: bool = true;

    fn name(number: i32) -> Option<&'static str> {
        (number == 0).then_some("NULL_VALUE")
    }

    fn number(name: &str) -> Option<i32> {
        (name == "NULL_VALUE").then_some(0)
    }
}
