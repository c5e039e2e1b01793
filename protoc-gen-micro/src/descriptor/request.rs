//! [`Request`]: the files of a run, decoded.

use std::collections::HashSet;
use std::sync::OnceLock;

use prost::bytes::Bytes;
use prost::{DecodeError, Message};
use prost_types::{FileDescriptorProto, SourceCodeInfo};

use super::editions;
use super::extensions;
use super::features::Edition;
use super::sound;
use super::source;
use super::utf8;
use super::wire::{FileExtra, FileSource, RawRequest};
use crate::diagnostic::{Diagnostic, Error};

/// All files of a run: those to generate for, and what they import.
#[derive(Debug)]
pub(crate) struct Request {
    /// In the order of their names, so that the order on the command line changes nothing.
    pub(crate) files: Vec<File>,
    /// What of the files to generate for is left out.
    pub(crate) warnings: Vec<Diagnostic>,
}

/// One file.
#[derive(Debug)]
pub(crate) struct File {
    /// Its descriptor, without `source_code_info`: that is most of a large run's memory, and is needed of a few
    /// files at a time.
    pub(crate) proto: FileDescriptorProto,
    /// The same, encoded, with the options that prost-types does not know.
    pub(crate) raw: Bytes,
    /// Whether code was asked for, as opposed to being imported.
    pub(crate) target: bool,
    /// Comments and positions, once a finding has asked for a line.
    source: OnceLock<Option<SourceCodeInfo>>,
}

// ===== impl Request =====

impl Request {
    /// Decodes what protoc sent.
    ///
    /// # Errors
    /// Unreadable if the bytes are no request; refused for a file of an edition that is not known.
    pub(crate) fn decode(raw: RawRequest) -> Result<Request, Error> {
        let targets: HashSet<String> = raw.file_to_generate.into_iter().collect();
        let mut files = Vec::with_capacity(raw.proto_file.len());
        let mut diagnostics = Vec::new();
        let mut warnings = Vec::new();
        for bytes in raw.proto_file {
            let unreadable = |error| {
                Error::unreadable(format!(
                    "cannot read a file descriptor in the request: {error}"
                ))
            };
            let (bytes, mut proto, unclean) = decode_file(bytes).map_err(unreadable)?;
            let extra = FileExtra::decode(bytes.clone()).map_err(unreadable)?;
            // An empty package is no package: prost-build would look for `..Message`.
            proto.package = proto.package.filter(|package| !package.is_empty());
            match edition(&proto, extra.edition) {
                Ok(None) => {}
                Ok(Some(edition)) => {
                    editions::lower(&mut proto, edition, bytes.clone(), &mut diagnostics)
                        .map_err(unreadable)?
                }
                Err(finding) => diagnostics.push(finding),
            }
            let target = targets.contains(proto.name());
            if target {
                warnings.extend(extensions::warning(&proto));
                if unclean {
                    warnings.extend(utf8::warnings(&proto));
                }
            }
            proto.source_code_info = None;
            files.push(File {
                proto,
                raw: bytes,
                target,
                source: OnceLock::new(),
            });
        }
        let held: HashSet<&str> = files.iter().map(|file: &File| file.proto.name()).collect();
        for name in &targets {
            if !held.contains(name.as_str()) {
                return Err(Error::unreadable(format!(
                    "the request asks for {name} but does not hold it"
                )));
            }
        }
        diagnostics.extend(sound::check(&files));
        if !diagnostics.is_empty() {
            diagnostics.sort();
            return Err(Error::refused(diagnostics));
        }
        files.sort_by(|a, b| a.proto.name().cmp(b.proto.name()));
        files.dedup_by(|a, b| a.proto.name() == b.proto.name());
        warnings.sort();
        Ok(Request { files, warnings })
    }
}

// ===== impl File =====

impl File {
    /// Its comments and positions, decoded anew.
    pub(crate) fn source_code_info(&self) -> Option<SourceCodeInfo> {
        // The same bytes were decoded before: there is no error.
        let source = FileSource::decode(self.raw.clone()).unwrap_or_default();
        source.source_code_info
    }

    /// The same, kept for whatever else is asked: for findings, which are few or the end of it.
    pub(crate) fn source(&self) -> Option<&SourceCodeInfo> {
        let source = self.source.get_or_init(|| self.source_code_info());
        source.as_ref()
    }

    /// The line, counted from 1, of the item at `path` (field numbers and indexes down the descriptor's tree).
    pub(crate) fn line(&self, path: &[i32]) -> Option<u32> {
        source::line_in(self.source()?, path)
    }
}

/// Decodes a file: its bytes, its descriptor, and whether it was made UTF-8 for that.
fn decode_file(bytes: Bytes) -> Result<(Bytes, FileDescriptorProto, bool), DecodeError> {
    let error = match FileDescriptorProto::decode(bytes.clone()) {
        Ok(proto) => return Ok((bytes, proto, false)),
        Err(error) => error,
    };
    let clean = utf8::replace(&bytes).filter(|clean| *clean != bytes);
    let clean = clean.ok_or(error)?;
    let proto = FileDescriptorProto::decode(clean.clone())?;
    Ok((clean, proto, true))
}

/// The edition of a file; `None` for proto2 and proto3.
///
/// # Errors
/// A finding if the file is of an edition that this generator does not read.
fn edition(file: &FileDescriptorProto, number: Option<i32>) -> Result<Option<Edition>, Diagnostic> {
    let what = match (file.syntax.as_deref(), number) {
        (None | Some("" | "proto2" | "proto3"), None) => return Ok(None),
        (_, Some(number)) => match Edition::from_number(number) {
            Some(edition) => return Ok(Some(edition)),
            None => format!("edition {}", edition_name(number)),
        },
        (Some("editions"), None) => "an edition without a number".to_owned(),
        (syntax, None) => format!("syntax {:?}", syntax.unwrap_or_default()),
    };
    // FileDescriptorProto: 12 is `syntax`, 14 `edition`.
    let line = source::line(file, &[12]).or_else(|| source::line(file, &[14]));
    Err(Diagnostic::at(
        file.name(),
        line,
        format!(
            "{what} is not supported by protoc-gen-micro {}, which reads proto2, proto3, and editions 2023 and \
             2024: write `edition = \"2024\";` in place of it, or use a newer version",
            env!("CARGO_PKG_VERSION")
        ),
    ))
}

/// The name of a `google.protobuf.Edition`: its numbers follow no rule.
fn edition_name(number: i32) -> String {
    match number {
        1002 => "2026".to_owned(),
        9999 => "UNSTABLE".to_owned(),
        other => format!("number {other}"),
    }
}
