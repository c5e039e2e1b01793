//! `FieldMask`: paths with lowerCamelCase names, such as `"displayName,owner.id"`.

use prost_types::FieldMask;

use crate::json::error::{JsonError, Result, excerpt};
use crate::json::message::{JsonMessage, Merged, Parsed};
use crate::json::reader::{JsonReader, expected};
use crate::json::source::Token;
use crate::json::writer::JsonWriter;

impl JsonMessage for FieldMask {
    const NAME: &'static str = "google.protobuf.FieldMask";
    const SPECIAL: bool = true;

    fn write_fields(&self, w: &mut JsonWriter<'_>) -> Result<()> {
        w.field("paths", "paths", &self.paths)
    }

    fn merge_field(&mut self, key: &str, r: &mut JsonReader<'_>) -> Result<Merged> {
        match key {
            "paths" => r.field(1, &mut self.paths),
            _ => Ok(Merged::Unknown),
        }
    }

    fn write_value(&self, w: &mut JsonWriter<'_>) -> Result<()> {
        let mut text = String::new();
        for path in &self.paths {
            if !text.is_empty() {
                text.push(',');
            }
            push_camel(path, &mut text).ok_or_else(|| {
                JsonError::write(format_args!(
                    "expected a path of snake_case names that survive lowerCamelCase, found {:?}",
                    excerpt(path)
                ))
            })?;
        }
        w.string(&text)
    }

    fn read_value(r: &mut JsonReader<'_>) -> Result<Parsed<FieldMask>> {
        let token = r.scalar()?;
        match &token {
            Token::Null => return Ok(Parsed::Null),
            Token::Text(text) if text.is_empty() => Some(FieldMask::default()),
            Token::Text(text) => text
                .split(',')
                .map(snake)
                .collect::<Option<Vec<_>>>()
                .map(|paths| FieldMask { paths }),
            _ => None,
        }
        .map(Parsed::Value)
        .ok_or_else(|| {
            expected(
                "paths of lowerCamelCase names with commas between them",
                &token,
            )
        })
    }
}

/// Appends `owner.display_name` as `owner.displayName`; `None` if that cannot be turned back. Anything else that a path
/// may hold, such as `*` or a map's key, stays as it is.
fn push_camel(path: &str, text: &mut String) -> Option<()> {
    if path.is_empty() {
        return None;
    }
    let mut after_underscore = false;
    for char in path.chars() {
        match (char, after_underscore) {
            ('a'..='z', true) => text.push(char.to_ascii_uppercase()),
            (_, true) | ('A'..='Z' | ',', false) => return None,
            ('_', false) => {}
            (_, false) => text.push(char),
        }
        after_underscore = char == '_';
    }
    (!after_underscore).then_some(())
}

/// `owner.displayName` as `owner.display_name`.
fn snake(path: &str) -> Option<String> {
    if path.is_empty() {
        return None;
    }
    let mut snake = String::with_capacity(path.len() + 4);
    for char in path.chars() {
        match char {
            'A'..='Z' => {
                snake.push('_');
                snake.push(char.to_ascii_lowercase());
            }
            '_' => return None,
            char => snake.push(char),
        }
    }
    Some(snake)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        for (camel, path) in [
            ("foo", "foo"),
            ("displayName.ownerId", "display_name.owner_id"),
            ("f1.x", "f1.x"),
            ("*", "*"),
            ("labels.`größe`", "labels.`größe`"),
        ] {
            assert_eq!(snake(camel).as_deref(), Some(path));
            let mut text = String::new();
            assert_eq!(push_camel(path, &mut text), Some(()));
            assert_eq!(text, camel);
        }
    }

    #[test]
    fn refuses_what_would_change() {
        for path in [
            "",
            "fooBar",
            "foo_3_bar",
            "foo__bar",
            "foo_",
            "foo_.bar",
            "a,b",
        ] {
            assert_eq!(push_camel(path, &mut String::new()), None, "{path:?}");
        }
        for path in ["", "foo_bar", "_"] {
            assert_eq!(snake(path), None, "{path:?}");
        }
    }
}
