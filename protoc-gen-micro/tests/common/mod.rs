//! Requests as protoc sends them, made with the vendored protoc.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

use prost::Message;

/// What every test returns.
pub(crate) type TestResult<T = ()> = Result<T, Box<dyn Error>>;

/// `google.protobuf.compiler.CodeGeneratorRequest`, its files as protoc encoded them: prost-types drops the options
/// that it does not know.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Request {
    #[prost(string, repeated, tag = "1")]
    pub(crate) file_to_generate: Vec<String>,
    #[prost(string, optional, tag = "2")]
    pub(crate) parameter: Option<String>,
    #[prost(bytes = "vec", repeated, tag = "15")]
    pub(crate) proto_file: Vec<Vec<u8>>,
}

/// `google.protobuf.FileDescriptorSet`, its files still encoded.
#[derive(Clone, PartialEq, prost::Message)]
struct Set {
    #[prost(bytes = "vec", repeated, tag = "1")]
    file: Vec<Vec<u8>>,
}

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

/// The request for these files (as imports name them), with this parameter.
#[allow(dead_code, reason = "not every test binary makes requests")]
pub(crate) fn request(includes: &[&Path], files: &[&str], parameter: &str) -> TestResult<Request> {
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
    let set = Set::decode(std::fs::read(&set)?.as_slice())?;
    Ok(Request {
        file_to_generate: files.iter().map(|file| (*file).to_owned()).collect(),
        parameter: Some(parameter.to_owned()),
        proto_file: set.file,
    })
}
