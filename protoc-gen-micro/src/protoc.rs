//! Finding protoc, and running it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::{env, fs};

use prost::Message;
use prost::bytes::Bytes;

use crate::builder::BuildError;
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
        Protoc::Env => run(&from_environment()?, files, includes, arguments)?,
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

fn from_environment() -> Result<Found, BuildError> {
    if let Some(program) = env::var_os("PROTOC").filter(|value| !value.is_empty()) {
        return Ok(Found {
            program: program.into(),
            origin: "the environment variable PROTOC",
            well_known: None,
        });
    }
    if let Ok(found) = vendored() {
        return Ok(found);
    }
    let name = format!("protoc{}", env::consts::EXE_SUFFIX);
    let paths = env::var_os("PATH").unwrap_or_default();
    let program = env::split_paths(&paths)
        .map(|folder| folder.join(&name))
        .find(|path| path.is_file());
    match program {
        Some(program) => Ok(Found {
            program,
            origin: "PATH",
            well_known: None,
        }),
        None => Err(not_found()),
    }
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

fn not_found() -> BuildError {
    BuildError::new(format!(
        "cannot find protoc: PROTOC is not set, and there is none on the search path\n{WAYS_OUT}"
    ))
}

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
    if !output.status.success() {
        return Err(refused(&output));
    }
    fs::read(&set)
        .map_err(|error| BuildError::new(format!("cannot read what protoc wrote: {error}")))
}

/// protoc's own words: they name file, line and column already.
fn refused(output: &Output) -> BuildError {
    let text = String::from_utf8_lossy(&output.stderr);
    let text = text.trim();
    BuildError::new(if text.is_empty() {
        format!("protoc failed with {}", output.status)
    } else {
        text.to_owned()
    })
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
