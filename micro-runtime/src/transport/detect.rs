//! Which protocol a new connection speaks, by its first bytes.

use std::io;
use std::ops::ControlFlow;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// How a client begins HTTP/2 (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The longest request line that is waited for.
const LONGEST: usize = 16 * 1024;

/// How a TLS client begins: a record of its handshake, of protocol version 3 and something (RFC 8446 §5.1).
const HANDSHAKE: u8 = 0x16;
const TLS: u8 = 3;

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spoken {
    Http2,
    /// HTTP/1.0 or 1.1: a whole request line was read.
    Http1,
    /// TLS: a handshake record began.
    Tls,
    Unknown,
}

/// Reads until it is clear what a connection speaks; gives what was read.
pub(super) async fn detect(io: &mut (impl AsyncRead + Unpin)) -> io::Result<(Spoken, Bytes)> {
    let mut read = BytesMut::with_capacity(1024);
    loop {
        if let ControlFlow::Break(spoken) = classify(&read) {
            return Ok((spoken, read.freeze()));
        }
        if read.len() >= LONGEST || io.read_buf(&mut read).await? == 0 {
            return Ok((Spoken::Unknown, read.freeze()));
        }
    }
}

fn classify(read: &[u8]) -> ControlFlow<Spoken> {
    if read.starts_with(PREFACE) {
        return ControlFlow::Break(Spoken::Http2);
    }
    if PREFACE.starts_with(read) {
        return ControlFlow::Continue(());
    }
    if let [HANDSHAKE, rest @ ..] = read {
        return match rest {
            [] => ControlFlow::Continue(()),
            [TLS, ..] => ControlFlow::Break(Spoken::Tls),
            [_, ..] => ControlFlow::Break(Spoken::Unknown),
        };
    }
    let Some(end) = read.iter().position(|&byte| byte == b'\n') else {
        // What can never become a request line is not waited for.
        let text = read.strip_suffix(b"\r").unwrap_or(read);
        let method = text.split(|&byte| byte == b' ').next().unwrap_or_default();
        return match is_method(method) && text.iter().all(|&byte| is_visible(byte)) {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(Spoken::Unknown),
        };
    };
    let line = read.get(..end).unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let mut parts = line.split(|&byte| byte == b' ');
    let (method, target, version) = (parts.next(), parts.next(), parts.next());
    let is_request = method.is_some_and(is_method)
        && target.is_some_and(|target| !target.is_empty())
        && matches!(version, Some(b"HTTP/1.1" | b"HTTP/1.0"))
        && parts.next().is_none()
        && line.iter().all(|&byte| is_visible(byte));
    ControlFlow::Break(match is_request {
        true => Spoken::Http1,
        false => Spoken::Unknown,
    })
}

/// No registered method is longer than 17 letters (UPDATEREDIRECTREF).
fn is_method(text: &[u8]) -> bool {
    (1..=20).contains(&text.len())
        && text
            .iter()
            .all(|&byte| byte.is_ascii_alphabetic() || byte == b'-')
}

/// Bytes beyond ASCII are not of a target, but are seen there.
fn is_visible(byte: u8) -> bool {
    byte >= b' ' && byte != 0x7f
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn knows_whole_beginnings() {
        for (read, spoken) in [
            (PREFACE, Spoken::Http2),
            (b"GET / HTTP/1.1\r\n", Spoken::Http1),
            (b"POST /a?b=c HTTP/1.0\nx", Spoken::Http1),
            (b"M-SEARCH * HTTP/1.1\r\n", Spoken::Http1),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX", Spoken::Unknown),
            (b"PRI * HTTP/2.0\n", Spoken::Unknown),
            (b"GET / HTTP/3\r\n", Spoken::Unknown),
            (b"GET /\r\n", Spoken::Unknown),
            (b"GET  HTTP/1.1\r\n", Spoken::Unknown),
            (b"GET / a HTTP/1.1\r\n", Spoken::Unknown),
            (b"GET /\x01 HTTP/1.1\r\n", Spoken::Unknown),
            (b"\r\nGET / HTTP/1.1\r\n", Spoken::Unknown),
            (b"\x16\x03\x01\x02", Spoken::Tls),
            (b"\x16\x03", Spoken::Tls),
            (b"\x16\x02\x01", Spoken::Unknown),
            // What SSH begins with.
            (b"SSH-2.0-OpenSSH_9.6\r\n", Spoken::Unknown),
            (b"METHODSARENOTTHISLONG", Spoken::Unknown),
        ] {
            assert_eq!(classify(read), ControlFlow::Break(spoken), "{read:?}");
        }
    }

    #[test]
    fn waits_for_what_may_still_come() {
        for read in [
            &b""[..],
            b"P",
            b"PRI * HT",
            b"GET",
            b"GET /some/pa",
            b"GET / HTTP/1.1\r",
            b"\x16",
        ] {
            assert_eq!(classify(read), ControlFlow::Continue(()), "{read:?}");
        }
    }

    proptest! {
        #[test]
        fn more_bytes_do_not_change_an_answer(read in any::<Vec<u8>>(), more in any::<Vec<u8>>()) {
            if let ControlFlow::Break(spoken) = classify(&read) {
                let longer = [&read[..], &more[..]].concat();
                prop_assert_eq!(classify(&longer), ControlFlow::Break(spoken));
            }
        }
    }
}
