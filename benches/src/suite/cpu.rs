//! The server's processor time per call.

use crate::Result;
use crate::child::{Cores, ServerProcess, Setup, Under};
use crate::report::{Comparison, Metric};
use crate::serve::Server;

use super::Driver;

/// How it is measured.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Rounds; every server is measured in each
    #[arg(long, default_value_t = 5)]
    pub(crate) rounds: usize,
    /// Calls in each measurement, after a tenth of them to warm up
    #[arg(long, default_value_t = 200_000)]
    pub(crate) calls: u64,
    /// Calls at once, on one connection
    #[arg(long, default_value_t = 64)]
    pub(crate) in_flight: usize,
    /// What makes the calls
    #[arg(long, default_value = "h2load")]
    pub(crate) load: Driver,
    /// Lets each call wait once in its handler
    #[arg(long)]
    pub(crate) wait: bool,
    /// Leaves the choice of cores to the system
    #[arg(long)]
    pub(crate) no_pin: bool,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    options.load.check()?;
    let cores = if options.no_pin {
        Cores::default()
    } else {
        Cores::apart()
    };
    let mut table = Comparison::new(
        format!(
            "Server on one worker, {} in flight on one connection from {}, {} calls{}",
            options.in_flight,
            options.load.name(),
            options.calls,
            if options.wait {
                ", each waits once"
            } else {
                ""
            }
        ),
        &[Metric("server CPU µs/call", 2), Metric("calls/s", 0)],
    );
    for _ in 0..options.rounds.max(1) {
        for (server, row) in super::candidates(&[Server::Ours, Server::H2]) {
            let mut server = ServerProcess::start(Setup {
                server,
                workers: 1,
                spin: 0,
                wait: options.wait,
                core: cores.server,
                under: Under::Nothing,
            })?;
            super::check_answers(&server, cores.load)?;
            let drive = |server: &mut ServerProcess, calls| {
                options
                    .load
                    .drive(server, calls, options.in_flight, cores.load)
            };
            let warm = drive(&mut server, options.calls / 10)?;
            let before = server.cpu()?;
            let driven = drive(&mut server, options.calls)?;
            let cpu = server.cpu()?.saturating_sub(before);
            let calls = options.calls as f64;
            table.add(
                row,
                vec![
                    cpu.as_secs_f64() * 1e6 / calls,
                    calls / driven.elapsed.as_secs_f64(),
                ],
                warm.failed + driven.failed,
            );
            server.stop()?;
        }
    }
    super::conclude(&[table])
}
