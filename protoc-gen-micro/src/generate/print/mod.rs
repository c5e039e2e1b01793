//! Prints generated code as prettyplease does, but without a syntax tree: for large packages, trees are most of the time
//! and memory that a run takes. What is in none of the forms known here is left to prettyplease, item by item.

mod expressions;
mod items;
mod layout;
pub(crate) mod messages;
mod syntax;
mod tokens;

use proc_macro2::TokenStream;
use syn::Item;

use self::expressions::Writer;
use self::items::Found;
use self::layout::{INDENT, Layout, spaces};
use self::syntax::Cursor;
use self::tokens::{Kind, Tokens};

/// Prints items; `allow` is an attribute that stands in front of each implementation at the top.
///
/// # Errors
/// If the tokens are no items, or cannot be printed.
pub(crate) fn items(stream: TokenStream, allow: &'static str) -> Result<String, String> {
    let Some(tokens) = Tokens::new(stream) else {
        return Err("it has an invisible group".to_owned());
    };
    let mut writer = Writer {
        cursor: Cursor {
            tokens: &tokens,
            at: 0,
        },
        layout: Layout::default(),
    };
    let mut out = String::with_capacity(tokens.source.len() * 3 / 2);
    print(&mut writer, Some(allow), 0, &mut out)?;
    if writer.cursor.kind().is_some() {
        return Err("expected items, found a closing brace".to_owned());
    }
    Ok(out)
}

/// Prints the items up to the end of the module that is `depth` modules below the top.
fn print(
    writer: &mut Writer<'_>,
    allow: Option<&'static str>,
    depth: usize,
    out: &mut String,
) -> Result<(), String> {
    let indent = depth * INDENT.unsigned_abs();
    while writer.cursor.kind().is_some_and(|kind| kind != Kind::Close) {
        let start = writer.cursor;
        writer.layout.clear();
        match writer.item(allow) {
            Some(Found::Item) => writer.layout.print(indent, out),
            Some(Found::Module) => {
                writer.layout.print(indent, out);
                print(writer, None, depth + 1, out)?;
                if !writer.cursor.eat("}") {
                    return Err("expected the end of a module".to_owned());
                }
                spaces(out, indent);
                out.push_str("}\n");
            }
            None => {
                writer.cursor = start;
                let end = skip_item(writer.cursor).ok_or("expected an item")?;
                by_tree(writer.cursor, end, allow, depth, out)?;
                writer.cursor.at = end;
            }
        }
    }
    Ok(())
}

/// Where an item ends: behind its braces, or behind its semicolon if braces are inside of it.
fn skip_item(mut cursor: Cursor<'_>) -> Option<usize> {
    while cursor.kind()? == Kind::Doc || cursor.is("#") || cursor.is("pub") {
        if cursor.eat("#") {
            cursor.skip_tree()?;
        } else {
            cursor.at += 1;
        }
    }
    let keywords = ["use", "static", "const", "type"];
    let with_semicolon = keywords.iter().any(|keyword| cursor.is(keyword));
    loop {
        let ends = cursor.is(";") || (cursor.is("{") && !with_semicolon);
        cursor.skip_tree()?;
        if ends {
            return Some(cursor.at);
        }
    }
}

/// Prints one item by way of its tree, in as many modules as it is in, for the width of its lines.
fn by_tree(
    start: Cursor<'_>,
    end: usize,
    allow: Option<&'static str>,
    depth: usize,
    out: &mut String,
) -> Result<(), String> {
    let mut source = start.tokens.text(start.at..end);
    if let Some(allow) = allow
        && matches!(syn::parse_str(&source), Ok(Item::Impl(_)))
    {
        source.insert_str(0, allow);
    }
    for _ in 0..depth {
        source = format!("mod m {{\n{source}\n}}");
    }
    let file = syn::parse_file(&source).map_err(|error| error.to_string())?;
    let printed = super::messages::quietly(|| prettyplease::unparse(&file))?;
    let count = printed.lines().count();
    for line in printed.lines().take(count - depth).skip(depth) {
        out.push_str(line);
        out.push('\n');
    }
    Ok(())
}
