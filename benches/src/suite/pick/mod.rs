//! Picks: how long one takes among many nodes, ours beside `tower::balance`, and how long an update takes.
//!
//! A pick is timed in batches that are held until the batch is over: what is timed is the pick alone. Ours leaves
//! a guard that counts the call as under way and is told its outcome; tower's is `poll_ready` and `call` of
//! `Balance` over `PeakEwma`, whose future does the same, and which reads the clock in each pick. Ours is given the
//! time, as a client's call gives it, which reads the clock once when it begins, whatever is picked; the row with
//! the clock reads it in the pick, too.

mod ours;
mod theirs;

use std::time::{Duration, Instant};

use crate::Result;
use crate::report::{Comparison, Metric, align, grouped};

use ours::Ours;
use theirs::Theirs;

/// How it is measured.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Rounds; in each, every candidate is timed once with every number of nodes
    #[arg(long, default_value_t = 15)]
    pub(crate) rounds: usize,
    /// Picks in a round
    #[arg(long, default_value_t = 200_000)]
    pub(crate) picks: usize,
    /// Numbers of nodes
    #[arg(long, value_delimiter = ',', default_values_t = [100, 10_000])]
    pub(crate) nodes: Vec<usize>,
}

/// Picks that are held at once. The calls under way grow with it, and a real client has some.
const BATCH: usize = 64;

/// The nodes of the service whose updates are timed, and how long one may take.
const UPDATED: usize = 10_000;
const UPDATE_LIMIT: Duration = Duration::from_millis(10);

/// How long a pick may take among so many nodes, in nanoseconds. Judged by the best round: the machine does other
/// work.
const LIMITS: [(usize, f64); 2] = [(100, 50.0), (10_000, 100.0)];

/// Something that picks.
trait Picks {
    /// Picks a batch; how long the picks took, and how many of them failed.
    fn batch(&mut self) -> (Duration, u64);
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let mut above = Vec::new();
    for &nodes in &options.nodes {
        let best = picks(options, nodes)?;
        let limit = LIMITS.iter().find(|(of, _)| *of == nodes);
        if let Some((_, limit)) = limit.filter(|(_, limit)| best > *limit) {
            above.push(format!(
                "{best:.1} ns a pick among {nodes} nodes, expected at most {limit}"
            ));
        }
    }
    let update = updates(options.rounds)?;
    if update > UPDATE_LIMIT {
        above.push(format!(
            "{update:?} for an update, expected at most {UPDATE_LIMIT:?}"
        ));
    }
    match above.is_empty() {
        true => Ok(()),
        false => Err(format!("found {}", above.join("; ")).into()),
    }
}

/// Everything for a moment, without judging a number.
pub(crate) fn smoke() -> Result<()> {
    let options = Options {
        rounds: 1,
        picks: 1_000,
        nodes: vec![100],
    };
    picks(&options, 100)?;
    updates(1)?;
    Ok(())
}

/// The best round of our default, in nanoseconds a pick.
fn picks(options: &Options, nodes: usize) -> Result<f64> {
    const OURS: &str = "p2c";
    let title = format!("Picks among {nodes} nodes");
    let mut comparison = Comparison::new(title, &[Metric("ns/pick", 1)]);
    let mut candidates: Vec<(&str, Box<dyn Picks>)> = vec![
        ("tower p2c", Box::new(Theirs::new(nodes)?)),
        (OURS, Box::new(Ours::new("p2c", nodes, 0)?)),
        (
            "p2c and clock",
            Box::new(Ours::new("p2c", nodes, 0)?.with_clock()),
        ),
        (
            "p2c, 10 % aside",
            Box::new(Ours::new("p2c", nodes, nodes / 10)?),
        ),
        ("random", Box::new(Ours::new("random", nodes, 0)?)),
        ("round_robin", Box::new(Ours::new("round_robin", nodes, 0)?)),
        ("weighted", Box::new(Ours::new("weighted", nodes, 0)?)),
        ("tower p2c again", Box::new(Theirs::new(nodes)?)),
    ];
    let mut best = f64::INFINITY;
    for _ in 0..options.rounds {
        for (name, candidate) in &mut candidates {
            let (each, failed) = measure(candidate.as_mut(), options.picks);
            if *name == OURS {
                best = best.min(each);
            }
            comparison.add(name, vec![each], failed);
        }
        let both = ours::on_two_threads(nodes, options.picks)?;
        comparison.add("p2c on 2 threads", vec![both], 0);
    }
    comparison.print();
    match comparison.failed() {
        0 => Ok(best),
        failed => Err(format!("{failed} picks failed").into()),
    }
}

/// Nanoseconds a pick, of the median batch: another process on the same core costs the few batches that it
/// interrupts; and how many picks failed.
fn measure(candidate: &mut dyn Picks, picks: usize) -> (f64, u64) {
    let mut failed = 0;
    let mut batches: Vec<Duration> = (0..picks.div_ceil(BATCH))
        .map(|_| {
            let (took, failures) = candidate.batch();
            failed += failures;
            took
        })
        .collect();
    batches.sort_unstable();
    let median = batches.get(batches.len() / 2).copied().unwrap_or_default();
    (nanos(median) / BATCH as f64, failed)
}

/// The median time of an update in which every node is new to the picker or none is; the longer of both.
fn updates(rounds: usize) -> Result<Duration> {
    let (mut new, mut same, mut stalls) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let update = ours::update(UPDATED)?;
        new.push(update.new);
        same.push(update.same);
        stalls.push(update.longest_pick);
    }
    for times in [&mut new, &mut same, &mut stalls] {
        times.sort_unstable();
    }
    let middle = |times: &[Duration]| times.get(times.len() / 2).copied().unwrap_or_default();
    let row = |name: &str, times: &[Duration]| {
        let millis = nanos(middle(times)) / 1e6;
        vec![name.to_owned(), grouped(millis, 3)]
    };
    println!("\n## An update of a service of {UPDATED} nodes ({rounds} rounds)\n");
    print!(
        "{}",
        align(&[
            vec![String::new(), "ms".to_owned()],
            row("every node is new", &new),
            row("no node is new", &same),
            row("the longest pick beside it", &stalls),
        ])
    );
    Ok(middle(&new).max(middle(&same)))
}

/// Times a batch.
fn timed<T>(held: &mut Vec<T>, pick: impl Fn(Instant) -> Option<T>) -> (Duration, u64) {
    let start = Instant::now();
    for _ in 0..BATCH {
        held.extend(pick(start));
    }
    let took = start.elapsed();
    let failed = BATCH - held.len();
    (took, failed as u64)
}

fn nanos(time: Duration) -> f64 {
    time.as_nanos() as f64
}
