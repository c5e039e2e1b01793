//! Allocations per unary call.

use crate::child::{self, Load, ServerProcess, Setup, Under};
use crate::greeting::Greeter;
use crate::load::{self, Client};
use crate::report::{Comparison, Metric};
use crate::serve::{self, Server};
use crate::{Error, Result};

/// How it is measured.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Calls that are counted, after a tenth of them to warm up
    #[arg(long, default_value_t = 10_000)]
    pub(crate) calls: u64,
}

/// A client and its server in one process.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Pair {
    server: Server,
    #[arg(long)]
    calls: u64,
    #[arg(long)]
    in_flight: usize,
}

const METRICS: [Metric; 2] = [Metric("allocations/call", 1), Metric("bytes/call", 0)];

pub(crate) fn run(options: &Options) -> Result<()> {
    let mut tables = Vec::new();
    for in_flight in [1, 64] {
        let title = format!("Allocations, client + server, {in_flight} in flight");
        let mut table = Comparison::new(title, &METRICS);
        for server in [Server::Tonic, Server::Ours, Server::H2] {
            let seen = child::pair(server, options.calls, in_flight)?;
            table.add(server.name(), per_call(&seen), seen.failed);
        }
        tables.push(table);

        let mut servers = Comparison::new(
            format!("Allocations, the server alone, {in_flight} in flight from tonic's client"),
            &METRICS,
        );
        for server in [Server::Tonic, Server::Ours, Server::H2] {
            let (numbers, failed) = of_server(server, options.calls, in_flight)?;
            servers.add(server.name(), numbers, failed);
        }
        tables.push(servers);

        let mut clients = Comparison::new(
            format!("Allocations, the client alone, {in_flight} in flight to tonic's server"),
            &METRICS,
        );
        for client in [Client::Tonic, Client::Ours, Client::H2] {
            let server = start(Server::Tonic)?;
            let seen = child::load(Load {
                client,
                address: server.address(),
                warm_up: options.calls / 10,
                calls: options.calls,
                in_flight,
                count: true,
                core: None,
                under: Under::Nothing,
            })?;
            clients.add(client.name(), per_call(&seen), seen.failed);
        }
        tables.push(clients);
    }
    super::conclude(&tables)
}

fn start(server: Server) -> Result<ServerProcess> {
    ServerProcess::start(Setup {
        server,
        workers: 1,
        spin: 0,
        wait: false,
        core: None,
        under: Under::Nothing,
    })
}

/// What a server allocates between two looks at its counters, warm both times.
fn of_server(server: Server, calls: u64, in_flight: usize) -> Result<(Vec<f64>, u64)> {
    let mut server = start(server)?;
    let address = server.address();
    let load = |calls| {
        child::load(Load {
            client: Client::Tonic,
            address,
            warm_up: 0,
            calls,
            in_flight,
            count: false,
            core: None,
            under: Under::Nothing,
        })
    };
    let warm = load(calls / 10)?;
    let before = server.count()?.answered;
    let seen = load(calls)?;
    let after = server.read()?;
    let answered = (after.answered - before) as f64;
    let numbers = vec![
        after.allocations as f64 / answered,
        after.bytes as f64 / answered,
    ];
    Ok((numbers, warm.failed + seen.failed))
}

fn per_call(seen: &load::Outcome) -> Vec<f64> {
    let calls = seen.calls as f64;
    vec![
        seen.allocated.allocations as f64 / calls,
        seen.allocated.bytes as f64 / calls,
    ]
}

/// The whole of a process that holds both ends.
pub(crate) fn pair(options: &Pair) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let (listener, address) = serve::listen(0)?;
    let server = options.server;
    let client = match server {
        Server::Ours => Client::Ours,
        Server::Tonic => Client::Tonic,
        Server::H2 => Client::H2,
    };
    let load = load::Options {
        client,
        address,
        calls: options.calls,
        warm_up: options.calls / 10,
        in_flight: options.in_flight,
        count: true,
    };
    let outcome = runtime.block_on(async {
        let serving = tokio::spawn(serve::serve(
            server,
            listener,
            Greeter::new(0, false),
            false,
        ));
        let driving = tokio::spawn(load::drive(load));
        tokio::select! {
            served = serving => match served? {
                Ok(()) => Err(Error::from("the server ended early")),
                Err(error) => Err(error),
            },
            driven = driving => driven?,
        }
    })?;
    println!("{}", outcome.to_line());
    Ok(())
}
