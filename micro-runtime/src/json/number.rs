//! Numbers, exactly: an integer is an integer however it is spelled, and nothing is rounded on the way.

use std::fmt::Display;
use std::str::FromStr;

use super::error::{JsonError, Result, excerpt};
use super::message::Parsed;
use super::reader::expected;
use super::source::Token;

/// Digits that a 64-bit integer has at most; what has more is out of range.
const MAX_DIGITS: usize = 20;

/// An integer type of protobuf.
pub(super) trait Integer: TryFrom<u64> + TryFrom<i64> + TryFrom<i128> + Display {
    /// For errors.
    const EXPECTED: &'static str;
}

impl Integer for i32 {
    const EXPECTED: &'static str = "a 32-bit integer";
}

impl Integer for i64 {
    const EXPECTED: &'static str = "a 64-bit integer";
}

impl Integer for u32 {
    const EXPECTED: &'static str = "an unsigned 32-bit integer";
}

impl Integer for u64 {
    const EXPECTED: &'static str = "an unsigned 64-bit integer";
}

/// The integer of a token, in quotes or not.
pub(super) fn integer_or_null<I: Integer>(token: &Token<'_>) -> Result<Parsed<I>> {
    // The usual cases first.
    let value = match token {
        Token::Unsigned(value) => I::try_from(*value).ok(),
        Token::Text(text) => parse_plain(text).and_then(|value| I::try_from(value).ok()),
        Token::Null => return Ok(Parsed::Null),
        _ => None,
    };
    match value {
        Some(value) => Ok(Parsed::Value(value)),
        None => integer(token).map(Parsed::Value),
    }
}

/// The integer of a token that is not null.
pub(super) fn integer<I: Integer>(token: &Token<'_>) -> Result<I> {
    match token {
        Token::Unsigned(value) => I::try_from(*value).ok(),
        Token::Signed(value) => I::try_from(*value).ok(),
        Token::Float(_) => return Err(JsonError::inexact()),
        Token::Decimal(text) | Token::Text(text) => quoted(text),
        Token::Null | Token::Bool(_) | Token::List | Token::Object => None,
    }
    .ok_or_else(|| expected(I::EXPECTED, token))
}

/// The value of a few plain digits, which nearly all integers in quotes are.
fn parse_plain(text: &str) -> Option<u64> {
    /// So few digits always fit.
    const DIGITS: usize = 19;

    let leading_zero = text.len() > 1 && text.starts_with('0');
    if text.is_empty() || text.len() > DIGITS || leading_zero {
        return None;
    }
    let mut value = 0;
    for byte in text.bytes() {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + u64::from(digit);
    }
    Some(value)
}

/// A number of JSON's grammar, taken apart.
struct Decimal<'t> {
    negative: bool,
    integer: &'t str,
    fraction: &'t str,
    exponent: i64,
}

// ===== impl Decimal =====

impl<'t> Decimal<'t> {
    /// Checks JSON's grammar: no plus sign, no leading zero, no bare point, no space.
    fn parse(text: &'t str) -> Option<Decimal<'t>> {
        let (negative, rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (integer, rest) = digits(rest);
        if integer.is_empty() || (integer.len() > 1 && integer.starts_with('0')) {
            return None;
        }
        let (fraction, rest) = match rest.strip_prefix('.') {
            Some(rest) => digits(rest),
            None => ("", rest),
        };
        if fraction.is_empty() && text.contains('.') {
            return None;
        }
        let exponent = match rest.strip_prefix(['e', 'E']) {
            None if rest.is_empty() => 0,
            None => return None,
            Some(rest) => {
                let (sign, rest) = match rest.strip_prefix('-') {
                    Some(rest) => (-1, rest),
                    None => (1, rest.strip_prefix('+').unwrap_or(rest)),
                };
                let (digits, rest) = digits(rest);
                if digits.is_empty() || !rest.is_empty() {
                    return None;
                }
                // An exponent that does not fit is far beyond every number that does.
                sign * digits.parse::<i64>().unwrap_or(i64::MAX / 2)
            }
        };
        Some(Decimal {
            negative,
            integer,
            fraction,
            exponent,
        })
    }
}

/// Whether a text is a number of JSON's grammar.
#[cfg(feature = "serde")]
pub(super) fn is_number(text: &str) -> bool {
    Decimal::parse(text).is_some()
}

/// Splits the digits off that a text starts with.
fn digits(text: &str) -> (&str, &str) {
    let end = text
        .bytes()
        .position(|byte| !byte.is_ascii_digit())
        .unwrap_or(text.len());
    text.split_at(end)
}

/// The value of a number that has no fraction, such as `1e2` or `1.50e1`, if it has at most 20 digits.
fn parse_integer(text: &str) -> Option<i128> {
    let decimal = Decimal::parse(text)?;
    let digits = || decimal.integer.bytes().chain(decimal.fraction.bytes());
    // Digits from the first that is not zero up to the last that is not zero.
    let Some(first) = digits().position(|digit| digit != b'0') else {
        return Some(0);
    };
    let length = decimal.integer.len() + decimal.fraction.len();
    let trailing = decimal
        .fraction
        .bytes()
        .rev()
        .chain(decimal.integer.bytes().rev())
        .take_while(|digit| *digit == b'0')
        .count();
    let significant = length - trailing - first;
    // How many zeros follow those digits; fewer than none is a fraction.
    let zeros = i64::try_from(trailing).ok()? - i64::try_from(decimal.fraction.len()).ok()?
        + decimal.exponent;
    let zeros = usize::try_from(zeros).ok()?;
    if significant.checked_add(zeros)? > MAX_DIGITS {
        return None;
    }
    let mut value: i128 = 0;
    for digit in digits().skip(first).take(significant) {
        value = value * 10 + i128::from(digit - b'0');
    }
    for _ in 0..zeros {
        value *= 10;
    }
    Some(if decimal.negative { -value } else { value })
}

/// A floating-point type of protobuf.
pub(super) trait Float: FromStr + Copy {
    /// For errors.
    const EXPECTED: &'static str;
    const NAN: Self;
    const INFINITY: Self;
    const NEGATIVE_INFINITY: Self;

    fn from_unsigned(value: u64) -> Self;
    fn from_signed(value: i64) -> Self;
    /// `None` if the double has been rounded such that rounding it again might go wrong.
    fn from_double(value: f64) -> Option<Self>;
    fn is_finite(self) -> bool;
}

impl Float for f64 {
    const EXPECTED: &'static str = "a double";
    const NAN: f64 = f64::NAN;
    const INFINITY: f64 = f64::INFINITY;
    const NEGATIVE_INFINITY: f64 = f64::NEG_INFINITY;

    fn from_unsigned(value: u64) -> f64 {
        value as f64
    }

    fn from_signed(value: i64) -> f64 {
        value as f64
    }

    fn from_double(value: f64) -> Option<f64> {
        Some(value)
    }

    fn is_finite(self) -> bool {
        f64::is_finite(self)
    }
}

impl Float for f32 {
    const EXPECTED: &'static str = "a float";
    const NAN: f32 = f32::NAN;
    const INFINITY: f32 = f32::INFINITY;
    const NEGATIVE_INFINITY: f32 = f32::NEG_INFINITY;

    fn from_unsigned(value: u64) -> f32 {
        value as f32
    }

    fn from_signed(value: i64) -> f32 {
        value as f32
    }

    fn from_double(value: f64) -> Option<f32> {
        /// The bits of a double that a float has not: 52 − 23 of the mantissa.
        const DROPPED: u64 = (1 << 29) - 1;
        const HALF: u64 = 1 << 28;

        // Half-way between two floats, the text may lie to either side. Below the normal floats more bits are
        // dropped.
        let half_way = value.to_bits() & DROPPED == HALF;
        let subnormal = value != 0.0 && value.abs() < f64::from(f32::MIN_POSITIVE);
        (!half_way && !subnormal).then_some(value as f32)
    }

    fn is_finite(self) -> bool {
        f32::is_finite(self)
    }
}

/// The floating-point number of a token, in quotes or not.
pub(super) fn float_or_null<F: Float>(token: &Token<'_>) -> Result<Parsed<F>> {
    match token {
        Token::Null => Ok(Parsed::Null),
        token => float(token).map(Parsed::Value),
    }
}

/// The floating-point number of a token that is not null.
pub(super) fn float<F: Float>(token: &Token<'_>) -> Result<F> {
    let value = match token {
        Token::Unsigned(value) => Some(F::from_unsigned(*value)),
        Token::Signed(value) => Some(F::from_signed(*value)),
        Token::Float(value) => Some(F::from_double(*value).ok_or_else(JsonError::inexact)?),
        Token::Text(text) => match &**text {
            "NaN" => return Ok(F::NAN),
            "Infinity" => return Ok(F::INFINITY),
            "-Infinity" => return Ok(F::NEGATIVE_INFINITY),
            text => Decimal::parse(text).and_then(|_| text.parse().ok()),
        },
        Token::Decimal(text) => text.parse().ok(),
        Token::Null | Token::Bool(_) | Token::List | Token::Object => None,
    };
    match value {
        Some(value) if value.is_finite() => Ok(value),
        // A finite number that is too large, or no number at all.
        _ => Err(expected(F::EXPECTED, token)),
    }
}

/// The integer in a string, if it is one: some write the numbers of enum values so.
pub(super) fn quoted<I: Integer>(text: &str) -> Option<I> {
    parse_integer(text).and_then(|value| I::try_from(value).ok())
}

/// The integer of a map's key.
pub(super) fn key<I: Integer>(key: &str) -> Result<I> {
    quoted(key).ok_or_else(|| {
        JsonError::data(format_args!(
            "expected {} as a key, found {:?}",
            I::EXPECTED,
            excerpt(key)
        ))
    })
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    #[test]
    fn integers_are_exact() {
        let cases = [
            ("0", Some(0)),
            ("-0", Some(0)),
            ("0e99999999999999999999", Some(0)),
            ("0.000", Some(0)),
            ("1e2", Some(100)),
            ("1.0", Some(1)),
            ("1.50e1", Some(15)),
            ("-12.5E+1", Some(-125)),
            ("100e-2", Some(1)),
            ("18446744073709551615", Some(18_446_744_073_709_551_615)),
            ("9007199254740993.0", Some(9_007_199_254_740_993)),
            ("1e19", Some(10_000_000_000_000_000_000)),
            ("0.00000000000000000000000001e26", Some(1)),
            ("1e20", None),
            ("1e99999999999999999999", None),
            ("0.5", None),
            ("1e-1", None),
            ("1.0000000000000000000001", None),
            ("", None),
            ("-", None),
            ("+1", None),
            ("01", None),
            ("1.", None),
            (".5", None),
            ("1e", None),
            ("1e+", None),
            (" 1", None),
            ("1 ", None),
            ("0x10", None),
            ("1e1.0", None),
            ("١", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_integer(text), expected, "{text:?}");
            if let Some(plain) = parse_plain(text) {
                assert_eq!(Some(i128::from(plain)), expected, "{text:?}");
            }
        }
    }

    #[test]
    fn floats_are_rounded_once() {
        // Just above the middle between two floats; as a double it is the middle, which would round down.
        let text = "1.00000005960464477539062500001";
        let once: f32 = text.parse().unwrap();
        assert_ne!(once, text.parse::<f64>().unwrap() as f32);
        assert!(
            float::<f32>(&Token::Float(text.parse().unwrap()))
                .unwrap_err()
                .is_inexact()
        );
        assert_eq!(
            float::<f32>(&Token::Decimal(Cow::Borrowed(text))).unwrap(),
            once
        );
    }

    #[test]
    fn floats_have_a_range() {
        assert!(float::<f32>(&Token::Float(3.5e38)).is_err());
        assert!(float::<f64>(&Token::Decimal(Cow::Borrowed("1e400"))).is_err());
        assert!(float::<f64>(&Token::Text(Cow::Borrowed("1e400"))).is_err());
        assert!(float::<f64>(&Token::Text(Cow::Borrowed("inf"))).is_err());
        assert!(float::<f64>(&Token::Text(Cow::Borrowed("nan"))).is_err());
        assert!(
            float::<f64>(&Token::Text(Cow::Borrowed("Infinity")))
                .unwrap()
                .is_infinite()
        );
    }
}
