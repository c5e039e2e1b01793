//! What is wrong with the input, and where.

use std::fmt;
use std::path::PathBuf;

/// One finding: a file and a line if they are known, what is wrong, and the way out.
///
/// Prints as `shop.proto:12: text`, or as `shop.proto: text`, or as `text` alone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Diagnostic {
    file: Option<String>,
    line: Option<u32>,
    text: String,
}

/// Why nothing was generated.
///
/// Prints one finding per line.
#[derive(Clone, PartialEq, Eq)]
pub struct Error {
    unreadable: bool,
    diagnostics: Vec<Diagnostic>,
}

// ===== impl Diagnostic =====

impl Diagnostic {
    /// A finding that belongs to no file.
    pub(crate) fn new(text: impl Into<String>) -> Diagnostic {
        Diagnostic {
            file: None,
            line: None,
            text: text.into(),
        }
    }

    /// A finding in a file, at a line counted from 1 if it is known.
    pub(crate) fn at(
        file: impl Into<String>,
        line: Option<u32>,
        text: impl Into<String>,
    ) -> Diagnostic {
        Diagnostic {
            file: Some(file.into()),
            line,
            text: text.into(),
        }
    }

    /// The same with the file's name as `locate` gives it, for those it knows.
    pub(crate) fn located(mut self, locate: impl FnOnce(&str) -> Option<PathBuf>) -> Diagnostic {
        if let Some(path) = self.file.as_deref().and_then(locate) {
            self.file = Some(path.display().to_string());
        }
        self
    }

    /// The file: its path if a build script found it on disk, else the name that protoc knows it by.
    #[must_use]
    pub fn file(&self) -> Option<&str> {
        self.file.as_deref()
    }

    /// The line, counted from 1.
    #[must_use]
    pub fn line(&self) -> Option<u32> {
        self.line
    }

    /// What is wrong and what to do, without the place.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{file}:")?;
            if let Some(line) = self.line {
                write!(f, "{line}:")?;
            }
            f.write_str(" ")?;
        }
        f.write_str(&self.text)
    }
}

// ===== impl Error =====

impl Error {
    /// The request is no request: not protobuf, or cut off.
    pub(crate) fn unreadable(text: impl Into<String>) -> Error {
        Error {
            unreadable: true,
            diagnostics: vec![Diagnostic::new(text)],
        }
    }

    /// The request is well formed, but code cannot be generated for it.
    pub(crate) fn refused(diagnostics: Vec<Diagnostic>) -> Error {
        Error {
            unreadable: false,
            diagnostics,
        }
    }

    /// The same with the files' names as `locate` gives them.
    pub(crate) fn located(mut self, locate: impl Fn(&str) -> Option<PathBuf>) -> Error {
        self.diagnostics = self
            .diagnostics
            .into_iter()
            .map(|each| each.located(&locate))
            .collect();
        self
    }

    /// Whether the request itself could not be read. A plugin answers this one on stderr and with its exit
    /// status; everything else goes into the response.
    #[must_use]
    pub fn is_unreadable(&self) -> bool {
        self.unreadable
    }

    /// All findings, in the order of files and lines.
    #[must_use]
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }
}

impl From<Diagnostic> for Error {
    fn from(diagnostic: Diagnostic) -> Error {
        Error::refused(vec![diagnostic])
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.diagnostics.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{diagnostic}")?;
        }
        Ok(())
    }
}

/// As [`Display`](fmt::Display): a build script that returns this error from `main` has it printed by
/// `Debug`, and it has to be readable there.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_the_place_as_far_as_it_is_known() {
        assert_eq!(Diagnostic::new("x").to_string(), "x");
        assert_eq!(
            Diagnostic::at("a.proto", None, "x").to_string(),
            "a.proto: x"
        );
        assert_eq!(
            Diagnostic::at("a.proto", Some(3), "x").to_string(),
            "a.proto:3: x"
        );
    }

    #[test]
    fn an_error_prints_one_finding_per_line() {
        let error = Error::refused(vec![
            Diagnostic::new("x"),
            Diagnostic::at("a.proto", Some(3), "y"),
        ]);
        assert_eq!(error.to_string(), "x\na.proto:3: y");
        assert_eq!(format!("{error:?}"), "x\na.proto:3: y");
    }
}
