//! The kill test: no acknowledged event is lost, whatever is killed.
//!
//! A producer publishes 1, 2, 3 … and notes what is acknowledged; three consumers of one queue note what they
//! were handed, and then acknowledge it. Meanwhile one of them, or the broker, is killed (SIGKILL) every second
//! or two, and started again. In the end all that was acknowledged has to be handed out.
//!
//! | file | rows |
//! |---|---|
//! | `row.rs` | `kills NAME`: at least once, nothing may be lost; `kills, named members: kafka`: the same with consumers that come back under their names; `control NAME`: at most once, and something has to be; `self …`: a broker that forgets is found out |
//! | `memory.rs` | `memory NAME`: a flood of events against a handler that sleeps, of the brokers without a server too |
//! | `judge.rs` | what the logs say |
//!
//! Words on the command line choose the rows whose names contain one of them. `--seed S` repeats the choices of
//! a run, which prints its seed; `--seconds N` kills for so long instead of 40 s; `--slow` runs every row with
//! several seeds for longer, and floods of 1,000,000 events. The servers are those of `MICRO_SERVERS`.

mod judge;
mod memory;
mod row;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use micro_tests::brokers::Served;
use micro_tests::servers::Program;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// The brokers that deliver at least once.
const ALL: [&str; 4] = ["kafka", "nats", "rabbitmq", "redis"];

/// The longest that a row may take, beside the time in which it kills, or floods.
const LIMIT: Duration = Duration::from_secs(300);

/// How many rows run at a time: their processes mostly wait.
const AT_ONCE: usize = 2;

/// How a run was asked for.
#[derive(Clone, Copy, Debug)]
struct Ask {
    seed: u64,
    /// How long a row kills.
    seconds: u64,
    /// How many events a flood has.
    flood: usize,
}

/// A row: its name, and what it is.
struct Row {
    name: String,
    ask: Ask,
    what: What,
}

enum What {
    Kills(row::Kind, &'static str),
    Memory(&'static str, &'static str),
    PushBack(&'static str, &'static str),
}

// ===== impl Row =====

impl Row {
    async fn run(self) -> Result<String, String> {
        match self.what {
            What::Kills(kind, broker) => row::run(kind, broker, self.ask).await,
            What::Memory(broker, level) => memory::run(broker, level, self.ask.flood).await,
            What::PushBack(broker, level) => memory::push_back(broker, level, self.ask.flood).await,
        }
    }

    /// How long it may take.
    fn limit(&self) -> Duration {
        match self.what {
            What::Kills(..) => LIMIT + Duration::from_secs(self.ask.seconds),
            What::Memory(..) | What::PushBack(..) => LIMIT + memory::limit(self.ask.flood),
        }
    }
}

/// The rows, in order: those that take longest first.
fn rows(ask: Ask, slow: bool) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut kills = |kind: row::Kind, broker: &'static str, ask: Ask| {
        let name = format!("{} {broker}", kind.word());
        rows.push(Row {
            name,
            ask,
            what: What::Kills(kind, broker),
        });
    };
    let seeds = if slow { 3 } else { 1 };
    for more in 0..seeds {
        let seed = ask.seed + more;
        for broker in ALL {
            kills(row::Kind::Kept, broker, Ask { seed, ..ask });
        }
    }
    let short = Ask {
        seconds: (ask.seconds / 3).max(8),
        ..ask
    };
    kills(row::Kind::Named, "kafka", short);
    for broker in ALL {
        kills(row::Kind::Control, broker, short);
    }
    kills(row::Kind::Kept, "small", short);
    kills(row::Kind::Forgets, "small", short);
    for broker in ALL {
        for level in ["least", "most"] {
            rows.push(Row {
                name: format!("memory {broker} at {level} once"),
                ask,
                what: What::Memory(broker, level),
            });
        }
    }
    for (broker, level) in [("http", "most"), ("memory", "least")] {
        rows.push(Row {
            name: format!("memory {broker} at {level} once"),
            ask,
            what: What::PushBack(broker, level),
        });
    }
    rows
}

/// The server of a broker; with `forgets` one that keeps nothing over a crash.
async fn serve(broker: &str, forgets: bool) -> Result<Served, String> {
    if broker == "small" {
        let program = env!("CARGO_BIN_EXE_micro-tests-events").into();
        return Ok(Served::small(program, forgets).await);
    }
    Served::start(broker)
        .await
        .map_err(|error| error.to_string())
}

/// A process of this role, to be started.
fn events(role: &str, served: &Served) -> Program {
    Program::at(env!("CARGO_BIN_EXE_micro-tests-events"))
        .arg(role)
        .arg(format!("broker={}", served.name))
        .arg(format!("address={}", served.address))
}

/// The value behind a flag.
fn value(words: &mut Vec<String>, flag: &str) -> Result<Option<u64>, String> {
    let Some(place) = words.iter().position(|word| word == flag) else {
        return Ok(None);
    };
    words.remove(place);
    if place >= words.len() {
        return Err(format!("expected a number behind {flag}, found nothing"));
    }
    let text = words.remove(place);
    let number = text.parse();
    number
        .map(Some)
        .map_err(|error| format!("expected a number behind {flag}, found {text:?}: {error}"))
}

fn asked(words: &mut Vec<String>) -> Result<(Ask, bool), String> {
    let seed = value(words, "--seed")?;
    let seconds = value(words, "--seconds")?;
    let slow = words.iter().any(|word| word == "--slow");
    words.retain(|word| !matches!(&**word, "--slow" | "--nocapture"));
    if let Some(flag) = words.iter().find(|word| word.starts_with("--")) {
        return Err(format!(
            "expected --seed, --seconds, --slow or words of rows, found {flag:?}"
        ));
    }
    let ask = Ask {
        seed: seed.unwrap_or_else(|| fastrand::u64(..1_000_000_000)),
        seconds: seconds.unwrap_or(if slow { 120 } else { 40 }),
        flood: if slow { 1_000_000 } else { 100_000 },
    };
    Ok((ask, slow))
}

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let (ask, slow) = match asked(&mut words) {
        Ok(asked) => asked,
        Err(error) => {
            println!("kills: {error}");
            return ExitCode::FAILURE;
        }
    };
    println!("seed {}", ask.seed);
    let room = Arc::new(Semaphore::new(AT_ONCE));
    let mut running = JoinSet::new();
    for row in rows(ask, slow) {
        if !words.is_empty() && !words.iter().any(|word| row.name.contains(word.as_str())) {
            continue;
        }
        // The semaphore is never closed. It is fair: rows begin in order.
        let permit = Arc::clone(&room).acquire_owned().await;
        running.spawn(async move {
            let _permit = permit;
            let begun = Instant::now();
            let (name, seed) = (row.name.clone(), row.ask.seed);
            let limit = row.limit();
            // A task of its own: a panic in it is a row that failed.
            let task = tokio::spawn(tokio::time::timeout(limit, row.run()));
            let result = match task.await {
                Ok(Ok(result)) => result,
                Ok(Err(_)) => Err(format!("did not end within {limit:?}")),
                Err(error) => Err(error.to_string()),
            };
            let took = begun.elapsed();
            match &result {
                Ok(figures) => println!("{name}: {figures}; held, {took:.0?}"),
                Err(error) => println!("{name}: FAILED, seed {seed}, {took:.0?}: {error}"),
            }
            (name, result.is_ok())
        });
    }
    let ended = running.join_all().await;
    let failed: Vec<_> = ended
        .iter()
        .filter(|(_, held)| !held)
        .map(|(name, _)| name.as_str())
        .collect();
    println!(
        "kills: {} rows held, {} failed",
        ended.len() - failed.len(),
        failed.len()
    );
    if failed.is_empty() && !ended.is_empty() {
        ExitCode::SUCCESS
    } else {
        println!("kills failed: {}", failed.join(", "));
        ExitCode::FAILURE
    }
}
