//! [`Address`]: where to listen and whom to dial.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::{Error, ErrorKind};

/// An address to listen on, or to dial.
///
/// | text | meaning |
/// |---|---|
/// | `host:port`, `10.0.0.7:5000`, `[::1]:5000` | TCP; all addresses of a name are tried |
/// | `:5000`, `[::]:5000` | listening: every interface, IPv6 and IPv4; dialling: this machine |
/// | `0.0.0.0:5000` | listening: every interface, IPv4; dialling: this machine |
/// | `:0` | listening: a free port |
/// | `unix:/run/hello.sock` | a Unix socket |
///
/// ```
/// use micro_runtime::transport::Address;
///
/// let address: Address = "[::1]:5000".parse()?;
/// assert_eq!(address.to_string(), "[::1]:5000");
/// assert!("no port".parse::<Address>().is_err());
/// # Ok::<_, micro_runtime::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Address {
    /// TCP.
    Tcp {
        /// A name or an address, without brackets; empty for every interface.
        host: String,
        /// The port; 0 lets the system choose one.
        port: u16,
    },
    /// A Unix socket, by its path.
    Unix(PathBuf),
}

impl FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Address, Error> {
        let wrong = |what: &str| {
            let expected = "expected host:port, [ipv6]:port, :port or unix:/path";
            Error::new(
                ErrorKind::Transport,
                format!("the address {text:?} cannot be used: {expected}, found {what}"),
            )
        };
        if let Some(path) = text.strip_prefix("unix:") {
            return match path {
                "" => Err(wrong("no path")),
                path => Ok(Address::Unix(PathBuf::from(path))),
            };
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(|| wrong("no port"))?;
        let port = port
            .parse()
            .map_err(|_| wrong("a port that is not a number up to 65535"))?;
        if host.contains(['/', ' ', '@']) {
            return Err(wrong("a host that is neither a name nor an address"));
        }
        let host = match host.strip_prefix('[') {
            Some(rest) => rest
                .strip_suffix(']')
                .ok_or_else(|| wrong("a [ without its ]"))?,
            None if host.contains(':') => {
                return Err(wrong("an IPv6 address without its brackets"));
            }
            None => host,
        };
        if host.contains(['[', ']']) {
            return Err(wrong("brackets in the middle of a host"));
        }
        Ok(Address::Tcp {
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Address::Tcp { host, port } => write!(f, "{host}:{port}"),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_form() {
        for (text, host, port) in [
            (":0", "", 0),
            ("localhost:80", "localhost", 80),
            ("10.0.0.7:5000", "10.0.0.7", 5000),
            ("[::]:1", "::", 1),
            ("[fe80::1%eth0]:65535", "fe80::1%eth0", 65535),
        ] {
            let address: Address = text.parse().unwrap();
            let host = host.to_owned();
            assert_eq!(address, Address::Tcp { host, port });
            assert_eq!(address.to_string(), text);
        }
        let address: Address = "unix:/run/a b".parse().unwrap();
        assert_eq!(address, Address::Unix("/run/a b".into()));
        assert_eq!(address.to_string(), "unix:/run/a b");
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, why) in [
            ("", "no port"),
            ("host", "no port"),
            ("host:", "not a number"),
            ("host:65536", "not a number"),
            ("host:-1", "not a number"),
            ("::1:80", "without its brackets"),
            ("[::1:80", "without its ]"),
            ("http://host:80", "neither a name"),
            ("unix:", "no path"),
        ] {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
            assert!(error.contains("expected host:port"), "{text}: {error}");
        }
    }
}
