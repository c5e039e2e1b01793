//! The fault table: a fleet in processes of its own, under load, while nodes and registries die, hang, crawl
//! and come back.
//!
//! | file | rows |
//! |---|---|
//! | `rows/nodes.rs` | nodes that die, hang, are slow, are restarted, refuse |
//! | `rows/registries.rs` | registries that are killed under load, are down at the start |
//! | `rows/answers.rs` | registries that say what is not so |
//! | `../tests/registry_etcd/gap.rs` | etcd is cut off for 10 s, with 1,000 changes and a compaction; it runs with that suite, on two versions of etcd |
//! | `fleet.rs`, `load.rs`, `stores.rs` | the nodes, the calls, the registries' servers |
//! | `machine.rs` | how long the machine itself stood still |
//!
//! Rows run one after another, because they measure time. One that did not hold while the machine itself stood
//! still for longer than the tightest bound says nothing, and is run again, at most twice. Words on the command line choose the rows whose
//! names contain one of them; `--slow` runs the variants that take minutes. `FAULTS_SEED` repeats the choices
//! of a run, which prints its seed. The servers are those of `MICRO_SERVERS`.

mod fleet;
mod load;
mod machine;
mod rows;
mod stores;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use machine::Watch;
use rows::{Ask, Outcome, Row};

/// The longest that a row may take, far more than any does.
const LIMIT: Duration = Duration::from_secs(400);

/// How often a row is run, if the machine stands still each time.
const RUNS: usize = 3;

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    let mut words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| word != "--nocapture")
        .collect();
    let slow = words.iter().any(|word| word == "--slow");
    words.retain(|word| !word.starts_with("--"));
    let given = std::env::var("FAULTS_SEED")
        .ok()
        .and_then(|text| text.parse().ok());
    let seed: u64 = given.unwrap_or_else(|| fastrand::u64(..1_000_000_000));
    println!("faults: seed {seed}");
    let (mut held, mut failed) = (0, Vec::new());
    for Row { name, run } in rows::all(slow) {
        if !words.is_empty() && !words.iter().any(|word| name.contains(word.as_str())) {
            continue;
        }
        let begun = Instant::now();
        println!("row {name} …");
        let mut left = RUNS;
        let result = loop {
            left -= 1;
            let watch = Watch::begin();
            let result = once(run(Ask {
                seed,
                random: fastrand::Rng::with_seed(seed),
                slow,
            }))
            .await;
            let pauses = watch.end();
            match result {
                Err(error) if left > 0 && pauses.void() => {
                    println!("row {name}: {pauses}, run again; else: {error}");
                }
                Ok(figures) => break Ok(format!("{figures}; {pauses}")),
                Err(error) => break Err(format!("{error}; {pauses}")),
            }
        };
        let took = begun.elapsed();
        match result {
            Ok(figures) => {
                held += 1;
                println!("row {name}: held, {took:.0?}: {figures}");
            }
            Err(error) => {
                println!("row {name}: FAILED, {took:.0?}, seed {seed}: {error}");
                failed.push(name);
            }
        }
    }
    println!(
        "row etcd cut: runs in the suite registry_etcd, as a_cut_of_10_s_with_1000_changes_and_compaction"
    );
    println!("faults: {held} rows held, {} failed", failed.len());
    if failed.is_empty() && held > 0 {
        ExitCode::SUCCESS
    } else {
        println!("faults: failed: {}", failed.join(", "));
        ExitCode::FAILURE
    }
}

/// A task of its own: a panic in it is a row that failed.
async fn once(row: impl Future<Output = Outcome> + Send + 'static) -> Outcome {
    match tokio::spawn(tokio::time::timeout(LIMIT, row)).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => Err(format!("did not end within {LIMIT:?}")),
        Err(error) => Err(error.to_string()),
    }
}
