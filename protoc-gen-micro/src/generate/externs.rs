//! The user's extern paths, checked and made what prost-build takes.

use crate::descriptor::File;
use crate::diagnostic::{Diagnostic, Error};
use crate::options::Options;

/// The extern paths of `extern_path` and `message_module`.
///
/// prost-build has no way to say "everything": `.` and `message_module` become one entry for each package and
/// each type without a package.
///
/// # Errors
/// One finding for each path that is malformed, or there twice.
pub(crate) fn normalize(options: &Options, files: &[File]) -> Result<Vec<(String, String)>, Error> {
    let mut paths: Vec<(String, String)> = Vec::new();
    let mut everything: Option<String> = None;
    let mut findings = Vec::new();
    let module = options
        .message_module
        .iter()
        .map(|module| ("message_module", ".", module.as_str()));
    let given = options
        .extern_path
        .iter()
        .map(|(proto, rust)| ("extern_path", proto.as_str(), rust.as_str()));
    for (parameter, proto, rust) in module.chain(given) {
        let well_formed = proto == "."
            || proto
                .strip_prefix('.')
                .is_some_and(|rest| rest.split('.').all(|segment| !segment.is_empty()));
        let Some(rust) = absolute(rust) else {
            findings.push(Diagnostic::new(format!(
                "{parameter}: expected an absolute Rust path such as ::shop or crate::shop, found \"{rust}\""
            )));
            continue;
        };
        if !well_formed {
            findings.push(Diagnostic::new(format!(
                "{parameter}: expected a proto path such as .shop.v1 or .shop.v1.Order, found \"{proto}\""
            )));
        } else if proto == "." {
            if everything.replace(rust).is_some() {
                findings.push(Diagnostic::new(format!(
                    "{parameter}: \".\" is there twice"
                )));
            }
        } else if paths.iter().any(|(known, _)| known == proto) {
            findings.push(Diagnostic::new(format!(
                "{parameter}: \"{proto}\" is there twice"
            )));
        } else {
            paths.push((proto.to_owned(), rust));
        }
    }
    if !findings.is_empty() {
        return Err(Error::refused(findings));
    }
    if let Some(root) = everything {
        for file in files {
            expand(&mut paths, &root, file, options);
        }
    }
    Ok(paths)
}

/// The path of the runtime.
///
/// # Errors
/// If it is not absolute: the code that says it stands in many modules.
pub(crate) fn runtime(options: &Options) -> Result<syn::Path, Diagnostic> {
    let path = &options.runtime_path;
    let parsed = syn::parse_str::<syn::Path>(path).ok();
    let absolute = parsed.filter(|parsed| {
        parsed.leading_colon.is_some()
            || parsed
                .segments
                .first()
                .is_some_and(|first| first.ident == "crate")
    });
    absolute.ok_or_else(|| {
        Diagnostic::new(format!(
            "runtime_path: expected an absolute Rust path such as ::micro_runtime, found \"{path}\""
        ))
    })
}

/// Adds what `.` means for one file.
fn expand(paths: &mut Vec<(String, String)>, root: &str, file: &File, options: &Options) {
    let mut add = |proto: String, rust: String| {
        if !paths.iter().any(|(known, _)| *known == proto) {
            paths.push((proto, rust));
        }
    };
    match file.proto.package() {
        // These have their Rust types already.
        "google.protobuf" if !options.compile_well_known_types => {}
        "" => {
            let messages = file.proto.message_type.iter().map(|message| message.name());
            let enums = file.proto.enum_type.iter().map(|item| item.name());
            for name in messages.chain(enums) {
                add(
                    format!(".{name}"),
                    format!("{root}::{}", super::names::camel(name)),
                );
            }
        }
        package => {
            let modules = super::types::package_modules(package);
            add(
                format!(".{package}"),
                format!("{root}::{}", modules.join("::")),
            );
        }
    }
}

/// The path with `::` in front unless it begins with `crate` or is a type without a path. `super` and `self`
/// mean another thing in each module, so they cannot be taken.
fn absolute(rust: &str) -> Option<String> {
    match syn::parse_str::<syn::Type>(rust).ok()? {
        syn::Type::Path(path) if path.qself.is_none() => {
            let first = path.path.segments.first()?.ident.to_string();
            let is_primitive = path.path.segments.len() == 1
                && ["bool", "f32", "f64", "i32", "i64", "u32", "u64"].contains(&first.as_str());
            match first.as_str() {
                _ if path.path.leading_colon.is_some() || is_primitive => Some(rust.to_owned()),
                "crate" => Some(rust.to_owned()),
                "self" | "super" | "Self" => None,
                _ => Some(format!("::{rust}")),
            }
        }
        syn::Type::Tuple(tuple) if tuple.elems.is_empty() => Some("()".to_owned()),
        _ => None,
    }
}
