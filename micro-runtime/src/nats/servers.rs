//! [`Servers`]: where NATS is, and who we are there.

use std::fmt;
use std::path::PathBuf;

use crate::error::Error;
use crate::registry::common::address::Address;
#[cfg(feature = "tls")]
use crate::transport::ClientTls;

/// The port of NATS.
const PORT: u16 = 4222;

/// The schemes that mean no TLS unless the server asks for it, and those that mean TLS.
const PLAIN: [&str; 1] = ["nats"];
const TLS: [&str; 2] = ["tls", "natss"];

/// Servers of one cluster. `Display` gives their addresses, without credentials.
#[derive(Clone)]
pub(crate) struct Servers {
    /// `nats://host:port` or `tls://host:port`, without credentials; at least one.
    addresses: Vec<String>,
    pub(crate) login: Login,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<ClientTls>,
}

/// How we make ourselves known.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Login {
    None,
    User(String, String),
    Token(String),
    /// A file with a JWT and the seed of its user, as `nsc` writes it.
    Credentials(PathBuf),
    /// A file with the seed of a user whose public key the server knows.
    Nkey(PathBuf),
}

// ===== impl Servers =====

impl Servers {
    /// The servers at these addresses; none means `127.0.0.1:4222`.
    ///
    /// # Errors
    /// An address is none, or asks for what this build has not.
    pub(crate) fn new<A: AsRef<str>>(addresses: &[A]) -> Result<Servers, Error> {
        let mut servers = Servers {
            addresses: Vec::with_capacity(addresses.len()),
            login: Login::None,
            #[cfg(feature = "tls")]
            tls: None,
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
                servers.tls = Some(address.tls()?);
            }
            if let Some(login) = login(&address)? {
                servers.login = login;
            }
            let scheme = if secure { "tls" } else { "nats" };
            let server = format!("{scheme}://{}", address.host_port(PORT));
            servers.addresses.push(server);
        }
        if servers.addresses.is_empty() {
            servers.addresses.push(format!("nats://127.0.0.1:{PORT}"));
        }
        Ok(servers)
    }

    pub(crate) fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// Uses TLS with every server.
    #[cfg(feature = "tls")]
    pub(crate) fn set_tls(&mut self, tls: ClientTls) {
        self.tls = Some(tls);
        for server in &mut self.addresses {
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

impl fmt::Display for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.addresses.join(", "))
    }
}

impl fmt::Debug for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let login = match &self.login {
            Login::None => "none".into(),
            Login::User(user, _) => user.into(),
            Login::Token(_) => "***".into(),
            Login::Credentials(file) | Login::Nkey(file) => file.to_string_lossy(),
        };
        f.debug_struct("Servers")
            .field("addresses", &self.addresses)
            .field("login", &login)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_users_write_them() {
        let none: [&str; 0] = [];
        assert_eq!(
            Servers::new(&none).unwrap().addresses(),
            ["nats://127.0.0.1:4222"]
        );
        let servers = Servers::new(&["a", "nats://me:s3cr%40t@[::1]:1"]).unwrap();
        assert_eq!(servers.addresses(), ["nats://a:4222", "nats://[::1]:1"]);
        assert!(servers.login == Login::User("me".into(), "s3cr@t".into()));
        assert!(!format!("{servers:?}").contains("s3cr"), "{servers:?}");
        let servers = Servers::new(&["nats://t0ken@a"]).unwrap();
        assert!(servers.login == Login::Token("t0ken".into()));
        assert!(!format!("{servers:?}").contains("t0ken"), "{servers:?}");
        let servers = Servers::new(&["nats://a?creds=/run/my%20user.creds"]).unwrap();
        assert!(servers.login == Login::Credentials("/run/my user.creds".into()));
        let servers = Servers::new(&["nats://a?nkey=user.nk"]).unwrap();
        assert!(servers.login == Login::Nkey("user.nk".into()));
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
            let error = Servers::new(&[address]).unwrap_err().to_string();
            assert!(error.contains(expected), "{address}: {error}");
        }
        assert_eq!(Servers::new(&["tls://a"]).is_ok(), cfg!(feature = "tls"));
    }
}
