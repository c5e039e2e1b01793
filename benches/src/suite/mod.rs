//! The measurements.

pub(crate) mod allocations;
pub(crate) mod clients;
pub(crate) mod cpu;
pub(crate) mod events;
pub(crate) mod instructions;
pub(crate) mod json;
pub(crate) mod parallel;
pub(crate) mod pick;

use std::net::SocketAddr;
use std::time::Duration;

use clap::Parser;

use crate::child::{self, Core, Load, ServerProcess, Under};
use crate::load::Client;
use crate::report::Comparison;
use crate::serve::Server;
use crate::{Result, h2load};

/// What drives a server from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Driver {
    /// nghttp2's load generator
    H2load,
    /// Our client
    Ours,
    /// tonic's client
    Tonic,
    /// The bare h2 crate
    H2,
}

/// What a drive showed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Driven {
    pub(crate) elapsed: Duration,
    pub(crate) failed: u64,
}

impl Driver {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Driver::H2load => "h2load",
            Driver::Ours => "our client",
            Driver::Tonic => "tonic's client",
            Driver::H2 => "the bare h2 client",
        }
    }

    pub(crate) fn check(self) -> Result<()> {
        match self {
            Driver::H2load => h2load::check(),
            Driver::Ours | Driver::Tonic | Driver::H2 => Ok(()),
        }
    }

    /// Makes calls, and holds what the load says of them against what the server's handler says.
    pub(crate) fn drive(
        self,
        server: &mut ServerProcess,
        calls: u64,
        in_flight: usize,
        core: Core,
    ) -> Result<Driven> {
        let before = server.read()?.answered;
        let (elapsed, failed, extra) = match self {
            Driver::H2load => {
                let seen = h2load::run(server.address(), calls, in_flight, core)?;
                (seen.elapsed, calls.saturating_sub(seen.succeeded), 0)
            }
            Driver::Ours => by_client(Client::Ours, server.address(), calls, in_flight, core)?,
            Driver::Tonic => by_client(Client::Tonic, server.address(), calls, in_flight, core)?,
            Driver::H2 => by_client(Client::H2, server.address(), calls, in_flight, core)?,
        };
        let answered = server.read()?.answered - before;
        Ok(Driven {
            elapsed,
            failed: failed + answered.abs_diff(calls + extra),
        })
    }
}

/// Elapsed time, failed calls, and the calls that were made beside those asked for.
fn by_client(
    client: Client,
    address: SocketAddr,
    calls: u64,
    in_flight: usize,
    core: Core,
) -> Result<(Duration, u64, u64)> {
    let outcome = child::load(Load {
        client,
        address,
        warm_up: 0,
        calls,
        in_flight,
        count: false,
        core,
        under: Under::Nothing,
    })?;
    Ok((outcome.elapsed, outcome.failed, client.greetings()))
}

/// Makes a few calls whose answers are looked at, which a load generator does not do.
pub(crate) fn check_answers(server: &ServerProcess, core: Core) -> Result<()> {
    let (_, failed, _) = by_client(Client::Tonic, server.address(), 20, 2, core)?;
    if failed > 0 {
        return Err(format!("{failed} of 20 answers were wrong").into());
    }
    Ok(())
}

/// The candidates of a round, each with the name of its row: tonic twice, at both ends, to show the noise.
fn candidates(others: &[Server]) -> Vec<(Server, &'static str)> {
    let mut all = vec![(Server::Tonic, "tonic")];
    all.extend(others.iter().map(|&server| (server, server.name())));
    all.push((Server::Tonic, "tonic again"));
    all
}

/// Prints the tables, and fails if a call did.
fn conclude(tables: &[Comparison]) -> Result<()> {
    for table in tables {
        table.print();
    }
    match tables.iter().map(Comparison::failed).sum::<u64>() {
        0 => Ok(()),
        failed => Err(format!("{failed} calls failed").into()),
    }
}

/// The options of a measurement that are its defaults.
fn defaults<O: clap::Args + Clone>() -> Result<O> {
    #[derive(Parser)]
    struct Only<O: clap::Args> {
        #[command(flatten)]
        options: O,
    }
    Ok(Only::<O>::try_parse_from(["micro-bench"])?.options)
}

/// Everything, with its defaults.
pub(crate) fn all() -> Result<()> {
    allocations::run(&defaults()?)?;
    instructions::run(&defaults()?)?;
    cpu::run(&defaults()?)?;
    cpu::run(&cpu::Options {
        wait: true,
        ..defaults()?
    })?;
    parallel::run(&defaults()?)?;
    clients::run(&defaults()?)?;
    json::run(&defaults()?)?;
    pick::run(&defaults()?)
}

/// Everything for a moment, without h2load and valgrind.
pub(crate) fn smoke() -> Result<()> {
    allocations::run(&allocations::Options { calls: 200 })?;
    instructions::rehearse()?;
    for wait in [false, true] {
        cpu::run(&cpu::Options {
            rounds: 1,
            calls: 500,
            in_flight: 64,
            load: Driver::Tonic,
            wait,
            no_pin: true,
        })?;
    }
    parallel::run(&parallel::Options {
        rounds: 1,
        calls: 128,
        load: Driver::Tonic,
    })?;
    clients::run(&clients::Options {
        rounds: 1,
        calls: 200,
        no_pin: true,
    })?;
    json::smoke()?;
    pick::smoke()?;
    events::smoke()?;
    println!("\nsmoke: every answer was right; the numbers above mean nothing");
    Ok(())
}
