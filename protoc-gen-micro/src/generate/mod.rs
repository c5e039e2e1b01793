//! From a request to files: the one pure function behind the plugin and the builder.

mod assemble;
mod check;
mod descriptors;
mod externs;
mod gaps;
mod include;
mod json;
mod messages;
pub(crate) mod names;
mod package;
mod recursion;
mod services;
mod symbols;
mod types;

use proc_macro2::TokenStream;
use std::collections::HashMap;

use prost::Message;
use prost::bytes::Bytes;

use self::messages::{Configure, Messages};
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
    run(request, &options, &mut |_| {})
}

/// The same with the options already read, and with the user's own changes to prost-build's settings.
pub(crate) fn run(
    request: RawRequest,
    options: &Options,
    configure: Configure<'_>,
) -> Result<Generated, Error> {
    let Request {
        mut files,
        warnings: mut left_out,
    } = Request::decode(request)?;
    left_out.extend(lower(&mut files));
    left_out.sort();
    let packages = Package::group(&files, options);
    let extern_path = externs::normalize(options, &files)?;
    let types = Types::new(files.iter().map(|file| &file.proto), options, &extern_path)?;
    let mut symbols = Symbols::build(&packages, &types, options);
    let mut findings = messages::check_attributes(options);
    findings.extend(check::check(&files, &types));
    findings.append(&mut symbols.errors);
    if !findings.is_empty() {
        findings.sort();
        return Err(Error::refused(findings));
    }
    let protos = files.iter().map(|file| file.proto.clone()).collect();
    let messages = Messages::generate(protos, options, &extern_path, configure)?;

    let mut annotations = Annotations::read(&packages, &files, &types, options);
    let by_name = files.iter().map(|file| (file.proto.name(), file)).collect();
    let mut generated = Vec::new();
    let mut findings = Vec::new();
    for package in packages.iter().filter(|package| package.written) {
        match write(
            package,
            &by_name,
            &types,
            &symbols,
            &annotations,
            &messages,
            options,
        ) {
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
            content: include::emit(&packages, options),
        });
    }
    generated.sort_by(|a, b| a.name.cmp(&b.name));
    let mut warnings = gaps::find(&packages, &types, options);
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

/// The file of one package.
fn write(
    package: &Package<'_>,
    files: &HashMap<&str, &File>,
    types: &Types<'_>,
    symbols: &Symbols,
    annotations: &Annotations,
    messages: &Messages,
    options: &Options,
) -> Result<String, Diagnostic> {
    let rust = types.seen_from(&package.modules);
    let mut rest = TokenStream::new();
    for file in &package.files {
        for proto in &file.proto.service {
            let full_name = full_name(file.proto.package(), proto.name());
            let Some(names) = symbols.services.get(&full_name) else {
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
                annotations,
                types,
                rust,
                options,
            }));
        }
    }
    if options.messages && options.json {
        let protos: Vec<_> = package.files.iter().map(|file| &file.proto).collect();
        rest.extend(json::emit(&protos, &rust));
    }
    let text = messages
        .modules
        .get(&package.modules)
        .filter(|_| options.messages)
        .map_or("", String::as_str);
    if options.file_descriptor_set {
        rest.extend(descriptors::emit(package, files)?);
    }
    assemble::file(package, text, rest, rust.runtime())
}
