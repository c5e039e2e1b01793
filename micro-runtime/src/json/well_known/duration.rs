//! `Duration`: seconds with a fraction and an `s`, such as `"-1.500s"`.

use std::fmt::Write as _;

use prost_types::Duration;

use super::{parse_fraction, push_fraction};
use crate::json::error::{JsonError, Result};
use crate::json::message::{JsonMessage, Merged, Parsed};
use crate::json::reader::{JsonReader, expected};
use crate::json::source::Token;
use crate::json::writer::JsonWriter;

/// 10,000 years (google/protobuf/duration.proto); a fraction may come on top.
const MAX_SECONDS: i64 = 315_576_000_000;

impl JsonMessage for Duration {
    const NAME: &'static str = "google.protobuf.Duration";
    const SPECIAL: bool = true;

    fn write_fields(&self, w: &mut JsonWriter<'_>) -> Result<()> {
        w.field("seconds", "seconds", &self.seconds)?;
        w.field("nanos", "nanos", &self.nanos)
    }

    fn merge_field(&mut self, key: &str, r: &mut JsonReader<'_>) -> Result<Merged> {
        match key {
            "seconds" => r.field(1, &mut self.seconds),
            "nanos" => r.field(2, &mut self.nanos),
            _ => Ok(Merged::Unknown),
        }
    }

    fn write_value(&self, w: &mut JsonWriter<'_>) -> Result<()> {
        match format(self) {
            Some(text) => w.string(&text),
            None => Err(JsonError::write(format_args!(
                "expected a duration of at most {MAX_SECONDS} s either way, found {} s and {} ns",
                self.seconds, self.nanos
            ))),
        }
    }

    fn read_value(r: &mut JsonReader<'_>) -> Result<Parsed<Duration>> {
        let token = r.scalar()?;
        match &token {
            Token::Null => return Ok(Parsed::Null),
            Token::Text(text) => parse(text).map(Parsed::Value),
            _ => None,
        }
        .ok_or_else(|| {
            expected(
                "a duration of at most 315576000000 s either way, such as \"1.5s\"",
                &token,
            )
        })
    }
}

fn format(duration: &Duration) -> Option<String> {
    let Duration { seconds, nanos } = *duration;
    let fits =
        (-MAX_SECONDS..=MAX_SECONDS).contains(&seconds) && nanos.unsigned_abs() < 1_000_000_000;
    let one_sign = seconds == 0 || nanos == 0 || (seconds < 0) == (nanos < 0);
    if !fits || !one_sign {
        return None;
    }
    let mut text = String::with_capacity(24);
    if seconds < 0 || nanos < 0 {
        text.push('-');
    }
    // Writing to a string cannot fail.
    let _ = write!(text, "{}", seconds.unsigned_abs());
    push_fraction(nanos.unsigned_abs(), &mut text);
    text.push('s');
    Some(text)
}

fn parse(text: &str) -> Option<Duration> {
    let number = text.strip_suffix('s')?;
    let (negative, number) = match number.strip_prefix('-') {
        Some(number) => (true, number),
        None => (false, number),
    };
    let (seconds, nanos) = match number.split_once('.') {
        Some((seconds, fraction)) => (seconds, parse_fraction(fraction)?),
        None => (number, 0),
    };
    if seconds.is_empty() || !seconds.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let seconds: i64 = seconds.parse().ok()?;
    if seconds > MAX_SECONDS {
        return None;
    }
    Some(if negative {
        Duration {
            seconds: -seconds,
            nanos: -nanos,
        }
    } else {
        Duration { seconds, nanos }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn duration(seconds: i64, nanos: i32) -> Duration {
        Duration { seconds, nanos }
    }

    #[test]
    fn reads_and_writes() {
        let cases = [
            ("0s", duration(0, 0)),
            ("1.500s", duration(1, 500_000_000)),
            ("-0.000001s", duration(0, -1_000)),
            ("-3.000000001s", duration(-3, -1)),
            ("315576000000s", duration(MAX_SECONDS, 0)),
            (
                "-315576000000.999999999s",
                duration(-MAX_SECONDS, -999_999_999),
            ),
        ];
        for (text, value) in cases {
            assert_eq!(parse(text), Some(value), "{text}");
            assert_eq!(format(&value).as_deref(), Some(text));
        }
        assert_eq!(parse("1.5s"), Some(duration(1, 500_000_000)));
    }

    #[test]
    fn refuses_what_is_none() {
        for text in [
            "",
            "s",
            "1",
            "-s",
            ".5s",
            "1.s",
            "+1s",
            "--1s",
            "1.1234567890s",
            "1 s",
            "315576000001s",
            "1e3s",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
        for value in [
            duration(MAX_SECONDS + 1, 0),
            duration(i64::MIN, 0),
            duration(1, -1),
            duration(0, 1_000_000_000),
            duration(0, i32::MIN),
        ] {
            assert_eq!(format(&value), None, "{value:?}");
        }
    }
}
