//! What rustc would say of generated code, as far as names go: nothing is there twice, and every path leads
//! somewhere.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use protoc_gen_micro::Generated;
use quote::ToTokens;
use syn::{Attribute, Fields, ImplItem, Item, Path, Type, UseTree};

/// A Rust module.
#[derive(Default)]
struct Module {
    types: BTreeMap<String, &'static str>,
    values: BTreeSet<String>,
    modules: BTreeMap<String, Module>,
    /// Inherent functions, by type.
    functions: BTreeMap<String, BTreeSet<String>>,
    /// Paths that have to lead to a type, and what they are for.
    paths: Vec<(Path, String)>,
}

/// All that is wrong with a run's files, included as the file `mod.rs` says.
pub(crate) fn problems(generated: &Generated) -> Vec<String> {
    let files: HashMap<&str, &str> = generated
        .files
        .iter()
        .map(|file| (file.name.as_str(), file.content.as_str()))
        .collect();
    let mut problems = Vec::new();
    let mut root = Module::default();
    let mut used = BTreeSet::new();
    include(
        "mod.rs",
        &files,
        &mut root,
        "crate",
        &mut used,
        &mut problems,
    );
    for name in files.keys().filter(|name| !used.contains(**name)) {
        problems.push(format!("{name} is not included"));
    }
    let mut place = Vec::new();
    resolve(&root, &root, &mut place, &mut problems);
    problems
}

fn include(
    name: &str,
    files: &HashMap<&str, &str>,
    module: &mut Module,
    place: &str,
    used: &mut BTreeSet<String>,
    problems: &mut Vec<String>,
) {
    let Some(text) = files.get(name) else {
        problems.push(format!("{name} is included but is not there"));
        return;
    };
    if !used.insert(name.to_owned()) {
        problems.push(format!("{name} is included twice"));
    }
    match syn::parse_file(text) {
        Ok(file) => {
            let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
            for item in &file.items {
                add(item, folder, files, module, place, used, problems);
            }
        }
        Err(error) => problems.push(format!("{name} is no Rust: {error}\n{text}")),
    }
}

fn add(
    item: &Item,
    folder: &str,
    files: &HashMap<&str, &str>,
    module: &mut Module,
    place: &str,
    used: &mut BTreeSet<String>,
    problems: &mut Vec<String>,
) {
    match item {
        Item::Struct(item) => {
            kind(module, &item.ident.to_string(), "struct", place, problems);
            fields(
                &item.fields,
                &item.ident.to_string(),
                module,
                place,
                problems,
            );
        }
        Item::Enum(item) => {
            kind(module, &item.ident.to_string(), "enum", place, problems);
            let mut variants = BTreeSet::new();
            for variant in &item.variants {
                if !variants.insert(variant.ident.to_string()) {
                    problems.push(format!(
                        "{place}::{}: variant {} twice",
                        item.ident, variant.ident
                    ));
                }
                for field in &variant.fields {
                    types(&field.ty, module);
                    attributes(&field.attrs, module);
                }
                attributes(&variant.attrs, module);
            }
        }
        Item::Trait(item) => {
            kind(module, &item.ident.to_string(), "trait", place, problems);
            let mut functions = BTreeSet::new();
            for function in &item.items {
                if let syn::TraitItem::Fn(function) = function
                    && !functions.insert(function.sig.ident.to_string())
                {
                    problems.push(format!(
                        "{place}::{}: fn {} twice",
                        item.ident, function.sig.ident
                    ));
                }
            }
        }
        Item::Fn(item) => value(module, &item.sig.ident.to_string(), place, problems),
        Item::Static(item) => {
            value(module, &item.ident.to_string(), place, problems);
            types(&item.ty, module);
        }
        Item::Const(item) if item.ident != "_" => {
            value(module, &item.ident.to_string(), place, problems);
        }
        Item::Const(_) => {}
        Item::Impl(item) => {
            if item.trait_.is_some() {
                if item.generics.params.is_empty() {
                    types(&item.self_ty, module);
                }
                return;
            }
            let of = item.self_ty.to_token_stream().to_string();
            for function in &item.items {
                if let ImplItem::Fn(function) = function {
                    inherent(
                        module,
                        &of,
                        &function.sig.ident.to_string(),
                        place,
                        problems,
                    );
                }
            }
        }
        Item::Mod(item) => {
            let name = item.ident.to_string();
            kind(module, &name, "mod", place, problems);
            let inner = module.modules.entry(name.clone()).or_default();
            let place = format!("{place}::{name}");
            for item in item.content.iter().flat_map(|(_, items)| items) {
                add(item, folder, files, inner, &place, used, problems);
            }
        }
        Item::Use(item) => imports(&item.tree, module, place, problems),
        Item::Macro(item) => {
            let path: syn::LitStr = match syn::parse2(item.mac.tokens.clone()) {
                Ok(path) => path,
                Err(error) => return problems.push(format!("{place}: include!: {error}")),
            };
            let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
            let path = path.value();
            for part in path.split('/') {
                match part {
                    ".." => drop(parts.pop()),
                    part => parts.push(part),
                }
            }
            include(&parts.join("/"), files, module, place, used, problems);
        }
        other => problems.push(format!("{place}: unexpected {}", other.to_token_stream())),
    }
}

fn kind(
    module: &mut Module,
    name: &str,
    what: &'static str,
    place: &str,
    problems: &mut Vec<String>,
) {
    if let Some(other) = module.types.insert(name.to_owned(), what) {
        problems.push(format!("{place}: {other} and {what} {name}"));
    }
}

fn value(module: &mut Module, name: &str, place: &str, problems: &mut Vec<String>) {
    if !module.values.insert(name.to_owned()) {
        problems.push(format!("{place}: value {name} twice"));
    }
}

fn inherent(module: &mut Module, of: &str, name: &str, place: &str, problems: &mut Vec<String>) {
    if !module
        .functions
        .entry(of.to_owned())
        .or_default()
        .insert(name.to_owned())
    {
        problems.push(format!("{place}::{of}: fn {name} twice"));
    }
}

/// Imports of the file's own items take names; those of the runtime are in modules of their own.
fn imports(tree: &UseTree, module: &mut Module, place: &str, problems: &mut Vec<String>) {
    let mut take = |name: String, problems: &mut Vec<String>| {
        if name.starts_with(char::is_uppercase) || name.starts_with("_") {
            kind(module, &name, "use", place, problems);
        } else {
            value(module, &name, place, problems);
        }
    };
    match tree {
        UseTree::Path(path) => imports(&path.tree, module, place, problems),
        UseTree::Name(name) => take(name.ident.to_string(), problems),
        UseTree::Rename(rename) => kind(module, &rename.rename.to_string(), "use", place, problems),
        UseTree::Group(group) => {
            for tree in &group.items {
                imports(tree, module, place, problems);
            }
        }
        UseTree::Glob(_) => problems.push(format!("{place}: a glob import")),
    }
}

/// Fields, and the functions that prost-derive 0.14.6 makes for them.
fn fields(fields: &Fields, of: &str, module: &mut Module, place: &str, problems: &mut Vec<String>) {
    let mut names = BTreeSet::new();
    for field in fields {
        let Some(ident) = &field.ident else { continue };
        let raw = ident.to_string();
        if !names.insert(raw.clone()) {
            problems.push(format!("{place}::{of}: field {raw} twice"));
        }
        types(&field.ty, module);
        attributes(&field.attrs, module);
        let name = raw.trim_start_matches("r#");
        let attributes = field
            .attrs
            .iter()
            .filter(|each| each.path().is_ident("prost"));
        for attribute in attributes {
            let text = attribute.meta.to_token_stream().to_string();
            let is = |word: &str| text.split([',', '(', ')']).any(|part| part.trim() == word);
            let made: Vec<String> = if text.contains("map = ") {
                if text.contains("enumeration") {
                    vec![format!("get_{raw}"), format!("insert_{raw}")]
                } else {
                    Vec::new()
                }
            } else if text.contains("enumeration = ") {
                let verb = if is("repeated") { "push" } else { "set" };
                vec![name.to_owned(), format!("{verb}_{name}")]
            } else if is("optional") && !is("message") && !is("group") {
                vec![name.to_owned()]
            } else {
                Vec::new()
            };
            for function in made {
                if function.contains('#') {
                    problems.push(format!("{place}::{of}: {function} is no identifier"));
                }
                inherent(module, of, &function, place, problems);
            }
        }
    }
}

/// The paths in a type.
fn types(of: &Type, module: &mut Module) {
    let Type::Path(path) = of else { return };
    if path.path.leading_colon.is_none() {
        let purpose = path.to_token_stream().to_string();
        let mut bare = path.path.clone();
        for segment in &mut bare.segments {
            segment.arguments = syn::PathArguments::None;
        }
        module.paths.push((bare, purpose));
    }
    for segment in &path.path.segments {
        if let syn::PathArguments::AngleBracketed(arguments) = &segment.arguments {
            for argument in &arguments.args {
                if let syn::GenericArgument::Type(inner) = argument {
                    types(inner, module);
                }
            }
        }
    }
}

/// The paths in prost's attributes.
fn attributes(attributes: &[Attribute], module: &mut Module) {
    for attribute in attributes
        .iter()
        .filter(|each| each.path().is_ident("prost"))
    {
        let text = attribute.meta.to_token_stream().to_string();
        for start in ["enumeration = \"", "enumeration(", "oneof = \""] {
            let Some((_, rest)) = text.split_once(start) else {
                continue;
            };
            let end = rest.find(['"', ')']).unwrap_or(rest.len());
            if let Ok(path) = syn::parse_str::<Path>(&rest[..end]) {
                module.paths.push((path, text.clone()));
            }
        }
    }
}

/// Follows all paths of a module and of those inside.
fn resolve<'m>(
    root: &'m Module,
    module: &'m Module,
    place: &mut Vec<&'m str>,
    problems: &mut Vec<String>,
) {
    for (path, purpose) in &module.paths {
        if !leads_somewhere(root, place, path) {
            problems.push(format!(
                "crate::{}: {} leads nowhere, in {purpose}",
                place.join("::"),
                path.to_token_stream()
            ));
        }
    }
    for (name, inner) in &module.modules {
        place.push(name);
        resolve(root, inner, place, problems);
        place.pop();
    }
}

fn leads_somewhere(root: &Module, place: &[&str], path: &Path) -> bool {
    const PRIMITIVES: [&str; 10] = [
        "bool", "f32", "f64", "i32", "i64", "u32", "u64", "u8", "usize", "str",
    ];
    let segments: Vec<String> = path
        .segments
        .iter()
        .map(|each| each.ident.to_string())
        .collect();
    let [only] = segments.as_slice() else {
        let mut at = place.to_vec();
        let (last, modules) = match segments.split_last() {
            Some(split) => split,
            None => return false,
        };
        for segment in modules {
            match segment.as_str() {
                "super" => {
                    if at.pop().is_none() {
                        return false;
                    }
                }
                "self" => {}
                name => at.push(name),
            }
        }
        return find(root, &at).is_some_and(|module| module.types.contains_key(last));
    };
    PRIMITIVES.contains(&only.as_str())
        || find(root, place).is_some_and(|module| module.types.contains_key(only))
}

fn find<'m>(root: &'m Module, place: &[&str]) -> Option<&'m Module> {
    place
        .iter()
        .try_fold(root, |module, name| module.modules.get(*name))
}
