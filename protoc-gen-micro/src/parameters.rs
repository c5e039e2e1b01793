//! The plugin's parameters, as in `--micro_opt=client=false,btree_map=.`.
//!
//! The grammar is that of prost's plugins: items parted by commas, each `key`, `key=value` or
//! `key=path=value`; `\,` is a comma inside a value. protoc joins all `--micro_opt`s with commas, and buf
//! splits list items at theirs, so a key that takes a list is simply given several times.

use crate::diagnostic::{Diagnostic, Error};
use crate::options::{Layout, Options};

/// What is done with one parameter.
enum Setter {
    Flag(fn(&mut Options, bool)),
    /// A value that has to be there.
    Text(fn(&mut Options, String)),
    /// A value that may be left out, for a default.
    OptionalText(&'static str, fn(&mut Options, String)),
    /// `key=path=value`.
    Pair(fn(&mut Options, String, String)),
    Layout,
}

/// All parameters: name, what to do, one line of help.
const PARAMETERS: &[(&str, Setter, &str)] = &[
    (
        "messages",
        Setter::Flag(|o, v| o.messages = v),
        "write messages and enums (default true)",
    ),
    (
        "client",
        Setter::Flag(|o, v| o.client = v),
        "write the clients of services (default true)",
    ),
    (
        "server",
        Setter::Flag(|o, v| o.server = v),
        "write the handlers of services (default true)",
    ),
    (
        "json",
        Setter::Flag(|o, v| o.json = v),
        "write the JSON mapping of messages (default true)",
    ),
    (
        "message_module",
        Setter::Text(|o, v| o.message_module = Some(v)),
        "the Rust module of messages generated elsewhere; only services are written",
    ),
    (
        "extern_path",
        Setter::Pair(|o, k, v| o.extern_path.push((k, v))),
        "extern_path=.a.b=::a::b: take a package or a type from elsewhere",
    ),
    (
        "extern_json",
        Setter::Text(|o, v| o.extern_json.push(v)),
        "extern_json=.a.b: what extern_path or message_module names has our JSON mapping",
    ),
    (
        "exclude_package",
        Setter::Text(|o, v| o.exclude_package.push(v)),
        "exclude_package=a.b: write no file for a package, and those below it",
    ),
    (
        "layout",
        Setter::Layout,
        "flat: a.b.rs (default); nested: a/b/a.b.rs",
    ),
    (
        "include_file",
        Setter::OptionalText("mod.rs", |o, v| o.include_file = Some(v)),
        "write a file that includes the others as nested modules (mod.rs)",
    ),
    (
        "default_package_filename",
        Setter::Text(|o, v| o.default_package_filename = v),
        "the file, without .rs, for protos without a package (default _)",
    ),
    (
        "file_descriptor_set",
        Setter::Flag(|o, v| o.file_descriptor_set = v),
        "write the descriptors of each package and its imports as a constant",
    ),
    (
        "runtime_path",
        Setter::Text(|o, v| o.runtime_path = v),
        "the path of the runtime (default ::micro_runtime)",
    ),
    (
        "btree_map",
        Setter::Text(|o, v| o.btree_map.push(v)),
        "btree_map=.a.B.field: a BTreeMap, not a HashMap",
    ),
    (
        "bytes",
        Setter::Text(|o, v| o.bytes.push(v)),
        "bytes=.a.B.field: Bytes, not a Vec<u8>",
    ),
    (
        "boxed",
        Setter::Text(|o, v| o.boxed.push(v)),
        "boxed=.a.B.field: hold the field in a Box",
    ),
    (
        "disable_comments",
        Setter::Text(|o, v| o.disable_comments.push(v)),
        "leave the comments of an item out",
    ),
    (
        "skip_debug",
        Setter::Text(|o, v| o.skip_debug.push(v)),
        "do not derive Debug for a type",
    ),
    (
        "type_attribute",
        Setter::Pair(|o, k, v| o.type_attribute.push((k, v))),
        "type_attribute=.a.B=#[derive(Eq)]: an attribute for messages, enums and oneofs",
    ),
    (
        "message_attribute",
        Setter::Pair(|o, k, v| o.message_attribute.push((k, v))),
        "the same for messages alone",
    ),
    (
        "enum_attribute",
        Setter::Pair(|o, k, v| o.enum_attribute.push((k, v))),
        "the same for enums and oneofs",
    ),
    (
        "field_attribute",
        Setter::Pair(|o, k, v| o.field_attribute.push((k, v))),
        "the same for fields",
    ),
    (
        "compile_well_known_types",
        Setter::Flag(|o, v| o.compile_well_known_types = v),
        "generate google.protobuf too, in place of prost_types",
    ),
    (
        "retain_enum_prefix",
        Setter::Flag(|o, v| o.retain_enum_prefix = v),
        "leave the enum's name in front of its values",
    ),
];

/// Reads a parameter string.
///
/// # Errors
/// One finding for each item that is unknown or malformed; unknown ones list what there is.
pub(crate) fn parse(text: &str) -> Result<Options, Error> {
    let mut options = Options::default();
    let mut diagnostics = Vec::new();
    for item in split(text) {
        if let Err(problem) = apply(&mut options, &item) {
            diagnostics.push(Diagnostic::new(problem));
        }
    }
    if diagnostics.is_empty() {
        Ok(options)
    } else {
        Err(Error::refused(diagnostics))
    }
}

/// One line for each parameter, for the usage text.
pub(crate) fn help() -> String {
    let width = PARAMETERS
        .iter()
        .map(|(name, ..)| name.len())
        .max()
        .unwrap_or(0);
    PARAMETERS
        .iter()
        .map(|(name, _, help)| format!("  {name:width$}  {help}\n"))
        .collect()
}

fn apply(options: &mut Options, item: &str) -> Result<(), String> {
    let (key, value) = match item.split_once('=') {
        Some((key, value)) => (key.trim(), Some(value)),
        None => (item.trim(), None),
    };
    let Some((_, setter, _)) = PARAMETERS.iter().find(|(name, ..)| *name == key) else {
        let names: Vec<&str> = PARAMETERS.iter().map(|(name, ..)| *name).collect();
        return Err(format!(
            "unknown parameter \"{key}\": expected one of {}",
            names.join(", ")
        ));
    };
    let given = value.filter(|value| !value.is_empty());
    match setter {
        Setter::Flag(set) => set(
            options,
            match value {
                None | Some("true") => true,
                Some("false") => false,
                Some(other) => {
                    return Err(format!(
                        "parameter \"{key}\": expected true or false, found \"{other}\""
                    ));
                }
            },
        ),
        Setter::Text(set) => {
            let value =
                given.ok_or_else(|| format!("parameter \"{key}\" needs a value: {key}=…"))?;
            set(options, value.to_owned());
        }
        Setter::OptionalText(default, set) => set(options, given.unwrap_or(default).to_owned()),
        Setter::Pair(set) => {
            let pair = given.and_then(|value| value.split_once('='));
            let (path, value) = pair
                .filter(|(path, value)| !path.is_empty() && !value.is_empty())
                .ok_or_else(|| {
                    format!("parameter \"{key}\" needs a path and a value: {key}=.path=value")
                })?;
            set(options, path.to_owned(), value.to_owned());
        }
        Setter::Layout => {
            options.layout = match value {
                Some("flat") => Layout::Flat,
                Some("nested") => Layout::Nested,
                _ => {
                    let found = value.unwrap_or_default();
                    return Err(format!(
                        "parameter \"layout\": expected flat or nested, found \"{found}\""
                    ));
                }
            }
        }
    }
    Ok(())
}

/// The items, `\,` turned into a comma; empty ones are dropped, since joining leaves them behind.
fn split(text: &str) -> Vec<String> {
    let mut items = vec![String::new()];
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\\' if characters.peek() == Some(&',') => {
                characters.next();
                push(&mut items, ',');
            }
            ',' => items.push(String::new()),
            other => push(&mut items, other),
        }
    }
    items.retain(|item| !item.trim().is_empty());
    items
}

fn push(items: &mut [String], character: char) {
    if let Some(last) = items.last_mut() {
        last.push(character);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn error(text: &str) -> String {
        parse(text).map_or_else(
            |error| error.to_string(),
            |options| format!("no error: {options:?}"),
        )
    }

    #[test]
    fn flags_stand_bare_or_with_a_value() {
        let options = parse("file_descriptor_set,client=false,json=true").unwrap_or_default();
        assert!(options.file_descriptor_set && !options.client && options.json && options.server);
    }

    #[test]
    fn values_repeat_and_hold_escaped_commas() {
        let options = parse(r"type_attribute=.a.B=#[derive(Eq\,Ord)],btree_map=.a,btree_map=.b,,")
            .unwrap_or_default();
        assert_eq!(
            options.type_attribute,
            [(".a.B".to_owned(), "#[derive(Eq,Ord)]".to_owned())]
        );
        assert_eq!(options.btree_map, [".a", ".b"]);
    }

    #[test]
    fn a_value_may_hold_equals_signs() {
        let options = parse(r#"field_attribute=.a.B.c=#[serde(rename = "d")]"#).unwrap_or_default();
        assert_eq!(
            options.field_attribute,
            [(".a.B.c".to_owned(), "#[serde(rename = \"d\")]".to_owned())]
        );
    }

    #[test]
    fn include_file_has_a_default() {
        assert_eq!(
            parse("include_file")
                .unwrap_or_default()
                .include_file
                .as_deref(),
            Some("mod.rs")
        );
        assert_eq!(
            parse("include_file=x.rs")
                .unwrap_or_default()
                .include_file
                .as_deref(),
            Some("x.rs")
        );
    }

    #[test]
    fn an_unknown_one_lists_what_there_is() {
        assert_eq!(
            error("clients=false"),
            "unknown parameter \"clients\": expected one of messages, client, server, json, message_module, \
             extern_path, extern_json, exclude_package, layout, include_file, default_package_filename, \
             file_descriptor_set, runtime_path, btree_map, bytes, boxed, disable_comments, skip_debug, \
             type_attribute, message_attribute, enum_attribute, field_attribute, compile_well_known_types, \
             retain_enum_prefix"
        );
    }

    #[test]
    fn malformed_ones_are_reported_together() {
        assert_eq!(
            error("client=yes,bytes,extern_path=.a,layout=deep"),
            "parameter \"client\": expected true or false, found \"yes\"\n\
             parameter \"bytes\" needs a value: bytes=…\n\
             parameter \"extern_path\" needs a path and a value: extern_path=.path=value\n\
             parameter \"layout\": expected flat or nested, found \"deep\""
        );
    }

    proptest! {
        #[test]
        fn any_text_gives_options_or_an_error(text in "\\PC*") {
            if let Err(error) = parse(&text) {
                prop_assert!(!error.to_string().is_empty());
            }
        }

        #[test]
        fn whatever_looks_like_parameters_gives_options_or_an_error(
            text in "((client|bytes|extern_path|layout|x)?=?(true|\\.a|\\\\,|=|,)*,?){0,6}"
        ) {
            if let Err(error) = parse(&text) {
                prop_assert!(!error.to_string().is_empty());
            }
        }

        #[test]
        fn an_escaped_value_comes_back_whole(value in "[^\\\\]{1,20}") {
            prop_assume!(!value.trim().is_empty());
            let options = parse(&format!("btree_map={}", value.replace(',', "\\,"))).unwrap_or_default();
            prop_assert_eq!(options.btree_map, [value]);
        }
    }
}
