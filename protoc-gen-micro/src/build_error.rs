//! [`BuildError`].

use std::fmt;

use crate::diagnostic::{Diagnostic, Error};

/// Why a build script has no code: protoc is missing or refused the files, the generator refused them, or a
/// file could not be written.
///
/// `Debug` prints the same text as `Display`, since cargo shows what `main` returns by `Debug`.
pub struct BuildError {
    text: String,
    error: Option<Error>,
}

// ===== impl BuildError =====

impl BuildError {
    pub(crate) fn new(text: impl Into<String>) -> BuildError {
        BuildError {
            text: text.into(),
            error: None,
        }
    }

    /// What the generator found, if it is what failed; empty if protoc or the file system did.
    #[must_use]
    pub fn diagnostics(&self) -> &[Diagnostic] {
        self.error.as_ref().map_or(&[], Error::diagnostics)
    }
}

impl From<Error> for BuildError {
    fn from(error: Error) -> BuildError {
        BuildError {
            text: error.to_string(),
            error: Some(error),
        }
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for BuildError {}
