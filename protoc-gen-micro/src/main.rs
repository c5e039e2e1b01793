//! The protoc plugin `protoc-gen-micro`.

use std::io;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = std::env::args_os().skip(1);
    protoc_gen_micro::run_plugin(
        arguments,
        &mut io::stdin().lock(),
        &mut io::stdout().lock(),
        &mut io::stderr(),
    )
}
