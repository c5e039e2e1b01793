//! A message as RabbitMQ carries it, in go-micro's form: headers in the table of headers, as strings, and the
//! body as it is.

use bytes::Bytes;
use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};

use super::config::SHORT_MAX;
use super::link::FRAME_MAX;
use crate::broker::envelope::{header_value, insert_header};
use crate::broker::message::{CONTENT_TYPE, MICRO_ID, MICRO_TOPIC};
use crate::broker::{Delivery as Level, Event, Message, Receipt, header_name};
use crate::error::Error;
use crate::metadata::Metadata;

/// `delivery-mode`: kept on disk.
const PERSISTENT: u8 = 2;

/// The headers by which a quorum queue counts: how many times handling failed, and, from RabbitMQ 4.0 on, how
/// many times the message was handed out.
const FAILED: &str = "x-delivery-count";
const ACQUIRED: &str = "x-acquired-count";

/// What is left of a frame of headers for the properties that are not headers, in bytes.
const OTHERS: usize = 1024;

/// The bytes around a header's name and value: two lengths and a type.
const AROUND: usize = 6;

/// The properties of a message.
///
/// # Errors
/// Something is longer than AMQP allows.
pub(super) fn properties(message: &Message, level: Level) -> Result<BasicProperties, Error> {
    let mut table = std::collections::BTreeMap::<ShortString, AMQPValue>::new();
    let mut length = 0;
    for (name, value) in message.headers.iter() {
        let text = header_value(name, value);
        length += name.len() + text.len() + AROUND;
        let key = short("a header's name", header_name(name))?;
        match table.get_mut(&key) {
            // Go's map has one value of a name: several are parted by commas, as in HTTP.
            Some(AMQPValue::LongString(before)) => {
                let joined = [before.as_bytes(), b",", text.as_bytes()].concat();
                *before = LongString::from(joined);
            }
            _ => {
                let value = LongString::from(text.into_owned());
                table.insert(key, AMQPValue::LongString(value));
            }
        }
    }
    let longest = usize::try_from(FRAME_MAX).unwrap_or(usize::MAX) - OTHERS;
    if length > longest {
        return Err(Error::config(format_args!(
            "expected headers of at most {longest} bytes in all for the topic {:?}, found {length}: they must fit \
             into one frame of AMQP",
            message.topic
        )));
    }
    let mut properties = BasicProperties::default().with_headers(FieldTable::from(table));
    // For those who read properties; go-micro reads the header.
    if let Some(content_type) = message.headers.get(CONTENT_TYPE)
        && let Ok(content_type) = ShortString::try_new(content_type)
    {
        properties = properties.with_content_type(content_type);
    }
    if !message.id.is_empty() {
        properties = properties.with_message_id(short("a message's id", message.id.clone())?);
    }
    Ok(match level {
        Level::AtLeastOnce => properties.with_delivery_mode(PERSISTENT),
        Level::AtMostOnce => properties,
    })
}

/// A text as a short string.
///
/// # Errors
/// It is too long.
pub(super) fn short(what: &str, text: String) -> Result<ShortString, Error> {
    let length = text.len();
    ShortString::try_new(text).map_err(|_| {
        Error::config(format_args!(
            "expected {what} of at most {SHORT_MAX} bytes, found {length}"
        ))
    })
}

/// Which attempt this is. A queue that counts says how many have failed; another one that it was handed out
/// before.
pub(super) fn attempt(delivery: &Delivery) -> u32 {
    let headers = delivery.properties.headers().as_ref();
    let count = |name: &str| headers.and_then(|headers| number(headers.inner().get(name)?));
    match (count(FAILED), count(ACQUIRED)) {
        (Some(failed), _) => failed.saturating_add(1),
        (None, Some(_)) => 1,
        (None, None) if delivery.redelivered => 2,
        (None, None) => 1,
    }
}

/// The event that was delivered.
pub(super) fn event(topic: &str, delivery: Delivery, receipt: Option<Receipt>) -> Event {
    let attempt = match receipt {
        Some(_) => attempt(&delivery),
        None => 1,
    };
    let headers = headers(&delivery);
    Event::new(topic, headers, Bytes::from(delivery.data), attempt, receipt)
}

/// The headers, from whoever they come: what has a text is written as go-micro v5 writes it, the rest is left
/// out.
fn headers(delivery: &Delivery) -> Metadata {
    let mut headers = Metadata::new();
    let properties = &delivery.properties;
    for (name, value) in properties.headers().iter().flatten() {
        if [FAILED, ACQUIRED].contains(&name.as_str()) {
            continue;
        }
        if let Some(text) = text(value) {
            insert_header(&mut headers, name.as_str(), text);
        }
    }
    let known = [
        (CONTENT_TYPE, properties.content_type().as_ref()),
        (MICRO_ID, properties.message_id().as_ref()),
        (MICRO_TOPIC, Some(&delivery.routing_key)),
    ];
    for (name, value) in known {
        if let Some(value) = value.filter(|_| headers.get(name).is_none_or(str::is_empty)) {
            headers.insert(name, value.as_str());
        }
    }
    headers
}

fn text(value: &AMQPValue) -> Option<String> {
    Some(match value {
        AMQPValue::LongString(text) => text.to_string(),
        AMQPValue::ShortString(text) => text.to_string(),
        AMQPValue::ByteArray(bytes) => String::from_utf8_lossy(bytes.as_slice()).into_owned(),
        AMQPValue::Boolean(value) => value.to_string(),
        AMQPValue::ShortShortInt(value) => value.to_string(),
        AMQPValue::ShortShortUInt(value) => value.to_string(),
        AMQPValue::ShortInt(value) => value.to_string(),
        AMQPValue::ShortUInt(value) => value.to_string(),
        AMQPValue::LongInt(value) => value.to_string(),
        AMQPValue::LongUInt(value) => value.to_string(),
        AMQPValue::LongLongInt(value) => value.to_string(),
        AMQPValue::Timestamp(value) => value.to_string(),
        AMQPValue::Float(value) => value.to_string(),
        AMQPValue::Double(value) => value.to_string(),
        AMQPValue::DecimalValue(_)
        | AMQPValue::FieldArray(_)
        | AMQPValue::FieldTable(_)
        | AMQPValue::Void => return None,
    })
}

/// A count, in whichever type of integer it comes.
fn number(value: &AMQPValue) -> Option<u32> {
    text(value)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use lapin::types::{ByteArray, DecimalValue, FieldArray};

    use super::*;

    fn delivered(table: &[(&str, AMQPValue)], redelivered: bool) -> Delivery {
        let mut headers = FieldTable::default();
        for (name, value) in table {
            headers.insert((*name).into(), value.clone());
        }
        let mut delivery = Delivery::mock(
            1,
            "micro".into(),
            "orders.placed".into(),
            redelivered,
            b"body".to_vec(),
        );
        delivery.properties = BasicProperties::default().with_headers(headers);
        delivery
    }

    fn string(text: &str) -> AMQPValue {
        AMQPValue::LongString(text.into())
    }

    #[test]
    fn is_written_as_go_writes_it() {
        let mut message = Message::new("orders.placed", "body")
            .header("content-type", "application/json")
            .header("MICRO-TOPIC", "orders.placed")
            .id("one");
        message.headers.append("x-a", "1");
        message.headers.append("x-a", "2");
        message.headers.insert_bin("t-bin", vec![0, 255]);
        let found = properties(&message, Level::AtMostOnce).unwrap();
        let table = found.headers().as_ref().unwrap();
        let found_headers: Vec<_> = table
            .into_iter()
            .map(|(name, value)| (name.as_str(), value.clone()))
            .collect();
        assert_eq!(
            found_headers,
            [
                ("Content-Type", string("application/json")),
                ("Micro-Topic", string("orders.placed")),
                ("T-Bin", string("AP8")),
                ("X-A", string("1,2")),
            ]
        );
        assert_eq!(found.delivery_mode(), &None);
        assert_eq!(found.message_id().as_ref().unwrap().as_str(), "one");
        let found = properties(&message, Level::AtLeastOnce).unwrap();
        assert_eq!(found.delivery_mode(), &Some(2));
    }

    #[test]
    fn what_amqp_cannot_carry_is_an_error() {
        let message = Message::new("t", "");
        for (message, expected) in [
            (
                message.clone().header("n".repeat(256), ""),
                "a header's name",
            ),
            (message.clone().id("i".repeat(256)), "a message's id"),
            (
                message.header("x-a", "v".repeat(70_000)),
                "expected headers of at most 64512 bytes in all",
            ),
        ] {
            let error = properties(&message, Level::AtMostOnce).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
    }

    #[test]
    fn headers_of_every_type_are_read() {
        let delivery = delivered(
            &[
                ("X-Foo-Bar", string("Baz")),
                ("x-int", AMQPValue::LongLongInt(-7)),
                ("x-bool", AMQPValue::Boolean(true)),
                ("x-float", AMQPValue::Double(0.5)),
                (
                    "x-bytes",
                    AMQPValue::ByteArray(ByteArray::from(vec![255, b'a'])),
                ),
                ("x-void", AMQPValue::Void),
                ("x-array", AMQPValue::FieldArray(FieldArray::default())),
                ("x-table", AMQPValue::FieldTable(FieldTable::default())),
                (
                    "x-decimal",
                    AMQPValue::DecimalValue(DecimalValue { scale: 1, value: 2 }),
                ),
                ("x-not-text", AMQPValue::LongString(vec![0xff].into())),
                ("t-bin", string("AP8=")),
                ("", string("nameless")),
            ],
            false,
        );
        let event = event("orders.placed", delivery, None);
        let headers = event.headers();
        for (name, value) in [
            ("x-foo-bar", Some("Baz")),
            ("x-int", Some("-7")),
            ("x-bool", Some("true")),
            ("x-float", Some("0.5")),
            ("x-bytes", Some("\u{fffd}a")),
            ("x-void", None),
            ("x-array", None),
            ("x-table", None),
            ("x-decimal", None),
            ("micro-topic", Some("orders.placed")),
        ] {
            assert_eq!(headers.get(name), value, "{name}");
        }
        assert_eq!(headers.get_bin("t-bin").unwrap()[..], [0, 255]);
        assert_eq!(&event.body()[..], b"body");
    }

    #[test]
    fn properties_stand_in_for_headers() {
        let mut delivery = delivered(&[("Content-Type", string("application/json"))], false);
        delivery.properties = delivery
            .properties
            .clone()
            .with_content_type("text/plain".into())
            .with_message_id("one".into());
        let event = event("t", delivery, None);
        assert_eq!(
            event.headers().get("content-type"),
            Some("application/json")
        );
        assert_eq!(event.headers().get("micro-id"), Some("one"));
    }

    #[test]
    fn attempts_are_what_the_queue_counts() {
        let count = |value: i64| AMQPValue::LongLongInt(value);
        for (table, redelivered, expected) in [
            (vec![], false, 1),
            (vec![], true, 2),
            (vec![(FAILED, count(1))], true, 2),
            (vec![(FAILED, count(6)), (ACQUIRED, count(9))], true, 7),
            // Given back by somebody who had not worked on it.
            (vec![(ACQUIRED, count(3))], true, 1),
            (vec![(FAILED, string("4"))], true, 5),
            (vec![(FAILED, count(-1))], true, 2),
            (vec![(FAILED, count(i64::MAX))], false, 1),
        ] {
            let delivery = delivered(&table, redelivered);
            assert_eq!(attempt(&delivery), expected, "{table:?} {redelivered}");
        }
    }
}
