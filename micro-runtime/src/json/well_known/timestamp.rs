//! `Timestamp`: RFC 3339, such as `"2026-11-23T05:00:00.250Z"`.

use std::fmt::Write as _;

use prost_types::Timestamp;

use super::{parse_fraction, push_fraction};
use crate::json::error::{JsonError, Result};
use crate::json::message::{JsonMessage, Merged, Parsed};
use crate::json::reader::{JsonReader, expected};
use crate::json::source::Token;
use crate::json::writer::JsonWriter;

/// 0001-01-01T00:00:00Z (google/protobuf/timestamp.proto).
const MIN_SECONDS: i64 = -62_135_596_800;
/// 9999-12-31T23:59:59Z.
const MAX_SECONDS: i64 = 253_402_300_799;
const DAY: i64 = 86_400;

impl JsonMessage for Timestamp {
    const NAME: &'static str = "google.protobuf.Timestamp";
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
                "expected a time in the years 1 to 9999, found {} s and {} ns since 1970",
                self.seconds, self.nanos
            ))),
        }
    }

    fn read_value(r: &mut JsonReader<'_>) -> Result<Parsed<Timestamp>> {
        let token = r.scalar()?;
        match &token {
            Token::Null => return Ok(Parsed::Null),
            Token::Text(text) => parse(text).map(Parsed::Value),
            _ => None,
        }
        .ok_or_else(|| {
            expected(
                "a time of RFC 3339 in the years 1 to 9999, such as \"2026-01-31T09:00:00Z\"",
                &token,
            )
        })
    }
}

fn format(time: &Timestamp) -> Option<String> {
    let nanos = u32::try_from(time.nanos)
        .ok()
        .filter(|nanos| *nanos < 1_000_000_000)?;
    if !(MIN_SECONDS..=MAX_SECONDS).contains(&time.seconds) {
        return None;
    }
    let (year, month, day) = date(time.seconds.div_euclid(DAY));
    let second = time.seconds.rem_euclid(DAY);
    let mut text = String::with_capacity(32);
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}",
        second / 3_600,
        second / 60 % 60,
        second % 60
    );
    push_fraction(nanos, &mut text);
    text.push('Z');
    Some(text)
}

fn parse(text: &str) -> Option<Timestamp> {
    let (date, time) = text.split_once('T')?;
    let (year, date) = number(date, 4)?;
    let (month, date) = number(date.strip_prefix('-')?, 2)?;
    let (day, date) = number(date.strip_prefix('-')?, 2)?;
    let (hour, time) = number(time, 2)?;
    let (minute, time) = number(time.strip_prefix(':')?, 2)?;
    let (second, time) = number(time.strip_prefix(':')?, 2)?;
    let in_range = date.is_empty()
        && year >= 1
        && (1..=12).contains(&month)
        && (1..=days_in_month(year, month)).contains(&day)
        && hour <= 23
        && minute <= 59
        && second <= 59;
    if !in_range {
        return None;
    }
    let zone_at = time.find(['Z', '+', '-'])?;
    let (fraction, zone) = time.split_at(zone_at);
    let nanos = match fraction.strip_prefix('.') {
        Some(digits) => parse_fraction(digits)?,
        None if fraction.is_empty() => 0,
        None => return None,
    };
    let seconds =
        days(year, month, day) * DAY + hour * 3_600 + minute * 60 + second - offset(zone)?;
    (MIN_SECONDS..=MAX_SECONDS)
        .contains(&seconds)
        .then_some(Timestamp { seconds, nanos })
}

/// The seconds that a zone is ahead of UTC.
fn offset(zone: &str) -> Option<i64> {
    if zone == "Z" {
        return Some(0);
    }
    let (sign, rest) = match zone.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, zone.strip_prefix('+')?),
    };
    let (hours, rest) = number(rest, 2)?;
    let (minutes, rest) = number(rest.strip_prefix(':')?, 2)?;
    (rest.is_empty() && hours <= 23 && minutes <= 59)
        .then_some(sign * (hours * 3_600 + minutes * 60))
}

/// Splits a number of so many digits off.
fn number(text: &str, digits: usize) -> Option<(i64, &str)> {
    let (number, rest) = text.split_at_checked(digits)?;
    let all_digits = number.bytes().all(|digit| digit.is_ascii_digit());
    Some((number.parse().ok().filter(|_| all_digits)?, rest))
}

fn is_leap_year(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap_year(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days that came before a month in a year that begins with March, so that a leap day comes last.
fn days_before_month(month_from_march: i64) -> i64 {
    // Months have 30.6 days on average, from March on: 31, 30, 31, 30, 31, 31, 30, 31, 30, 31, 31.
    (153 * month_from_march + 2) / 5
}

/// Days in 400 years of the Gregorian calendar, after which it repeats.
const ERA: i64 = 146_097;
/// Days from 0000-03-01 to 1970-01-01.
const EPOCH: i64 = 719_468;

/// Days from 1970-01-01 to a date.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let year_of_era = year.rem_euclid(400);
    let day_of_year = days_before_month((month + 9) % 12) + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    year.div_euclid(400) * ERA + day_of_era - EPOCH
}

/// The year, month and day of a count of days since 1970-01-01.
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + EPOCH;
    let day_of_era = days.rem_euclid(ERA);
    // Without the leap days of each 4 years (1,461 days), 100 years (36,524) and 400 years, years have 365 days.
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / (ERA - 1)) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - days_before_month(month_from_march) + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = year_of_era + days.div_euclid(ERA) * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(seconds: i64, nanos: i32) -> Timestamp {
        Timestamp { seconds, nanos }
    }

    #[test]
    fn reads_and_writes() {
        let cases = [
            ("1970-01-01T00:00:00Z", time(0, 0)),
            ("0001-01-01T00:00:00Z", time(MIN_SECONDS, 0)),
            (
                "9999-12-31T23:59:59.999999999Z",
                time(MAX_SECONDS, 999_999_999),
            ),
            ("2024-02-29T12:30:05.250Z", time(1_709_209_805, 250_000_000)),
            ("1969-12-31T23:59:59.000001Z", time(-1, 1_000)),
        ];
        for (text, value) in cases {
            assert_eq!(parse(text), Some(value), "{text}");
            assert_eq!(format(&value).as_deref(), Some(text));
        }
    }

    #[test]
    fn reads_offsets_and_short_fractions() {
        assert_eq!(
            parse("1970-01-01T01:00:00.5+01:00"),
            Some(time(0, 500_000_000))
        );
        assert_eq!(parse("1969-12-31T16:00:00-08:00"), Some(time(0, 0)));
        assert_eq!(parse("1970-01-01T00:00:00-00:00"), Some(time(0, 0)));
    }

    #[test]
    fn every_day_there_and_back() {
        let (mut year, mut month, mut day) = (1, 1, 1);
        for number in MIN_SECONDS / DAY..=MAX_SECONDS / DAY {
            assert_eq!(date(number), (year, month, day));
            assert_eq!(days(year, month, day), number);
            day += 1;
            if day > days_in_month(year, month) {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
        assert_eq!((year, month, day), (10_000, 1, 1));
    }

    #[test]
    fn refuses_what_is_none() {
        for text in [
            "",
            "T",
            "1970-01-01",
            "1970-01-01T00:00:00",
            "1970-01-01 00:00:00Z",
            "1970-01-01t00:00:00Z",
            "1970-01-01T00:00:00z",
            "1970-01-01T00:00Z",
            "1970-1-1T00:00:00Z",
            "0000-12-31T00:00:00Z",
            "10000-01-01T00:00:00Z",
            "+970-01-01T00:00:00Z",
            "1970-00-01T00:00:00Z",
            "1970-13-01T00:00:00Z",
            "1970-01-32T00:00:00Z",
            "1970-02-29T00:00:00Z",
            "1900-02-29T00:00:00Z",
            "1970-01-01T24:00:00Z",
            "1970-01-01T00:60:00Z",
            "1970-01-01T00:00:60Z",
            "1970-01-01T00:00:00.Z",
            "1970-01-01T00:00:00.1234567890Z",
            "1970-01-01T00:00:00+0100",
            "1970-01-01T00:00:00+24:00",
            "1970-01-01T00:00:00ZZ",
            "1970-01-01T00:00:00Z+01:00",
            "0001-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59-00:01",
            "1970-01-01T00:00:00 Z",
            "１970-01-01T00:00:00Z",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
        for value in [
            time(MIN_SECONDS - 1, 0),
            time(MAX_SECONDS + 1, 0),
            time(i64::MIN, 0),
            time(0, -1),
            time(0, 1_000_000_000),
        ] {
            assert_eq!(format(&value), None, "{value:?}");
        }
    }
}
