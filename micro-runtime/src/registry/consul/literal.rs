//! Short texts as zlib streams, bit by bit as Go's `compress/zlib` writes them.
//!
//! Go packs a short text without repetitions into one block of fixed codes (RFC 1951 §3.2.6) that is not the
//! last, and ends the stream with an empty stored block. Other libraries mark the first block as the last. Both
//! mean the same, but Consul compares tags as they are: with the same bits, a filter for Go's tag of
//! `{"protocol":"grpc"}` finds our nodes too.

/// From about here on Go finds a code of its own worth its description.
const TEXT_MAX: usize = 40;

/// The shortest repetition that Go refers back to.
const MATCH_MIN: usize = 4;

/// The stream, or `None` if Go would write this text in another way, or might.
pub(super) fn zlib(text: &[u8]) -> Option<Vec<u8>> {
    if text.is_empty() || text.len() > TEXT_MAX || repeats(text) {
        return None;
    }
    let mut bits = Bits::default();
    // Not the last block; fixed codes.
    bits.low_first(0b010, 3);
    for byte in text {
        match byte {
            0..=143 => bits.high_first(0x30 + u32::from(*byte), 8),
            144..=255 => bits.high_first(0x190 + u32::from(*byte) - 144, 9),
        }
    }
    // The end of the block.
    bits.high_first(0, 7);
    // The last block; stored; of no bytes.
    bits.low_first(0b001, 3);
    let mut stream = vec![0x78, 0x9c];
    stream.extend(bits.bytes);
    stream.extend([0, 0, 0xff, 0xff]);
    stream.extend(adler32(text).to_be_bytes());
    Some(stream)
}

fn repeats(text: &[u8]) -> bool {
    let windows = || text.windows(MATCH_MIN).enumerate();
    windows().any(|(at, window)| windows().take(at).any(|(_, before)| before == window))
}

/// RFC 1950 §8.2.
fn adler32(text: &[u8]) -> u32 {
    let (mut a, mut b) = (1, 0);
    for byte in text {
        a = (a + u32::from(*byte)) % 65_521;
        b = (b + a) % 65_521;
    }
    b << 16 | a
}

/// Bits, packed from the lowest of each byte upwards.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    /// How many bits of the last byte are used; 0 means all.
    used: u32,
}

// ===== impl Bits =====

impl Bits {
    fn push(&mut self, bit: u32) {
        if self.used == 0 {
            self.bytes.push(0);
        }
        if let Some(last) = self.bytes.last_mut()
            && bit & 1 == 1
        {
            *last |= 1 << self.used;
        }
        self.used = (self.used + 1) % 8;
    }

    /// A number: its lowest bit comes first.
    fn low_first(&mut self, number: u32, count: u32) {
        for index in 0..count {
            self.push(number >> index);
        }
    }

    /// A code: its highest bit comes first.
    fn high_first(&mut self, code: u32, count: u32) {
        for index in (0..count).rev() {
            self.push(code >> index);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::registry::common::hex::hex;

    /// Text and stream, as Go 1.26 writes them.
    const GO: &[(&str, &str)] = &[
        ("latest", "789cca492c492d2e01040000ffff08cc028e"),
        ("1.2.3", "789c32d433d23306040000ffff02d700f3"),
        (
            "v2.0.0-rc.1+build.7",
            "789c2a33d233d033d02d4ad633d44e2acdcc49d13307040000ffff33600566",
        ),
        (
            "{\"protocol\":\"grpc\"}",
            "789caa562a28ca2fc94fcecf51b2524a2f2a4856aa05040000ffff468306d9",
        ),
        (
            "{\"protocol\":\"mucp\"}",
            "789caa562a28ca2fc94fcecf51b252ca2d4d2e50aa05040000ffff46a906e2",
        ),
        (
            "{\"broker\":\"http\"}",
            "789caa564a2acacf4e2d52b252ca28292950aa05040000ffff364d0600",
        ),
        (
            "{\"broker\":\"memory\"}",
            "789caa564a2acacf4e2d52b252ca4dcdcd2faa54aa05040000ffff43d206d9",
        ),
        (
            "{\"registry\":\"consul\"}",
            "789caa562a4a4dcf2c2e29aa54b2524acecf2b2ecd51aa05040000ffff560f07c8",
        ),
        (
            "{\"server\":\"grpc\"}",
            "789caa562a4e2d2a4b2d52b2524a2f2a4856aa05040000ffff36fa05fe",
        ),
        (
            "{\"server\":\"mucp\"}",
            "789caa562a4e2d2a4b2d52b252ca2d4d2e50aa05040000ffff37200607",
        ),
        (
            "{\"transport\":\"grpc\"}",
            "789caa562a294acc2b2ec82f2a51b2524a2f2a4856aa05040000ffff4f4c0754",
        ),
        (
            "{\"transport\":\"http\"}",
            "789caa562a294acc2b2ec82f2a51b252ca28292950aa05040000ffff4f930768",
        ),
        (
            "{\"weight\":\"10\"}",
            "789caa562a4fcd4ccf2851b252323450aa05040000ffff28c104a4",
        ),
        (
            "{\"zone\":\"eu-central-1a\"}",
            "789caa56aacacf4b55b2524a2dd54d4ecd2b294accd1354c54aa05040000ffff66f70826",
        ),
        (
            "{\"region\":\"europe-west4\"}",
            "789caa562a4a4dcfcccf53b2524a2d2dca2f48d52d4f2d2e3151aa05040000ffff74ac08f3",
        ),
        (
            "{\"ü\":\"☺\"}",
            "789caa563abc47c94ae9d18c5d4ab580000000ffff22ab056e",
        ),
        (
            "2026.11.23-7f3a9c1e8b",
            "789c32323032d33334d43332d6354f334eb44c364cb54802040000ffff31d40518",
        ),
        ("0.0.1", "789c32d033d03304040000ffff02ca00ee"),
        ("a", "789c4a04040000ffff00620062"),
        (
            "{\"version\":\"1.27.4-alpine\"}",
            "789caa562a4b2d2acecccf53b25232d43332d733d14dcc29c8cc4b55aa05040000ffff79e00891",
        ),
        (
            "{\"build\":\"7f3a9c1e8b5d20467f\"}",
            "789caa564a2acdcc4951b252324f334eb44c364cb548324d31323031334f53aa05040000ffff8e4d08ca",
        ),
        (
            "{\"commit\":\"0123456789abcdef\"}",
            "789caa564acecfcdcd2c51b2523230343236313533b7b04c4c4a4e494d53aa05040000ffff827708a6",
        ),
        (
            "{\"datacenter\":\"us-east-2\"}",
            "789caa564a492c494c4ecd2b492d52b2522a2dd64d4d2c2ed13552aa05040000ffff7de708f7",
        ),
    ];

    #[test]
    fn writes_what_go_writes() {
        for (text, stream) in GO {
            assert_eq!(hex(&zlib(text.as_bytes()).unwrap()), *stream, "{text}");
        }
    }

    #[test]
    fn any_library_reads_it() {
        for text in [&b"a"[..], b"\xff\x90\x8f\x00", "{\"ü\":\"☺\"}".as_bytes()] {
            let stream = zlib(text).unwrap();
            let mut read = Vec::new();
            flate2::read::ZlibDecoder::new(stream.as_slice())
                .read_to_end(&mut read)
                .unwrap();
            assert_eq!(read, text);
        }
    }

    #[test]
    fn leaves_the_rest_to_others() {
        assert!(zlib(b"").is_none());
        assert!(zlib(b"abcdabcd").is_none());
        assert!(zlib(&[b'x'; 41]).is_none());
    }
}
