//! [`Security`]: TLS and credentials.
//!
//! The library speaks TLS and SCRAM by OpenSSL alone, which this crate does not ask for: it compiles or links
//! another library, beside the TLS that everything else here uses. Cargo adds up the features that all
//! dependents of a crate ask for, so that a program can ask for it itself; what is there is found out here.

use std::fmt;

use rdkafka::ClientConfig;

use crate::error::{Error, ErrorKind};
use crate::registry::common::address::Address;

const PLAIN: &str = "kafka";
const TLS: &str = "kafkas";

/// The parameter that names a mechanism of SASL, and the mechanisms; the first is the default.
const SASL: &str = "sasl";
const MECHANISMS: [&str; 3] = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"];

/// The parameters of TLS.
const FILES: [&str; 3] = ["ca", "cert", "key"];

/// How a program gets what the library lacks.
const WAY_OUT: &str = "build your program with rdkafka = { version = \"0.39\", features = [\"ssl\"] } among its dependencies, which adds OpenSSL to the library";

#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Security {
    pub(super) login: Option<(String, String)>,
    mechanism: Option<&'static str>,
    tls: Option<Files>,
}

/// The files of certificates: whom to trust, instead of the system's roots, and an own one with its key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Files {
    ca: Option<String>,
    identity: Option<(String, String)>,
}

// ===== impl Security =====

impl Security {
    /// What an address says; `further` are parameters of other matters.
    pub(super) fn of(address: &Address, further: &[&str]) -> Result<Security, Error> {
        let is_tls = match address.scheme.as_deref() {
            None | Some(PLAIN) => false,
            Some(TLS) => true,
            Some(other) => {
                return Err(Error::config(format_args!(
                    "expected one of {PLAIN}, {TLS} before ://, found {other}"
                )));
            }
        };
        if is_tls && !has("ssl") {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format_args!(
                    "{TLS}:// asks for TLS, which the Kafka library of this build has not; {WAY_OUT}, or use a listener without TLS, or a proxy on this machine that speaks TLS and whose address the servers advertise"
                ),
            ));
        }
        if is_tls && address.query.contains_key("server_name") {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "a Kafka server's certificate must have the name that the server advertises: the parameter server_name is not supported",
            ));
        }
        let mut known = further.to_vec();
        known.push(SASL);
        if is_tls {
            known.extend(FILES);
        }
        address.expect_query(&known, false)?;
        let login = match (&address.user, &address.password) {
            (None, None) => None,
            (Some(user), Some(password)) => Some((user.clone(), password.clone())),
            (Some(_), None) | (None, Some(_)) => {
                return Err(Error::config(format_args!(
                    "expected {PLAIN}://user:password@host, found a user without a password"
                )));
            }
        };
        let mut security = Security {
            login,
            mechanism: None,
            tls: is_tls.then(|| Files::of(address)).transpose()?,
        };
        if let Some(name) = address.query.get(SASL) {
            security.set_mechanism(name)?;
        }
        Ok(security)
    }

    pub(super) fn set_mechanism(&mut self, name: &str) -> Result<(), Error> {
        let found = MECHANISMS
            .iter()
            .find(|known| known.eq_ignore_ascii_case(name));
        let mechanism = *found.ok_or_else(|| {
            Error::config(format_args!(
                "expected one of {} as the mechanism of SASL, found {name:?}",
                MECHANISMS.join(", ")
            ))
        })?;
        if mechanism != MECHANISMS[0] && !has("sasl_scram") {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format_args!(
                    "{mechanism} is a mechanism which the Kafka library of this build has not; {WAY_OUT}, or let the server take {}, beside it or instead",
                    MECHANISMS[0]
                ),
            ));
        }
        self.mechanism = Some(mechanism);
        Ok(())
    }

    /// Tells the library.
    pub(super) fn tell(&self, client: &mut ClientConfig) {
        let protocol = match (&self.tls, &self.login) {
            (None, None) => "plaintext",
            (None, Some(_)) => "sasl_plaintext",
            (Some(_), None) => "ssl",
            (Some(_), Some(_)) => "sasl_ssl",
        };
        client.set("security.protocol", protocol);
        if let Some((user, password)) = &self.login {
            client
                .set("sasl.mechanisms", self.mechanism.unwrap_or(MECHANISMS[0]))
                .set("sasl.username", user)
                .set("sasl.password", password);
        }
        let Some(files) = &self.tls else { return };
        if let Some(ca) = &files.ca {
            client.set("ssl.ca.location", ca);
        }
        if let Some((cert, key)) = &files.identity {
            client
                .set("ssl.certificate.location", cert)
                .set("ssl.key.location", key);
        }
    }
}

impl fmt::Debug for Security {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Security")
            .field("user", &self.login.as_ref().map(|(user, _)| user))
            .field("mechanism", &self.mechanism)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

// ===== impl Files =====

impl Files {
    fn of(address: &Address) -> Result<Files, Error> {
        let file = |key: &str| address.query.get(key).cloned();
        let identity = match (file("cert"), file("key")) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => {
                return Err(Error::config(
                    "the parameters cert and key need each other: give the files of both",
                ));
            }
        };
        Ok(Files {
            ca: file("ca"),
            identity,
        })
    }
}

/// Whether the library was built with this: it refuses to be asked for what it lacks.
fn has(feature: &str) -> bool {
    let mut asked = ClientConfig::new();
    asked.set("builtin.features", feature);
    asked.create_native_config().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn security(text: &str) -> Result<Security, Error> {
        Security::of(&Address::parse(text).unwrap(), &[])
    }

    #[test]
    fn what_the_library_lacks_is_said_with_the_way_out() {
        for (address, feature) in [
            ("kafkas://a?ca=/ca.pem", "ssl"),
            ("kafka://me:x@a?sasl=scram-sha-512", "sasl_scram"),
        ] {
            match security(address) {
                Ok(_) => assert!(has(feature), "{address}"),
                Err(error) => {
                    assert!(!has(feature), "{address}: {error}");
                    assert_eq!(error.kind(), ErrorKind::Unsupported);
                    assert!(
                        error.to_string().contains("features = [\"ssl\"]"),
                        "{error}"
                    );
                }
            }
        }
        assert!(has("gzip") && has("zstd") && has("sasl_plain"));
    }

    #[test]
    fn the_library_is_told_what_was_written() {
        let mut client = ClientConfig::new();
        security("kafka://me:s3cret@a?sasl=plain")
            .unwrap()
            .tell(&mut client);
        assert_eq!(client.get("security.protocol"), Some("sasl_plaintext"));
        assert_eq!(client.get("sasl.mechanisms"), Some("PLAIN"));
        for bad in ["kafka://me:x@a?sasl=gssapi", "kafka://a?ca=x"] {
            assert_eq!(
                security(bad).unwrap_err().kind(),
                ErrorKind::Config,
                "{bad}"
            );
        }
    }
}
