//! [`Pattern`]: how a service's name becomes one of DNS.

use std::fmt;

use crate::error::Error;

/// Where the service's name goes.
pub(super) const SERVICE: &str = "{service}";

/// The most bytes of a name and of one of its labels (RFC 1035 §2.3.4), and of a name in text form.
const NAME_MAX: usize = 253;
const LABEL_MAX: usize = 63;

/// A name with `{service}` in it, and the port of its addresses; without a port it has SRV records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    name: String,
    pub(super) port: Option<u16>,
}

// ===== impl Pattern =====

impl Pattern {
    pub(super) fn parse(text: &str) -> Result<Pattern, Error> {
        let wrong = |why: &str| {
            Error::config(format_args!(
                "expected a name pattern such as {SERVICE}.service.consul (SRV records) or \
                 {SERVICE}.default.svc.cluster.local:8080 (addresses), found {text:?}: {why}"
            ))
        };
        let (name, port) = match text.split_once(':') {
            None => (text, None),
            Some((name, port)) => {
                let digits = port.bytes().all(|byte| byte.is_ascii_digit());
                let port = port.parse().ok().filter(|port| digits && *port > 0);
                let port = port.ok_or_else(|| wrong("a port is a number from 1 to 65535"))?;
                (name, Some(port))
            }
        };
        let pattern = Pattern {
            name: name.strip_suffix('.').unwrap_or(name).to_owned(),
            port,
        };
        if !pattern.name.contains(SERVICE) {
            return Err(wrong("it does not say where the service's name goes"));
        }
        check(&pattern.name.replace(SERVICE, "a")).map_err(|why| wrong(&why))?;
        Ok(pattern)
    }

    /// The name of a service, with the dot at its end that keeps the search list off.
    ///
    /// # Errors
    ///
    /// The service's name has what a name in DNS cannot have.
    pub(super) fn name(&self, service: &str) -> Result<String, Error> {
        let name = self.name.replace(SERVICE, service);
        match check(&name) {
            Ok(()) => Ok(format!("{name}.")),
            Err(why) => Err(Error::config(format_args!(
                "the service {service:?} cannot be looked up in DNS, its name would be {name:?}: {why}"
            ))),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

/// Whether each label has letters, digits, dashes and underscores (which SRV names have), and fits.
fn check(name: &str) -> Result<(), String> {
    if name.len() > NAME_MAX {
        return Err(format!(
            "it has {} bytes, {NAME_MAX} are the most",
            name.len()
        ));
    }
    for label in name.split('.') {
        if label.is_empty() {
            return Err("a part between two dots is empty".to_owned());
        }
        if label.len() > LABEL_MAX {
            let found = label.len();
            return Err(format!(
                "the part {label:?} has {found} bytes, {LABEL_MAX} are the most"
            ));
        }
        let wrong = |c: &char| !(c.is_ascii_alphanumeric() || *c == '-' || *c == '_');
        if let Some(found) = label.chars().find(wrong) {
            return Err(format!("{found:?} is none of a-z, 0-9, - and _"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn puts_the_service_into_its_place() {
        for (pattern, port, name) in [
            (
                "{service}.service.consul",
                None,
                "go.micro.srv.a.service.consul.",
            ),
            (
                "{service}.ns.svc.cluster.local.:80",
                Some(80),
                "go.micro.srv.a.ns.svc.cluster.local.",
            ),
            ("_grpc._tcp.{service}", None, "_grpc._tcp.go.micro.srv.a."),
        ] {
            let pattern = Pattern::parse(pattern).unwrap();
            assert_eq!(pattern.port, port);
            assert_eq!(pattern.name("go.micro.srv.a").unwrap(), name);
        }
        let shown = Pattern::parse("{service}.a.:8080").unwrap().to_string();
        assert_eq!(shown, "{service}.a:8080");
    }

    #[test]
    fn what_is_no_pattern_says_why() {
        for (text, why) in [
            ("", "it does not say where the service's name goes"),
            (
                "service.consul",
                "it does not say where the service's name goes",
            ),
            ("{service}.a:http", "a port is a number from 1 to 65535"),
            ("{service}.a:0", "a port is a number from 1 to 65535"),
            ("{service}.a:+1", "a port is a number from 1 to 65535"),
            ("{service}..a", "a part between two dots is empty"),
            ("{service}.{zone}", "'{' is none of a-z, 0-9, - and _"),
        ] {
            let error = Pattern::parse(text).unwrap_err().to_string();
            assert!(error.ends_with(&format!(": {why}")), "{text}: {error}");
        }
    }

    #[test]
    fn what_dns_cannot_name_says_why() {
        let pattern = Pattern::parse("{service}.test").unwrap();
        for (service, why) in [
            ("", "a part between two dots is empty"),
            ("a/b", "'/' is none of a-z, 0-9, - and _"),
            ("a b", "' ' is none of a-z, 0-9, - and _"),
            ("grüße", "'ü' is none of a-z, 0-9, - and _"),
            (&"a".repeat(64), "has 64 bytes, 63 are the most"),
            (&"a.".repeat(126), "it has 257 bytes, 253 are the most"),
        ] {
            let error = pattern.name(service).unwrap_err().to_string();
            assert!(error.ends_with(why), "{error}");
        }
    }
}
