//! Durations as Go writes them: `5s`, `300ms`, `1m30s`.

use std::time::Duration;

/// The units of Go's `time.ParseDuration`, in nanoseconds. Longer names come before those they begin with.
const UNITS: [(&str, u128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60 * 1_000_000_000),
    ("h", 3_600 * 1_000_000_000),
];

/// Go keeps a duration in an `int64` of nanoseconds: some 292 years.
const LARGEST: u128 = i64::MAX as u128;

/// Digits after the point that still count; one nanosecond is 13 digits below an hour.
const FRACTION_DIGITS: usize = 18;

/// Reads a duration by the grammar of Go's `time.ParseDuration`: one or more decimal numbers, each with a
/// unit, and no space between; `0` alone needs no unit. The error says what is wrong with it.
pub(super) fn parse(text: &str) -> Result<Duration, &'static str> {
    let text = match text.strip_prefix('-') {
        Some(_) => return Err("it is negative"),
        None => text.strip_prefix('+').unwrap_or(text),
    };
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    if text.is_empty() {
        return Err("it is empty");
    }
    let mut rest = text;
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let (nanos, after) = part(rest)?;
        total = total.saturating_add(nanos);
        if total > LARGEST {
            return Err("it is longer than 292 years");
        }
        rest = after;
    }
    let seconds = u64::try_from(total / 1_000_000_000).unwrap_or(u64::MAX);
    let nanos = u32::try_from(total % 1_000_000_000).unwrap_or_default();
    Ok(Duration::new(seconds, nanos))
}

/// One number with its unit, in nanoseconds, and what follows it.
fn part(text: &str) -> Result<(u128, &str), &'static str> {
    let (whole, rest) = digits(text);
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(rest) => digits(rest),
        None => ("", rest),
    };
    if whole.is_empty() && fraction.is_empty() {
        return Err("a number is missing");
    }
    let end = rest
        .find(|c: char| c == '.' || c.is_ascii_digit())
        .unwrap_or(rest.len());
    let (name, after) = rest.split_at(end);
    if name.is_empty() {
        return Err("a unit is missing: ns, us, ms, s, m or h");
    }
    let unit = UNITS
        .iter()
        .find(|unit| unit.0 == name)
        .ok_or("the units are ns, us, ms, s, m and h")?
        .1;

    let whole = if whole.is_empty() {
        0
    } else {
        whole
            .parse::<u64>()
            .map_err(|_| "it is longer than 292 years")?
    };
    let fraction = fraction.get(..FRACTION_DIGITS).unwrap_or(fraction);
    let scale = fraction.bytes().fold(1_u128, |scale, _| scale * 10);
    let fraction = fraction
        .bytes()
        .fold(0_u128, |sum, digit| sum * 10 + u128::from(digit - b'0'));
    Ok((u128::from(whole) * unit + fraction * unit / scale, after))
}

fn digits(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_go_reads() {
        for (text, nanos) in [
            ("0", 0_u64),
            ("0s", 0),
            ("+5s", 5_000_000_000),
            ("5s", 5_000_000_000),
            ("300ms", 300_000_000),
            ("1m30s", 90_000_000_000),
            ("2h45m0.5s", 9_900_500_000_000),
            ("1.5h", 5_400_000_000_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("7ns", 7),
            ("7us", 7_000),
            ("7\u{b5}s", 7_000),
            ("7\u{3bc}s", 7_000),
            ("0.9ns", 0),
            ("0.3333333333333333333333333h", 1_200_000_000_000 - 1),
            ("9223372036854775807ns", i64::MAX as u64),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_nanos(nanos)), "{text}");
        }
    }

    #[test]
    fn refuses_what_go_refuses_and_negative_ones() {
        for text in [
            "",
            "+",
            "5",
            "-5s",
            "-0",
            "s",
            ".s",
            ".",
            "5 s",
            " 5s",
            "5s ",
            "5x",
            "5S",
            "1m30",
            "1e3s",
            "--5s",
            "9223372036854775808ns",
            "300000000h",
            "99999999999999999999s",
            "5d",
            "\u{663}s",
            "1s.",
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".*", near in "[-+0-9.nuµmshx ]{0,24}") {
            let _ = parse(&text);
            let _ = parse(&near);
        }

        #[test]
        fn what_is_written_is_read(h in 0_u64..2_000_000, m in 0_u64..60, s in 0_u64..60, ns in 0_u32..1_000_000_000) {
            let expected = Duration::new(h * 3600 + m * 60 + s, ns);
            proptest::prop_assert_eq!(parse(&format!("{h}h{m}m{s}.{ns:09}s")), Ok(expected));
        }
    }
}
