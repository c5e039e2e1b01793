//! Prints generated code as prettyplease does, but without a syntax tree: for large packages, trees are most of the time
//! and memory that a run takes. What is in none of the forms known here is left to prettyplease, item by item.

mod expressions;
mod items;
mod layout;
pub(crate) mod messages;
mod paths;
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
pub(crate) fn items(stream: TokenStream, allow: Option<&'static str>) -> Result<String, String> {
    print_all(stream, allow).map(|(text, _)| text)
}

/// The same, with the number of items that were printed by way of trees.
fn print_all(stream: TokenStream, allow: Option<&'static str>) -> Result<(String, usize), String> {
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
    let by_tree = print(&mut writer, allow, 0, &mut out)?;
    if writer.cursor.kind().is_some() {
        return Err("expected items, found a closing brace".to_owned());
    }
    Ok((out, by_tree))
}

/// Prints the items up to the end of the module that is `depth` modules below the top; gives the number of those that
/// were printed by way of trees.
fn print(
    writer: &mut Writer<'_>,
    allow: Option<&'static str>,
    depth: usize,
    out: &mut String,
) -> Result<usize, String> {
    let indent = depth * INDENT.unsigned_abs();
    let mut trees = 0;
    while writer.cursor.kind().is_some_and(|kind| kind != Kind::Close) {
        let start = writer.cursor;
        writer.layout.clear();
        match writer.item(allow) {
            Some(Found::Item) => writer.layout.print(indent, out),
            Some(Found::Module) => {
                writer.layout.print(indent, out);
                trees += print(writer, None, depth + 1, out)?;
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
                trees += 1;
            }
        }
    }
    Ok(trees)
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

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::{error, fs};

    use super::*;

    type TestResult = Result<(), Box<dyn error::Error>>;

    /// Checks that some source is printed as prettyplease prints it; gives the number of items that it printed itself.
    fn same(source: &str) -> Result<usize, Box<dyn error::Error>> {
        let file = syn::parse_file(source)?;
        let (printed, trees) = print_all(source.parse()?, None)?;
        assert_eq!(printed, prettyplease::unparse(&file));
        Ok(trees)
    }

    /// The generated files of a folder, and of those in it.
    fn files(folder: &Path, found: &mut Vec<String>) -> std::io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                files(&path, found)?;
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(fs::read_to_string(&path)?);
            }
        }
        Ok(())
    }

    #[test]
    fn generated_files_are_printed_as_by_prettyplease() -> TestResult {
        let mut found = Vec::new();
        let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens");
        files(&goldens, &mut found)?;
        assert!(found.len() > 10, "expected golden files in {goldens:?}");
        for source in found {
            // Those that include others have macros at the top; prost-build's own code has enums, and attributes on
            // arms in their functions.
            let is_unknown = |line: &&str| {
                let line = line.trim_start().trim_start_matches("pub ");
                ["enum ", "include!(", "fn from_str_name("]
                    .iter()
                    .any(|start| line.starts_with(start))
            };
            let unknown = source.lines().filter(is_unknown).count();
            let trees = same(&source)?;
            assert!(
                trees <= unknown,
                "{trees} items were printed by way of trees, of which {unknown} may be, in\n{source}"
            );
        }
        Ok(())
    }

    #[test]
    fn lines_break_where_they_have_to() -> TestResult {
        let long = "a_rather_long_name_that_takes_up_most_of_a_line_all_by_itself_and_then_some";
        for source in [
            format!("fn f() {{ g({long}, {long}); }}"),
            format!("fn f() {{ a.{long}(\"{long}\")?; }}"),
            format!("fn f() {{ first.{long}().second::<{long}>(&mut a.b).c }}"),
            format!("fn f() {{ match a {{ \"a\" | \"b\" => {long}(b), _ => {{}} }} }}"),
            format!("fn f() {{ match &a.b {{ C::D(e) => {long}(&*e)?, F::{long} => {{}} }} }}"),
            format!("fn f() {{ a(|b, c| async move {{ {long}(b, c).await }}) }}"),
            format!("fn f() {{ a(S {{ {long}: 1, b: \"c\" }}) }}"),
            "fn f() { let a = S { b, c: d as i32 }; a }".to_owned(),
            format!("fn f(&self, {long}: A, b: &mut B<'_, C = D>) -> impl E<F = ()> + G {{ }}"),
            format!("impl<A: B + {long}> C for D<E, F> {{ const G: &'static str = \"{long}\"; }}"),
            format!("use a::{{b, {long}, c::d}};\nuse ::e::f as g;"),
            format!("static A: B = B::new(\"{long}\", &[C(1, &[]), C(-2, &[d])]);"),
            format!(
                "#[a(b, \"{long}\")]\n#[c = \"d\"]\n/// Doc \\ \"quoted\".\npub struct A {{ pub b: C, }}"
            ),
            format!("mod a {{ mod b {{ fn c() {{ {long}({long}); }} }} }}"),
            "trait A: B + 'static { fn c(self) -> D; fn e<F: G>(&mut self, _: &[u8]) { f(()); } }"
                .to_owned(),
        ] {
            assert_eq!(same(&source)?, 0, "by way of trees: {source}");
        }
        Ok(())
    }

    #[test]
    fn what_is_unknown_is_printed_by_way_of_trees() -> TestResult {
        for source in [
            "fn f() { if a { b } else { c } }",
            "fn f() { let A { b } = c; }",
            "fn f() { a + b }",
            "fn f() { g!(h) }",
            "mod a { enum B { C = 1, D(E) } }",
            "mod a {}",
            "type A = B;",
            "static A: [u8; 3] = [1, 2, 3];",
            "impl A { fn f() where B: C {} }",
        ] {
            assert_eq!(same(source)?, 1, "{source}");
        }
        Ok(())
    }

    #[test]
    fn no_rust_is_an_error() -> TestResult {
        for source in ["fn", "a b c", "fn f() { + }", "mod a { b }"] {
            assert!(items(source.parse()?, None).is_err(), "{source}");
        }
        Ok(())
    }
}
