//! Measures micro against tonic and the bare `h2` crate: the same proto, profile, machine and run.
//!
//! `README.md` says how to run each part and how to read what it prints.

mod allocator;
mod child;
mod cli;
mod greeting;
mod h2load;
mod load;
mod proto;
mod report;
mod serve;
mod suite;
mod usage;

/// Whatever went wrong: a measurement that cannot be trusted is not printed.
type Error = Box<dyn std::error::Error + Send + Sync>;
type Result<T, E = Error> = std::result::Result<T, E>;

#[global_allocator]
static ALLOCATOR: allocator::Counting = allocator::Counting;

fn main() -> std::process::ExitCode {
    match cli::run() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("micro-bench: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}
