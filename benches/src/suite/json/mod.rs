//! JSON: ours against serde_json with hand-written structs of the same text, message by message.
//!
//! Instructions are counted by callgrind in one run of this program that does everything once; times are taken in
//! rounds, in each of which every candidate has its turn.

mod cases;
mod counted;
mod plain;
mod shapes;

use std::time::{Duration, Instant};

use crate::Result;
use crate::report::{align, grouped};

use cases::{Case, Direction};

/// How it is measured.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Rounds; in each, every candidate is timed once with every message
    #[arg(long, default_value_t = 15)]
    pub(crate) rounds: usize,
    /// How long serde_json is timed for in each round, in microseconds; the others do the same work
    #[arg(long, default_value_t = 2_000)]
    pub(crate) micros: u64,
    /// Take times only, without valgrind
    #[arg(long)]
    pub(crate) no_instructions: bool,
    /// These messages only, by name
    #[arg(long)]
    pub(crate) only: Vec<String>,
}

/// A hidden command: everything once, for callgrind.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Once {
    /// These messages only, by name
    #[arg(long)]
    pub(crate) only: Vec<String>,
}

/// At most so many times the instructions that serde_json needs. Time is shown and not judged: on a machine that
/// does other work it means too little.
const LIMIT: f64 = 2.0;

pub(crate) fn run(options: &Options) -> Result<()> {
    let counted = match options.no_instructions {
        true => None,
        false => Some(counted::run(&options.only)?),
    };
    let timed = measure(options)?;
    let mut above = Vec::new();
    for direction in Direction::BOTH {
        let title = match direction {
            Direction::Read => "JSON to message",
            Direction::Write => "message to JSON",
        };
        println!(
            "\n## {title} (× serde_json; times are the fastest of {} rounds)\n",
            options.rounds
        );
        let counted = counted.as_ref().map(|counted| counted.of(direction));
        let timed = timed.iter().filter(|timed| timed.direction == direction);
        print!("{}", table(timed, counted, &mut above));
    }
    match above.is_empty() {
        true => Ok(()),
        false => Err(format!(
            "expected at most {LIMIT} times the instructions of serde_json, found more:\n{}",
            above.join("\n")
        )
        .into()),
    }
}

/// Everything once, without judging a number: that each candidate gives what the others give was checked when the
/// cases were made.
pub(crate) fn smoke() -> Result<()> {
    run_once(&[])?;
    let timed = measure(&Options {
        rounds: 1,
        micros: 20,
        no_instructions: true,
        only: Vec::new(),
    })?;
    println!("\n## JSON: {} comparisons with serde_json ran", timed.len());
    Ok(())
}

/// What callgrind watches.
pub(crate) fn once(options: &Once) -> Result<()> {
    run_once(&options.only)
}

fn run_once(only: &[String]) -> Result<()> {
    for case in selected(only)? {
        for direction in Direction::BOTH {
            for candidate in &case.candidates {
                // The first time is different: buffers grow, pages come in.
                candidate.run(direction);
                counted::watched(&mut || candidate.run(direction));
            }
        }
    }
    Ok(())
}

fn selected(only: &[String]) -> Result<Vec<Case>> {
    let cases = cases::all()?;
    let names: Vec<_> = cases.iter().map(|case| case.name).collect();
    if let Some(unknown) = only.iter().find(|name| !names.contains(&name.as_str())) {
        return Err(format!("expected one of {}, found {unknown:?}", names.join(", ")).into());
    }
    Ok(cases
        .into_iter()
        .filter(|case| only.is_empty() || only.iter().any(|name| name == case.name))
        .collect())
}

/// The times of one message in one direction.
struct Timed {
    name: &'static str,
    direction: Direction,
    bytes: usize,
    /// By candidate, then by round; nanoseconds.
    nanos: Vec<Vec<f64>>,
}

/// What a candidate needs when nothing else is in its way.
fn fastest(rounds: &[f64]) -> f64 {
    rounds.iter().copied().fold(f64::INFINITY, f64::min)
}

fn measure(options: &Options) -> Result<Vec<Timed>> {
    let mut all = Vec::new();
    for case in selected(&options.only)? {
        for direction in Direction::BOTH {
            let time = |candidate: &cases::Candidate, times: u32| {
                let start = Instant::now();
                for _ in 0..times {
                    candidate.run(direction);
                }
                start.elapsed()
            };
            let once = time(&case.candidates[0], 20) / 20;
            let wanted = Duration::from_micros(options.micros);
            let times = (wanted.as_nanos() / once.as_nanos().max(1)).clamp(1, 1_000_000) as u32;
            let mut nanos = vec![Vec::new(); case.candidates.len()];
            for _ in 0..options.rounds {
                for (candidate, nanos) in case.candidates.iter().zip(&mut nanos) {
                    nanos.push(time(candidate, times).as_nanos() as f64 / f64::from(times));
                }
            }
            all.push(Timed {
                name: case.name,
                direction,
                bytes: case.text.len(),
                nanos,
            });
        }
    }
    Ok(all)
}

/// A line for each message; `above` gets what is above the limit.
fn table<'t>(
    timed: impl Iterator<Item = &'t Timed>,
    counted: Option<Vec<Vec<u64>>>,
    above: &mut Vec<String>,
) -> String {
    let mut head = vec!["message".to_owned(), "bytes".to_owned()];
    for (at, name) in cases::CANDIDATES.iter().enumerate() {
        for what in ["instructions", "ns"] {
            if what == "instructions" && counted.is_none() {
                continue;
            }
            head.push(format!("{name} {what}"));
            if at > 0 {
                head.push("×".to_owned());
            }
        }
    }
    let mut lines = vec![head];
    for (row, timed) in timed.enumerate() {
        let mut line = vec![timed.name.to_owned(), grouped(timed.bytes as f64, 0)];
        for (at, nanos) in timed.nanos.iter().enumerate() {
            if let Some(counted) = &counted {
                let counts = &counted[row];
                let ratio = counts[at] as f64 / counts[0] as f64;
                line.push(grouped(counts[at] as f64, 0));
                if at > 0 {
                    line.push(format!("{ratio:.2}"));
                }
                if cases::CANDIDATES[at] == cases::OURS && ratio > LIMIT {
                    let direction = timed.direction.name();
                    above.push(format!("{direction} {}: {ratio:.2}", timed.name));
                }
            }
            line.push(grouped(fastest(nanos), 0));
            if at > 0 {
                line.push(format!("{:.2}", fastest(nanos) / fastest(&timed.nanos[0])));
            }
        }
        lines.push(line);
    }
    align(&lines)
}
