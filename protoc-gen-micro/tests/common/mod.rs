//! Requests as protoc sends them, made with the vendored protoc.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

use prost::Message;
use prost_types::compiler::CodeGeneratorRequest;

/// What every test returns.
pub(crate) type TestResult<T = ()> = Result<T, Box<dyn Error>>;

/// A folder with these .proto files.
#[allow(dead_code, reason = "not every test binary writes files of its own")]
pub(crate) fn protos(files: &[(&str, &str)]) -> std::io::Result<tempfile::TempDir> {
    let folder = tempfile::tempdir()?;
    for (name, text) in files {
        let path = folder.path().join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(path, text)?;
    }
    Ok(folder)
}

/// A protoc command that knows the well-known types.
pub(crate) fn protoc(includes: &[&Path]) -> TestResult<Command> {
    let mut command = Command::new(protoc_bin_vendored::protoc_bin_path()?);
    for include in includes {
        command.arg("-I").arg(include);
    }
    command.arg("-I").arg(protoc_bin_vendored::include_path()?);
    Ok(command)
}

/// `CodeGeneratorRequest` with its files as protoc wrote them: prost-types would lose the editions and their features.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RawRequest {
    #[prost(string, repeated, tag = "1")]
    pub(crate) file_to_generate: Vec<String>,
    #[prost(string, optional, tag = "2")]
    pub(crate) parameter: Option<String>,
    #[prost(bytes = "vec", repeated, tag = "15")]
    pub(crate) proto_file: Vec<Vec<u8>>,
}

/// `FileDescriptorSet` with its files as protoc wrote them.
#[derive(Clone, PartialEq, Message)]
struct RawSet {
    #[prost(bytes = "vec", repeated, tag = "1")]
    file: Vec<Vec<u8>>,
}

/// The request for these files (as imports name them), with this parameter, as protoc sends it.
#[allow(dead_code, reason = "not every test binary makes requests")]
pub(crate) fn raw_request(
    includes: &[&Path],
    files: &[&str],
    parameter: &str,
) -> TestResult<RawRequest> {
    let scratch = tempfile::tempdir()?;
    let set: PathBuf = scratch.path().join("set.pb");
    let output = protoc(includes)?
        .args(["--include_imports", "--include_source_info", "-o"])
        .arg(&set)
        .args(files)
        .output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    let set = RawSet::decode(std::fs::read(&set)?.as_slice())?;
    Ok(RawRequest {
        file_to_generate: files.iter().map(|file| (*file).to_owned()).collect(),
        parameter: Some(parameter.to_owned()),
        proto_file: set.file,
    })
}

/// The same, decoded: not for files of an edition.
#[allow(dead_code, reason = "not every test binary makes requests")]
pub(crate) fn request(
    includes: &[&Path],
    files: &[&str],
    parameter: &str,
) -> TestResult<CodeGeneratorRequest> {
    let request = raw_request(includes, files, parameter)?;
    Ok(CodeGeneratorRequest::decode(
        request.encode_to_vec().as_slice(),
    )?)
}
