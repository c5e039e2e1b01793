//! The clients, against the same servers.

use crate::Result;
use crate::child::{self, Cores, Load, ServerProcess, Setup, Under};
use crate::load::Client;
use crate::report::{Comparison, Metric};
use crate::serve::Server;

/// How it is measured.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Rounds; every client is measured in each
    #[arg(long, default_value_t = 3)]
    pub(crate) rounds: usize,
    /// Calls in each measurement with 64 in flight, after a tenth of them to warm up; a quarter with one
    #[arg(long, default_value_t = 100_000)]
    pub(crate) calls: u64,
    /// Leaves the choice of cores to the system
    #[arg(long)]
    pub(crate) no_pin: bool,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let cores = if options.no_pin {
        Cores::default()
    } else {
        Cores::apart()
    };
    let mut tables = Vec::new();
    for server in [Server::Tonic, Server::Ours] {
        for in_flight in [1, 64] {
            let calls = if in_flight == 1 {
                options.calls / 4
            } else {
                options.calls
            };
            let mut table = Comparison::new(
                format!(
                    "Clients, {in_flight} in flight on one connection to the server {:?}, {calls} calls",
                    server.name()
                ),
                &[Metric("calls/s", 0), Metric("client CPU µs/call", 2)],
            );
            for _ in 0..options.rounds.max(1) {
                for (client, row) in [
                    (Client::Tonic, "tonic"),
                    (Client::Ours, "ours"),
                    (Client::H2, "h2"),
                    (Client::Tonic, "tonic again"),
                ] {
                    let process = ServerProcess::start(Setup {
                        server,
                        workers: 1,
                        spin: 0,
                        wait: false,
                        core: cores.server,
                        under: Under::Nothing,
                    })?;
                    let seen = child::load(Load {
                        client,
                        address: process.address(),
                        warm_up: calls / 10,
                        calls,
                        in_flight,
                        count: false,
                        core: cores.load,
                        under: Under::Nothing,
                    })?;
                    let cpu = seen.cpu.as_secs_f64() * 1e6 / seen.calls as f64;
                    table.add(row, vec![seen.per_second(), cpu], seen.failed);
                    process.stop()?;
                }
            }
            tables.push(table);
        }
    }
    super::conclude(&tables)
}
