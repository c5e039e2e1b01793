//! The servers, and the process that runs one of them.

mod bare_h2;
mod ours;
mod theirs;

pub(crate) use bare_h2::frame;

use std::io::{BufRead, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use crate::greeting::Greeter;
use crate::{Result, allocator};

/// Who serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Server {
    /// micro-runtime.
    Ours,
    /// tonic.
    Tonic,
    /// The bare `h2` crate, requests answered in their connection's task: the floor under all that uses it.
    H2,
}

impl Server {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Server::Ours => "ours",
            Server::Tonic => "tonic",
            Server::H2 => "h2",
        }
    }
}

/// How a server is to run.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Who serves
    pub(crate) server: Server,
    /// Port on 127.0.0.1; 0 takes a free one, which is printed
    #[arg(long, default_value_t = 0)]
    pub(crate) port: u16,
    /// Worker threads
    #[arg(long, default_value_t = 1)]
    pub(crate) workers: usize,
    /// Steps of arithmetic that each call burns
    #[arg(long, default_value_t = 0)]
    pub(crate) spin: u64,
    /// Lets each call wait once, as for an answer from elsewhere: it cannot be done where it was read
    #[arg(long)]
    pub(crate) wait: bool,
    /// Raises our server's bounds of time so far that they do not count: a profiler runs everything fifty times slower
    #[arg(long)]
    pub(crate) patient: bool,
    /// Obeys lines on standard input, and ends with it: for a parent process
    #[arg(long, hide = true)]
    pub(crate) controlled: bool,
}

/// A listener on the loopback interface.
pub(crate) fn listen(port: u16) -> Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// Serves until the future is dropped or fails.
pub(crate) async fn serve(
    server: Server,
    listener: TcpListener,
    greeter: Greeter,
    patient: bool,
) -> Result<()> {
    match server {
        Server::Ours => ours::serve(listener, greeter, patient).await,
        Server::Tonic => theirs::serve(listener, greeter).await,
        Server::H2 => bare_h2::serve(listener, greeter).await,
    }
}

/// The whole of a server process.
pub(crate) fn run(options: &Options) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(options.workers.max(1))
        .enable_all()
        .build()?;
    let (listener, address) = listen(options.port)?;
    let greeter = Greeter::new(options.spin, options.wait);
    println!("listening {address}");
    std::io::stdout().flush()?;
    // In a task, so that the workers do everything and the main thread only waits.
    let serving = runtime.spawn(serve(
        options.server,
        listener,
        greeter.clone(),
        options.patient,
    ));
    if options.controlled {
        std::thread::spawn(move || obey(&greeter));
    }
    runtime.block_on(async {
        tokio::select! {
            served = serving => served?,
            _ = tokio::signal::ctrl_c() => Ok(()),
        }
    })
}

/// Answers the parent's questions until it closes the pipe.
fn obey(greeter: &Greeter) {
    let mut line = String::new();
    let mut input = std::io::stdin().lock();
    while matches!(input.read_line(&mut line), Ok(1..)) {
        if line.trim() == "count" {
            allocator::start();
        }
        let allocated = allocator::read();
        println!(
            "answered={} allocations={} bytes={}",
            greeter.answered(),
            allocated.allocations,
            allocated.bytes
        );
        if std::io::stdout().flush().is_err() {
            break;
        }
        line.clear();
    }
    std::process::exit(0);
}
