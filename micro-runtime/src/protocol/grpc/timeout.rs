//! Deadlines on the wire: gRPC's `grpc-timeout`, and go-micro's `timeout`.

use std::time::Duration;

use bytes::Bytes;

/// Reads `grpc-timeout`: at most eight digits and a unit (gRPC over HTTP/2, "Timeout").
///
/// # Errors
/// The text is not a time-out.
pub(crate) fn parse(text: &[u8]) -> Result<Duration, ()> {
    let (&unit, digits) = text.split_last().ok_or(())?;
    if digits.is_empty() || digits.len() > 8 {
        return Err(());
    }
    let mut value = 0u64;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return Err(());
        }
        value = value * 10 + u64::from(digit - b'0');
    }
    Ok(match unit {
        b'H' => Duration::from_secs(value * 3600),
        b'M' => Duration::from_secs(value * 60),
        b'S' => Duration::from_secs(value),
        b'm' => Duration::from_millis(value),
        b'u' => Duration::from_micros(value),
        b'n' => Duration::from_nanos(value),
        _ => return Err(()),
    })
}

/// Writes `grpc-timeout` in the finest unit that fits eight digits, rounded up, never 0: a time-out that was
/// rounded down would end before the caller's own.
pub(crate) fn format(time: Duration) -> Bytes {
    const LARGEST: u128 = 99_999_999;
    let nanos = time.as_nanos().max(1);
    let units: [(u128, char); 6] = [
        (1, 'n'),
        (1_000, 'u'),
        (1_000_000, 'm'),
        (1_000_000_000, 'S'),
        (60_000_000_000, 'M'),
        (3_600_000_000_000, 'H'),
    ];
    for (size, unit) in units {
        let value = nanos.div_ceil(size);
        if value <= LARGEST {
            return Bytes::from(format!("{value}{unit}"));
        }
    }
    Bytes::from_static(b"99999999H")
}

/// Reads go-micro's `timeout`: nanoseconds in decimal. Like go-micro, it takes anything else as absent.
pub(crate) fn parse_go(text: &[u8]) -> Option<Duration> {
    let nanos = std::str::from_utf8(text).ok()?.parse::<u64>().ok()?;
    Some(Duration::from_nanos(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_text_is_a_time_or_an_error(text in any::<Vec<u8>>()) {
            if let Ok(time) = parse(&text) {
                prop_assert!(time <= Duration::from_secs(99_999_999 * 3600));
            }
            let _ = parse_go(&text);
        }

        #[test]
        fn what_is_written_is_read_again(nanos in any::<u64>()) {
            let time = Duration::from_nanos(nanos);
            prop_assert!(parse(&format(time)).unwrap() >= time);
        }
    }

    #[test]
    fn reads_each_unit() {
        let seconds = Duration::from_secs;
        assert_eq!(parse(b"2H"), Ok(seconds(7200)));
        assert_eq!(parse(b"2M"), Ok(seconds(120)));
        assert_eq!(parse(b"99999999S"), Ok(seconds(99_999_999)));
        assert_eq!(parse(b"4997503u"), Ok(Duration::from_micros(4_997_503)));
        for wrong in ["", "S", "1", "1s", "-1S", "123456789S", "1 S", "\u{661}S"] {
            assert_eq!(parse(wrong.as_bytes()), Err(()), "{wrong:?}");
        }
    }

    #[test]
    fn writes_up_and_never_zero() {
        assert_eq!(format(Duration::ZERO), "1n");
        assert_eq!(format(Duration::from_nanos(99_999_999)), "99999999n");
        assert_eq!(format(Duration::from_nanos(100_000_001)), "100001u");
        assert_eq!(format(Duration::from_secs(5)), "5000000u");
        assert_eq!(format(Duration::MAX), "99999999H");
    }

    #[test]
    fn what_is_written_is_read_as_no_less() {
        for nanos in [1, 999, 1_000_001, 123_456_789_012, u64::MAX] {
            let time = Duration::from_nanos(nanos);
            assert!(parse(&format(time)).unwrap() >= time);
        }
    }

    #[test]
    fn go_writes_nanoseconds() {
        assert_eq!(parse_go(b"5000000000"), Some(Duration::from_secs(5)));
        assert_eq!(parse_go(b"-1"), None);
        assert_eq!(parse_go(b"5s"), None);
    }
}
