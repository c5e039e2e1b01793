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
//!
//! Rows run one after another, because they measure time. Words on the command line choose the rows whose
//! names contain one of them; `--slow` runs the variants that take minutes. `FAULTS_SEED` repeats the choices
//! of a run, which prints its seed. The servers are those of `MICRO_SERVERS`.

mod fleet;
mod load;
mod rows;
mod stores;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use rows::{Ask, Row};

/// The longest that a row may take, far more than any does.
const LIMIT: Duration = Duration::from_secs(400);

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
        let ask = Ask {
            seed,
            random: fastrand::Rng::with_seed(seed),
            slow,
        };
        // A task of its own: a panic in it is a row that failed.
        let row = tokio::spawn(tokio::time::timeout(LIMIT, run(ask)));
        let result = match row.await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(format!("did not end within {LIMIT:?}")),
            Err(error) => Err(error.to_string()),
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
