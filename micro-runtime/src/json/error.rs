//! What is wrong with a JSON text, or with a message that has none.

use std::fmt;
use std::str::Utf8Error;

/// What reading and writing JSON returns.
pub type Result<T, E = JsonError> = std::result::Result<T, E>;

/// Longest part of a peer's text that an error repeats, in characters.
const EXCERPT: usize = 40;

/// Why a text could not be read as a message, or a message not be written.
///
/// Displays as the path to the place, what was expected, what was found, and where:
/// `items[3].price: expected a 32-bit integer, found "ten" (line 1, column 52)`.
pub struct JsonError(Box<Inner>);

struct Inner {
    kind: Kind,
    message: String,
    /// From the inside out.
    path: Vec<Segment>,
    /// Line and column, from 1.
    position: Option<(usize, usize)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Syntax,
    Data,
    UnknownField,
    Write,
    /// Not an error: the text must be read again with every number as text.
    Inexact,
}

enum Segment {
    Field(String),
    Index(usize),
    Key(String),
}

// ===== impl JsonError =====

impl JsonError {
    fn new(kind: Kind, message: String) -> JsonError {
        JsonError(Box::new(Inner {
            kind,
            message,
            path: Vec::new(),
            position: None,
        }))
    }

    /// The JSON is well-formed but is not the message.
    #[cold]
    pub(super) fn data(message: impl fmt::Display) -> JsonError {
        JsonError::new(Kind::Data, message.to_string())
    }

    /// The message has no JSON form.
    #[cold]
    pub(super) fn write(message: impl fmt::Display) -> JsonError {
        JsonError::new(Kind::Write, message.to_string())
    }

    #[cold]
    pub(super) fn unknown_field(message: &str) -> JsonError {
        JsonError::new(
            Kind::UnknownField,
            format!(
                "{message} has no such field; correct the name, or let unknown fields be ignored"
            ),
        )
    }

    #[cold]
    pub(super) fn inexact() -> JsonError {
        JsonError::new(Kind::Inexact, String::from("a number needs its text"))
    }

    /// The tokenizer's own error.
    #[cold]
    pub(super) fn syntax(error: impl fmt::Display) -> JsonError {
        let text = error.to_string();
        let (text, position) = split_position(&text);
        let mut this = JsonError::new(
            Kind::Syntax,
            format!("expected JSON, found a mistake in it: {text}"),
        );
        this.0.position = position;
        this
    }

    /// The text is not even text. The place is that of the first byte that is wrong.
    #[cold]
    pub(super) fn not_utf8(json: &[u8], error: Utf8Error) -> JsonError {
        let before = json.get(..error.valid_up_to()).unwrap_or_default();
        let line_start = before
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |at| at + 1);
        let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
        let mut this = JsonError::new(
            Kind::Syntax,
            String::from("expected JSON, found a mistake in it: a byte that is not UTF-8"),
        );
        this.0.position = Some((line, before.len() - line_start + 1));
        this
    }

    pub(super) fn is_inexact(&self) -> bool {
        self.0.kind == Kind::Inexact
    }

    /// Adds where the tokenizer stood, unless a place closer to the cause is known.
    #[cold]
    pub(super) fn locate(&mut self, error: impl fmt::Display) {
        if self.0.position.is_none() {
            self.0.position = split_position(&error.to_string()).1;
        }
    }

    /// Drops a position that is not one in the whole text.
    pub(super) fn without_position(mut self) -> JsonError {
        self.0.position = None;
        self
    }

    #[cold]
    pub(super) fn in_field(mut self, name: &str) -> JsonError {
        self.0.path.push(Segment::Field(excerpt(name)));
        self
    }

    #[cold]
    pub(super) fn at_index(mut self, index: usize) -> JsonError {
        self.0.path.push(Segment::Index(index));
        self
    }

    #[cold]
    pub(super) fn at_key(mut self, key: &str) -> JsonError {
        self.0.path.push(Segment::Key(excerpt(key)));
        self
    }

    /// Whether the text is not JSON at all.
    #[must_use]
    pub fn is_syntax(&self) -> bool {
        self.0.kind == Kind::Syntax
    }

    /// Whether the text has a field that the message lacks, and
    /// [`reject_unknown_fields`](super::Options::reject_unknown_fields) was set.
    #[must_use]
    pub fn is_unknown_field(&self) -> bool {
        self.0.kind == Kind::UnknownField
    }

    /// The path from the outermost message to the place, such as `items[3].price`; empty for the message itself.
    #[must_use]
    pub fn path(&self) -> String {
        use fmt::Write as _;

        let mut path = String::new();
        for segment in self.0.path.iter().rev() {
            // Writing to a string cannot fail.
            let _ = match segment {
                Segment::Field(name) if path.is_empty() => write!(path, "{name}"),
                Segment::Field(name) => write!(path, ".{name}"),
                Segment::Index(index) => write!(path, "[{index}]"),
                Segment::Key(key) => write!(path, "[{key:?}]"),
            };
        }
        path
    }

    /// The line of the text, from 1, if the error came up while reading one.
    #[must_use]
    pub fn line(&self) -> Option<usize> {
        self.0.position.map(|(line, _)| line)
    }

    /// The column in that line, in bytes, from 1.
    #[must_use]
    pub fn column(&self) -> Option<usize> {
        self.0.position.map(|(_, column)| column)
    }
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path();
        if !path.is_empty() {
            write!(f, "{path}: ")?;
        }
        f.write_str(&self.0.message)?;
        if let Some((line, column)) = self.0.position {
            write!(f, " (line {line}, column {column})")?;
        }
        Ok(())
    }
}

impl fmt::Debug for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("JsonError").field(&self.to_string()).finish()
    }
}

impl std::error::Error for JsonError {}

/// Splits serde_json's text into the message and the position that it ends with, so that the position comes last and
/// only once. Inside of a seed, the error's type is known by its traits alone, so its text is all there is.
fn split_position(text: &str) -> (&str, Option<(usize, usize)>) {
    let split = || {
        let (message, rest) = text.rsplit_once(" at line ")?;
        let (line, column) = rest.split_once(" column ")?;
        Some((message, (line.parse().ok()?, column.parse().ok()?)))
    };
    match split() {
        Some((message, position)) => (message, Some(position)),
        None => (text, None),
    }
}

/// The start of a peer's text, for an error.
pub(super) fn excerpt(text: &str) -> String {
    match text.char_indices().nth(EXCERPT) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_one_pointer_wide() {
        assert_eq!(size_of::<Result<()>>(), size_of::<usize>());
    }

    #[test]
    fn names_the_path() {
        let error = JsonError::data("expected a bool, found null")
            .in_field("x")
            .at_key("a \"b\"")
            .in_field("labels")
            .at_index(3)
            .in_field("items");
        assert_eq!(error.path(), "items[3].labels[\"a \\\"b\\\"\"].x");
        assert_eq!(
            error.to_string(),
            "items[3].labels[\"a \\\"b\\\"\"].x: expected a bool, found null"
        );
    }

    #[test]
    fn places_what_is_no_text() {
        let json = [b"{\n \"a\": \"".as_slice(), &[0xff], b"\"}"].concat();
        let error = JsonError::not_utf8(&json, std::str::from_utf8(&json).unwrap_err());
        assert!(error.is_syntax());
        assert_eq!((error.line(), error.column()), (Some(2), Some(8)));
        assert_eq!(
            error.to_string(),
            "expected JSON, found a mistake in it: a byte that is not UTF-8 (line 2, column 8)"
        );
    }

    #[test]
    fn shortens_what_a_peer_wrote() {
        assert_eq!(excerpt("short"), "short");
        assert_eq!(excerpt(&"ä".repeat(41)), format!("{}…", "ä".repeat(40)));
    }
}
