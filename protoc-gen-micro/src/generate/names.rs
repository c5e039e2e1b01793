//! How the names of a proto become Rust names.
//!
//! [`RustNames`] is the one place that answers "what is this called in Rust": the message code comes from
//! prost-build, which keeps its naming private, so what is generated beside it has to follow the same rules.

use heck::{ToSnakeCase, ToUpperCamelCase};
use proc_macro2::{Ident, Span};

/// The Rust names of everything in a run, as seen from one package's module.
///
/// Proto names are full and start with a dot (`.shop.v1.Order`). `from_depth` says where the answer is
/// used: 0 is the package's own module, 1 a module inside it, and so on.
pub(crate) trait RustNames {
    /// The path of a message or an enum; well-known types and extern paths included.
    fn type_path(&self, proto_name: &str, from_depth: usize) -> syn::Type;

    /// A field's or a oneof's name in its struct, such as `unit_price` or `r#type`.
    fn field_ident(&self, proto_field: &str) -> Ident;

    /// The path of the enum that holds a oneof's members.
    fn oneof_path(&self, message: &str, oneof: &str, from_depth: usize) -> syn::Type;

    /// A oneof member's name in that enum.
    fn oneof_variant_ident(&self, field: &str) -> Ident;

    /// Whether a message has our JSON mapping: it is a well-known type, or generated here with all the
    /// messages in its fields, or comes from elsewhere and the user said that it has one.
    fn has_json(&self, message: &str) -> bool;

    /// Whether a message or enum is generated here; the rest come from elsewhere by extern path.
    fn is_local(&self, proto_name: &str) -> bool;

    /// The path of the runtime, `::micro_runtime` unless the user says otherwise.
    fn runtime(&self) -> &syn::Path;
}

/// Words that cannot be identifiers unless written `r#word`: the keywords of all editions, and the reserved
/// words (<https://doc.rust-lang.org/reference/keywords.html>).
const RAW: &[&str] = &[
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "do", "dyn",
    "else", "enum", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop",
    "macro", "match", "mod", "move", "mut", "override", "priv", "pub", "ref", "return", "static",
    "struct", "trait", "true", "try", "type", "typeof", "unsafe", "unsized", "use", "virtual",
    "where", "while", "yield",
];

/// Words that cannot be raw identifiers either.
const NEVER: &[&str] = &["_", "self", "super", "crate", "Self", "extern"];

/// A word as a Rust identifier: keywords become `r#word`, or `word_` where raw identifiers do not exist.
pub(crate) fn sanitize(word: &str) -> String {
    if RAW.contains(&word) {
        format!("r#{word}")
    } else if NEVER.contains(&word) {
        format!("{word}_")
    } else if word.starts_with(char::is_numeric) {
        format!("_{word}")
    } else {
        word.to_owned()
    }
}

/// A field, rpc, module or function name.
pub(crate) fn snake(word: &str) -> String {
    sanitize(&word.to_snake_case())
}

/// A type or variant name.
pub(crate) fn camel(word: &str) -> String {
    sanitize(&word.to_upper_camel_case())
}

/// An enum value's name, without its enum's name in front unless that leaves no identifier.
pub(crate) fn variant(enum_name: &str, value: &str, strip: bool) -> String {
    let name = camel(value);
    if !strip {
        return name;
    }
    match name.strip_prefix(camel(enum_name).as_str()) {
        Some(rest) if rest.starts_with(char::is_uppercase) => sanitize(rest),
        _ => sanitize(&name),
    }
}

/// An identifier from a sanitized word.
pub(crate) fn ident(word: &str) -> Ident {
    match word.strip_prefix("r#") {
        Some(raw) => Ident::new_raw(raw, Span::call_site()),
        None => Ident::new(word, Span::call_site()),
    }
}

/// A proto name as protoc-gen-go writes it: `say_hello` becomes `SayHello`, and capitals stay (`GetURL`).
pub(crate) fn go_camel(name: &str) -> String {
    let mut result = String::with_capacity(name.len());
    let mut characters = name.chars().peekable();
    let mut start = true;
    while let Some(character) = characters.next() {
        match character {
            // A leading underscore becomes an X, and one before a capital or a digit stays: Go names must
            // begin with a capital, and `a_1` must not become `a1` (protogen's GoCamelCase).
            '_' if result.is_empty() => result.push('X'),
            '_' if characters.peek().is_some_and(char::is_ascii_lowercase) => start = true,
            digit if digit.is_ascii_digit() => {
                result.push(digit);
                start = true;
            }
            letter => {
                result.push(if start {
                    letter.to_ascii_uppercase()
                } else {
                    letter
                });
                start = false;
            }
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_are_escaped() {
        assert_eq!(snake("Type"), "r#type");
        assert_eq!(snake("Self"), "self_");
        assert_eq!(camel("self"), "Self_");
        assert_eq!(camel("_1st"), "_1st");
        assert_eq!(ident("r#type").to_string(), "r#type");
    }

    #[test]
    fn enum_values_lose_their_prefix() {
        assert_eq!(variant("State", "STATE_OPEN", true), "Open");
        assert_eq!(variant("State", "STATE_OPEN", false), "StateOpen");
        assert_eq!(variant("State", "STATELESS", true), "Stateless");
        assert_eq!(variant("State", "STATE", true), "State");
        assert_eq!(variant("State", "STATE_SELF", true), "Self_");
        assert_eq!(variant("State", "STATE_1", true), "State1");
    }

    #[test]
    fn go_names_follow_protoc_gen_go() {
        for (proto, go) in [
            ("Ping", "Ping"),
            ("say_hello", "SayHello"),
            ("GetURL", "GetURL"),
            ("ping", "Ping"),
            ("_ping", "XPing"),
            ("get_V2", "Get_V2"),
            ("get_2", "Get_2"),
            ("v2beta", "V2Beta"),
        ] {
            assert_eq!(go_camel(proto), go, "{proto}");
        }
    }
}
