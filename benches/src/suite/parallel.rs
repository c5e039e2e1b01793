//! Calls that need the processor, all on one connection: they must not wait for each other.

use std::time::Duration;

use crate::Result;
use crate::child::{ServerProcess, Setup, Under};
use crate::greeting::steps_of;
use crate::report::{Comparison, Metric};
use crate::serve::Server;

use super::Driver;

/// How it is measured.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Rounds; every server is measured in each
    #[arg(long, default_value_t = 5)]
    pub(crate) rounds: usize,
    /// Calls in each measurement
    #[arg(long, default_value_t = 4_000)]
    pub(crate) calls: u64,
    /// What makes the calls, beside each server's own client
    #[arg(long, default_value = "h2load")]
    pub(crate) load: Driver,
}

const WORK: Duration = Duration::from_millis(1);
const IN_FLIGHT: usize = 64;
const WORKERS: usize = 2;

pub(crate) fn run(options: &Options) -> Result<()> {
    options.load.check()?;
    let spin = steps_of(WORK);
    let load = options.load.name();
    let title = |load| {
        format!(
            "{IN_FLIGHT} calls of {WORK:?} of CPU in flight on one connection from {load}, {WORKERS} workers"
        )
    };
    let metric = [Metric("calls/s", 0)];
    let mut outside = Comparison::new(title(load), &metric);
    let mut own = Comparison::new(title("the server's own client"), &metric);
    let mut first = Comparison::new(
        format!("The first {IN_FLIGHT} such calls of a new server, from {load}"),
        &[Metric("ms", 1)],
    );
    for _ in 0..options.rounds.max(1) {
        for (server, row) in super::candidates(&[Server::Ours]) {
            let client = match server {
                Server::Ours => Driver::Ours,
                Server::Tonic | Server::H2 => Driver::Tonic,
            };
            let mut server = ServerProcess::start(Setup {
                server,
                workers: WORKERS,
                spin,
                wait: false,
                core: None,
                under: Under::Nothing,
            })?;
            let drive = |server: &mut ServerProcess, driver: Driver, calls| {
                driver.drive(server, calls, IN_FLIGHT, None)
            };
            let cold = drive(&mut server, options.load, IN_FLIGHT as u64)?;
            first.add(row, vec![cold.elapsed.as_secs_f64() * 1e3], cold.failed);
            super::check_answers(&server, None)?;
            for (table, driver) in [(&mut outside, options.load), (&mut own, client)] {
                let driven = drive(&mut server, driver, options.calls)?;
                let per_second = options.calls as f64 / driven.elapsed.as_secs_f64();
                table.add(row, vec![per_second], driven.failed);
            }
            server.stop()?;
        }
    }
    super::conclude(&[outside, own, first])
}
