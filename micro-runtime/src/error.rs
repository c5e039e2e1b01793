//! [`Error`]: everything that fails outside a call.

use std::fmt;

use crate::status::{Code, Status};

/// What an [`Error`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A setting, a flag or an argument is wrong.
    Config,
    /// A registry refused, failed or could not be reached.
    Registry,
    /// A broker refused, failed or could not be reached.
    Broker,
    /// An address could not be bound, dialled or parsed, or a connection failed.
    Transport,
    /// A service or a name is there already.
    Duplicate,
    /// A hook of the user's, or a call it made, failed.
    Call,
    /// What was asked for is not supported here.
    Unsupported,
}

/// An error outside a call: one opaque, pointer-wide type with a [`kind`](Error::kind).
///
/// `Debug` prints what `Display` prints, with the causes, since that is what `fn main() -> Result<(), Error>`
/// shows to the user.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

// ===== impl Error =====

impl Error {
    /// An error of this kind; the message says what was expected, what was found and what to do.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl fmt::Display) -> Error {
        Error(Box::new(Inner {
            kind,
            message: message.to_string(),
            source: None,
        }))
    }

    /// Adds the cause, which [`std::error::Error::source`] then gives.
    #[must_use]
    pub fn with_source(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Error {
        self.0.source = Some(source.into());
        self
    }

    /// What it is about.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The same once more, for another one that it is about; its causes are part of its message.
    pub(crate) fn again(&self) -> Error {
        Error::new(self.kind(), self.chain())
    }

    pub(crate) fn config(message: impl fmt::Display) -> Error {
        Error::new(ErrorKind::Config, message)
    }

    pub(crate) fn registry(message: impl fmt::Display) -> Error {
        Error::new(ErrorKind::Registry, message)
    }

    pub(crate) fn broker(message: impl fmt::Display) -> Error {
        Error::new(ErrorKind::Broker, message)
    }

    pub(crate) fn transport(message: impl fmt::Display) -> Error {
        Error::new(ErrorKind::Transport, message)
    }

    /// The message and those of its causes, parted by `": "`.
    fn chain(&self) -> String {
        let mut text = self.0.message.clone();
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            let cause_text = cause.to_string();
            if !text.contains(&cause_text) {
                text.push_str(": ");
                text.push_str(&cause_text);
            }
            source = cause.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.chain())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0
            .source
            .as_deref()
            .map(|source| source as &(dyn std::error::Error + 'static))
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Error {
        Error::new(ErrorKind::Call, status.to_string())
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Status {
        let code = match error.kind() {
            ErrorKind::Registry | ErrorKind::Broker | ErrorKind::Transport => Code::Unavailable,
            ErrorKind::Unsupported => Code::Unimplemented,
            ErrorKind::Config | ErrorKind::Duplicate | ErrorKind::Call => Code::Internal,
        };
        Status::new(code, error.chain())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_one_pointer_wide() {
        assert_eq!(size_of::<Error>(), size_of::<usize>());
    }

    #[test]
    fn debug_shows_the_causes_and_no_quotes() {
        let error = Error::config("the address \"x\" has no port").with_source("why");
        assert_eq!(error.to_string(), "the address \"x\" has no port");
        assert_eq!(format!("{error:?}"), "the address \"x\" has no port: why");
    }

    #[test]
    fn a_registry_error_is_unavailable() {
        assert_eq!(
            Status::from(Error::registry("gone")).code(),
            Code::Unavailable
        );
    }
}
