//! A flood of events against a handler that sleeps: the subscriber's memory stays bounded.
//!
//! A server keeps the events meanwhile. Brokers without one push the publisher back: there the handlers sleep until
//! it stands still, and then a millisecond for each event, and both ends are in the process that is measured.

use std::time::Duration;

use micro_tests::servers::{Program, Ready, Server};
use tokio::time::{Instant, sleep};

use crate::{events, serve};

/// How much more than idle the subscriber may take.
const BOUND: u64 = 64 << 20;

/// How many events the subscriber handles at once.
const CONCURRENCY: usize = 16;

/// How many publishes are under way at once.
const PUBLISHING: usize = 256;

/// How long a flood may take: so long, and a second more for so many events.
const LIMIT: Duration = Duration::from_secs(120);
const PACE: usize = 800;

/// How many events may be published before handlers get on, of a broker that pushes publishers back: those of one
/// of its queues (1,024).
const AHEAD: usize = 1024;

/// The same where publishers are pushed back: more than may wait there.
const IN_FLIGHT: usize = 2 * AHEAD;

/// How long the memory is watched when all is published.
const AFTER: Duration = Duration::from_secs(1);

pub(crate) async fn run(broker: &str, level: &str, count: usize) -> Result<String, String> {
    let served = serve(broker, false).await?;
    let shared = [format!("topic=flood.{level}"), format!("level={level}")];
    let sleeper = events("sleeper", &served)
        .args(shared.clone())
        .arg(format!("concurrency={CONCURRENCY}"))
        .start(Ready::Log("subscribed".to_owned()))
        .await;
    let idle = resident(&sleeper)?;
    let begun = Instant::now();
    let flood = events("flood", &served)
        .args(shared)
        .arg(format!("count={count}"))
        .arg(format!("in-flight={PUBLISHING}"))
        .start(Ready::Check(std::sync::Arc::new(|| {
            Box::pin(std::future::ready(true))
        })))
        .await;
    let (mut most, mut ended) = (idle, None);
    loop {
        most = most.max(resident(&sleeper)?);
        let log = flood.log();
        if let Some(line) = log.lines().find(|line| line.starts_with("published ")) {
            let (line, when) = ended.get_or_insert_with(|| (line.to_owned(), Instant::now()));
            if when.elapsed() > AFTER {
                return judge(line, &sleeper, (idle, most), count, *when - begun);
            }
        }
        if begun.elapsed() > limit(count) {
            let limit = limit(count);
            return Err(format!("the flood did not end within {limit:?}: {log}"));
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// How long a row of so many events may take.
pub(crate) fn limit(count: usize) -> Duration {
    LIMIT + Duration::from_secs(u64::try_from(count / PACE).unwrap_or(u64::MAX))
}

/// The same of a broker without a server, which pushes its publishers back.
pub(crate) async fn push_back(broker: &str, level: &str, count: usize) -> Result<String, String> {
    let both = Program::at(env!("CARGO_BIN_EXE_micro-tests-events"))
        .arg("push-back")
        .args([format!("broker={broker}"), format!("level={level}")])
        .args(["topic=flood".to_owned(), format!("count={count}")])
        .arg(format!("concurrency={CONCURRENCY}"))
        .arg(format!("in-flight={IN_FLIGHT}"))
        .start(Ready::Log("idle ".to_owned()))
        .await;
    let begun = Instant::now();
    let number = |log: &str, what: &str| {
        let line = log.lines().find_map(|line| line.strip_prefix(what));
        line.and_then(|line| line.parse::<u64>().ok())
    };
    let idle = number(&both.log(), "idle ").unwrap_or_default();
    let mut most = idle;
    loop {
        most = most.max(resident(&both)?);
        let log = both.log();
        if let Some(line) = log.lines().find(|line| line.starts_with("published "))
            && number(&log, "handled ").is_some()
        {
            let ahead = number(&log, "stands still at ");
            let figures = judge(line, &both, (idle, most), count, begun.elapsed())?;
            return match ahead.and_then(|ahead| usize::try_from(ahead).ok()) {
                Some(ahead) if ahead <= AHEAD => Ok(format!("pushed back at {ahead}, {figures}")),
                _ => Err(format!(
                    "expected that publishing stands still at {AHEAD} events or before, found {ahead:?}: {figures}"
                )),
            };
        }
        if begun.elapsed() > limit(count) {
            let limit = limit(count);
            return Err(format!("the flood did not end within {limit:?}: {log}"));
        }
        sleep(Duration::from_millis(50)).await;
    }
}

fn judge(
    line: &str,
    sleeper: &Server,
    (idle, most): (u64, u64),
    count: usize,
    took: Duration,
) -> Result<String, String> {
    let grown = most.saturating_sub(idle);
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let figures = format!(
        "{count} events in {took:.1?} against {CONCURRENCY} handlers that sleep, {line}: {:.1} MiB over idle \
         ({:.1} MiB), bound {:.0} MiB",
        mib(grown),
        mib(idle),
        mib(BOUND)
    );
    let holds = format!("holds {CONCURRENCY}");
    if !sleeper.log().contains(&holds) {
        return Err(format!(
            "expected that the subscriber {holds} events: {figures}"
        ));
    }
    if line != format!("published {count}, failed 0") {
        return Err(format!("expected every event to be published: {figures}"));
    }
    if grown > BOUND {
        return Err(format!("expected less memory: {figures}"));
    }
    Ok(figures)
}

/// The resident memory of a process, in bytes (proc(5), `VmRSS`).
fn resident(server: &Server) -> Result<u64, String> {
    let path = format!("/proc/{}/status", server.pid());
    let status = std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.map(|kib| kib << 10)
        .ok_or_else(|| format!("expected VmRSS in {path}, found {status}"))
}
