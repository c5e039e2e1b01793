//! Instructions per call in user space, by callgrind: they repeat to half a percent on any machine.

use std::fs;
use std::path::{Path, PathBuf};

use crate::Result;
use crate::child::{self, Load, ServerProcess, Setup, Under};
use crate::load::Client;
use crate::report::{Comparison, Metric};
use crate::serve::Server;

use super::Driver;

/// How it is measured.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Calls of the first run; the second makes ten thousand more
    #[arg(long, default_value_t = 2_000)]
    pub(crate) calls: u64,
    /// Calls at once, on one connection
    #[arg(long, default_value_t = 64)]
    pub(crate) in_flight: usize,
    /// What makes the calls to the servers
    #[arg(long, default_value = "h2load")]
    pub(crate) load: Driver,
    /// A folder to keep the profiles in, for callgrind_annotate
    #[arg(long)]
    pub(crate) keep: Option<PathBuf>,
}

/// How many calls the second run makes more than the first.
const MORE: u64 = 10_000;

pub(crate) fn run(options: &Options) -> Result<()> {
    options.load.check()?;
    if !child::is_there("valgrind") {
        return Err(
            "expected valgrind, found no such program: install Debian's package valgrind".into(),
        );
    }
    let scratch;
    let folder = match &options.keep {
        Some(folder) => folder,
        None => {
            scratch = std::env::temp_dir().join(format!("micro-bench-{}", std::process::id()));
            &scratch
        }
    };
    fs::create_dir_all(folder)?;
    let measured = measure(options, folder);
    if options.keep.is_none() {
        fs::remove_dir_all(folder)?;
    }
    super::conclude(&measured?)
}

/// Makes the calls of a measurement, a few of them, without a profiler.
pub(crate) fn rehearse() -> Result<()> {
    let metric = [Metric("answered", 0)];
    let mut table = Comparison::new("Instructions: a rehearsal, without valgrind", &metric);
    let calls = 200;
    for server in [Server::Tonic, Server::Ours, Server::H2] {
        let mut process = start(server, Under::Rehearsal)?;
        super::check_answers(&process, None)?;
        let driven = Driver::Tonic.drive(&mut process, calls, 64, None)?;
        let answered = process.read()?.answered;
        table.add(server.name(), vec![answered as f64], driven.failed);
        process.stop()?;
    }
    super::conclude(&[table])
}

fn measure(options: &Options, folder: &Path) -> Result<[Comparison; 2]> {
    let metric = [Metric("instructions/call", 0)];
    let mut servers = Comparison::new(
        format!(
            "Instructions of the server, {} in flight on one connection from {}",
            options.in_flight,
            options.load.name()
        ),
        &metric,
    );
    let row = |first: u64, second: u64| vec![second.saturating_sub(first) as f64 / MORE as f64];
    for server in [Server::Tonic, Server::Ours, Server::H2] {
        let run = |calls: u64| {
            let file = folder.join(format!("server-{}-{calls}.callgrind", server.name()));
            of_server(server, calls, options, &file)
        };
        let (first, failed_first) = run(options.calls)?;
        let (second, failed_second) = run(options.calls + MORE)?;
        let failed = failed_first + failed_second;
        servers.add(server.name(), row(first, second), failed);
    }

    let mut clients = Comparison::new(
        format!(
            "Instructions of the client, {} in flight on one connection to tonic's server",
            options.in_flight
        ),
        &metric,
    );
    for client in [Client::Tonic, Client::Ours, Client::H2] {
        let run = |calls: u64| {
            let file = folder.join(format!("client-{}-{calls}.callgrind", client.name()));
            of_client(client, calls, options, &file)
        };
        let (first, failed_first) = run(options.calls)?;
        let (second, failed_second) = run(options.calls + MORE)?;
        let failed = failed_first + failed_second;
        clients.add(client.name(), row(first, second), failed);
    }
    Ok([servers, clients])
}

fn start(server: Server, under: Under<'_>) -> Result<ServerProcess> {
    ServerProcess::start(Setup {
        server,
        workers: 1,
        spin: 0,
        wait: false,
        core: None,
        under,
    })
}

fn of_server(server: Server, calls: u64, options: &Options, file: &Path) -> Result<(u64, u64)> {
    let mut server = start(server, Under::Callgrind(file))?;
    super::check_answers(&server, None)?;
    let driven = options
        .load
        .drive(&mut server, calls, options.in_flight, None)?;
    server.stop()?;
    Ok((total(file)?, driven.failed))
}

fn of_client(client: Client, calls: u64, options: &Options, file: &Path) -> Result<(u64, u64)> {
    let server = start(Server::Tonic, Under::Nothing)?;
    let seen = child::load(Load {
        client,
        address: server.address(),
        warm_up: 0,
        calls,
        in_flight: options.in_flight,
        count: false,
        core: None,
        under: Under::Callgrind(file),
    })?;
    server.stop()?;
    Ok((total(file)?, seen.failed))
}

/// The instructions that a profile holds.
pub(super) fn total(file: &Path) -> Result<u64> {
    let text = fs::read_to_string(file)
        .map_err(|error| format!("{} cannot be read: {error}", file.display()))?;
    parse(&text).ok_or_else(|| format!("expected a line totals: in {}", file.display()).into())
}

fn parse(profile: &str) -> Option<u64> {
    // Written when the program ends, at the end of the file.
    let line = profile
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("totals:"))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_of_a_profile_is_found() {
        assert_eq!(
            parse("events: Ir\nfn=(1) a\n1 2\ntotals: 123456\n"),
            Some(123_456)
        );
        assert_eq!(parse("events: Ir\n"), None);
    }
}
