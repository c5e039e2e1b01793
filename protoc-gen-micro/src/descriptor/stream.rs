//! Reads a request without what nobody looks at.

use std::io::{self, BufRead, BufReader, Read};

/// `CodeGeneratorRequest.source_file_descriptors`: the files to generate code for once more, with the options that are
/// only for whoever reads the source. In a large run that is half of the request.
const SKIPPED: u64 = 17;

/// The longest varint, in bytes.
const VARINT: usize = 10;

/// Reads an encoded `CodeGeneratorRequest` to its end, but for its `source_file_descriptors`.
///
/// What is malformed is kept as it is, for who decodes it to find.
///
/// # Errors
/// If reading fails.
pub(crate) fn read_request(input: &mut dyn Read) -> io::Result<Vec<u8>> {
    let mut input = BufReader::with_capacity(1 << 16, input);
    let mut request = Vec::new();
    loop {
        let start = request.len();
        let Some(key) = varint(&mut input, &mut request)? else {
            // The end, or no key.
            break;
        };
        match key & 7 {
            0 => {
                if varint(&mut input, &mut request)?.is_none() {
                    break;
                }
            }
            1 => copy(&mut input, 8, &mut request)?,
            2 => {
                let Some(length) = varint(&mut input, &mut request)? else {
                    break;
                };
                if key >> 3 == SKIPPED {
                    let mut skipped = (&mut input).take(length);
                    if io::copy(&mut skipped, &mut io::sink())? < length {
                        // Cut short; the length that is left says so.
                        break;
                    }
                    request.truncate(start);
                } else {
                    copy(&mut input, length, &mut request)?;
                }
            }
            5 => copy(&mut input, 4, &mut request)?,
            _ => break,
        }
    }
    input.read_to_end(&mut request)?;
    Ok(request)
}

/// Copies up to so many bytes. Memory is taken as they come: the length is the sender's word.
fn copy(input: &mut impl Read, length: u64, request: &mut Vec<u8>) -> io::Result<()> {
    input.take(length).read_to_end(request).map(drop)
}

/// Copies a varint, and gives its value; `None` if there is none, or not all of it.
fn varint(input: &mut impl BufRead, request: &mut Vec<u8>) -> io::Result<Option<u64>> {
    let mut value = 0;
    for index in 0..VARINT {
        let Some(byte) = input.bytes().next().transpose()? else {
            return Ok(None);
        };
        request.push(byte);
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(mut bytes: &[u8]) -> Vec<u8> {
        read_request(&mut bytes).unwrap_or_default()
    }

    #[test]
    fn the_second_copy_of_the_files_is_left_out() {
        // 1: "a"; 17: "bc"; 3: 300; 2: "d"; 4: 4 bytes; 5: 8 bytes.
        let others = [
            &[0x0a, 1, b'a'][..],
            &[0x18, 0xac, 0x02],
            &[0x12, 1, b'd'],
            &[0x25, 1, 2, 3, 4],
            &[0x29, 1, 2, 3, 4, 5, 6, 7, 8],
        ];
        let with: Vec<u8> = others
            .iter()
            .flat_map(|field| [field, &[0x8a, 0x01, 2, b'b', b'c'][..]].concat())
            .collect();
        assert_eq!(read(&with), others.concat());
    }

    #[test]
    fn what_is_malformed_stays() {
        for bytes in [
            // Cut off in a key, in a length, in a value, in what is skipped.
            &[0x8a][..],
            &[0x0a, 0x80],
            &[0x0a, 3, b'a'],
            &[0x8a, 0x01, 0x80],
            &[0x18, 0x80],
            &[0x25, 1],
            // A group, and a key that never ends.
            &[0x0b, 1, 2, 3],
            &[0xff; 24],
        ] {
            assert_eq!(read(bytes), bytes);
        }
        assert_eq!(read(&[0x8a, 0x01, 3, b'a']), [0x8a, 0x01, 3]);
    }
}
