//! The command line.

use clap::{Parser, Subcommand};

use crate::{Result, load, report, serve, suite};

#[derive(Debug, Parser)]
#[command(
    name = "micro-bench",
    about = "Measures micro against tonic and the bare h2 crate"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs a server on 127.0.0.1 until interrupted
    Serve(serve::Options),
    /// Makes calls to a server, and prints one line about them
    Load(load::Options),
    /// Runs a server and its own client in this process, and prints one line
    #[command(hide = true)]
    Pair(suite::allocations::Pair),
    /// Counts allocations per unary call
    Allocations(suite::allocations::Options),
    /// Counts instructions per call with callgrind, as the difference of two numbers of calls
    Instructions(suite::instructions::Options),
    /// Measures the server's processor time per call
    Cpu(suite::cpu::Options),
    /// Measures calls that need a millisecond of processor time each, on two workers
    Parallel(suite::parallel::Options),
    /// Measures the clients
    Clients(suite::clients::Options),
    /// Measures JSON against serde_json with hand-written structs
    Json(suite::json::Options),
    /// Measures picks of a node, and updates, beside tower::balance
    Pick(suite::pick::Options),
    /// Measures events that are published and consumed, beside the library of the broker used bare
    Events(suite::events::Options),
    /// Reads and writes every JSON once
    #[command(hide = true)]
    JsonOnce(suite::json::Once),
    /// Runs every measurement with its defaults
    All,
    /// Runs every measurement for a moment, to see that it works and that the answers are right
    Smoke,
}

pub(crate) fn run() -> Result<()> {
    let command = Arguments::parse().command;
    match &command {
        Command::Serve(options) => return serve::run(options),
        Command::Load(options) => return load::run(options),
        Command::Pair(options) => return suite::allocations::pair(options),
        Command::JsonOnce(options) => return suite::json::once(options),
        _ => report::header(),
    }
    match &command {
        Command::Allocations(options) => suite::allocations::run(options),
        Command::Instructions(options) => suite::instructions::run(options),
        Command::Cpu(options) => suite::cpu::run(options),
        Command::Parallel(options) => suite::parallel::run(options),
        Command::Clients(options) => suite::clients::run(options),
        Command::Json(options) => suite::json::run(options),
        Command::Pick(options) => suite::pick::run(options),
        Command::Events(options) => suite::events::run(options),
        Command::All => suite::all(),
        Command::Smoke => suite::smoke(),
        Command::Serve(_) | Command::Load(_) | Command::Pair(_) | Command::JsonOnce(_) => Ok(()),
    }
}
