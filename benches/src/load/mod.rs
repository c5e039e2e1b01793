//! The clients, and the process that drives one of them.

mod bare_h2;
mod ours;
mod theirs;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::allocator::{self, Allocated};
use crate::greeting::ANSWER;
use crate::{Result, usage};

/// Who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Client {
    /// micro-runtime.
    Ours,
    /// tonic.
    Tonic,
    /// The bare `h2` crate, from the caller's task.
    H2,
}

impl Client {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Client::Ours => "ours",
            Client::Tonic => "tonic",
            Client::H2 => "h2",
        }
    }

    /// Calls that it makes before those asked for, to connect.
    pub(crate) fn greetings(self) -> u64 {
        match self {
            Client::Ours => 1,
            Client::Tonic | Client::H2 => 0,
        }
    }
}

/// What a client is to do.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Who calls
    pub(crate) client: Client,
    /// The server's address
    #[arg(long)]
    pub(crate) address: SocketAddr,
    /// Calls that are measured
    #[arg(long, default_value_t = 100_000)]
    pub(crate) calls: u64,
    /// Calls before them
    #[arg(long, default_value_t = 1_000)]
    pub(crate) warm_up: u64,
    /// Calls at once, on one connection
    #[arg(long, default_value_t = 64)]
    pub(crate) in_flight: usize,
    /// Also counts allocations
    #[arg(long)]
    pub(crate) count: bool,
}

/// What a client saw.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) calls: u64,
    /// Those that gave an error or a wrong answer.
    pub(crate) failed: u64,
    pub(crate) elapsed: Duration,
    pub(crate) cpu: Duration,
    pub(crate) allocated: Allocated,
}

impl Outcome {
    pub(crate) fn per_second(&self) -> f64 {
        self.calls as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    /// As one line, for the parent process.
    pub(crate) fn to_line(self) -> String {
        format!(
            "calls={} failed={} elapsed_us={} cpu_us={} allocations={} bytes={}",
            self.calls,
            self.failed,
            self.elapsed.as_micros(),
            self.cpu.as_micros(),
            self.allocated.allocations,
            self.allocated.bytes
        )
    }

    pub(crate) fn from_line(line: &str) -> Result<Outcome> {
        let field = |name| crate::child::field(line, name);
        Ok(Outcome {
            calls: field("calls")?,
            failed: field("failed")?,
            elapsed: Duration::from_micros(field("elapsed_us")?),
            cpu: Duration::from_micros(field("cpu_us")?),
            allocated: Allocated {
                allocations: field("allocations")?,
                bytes: field("bytes")?,
            },
        })
    }
}

/// One caller of several on the same connection.
pub(crate) trait Caller: Clone + Send + 'static {
    /// Greets, and returns the answer.
    fn ping(&mut self) -> impl Future<Output = Result<String>> + Send;
}

/// The whole of a client process.
pub(crate) fn run(options: &Options) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let options = options.clone();
    // In a task: the main thread is no worker.
    let outcome = runtime.block_on(async { tokio::spawn(drive(options)).await? })?;
    println!("{}", outcome.to_line());
    Ok(())
}

/// Warms up, then measures.
pub(crate) async fn drive(options: Options) -> Result<Outcome> {
    match options.client {
        Client::Ours => measure(ours::connect(options.address).await?, &options).await,
        Client::Tonic => measure(theirs::connect(options.address).await?, &options).await,
        Client::H2 => measure(bare_h2::connect(options.address).await?, &options).await,
    }
}

async fn measure(caller: impl Caller, options: &Options) -> Result<Outcome> {
    let failed = call(&caller, options.warm_up, options.in_flight).await?;
    if failed > 0 {
        return Err(format!(
            "{failed} of {} calls failed in the warm-up",
            options.warm_up
        )
        .into());
    }
    if options.count {
        allocator::start();
    }
    let before = usage::cpu_of(std::process::id()).unwrap_or_default();
    let began = Instant::now();
    let failed = call(&caller, options.calls, options.in_flight).await?;
    let elapsed = began.elapsed();
    let after = usage::cpu_of(std::process::id()).unwrap_or_default();
    Ok(Outcome {
        calls: options.calls,
        failed,
        elapsed,
        cpu: after.saturating_sub(before),
        allocated: allocator::read(),
    })
}

/// Makes calls, `in_flight` at a time; returns how many failed.
async fn call(caller: &impl Caller, calls: u64, in_flight: usize) -> Result<u64> {
    let begun = Arc::new(AtomicU64::new(0));
    let tasks: Vec<_> = (0..in_flight.max(1))
        .map(|_| {
            let mut caller = caller.clone();
            let begun = Arc::clone(&begun);
            tokio::spawn(async move {
                let mut failed = 0;
                while begun.fetch_add(1, Ordering::Relaxed) < calls {
                    match caller.ping().await {
                        Ok(answer) if answer == ANSWER => {}
                        Ok(answer) => {
                            report(failed, &format!("expected {ANSWER:?}, found {answer:?}"));
                            failed += 1;
                        }
                        Err(error) => {
                            report(failed, &error.to_string());
                            failed += 1;
                        }
                    }
                }
                failed
            })
        })
        .collect();
    let mut failed = 0;
    for task in tasks {
        failed += task.await?;
    }
    Ok(failed)
}

/// Says what went wrong, the first time: a thousand more of the same help nobody.
fn report(before: u64, what: &str) {
    if before == 0 {
        eprintln!("a call failed: {what}");
    }
}
