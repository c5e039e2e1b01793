//! The enum `Syntax`, by hand: prost-types 0.14 does not know its latest value.

use prost_types::Syntax;

use crate::json::message::JsonEnum;

/// In the order of their numbers, from 0 (google/protobuf/type.proto).
const NAMES: [&str; 3] = ["SYNTAX_PROTO2", "SYNTAX_PROTO3", "SYNTAX_EDITIONS"];

impl JsonEnum for Syntax {
    const NAME: &'static str = "google.protobuf.Syntax";

    fn name(number: i32) -> Option<&'static str> {
        NAMES.get(usize::try_from(number).ok()?).copied()
    }

    fn number(name: &str) -> Option<i32> {
        (0..)
            .zip(NAMES)
            .find(|(_, known)| *known == name)
            .map(|(number, _)| number)
    }
}
