//! The plugin: a request on stdin, a response on stdout.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::process::ExitCode;

use prost::Message;
use prost::bytes::Bytes;

use crate::descriptor::{MAXIMUM_EDITION, MINIMUM_EDITION, Response, ResponseFile, read_request};
use crate::generate::generate_from;
use crate::parameters;

/// `CodeGeneratorResponse.Feature`: `FEATURE_PROTO3_OPTIONAL` and `FEATURE_SUPPORTS_EDITIONS`.
const FEATURES: u64 = 1 | 2;

/// Runs as protoc's plugin: with these arguments (without the program's name) and these streams.
///
/// What is wrong with the .proto files or the parameters goes into the response, with exit status 0, as the
/// plugin protocol wants it; a request that cannot be read is told on `stderr`, with exit status 1.
pub fn run_plugin(
    arguments: impl IntoIterator<Item = OsString>,
    stdin: &mut dyn Read,
    stdout: &mut dyn Write,
    stderr: &mut dyn Write,
) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let result = match arguments.first().and_then(|first| first.to_str()) {
        None if arguments.is_empty() => serve(stdin, stdout, stderr),
        Some("--version" | "-V") if arguments.len() == 1 => {
            writeln!(stdout, "protoc-gen-micro {}", env!("CARGO_PKG_VERSION"))
                .map(|()| ExitCode::SUCCESS)
        }
        Some("--help" | "-h") if arguments.len() == 1 => {
            write!(stdout, "{}", usage()).map(|()| ExitCode::SUCCESS)
        }
        _ => {
            let given: Vec<_> = arguments
                .iter()
                .map(|argument| argument.to_string_lossy())
                .collect();
            writeln!(
                stderr,
                "unexpected arguments: {}\n\n{}",
                given.join(" "),
                usage()
            )
            .map(|()| ExitCode::from(2))
        }
    };
    result.unwrap_or(ExitCode::FAILURE)
}

fn serve(
    stdin: &mut dyn Read,
    stdout: &mut dyn Write,
    stderr: &mut dyn Write,
) -> io::Result<ExitCode> {
    let request = match read_request(stdin) {
        Ok(request) => request,
        Err(error) => {
            writeln!(stderr, "protoc-gen-micro: cannot read stdin: {error}")?;
            return Ok(ExitCode::FAILURE);
        }
    };
    let mut files = Vec::new();
    let mut response = Response {
        supported_features: Some(FEATURES),
        minimum_edition: Some(MINIMUM_EDITION),
        maximum_edition: Some(MAXIMUM_EDITION),
        ..Response::default()
    };
    match generate_from(Bytes::from(request)) {
        Ok(generated) => {
            for warning in &generated.warnings {
                writeln!(stderr, "warning: {warning}")?;
            }
            files = generated.files;
        }
        Err(error) if error.is_unreadable() => {
            writeln!(
                stderr,
                "protoc-gen-micro: {error}\nit is a plugin, run by protoc or buf: protoc --micro_out=src/gen hello.proto"
            )?;
            return Ok(ExitCode::FAILURE);
        }
        Err(error) => response.error = Some(error.to_string()),
    }
    stdout.write_all(&response.encode_to_vec())?;
    // Encoded messages in a row are one message with the fields of all: the files, which may be large, need not be
    // in memory twice.
    for file in files {
        let file = Response {
            file: vec![ResponseFile {
                name: Some(file.name),
                content: Some(file.content),
            }],
            ..Response::default()
        };
        stdout.write_all(&file.encode_to_vec())?;
    }
    stdout.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn usage() -> String {
    format!(
        "protoc-gen-micro {}: Rust messages and micro services from .proto files\n\n\
         Run by protoc or buf:\n  \
         protoc --micro_out=src/gen hello.proto\n  \
         protoc --micro_out=src/gen --micro_opt=client=false,btree_map=. hello.proto\n\n\
         Parameters:\n{}\n\
         Options:\n  -h, --help     print this\n  -V, --version  print the version\n",
        env!("CARGO_PKG_VERSION"),
        parameters::help()
    )
}
