//! A fleet in paused time, of which a node is slow, mute or broken: how many calls that costs.
//!
//! The nodes are of this file; the clock, the picks and what calls report are those of a client.

use std::collections::BTreeMap;

use super::*;

/// How a node answers.
#[derive(Clone, Copy)]
enum Manner {
    /// After about so many microseconds.
    After(u64),
    /// After about so many microseconds, with a failure.
    Fails(u64, Failure),
    Mute,
}

/// What became of the calls to each node, and how long they took.
#[derive(Default)]
struct Seen {
    calls: BTreeMap<String, usize>,
    failed: usize,
    took: Vec<Duration>,
}

const DEADLINE: Duration = Duration::from_secs(1);

impl Seen {
    fn total(&self) -> usize {
        self.took.len()
    }

    fn share(&self, node: &str) -> f64 {
        self.calls.get(node).copied().unwrap_or_default() as f64 / self.total() as f64
    }

    fn failed(&self) -> f64 {
        self.failed as f64 / self.total() as f64
    }

    /// The part of calls that took longer.
    fn longer(&self, than: Duration) -> f64 {
        let longer = self.took.iter().filter(|took| **took > than).count();
        longer as f64 / self.total() as f64
    }

    fn p99(&self) -> Duration {
        let mut took = self.took.clone();
        took.sort_unstable();
        took[took.len() * 99 / 100]
    }
}

/// Calls at this rate for so long, each with a deadline of a second, to nodes `a` to `d` that answer as `manner`
/// says at that time since the start.
async fn run(
    balancer: &Arc<Balancer<()>>,
    rate: u32,
    time: Duration,
    manner: impl Fn(&str, Duration) -> Manner + Send + Sync + 'static,
) -> Seen {
    let manner = Arc::new(manner);
    let start = Instant::now();
    let mut calls = tokio::task::JoinSet::new();
    let gap = Duration::from_secs(1) / rate;
    for _ in 0..(time.as_micros() / gap.as_micros()) {
        // Poisson arrivals.
        let pause = gap.mul_f64(-f64::ln(1.0 - fastrand::f64()));
        sleep(pause).await;
        let (balancer, manner) = (Arc::clone(balancer), Arc::clone(&manner));
        calls.spawn(async move {
            let begun = Instant::now();
            let picked = pick(&balancer);
            let node = id(&picked);
            let jitter = |micros: u64| {
                let part = micros as f64 * (0.8 + 0.4 * fastrand::f64());
                sleep(Duration::from_micros(part as u64))
            };
            let answer = async {
                match manner(&node, start.elapsed()) {
                    Manner::After(micros) => {
                        jitter(micros).await;
                        None
                    }
                    Manner::Fails(micros, failure) => {
                        jitter(micros).await;
                        Some(failure)
                    }
                    Manner::Mute => std::future::pending().await,
                }
            };
            let failure = match tokio::time::timeout(DEADLINE, answer).await {
                Ok(failure) => failure,
                Err(_) => Some(Failure::TimedOut),
            };
            match failure {
                None => picked.succeeded(),
                Some(failure) => picked.failed(failure),
            }
            (node, begun.elapsed(), failure.is_some())
        });
    }
    let mut seen = Seen::default();
    while let Some(call) = calls.join_next().await {
        let (node, took, failed) = call.unwrap();
        *seen.calls.entry(node).or_default() += 1;
        seen.failed += usize::from(failed);
        seen.took.push(took);
    }
    seen
}

const NODES: [&str; 4] = ["a", "b", "c", "d"];
const SEEDS: u64 = 3;

async fn fleet(strategy: &str) -> (Memory, Arc<Balancer<()>>) {
    let (registry, _selector, balancer) = ready(strategy, &NODES).await;
    (registry, balancer)
}

#[tokio::test(start_paused = true)]
async fn a_node_that_stops_answering_costs_few_calls() {
    for seed in 0..SEEDS {
        fastrand::seed(seed);
        let (_registry, balancer) = fleet("p2c").await;
        let stop = Duration::from_secs(2);
        let aside = Arc::clone(&balancer);
        let watch = tokio::spawn(async move {
            sleep(stop).await;
            let start = Instant::now();
            while !slot(&aside, "b").is_aside() {
                sleep(Duration::from_millis(1)).await;
            }
            start.elapsed()
        });
        let seen = run(
            &balancer,
            500,
            Duration::from_secs(10),
            move |node, at| match (node, at >= stop) {
                ("b", true) => Manner::Mute,
                _ => Manner::After(1_000),
            },
        )
        .await;
        let (failed, longer) = (seen.failed(), seen.longer(Duration::from_millis(100)));
        assert!(failed <= 0.002, "seed {seed}: {failed} failed");
        assert!(longer <= 0.01, "seed {seed}: {longer} over 100 ms");
        let aside = watch.await.unwrap();
        // A call that finds it out ends at its deadline, a moment after the stop.
        assert!(
            aside < Duration::from_millis(1_200),
            "seed {seed}: {aside:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_stops_answering_is_found_out_in_half_a_second_even_in_turns() {
    for strategy in ["round_robin", "random"] {
        let (_registry, balancer) = fleet(strategy).await;
        let seen = run(&balancer, 500, Duration::from_secs(10), |node, at| {
            match (node, at >= Duration::from_secs(2)) {
                ("b", true) => Manner::Mute,
                _ => Manner::After(1_000),
            }
        })
        .await;
        // Half a second of its quarter, and the probes.
        assert!(seen.failed <= 75, "{strategy}: {}", seen.failed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_node_gets_next_to_nothing() {
    for seed in 0..SEEDS {
        fastrand::seed(seed);
        let (_registry, balancer) = fleet("p2c").await;
        let well = |_: &str, _| Manner::After(1_000);
        let healthy = run(&balancer, 1_000, Duration::from_secs(5), well).await;
        let (_registry, balancer) = fleet("p2c").await;
        let slow = run(&balancer, 1_000, Duration::from_secs(5), |node, _| {
            Manner::After(if node == "c" { 201_000 } else { 1_000 })
        })
        .await;
        let share = slow.share("c");
        assert!(share < 0.02, "seed {seed}: {share}");
        let (p99, healthy) = (slow.p99(), healthy.p99());
        assert!(
            p99 < healthy.mul_f64(1.5),
            "seed {seed}: {p99:?}, {healthy:?}"
        );
        // It becomes slow while it is in use.
        let later = run(&balancer, 1_000, Duration::from_secs(5), |node, _| {
            Manner::After(if node == "a" { 201_000 } else { 1_000 })
        })
        .await;
        assert!(later.share("a") < 0.02, "seed {seed}: {}", later.share("a"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_fails_at_once_attracts_nothing() {
    for failure in [Failure::Faulty, Failure::Unavailable] {
        for seed in 0..SEEDS {
            fastrand::seed(seed);
            let (_registry, balancer) = fleet("p2c").await;
            let seen = run(
                &balancer,
                1_000,
                Duration::from_secs(10),
                move |node, _| match node {
                    "d" => Manner::Fails(100, failure),
                    _ => Manner::After(5_000),
                },
            )
            .await;
            let failed = seen.failed();
            assert!(failed < 0.005, "seed {seed}, {failure:?}: {failed}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_healthy_fleet_shares_the_calls() {
    let (_registry, balancer) = fleet("p2c").await;
    let seen = run(&balancer, 1_000, Duration::from_secs(20), |_, _| {
        Manner::After(10_000)
    })
    .await;
    for node in NODES {
        let share = seen.share(node);
        assert!((0.15..0.35).contains(&share), "{node}: {share}");
    }
    assert_eq!(seen.failed, 0);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_answers_again_is_used_again() {
    let (_registry, balancer) = fleet("p2c").await;
    let manner = |node: &str, at: Duration| match (node, at.as_secs()) {
        ("b", 1..4) => Manner::Mute,
        _ => Manner::After(1_000),
    };
    run(&balancer, 500, Duration::from_secs(4), manner).await;
    // The pause before the next probe is 8 s and its jitter at most.
    sleep(Duration::from_secs(12)).await;
    let well = |_: &str, _| Manner::After(1_000);
    let seen = run(&balancer, 500, Duration::from_secs(2), well).await;
    assert!(seen.share("b") > 0.1, "{}", seen.share("b"));
}
