//! [`Endpoints`]: where the members of a cluster are, and how they are dialled.

use std::fmt;

use crate::error::Error;
use crate::exchange::{BoxFuture, Broken, Connection};
use crate::registry::common::address::Address;
#[cfg(feature = "tls")]
use crate::transport::ClientTls;
use crate::transport::{self, ClientLimits};

/// Where etcd listens for clients.
const PORT: u16 = 2379;

const PLAIN: [&str; 2] = ["http", "etcd"];
const TLS: [&str; 2] = ["https", "etcds"];

/// Makes connections to the members of a cluster; tests have their own.
pub(super) trait Connect: Send + Sync + 'static {
    /// How many members there are; at least one.
    fn count(&self) -> usize;

    /// A connection to the member with this number.
    fn connect(&self, member: usize) -> BoxFuture<'static, Result<Connection, Broken>>;
}

/// A user's name and password. The password is in no output.
#[derive(Clone)]
pub(super) struct Credentials {
    pub(super) user: String,
    pub(super) password: String,
}

/// The addresses of a cluster's members.
#[derive(Clone, Debug)]
pub(super) struct Endpoints {
    members: Vec<Member>,
    /// Those that stand in the addresses.
    pub(super) credentials: Option<Credentials>,
}

#[derive(Clone, Debug)]
struct Member {
    address: transport::Address,
    security: Security,
}

#[derive(Clone, Debug)]
enum Security {
    Plain,
    /// The address does not say; it is plain unless the registry was given TLS.
    Open,
    #[cfg(feature = "tls")]
    Tls(Tls),
}

#[cfg(feature = "tls")]
#[derive(Clone, Debug)]
struct Tls {
    config: ClientTls,
    /// The address itself has parameters of TLS.
    own: bool,
}

// ===== impl Endpoints =====

impl Endpoints {
    /// Reads the addresses of members; none means the one on this machine.
    pub(super) fn parse(addresses: &[String]) -> Result<Endpoints, Error> {
        let local = ["127.0.0.1".to_owned()];
        let addresses = if addresses.is_empty() {
            &local
        } else {
            addresses
        };
        let mut members = Vec::with_capacity(addresses.len());
        let mut credentials: Option<Credentials> = None;
        for text in addresses {
            let address = Address::parse(text)?;
            let secure = address.secure(&PLAIN, &TLS)?;
            address.expect_query(&[], secure)?;
            if !address.path.is_empty() {
                return Err(Error::config(format_args!(
                    "expected no path behind the address of {}, found {:?}; the prefix of the keys is set in code",
                    address.host_port(PORT),
                    address.path
                )));
            }
            members.push(Member::of(&address, secure)?);
            let Some(user) = address.user else { continue };
            let found = Credentials {
                user,
                password: address.password.unwrap_or_default(),
            };
            match &credentials {
                Some(known) if *known != found => {
                    return Err(Error::config(
                        "expected the same user and password in each address of etcd, found different ones; \
                         the members of a cluster have the same users",
                    ));
                }
                _ => credentials = Some(found),
            }
        }
        Ok(Endpoints {
            members,
            credentials,
        })
    }

    /// Uses TLS wherever an address does not ask for plain text, with this unless the address says how.
    #[cfg(feature = "tls")]
    pub(super) fn use_tls(&mut self, config: ClientTls) {
        let config = Tls { config, own: false };
        for member in &mut self.members {
            match &mut member.security {
                Security::Plain | Security::Tls(Tls { own: true, .. }) => {}
                security => {
                    *security = Security::Tls(config.clone());
                }
            }
        }
    }
}

impl Connect for Endpoints {
    fn count(&self) -> usize {
        self.members.len()
    }

    fn connect(&self, member: usize) -> BoxFuture<'static, Result<Connection, Broken>> {
        let limits = ClientLimits::new()
            .connect_timeout(super::CONNECT_TIMEOUT)
            .keep_alive(super::KEEP_ALIVE, super::KEEP_ALIVE_TIMEOUT)
            .max_concurrent_streams(super::MAX_STREAMS);
        let Some(Member { address, security }) = self.members.get(member).cloned() else {
            return Box::pin(std::future::ready(Err(Broken::new(
                crate::exchange::Why::Closed,
            )
            .unprocessed())));
        };
        Box::pin(async move {
            match security {
                Security::Plain | Security::Open => transport::dial(&address, &limits).await,
                #[cfg(feature = "tls")]
                Security::Tls(tls) => transport::dial_tls(&address, &limits, &tls.config).await,
            }
        })
    }
}

impl fmt::Display for Endpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, member) in self.members.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            member.address.fmt(f)?;
        }
        Ok(())
    }
}

// ===== impl Member =====

impl Member {
    fn of(address: &Address, secure: bool) -> Result<Member, Error> {
        let security = match (secure, &address.scheme) {
            #[cfg(feature = "tls")]
            (true, _) => Security::Tls(Tls {
                config: address.tls()?,
                own: !address.query.is_empty(),
            }),
            #[cfg(not(feature = "tls"))]
            (true, _) => {
                return Err(Error::config(
                    "an address asks for TLS, which this build has not; build with the cargo feature tls",
                ));
            }
            (false, Some(_)) => Security::Plain,
            (false, None) => Security::Open,
        };
        Ok(Member {
            address: transport::Address::Tcp {
                host: address.host.clone(),
                port: address.port.unwrap_or(PORT),
            },
            security,
        })
    }
}

// ===== impl Credentials =====

impl PartialEq for Credentials {
    fn eq(&self, other: &Credentials) -> bool {
        self.user == other.user && self.password == other.password
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("user", &self.user)
            .field("password", &"***")
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(addresses: &[&str]) -> Result<Endpoints, String> {
        let addresses: Vec<_> = addresses.iter().map(|&text| text.to_owned()).collect();
        Endpoints::parse(&addresses).map_err(|error| error.to_string())
    }

    #[test]
    fn reads_the_members_of_a_cluster() {
        for (addresses, shown) in [
            (&[][..], "127.0.0.1:2379"),
            (&["etcd.example"], "etcd.example:2379"),
            (&["http://a:1", "etcd://[::1]"], "a:1, [::1]:2379"),
        ] {
            assert_eq!(parsed(addresses).unwrap().to_string(), shown);
        }
    }

    #[test]
    fn takes_credentials_from_the_addresses_and_shows_no_password() {
        let endpoints = parsed(&["root:s3cr3t@a", "b", "http://root:s3cr3t@c"]).unwrap();
        let shown = format!("{endpoints} {endpoints:?}");
        assert!(
            shown.contains("root") && !shown.contains("s3cr3t"),
            "{shown}"
        );
        assert_eq!(endpoints.credentials.unwrap().password, "s3cr3t");
        let error = parsed(&["root:s3cr3t@a", "root:other@b"]).unwrap_err();
        assert!(
            error.contains("found different ones") && !error.contains("s3cr3t"),
            "{error}"
        );
    }

    #[test]
    fn what_cannot_be_used_says_why() {
        for (address, why) in [
            (
                "zk://a",
                "expected one of http, etcd, https, etcds before ://, found \"zk\"",
            ),
            (
                "http://a:1/micro",
                "expected no path behind the address of a:1, found \"micro\"",
            ),
            ("a?dc=1", "expected no parameter after ?, found \"dc\""),
            ("a:x", "a port is a number from 1 to 65535"),
        ] {
            let error = parsed(&[address]).unwrap_err();
            assert!(error.contains(why), "{address}: {error}");
        }
    }

    #[cfg(feature = "tls")]
    #[test]
    fn tls_is_used_where_no_address_asks_for_plain_text() {
        let mut endpoints = parsed(&["a", "http://b", "https://c"]).unwrap();
        let tls = |endpoints: &Endpoints| -> Vec<bool> {
            let members = endpoints.members.iter();
            members
                .map(|member| matches!(member.security, Security::Tls(_)))
                .collect()
        };
        assert_eq!(tls(&endpoints), [false, false, true]);
        endpoints.use_tls(ClientTls::new());
        assert_eq!(tls(&endpoints), [true, false, true]);
    }
}
