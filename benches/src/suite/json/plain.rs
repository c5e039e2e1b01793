//! The messages of `proto/json.proto` as people write them for serde_json by hand, with the same text: names in
//! lowerCamelCase, fields at their default left out, 64-bit integers in quotes, bytes in base64.

use std::collections::HashMap;
use std::fmt;

use base64::engine::general_purpose::STANDARD;
use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Request {
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Order {
    #[serde(skip_serializing_if = "String::is_empty")]
    order_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    customer: Option<Customer>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    line_items: Vec<Item>,
    #[serde(skip_serializing_if = "HashMap::is_empty")]
    labels: HashMap<String, String>,
    #[serde(skip_serializing_if = "HashMap::is_empty")]
    discounts: HashMap<i32, Price>,
    #[serde(skip_serializing_if = "is_default")]
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    gift_note: Option<String>,
    #[serde(with = "quoted", skip_serializing_if = "is_default")]
    created_at_micros: i64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
    #[serde(skip_serializing_if = "is_default")]
    total_weight: f64,
    #[serde(skip_serializing_if = "is_default")]
    paid_in_full: bool,
    #[serde(with = "base64_text", skip_serializing_if = "Vec::is_empty")]
    signature: Vec<u8>,
    #[serde(skip_serializing_if = "is_default")]
    revision: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    history: Vec<Status>,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_order: Option<Quoted<u64>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) enum Status {
    #[default]
    #[serde(rename = "STATUS_UNSPECIFIED")]
    Unspecified,
    #[serde(rename = "STATUS_PLACED")]
    Placed,
    #[serde(rename = "STATUS_PACKED")]
    Packed,
    #[serde(rename = "STATUS_SHIPPED")]
    Shipped,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Customer {
    #[serde(skip_serializing_if = "String::is_empty")]
    full_name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    email_address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    billing_address: Option<Address>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shipping_address: Option<Address>,
    #[serde(with = "quoted", skip_serializing_if = "is_default")]
    loyalty_points: u64,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Address {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    lines: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    city: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    postal_code: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    country_code: String,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Item {
    #[serde(skip_serializing_if = "String::is_empty")]
    sku: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    title: String,
    #[serde(skip_serializing_if = "is_default")]
    quantity: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    unit_price: Option<Price>,
    #[serde(skip_serializing_if = "is_default")]
    weight_kg: f64,
    #[serde(skip_serializing_if = "is_default")]
    is_fragile: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    options: Vec<String>,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Price {
    #[serde(skip_serializing_if = "String::is_empty")]
    currency_code: String,
    #[serde(with = "quoted", skip_serializing_if = "is_default")]
    units: i64,
    #[serde(skip_serializing_if = "is_default")]
    nanos: i32,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Strings {
    #[serde(skip_serializing_if = "String::is_empty")]
    title: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    paragraphs: Vec<String>,
    #[serde(skip_serializing_if = "HashMap::is_empty")]
    notes: HashMap<String, String>,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Doubles {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    doubles: Vec<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    floats: Vec<f32>,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Ints {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    signed: Vec<i32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unsigned: Vec<u32>,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Longs {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    signed: Vec<Quoted<i64>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unsigned: Vec<Quoted<u64>>,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Blobs {
    #[serde(with = "base64_text", skip_serializing_if = "Vec::is_empty")]
    key: Vec<u8>,
    #[serde(with = "base64_text", skip_serializing_if = "Vec::is_empty")]
    content: Vec<u8>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    chunks: Vec<Base64>,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Node {
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(skip_serializing_if = "is_default")]
    level: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    child: Option<Box<Node>>,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Wide {
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(skip_serializing_if = "is_default")]
    enabled: bool,
    #[serde(skip_serializing_if = "is_default")]
    retry_count: i32,
    #[serde(skip_serializing_if = "is_default")]
    retry_delay_millis: i32,
    #[serde(with = "quoted", skip_serializing_if = "is_default")]
    retry_budget: i64,
    #[serde(skip_serializing_if = "is_default")]
    queue_length: u32,
    #[serde(with = "quoted", skip_serializing_if = "is_default")]
    queue_bytes: u64,
    #[serde(skip_serializing_if = "is_default")]
    load_factor: f64,
    #[serde(skip_serializing_if = "is_default")]
    sample_rate: f32,
    #[serde(skip_serializing_if = "String::is_empty")]
    log_level: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    log_format: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    region_name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    zone_name: String,
    #[serde(skip_serializing_if = "is_default")]
    compress_bodies: bool,
    #[serde(skip_serializing_if = "is_default")]
    verify_peers: bool,
    #[serde(skip_serializing_if = "is_default")]
    allow_anonymous: bool,
    #[serde(with = "base64_text", skip_serializing_if = "Vec::is_empty")]
    session_secret: Vec<u8>,
    #[serde(skip_serializing_if = "is_default")]
    default_status: Status,
    #[serde(skip_serializing_if = "is_default")]
    error_status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_connections: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    proxy_address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    keep_alive: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    back_off_factor: Option<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    trusted_origins: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    listen_ports: Vec<i32>,
    #[serde(skip_serializing_if = "HashMap::is_empty")]
    extra_headers: HashMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    office_address: Option<Address>,
    #[serde(skip_serializing_if = "Option::is_none")]
    monthly_price: Option<Price>,
    #[serde(skip_serializing_if = "String::is_empty")]
    contact_email: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    time_zone: String,
    #[serde(skip_serializing_if = "is_default")]
    cache_entries: u32,
    #[serde(with = "quoted", skip_serializing_if = "is_default")]
    cache_bytes: u64,
}

// ===== 64-bit integers in quotes =====

/// An integer whose JSON is a string.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Quoted<T>(T);

impl<T: itoa::Integer + Copy> Serialize for Quoted<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        quoted::serialize(&self.0, serializer)
    }
}

impl<'de, T: std::str::FromStr> Deserialize<'de> for Quoted<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Quoted<T>, D::Error> {
        quoted::deserialize(deserializer).map(Quoted)
    }
}

mod quoted {
    use std::marker::PhantomData;
    use std::str::FromStr;

    use super::{Deserializer, Error, Serializer, Unexpected, Visitor, fmt};

    pub(super) fn serialize<S: Serializer, T: itoa::Integer + Copy>(
        value: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(itoa::Buffer::new().format(*value))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>, T: FromStr>(
        deserializer: D,
    ) -> Result<T, D::Error> {
        struct Text<T>(PhantomData<T>);

        impl<T: FromStr> Visitor<'_> for Text<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an integer in quotes")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
                text.parse()
                    .map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
            }
        }

        deserializer.deserialize_str(Text(PhantomData))
    }
}

// ===== Bytes in base64 =====

/// Bytes whose JSON is a string.
#[derive(Debug, Default, PartialEq)]
struct Base64(Vec<u8>);

impl Serialize for Base64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        base64_text::serialize(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Base64, D::Error> {
        base64_text::deserialize(deserializer).map(Base64)
    }
}

mod base64_text {
    use base64::Engine as _;

    use super::{Deserializer, Error, STANDARD, Serializer, Visitor, fmt};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<u8>, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Vec<u8>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("base64")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Vec<u8>, E> {
                STANDARD.decode(text).map_err(E::custom)
            }
        }

        deserializer.deserialize_str(Text)
    }
}
