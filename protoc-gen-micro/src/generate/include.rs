//! The file that includes all others, packages as nested modules.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::assemble::HEADER;
use super::package::Package;
use crate::options::Options;

/// A module: its file, if it has one, and the modules inside.
#[derive(Default)]
struct Module {
    file: Option<String>,
    inside: BTreeMap<String, Module>,
}

/// The text of the include file.
pub(crate) fn emit(packages: &[Package<'_>], options: &Options) -> String {
    let mut root = Module::default();
    for package in packages.iter().filter(|package| package.written) {
        let module = package.modules.iter().fold(&mut root, |module, name| {
            module.inside.entry(name.clone()).or_default()
        });
        module.file = Some(package.file_name(options));
    }
    let mut text = format!("{HEADER}\n");
    root.write(&mut text, 0);
    text
}

// ===== impl Module =====

impl Module {
    /// Paths in `include!` are relative to the file that says it, wherever that one is included.
    fn write(&self, text: &mut String, depth: usize) {
        let indent = "    ".repeat(depth);
        if let Some(file) = &self.file {
            // Writing to a `String` cannot fail.
            let _ = writeln!(text, "{indent}include!(\"{file}\");");
        }
        for (name, module) in &self.inside {
            let _ = writeln!(
                text,
                "{indent}#[allow(missing_docs, unreachable_pub)]\n{indent}pub mod {name} {{"
            );
            module.write(text, depth + 1);
            let _ = writeln!(text, "{indent}}}");
        }
    }
}
