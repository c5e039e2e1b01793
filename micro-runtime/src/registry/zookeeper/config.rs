//! Where ZooKeeper is, and how it is spoken to.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::client::{Acl, Server};
use crate::error::Error;
use crate::registry::common::CALL_TIMEOUT;
use crate::registry::common::address::Address;
#[cfg(feature = "tls")]
use crate::transport::ClientTls;

/// ZooKeeper's ports: `clientPort`, and `secureClientPort` as its documentation has it.
const PORT: u16 = 2181;
const TLS_PORT: u16 = 2281;

/// go-micro's root (its plugin's `prefix`).
const ROOT: &str = "micro-registry";

/// Long enough for a pause of either side, short enough that a crashed node is soon gone; ZooKeeper itself
/// holds it between 2 and 20 of its ticks, 4 to 40 s by default.
const SESSION_TIMEOUT: Duration = Duration::from_secs(10);

/// The schemes that mean no TLS.
const PLAIN: [&str; 3] = ["zookeeper", "zk", "tcp"];

/// The schemes that mean TLS.
const TLS: [&str; 4] = ["zookeepers", "zks", "ssl", "tcp+tls"];

#[derive(Clone)]
pub(super) struct Config {
    /// What the servers were read from.
    addresses: Vec<Address>,
    /// At least one.
    pub(super) servers: Vec<Server>,
    /// The path that all of ours begins with, such as `/micro-registry`.
    pub(super) root: String,
    /// `user:password`.
    pub(super) digest: Option<String>,
    pub(super) session_timeout: Duration,
    pub(super) timeout: Duration,
}

// ===== impl Config =====

impl Config {
    pub(super) fn new<A: AsRef<str>>(addresses: &[A]) -> Result<Config, Error> {
        let mut read = Vec::with_capacity(addresses.len());
        let mut chroot: Option<String> = None;
        let mut digest = None;
        for text in addresses {
            let address = Address::parse(text.as_ref())?;
            let path = address.path.trim_matches('/').to_owned();
            if !path.is_empty() {
                check_path(&path)?;
                if chroot.as_ref().is_some_and(|other| *other != path) {
                    return Err(Error::config(
                        "the addresses of one zookeeper ensemble must have the same path after their hosts",
                    ));
                }
                chroot = Some(path);
            }
            match (&address.user, &address.password) {
                (None, None) => {}
                (Some(user), Some(password)) => digest = Some(digest_of(user, password)?),
                _ => {
                    return Err(Error::config(
                        "zookeeper needs a password beside the user: zk://user:password@host:2181",
                    ));
                }
            }
            read.push(address);
        }
        let chroot = chroot.map_or_else(String::new, |path| format!("/{path}"));
        Ok(Config {
            servers: servers(&read)?,
            addresses: read,
            root: format!("{chroot}/{ROOT}"),
            digest,
            session_timeout: SESSION_TIMEOUT,
            timeout: CALL_TIMEOUT,
        })
    }

    pub(super) fn set_digest(&mut self, user: &str, password: &str) -> Result<(), Error> {
        self.digest = Some(digest_of(user, password)?);
        Ok(())
    }

    /// Uses TLS with every server.
    #[cfg(feature = "tls")]
    pub(super) fn set_tls(&mut self, tls: &ClientTls) -> Result<(), Error> {
        for address in &self.addresses {
            if address.scheme.is_some() && !address.secure(&PLAIN, &TLS)? {
                return Err(Error::config(
                    "ZooKeeper::tls asks for TLS, and the address for none: write zks://, or leave the scheme out",
                ));
            }
            if !address.query.is_empty() {
                return Err(Error::config(
                    "expected the settings of TLS in one place, found some in ZooKeeper::tls and some in the address",
                ));
            }
        }
        self.servers = at(&self.addresses, TLS_PORT, |host, port| Server {
            host,
            port,
            tls: Some(tls.clone()),
        });
        Ok(())
    }

    /// The servers as people read them.
    pub(super) fn cluster(&self) -> String {
        let servers: Vec<_> = self.servers.iter().map(ToString::to_string).collect();
        servers.join(",")
    }

    pub(super) fn set_root(&mut self, path: &str) -> Result<(), Error> {
        let path = path.trim_matches('/');
        check_path(path)?;
        self.root = format!("/{path}");
        Ok(())
    }

    /// Who may do what with the nodes that we make: as with go-micro everyone everything, but with a user of
    /// ours everyone may read and we alone may write.
    pub(super) fn acl(&self) -> Acl {
        match self.digest {
            None => Acl::Open,
            Some(_) => Acl::Ours,
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("cluster", &self.cluster())
            .field("root", &self.root)
            .field("digest", &self.digest.as_ref().map(|_| "***"))
            .field("session_timeout", &self.session_timeout)
            .field("timeout", &self.timeout)
            .finish()
    }
}

/// The servers of an ensemble. All speak TLS or none does: an address without a scheme is as the others are, and
/// one says for all with which certificates.
fn servers(addresses: &[Address]) -> Result<Vec<Server>, Error> {
    let mut secure = None;
    let mut query: Option<&BTreeMap<String, String>> = None;
    let mut settings = None;
    for address in addresses {
        let is_secure = address.secure(&PLAIN, &TLS)?;
        if address.scheme.is_some() && *secure.get_or_insert(is_secure) != is_secure {
            return Err(Error::config(
                "the addresses of one zookeeper ensemble must all ask for TLS, or none: found both",
            ));
        }
        address.expect_query(&[], is_secure)?;
        if !address.query.is_empty() && **query.get_or_insert(&address.query) != address.query {
            return Err(Error::config(
                "the addresses of one zookeeper ensemble must have the same parameters of TLS, or one of them \
                 those of all: found different ones",
            ));
        }
        if is_secure && (settings.is_none() || !address.query.is_empty()) {
            settings = Some(address);
        }
    }
    let is_secure = secure.unwrap_or(false);
    #[cfg(feature = "tls")]
    let tls = match settings {
        Some(address) => Some(address.tls()?),
        None => None,
    };
    let port = if is_secure { TLS_PORT } else { PORT };
    Ok(at(addresses, port, |host, port| Server {
        host,
        port,
        #[cfg(feature = "tls")]
        tls: tls.clone(),
    }))
}

/// A server for each address, or one on this machine.
fn at(
    addresses: &[Address],
    default_port: u16,
    server: impl Fn(String, u16) -> Server,
) -> Vec<Server> {
    if addresses.is_empty() {
        return vec![server("127.0.0.1".to_owned(), default_port)];
    }
    addresses
        .iter()
        .map(|address| server(address.host.clone(), address.port.unwrap_or(default_port)))
        .collect()
}

/// Who we are by the scheme `digest`.
fn digest_of(user: &str, password: &str) -> Result<String, Error> {
    // The first colon ends the user.
    if user.is_empty() || user.contains(':') {
        return Err(Error::config(
            "zookeeper needs a user without a colon before its password",
        ));
    }
    Ok(format!("{user}:{password}"))
}

/// That each part of a path, which begins with no slash, is one that ZooKeeper takes.
fn check_path(path: &str) -> Result<(), Error> {
    match path.split('/').find_map(|part| check_name(part).err()) {
        None => Ok(()),
        Some(why) => Err(Error::config(format_args!(
            "expected a path such as /micro-registry, found {path:?}: {why}"
        ))),
    }
}

/// That this is a name which ZooKeeper takes (its PathUtils.validatePath).
pub(super) fn check_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() {
        return Err("a part of it is empty");
    }
    if name == "." || name == ".." {
        return Err("a part of it is relative");
    }
    // Java's text has those above U+FFFF as two halves, which ZooKeeper does not take either.
    let wrong = |c: char| matches!(c, '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{e000}'..='\u{f8ff}' | '\u{fff0}'..);
    if name.contains(wrong) {
        return Err("zookeeper allows no control and no private characters, and none above U+FFFF");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(addresses: &[&str]) -> Config {
        Config::new(addresses).unwrap()
    }

    #[test]
    fn addresses_are_read_as_users_write_them() {
        let none: [&str; 0] = [];
        for (addresses, cluster, root) in [
            (&none[..], "127.0.0.1:2181", "/micro-registry"),
            (&["zk1", "zk2:2182"], "zk1:2181,zk2:2182", "/micro-registry"),
            (&["zk://[::1]:1/"], "[::1]:1", "/micro-registry"),
            (
                &["a", "b/prod/eu"],
                "a:2181,b:2181",
                "/prod/eu/micro-registry",
            ),
        ] {
            let config = config(addresses);
            assert_eq!((&*config.cluster(), &*config.root), (cluster, root));
        }
    }

    #[test]
    fn the_password_is_kept_and_not_shown() {
        let config = config(&["zk://me:s3cr%40t@host"]);
        assert_eq!(config.digest.as_deref(), Some("me:s3cr@t"));
        assert_eq!(config.acl(), Acl::Ours);
        assert!(!format!("{config:?}").contains("s3cr"), "{config:?}");
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        for (addresses, expected) in [
            (&["a/x", "b/y"][..], "must have the same path"),
            (&["zk://me@a"], "needs a password beside the user"),
            (&["http://a"], "expected one of zookeeper, zk, tcp,"),
            (&["a?x=1"], "expected no parameter after ?"),
            (&["zk://a?ca=x"], "is one of TLS"),
            (&["zk://:password@a"], "a user without a colon"),
            (&["zk://a%3Ab:password@a"], "a user without a colon"),
            (&["a/../b"], "a part of it is relative"),
        ] {
            let error = Config::new(addresses).unwrap_err().to_string();
            assert!(error.contains(expected), "{addresses:?}: {error}");
        }
        for scheme in TLS {
            let read = Config::new(&[format!("{scheme}://a")]);
            assert_eq!(read.is_ok(), cfg!(feature = "tls"), "{scheme}");
        }
    }

    #[cfg(feature = "tls")]
    #[test]
    fn an_ensemble_speaks_tls_or_none() {
        for (addresses, cluster) in [
            (&["zks://a"][..], "a:2281"),
            (&["zks://a:1?ca=x", "b", "zks://c"], "a:1,b:2281,c:2281"),
            (
                &["a", "zookeepers://b?ca=x", "zks://c?ca=x"],
                "a:2281,b:2281,c:2281",
            ),
        ] {
            let config = config(addresses);
            assert_eq!(config.cluster(), cluster);
            for server in &config.servers {
                assert!(server.tls.is_some(), "{addresses:?}");
            }
        }
        let mut set = config(&["a", "b:1"]);
        set.set_tls(&ClientTls::new()).unwrap();
        assert_eq!(set.cluster(), "a:2281,b:1");
        assert!(set.servers.iter().all(|server| server.tls.is_some()));
        for (address, expected) in [
            ("zk://a", "write zks://, or leave the scheme out"),
            ("zks://a?ca=x", "in one place"),
        ] {
            let error = config(&[address]).set_tls(&ClientTls::new()).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
        let plain = config(&["a", "zk://b"]);
        assert!(plain.servers.iter().all(|server| server.tls.is_none()));
        for (addresses, expected) in [
            (&["zk://a", "zks://b"][..], "must all ask for TLS, or none"),
            (&["zks://a", "zk://b"], "must all ask for TLS, or none"),
            (
                &["zks://a?ca=x", "zks://b?ca=y"],
                "the same parameters of TLS",
            ),
            (&["zks://a?cert=x"], "cert and key need each other"),
            (
                &["zks://a?x=1"],
                "expected one of ca, cert, key, server_name",
            ),
        ] {
            let error = Config::new(addresses).unwrap_err().to_string();
            assert!(error.contains(expected), "{addresses:?}: {error}");
        }
    }

    #[test]
    fn names_are_what_zookeeper_takes() {
        for good in ["a", "a.b", "...", "go.micro.srv-1", "ä"] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        for bad in ["", ".", "..", "a\0", "a\u{7f}", "\u{e000}", "\u{1f600}"] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
    }
}
