//! Which file is included where: in the include file, packages as nested modules, and in the modules of
//! messages that packages share.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use proc_macro2::TokenStream;
use quote::quote;

use super::assemble::HEADER;
use super::names::ident;
use super::package::Package;
use crate::options::Options;

/// The modules of all packages that are written.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    root: Module,
    hosts: BTreeMap<Vec<String>, Vec<String>>,
}

/// A module: its file, if it has one, and the modules inside.
#[derive(Debug, Default)]
struct Module {
    file: Option<String>,
    inside: BTreeMap<String, Module>,
    /// Whether it is the module of a message, and declared with that.
    hosted: bool,
}

/// What is written into the module of a message.
#[derive(Debug)]
pub(crate) struct Hosted {
    /// The module, from that of the message's package.
    pub(crate) module: Vec<String>,
    /// The items, as text.
    pub(crate) items: String,
}

// ===== impl Tree =====

impl Tree {
    /// The tree of a run; `hosts` says which modules are those of messages, and of which package's.
    pub(crate) fn new(
        packages: &[Package<'_>],
        hosts: &BTreeMap<Vec<String>, Vec<String>>,
        options: &Options,
    ) -> Tree {
        let mut root = Module::default();
        for package in packages.iter().filter(|package| package.written) {
            root.at(&package.modules).file = Some(package.file_name(options));
        }
        for module in hosts.keys() {
            root.at(module).hosted = true;
        }
        Tree {
            root,
            hosts: hosts.clone(),
        }
    }

    /// The text of the include file.
    pub(crate) fn include_file(&self) -> String {
        let mut text = format!("{HEADER}\n");
        self.root.write(&mut text, 0);
        text
    }

    /// What goes into the modules of messages, by the modules of their package.
    pub(crate) fn hosted(
        &mut self,
        packages: &[Package<'_>],
        options: &Options,
    ) -> HashMap<Vec<String>, Vec<Hosted>> {
        let mut result: HashMap<Vec<String>, Vec<Hosted>> = HashMap::new();
        for (module, host) in &self.hosts {
            let Some(package) = packages.iter().find(|package| package.modules == *host) else {
                continue;
            };
            let file = package.file_name(options);
            result.entry(host.clone()).or_default().push(Hosted {
                module: module[host.len()..].to_vec(),
                items: self.root.at(module).items(&file).to_string(),
            });
        }
        result
    }
}

// ===== impl Module =====

impl Module {
    fn at(&mut self, path: &[String]) -> &mut Module {
        path.iter().fold(self, |module, name| {
            module.inside.entry(name.clone()).or_default()
        })
    }

    /// Paths in `include!` are relative to the file that says it, wherever that one is included.
    fn write(&self, text: &mut String, depth: usize) {
        let indent = "    ".repeat(depth);
        if let Some(file) = &self.file {
            // Writing to a `String` cannot fail.
            let _ = writeln!(text, "{indent}include!(\"{file}\");");
        }
        for (name, module) in self.inside.iter().filter(|(_, module)| !module.hosted) {
            let _ = writeln!(
                text,
                "{indent}#[allow(missing_docs, unreachable_pub)]\n{indent}pub mod {name} {{"
            );
            module.write(text, depth + 1);
            let _ = writeln!(text, "{indent}}}");
        }
    }

    /// The same as items of a generated file.
    fn items(&self, from: &str) -> TokenStream {
        let file = self.file.as_ref().map(|file| {
            let file = relative(from, file);
            quote! { include!(#file); }
        });
        let inside = self.inside.iter().filter(|(_, module)| !module.hosted);
        let inside = inside.map(|(name, module)| {
            let (name, items) = (ident(name), module.items(from));
            quote! {
                #[allow(missing_docs, unreachable_pub)]
                pub mod #name { #items }
            }
        });
        quote! { #file #(#inside)* }
    }
}

/// The path of a file as seen from another; both are below the output folder, with `/`.
fn relative(from: &str, to: &str) -> String {
    let folders = |path: &'_ str| path.split('/').map(str::to_owned).collect::<Vec<_>>();
    let (from, to) = (folders(from), folders(to));
    let last = to.len().min(from.len()) - 1;
    let shared = (0..last)
        .take_while(|&index| from[index] == to[index])
        .count();
    let up = std::iter::repeat_n("..", from.len() - 1 - shared);
    up.chain(to[shared..].iter().map(String::as_str))
        .collect::<Vec<_>>()
        .join("/")
}

#[cfg(test)]
mod tests {
    use super::relative;

    #[test]
    fn files_are_named_from_one_another() {
        for (from, to, expected) in [
            ("a.rs", "a.v1.rs", "a.v1.rs"),
            ("_.rs", "a/a.rs", "a/a.rs"),
            ("a/a.rs", "a/v1/a.v1.rs", "v1/a.v1.rs"),
            ("A/A.rs", "a/v1/a.v1.rs", "../a/v1/a.v1.rs"),
            ("a/b/a.b.rs", "a/a.rs", "../a.rs"),
        ] {
            assert_eq!(relative(from, to), expected, "{to} from {from}");
        }
    }
}
