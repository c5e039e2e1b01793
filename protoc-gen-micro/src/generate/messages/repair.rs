//! What prost-build's code lacks to be taken as it is.
//!
//! Its `Debug` declares helper types of fixed names around the enums it prints, and its comments keep some
//! of a proto's code blocks alive as doctests.

use std::borrow::Cow;

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag};
use syn::Item;

use super::super::include::Hosted;
use crate::diagnostic::Diagnostic;

/// Types that prost-derive 0.14.6 declares in the functions it derives (`field/scalar.rs`, `field/map.rs`).
/// Inside of these an enum of such a name, written without a path, would be another type.
const HELPERS: &[&str] = &[
    "Inner",
    "KeyWrapper",
    "MapWrapper",
    "ScalarWrapper",
    "ValueWrapper",
];

/// Puts what is hosted into the modules of messages.
///
/// # Errors
/// If there is no such module, which says that prost-build names modules in another way than we do.
pub(crate) fn host(items: &mut [Item], hosted: &[Hosted]) -> Result<(), Diagnostic> {
    for hosted in hosted {
        let found = find(items, &hosted.module).ok_or_else(|| {
            Diagnostic::new(format!(
                "prost-build's code has no module \"{}\" to put a package into",
                hosted.module.join("::")
            ))
        })?;
        let file: syn::File = syn::parse_file(&hosted.items)
            .map_err(|error| Diagnostic::new(format!("the modules of packages: {error}")))?;
        found.extend(file.items);
    }
    Ok(())
}

/// The items of a module inside of these.
fn find<'i>(items: &'i mut [Item], path: &[String]) -> Option<&'i mut Vec<Item>> {
    let (first, rest) = path.split_first()?;
    let inside = items.iter_mut().find_map(|item| match item {
        Item::Mod(item) if item.ident == first => item.content.as_mut(),
        _ => None,
    })?;
    if rest.is_empty() {
        return Some(&mut inside.1);
    }
    find(&mut inside.1, rest)
}

/// Whether a comment has what rustdoc takes for HTML, and warns of if it is none.
pub(crate) fn has_html(text: &str) -> bool {
    let mut comments = text.lines().map(str::trim_start);
    comments.any(|line| line.starts_with("///") && is_html(line))
}

/// Whether a line of a comment has something like a tag.
pub(crate) fn is_html(comment: &str) -> bool {
    comment.match_indices('<').any(|(place, _)| {
        let rest = &comment[place + 1..];
        // Links in angle brackets are what prost-build makes of links.
        rest.starts_with(|first: char| first.is_ascii_alphabetic() || first == '/')
            && !rest.starts_with("http")
    })
}

/// The text with its comments made safe, and paths in front of enums that are named like helpers.
pub(crate) fn repair(text: &str) -> Cow<'_, str> {
    // Nearly all packages need nothing of this.
    let suspicious = text.contains("```")
        || text.contains("~~~")
        || text.contains("///    ")
        || text.contains('\t')
        || !text.is_ascii()
        || HELPERS
            .iter()
            .any(|name| text.contains(&format!("pub enum {name} ")));
    if !suspicious {
        return Cow::Borrowed(text);
    }
    let mut result = String::with_capacity(text.len() + text.len() / 16);
    let mut comment: Vec<String> = Vec::new();
    for line in text.lines() {
        let inside = line.trim_start_matches(' ');
        if let Some(words) = inside.strip_prefix("///") {
            comment.push(safe_doc(words).unwrap_or_else(|| words.to_owned()));
            continue;
        }
        for line in settled(std::mem::take(&mut comment)) {
            result.push_str("///");
            result.push_str(&line);
            result.push('\n');
        }
        let rooted = Some(inside)
            .filter(|inside| inside.starts_with("#[prost("))
            .and_then(|_| rooted(line));
        result.push_str(rooted.as_deref().unwrap_or(line));
        result.push('\n');
    }
    Cow::Owned(result)
}

/// A comment's lines, none of which is in a code block that would be a doctest.
///
/// What Markdown makes of broken fences is hard to foresee, so its parser, which is rustdoc's, is asked. A comment
/// that it finds such a block in is shown as it is written.
pub(crate) fn settled(lines: Vec<String>) -> Vec<String> {
    let may_be_code = |line: &String| {
        line.contains("```") || line.contains("~~~") || line.contains("    ") || line.contains('\t')
    };
    if !lines.iter().any(may_be_code) {
        return lines;
    }
    // rustdoc takes away what all lines are indented by.
    let filled = lines.iter().filter(|line| !line.trim().is_empty());
    let indents = filled.map(|line| line.len() - line.trim_start_matches(' ').len());
    let shared = indents.min().unwrap_or(0);
    let words = lines
        .iter()
        .map(|line| line.get(shared..).unwrap_or_default());
    let text = words.collect::<Vec<_>>().join("\n");
    let options = Options::ENABLE_TABLES
        | Options::ENABLE_FOOTNOTES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_TASKLISTS
        | Options::ENABLE_SMART_PUNCTUATION;
    let is_test = Parser::new_ext(&text, options).any(|event| match event {
        Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(info))) => info.as_ref() != "text",
        Event::Start(Tag::CodeBlock(CodeBlockKind::Indented)) => true,
        _ => false,
    });
    if !is_test {
        return lines;
    }
    let ticks = text.split(|char| char != '`').map(str::len).max();
    let fence = "`".repeat(ticks.unwrap_or(0).max(2) + 1);
    let mut settled = vec![format!(" {fence}text")];
    settled.extend(text.lines().map(|line| format!(" {line}")));
    settled.push(format!(" {fence}"));
    settled
}

/// A field's attribute with a path in front of an enum that is named like a helper.
fn rooted(attribute: &str) -> Option<String> {
    HELPERS.iter().find_map(|name| {
        for (start, end) in [("enumeration = \"", "\""), ("enumeration(", ")")] {
            let (bare, path) = (
                format!("{start}{name}{end}"),
                format!("{start}self::{name}{end}"),
            );
            if attribute.contains(&bare) {
                return Some(attribute.replace(&bare, &path));
            }
        }
        None
    })
}

/// Characters that turn the direction of text: rustc denies them in source
/// (`text_direction_codepoint_in_comment`).
const TURNING: [char; 9] = [
    '\u{202A}', '\u{202B}', '\u{202C}', '\u{202D}', '\u{202E}', '\u{2066}', '\u{2067}', '\u{2068}',
    '\u{2069}',
];

/// A line of a doc comment as it can stand in Rust, if it cannot as it is.
pub(crate) fn safe_doc(line: &str) -> Option<String> {
    let disarmed = disarm(line);
    let text = disarmed.as_deref().unwrap_or(line);
    // Most text is ASCII, and that is quickly seen.
    if text.is_ascii() || !text.contains(TURNING) {
        return disarmed;
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for char in text.chars() {
        if TURNING.contains(&char) {
            safe.extend(char.escape_unicode());
        } else {
            safe.push(char);
        }
    }
    Some(safe)
}

/// The line without the words that make a code block a doctest, if there are such.
///
/// prost-build marks the blocks it finds: plain ones as `text`, but those in Rust as `compile_fail`, which is
/// a doctest too, and others as `text,` and what was there before, which may be Rust again.
fn disarm(line: &str) -> Option<String> {
    let start = line.find("```")?;
    let (before, fence) = line.split_at(start);
    let info = fence.trim_start_matches('`');
    let marked = info == "compile_fail" || info.starts_with("text,");
    // Info strings hold no backticks; what does is code in a sentence.
    (marked && !info.contains('`')).then(|| {
        let ticks = fence.len() - info.len();
        format!("{before}{}text", &fence[..ticks])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enums_named_like_helpers_get_a_path() {
        let before = "\
pub enum Inner {
    #[prost(enumeration = \"Inner\", tag = \"1\", default = \"Inner\")]
    #[prost(map = \"string, enumeration(Inner)\", tag = \"2\")]
    #[prost(enumeration = \"other::Inner\", tag = \"3\")]
    #[prost(string, default = \"Inner\", tag = \"4\")]
";
        let after = "\
pub enum Inner {
    #[prost(enumeration = \"self::Inner\", tag = \"1\", default = \"Inner\")]
    #[prost(map = \"string, enumeration(self::Inner)\", tag = \"2\")]
    #[prost(enumeration = \"other::Inner\", tag = \"3\")]
    #[prost(string, default = \"Inner\", tag = \"4\")]
";
        assert_eq!(repair(before), after);
        assert!(matches!(repair("pub enum Other {}\n"), Cow::Borrowed(_)));
    }

    #[test]
    fn html_is_found_in_comments_alone() {
        assert!(has_html("/// a Vec<u8>\n"));
        assert!(has_html("    /// </b>\n"));
        assert!(!has_html("/// <https://example.com> 1 < 2\n"));
        assert!(!has_html("pub a: Vec<u8>,\n"));
    }

    #[test]
    fn code_blocks_are_text() {
        for (line, safe) in [
            (" ```compile_fail", Some(" ```text")),
            (" > ````text,rust,no_run", Some(" > ````text")),
            ("1. ```text,sh", Some("1. ```text")),
            (" ```text", None),
            (" ```", None),
            (" a ```text,b``` c", None),
            (" plain", None),
            (
                " \u{202e}right to left\u{202c} é",
                Some(" \\u{202e}right to left\\u{202c} é"),
            ),
        ] {
            assert_eq!(safe_doc(line).as_deref(), safe, "{line}");
        }
    }
}
