//! What a source gave for a setting, and reading it: text into numbers, durations, lists.

use std::fmt;
use std::time::Duration;

use super::duration;
use crate::error::Error;

/// The most characters of a value that an error repeats.
const SHOWN: usize = 80;

/// Where a setting came from; its `Display` is what an error begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A function of ours that code called, such as `ServiceBuilder::address`.
    Code(&'static str),
    /// A variable of the environment.
    Variable(&'static str),
    /// A flag, without its dashes.
    #[cfg_attr(
        not(any(test, feature = "flags")),
        expect(dead_code, reason = "made with the feature flags")
    )]
    Flag(&'static str),
}

/// A value and where it came from.
#[derive(Clone, Debug)]
pub(crate) struct Given<'a> {
    pub(crate) text: &'a str,
    pub(crate) origin: Origin,
}

// ===== impl Origin =====

impl Origin {
    /// An error about this setting.
    pub(crate) fn error(&self, message: impl fmt::Display) -> Error {
        Error::config(format_args!("{self}: {message}"))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Code(name) | Origin::Variable(name) => f.write_str(name),
            Origin::Flag(name) => write!(f, "--{name}"),
        }
    }
}

// ===== impl Given =====

impl Given<'_> {
    /// The error that something else was expected.
    pub(crate) fn expected(&self, what: impl fmt::Display) -> Error {
        self.origin
            .error(format_args!("expected {what}, found {}", shown(self.text)))
    }

    /// A Go duration.
    pub(super) fn duration(&self) -> Result<Duration, Error> {
        duration::parse(self.text).map_err(|why| {
            self.expected(format_args!(
                "a duration such as 5s, 300ms or 1m30s ({why})"
            ))
        })
    }

    /// A whole number of seconds, as go-micro's integer flags have it. 32 bits are 136 years, and what the
    /// TTL of a DNS record holds.
    pub(super) fn seconds(&self) -> Result<Duration, Error> {
        match self.text.parse::<u32>() {
            Ok(seconds) => Ok(Duration::from_secs(u64::from(seconds))),
            Err(_) => Err(self.expected("whole seconds without a unit, such as 90")),
        }
    }

    /// A whole number.
    pub(super) fn number(&self) -> Result<u32, Error> {
        self.text
            .parse()
            .map_err(|_| self.expected("a whole number from 0"))
    }

    /// One of some words; gives what stands beside it.
    pub(super) fn one_of<T: Copy>(&self, words: &[(&str, T)]) -> Result<T, Error> {
        match words.iter().find(|word| word.0 == self.text) {
            Some(word) => Ok(word.1),
            None => {
                let words: Vec<_> = words.iter().map(|word| word.0).collect();
                Err(match words.as_slice() {
                    [word] => self.expected(word),
                    _ => self.expected(format_args!("one of {}", words.join(", "))),
                })
            }
        }
    }

    /// What is between the commas, without the spaces around it and without empty pieces.
    pub(super) fn list(&self) -> impl Iterator<Item = &str> {
        self.text
            .split(',')
            .map(str::trim)
            .filter(|piece| !piece.is_empty())
    }
}

/// A value as errors show it: quoted, escaped, and cut when it is long.
pub(crate) fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}…", text.get(..end).unwrap_or_default()),
        None => format!("{text:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(text: &str) -> Given<'_> {
        Given {
            text,
            origin: Origin::Flag("x"),
        }
    }

    #[test]
    fn an_error_says_where_what_was_expected_and_what_was_found() {
        assert_eq!(
            given("5").duration().unwrap_err().to_string(),
            "--x: expected a duration such as 5s, 300ms or 1m30s (a unit is missing: ns, us, ms, s, m or h), found \"5\""
        );
        assert_eq!(
            given("1m").seconds().unwrap_err().to_string(),
            "--x: expected whole seconds without a unit, such as 90, found \"1m\""
        );
        assert_eq!(
            given("c")
                .one_of(&[("a", 1), ("b", 2)])
                .unwrap_err()
                .to_string(),
            "--x: expected one of a, b, found \"c\""
        );
        assert_eq!(
            given("c").one_of(&[("a", 1)]).unwrap_err().to_string(),
            "--x: expected a, found \"c\""
        );
    }

    #[test]
    fn a_long_value_is_cut_between_characters() {
        let long = "ä".repeat(SHOWN + 1);
        assert_eq!(shown(&long), format!("\"{}\"…", "ä".repeat(SHOWN)));
        assert_eq!(shown("a\nb"), "\"a\\nb\"");
    }

    #[test]
    fn a_list_leaves_out_what_is_empty() {
        assert_eq!(
            given(" a, b,,c ,").list().collect::<Vec<_>>(),
            ["a", "b", "c"]
        );
        assert_eq!(given("").list().count(), 0);
    }
}
