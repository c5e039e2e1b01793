//! Finding protoc, and running it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::{env, fs};

use prost::Message;
use prost::bytes::Bytes;

use crate::build_error::BuildError;
use crate::descriptor::RawFileSet;

/// Where protoc comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Protoc {
    /// What the environment variable `PROTOC` names; else the one that this crate carries (feature
    /// `vendored-protoc`, on by default); else `protoc` from the search path.
    #[default]
    Env,
    /// This program.
    Path(PathBuf),
    /// The one that this crate carries, whatever the environment says. An error without the feature
    /// `vendored-protoc`, and on platforms that it has none for.
    Vendored,
    /// None: the descriptors are in this file, as `protoc --descriptor_set_out=… --include_imports
    /// --include_source_info` or `buf build -o …` writes it.
    DescriptorSet(PathBuf),
}

/// A protoc, and the folder with `google/protobuf/*.proto` if it is known.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    program: PathBuf,
    /// Where the path comes from, for messages.
    origin: &'static str,
    well_known: Option<PathBuf>,
}

/// Reads all files and what they import, as a descriptor set.
///
/// # Errors
/// If protoc is not found, cannot be run, or refuses the files; with its own words then.
pub(crate) fn descriptors(
    protoc: &Protoc,
    files: &[PathBuf],
    includes: &[PathBuf],
    arguments: &[OsString],
) -> Result<RawFileSet, BuildError> {
    let bytes = match protoc {
        Protoc::DescriptorSet(path) => fs::read(path).map_err(|error| {
            BuildError::new(format!(
                "cannot read the descriptor set {}: {error}",
                path.display()
            ))
        })?,
        Protoc::Env => {
            let found = find(|name| env::var_os(name), vendored().ok())?;
            run(&found, files, includes, arguments)?
        }
        Protoc::Path(path) => {
            let found = Found {
                program: path.clone(),
                origin: "Protoc::Path",
                well_known: None,
            };
            run(&found, files, includes, arguments)?
        }
        Protoc::Vendored => run(&vendored()?, files, includes, arguments)?,
    };
    RawFileSet::decode(Bytes::from(bytes))
        .map_err(|error| BuildError::new(format!("cannot read the descriptor set: {error}")))
}

/// The first of: what `PROTOC` names, the one carried along, the one on the search path.
fn find(
    variable: impl Fn(&str) -> Option<OsString>,
    carried: Option<Found>,
) -> Result<Found, BuildError> {
    let found = |program: PathBuf, origin| Found {
        program,
        origin,
        well_known: None,
    };
    if let Some(program) = variable("PROTOC").filter(|value| !value.is_empty()) {
        return Ok(found(program.into(), "the environment variable PROTOC"));
    }
    if let Some(carried) = carried {
        return Ok(carried);
    }
    let name = format!("protoc{}", env::consts::EXE_SUFFIX);
    let folders = variable("PATH").unwrap_or_default();
    env::split_paths(&folders)
        .map(|folder| folder.join(&name))
        .find(|path| path.is_file())
        .map(|program| found(program, "the search path"))
        .ok_or_else(|| {
            BuildError::new(format!(
                "cannot find protoc: PROTOC is not set, and there is none on the search path\n{WAYS_OUT}"
            ))
        })
}

#[cfg(feature = "vendored-protoc")]
fn vendored() -> Result<Found, BuildError> {
    let error = |error: protoc_bin_vendored::Error| BuildError::new(format!("{error}\n{WAYS_OUT}"));
    Ok(Found {
        program: protoc_bin_vendored::protoc_bin_path().map_err(error)?,
        origin: "the crate protoc-bin-vendored",
        well_known: Some(protoc_bin_vendored::include_path().map_err(error)?),
    })
}

#[cfg(not(feature = "vendored-protoc"))]
fn vendored() -> Result<Found, BuildError> {
    Err(BuildError::new(
        "protoc-gen-micro was built without its feature `vendored-protoc`, so it carries no protoc",
    ))
}

const WAYS_OUT: &str = "protoc reads .proto files; one of these gives the build one:\n\
    - the feature `vendored-protoc` of protoc-gen-micro, for Linux, macOS and Windows\n\
    - the environment variable PROTOC, set to the path of a protoc\n\
    - protoc on the search path (Debian: `apt-get install protobuf-compiler`, macOS: `brew install protobuf`, \
    or https://github.com/protocolbuffers/protobuf/releases)\n\
    - `Protoc::DescriptorSet`, with the descriptors made elsewhere";

fn run(
    found: &Found,
    files: &[PathBuf],
    includes: &[PathBuf],
    arguments: &[OsString],
) -> Result<Vec<u8>, BuildError> {
    let scratch = Scratch::new()?;
    let set = scratch.0.join("descriptors.pb");
    let mut command = Command::new(&found.program);
    command
        .arg("--include_imports")
        .arg("--include_source_info");
    command.arg(joined("--descriptor_set_out=", &set));
    for include in includes {
        command.arg(joined("--proto_path=", include));
    }
    // Last, so that a user's own copy of a well-known type wins, as it does with protoc's own folder.
    if let Some(well_known) = &found.well_known {
        command.arg(joined("--proto_path=", well_known));
    }
    command.args(arguments).args(files);
    let output = command.output().map_err(|error| {
        BuildError::new(format!(
            "cannot run protoc ({}, from {}): {error}\n{WAYS_OUT}",
            found.program.display(),
            found.origin
        ))
    })?;
    let set = fs::read(&set);
    match set {
        Ok(set) if output.status.success() => Ok(set),
        _ => Err(refused(found, &output)),
    }
}

/// protoc's own words, which name file, line and column already, and what its version has to do with them.
fn refused(found: &Found, output: &Output) -> BuildError {
    let text = String::from_utf8_lossy(&output.stderr);
    let text = text.trim();
    let Found {
        program, origin, ..
    } = found;
    let program = program.display();
    let version = Command::new(&found.program).arg("--version").output();
    let version = version.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    let version = version.unwrap_or_default();
    let Some(number) = version.strip_prefix("libprotoc ") else {
        let said = if text.is_empty() { "nothing" } else { text };
        return BuildError::new(format!(
            "{program} (from {origin}) is no protoc: it ended with {} and said {said}\n{WAYS_OUT}",
            output.status
        ));
    };
    let mut message = match text {
        "" => format!(
            "protoc ({program}) ended with {} and wrote no descriptors",
            output.status
        ),
        text => text.to_owned(),
    };
    if let Some(needed) = too_old(number, text) {
        message.push_str(&format!(
            "\nthis is protoc {number} ({program}, from {origin}), and {needed}\n{WAYS_OUT}"
        ));
    }
    BuildError::new(message)
}

/// What a newer protoc knows, if this version does not and complains of it.
fn too_old(version: &str, complaint: &str) -> Option<&'static str> {
    // From 21 on the leading 3 was dropped: first from the releases' names, later from what `--version` says.
    let version = version.strip_prefix("3.").unwrap_or(version);
    let major: u32 = version.split('.').next()?.parse().ok()?;
    let says = |word: &str| complaint.contains(word);
    if says("optional") && major < 15 {
        return Some("`optional` in proto3 needs 3.15 or later");
    }
    // Before 27 a protoc did not know the word, and took the file for one without a syntax.
    let no_syntax = says("No syntax specified") && says("Expected top-level statement");
    let editions = says("dition") || no_syntax;
    match major {
        ..27 if editions => Some("editions need 27 (2023) or 32 (2024) or later"),
        ..32 if editions => Some("edition 2024 needs 32 or later"),
        _ => None,
    }
}

fn joined(option: &str, path: &Path) -> OsString {
    let mut argument = OsString::from(option);
    argument.push(path);
    argument
}

/// A folder of this process's own, gone when it is dropped.
struct Scratch(PathBuf);

// ===== impl Scratch =====

impl Scratch {
    fn new() -> Result<Scratch, BuildError> {
        // Build scripts have OUT_DIR to themselves; elsewhere the system's folder has to do.
        let parent = env::var_os("OUT_DIR").map_or_else(env::temp_dir, PathBuf::from);
        let error = |path: &Path, error| {
            BuildError::new(format!(
                "cannot make the folder {}: {error}",
                path.display()
            ))
        };
        for attempt in 0..u32::MAX {
            let path = parent.join(format!("protoc-gen-micro-{}-{attempt}", std::process::id()));
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Scratch(path)),
                Err(exists) if exists.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(other) => return Err(error(&path, other)),
            }
        }
        Err(BuildError::new(format!(
            "there is no free name for a folder in {}",
            parent.display()
        )))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays behind does no harm, and there is nobody to tell.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn carried() -> Option<Found> {
        Some(Found {
            program: "carried".into(),
            origin: "here",
            well_known: None,
        })
    }

    #[test]
    fn the_variable_comes_first_and_the_search_path_last() -> Result<(), Box<dyn std::error::Error>>
    {
        let folder = tempfile::tempdir()?;
        let on_path = folder
            .path()
            .join(format!("protoc{}", env::consts::EXE_SUFFIX));
        fs::write(&on_path, "")?;
        let path = env::join_paths([Path::new("nowhere"), folder.path()])?;
        let search = |name: &str| (name == "PATH").then(|| path.clone());

        let named = find(|name| (name == "PROTOC").then(|| "mine".into()), carried())?;
        assert_eq!(named.program, Path::new("mine"));
        let empty = find(|name| (name == "PROTOC").then(OsString::new), carried())?;
        assert_eq!(empty.program, Path::new("carried"));
        assert_eq!(find(search, carried())?.program, Path::new("carried"));
        assert_eq!(find(search, None)?.program, on_path);
        Ok(())
    }

    #[test]
    fn none_at_all_names_the_ways_out() {
        let error = find(|_| None, None).err().map(|error| error.to_string());
        let expected = format!(
            "cannot find protoc: PROTOC is not set, and there is none on the search path\n{WAYS_OUT}"
        );
        assert_eq!(error, Some(expected));
    }

    #[test]
    fn an_old_protoc_is_told_from_a_wrong_file() {
        let optional = "a.proto: This file contains proto3 optional fields, but \
                        --experimental_allow_proto3_optional was not set.";
        let no_syntax = "[libprotobuf WARNING google/protobuf/compiler/parser.cc:646] No syntax specified for \
                         the proto file: a.proto.\na.proto:1:1: Expected top-level statement (e.g. \"message\").";
        let edition = "a.proto:1:11: Unknown edition \"2024\".";
        let typing = "a.proto:3:29: Expected field number.";
        let (since_15, since_32) = (
            Some("`optional` in proto3 needs 3.15 or later"),
            Some("edition 2024 needs 32 or later"),
        );
        let since_27 = Some("editions need 27 (2023) or 32 (2024) or later");
        for (version, complaint, expected) in [
            ("3.12.4", optional, since_15),
            ("3.12.4", typing, None),
            ("3.21.12", optional, None),
            ("3.21.12", no_syntax, since_27),
            ("25.1", no_syntax, since_27),
            ("29.3", edition, since_32),
            ("36.2", edition, None),
            ("unknown", optional, None),
        ] {
            assert_eq!(
                too_old(version, complaint),
                expected,
                "{version}: {complaint}"
            );
        }
    }

    #[test]
    fn a_scratch_folder_goes_when_it_is_dropped() -> Result<(), BuildError> {
        let (one, two) = (Scratch::new()?, Scratch::new()?);
        let paths = [one.0.clone(), two.0.clone()];
        assert_ne!(paths[0], paths[1]);
        assert!(paths.iter().all(|path| path.is_dir()));
        drop((one, two));
        assert!(!paths.iter().any(|path| path.exists()));
        Ok(())
    }
}
