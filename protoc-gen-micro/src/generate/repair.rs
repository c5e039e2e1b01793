//! What prost-build's code lacks to be taken as it is.
//!
//! Its `Debug` declares helper types of fixed names around the enums it prints, and its comments keep some
//! of a proto's code blocks alive as doctests.

use proc_macro2::{Literal, TokenStream, TokenTree};
use syn::{Attribute, Expr, ExprLit, ImplItem, Item, Lit, LitStr, Meta, TraitItem};

use super::include::Hosted;
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
        let file: syn::File = syn::parse2(hosted.items.clone())
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

/// Whether a comment of an item has what rustdoc takes for HTML, and warns of if it is none.
pub(crate) fn has_html(item: &Item) -> bool {
    let any = |attributes: &[Attribute]| attributes.iter().any(is_html);
    match item {
        Item::Struct(item) => any(&item.attrs) || item.fields.iter().any(|field| any(&field.attrs)),
        Item::Enum(item) => {
            any(&item.attrs) || item.variants.iter().any(|variant| any(&variant.attrs))
        }
        Item::Mod(item) => item
            .content
            .iter()
            .any(|(_, items)| items.iter().any(has_html)),
        Item::Trait(item) => {
            any(&item.attrs)
                || item.items.iter().any(|item| match item {
                    TraitItem::Fn(item) => any(&item.attrs),
                    _ => false,
                })
        }
        Item::Impl(item) => item.items.iter().any(|item| match item {
            ImplItem::Fn(item) => any(&item.attrs),
            _ => false,
        }),
        _ => false,
    }
}

fn is_html(attribute: &Attribute) -> bool {
    let Meta::NameValue(pair) = &attribute.meta else {
        return false;
    };
    let Expr::Lit(ExprLit {
        lit: Lit::Str(text),
        ..
    }) = &pair.value
    else {
        return false;
    };
    let text = text.value();
    pair.path.is_ident("doc")
        && text.match_indices('<').any(|(place, _)| {
            let rest = &text[place + 1..];
            // Links in angle brackets are what prost-build makes of links.
            rest.starts_with(|first: char| first.is_ascii_alphabetic() || first == '/')
                && !rest.starts_with("http")
        })
}

/// Repairs the items of a file, and those of the modules in it.
pub(crate) fn repair(items: &mut [Item]) {
    for item in items {
        match item {
            Item::Struct(item) => {
                attributes(&mut item.attrs);
                item.fields
                    .iter_mut()
                    .for_each(|field| attributes(&mut field.attrs));
            }
            Item::Enum(item) => {
                attributes(&mut item.attrs);
                for variant in &mut item.variants {
                    attributes(&mut variant.attrs);
                }
            }
            Item::Mod(item) => {
                if let Some((_, items)) = &mut item.content {
                    repair(items);
                }
            }
            _ => {}
        }
    }
}

fn attributes(attributes: &mut [Attribute]) {
    for attribute in attributes {
        match &mut attribute.meta {
            Meta::NameValue(pair) if pair.path.is_ident("doc") => {
                if let Expr::Lit(ExprLit {
                    lit: Lit::Str(text),
                    ..
                }) = &mut pair.value
                    && let Some(safe) = safe_doc(&text.value())
                {
                    *text = LitStr::new(&safe, text.span());
                }
            }
            Meta::List(list) if list.path.is_ident("prost") => {
                if let Some(tokens) = rooted(&list.tokens) {
                    list.tokens = tokens;
                }
            }
            _ => {}
        }
    }
}

/// The inside of `#[prost(…)]` with a path in front of an enum that is named like a helper.
fn rooted(tokens: &TokenStream) -> Option<TokenStream> {
    let mut changed = false;
    let mut of_enum = false;
    let result = tokens
        .clone()
        .into_iter()
        .map(|token| {
            match &token {
                TokenTree::Ident(word) => of_enum = word == "enumeration",
                TokenTree::Literal(literal) => {
                    let text = literal.to_string();
                    let text = text.trim_matches('"');
                    let rooted = if of_enum {
                        HELPERS.contains(&text).then(|| format!("self::{text}"))
                    } else {
                        map_of_enums(text)
                    };
                    if let Some(rooted) = rooted {
                        changed = true;
                        return Literal::string(&rooted).into();
                    }
                }
                _ => {}
            }
            token
        })
        .collect();
    changed.then_some(result)
}

/// The same for the types of a map: `string, enumeration(Inner)`.
fn map_of_enums(types: &str) -> Option<String> {
    let (key, value) = types.split_once(", enumeration(")?;
    let name = value.strip_suffix(')')?;
    HELPERS
        .contains(&name)
        .then(|| format!("{key}, enumeration(self::{name})"))
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
    use syn::parse_quote;

    use super::*;

    #[test]
    fn enums_named_like_helpers_get_a_path() {
        let mut items: Vec<Item> = vec![parse_quote! {
            mod inside {
                struct M {
                    #[prost(enumeration = "Inner", tag = "1", default = "Inner")]
                    a: i32,
                    #[prost(map = "string, enumeration(ValueWrapper)", tag = "2")]
                    b: HashMap<String, i32>,
                    #[prost(enumeration = "other::Inner", tag = "3")]
                    c: i32,
                    #[prost(string, default = "Inner", tag = "4")]
                    d: String,
                }
            }
        }];
        repair(&mut items);
        let expected: Item = parse_quote! {
            mod inside {
                struct M {
                    #[prost(enumeration = "self::Inner", tag = "1", default = "Inner")]
                    a: i32,
                    #[prost(map = "string, enumeration(self::ValueWrapper)", tag = "2")]
                    b: HashMap<String, i32>,
                    #[prost(enumeration = "other::Inner", tag = "3")]
                    c: i32,
                    #[prost(string, default = "Inner", tag = "4")]
                    d: String,
                }
            }
        };
        let text = |item: &Item| quote::ToTokens::to_token_stream(item).to_string();
        assert_eq!(text(&items[0]), text(&expected));
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
