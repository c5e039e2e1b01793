//! `Struct`, `Value` and `ListValue`: any JSON.

use prost_types::value::Kind;
use prost_types::{ListValue, NullValue, Struct, Value};

use crate::json::error::{JsonError, Result};
use crate::json::message::{JsonMessage, Merged, Parsed};
use crate::json::number;
use crate::json::reader::JsonReader;
use crate::json::source::Token;
use crate::json::writer::JsonWriter;

impl JsonMessage for Value {
    const NAME: &'static str = "google.protobuf.Value";
    const SPECIAL: bool = true;

    fn write_fields(&self, w: &mut JsonWriter<'_>) -> Result<()> {
        match &self.kind {
            Some(Kind::NullValue(value)) => {
                w.required_enumeration::<NullValue>("nullValue", "null_value", value)
            }
            Some(Kind::NumberValue(value)) => w.required("numberValue", "number_value", value),
            Some(Kind::StringValue(value)) => w.required("stringValue", "string_value", value),
            Some(Kind::BoolValue(value)) => w.required("boolValue", "bool_value", value),
            Some(Kind::StructValue(value)) => w.required("structValue", "struct_value", value),
            Some(Kind::ListValue(value)) => w.required("listValue", "list_value", value),
            None => Ok(()),
        }
    }

    fn merge_field(&mut self, key: &str, r: &mut JsonReader<'_>) -> Result<Merged> {
        match key {
            "nullValue" | "null_value" => {
                r.oneof_enumeration::<NullValue, _>(1, "kind", &mut self.kind, Kind::NullValue)
            }
            "numberValue" | "number_value" => r.oneof(2, "kind", &mut self.kind, Kind::NumberValue),
            "stringValue" | "string_value" => r.oneof(3, "kind", &mut self.kind, Kind::StringValue),
            "boolValue" | "bool_value" => r.oneof(4, "kind", &mut self.kind, Kind::BoolValue),
            "structValue" | "struct_value" => r.oneof(5, "kind", &mut self.kind, Kind::StructValue),
            "listValue" | "list_value" => r.oneof(6, "kind", &mut self.kind, Kind::ListValue),
            _ => Ok(Merged::Unknown),
        }
    }

    fn write_value(&self, w: &mut JsonWriter<'_>) -> Result<()> {
        match &self.kind {
            None | Some(Kind::NullValue(_)) => w.null(),
            Some(Kind::NumberValue(value)) if value.is_finite() => w.double(*value),
            Some(Kind::NumberValue(value)) => Err(JsonError::write(format_args!(
                "expected a finite number in a Value, found {value}"
            ))),
            Some(Kind::StringValue(value)) => w.string(value),
            Some(Kind::BoolValue(value)) => w.bool(*value),
            Some(Kind::StructValue(value)) => value.write_value(w),
            Some(Kind::ListValue(value)) => value.write_value(w),
        }
    }

    fn read_value(r: &mut JsonReader<'_>) -> Result<Parsed<Value>> {
        let mut list = ListValue::default();
        let mut structure = Struct::default();
        let token = r.anything(
            &mut |r| {
                list.values.push(read(r)?);
                Ok(())
            },
            &mut |key, r| insert(&mut structure, key, r),
        )?;
        let kind = match token {
            Token::Null => Kind::NullValue(NullValue::NullValue.into()),
            Token::Bool(value) => Kind::BoolValue(value),
            Token::Text(text) => Kind::StringValue(text.into_owned()),
            Token::List => Kind::ListValue(list),
            Token::Object => Kind::StructValue(structure),
            number => Kind::NumberValue(number::float(&number)?),
        };
        Ok(Parsed::Value(Value { kind: Some(kind) }))
    }
}

impl JsonMessage for Struct {
    const NAME: &'static str = "google.protobuf.Struct";
    const SPECIAL: bool = true;

    fn write_fields(&self, w: &mut JsonWriter<'_>) -> Result<()> {
        w.field("fields", "fields", &self.fields)
    }

    fn merge_field(&mut self, key: &str, r: &mut JsonReader<'_>) -> Result<Merged> {
        match key {
            "fields" => r.field(1, &mut self.fields),
            _ => Ok(Merged::Unknown),
        }
    }

    fn write_value(&self, w: &mut JsonWriter<'_>) -> Result<()> {
        w.object(|w| {
            for (key, value) in &self.fields {
                w.separate();
                w.string(key)?;
                w.colon();
                value.write_value(w)?;
            }
            Ok(())
        })
    }

    fn read_value(r: &mut JsonReader<'_>) -> Result<Parsed<Struct>> {
        let mut structure = Struct::default();
        let read = r.object(&mut |key, r| insert(&mut structure, key, r))?;
        Ok(read.map(|()| structure))
    }
}

impl JsonMessage for ListValue {
    const NAME: &'static str = "google.protobuf.ListValue";
    const SPECIAL: bool = true;

    fn write_fields(&self, w: &mut JsonWriter<'_>) -> Result<()> {
        w.field("values", "values", &self.values)
    }

    fn merge_field(&mut self, key: &str, r: &mut JsonReader<'_>) -> Result<Merged> {
        match key {
            "values" => r.field(1, &mut self.values),
            _ => Ok(Merged::Unknown),
        }
    }

    fn write_value(&self, w: &mut JsonWriter<'_>) -> Result<()> {
        w.nested(|w| {
            w.list(|w| {
                for value in &self.values {
                    w.separate();
                    value.write_value(w)?;
                }
                Ok(())
            })
        })
    }

    fn read_value(r: &mut JsonReader<'_>) -> Result<Parsed<ListValue>> {
        let mut list = ListValue::default();
        let read = r.nested_list(&mut |r| {
            list.values.push(read(r)?);
            Ok(())
        })?;
        Ok(read.map(|()| list))
    }
}

/// Reads any value; null is one, too.
fn read(r: &mut JsonReader<'_>) -> Result<Value> {
    match Value::read_value(r)? {
        Parsed::Value(value) => Ok(value),
        Parsed::Null | Parsed::Unknown => Ok(Value::default()),
    }
}

fn insert(structure: &mut Struct, key: &str, r: &mut JsonReader<'_>) -> Result<()> {
    match structure.fields.insert(key.to_owned(), read(r)?) {
        None => Ok(()),
        Some(_) => Err(JsonError::data("expected each key once, found it twice")),
    }
}
