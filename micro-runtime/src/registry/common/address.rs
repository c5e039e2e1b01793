//! [`Address`]: where a back-end is, as users write it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use percent_encoding::percent_decode_str;

use crate::error::Error;

/// The parameters that every TLS address takes: files with the certificates to trust and with an own
/// certificate and its key, and the name that the server's certificate must have.
const TLS_KEYS: [&str; 4] = ["ca", "cert", "key", "server_name"];

/// The most characters of an address that an error repeats.
const SHOWN: usize = 80;

/// An address of a back-end: `host`, `host:port`, `[::1]:port`, or
/// `scheme://[user[:password]@]host[:port][/path][?key=value&…]`. User, password, path and parameters are
/// percent-decoded (RFC 3986 §2.1). `Debug` and errors leave the password out.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Address {
    /// In lower case.
    pub(crate) scheme: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<String>,
    /// Without the brackets of an IPv6 address.
    pub(crate) host: String,
    pub(crate) port: Option<u16>,
    /// Without the slash that begins it.
    pub(crate) path: String,
    pub(crate) query: BTreeMap<String, String>,
}

// ===== impl Address =====

impl Address {
    /// Reads an address.
    ///
    /// # Errors
    ///
    /// It is none. The error says why, and shows no password.
    pub(crate) fn parse(text: &str) -> Result<Address, Error> {
        let wrong = |why: &str| {
            Error::config(format_args!(
                "expected an address such as host, host:port or https://user:password@host:port, found {}: {why}",
                shown(text)
            ))
        };
        if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(wrong("it has a blank or a control character"));
        }
        let mut address = Address::default();
        let mut rest = text;
        if let Some((scheme, after)) = text.split_once("://") {
            let mut letters = scheme.bytes();
            let starts = letters.next().is_some_and(|b| b.is_ascii_alphabetic());
            // RFC 3986 §3.1.
            if !starts || !letters.all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b)) {
                return Err(wrong("what stands before :// is no scheme"));
            }
            address.scheme = Some(scheme.to_ascii_lowercase());
            rest = after;
        }
        if rest.contains('#') {
            return Err(wrong("write # as %23"));
        }
        if let Some((before, query)) = rest.split_once('?') {
            for pair in query.split('&').filter(|pair| !pair.is_empty()) {
                let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                let key = decoded(key).ok_or_else(|| wrong("a parameter is no UTF-8"))?;
                let value = decoded(value).ok_or_else(|| wrong("a parameter is no UTF-8"))?;
                if address.query.insert(key, value).is_some() {
                    return Err(wrong("a parameter stands twice"));
                }
            }
            rest = before;
        }
        if let Some((before, path)) = rest.split_once('/') {
            address.path = decoded(path).ok_or_else(|| wrong("the path is no UTF-8"))?;
            rest = before;
        }
        if let Some((credentials, after)) = rest.rsplit_once('@') {
            let (user, password) = match credentials.split_once(':') {
                Some((user, password)) => (user, Some(password)),
                None => (credentials, None),
            };
            address.user = Some(decoded(user).ok_or_else(|| wrong("the user is no UTF-8"))?);
            address.password = match password.map(decoded) {
                Some(None) => return Err(wrong("the password is no UTF-8")),
                Some(password) => password,
                None => None,
            };
            rest = after;
        }
        let (host, port) = match rest.strip_prefix('[') {
            Some(bracketed) => {
                let (host, after) = bracketed
                    .split_once(']')
                    .ok_or_else(|| wrong("a [ has no ]"))?;
                if host.parse::<std::net::Ipv6Addr>().is_err() {
                    return Err(wrong("what stands in brackets is no IPv6 address"));
                }
                match after.strip_prefix(':') {
                    Some(port) => (host, Some(port)),
                    None if after.is_empty() => (host, None),
                    None => return Err(wrong("after ] comes a port or nothing")),
                }
            }
            None => match rest.split_once(':') {
                Some((_, port)) if port.contains(':') => {
                    return Err(wrong("an IPv6 address stands in brackets, [::1]:2379"));
                }
                Some((host, port)) => (host, Some(port)),
                None => (rest, None),
            },
        };
        if host.is_empty() {
            return Err(wrong("it has no host"));
        }
        address.host = host.to_owned();
        address.port = match port {
            // `parse` alone would take `+1`.
            Some(port) if port.bytes().all(|b| b.is_ascii_digit()) => {
                let port = port.parse().ok().filter(|port| *port > 0);
                Some(port.ok_or_else(|| wrong("a port is a number from 1 to 65535"))?)
            }
            Some(_) => return Err(wrong("a port is a number from 1 to 65535")),
            None => None,
        };
        Ok(address)
    }

    /// Whether the scheme asks for TLS; an address without a scheme does not.
    ///
    /// # Errors
    ///
    /// The scheme is none of these, or asks for TLS in a build without the feature `tls`.
    pub(crate) fn secure(&self, plain: &[&str], tls: &[&str]) -> Result<bool, Error> {
        let Some(scheme) = self.scheme.as_deref() else {
            return Ok(false);
        };
        if plain.contains(&scheme) {
            return Ok(false);
        }
        if !tls.contains(&scheme) {
            let known: Vec<_> = plain.iter().chain(tls).copied().collect();
            return Err(Error::config(format_args!(
                "expected one of {} before ://, found {}",
                known.join(", "),
                shown(scheme)
            )));
        }
        if cfg!(feature = "tls") {
            Ok(true)
        } else {
            Err(Error::config(format_args!(
                "{scheme}:// asks for TLS, which this build has not; build with the cargo feature tls"
            )))
        }
    }

    /// That there are no other parameters than these; those of TLS are allowed where `secure` says so.
    ///
    /// # Errors
    ///
    /// There is another one.
    pub(crate) fn expect_query(&self, keys: &[&str], secure: bool) -> Result<(), Error> {
        let tls: &[&str] = if secure { &TLS_KEYS } else { &[] };
        let mut known = keys.iter().chain(tls);
        match self
            .query
            .keys()
            .find(|key| known.clone().all(|known| known != key))
        {
            None => Ok(()),
            Some(key) if TLS_KEYS.contains(&key.as_str()) => Err(Error::config(format_args!(
                "the parameter {key} is one of TLS, which the address does not ask for"
            ))),
            Some(key) => {
                let found = shown(key);
                let Some(first) = known.next() else {
                    return Err(Error::config(format_args!(
                        "expected no parameter after ?, found {found}"
                    )));
                };
                let others: String = known.map(|key| format!(", {key}")).collect();
                Err(Error::config(format_args!(
                    "expected one of {first}{others} as parameters after ?, found {found}"
                )))
            }
        }
    }

    /// What the parameters `ca`, `cert`, `key` and `server_name` say; without them the system's roots count.
    ///
    /// # Errors
    ///
    /// One of `cert` and `key` stands without the other, or a file cannot be used.
    #[cfg(feature = "tls")]
    pub(crate) fn tls(&self) -> Result<crate::transport::ClientTls, Error> {
        let mut tls = crate::transport::ClientTls::new();
        if let Some(file) = self.query.get("ca") {
            tls = tls.ca_file(file);
        }
        tls = match (self.query.get("cert"), self.query.get("key")) {
            (Some(cert), Some(key)) => tls.identity_files(cert, key),
            (None, None) => tls,
            (Some(_), None) | (None, Some(_)) => {
                return Err(Error::config(
                    "the parameters cert and key need each other: give the files of both",
                ));
            }
        };
        if let Some(name) = self.query.get("server_name") {
            tls = tls.server_name(name);
        }
        Ok(tls)
    }

    /// The user; not one without a password, which may be a token (NATS writes tokens so).
    fn shown_user(&self) -> Option<&str> {
        match (&self.user, &self.password) {
            (Some(_), None) => Some("***"),
            (user, _) => user.as_deref(),
        }
    }

    /// `host:port`, with brackets where an address needs them.
    pub(crate) fn host_port(&self, default_port: u16) -> String {
        let port = self.port.unwrap_or(default_port);
        if self.host.contains(':') {
            format!("[{}]:{port}", self.host)
        } else {
            format!("{}:{port}", self.host)
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Address")
            .field("scheme", &self.scheme)
            .field("user", &self.shown_user())
            .field("password", &self.password.as_ref().map(|_| "***"))
            .field("host", &self.host)
            .field("port", &self.port)
            .field("path", &self.path)
            .field("query", &self.query)
            .finish()
    }
}

fn decoded(text: &str) -> Option<String> {
    percent_decode_str(text)
        .decode_utf8()
        .ok()
        .map(Cow::into_owned)
}

/// The text in quotes, cut short, and without what may be a password.
fn shown(text: &str) -> String {
    let start = text.find("://").map_or(0, |at| at + 3);
    let (scheme, rest) = text.split_at(start);
    let text = match rest.rsplit_once('@') {
        Some((credentials, after)) => {
            // A user without a password may be a token.
            let user = credentials.split_once(':').map(|(user, _)| user);
            let user = user.map(|user| format!("{user}:")).unwrap_or_default();
            Cow::Owned(format!("{scheme}{user}***@{after}"))
        }
        None => Cow::Borrowed(text),
    };
    let mut characters = text.chars();
    let start: String = characters.by_ref().take(SHOWN).collect();
    let more = if characters.next().is_some() {
        "…"
    } else {
        ""
    };
    format!("{start:?}{more}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    #[test]
    fn reads_what_users_write() {
        for (text, host, port, path) in [
            ("consul", "consul", None, ""),
            ("10.0.0.7:8500", "10.0.0.7", Some(8500), ""),
            ("[::1]:2379", "::1", Some(2379), ""),
            ("[fd00::8]", "fd00::8", None, ""),
            ("https://host", "host", None, ""),
            ("HTTPS://host:1/", "host", Some(1), ""),
            ("zk://a:2181/some/root", "a", Some(2181), "some/root"),
            (
                "etcds://u:p%40ss@h:2379?ca=/etc/ca.pem",
                "h",
                Some(2379),
                "",
            ),
        ] {
            let address = parsed(text);
            assert_eq!(address.host, host, "{text}");
            assert_eq!(address.port, port, "{text}");
            assert_eq!(address.path, path, "{text}");
        }
        let address = parsed("etcds://u:p%40s:s@h?ca=%2Fetc%2Fca.pem&server_name=etcd");
        assert_eq!(address.scheme.as_deref(), Some("etcds"));
        assert_eq!(address.user.as_deref(), Some("u"));
        assert_eq!(address.password.as_deref(), Some("p@s:s"));
        assert_eq!(address.query["ca"], "/etc/ca.pem");
        assert_eq!(address.host_port(2379), "h:2379");
        assert_eq!(parsed("[::1]").host_port(1), "[::1]:1");
        assert_eq!(parsed("t0ken@h").user.as_deref(), Some("t0ken"));
    }

    #[test]
    fn what_is_no_address_is_an_error_that_says_why() {
        for (text, why) in [
            ("", "it has no host"),
            ("http://", "it has no host"),
            (":80", "it has no host"),
            ("a b", "it has a blank or a control character"),
            ("::1", "an IPv6 address stands in brackets, [::1]:2379"),
            ("[::1", "a [ has no ]"),
            ("[x]:1", "what stands in brackets is no IPv6 address"),
            ("[::1]1", "after ] comes a port or nothing"),
            ("a:0", "a port is a number from 1 to 65535"),
            ("a:+1", "a port is a number from 1 to 65535"),
            ("a:65536", "a port is a number from 1 to 65535"),
            ("a:", "a port is a number from 1 to 65535"),
            ("1x://a", "what stands before :// is no scheme"),
            ("a#b", "write # as %23"),
            ("a?x=1&x=2", "a parameter stands twice"),
            ("%ff@a", "the user is no UTF-8"),
        ] {
            let error = Address::parse(text).unwrap_err().to_string();
            assert!(error.ends_with(&format!(": {why}")), "{text}: {error}");
        }
    }

    #[test]
    fn no_error_and_no_debug_output_shows_the_password() {
        let error = Address::parse("https://me:s3cr3t@host:x").unwrap_err();
        assert!(
            error.to_string().contains("\"https://me:***@host:x\""),
            "{error}"
        );
        let error = Address::parse("https://me:s3/cr3t@host").unwrap_err();
        assert!(!error.to_string().contains("cr3t"), "{error}");
        assert!(!format!("{:?}", parsed("me:s3cr3t@host")).contains("s3cr3t"));
    }

    #[test]
    fn a_user_alone_may_be_a_token_and_is_not_shown() {
        assert!(!format!("{:?}", parsed("nats://t0ken@host")).contains("t0ken"));
        assert!(format!("{:?}", parsed("me:s3cr3t@host")).contains("\"me\""));
        let error = Address::parse("nats://t0ken@host:x").unwrap_err();
        assert!(
            error.to_string().contains("\"nats://***@host:x\""),
            "{error}"
        );
        // A question mark in a password that was not written as %3F.
        let error = parsed("me:1?s3cr3t@host").expect_query(&[], false);
        let error = error.unwrap_err().to_string();
        assert!(!error.contains("s3cr3t"), "{error}");
    }

    #[test]
    fn schemes_say_whether_to_use_tls() {
        let secure = |text: &str| parsed(text).secure(&["http", "etcd"], &["https", "etcds"]);
        assert!(!secure("host").unwrap());
        assert!(!secure("etcd://host").unwrap());
        assert_eq!(secure("etcds://host").is_ok(), cfg!(feature = "tls"));
        let error = secure("zk://host").unwrap_err();
        let expected = "expected one of http, etcd, https, etcds before ://, found \"zk\"";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn unknown_parameters_are_errors() {
        let check = |text: &str, keys: &[&str], secure| {
            let result = parsed(text).expect_query(keys, secure);
            result.map_err(|error| error.to_string())
        };
        assert_eq!(check("a?dc=1", &["dc"], false), Ok(()));
        assert_eq!(check("a?ca=1", &[], true), Ok(()));
        assert_eq!(
            check("a?ca=1", &[], false).unwrap_err(),
            "the parameter ca is one of TLS, which the address does not ask for"
        );
        assert_eq!(
            check("a?x=1", &[], false).unwrap_err(),
            "expected no parameter after ?, found \"x\""
        );
        assert_eq!(
            check("a?x=1", &["dc", "ns"], false).unwrap_err(),
            "expected one of dc, ns as parameters after ?, found \"x\""
        );
    }

    proptest! {
        #[test]
        fn never_panics(text in ".{0,64}") {
            let _ = Address::parse(&text);
        }
    }
}
