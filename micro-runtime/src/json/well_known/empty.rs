//! `Empty`, and the enum `NullValue`.

use prost_types::NullValue;

use crate::json::error::Result;
use crate::json::message::{JsonEnum, JsonMessage, Merged};
use crate::json::reader::JsonReader;
use crate::json::writer::JsonWriter;

impl JsonMessage for () {
    const NAME: &'static str = "google.protobuf.Empty";

    fn write_fields(&self, _: &mut JsonWriter<'_>) -> Result<()> {
        Ok(())
    }

    fn merge_field(&mut self, _: &str, _: &mut JsonReader<'_>) -> Result<Merged> {
        Ok(Merged::Unknown)
    }
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
