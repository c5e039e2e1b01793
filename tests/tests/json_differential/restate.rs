//! Where prost-reflect 0.16.5 is known to read JSON differently, and what to ask it instead.
//!
//! A text is said again in words that it understands as it should: `"1e2"` as `100`. What it takes although it must not,
//! such as a field that is there twice, is [`Refused`]: our reader has to refuse it. So every known difference is
//! checked, too, and what is not known to differ must not.

use prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MessageDescriptor};

use crate::text::Json;

/// The text is not the message, whatever prost-reflect says.
#[derive(Debug)]
pub(crate) struct Refused(pub(crate) &'static str);

/// The URL that stands for an `Any` without a type, which prost-reflect does not read.
pub(crate) const EMPTY_ANY: &str = "restated-empty/google.protobuf.Empty";
/// What is put before a type's URL without a slash, which prost-reflect does not read.
pub(crate) const NO_SLASH: &str = "restated-name/";

/// How deep messages may be nested.
const DEPTH: u32 = 100;

/// Says a message again.
pub(crate) fn restate(
    json: &Json,
    of: &MessageDescriptor,
    reject_unknown: bool,
) -> Result<Json, Refused> {
    Restate {
        pool: of.parent_pool().clone(),
        reject_unknown,
    }
    .message(json, of, DEPTH)
}

struct Restate {
    pool: DescriptorPool,
    reject_unknown: bool,
}

// ===== impl Restate =====

impl Restate {
    fn message(&self, json: &Json, of: &MessageDescriptor, depth: u32) -> Result<Json, Refused> {
        let kind = match of.full_name() {
            "google.protobuf.Timestamp" => return timestamp(json),
            "google.protobuf.Duration" => return duration(json),
            "google.protobuf.FieldMask" => return field_mask(json),
            "google.protobuf.Any" => return self.any(json, deeper(depth)?),
            "google.protobuf.Value" => return value(json, depth),
            "google.protobuf.Struct" | "google.protobuf.ListValue" => {
                return structure(json, depth);
            }
            "google.protobuf.Empty" => return self.empty(json, deeper(depth)?),
            "google.protobuf.BoolValue" => Kind::Bool,
            "google.protobuf.BytesValue" => Kind::Bytes,
            "google.protobuf.DoubleValue" => Kind::Double,
            "google.protobuf.FloatValue" => Kind::Float,
            "google.protobuf.Int32Value" => Kind::Int32,
            "google.protobuf.Int64Value" => Kind::Int64,
            "google.protobuf.StringValue" => Kind::String,
            "google.protobuf.UInt32Value" => Kind::Uint32,
            "google.protobuf.UInt64Value" => Kind::Uint64,
            _ => {
                let depth = deeper(depth)?;
                return match json {
                    Json::Object(members) => Ok(Json::Object(self.fields(members, of, depth)?)),
                    other => Ok(other.clone()),
                };
            }
        };
        self.single(json, &kind, depth)
    }

    /// The fields of a message that has `depth` levels left inside.
    fn fields(
        &self,
        members: &[(String, Json)],
        of: &MessageDescriptor,
        depth: u32,
    ) -> Result<Vec<(String, Json)>, Refused> {
        let mut seen = Vec::new();
        let mut restated = Vec::new();
        for (key, value) in members {
            let by_json_name = of.get_field_by_json_name(key);
            let Some(field) = by_json_name.or_else(|| of.get_field_by_name(key)) else {
                restated.push((key.clone(), value.clone()));
                continue;
            };
            if seen.contains(&field.number()) {
                return Err(Refused("a field that is there twice"));
            }
            seen.push(field.number());
            if let Some(value) = self.field(value, &field, depth)? {
                restated.push((key.clone(), value));
            }
        }
        Ok(restated)
    }

    fn field(
        &self,
        json: &Json,
        field: &FieldDescriptor,
        depth: u32,
    ) -> Result<Option<Json>, Refused> {
        let restated = match (json, field.kind()) {
            // prost-reflect panics where these would be null.
            (Json::Null, _) if field.is_list() || field.is_map() => return Ok(None),
            (Json::Object(members), Kind::Message(entry)) if field.is_map() => {
                let (key, value) = (
                    entry.map_entry_key_field().kind(),
                    entry.map_entry_value_field().kind(),
                );
                let mut restated: Vec<(String, Json)> = Vec::new();
                for (name, json) in members {
                    let name = map_key(name, &key)?;
                    let json = self.single(json, &value, depth)?;
                    if self.is_ignored(&json, &value) {
                        continue;
                    }
                    if restated.iter().any(|(known, _)| *known == name) {
                        return Err(Refused("a key that is there twice"));
                    }
                    restated.push((name, json));
                }
                Json::Object(restated)
            }
            (Json::List(elements), kind) if field.is_list() => {
                let elements = elements.iter();
                Json::List(
                    elements
                        .map(|element| self.single(element, &kind, depth))
                        .collect::<Result<_, _>>()?,
                )
            }
            (other, _) if field.is_list() || field.is_map() => other.clone(),
            (json, kind) => self.single(json, &kind, depth)?,
        };
        Ok(Some(restated))
    }

    /// Whether the name of an enum's value is unknown, and goes unread.
    fn is_ignored(&self, json: &Json, kind: &Kind) -> bool {
        match (json, kind) {
            (Json::String(name), Kind::Enum(of)) => {
                !self.reject_unknown && of.get_value_by_name(name).is_none()
            }
            _ => false,
        }
    }

    fn single(&self, json: &Json, kind: &Kind, depth: u32) -> Result<Json, Refused> {
        match kind {
            Kind::Message(of) => self.message(json, of, depth),
            Kind::Enum(of) => match json {
                Json::Number(text) => enum_number(text, of.full_name()),
                Json::String(text) if of.get_value_by_name(text).is_none() => {
                    match integral(text).and_then(|number| i32::try_from(number).ok()) {
                        Some(_) => enum_number(text, of.full_name()),
                        None => Ok(json.clone()),
                    }
                }
                _ => Ok(json.clone()),
            },
            Kind::Double | Kind::Float => float(json, matches!(kind, Kind::Float)),
            Kind::Bool | Kind::String | Kind::Bytes => Ok(json.clone()),
            kind => match json {
                Json::Number(text) | Json::String(text) => integer(text, kind),
                _ => Ok(json.clone()),
            },
        }
    }

    fn empty(&self, json: &Json, _: u32) -> Result<Json, Refused> {
        match json {
            Json::Object(_) if !self.reject_unknown => Ok(Json::Object(Vec::new())),
            _ => Ok(json.clone()),
        }
    }

    fn any(&self, json: &Json, depth: u32) -> Result<Json, Refused> {
        let Json::Object(members) = json else {
            return Ok(json.clone());
        };
        let typed = |url: String| ("@type".to_owned(), Json::String(url));
        if members.is_empty() {
            let value = ("value".to_owned(), Json::Object(Vec::new()));
            return Ok(Json::Object(vec![typed(EMPTY_ANY.to_owned()), value]));
        }
        let mut types = members.iter().filter(|(key, _)| key == "@type");
        let (Some((_, Json::String(url))), None) = (types.next(), types.next()) else {
            return Err(Refused(
                "an Any with no type, or two, or one that is no string",
            ));
        };
        let name = url.rsplit('/').next().unwrap_or_default();
        let Some(of) = self.pool.get_message_by_name(name) else {
            return Err(Refused("an Any of an unknown type"));
        };
        let url = match url.contains('/') {
            true => url.clone(),
            false => format!("{NO_SLASH}{url}"),
        };
        let others: Vec<_> = members
            .iter()
            .filter(|(key, _)| key != "@type")
            .cloned()
            .collect();
        let others = match of.full_name() {
            "google.protobuf.Empty" => {
                // Its value may be left out, and then it is an ordinary message without fields.
                let mut values = others.iter().filter(|(key, _)| key == "value");
                let value = values
                    .next()
                    .map_or(Json::Object(Vec::new()), |(_, value)| value.clone());
                if values.next().is_some() {
                    return Err(Refused("an Any with two values"));
                }
                let value = self.message(&value, &of, depth)?;
                let unknown = others.iter().filter(|(key, _)| key != "value").cloned();
                unknown.chain([("value".to_owned(), value)]).collect()
            }
            name if is_special(name) => {
                let mut values = others.iter().filter(|(key, _)| key == "value");
                match (values.next(), values.next()) {
                    (Some((key, value)), None) => {
                        let value = self.message(value, &of, depth)?;
                        let unknown = others.iter().filter(|(key, _)| key != "value").cloned();
                        unknown.chain([(key.clone(), value)]).collect()
                    }
                    _ => return Err(Refused("an Any with no value, or two")),
                }
            }
            _ => self.fields(&others, &of, depth)?,
        };
        Ok(Json::Object(
            [typed(url)].into_iter().chain(others).collect(),
        ))
    }
}

fn is_special(name: &str) -> bool {
    name.strip_prefix("google.protobuf.").is_some_and(|name| {
        name.ends_with("Value")
            || ["Any", "Duration", "FieldMask", "Struct", "Timestamp"].contains(&name)
    })
}

/// The levels left inside of a message.
fn deeper(depth: u32) -> Result<u32, Refused> {
    depth.checked_sub(1).ok_or(Refused("more than 100 levels"))
}

/// Where prost-reflect counts no levels, and keeps the last of two keys.
fn value(json: &Json, depth: u32) -> Result<Json, Refused> {
    let inside = deeper(depth)?;
    match json {
        Json::List(elements) => elements
            .iter()
            .try_for_each(|json| value(json, inside).map(drop))?,
        Json::Object(_) => return structure(json, depth),
        Json::Number(text) if text.parse::<f64>().is_ok_and(f64::is_infinite) => {
            return Err(Refused("a number that is out of range"));
        }
        _ => {}
    }
    Ok(json.clone())
}

fn structure(json: &Json, depth: u32) -> Result<Json, Refused> {
    let inside = deeper(depth)?;
    match json {
        Json::Object(members) => {
            for (index, (key, json)) in members.iter().enumerate() {
                if members[..index].iter().any(|(known, _)| known == key) {
                    return Err(Refused("a key that is there twice"));
                }
                value(json, inside)?;
            }
        }
        Json::List(elements) => elements
            .iter()
            .try_for_each(|json| value(json, inside).map(drop))?,
        _ => {}
    }
    Ok(json.clone())
}

/// Whether a text is a number of JSON.
fn is_number(text: &str) -> bool {
    matches!(Json::parse(text.as_bytes()), Some(Json::Number(number)) if number == text)
}

/// The integer that a number of JSON is, however it is spelled; `None` if it has a fraction or is far out of range.
fn integral(text: &str) -> Option<i128> {
    if !is_number(text) {
        return None;
    }
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut digits = format!("{whole}{fraction}");
    if digits.bytes().all(|byte| matches!(byte, b'0' | b'-')) {
        return Some(0);
    }
    let mut shift = exponent.parse::<i64>().ok()? - fraction.len() as i64;
    if !(-200..200).contains(&shift) {
        return None;
    }
    while shift < 0 {
        if digits.pop()? != '0' {
            return None;
        }
        shift += 1;
    }
    digits.extend(std::iter::repeat_n('0', shift as usize));
    digits.parse().ok()
}

/// prost-reflect reads integers in quotes as Rust does, and those with a point or an exponent as doubles.
fn integer(text: &str, kind: &Kind) -> Result<Json, Refused> {
    let range = match kind {
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => i128::from(i32::MIN)..=i128::from(i32::MAX),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => i128::from(i64::MIN)..=i128::from(i64::MAX),
        Kind::Uint32 | Kind::Fixed32 => 0..=i128::from(u32::MAX),
        _ => 0..=i128::from(u64::MAX),
    };
    match integral(text) {
        Some(number) if range.contains(&number) => Ok(Json::Number(number.to_string())),
        _ => Err(Refused("what is no integer of the type")),
    }
}

/// prost-reflect knows a value's number as a number only, and not at all for `NullValue`.
fn enum_number(text: &str, of: &str) -> Result<Json, Refused> {
    match integer(text, &Kind::Int32)? {
        Json::Number(_) if of == "google.protobuf.NullValue" => {
            Ok(Json::String("NULL_VALUE".to_owned()))
        }
        number => Ok(number),
    }
}

/// prost-reflect reads floats in quotes as Rust does, and rounds those without twice.
fn float(json: &Json, single: bool) -> Result<Json, Refused> {
    let text = match json {
        Json::Number(text) => text,
        Json::String(text) if ["NaN", "Infinity", "-Infinity"].contains(&text.as_str()) => {
            return Ok(json.clone());
        }
        Json::String(text) if is_number(text) => text,
        Json::String(_) => return Err(Refused("a string that is no number")),
        _ => return Ok(json.clone()),
    };
    let number = match single {
        true => text.parse::<f32>().map(f64::from),
        false => text.parse::<f64>(),
    };
    match number {
        Ok(number) if number.is_finite() => Ok(Json::Number(format!("{number:e}"))),
        _ => Err(Refused("a number that is out of range")),
    }
}

/// prost-reflect reads the keys of maps as Rust does.
fn map_key(key: &str, kind: &Kind) -> Result<String, Refused> {
    match kind {
        Kind::Bool if !["true", "false"].contains(&key) => Err(Refused("a key that is no bool")),
        Kind::String | Kind::Bool => Ok(key.to_owned()),
        kind => match integer(key, kind)? {
            Json::Number(number) => Ok(number),
            _ => Ok(key.to_owned()),
        },
    }
}

/// prost-reflect takes second 60, ignores digits after the ninth, and takes any offset.
fn timestamp(json: &Json) -> Result<Json, Refused> {
    if let Json::String(text) = json {
        if text.get(17..19) == Some("60") {
            return Err(Refused("a leap second"));
        }
        if fraction_digits(text) > 9 {
            return Err(Refused("a time with more than nine digits"));
        }
        if let Some(offset) = text
            .get(19..)
            .and_then(|rest| rest.split(['+', '-']).nth(1))
            && let Some((hours, minutes)) = offset.split_once(':')
            && (hours.parse::<u32>().is_ok_and(|hours| hours > 23)
                || minutes.parse::<u32>().is_ok_and(|minutes| minutes > 59))
        {
            return Err(Refused("an offset of more than a day"));
        }
    }
    Ok(json.clone())
}

/// prost-reflect ignores digits after the ninth.
fn duration(json: &Json) -> Result<Json, Refused> {
    match json {
        Json::String(text) if fraction_digits(text) > 9 => {
            Err(Refused("a duration with more than nine digits"))
        }
        _ => Ok(json.clone()),
    }
}

fn fraction_digits(text: &str) -> usize {
    let fraction = text.split('.').nth(1).unwrap_or_default();
    fraction.bytes().take_while(u8::is_ascii_digit).count()
}

/// prost-reflect leaves empty paths out.
fn field_mask(json: &Json) -> Result<Json, Refused> {
    match json {
        Json::String(text) if !text.is_empty() && text.split(',').any(str::is_empty) => {
            Err(Refused("an empty path"))
        }
        _ => Ok(json.clone()),
    }
}
