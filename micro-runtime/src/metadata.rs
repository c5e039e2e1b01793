//! [`Metadata`]: the headers and trailers of a call, as its user sees them.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;

/// Names that nearly every event has: they need no copy each.
const COMMON: [&str; 4] = [
    "content-type",
    "micro-topic",
    "micro-id",
    "micro-from-service",
];

/// Names and values that travel beside the messages of a call, in order, repeats kept.
///
/// Names are case-insensitive and kept in lower case, as gRPC sends them. A name that ends in `-bin` has a
/// binary value ([`Metadata::get_bin`]); every other value is text of visible ASCII and spaces
/// ([`Metadata::get`]). An empty `Metadata` allocates nothing.
///
/// ```
/// use micro_runtime::Metadata;
///
/// let mut metadata = Metadata::new();
/// metadata.insert("X-Trace", "7");
/// metadata.append("x-trace", "8");
/// assert_eq!(metadata.get("x-trace"), Some("7"));
/// assert_eq!(metadata.get_all("X-TRACE").collect::<Vec<_>>(), ["7", "8"]);
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Metadata {
    entries: Vec<(Cow<'static, str>, Bytes)>,
}

// ===== impl Metadata =====

impl Metadata {
    /// No entries.
    #[must_use]
    pub const fn new() -> Metadata {
        Metadata {
            entries: Vec::new(),
        }
    }

    /// The number of entries; a repeated name counts each time.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The first text value of a name; `None` if there is none or it is not text.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.entries
            .iter()
            .filter(|(key, _)| key.eq_ignore_ascii_case(name))
            .find_map(|(_, value)| std::str::from_utf8(value).ok())
    }

    /// Every text value of a name, in order.
    pub fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.entries
            .iter()
            .filter(move |(key, _)| key.eq_ignore_ascii_case(name))
            .filter_map(|(_, value)| std::str::from_utf8(value).ok())
    }

    /// The first value of a name, as bytes: for a name that ends in `-bin` the decoded ones.
    #[must_use]
    pub fn get_bin(&self, name: &str) -> Option<&Bytes> {
        self.entries
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// Every name and value, in order; values of `-bin` names are decoded.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Bytes)> {
        self.entries.iter().map(|(name, value)| (&**name, value))
    }

    /// Sets the only value of a name: earlier ones go.
    pub fn insert(&mut self, name: impl AsRef<str>, value: impl Into<String>) {
        self.insert_bin(name, Bytes::from(value.into()));
    }

    /// Adds a value of a name: earlier ones stay.
    pub fn append(&mut self, name: impl AsRef<str>, value: impl Into<String>) {
        self.append_bin(name, Bytes::from(value.into()));
    }

    /// Sets the only value of a name, given as bytes. A binary value needs a name that ends in `-bin`; it is
    /// coded in base64 on the wire.
    pub fn insert_bin(&mut self, name: impl AsRef<str>, value: impl Into<Bytes>) {
        self.remove(name.as_ref());
        self.append_bin(name, value);
    }

    /// Adds a value of a name, given as bytes.
    pub fn append_bin(&mut self, name: impl AsRef<str>, value: impl Into<Bytes>) {
        let name = name.as_ref();
        let common = COMMON
            .into_iter()
            .find(|common| common.eq_ignore_ascii_case(name));
        let name = match common {
            Some(common) => Cow::Borrowed(common),
            None => Cow::Owned(name.to_ascii_lowercase()),
        };
        self.entries.push((name, value.into()));
    }

    /// Takes every value of a name out; whether there was one.
    pub fn remove(&mut self, name: &str) -> bool {
        let before = self.entries.len();
        self.entries
            .retain(|(key, _)| !key.eq_ignore_ascii_case(name));
        before != self.entries.len()
    }

    /// Checks that every entry can be sent: a name of lower-case letters, digits, `-`, `_` and `.`, not
    /// reserved (`grpc-…`, `:…`, and the headers that the protocol itself writes), and a value of visible
    /// ASCII and spaces unless the name ends in `-bin`.
    ///
    /// # Errors
    /// The first entry that cannot be sent, and why.
    pub fn check(&self) -> Result<(), String> {
        for (name, value) in &self.entries {
            check_name(name)?;
            if !is_value(name, value) {
                return Err(format!(
                    "metadata {name:?} has a value that is not visible ASCII; a name that ends in \"-bin\" takes any bytes"
                ));
            }
        }
        Ok(())
    }
}

/// Whether the protocol writes or reads this header itself, so that it is no metadata of the user's.
pub(crate) fn is_reserved(name: &str) -> bool {
    name.starts_with(':')
        || name.starts_with("grpc-")
        || matches!(
            name,
            "content-type"
                | "content-length"
                | "te"
                | "host"
                | "user-agent"
                | "connection"
                | "keep-alive"
                | "proxy-connection"
                | "transfer-encoding"
                | "upgrade"
                | "trailer"
        )
}

/// Whether an entry that came from elsewhere is one of a name and a value that can be sent.
pub(crate) fn can_be_sent(name: &str, value: &[u8]) -> bool {
    is_name(name) && is_value(name, value)
}

fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.');
    !name.is_empty() && name.bytes().all(allowed)
}

/// Whether a value is one that this name may have: visible ASCII and spaces, any bytes for `-bin`.
pub(crate) fn is_value(name: &str, value: &[u8]) -> bool {
    name.ends_with("-bin") || value.iter().all(|byte| (0x20..0x7f).contains(byte))
}

fn check_name(name: &str) -> Result<(), String> {
    if !is_name(name) {
        return Err(format!(
            "metadata name {name:?} has a character that is not a letter, a digit, '-', '_' or '.'"
        ));
    }
    if is_reserved(name) {
        return Err(format!(
            "metadata name {name:?} is reserved: the protocol writes that header itself"
        ));
    }
    Ok(())
}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        for (name, value) in self.iter() {
            // Credentials do not belong into logs.
            if matches!(name, "authorization" | "cookie" | "set-cookie") {
                map.entry(&name, &"<redacted>");
            } else {
                map.entry(&name, &String::from_utf8_lossy(value));
            }
        }
        map.finish()
    }
}

impl<N: AsRef<str>, V: Into<String>> FromIterator<(N, V)> for Metadata {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Metadata {
        let mut metadata = Metadata::new();
        for (name, value) in pairs {
            metadata.append(name, value);
        }
        metadata
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn insert_replaces_and_append_adds() {
        let mut metadata: Metadata = [("A", "1"), ("a", "2"), ("b", "3")].into_iter().collect();
        assert_eq!(metadata.get_all("a").count(), 2);
        metadata.insert("a", "4");
        assert_eq!(metadata.get_all("A").collect::<Vec<_>>(), ["4"]);
        assert!(metadata.remove("B"));
        assert!(!metadata.remove("b"));
        assert_eq!(metadata.len(), 1);
    }

    #[test]
    fn refuses_what_cannot_be_sent() {
        let entry = |name: &str, value: &str| Metadata::from_iter([(name, value)]).check();
        assert!(entry("x-a", "visible text").is_ok());
        assert!(entry("x a", "1").is_err());
        assert!(entry("", "1").is_err());
        assert!(entry("grpc-status", "0").is_err());
        assert!(entry("te", "trailers").is_err());
        assert!(entry("x-a", "new\nline").is_err());
        assert!(entry("x-a-bin", "new\nline").is_ok());
    }

    #[test]
    fn debug_hides_credentials() {
        let metadata: Metadata = [("authorization", "Bearer s3cret")].into_iter().collect();
        assert!(!format!("{metadata:?}").contains("s3cret"));
    }
}
