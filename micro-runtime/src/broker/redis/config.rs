//! Where Redis is, and how it is used.

use std::fmt;

use crate::error::Error;
use crate::registry::common::address::Address;
#[cfg(feature = "tls")]
use crate::transport::ClientTls;

/// The port of Redis.
const PORT: u16 = 6379;

/// The schemes without and with TLS.
const PLAIN: [&str; 1] = ["redis"];
const TLS: [&str; 1] = ["rediss"];

/// What the key of every stream begins with, so that topics meet no keys of others.
const PREFIX: &str = "micro:";

#[derive(Clone, Debug)]
pub(super) struct Config {
    pub(super) servers: Vec<Server>,
    pub(super) prefix: String,
    pub(super) max_len: Option<u64>,
    /// Whether what goes into a stream is told to the subscribers of the channel, too.
    pub(super) channels: bool,
}

#[derive(Clone)]
pub(super) struct Server {
    pub(super) host: String,
    pub(super) port: u16,
    /// `host:port`, to show.
    pub(super) address: String,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    pub(super) database: i64,
    #[cfg(feature = "tls")]
    pub(super) tls: Option<ClientTls>,
}

// ===== impl Config =====

impl Config {
    pub(super) fn new<A: AsRef<str>>(addresses: &[A]) -> Result<Config, Error> {
        let mut servers = Vec::with_capacity(addresses.len().max(1));
        for text in addresses {
            servers.push(Server::parse(text.as_ref())?);
        }
        if servers.is_empty() {
            servers.push(Server::parse("127.0.0.1")?);
        }
        Ok(Config {
            servers,
            prefix: PREFIX.to_owned(),
            max_len: None,
            channels: true,
        })
    }

    /// The key of a topic's stream.
    pub(super) fn key(&self, topic: &str) -> String {
        format!("{}{topic}", self.prefix)
    }

    /// The addresses, to show.
    pub(super) fn addresses(&self) -> String {
        let addresses: Vec<_> = self.servers.iter().map(|server| &*server.address).collect();
        addresses.join(", ")
    }
}

// ===== impl Server =====

impl Server {
    fn parse(text: &str) -> Result<Server, Error> {
        let address = Address::parse(text)?;
        let secure = address.secure(&PLAIN, &TLS)?;
        address.expect_query(&[], secure)?;
        let database = match address.path.trim_end_matches('/') {
            "" => 0,
            path => path
                .parse()
                .ok()
                .filter(|number| (0..=1_000_000).contains(number))
                .ok_or_else(|| {
                    Error::config(format_args!(
                        "expected the number of a database behind the / of a Redis address, as in redis://host/0, found {path:?}"
                    ))
                })?,
        };
        let (user, password) = match (&address.user, &address.password) {
            (None, None) => (None, None),
            // As in the URLs of every other client: `redis://:password@host` is the default user.
            (Some(user), Some(password)) if user.is_empty() => (None, Some(password.clone())),
            (Some(user), Some(password)) => (Some(user.clone()), Some(password.clone())),
            (Some(_), None) | (None, Some(_)) => {
                return Err(Error::config(
                    "expected redis://user:password@host or redis://:password@host, found a user without a password",
                ));
            }
        };
        #[cfg(feature = "tls")]
        let tls = if secure { Some(address.tls()?) } else { None };
        Ok(Server {
            port: address.port.unwrap_or(PORT),
            address: address.host_port(PORT),
            host: address.host,
            user,
            password,
            database,
            #[cfg(feature = "tls")]
            tls,
        })
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("address", &self.address)
            .field("user", &self.user)
            .field("password", &self.password.as_ref().map(|_| "***"))
            .field("database", &self.database)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(text: &str) -> Server {
        Config::new(&[text]).unwrap().servers.remove(0)
    }

    #[test]
    fn addresses_are_read_as_users_write_them() {
        let none: [&str; 0] = [];
        assert_eq!(Config::new(&none).unwrap().addresses(), "127.0.0.1:6379");
        let read = server("redis://me:s3cr%40t@[::1]:1/7");
        assert_eq!((&*read.host, read.port, read.database), ("::1", 1, 7));
        assert_eq!(read.user.as_deref(), Some("me"));
        assert_eq!(read.password.as_deref(), Some("s3cr@t"));
        assert!(!format!("{read:?}").contains("s3cr"), "{read:?}");
        let read = server("redis://:pw@a");
        assert_eq!((read.user, read.password.as_deref()), (None, Some("pw")));
        assert_eq!(server("a:2").address, "a:2");
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        for (address, expected) in [
            ("http://a", "expected one of redis, rediss before ://"),
            ("redis://a/x", "expected the number of a database"),
            ("redis://a/-1", "expected the number of a database"),
            ("redis://me@a", "found a user without a password"),
            ("redis://a?ca=x", "is one of TLS"),
            ("redis://a?x=y", "expected no parameter after ?"),
        ] {
            let error = Config::new(&[address]).unwrap_err().to_string();
            assert!(error.contains(expected), "{address}: {error}");
        }
        assert_eq!(Config::new(&["rediss://a"]).is_ok(), cfg!(feature = "tls"));
    }
}
