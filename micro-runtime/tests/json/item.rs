//! [`Item`]: a message with every shape of field, written out by hand as the generator writes it.

use std::collections::{BTreeMap, HashMap};

use micro_runtime::json::{self, JsonEnum, JsonMessage, JsonReader, JsonWriter, Merged};
use micro_runtime::prost_types::{Any, FieldMask, ListValue, NullValue, Struct, Timestamp, Value};

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Item {
    #[prost(string, tag = "1")]
    pub(crate) display_name: String,
    #[prost(int64, tag = "2")]
    pub(crate) price: i64,
    #[prost(enumeration = "Color", tag = "3")]
    pub(crate) color: i32,
    #[prost(float, tag = "4")]
    pub(crate) weight: f32,
    #[prost(bytes = "vec", tag = "5")]
    pub(crate) data: Vec<u8>,
    #[prost(bool, optional, tag = "6")]
    pub(crate) sold: Option<bool>,
    #[prost(uint32, repeated, tag = "7")]
    pub(crate) sizes: Vec<u32>,
    #[prost(enumeration = "Color", repeated, tag = "8")]
    pub(crate) colors: Vec<i32>,
    #[prost(map = "string, message", tag = "9")]
    pub(crate) parts: HashMap<String, Item>,
    #[prost(btree_map = "int32, enumeration(Color)", tag = "10")]
    pub(crate) shades: BTreeMap<i32, i32>,
    #[prost(message, optional, boxed, tag = "11")]
    pub(crate) parent: Option<Box<Item>>,
    #[prost(message, repeated, tag = "12")]
    pub(crate) children: Vec<Item>,
    #[prost(message, optional, tag = "13")]
    pub(crate) made: Option<Timestamp>,
    #[prost(message, optional, tag = "14")]
    pub(crate) note: Option<Value>,
    #[prost(message, optional, tag = "15")]
    pub(crate) limit: Option<u64>,
    #[prost(message, optional, tag = "16")]
    pub(crate) any: Option<Any>,
    #[prost(message, optional, tag = "17")]
    pub(crate) mask: Option<FieldMask>,
    #[prost(message, optional, tag = "18")]
    pub(crate) nothing: Option<()>,
    #[prost(oneof = "Kind", tags = "19, 20, 21, 22, 200")]
    pub(crate) kind: Option<Kind>,
    #[prost(double, tag = "100")]
    pub(crate) ratio: f64,
    #[prost(bytes = "bytes", repeated, tag = "101")]
    pub(crate) blobs: Vec<bytes::Bytes>,
    #[prost(btree_map = "bool, string", tag = "102")]
    pub(crate) answers: BTreeMap<bool, String>,
    #[prost(enumeration = "Color", optional, tag = "103")]
    pub(crate) background: Option<i32>,
    #[prost(message, optional, tag = "104")]
    pub(crate) details: Option<Struct>,
    #[prost(message, optional, tag = "105")]
    pub(crate) list: Option<ListValue>,
    #[prost(message, repeated, tag = "106")]
    pub(crate) notes: Vec<Value>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Kind {
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
pub(crate) enum Color {
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
