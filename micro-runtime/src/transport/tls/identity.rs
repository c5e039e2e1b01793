//! What a certificate calls its owner.

use bytes::Bytes;
use tokio_rustls::rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

use crate::exchange::{Names, PeerIdentity};

/// The identity in a certificate that was verified.
pub(super) fn of(certificate: &CertificateDer<'_>) -> PeerIdentity {
    let bytes = Bytes::copy_from_slice(certificate);
    let names = match EndEntityCert::try_from(certificate) {
        Ok(parsed) => Names {
            dns: parsed.valid_dns_names().map(Box::from).collect(),
            uris: parsed.valid_uri_names().map(Box::from).collect(),
            common_name: common_name(parsed.subject()),
        },
        // It was read in the same way when it was verified.
        Err(_) => Names::default(),
    };
    PeerIdentity::new(bytes, names)
}

/// ASN.1 tags (X.690 §8, in the short form of one byte).
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_IDENTIFIER: u8 = 0x06;
const UTF8_STRING: u8 = 0x0c;
const PRINTABLE_STRING: u8 = 0x13;
const IA5_STRING: u8 = 0x16;

/// id-at-commonName, 2.5.4.3 (X.520).
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

/// The last common name of a subject: a sequence, without its own head, of sets of pairs (RFC 5280 §4.1.2.4).
fn common_name(mut subject: &[u8]) -> Option<Box<str>> {
    let mut found = None;
    while let Some((SET, mut set)) = take(&mut subject) {
        while let Some((SEQUENCE, mut pair)) = take(&mut set) {
            let (Some((OBJECT_IDENTIFIER, kind)), Some(value)) = (take(&mut pair), take(&mut pair))
            else {
                return found;
            };
            if kind == COMMON_NAME
                && let (UTF8_STRING | PRINTABLE_STRING | IA5_STRING, text) = value
                && let Ok(text) = std::str::from_utf8(text)
            {
                found = Some(text.into());
            }
        }
    }
    found
}

/// The next element, its tag and its contents; none at the end, and where it is not whole.
fn take<'a>(input: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (&tag, rest) = input.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let len = if first < 0x80 {
        usize::from(first)
    } else {
        // A subject is far below 64 KiB, as the certificate is: two bytes of length are enough.
        let bytes = usize::from(first & 0x7f);
        if !(1..=2).contains(&bytes) {
            return None;
        }
        let (len, after) = rest.split_at_checked(bytes)?;
        rest = after;
        len.iter()
            .fold(0, |len, &byte| len << 8 | usize::from(byte))
    };
    let (value, rest) = rest.split_at_checked(len)?;
    *input = rest;
    Some((tag, value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn element(tag: u8, contents: &[&[u8]]) -> Vec<u8> {
        let contents = contents.concat();
        let mut out = vec![tag];
        match contents.len() {
            len @ 0..0x80 => out.push(len as u8),
            len => out.extend([0x82, (len >> 8) as u8, len as u8]),
        }
        out.extend(contents);
        out
    }

    fn pair(kind: &[u8], tag: u8, text: &str) -> Vec<u8> {
        let kind = element(OBJECT_IDENTIFIER, &[kind]);
        element(SEQUENCE, &[&kind, &element(tag, &[text.as_bytes()])])
    }

    #[test]
    fn finds_the_last_common_name() {
        let organisation = pair(&[0x55, 0x04, 0x0a], UTF8_STRING, "shop");
        let (first, last) = (
            pair(COMMON_NAME, PRINTABLE_STRING, "first"),
            pair(COMMON_NAME, UTF8_STRING, &"ä".repeat(100)),
        );
        let subject = [
            element(SET, &[&organisation]),
            element(SET, &[&first]),
            element(SET, &[&organisation, &last]),
        ]
        .concat();
        assert_eq!(common_name(&subject), Some("ä".repeat(100).into()));
        assert_eq!(common_name(&element(SET, &[&organisation])), None);
        assert_eq!(common_name(&[]), None);
        // A universal string (0x1c) is not UTF-8.
        let other = pair(COMMON_NAME, 0x1c, "x");
        assert_eq!(common_name(&element(SET, &[&other])), None);
    }

    proptest! {
        #[test]
        fn reads_anything(bytes in any::<Vec<u8>>()) {
            let _ = common_name(&bytes);
        }
    }
}
