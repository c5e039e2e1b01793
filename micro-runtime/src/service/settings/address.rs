//! Where a server listens: `host:port`, Go's `:port`, or `unix:/path`.

use super::value::Given;
use crate::error::Error;
use crate::transport::Address;

/// Reads where to listen: `:0`, `0.0.0.0:80`, `[::]:80`, `host:80`, `*:80` or `unix:/path`. An IPv6 address
/// needs its brackets.
///
/// # Errors
/// It is none of these.
pub(crate) fn listen(given: &Given<'_>) -> Result<Address, Error> {
    let expected = || given.expected("host:port, :port or unix:/path (an IPv6 host in brackets)");
    if let Some(path) = given.text.strip_prefix("unix:") {
        if path.is_empty() || path.contains('\0') {
            return Err(expected());
        }
        return Ok(Address::Unix(path.into()));
    }
    let (host, port) = split(given.text).ok_or_else(expected)?;
    let port = port.ok_or_else(expected)?;
    let host = match host {
        "*" => "",
        host => host,
    };
    Ok(Address::Tcp {
        host: host.to_owned(),
        port,
    })
}

/// Parts `host:port`, `[v6]:port`, `:port` or a host alone, without its brackets; `None` if it is none of
/// these. An IPv6 address without brackets is a host alone, whatever its end looks like.
pub(crate) fn split(text: &str) -> Option<(&str, Option<u16>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        host.parse::<std::net::Ipv6Addr>().ok()?;
        return match rest.strip_prefix(':') {
            Some(port) => Some((host, Some(number(port)?))),
            None if rest.is_empty() => Some((host, None)),
            None => None,
        };
    }
    if text.parse::<std::net::Ipv6Addr>().is_ok() {
        return Some((text, None));
    }
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(number(port)?)),
        None => (text, None),
    };
    let sound = |c: char| !c.is_whitespace() && !c.is_control() && !"/[]@,\\\"'".contains(c);
    host.chars().all(sound).then_some((host, port))
}

/// A port: digits only, so that `+80` is none.
fn number(text: &str) -> Option<u16> {
    text.bytes().all(|b| b.is_ascii_digit()).then_some(())?;
    text.parse().ok()
}

/// `host:port`, with brackets around an IPv6 address.
pub(crate) fn join(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

#[cfg(test)]
mod tests {
    use super::super::value::Origin;
    use super::*;

    fn parse(text: &str) -> Result<Address, Error> {
        listen(&Given {
            text,
            origin: Origin::Variable("MICRO_SERVER_ADDRESS"),
        })
    }

    #[test]
    fn reads_the_forms_and_writes_them_again() {
        for (text, host, port, again) in [
            (":0", "", 0, ":0"),
            (":65535", "", 65535, ":65535"),
            ("*:80", "", 80, ":80"),
            ("0.0.0.0:80", "0.0.0.0", 80, "0.0.0.0:80"),
            ("[::]:80", "::", 80, "[::]:80"),
            ("[fd00::1]:80", "fd00::1", 80, "[fd00::1]:80"),
            ("localhost:08", "localhost", 8, "localhost:8"),
        ] {
            let address = parse(text).unwrap();
            assert_eq!(
                address,
                Address::Tcp {
                    host: host.to_owned(),
                    port
                },
                "{text}"
            );
            assert_eq!(address.to_string(), again);
        }
        let unix = parse("unix:/run/hello.sock").unwrap();
        assert_eq!(unix, Address::Unix("/run/hello.sock".into()));
        assert_eq!(unix.to_string(), "unix:/run/hello.sock");
    }

    #[test]
    fn refuses_the_rest() {
        for text in [
            "",
            "80",
            "localhost",
            ":",
            "a:b",
            "a:+80",
            "a:65536",
            "::1",
            "::1:80",
            "[::1]",
            "[::1]80",
            "[::1",
            "[a]:80",
            "[]:80",
            "a b:80",
            "http://a:80",
            "a:80:90",
            "unix:",
            "host:5000-5010",
            "a:-1",
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(
                error.starts_with("MICRO_SERVER_ADDRESS: expected host:port"),
                "{text}: {error}"
            );
            assert!(error.ends_with(&format!("found {text:?}")), "{error}");
        }
    }
}
