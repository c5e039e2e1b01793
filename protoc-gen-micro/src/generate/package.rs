//! [`Package`]: the files that share one Rust module, and so one generated file.

use std::collections::BTreeMap;

use super::types::package_modules;
use crate::descriptor::File;
use crate::diagnostic::Diagnostic;
use crate::options::{Layout, Options};

/// The files of one Rust module. Mostly these are one proto package; packages whose names differ in case
/// alone share a module.
#[derive(Debug)]
pub(crate) struct Package<'a> {
    /// The Rust modules, from the top.
    pub(crate) modules: Vec<String>,
    /// Its files, in the order of their names.
    pub(crate) files: Vec<&'a File>,
    /// Whether it is written out; the rest is there to be referred to.
    pub(crate) written: bool,
}

// ===== impl Package =====

impl<'a> Package<'a> {
    /// All packages of a run, in the order of their modules.
    pub(crate) fn group(files: &'a [File], options: &Options) -> Vec<Package<'a>> {
        let mut groups: BTreeMap<Vec<String>, Vec<&'a File>> = BTreeMap::new();
        for file in files {
            groups
                .entry(package_modules(file.proto.package()))
                .or_default()
                .push(file);
        }
        groups
            .into_iter()
            .map(|(modules, files)| {
                let excluded = |file: &&File| {
                    options.exclude_package.iter().any(|name| {
                        let below = file
                            .proto
                            .package()
                            .strip_prefix(name.trim_start_matches('.'));
                        below.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
                    })
                };
                let written = files.iter().any(|file| file.target) && !files.iter().any(excluded);
                Package {
                    modules,
                    files,
                    written,
                }
            })
            .collect()
    }

    /// The proto package; the first of them if several share the module; empty if there is none.
    pub(crate) fn name(&self) -> &'a str {
        self.files.first().map_or("", |file| file.proto.package())
    }

    /// The size of its descriptors, in bytes: what it costs to generate it.
    pub(crate) fn size(&self) -> usize {
        self.files.iter().map(|file| file.raw.len()).sum()
    }

    /// Finds files that would be one. On systems that ignore case some are one that are two elsewhere: a warning.
    pub(crate) fn check_files(
        packages: &[Package<'_>],
        options: &Options,
        warnings: &mut Vec<Diagnostic>,
    ) -> Vec<Diagnostic> {
        let mut findings = Vec::new();
        // By the name in lower case: the name, and what it is for.
        let mut known: BTreeMap<String, (String, String)> = BTreeMap::new();
        let include = options.include_file.iter().map(|name| {
            let purpose = "the include file (include_file)".to_owned();
            (name.clone(), purpose)
        });
        let written = packages.iter().filter(|package| package.written);
        let files = written.map(|package| {
            let purpose = match package.name() {
                "" => "the files without a package (default_package_filename)".to_owned(),
                name => format!("package {name}"),
            };
            (package.file_name(options), purpose)
        });
        for (name, purpose) in files.chain(include) {
            match known.get(&name.to_lowercase()) {
                Some((other, whose)) if *other == name => findings.push(Diagnostic::new(format!(
                    "the file {name} would be that of {whose} and of {purpose}; choose another name for one"
                ))),
                Some((other, whose)) => warnings.push(Diagnostic::new(format!(
                    "the files {other} of {whose} and {name} of {purpose} are one where case is ignored in file names"
                ))),
                None => drop(known.insert(name.to_lowercase(), (name, purpose))),
            }
        }
        findings
    }

    /// The name of its generated file, with `/`.
    pub(crate) fn file_name(&self, options: &Options) -> String {
        let name = if self
            .files
            .iter()
            .all(|file| file.proto.package() == self.name())
        {
            self.name().to_owned()
        } else {
            self.modules.join(".").replace("r#", "")
        };
        match (name.as_str(), options.layout) {
            ("", _) => format!("{}.rs", options.default_package_filename),
            (name, Layout::Flat) => format!("{name}.rs"),
            (name, Layout::Nested) => format!("{}/{name}.rs", name.replace('.', "/")),
        }
    }
}
