//! Where RabbitMQ is, and what is declared there.

use std::fmt;
use std::time::Duration;

use crate::error::Error;
use crate::registry::common::address::Address;
#[cfg(feature = "tls")]
use crate::transport::ClientTls;

/// The ports of AMQP without and with TLS.
const PORT: u16 = 5672;
const TLS_PORT: u16 = 5671;

/// The longest short string of AMQP, which names of everything are, in bytes.
pub(super) const SHORT_MAX: usize = 255;

/// go-micro's exchange.
const EXCHANGE: &str = "micro";

/// What the durable exchange beside one that is not is called.
const DURABLE: &str = ".durable";

/// How many publications may be on their way at once.
const IN_FLIGHT: usize = 1024;

/// The most that can be asked for.
const IN_FLIGHT_MAX: usize = 65_536;

/// How long a subscriber without a queue may be away before its events are dropped.
const ABSENCE: Duration = Duration::from_secs(600);

/// What RabbitMQ takes as `x-expires`: some 49 days.
const ABSENCE_MAX: Duration = Duration::from_millis(u32::MAX as u64);

/// What kind of queue an at-least-once subscription declares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum QueueKind {
    /// A quorum queue (RabbitMQ 3.8 and later): replicated over the nodes of a cluster, confirmed once a
    /// majority has written, and it counts attempts. The default.
    #[default]
    Quorum,
    /// A classic durable queue: on one node, and it does not count: each attempt after the first is attempt 2.
    Classic,
}

#[derive(Clone)]
pub(super) struct Config {
    pub(super) servers: Vec<Server>,
    pub(super) exchange: String,
    pub(super) durable_exchange: bool,
    pub(super) kind: QueueKind,
    pub(super) allow_unroutable: bool,
    pub(super) in_flight: usize,
    pub(super) absence: Duration,
    /// With every server, instead of what its address says.
    #[cfg(feature = "tls")]
    pub(super) tls: Option<ClientTls>,
}

/// One server.
#[derive(Clone)]
pub(super) struct Server {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) vhost: String,
    pub(super) user: String,
    pub(super) password: String,
    /// As it is shown: without credentials.
    pub(super) shown: String,
    #[cfg(feature = "tls")]
    pub(super) tls: Option<ClientTls>,
}

// ===== impl QueueKind =====

impl QueueKind {
    /// Its name in `x-queue-type`.
    pub(super) fn name(self) -> &'static str {
        match self {
            QueueKind::Quorum => "quorum",
            QueueKind::Classic => "classic",
        }
    }
}

// ===== impl Config =====

impl Config {
    pub(super) fn new<A: AsRef<str>>(addresses: &[A]) -> Result<Config, Error> {
        let mut servers = Vec::with_capacity(addresses.len());
        for text in addresses {
            servers.push(Server::new(&Address::parse(text.as_ref())?)?);
        }
        if servers.is_empty() {
            servers.push(Server::new(&Address::parse("127.0.0.1")?)?);
        }
        Ok(Config {
            servers,
            exchange: EXCHANGE.to_owned(),
            durable_exchange: false,
            kind: QueueKind::default(),
            allow_unroutable: false,
            in_flight: IN_FLIGHT,
            absence: ABSENCE,
            #[cfg(feature = "tls")]
            tls: None,
        })
    }

    /// The exchange that at-least-once publications go to.
    pub(super) fn durable(&self) -> String {
        if self.durable_exchange {
            self.exchange.clone()
        } else {
            format!("{}{DURABLE}", self.exchange)
        }
    }

    pub(super) fn set_exchange(&mut self, name: &str) -> Result<(), Error> {
        let longest = SHORT_MAX - DURABLE.len();
        if name.is_empty() || name.len() > longest || name.chars().any(char::is_control) {
            return Err(Error::config(format_args!(
                "expected an exchange's name of 1 to {longest} bytes without control characters, found {:?}",
                name.chars().take(300).collect::<String>()
            )));
        }
        name.clone_into(&mut self.exchange);
        Ok(())
    }

    pub(super) fn set_in_flight(&mut self, publications: usize) -> Result<(), Error> {
        if !(1..=IN_FLIGHT_MAX).contains(&publications) {
            return Err(Error::config(format_args!(
                "expected 1 to {IN_FLIGHT_MAX} publications in flight, found {publications}"
            )));
        }
        self.in_flight = publications;
        Ok(())
    }

    pub(super) fn set_absence(&mut self, time: Duration) -> Result<(), Error> {
        if !(Duration::from_secs(1)..=ABSENCE_MAX).contains(&time) {
            return Err(Error::config(format_args!(
                "expected an absence of 1 s to {ABSENCE_MAX:?}, found {time:?}"
            )));
        }
        self.absence = time;
        Ok(())
    }

    /// The servers, for errors and logs.
    pub(super) fn shown(&self) -> String {
        let shown: Vec<_> = self.servers.iter().map(|server| &*server.shown).collect();
        shown.join(", ")
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("servers", &self.servers)
            .field("exchange", &self.exchange)
            .field("durable_exchange", &self.durable_exchange)
            .field("kind", &self.kind)
            .field("allow_unroutable", &self.allow_unroutable)
            .field("in_flight", &self.in_flight)
            .field("absence", &self.absence)
            .finish_non_exhaustive()
    }
}

// ===== impl Server =====

impl Server {
    fn new(address: &Address) -> Result<Server, Error> {
        let secure = address.secure(&["amqp"], &["amqps"])?;
        address.expect_query(&[], secure)?;
        let (user, password) = match (&address.user, &address.password) {
            (None, None) => ("guest", "guest"),
            (Some(user), Some(password)) => (&**user, &**password),
            (Some(_), None) => {
                return Err(Error::config(
                    "a user of RabbitMQ needs a password: amqp://user:password@host",
                ));
            }
            (None, Some(_)) => return Err(Error::config("a password of RabbitMQ needs a user")),
        };
        let vhost = if address.path.is_empty() {
            "/"
        } else {
            &address.path
        };
        if vhost.len() > SHORT_MAX {
            return Err(Error::config(format_args!(
                "expected a virtual host of at most {SHORT_MAX} bytes, found {}",
                vhost.len()
            )));
        }
        let default_port = if secure { TLS_PORT } else { PORT };
        Ok(Server {
            host: address.host.clone(),
            port: address.port.unwrap_or(default_port),
            vhost: vhost.to_owned(),
            user: user.to_owned(),
            password: password.to_owned(),
            shown: address.host_port(default_port),
            #[cfg(feature = "tls")]
            tls: secure.then(|| address.tls()).transpose()?,
        })
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("address", &self.shown)
            .field("vhost", &self.vhost)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(address: &str) -> Server {
        Config::new(&[address]).unwrap().servers.remove(0)
    }

    #[test]
    fn addresses_are_read_as_users_write_them() {
        let none: [&str; 0] = [];
        let default = &Config::new(&none).unwrap().servers[0];
        assert_eq!((&*default.shown, &*default.vhost), ("127.0.0.1:5672", "/"));
        assert_eq!((&*default.user, &*default.password), ("guest", "guest"));
        for (address, shown, vhost) in [
            ("amqp://a", "a:5672", "/"),
            ("amqp://a/", "a:5672", "/"),
            ("amqp://a:1/%2f", "a:1", "/"),
            (
                "amqp://me:s3cr%40t@[::1]/or%20ders",
                "[::1]:5672",
                "or ders",
            ),
            ("a:7/x/y", "a:7", "x/y"),
        ] {
            let server = server(address);
            assert_eq!(
                (&*server.shown, &*server.vhost),
                (shown, vhost),
                "{address}"
            );
        }
        let config = Config::new(&["amqp://me:s3cr%40t@a", "b"]).unwrap();
        assert_eq!(config.servers[0].password, "s3cr@t");
        assert_eq!(config.shown(), "a:5672, b:5672");
        assert!(!format!("{config:?}").contains("s3cr"), "{config:?}");
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let long = format!("amqp://a/{}", "v".repeat(256));
        for (address, expected) in [
            ("http://a", "expected one of amqp, amqps before ://"),
            ("amqp://me@a", "needs a password"),
            ("amqp://a?ca=x", "is one of TLS"),
            ("amqp://a?heartbeat=3", "expected no parameter after ?"),
            (&long, "expected a virtual host of at most 255 bytes"),
        ] {
            let error = Config::new(&[address]).unwrap_err().to_string();
            assert!(error.contains(expected), "{address}: {error}");
        }
        assert_eq!(Config::new(&["amqps://a"]).is_ok(), cfg!(feature = "tls"));
        let mut config = Config::new(&["a"]).unwrap();
        assert!(config.set_exchange("").is_err());
        assert!(config.set_exchange(&"x".repeat(248)).is_err());
        assert!(config.set_in_flight(0).is_err());
        assert!(config.set_absence(Duration::ZERO).is_err());
        assert!(
            config
                .set_absence(Duration::from_secs(86_400 * 50))
                .is_err()
        );
    }

    #[test]
    fn a_durable_exchange_serves_both_levels() {
        let mut config = Config::new(&["a"]).unwrap();
        assert_eq!(config.durable(), "micro.durable");
        config.set_exchange("events").unwrap();
        assert_eq!(config.durable(), "events.durable");
        config.durable_exchange = true;
        assert_eq!(config.durable(), "events");
    }
}
