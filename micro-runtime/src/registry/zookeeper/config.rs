//! Where ZooKeeper is, and how it is spoken to.

use std::fmt;
use std::time::Duration;

use zookeeper_client::{Acl, AuthId, Permission};

use crate::error::{Error, ErrorKind};
use crate::registry::common::CALL_TIMEOUT;
use crate::registry::common::address::Address;

/// ZooKeeper's port.
const PORT: u16 = 2181;

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
    /// The servers as the library takes them: `host:port,host:port`.
    pub(super) cluster: String,
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
        let mut servers = Vec::with_capacity(addresses.len());
        let mut chroot: Option<String> = None;
        let mut digest = None;
        for text in addresses {
            let address = Address::parse(text.as_ref())?;
            if address.secure(&PLAIN, &TLS)? {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    "the zookeeper registry speaks no TLS, since the library it uses would need a second \
                     cryptography library in C; expected one of zookeeper://, zk://, tcp:// or no scheme",
                ));
            }
            address.expect_query(&[], false)?;
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
                (Some(user), Some(password)) => digest = Some(format!("{user}:{password}")),
                _ => {
                    return Err(Error::config(
                        "zookeeper needs a password beside the user: zk://user:password@host:2181",
                    ));
                }
            }
            servers.push(address.host_port(PORT));
        }
        if servers.is_empty() {
            servers.push(format!("127.0.0.1:{PORT}"));
        }
        let chroot = chroot.map_or_else(String::new, |path| format!("/{path}"));
        Ok(Config {
            cluster: servers.join(","),
            root: format!("{chroot}/{ROOT}"),
            digest,
            session_timeout: SESSION_TIMEOUT,
            timeout: CALL_TIMEOUT,
        })
    }

    pub(super) fn set_root(&mut self, path: &str) -> Result<(), Error> {
        let path = path.trim_matches('/');
        check_path(path)?;
        self.root = format!("/{path}");
        Ok(())
    }

    /// Who may do what with the nodes that we make: as with go-micro everyone everything, but with a user of
    /// ours everyone may read and we alone may write.
    pub(super) fn acls(&self) -> Vec<Acl> {
        if self.digest.is_none() {
            return vec![Acl::new(Permission::ALL, AuthId::anyone())];
        }
        vec![
            Acl::new(Permission::ALL, AuthId::authed()),
            Acl::new(Permission::READ, AuthId::anyone()),
        ]
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("cluster", &self.cluster)
            .field("root", &self.root)
            .field("digest", &self.digest.as_ref().map(|_| "***"))
            .field("session_timeout", &self.session_timeout)
            .field("timeout", &self.timeout)
            .finish()
    }
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
    let wrong = |c: char| matches!(c, '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{e000}'..='\u{f8ff}' | '\u{fff0}'..='\u{ffff}');
    if name.contains(wrong) {
        return Err("zookeeper allows no control and no private characters");
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
            assert_eq!((&*config.cluster, &*config.root), (cluster, root));
        }
    }

    #[test]
    fn the_password_is_kept_and_not_shown() {
        let config = config(&["zk://me:s3cr%40t@host"]);
        assert_eq!(config.digest.as_deref(), Some("me:s3cr@t"));
        assert_eq!(config.acls().len(), 2);
        assert!(!format!("{config:?}").contains("s3cr"), "{config:?}");
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        for (addresses, expected) in [
            (&["a/x", "b/y"][..], "must have the same path"),
            (&["zk://me@a"], "needs a password beside the user"),
            (&["http://a"], "expected one of zookeeper, zk, tcp,"),
            (&["a?x=1"], "expected no parameter after ?"),
            (&["a/../b"], "a part of it is relative"),
        ] {
            let error = Config::new(addresses).unwrap_err().to_string();
            assert!(error.contains(expected), "{addresses:?}: {error}");
        }
        // With or without the feature `tls` these are refused, and say so.
        for scheme in TLS {
            let error = Config::new(&[format!("{scheme}://a")]).unwrap_err();
            assert!(error.to_string().contains("TLS"), "{error}");
        }
    }

    #[test]
    fn names_are_what_zookeeper_takes() {
        for good in ["a", "a.b", "...", "go.micro.srv-1", "ä"] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        for bad in ["", ".", "..", "a\0", "a\u{7f}", "\u{e000}"] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
    }
}
