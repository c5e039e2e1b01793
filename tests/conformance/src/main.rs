//! The program that protobuf's conformance suite puts its questions to, one after the other on stdin; the answers go
//! to stdout. `README.md` beside this crate tells how to run it.

#[cfg(has_protos)]
mod answer;
#[cfg(has_protos)]
mod frames;

#[cfg(has_protos)]
fn main() -> std::io::Result<()> {
    frames::serve(std::io::stdin().lock(), std::io::stdout().lock())
}

#[cfg(not(has_protos))]
fn main() -> std::process::ExitCode {
    eprintln!(
        "built without the suite's messages: set MICRO_CONFORMANCE_PROTOS to the folder that holds \
         conformance/conformance.proto, and build again"
    );
    std::process::ExitCode::from(2)
}
