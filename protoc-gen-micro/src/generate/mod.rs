//! From a request to files: the one pure function behind the plugin and the builder.

mod assemble;
mod checks;
mod descriptors;
mod externs;
mod include;
mod json;
mod messages;
pub(crate) mod names;
mod package;
mod print;
mod services;
mod symbols;
mod types;
mod workers;

use proc_macro2::TokenStream;
use std::collections::{BTreeSet, HashMap};

use prost::Message;
use prost::bytes::Bytes;

use self::assemble::Source;
use self::include::{Hosted, Tree};
pub(crate) use self::messages::Configure;
use self::messages::Prost;
use self::names::RustNames;
use self::package::Package;
pub(crate) use self::services::Standalone;
use self::services::{Annotations, ServiceContext};
use self::symbols::{Symbols, full_name};
use self::types::Types;
pub(crate) use self::types::matches;
use crate::descriptor::{File, RawRequest, Request, lower};
use crate::diagnostic::{Diagnostic, Error};
use crate::options::Options;
use crate::parameters;

/// What was generated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generated {
    /// The files, in the order of their names.
    pub files: Vec<GeneratedFile>,
    /// What the user should know, although there is code.
    pub warnings: Vec<Diagnostic>,
}

/// One generated file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeneratedFile {
    /// Its path below the output folder, with `/`.
    pub name: String,
    /// Its text.
    pub content: String,
}

/// Generates code for an encoded `google.protobuf.compiler.CodeGeneratorRequest`, with the options in its
/// parameter.
///
/// It touches no file, no clock and no environment: equal requests give equal files.
///
/// # Errors
/// [`Error::is_unreadable`] if the bytes are no such request; otherwise all that stands in the way, in the
/// parameter or in the files, at once.
pub fn generate(request: &[u8]) -> Result<Generated, Error> {
    generate_from(Bytes::copy_from_slice(request))
}

/// [`generate`] without a copy of the request, which may have a hundred megabytes.
pub(crate) fn generate_from(request: Bytes) -> Result<Generated, Error> {
    if request.is_empty() {
        return Err(Error::unreadable(
            "cannot read the code generator request: it is empty",
        ));
    }
    let request = RawRequest::decode(request).map_err(|error| {
        Error::unreadable(format!("cannot read the code generator request: {error}"))
    })?;
    let options = parameters::parse(request.parameter.as_deref().unwrap_or_default())?;
    run(request, &options, None)
}

/// The same with the options already read, and with the user's own changes to prost-build's settings.
pub(crate) fn run(
    request: RawRequest,
    options: &Options,
    configure: Option<Configure<'_>>,
) -> Result<Generated, Error> {
    let Request {
        mut files,
        warnings: mut left_out,
    } = Request::decode(request)?;
    left_out.extend(lower(&mut files));
    left_out.sort();
    for file in &mut files {
        messages::spread_deprecated(&mut file.proto);
    }
    let packages = Package::group(&files, options);
    let extern_path = externs::normalize(options, &files)?;
    let runtime = externs::runtime(options)?;
    let types = Types::new(files.iter().map(|file| &file.proto), options, &extern_path);
    let mut symbols = Symbols::build(&packages, &types, options);
    let mut findings = messages::check_attributes(options);
    findings.extend(checks::descriptors(&files, &types));
    findings.extend(checks::absent_types(&packages, &types, options));
    findings.append(&mut symbols.errors);
    findings.extend(Package::check_files(
        &packages,
        options,
        &mut symbols.warnings,
    ));
    if !findings.is_empty() {
        findings.sort();
        return Err(Error::refused(findings));
    }
    let mut annotations = Annotations::read(&packages, &files, &types, options);
    let by_name = files.iter().map(|file| (file.proto.name(), file)).collect();
    let mut tree = Tree::new(&packages, &symbols.hosts, options);
    let run = Run {
        unwalked: messages::held_in_too_many_ways(files.iter().map(|file| &file.proto)),
        files: &files,
        by_name,
        types: &types,
        symbols: &symbols,
        annotations: &annotations,
        options,
        extern_path: &extern_path,
        hosted: tree.hosted(&packages, options),
    };
    let written: Vec<&Package<'_>> = packages.iter().filter(|each| each.written).collect();
    let mut generated = Vec::with_capacity(written.len() + 1);
    let mut findings = Vec::new();
    for (package, content) in written.iter().zip(run.write(&written, configure)) {
        match content {
            Ok(content) => generated.push(GeneratedFile {
                name: package.file_name(options),
                content,
            }),
            Err(finding) => findings.push(finding),
        }
    }
    if !findings.is_empty() {
        return Err(Error::refused(findings));
    }
    if let Some(name) = &options.include_file {
        generated.push(GeneratedFile {
            name: name.clone(),
            content: tree.include_file(),
        });
    }
    generated.sort_by(|a, b| a.name.cmp(&b.name));
    let mut warnings = checks::gaps_in_json(&packages, &types, &runtime, options);
    if options.messages {
        warnings.extend(left_out);
    }
    warnings.append(&mut symbols.warnings);
    warnings.append(&mut annotations.warnings);
    Ok(Generated {
        files: generated,
        warnings,
    })
}

/// What all packages of a run share.
struct Run<'a> {
    /// Messages that prost-build must not walk through, by their full names.
    unwalked: BTreeSet<String>,
    files: &'a [File],
    by_name: HashMap<&'a str, &'a File>,
    types: &'a Types<'a>,
    symbols: &'a Symbols,
    annotations: &'a Annotations,
    options: &'a Options,
    extern_path: &'a [(String, String)],
    /// What goes into the modules of messages, by the modules of their package.
    hosted: HashMap<Vec<String>, Vec<Hosted>>,
}

// ===== impl Run =====

impl Run<'_> {
    /// The files of these packages, in their order.
    fn write(
        &self,
        packages: &[&Package<'_>],
        configure: Option<Configure<'_>>,
    ) -> Vec<Result<String, Diagnostic>> {
        let prost = |configure: Option<Configure<'_>>| {
            let Run { files, types, .. } = self;
            let plain_enums = &self.symbols.plain_enums;
            Prost::new(
                files,
                types,
                plain_enums,
                &self.unwalked,
                self.options,
                self.extern_path,
                configure,
            )
        };
        if configure.is_some() {
            // The user's function is called once and on this thread.
            let mut prost = prost(configure);
            let packages = packages.iter();
            return packages
                .map(|package| self.write_package(package, &mut prost))
                .collect();
        }
        // The largest come first, so that no thread is left alone with one at the end.
        let mut schedule: Vec<usize> = (0..packages.len()).collect();
        let size = |index: &usize| packages.get(*index).map_or(0, |package| package.size());
        schedule.sort_by_key(|index| std::cmp::Reverse(size(index)));
        workers::map(
            packages,
            &schedule,
            || prost(None),
            |prost, package| self.write_package(package, prost),
        )
    }

    /// The file of one package.
    fn write_package(
        &self,
        package: &Package<'_>,
        prost: &mut Prost<'_>,
    ) -> Result<String, Diagnostic> {
        let options = self.options;
        let runtime = externs::runtime(options)?;
        let rust = self.types.seen_from(&package.modules, &runtime);
        let messages = prost.package(package)?;
        let mut rest = TokenStream::new();
        for file in &package.files {
            for proto in &file.proto.service {
                let full_name = full_name(file.proto.package(), proto.name());
                let Some(names) = self.symbols.services.get(&full_name) else {
                    continue;
                };
                let docs = messages
                    .services
                    .get(&full_name)
                    .filter(|_| options.comments_of(&full_name));
                rest.extend(services::emit(&ServiceContext {
                    proto,
                    full_name: &full_name,
                    names,
                    docs,
                    annotations: self.annotations,
                    types: self.types,
                    rust,
                    options,
                }));
            }
        }
        if options.messages && options.json {
            let protos: Vec<_> = package.files.iter().map(|file| &file.proto).collect();
            rest.extend(json::emit(&protos, &rust));
        }
        let source = Source {
            text: if options.messages { &messages.text } else { "" },
            customized: prost.customized,
            hosted: self.hosted.get(&package.modules).map_or(&[], Vec::as_slice),
        };
        if options.file_descriptor_set {
            rest.extend(descriptors::emit(package, &self.by_name)?);
        }
        assemble::file(package, source, rest, rust.runtime())
    }
}
