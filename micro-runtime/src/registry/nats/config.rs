//! Where NATS is, and how it is spoken to.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::error::Error;
use crate::registry::common::CALL_TIMEOUT;
use crate::registry::common::address::Address;
#[cfg(feature = "tls")]
use crate::transport::ClientTls;

/// The port of NATS.
const PORT: u16 = 4222;

/// How long answers to a query are waited for (go-micro's registry timeout).
const WINDOW: Duration = Duration::from_millis(100);

/// How long a node may be silent that says no time itself: three of go-micro's renewals, each after 30 s.
const SILENCE: Duration = Duration::from_secs(90);

/// The subjects of go-micro's registries: of v5 and v6, and of the plugins for v2 and v4.
const QUERY: [&str; 2] = ["micro.nats.query", "micro.registry.nats.query"];
const WATCH: [&str; 2] = ["micro.nats.watch", "micro.registry.nats.watch"];

/// The schemes that mean no TLS unless the server asks for it, and those that mean TLS.
const PLAIN: [&str; 1] = ["nats"];
const TLS: [&str; 2] = ["tls", "natss"];

#[derive(Clone)]
pub(super) struct Config {
    /// `nats://host:port` or `tls://host:port`, without credentials.
    pub(super) servers: Vec<String>,
    pub(super) login: Login,
    #[cfg(feature = "tls")]
    pub(super) tls: Option<ClientTls>,
    pub(super) query_subjects: Vec<String>,
    pub(super) watch_subjects: Vec<String>,
    pub(super) window: Duration,
    pub(super) silence: Duration,
    pub(super) timeout: Duration,
}

/// How we make ourselves known.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Login {
    None,
    User(String, String),
    Token(String),
    /// A file with a JWT and the seed of its user, as `nsc` writes it.
    Credentials(PathBuf),
    /// A file with the seed of a user whose public key the server knows.
    Nkey(PathBuf),
}

// ===== impl Config =====

impl Config {
    pub(super) fn new<A: AsRef<str>>(addresses: &[A]) -> Result<Config, Error> {
        let mut config = Config {
            servers: Vec::with_capacity(addresses.len()),
            login: Login::None,
            #[cfg(feature = "tls")]
            tls: None,
            query_subjects: QUERY.map(str::to_owned).into(),
            watch_subjects: WATCH.map(str::to_owned).into(),
            window: WINDOW,
            silence: SILENCE,
            timeout: CALL_TIMEOUT,
        };
        for text in addresses {
            let address = Address::parse(text.as_ref())?;
            let secure = address.secure(&PLAIN, &TLS)?;
            address.expect_query(&["creds", "nkey"], secure)?;
            if address.query.contains_key("server_name") {
                return Err(Error::config(
                    "the certificate of a NATS server must have the name in its address, so server_name cannot be given",
                ));
            }
            if !address.path.is_empty() {
                return Err(Error::config(format_args!(
                    "a NATS address has no path, found /{}",
                    address.path
                )));
            }
            #[cfg(feature = "tls")]
            if secure {
                config.tls = Some(address.tls()?);
            }
            if let Some(login) = login(&address)? {
                config.login = login;
            }
            let scheme = if secure { "tls" } else { "nats" };
            let server = format!("{scheme}://{}", address.host_port(PORT));
            config.servers.push(server);
        }
        if config.servers.is_empty() {
            config.servers.push(format!("nats://127.0.0.1:{PORT}"));
        }
        Ok(config)
    }

    /// Uses TLS with every server.
    #[cfg(feature = "tls")]
    pub(super) fn set_tls(&mut self, tls: ClientTls) {
        self.tls = Some(tls);
        for server in &mut self.servers {
            if let Some(address) = server.strip_prefix("nats://") {
                *server = format!("tls://{address}");
            }
        }
    }
}

/// What an address says of who we are, which it may say in one way.
fn login(address: &Address) -> Result<Option<Login>, Error> {
    let named = match (&address.user, &address.password) {
        (None, None) => None,
        (Some(token), None) => Some(Login::Token(token.clone())),
        (Some(user), Some(password)) => Some(Login::User(user.clone(), password.clone())),
        (None, Some(_)) => return Err(Error::config("a NATS password needs a user")),
    };
    let file = |key: &str| match address.query.get(key).map(String::as_str) {
        Some("") => Err(Error::config(format_args!(
            "the parameter {key} of a NATS address names a file, found nothing"
        ))),
        file => Ok(file.map(PathBuf::from)),
    };
    let credentials = file("creds")?.map(Login::Credentials);
    let nkey = file("nkey")?.map(Login::Nkey);
    let mut logins = [named, credentials, nkey].into_iter().flatten();
    let login = logins.next();
    if logins.next().is_some() {
        return Err(Error::config(
            "a NATS address makes itself known in one way: by a user and a password, a token, a file of \
             credentials (creds) or a seed (nkey), found more than one",
        ));
    }
    Ok(login)
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let login = match &self.login {
            Login::None => "none".into(),
            Login::User(user, _) => user.into(),
            Login::Token(_) => "***".into(),
            Login::Credentials(file) | Login::Nkey(file) => file.to_string_lossy(),
        };
        f.debug_struct("Config")
            .field("servers", &self.servers)
            .field("login", &login)
            .field("query_subjects", &self.query_subjects)
            .field("watch_subjects", &self.watch_subjects)
            .field("window", &self.window)
            .field("silence", &self.silence)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// That this is a subject to publish on: parts without blanks and wildcards.
pub(super) fn check_subject(subject: &str) -> Result<(), Error> {
    let wrong = |part: &str| {
        part.is_empty()
            || part.contains(|c: char| c.is_whitespace() || c.is_control() || "*>".contains(c))
    };
    if subject.split('.').any(wrong) {
        return Err(Error::config(format_args!(
            "expected a NATS subject such as micro.nats.query, found {subject:?}"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_users_write_them() {
        let none: [&str; 0] = [];
        assert_eq!(
            Config::new(&none).unwrap().servers,
            ["nats://127.0.0.1:4222"]
        );
        let config = Config::new(&["a", "nats://me:s3cr%40t@[::1]:1"]).unwrap();
        assert_eq!(config.servers, ["nats://a:4222", "nats://[::1]:1"]);
        assert!(config.login == Login::User("me".into(), "s3cr@t".into()));
        assert!(!format!("{config:?}").contains("s3cr"), "{config:?}");
        let config = Config::new(&["nats://t0ken@a"]).unwrap();
        assert!(config.login == Login::Token("t0ken".into()));
        assert!(!format!("{config:?}").contains("t0ken"), "{config:?}");
        let config = Config::new(&["nats://a?creds=/run/my%20user.creds"]).unwrap();
        assert!(config.login == Login::Credentials("/run/my user.creds".into()));
        let config = Config::new(&["nats://a?nkey=user.nk"]).unwrap();
        assert!(config.login == Login::Nkey("user.nk".into()));
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        for (address, expected) in [
            ("http://a", "expected one of nats, tls, natss before ://"),
            ("nats://a/x", "a NATS address has no path, found /x"),
            ("nats://a?ca=x", "is one of TLS"),
            (
                "nats://a?cred=x",
                "expected one of creds, nkey as parameters after ?",
            ),
            ("nats://a?creds=", "names a file, found nothing"),
            ("nats://t0ken@a?creds=x", "found more than one"),
            ("nats://a?creds=x&nkey=y", "found more than one"),
        ] {
            let error = Config::new(&[address]).unwrap_err().to_string();
            assert!(error.contains(expected), "{address}: {error}");
        }
        assert_eq!(Config::new(&["tls://a"]).is_ok(), cfg!(feature = "tls"));
        for bad in ["", "a..b", "a b", "a.*", "a.>", "a\n"] {
            assert!(check_subject(bad).is_err(), "{bad:?}");
        }
        assert!(check_subject("micro.nats.query").is_ok());
    }
}
