//! Bytes: base64 in JSON.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};

use super::error::{JsonError, Result, excerpt};

/// Padded or not, and with bits left over at the end: `-_` is one byte, as other implementations have it.
const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);

const READ_STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const READ_URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// Reads base64 of either alphabet.
pub(super) fn decode(text: &str) -> Result<Vec<u8>> {
    // What another implementation wrote is of the standard alphabet; the other one is tried where that fails, which
    // costs less than to look for it first.
    READ_STANDARD
        .decode(text)
        .or_else(|_| READ_URL_SAFE.decode(text))
        .map_err(|_| JsonError::data(format_args!("expected base64, found {:?}", excerpt(text))))
}

/// Appends standard base64, padded.
pub(super) fn encode(bytes: &[u8], buffer: &mut Vec<u8>) {
    /// Bytes to encode at a time: a multiple of three, so that only the last piece is padded.
    const PIECE: usize = 192;
    /// What they become: four characters for each three.
    const ENCODED: usize = PIECE / 3 * 4;

    for piece in bytes.chunks(PIECE) {
        let start = buffer.len();
        buffer.resize(start + ENCODED, 0);
        let written = match buffer.get_mut(start..) {
            // The space is enough for the piece, so this cannot fail.
            Some(space) => STANDARD.encode_slice(piece, space).unwrap_or_default(),
            None => 0,
        };
        buffer.truncate(start + written);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_alphabets_padded_or_not() {
        for text in ["+/8=", "+/8", "-_8=", "-_8"] {
            assert_eq!(decode(text).unwrap(), [0xfb, 0xff], "{text}");
        }
        assert_eq!(decode("-_").unwrap(), [0xfb]);
        assert_eq!(decode("").unwrap(), [0; 0]);
        for text in ["A", "+_8=", "AA==AA==", "AA A", "ÄÄ", "A=", "===="] {
            assert!(decode(text).is_err(), "{text}");
        }
    }

    #[test]
    fn writes_what_it_reads() {
        for length in [0, 1, 2, 3, 191, 192, 193, 500] {
            let bytes: Vec<u8> = (0..length).map(|n| (n * 7) as u8).collect();
            let mut text = b"x".to_vec();
            encode(&bytes, &mut text);
            assert_eq!(text.len(), 1 + usize::div_ceil(bytes.len(), 3) * 4);
            assert_eq!(
                decode(std::str::from_utf8(&text[1..]).unwrap()).unwrap(),
                bytes
            );
        }
    }
}
