//! [`Name`]: a DNS name, kept as it goes over the wire.

use std::fmt;

/// The longest label, in bytes (RFC 1035 §2.3.4).
pub(super) const MAX_LABEL: usize = 63;

/// The longest name, in bytes as on the wire, with the root's zero byte (RFC 1035 §2.3.4).
pub(super) const MAX_NAME: usize = 255;

/// A DNS name: its labels, each behind its length, without the root's zero byte.
///
/// Names are compared byte for byte: go-micro's services are case sensitive, unlike host names.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Name(Vec<u8>);

/// Why a text or a label is no name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NameError {
    /// A label without a byte, as in `a..b`.
    EmptyLabel,
    /// A label above [`MAX_LABEL`].
    LongLabel(String),
    /// The name is above [`MAX_NAME`].
    LongName(usize),
    /// A backslash, which escapes in the presentation form of names and so never reaches a Go peer as it is.
    Backslash,
}

// ===== impl Name =====

impl Name {
    /// Reads the form with dots, with or without one at the end.
    pub(super) fn from_text(text: &str) -> Result<Name, NameError> {
        let mut name = Name::default();
        for label in text.strip_suffix('.').unwrap_or(text).split('.') {
            if label.contains('\\') {
                return Err(NameError::Backslash);
            }
            name.push(label.as_bytes())?;
        }
        Ok(name)
    }

    /// Adds a label at the end.
    pub(super) fn push(&mut self, label: &[u8]) -> Result<(), NameError> {
        let length = match u8::try_from(label.len()) {
            Ok(0) => return Err(NameError::EmptyLabel),
            Ok(length) if label.len() <= MAX_LABEL => length,
            _ => {
                let label = String::from_utf8_lossy(label).into_owned();
                return Err(NameError::LongLabel(label));
            }
        };
        let total = self.wire_len() + 1 + label.len();
        if total > MAX_NAME {
            return Err(NameError::LongName(total));
        }
        self.0.push(length);
        self.0.extend_from_slice(label);
        Ok(())
    }

    /// This name in front of another.
    pub(super) fn join(&self, suffix: &Name) -> Result<Name, NameError> {
        let total = self.wire_len() + suffix.0.len();
        if total > MAX_NAME {
            return Err(NameError::LongName(total));
        }
        let mut bytes = Vec::with_capacity(total);
        bytes.extend_from_slice(&self.0);
        bytes.extend_from_slice(&suffix.0);
        Ok(Name(bytes))
    }

    /// What stands before a suffix; `None` if the name does not end so, or is nothing but the suffix.
    pub(super) fn strip_suffix(&self, suffix: &Name) -> Option<Name> {
        self.suffixes()
            .find(|(_, rest)| *rest == suffix.0)
            .and_then(|(offset, _)| self.0.get(..offset))
            .filter(|prefix| !prefix.is_empty())
            .map(|prefix| Name(prefix.to_vec()))
    }

    /// The labels joined by dots, without one at the end; `None` if that would not read back: a dot within
    /// a label, or bytes that are no UTF-8.
    pub(super) fn text(&self) -> Option<String> {
        let mut text = String::with_capacity(self.0.len());
        for label in self.labels() {
            let label = std::str::from_utf8(label).ok()?;
            if label.contains(['.', '\\']) {
                return None;
            }
            if !text.is_empty() {
                text.push('.');
            }
            text.push_str(label);
        }
        Some(text)
    }

    /// The labels, first to last.
    pub(super) fn labels(&self) -> impl Iterator<Item = &[u8]> {
        self.suffixes().filter_map(|(_, rest)| {
            let (length, rest) = rest.split_first()?;
            rest.get(..usize::from(*length))
        })
    }

    /// The name and each name that it ends with, down to the root, with where they begin in its bytes.
    pub(super) fn suffixes(&self) -> impl Iterator<Item = (usize, &[u8])> {
        let mut offset = 0;
        std::iter::from_fn(move || {
            let rest = self.0.get(offset..)?;
            let length = rest.first()?;
            let at = offset;
            offset += 1 + usize::from(*length);
            Some((at, rest))
        })
    }

    /// The bytes of the labels, without the root's.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn wire_len(&self) -> usize {
        self.0.len() + 1
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for label in self.labels() {
            write!(f, "{}.", label.escape_ascii())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NameError::EmptyLabel => f.write_str("a part between two dots is empty"),
            NameError::LongLabel(label) => write!(
                f,
                "the part {label:?} has {} bytes, mDNS allows {MAX_LABEL}",
                label.len()
            ),
            NameError::LongName(length) => {
                write!(f, "it has {length} bytes, mDNS allows {MAX_NAME}")
            }
            NameError::Backslash => {
                f.write_str("it has a backslash, which mDNS names cannot carry")
            }
        }
    }
}

impl std::error::Error for NameError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::from_text(text).unwrap()
    }

    #[test]
    fn text_and_bytes() {
        assert_eq!(name("greeter.micro").as_bytes(), b"\x07greeter\x05micro");
        assert_eq!(name("greeter.micro."), name("greeter.micro"));
        assert_eq!(name("a.b.micro").text().unwrap(), "a.b.micro");
        assert_eq!(name("a.b").to_string(), "a.b.");
        assert_ne!(name("Greeter"), name("greeter"));
    }

    #[test]
    fn suffixes_end_at_labels() {
        let instance = name("greeter-1.go.greeter.micro");
        let prefix = instance.strip_suffix(&name("go.greeter.micro")).unwrap();
        assert_eq!(prefix.text().unwrap(), "greeter-1");
        assert_eq!(instance.strip_suffix(&name("1.go.greeter.micro")), None);
        assert_eq!(instance.strip_suffix(&instance), None);
        assert_eq!(prefix.join(&name("go.greeter.micro")).unwrap(), instance);
    }

    #[test]
    fn a_dot_within_a_label_has_no_text() {
        let mut odd = Name::default();
        odd.push(b"a.b").unwrap();
        assert_eq!(odd.text(), None);
    }

    #[test]
    fn limits() {
        assert_eq!(Name::from_text("a..b"), Err(NameError::EmptyLabel));
        assert_eq!(Name::from_text(""), Err(NameError::EmptyLabel));
        assert_eq!(Name::from_text(r"a\b"), Err(NameError::Backslash));
        assert!(Name::from_text(&"x".repeat(63)).is_ok());
        let error = Name::from_text(&"x".repeat(64)).unwrap_err();
        assert!(error.to_string().contains("64 bytes, mDNS allows 63"));
        // Three labels of 63 and one of 61 bytes make 255 with the lengths and the root.
        let label = "x".repeat(63);
        let longest = format!("{label}.{label}.{label}.{}", "x".repeat(61));
        assert!(Name::from_text(&longest).is_ok());
        assert_eq!(
            Name::from_text(&format!("{longest}x")),
            Err(NameError::LongName(256))
        );
        assert!(name(&longest).join(&name("a")).is_err());
    }
}
