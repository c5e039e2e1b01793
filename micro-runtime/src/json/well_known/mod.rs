//! The types of `google/protobuf/*.proto`: those with a JSON form of their own, and, generated (`gen/`), the others.

mod any;
mod duration;
mod empty;
mod field_mask;
#[rustfmt::skip]
#[path = "gen/plain.rs"]
mod plain;
mod structure;
mod syntax;
mod timestamp;
mod twin;

use super::registry::TypeRegistry;

/// Adds them all.
pub(super) fn register_types(registry: &mut TypeRegistry) {
    registry.register::<prost_types::Any>();
    registry.register::<prost_types::Duration>();
    registry.register::<prost_types::FieldMask>();
    registry.register::<prost_types::ListValue>();
    registry.register::<prost_types::Struct>();
    registry.register::<prost_types::Timestamp>();
    registry.register::<prost_types::Value>();
    registry.register::<()>();
    registry.register::<bool>();
    registry.register::<i32>();
    registry.register::<i64>();
    registry.register::<u32>();
    registry.register::<u64>();
    registry.register::<f32>();
    registry.register::<f64>();
    registry.register::<String>();
    registry.register::<Vec<u8>>();
}

/// Appends the fraction of a second: a point and 3, 6 or 9 digits, or nothing.
fn push_fraction(nanos: u32, text: &mut String) {
    use std::fmt::Write as _;

    // Writing to a string cannot fail.
    let _ = match nanos {
        0 => Ok(()),
        nanos if nanos % 1_000_000 == 0 => write!(text, ".{:03}", nanos / 1_000_000),
        nanos if nanos % 1_000 == 0 => write!(text, ".{:06}", nanos / 1_000),
        nanos => write!(text, ".{nanos:09}"),
    };
}

/// The nanoseconds of a fraction of one to nine digits.
fn parse_fraction(digits: &str) -> Option<i32> {
    if digits.is_empty() || digits.len() > 9 || !digits.bytes().all(|digit| digit.is_ascii_digit())
    {
        return None;
    }
    let missing = u32::try_from(9 - digits.len()).ok()?;
    Some(digits.parse::<i32>().ok()? * 10_i32.pow(missing))
}
