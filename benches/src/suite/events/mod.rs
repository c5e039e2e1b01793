//! Events: how many a second are published and consumed, ours beside the library that ours is built on, used bare.
//!
//! Both do the same work: each event is encoded when it is published and decoded when it arrives, the bytes between are
//! the same (go-micro's message where that is what the broker carries), and both wait for the same promise. The bare
//! side is what a user of the library writes for that; `bare bytes` is the same again with the message written once
//! beforehand and nothing decoded: what the library and the server cost alone. Publisher and subscriber are in this
//! process, the broker's server, if there is one, beside it.

mod bare;
mod ours;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use micro_runtime::broker::{AnyBroker, Delivery, Memory};
use tokio::sync::Notify;

use crate::Result;
use crate::proto::ours::Request;
use crate::report::{Comparison, Metric};
use crate::usage;

/// How it is measured.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// What carries the events
    #[arg(value_enum)]
    pub(crate) carrier: Carrier,
    /// Where its server is, as in MICRO_BROKER_ADDRESS
    #[arg(default_value = "")]
    pub(crate) address: String,
    /// Rounds; in each, every candidate publishes and consumes all events
    #[arg(long, default_value_t = 7)]
    pub(crate) rounds: usize,
    /// Events in a round
    #[arg(long, default_value_t = 50_000)]
    pub(crate) events: usize,
    /// Publishes in flight, and events that are handled at once
    #[arg(long, default_value_t = 64)]
    pub(crate) in_flight: usize,
    /// Bytes of the event's body
    #[arg(long, default_value_t = 100)]
    pub(crate) bytes: usize,
    /// Measures these candidates alone, such as `--only ours` under a profiler
    #[arg(long)]
    pub(crate) only: Vec<String>,
}

/// What is measured, in this order in each round.
const CANDIDATES: [&str; 4] = ["bare", "ours", "bare again", "bare bytes"];

/// How long nothing may come before what is missing is given up: longer than async-nats takes to ask JetStream again
/// for events that it has not got, and than a disk with other work holds up a server.
const PATIENCE: Duration = Duration::from_secs(40);

/// What carries the events, and what is promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Carrier {
    /// Within the process, beside tokio's channel
    Memory,
    /// At most once, beside a bare POST by hyper
    Http,
    /// At most once, beside async-nats
    Nats,
    /// At least once, beside async-nats
    Jetstream,
    /// The same, each event published by itself
    JetstreamSingly,
    /// At least once, beside lapin
    Rabbitmq,
    /// At least once, beside rdkafka
    Kafka,
    /// At most once, beside redis' PUBLISH
    Redis,
    /// At least once, beside redis' streams
    RedisStream,
}

// ===== impl Options =====

impl Options {
    fn takes(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }
}

// ===== impl Carrier =====

impl Carrier {
    fn delivery(self) -> Delivery {
        match self {
            Carrier::Memory | Carrier::Http | Carrier::Nats | Carrier::Redis => {
                Delivery::AtMostOnce
            }
            Carrier::Jetstream
            | Carrier::JetstreamSingly
            | Carrier::Rabbitmq
            | Carrier::Kafka
            | Carrier::RedisStream => Delivery::AtLeastOnce,
        }
    }

    #[cfg_attr(
        not(feature = "events"),
        expect(unused_variables, reason = "no broker has a server")
    )]
    fn broker(self, address: &str) -> Result<AnyBroker> {
        use micro_runtime::broker;
        Ok(match self {
            Carrier::Memory => AnyBroker::new(Memory::new()),
            Carrier::Http => {
                AnyBroker::new(broker::Http::new().registry(micro_runtime::registry::Memory::new()))
            }
            #[cfg(feature = "events")]
            Carrier::Nats | Carrier::Jetstream | Carrier::JetstreamSingly => {
                AnyBroker::new(broker::Nats::try_new([address])?)
            }
            #[cfg(feature = "events")]
            Carrier::Rabbitmq => AnyBroker::new(broker::RabbitMq::try_new([address])?),
            #[cfg(feature = "events")]
            Carrier::Kafka => AnyBroker::new(broker::Kafka::try_new([address])?),
            #[cfg(feature = "events")]
            Carrier::Redis | Carrier::RedisStream => {
                AnyBroker::new(broker::Redis::try_new([address])?)
            }
            #[cfg(not(feature = "events"))]
            _ => return Err("expected a build with --features events".into()),
        })
    }
}

/// One round of one candidate.
#[derive(Clone, Debug)]
struct Round {
    events: usize,
    in_flight: usize,
    /// Events are published by one task, so many at a time, rather than by so many tasks one at a time.
    bursts: bool,
    /// A name that no other round has.
    topic: String,
    /// The event.
    event: Request,
    /// How the bare side writes and reads it.
    wire: bare::Wire,
}

impl Round {
    /// With `ready` the bare side writes nothing and reads nothing: it has the bytes.
    fn new(options: &Options, topic: String, ready: bool) -> Round {
        let event = Request {
            name: "x".repeat(options.bytes),
        };
        let kept = options.carrier.delivery() == Delivery::AtLeastOnce;
        let wire = bare::Wire::new(&topic, &event, kept, ready);
        Round {
            events: options.events,
            in_flight: options.in_flight,
            bursts: matches!(options.carrier, Carrier::Nats | Carrier::Jetstream),
            wire,
            topic,
            event,
        }
    }

    /// How many events each publisher publishes, so that all of them together publish all.
    fn shares(&self) -> impl Iterator<Item = usize> {
        let (events, publishers) = (self.events, self.in_flight);
        (0..publishers).map(move |n| events / publishers + usize::from(n < events % publishers))
    }
}

/// Counts what arrives.
#[derive(Debug)]
struct Arrivals {
    seen: AtomicUsize,
    wanted: usize,
    all: Notify,
}

impl Arrivals {
    fn new(wanted: usize) -> Arc<Arrivals> {
        Arc::new(Arrivals {
            seen: AtomicUsize::new(0),
            wanted,
            all: Notify::new(),
        })
    }

    fn one(&self) {
        if self.seen.fetch_add(1, Ordering::Relaxed) + 1 == self.wanted {
            self.all.notify_one();
        }
    }

    /// Waits for all; how many are missing when nothing has come for a while.
    async fn missing(&self) -> u64 {
        loop {
            let before = self.seen.load(Ordering::Relaxed);
            let wait = tokio::time::timeout(PATIENCE, self.all.notified());
            if wait.await.is_ok() || before >= self.wanted {
                return 0;
            }
            if self.seen.load(Ordering::Relaxed) == before {
                return (self.wanted - before) as u64;
            }
        }
    }
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(measure(options))
}

async fn measure(options: &Options) -> Result<()> {
    if let Some(unknown) = (options.only.iter()).find(|only| !CANDIDATES.contains(&only.as_str())) {
        return Err(
            format!("expected one of {CANDIDATES:?} after --only, found {unknown:?}").into(),
        );
    }
    let title = format!(
        "Events by {:?}, {}, {} in flight, {} bytes",
        options.carrier,
        options.carrier.delivery(),
        options.in_flight,
        options.bytes
    );
    let metrics = [Metric("events/s", 0), Metric("CPU, µs", 1)];
    let mut comparison = Comparison::new(title, &metrics);
    for round in 0..=options.rounds {
        for name in CANDIDATES.into_iter().filter(|name| options.takes(name)) {
            let topic = format!(
                "bench.{}.{round}.{}",
                std::process::id(),
                name.replace(' ', "-")
            );
            let plan = Round::new(options, topic, name == "bare bytes");
            let (started, before) = (Instant::now(), usage::cpu_of(std::process::id())?);
            let (took, missing) = if name == "ours" {
                let broker = options.carrier.broker(&options.address)?;
                ours::run(&broker, options.carrier.delivery(), &plan).await?
            } else {
                bare::run(options.carrier, &options.address, &plan).await?
            };
            // The first round finds caches cold and files small.
            if round > 0 {
                let used = usage::cpu_of(std::process::id())?.saturating_sub(before);
                let events = options.events as f64;
                let numbers = vec![
                    events / took.as_secs_f64(),
                    used.as_secs_f64() * 1e6 / events,
                ];
                comparison.add(name, numbers, missing);
            }
            progress(name, round, started.elapsed());
        }
    }
    comparison.print();
    match comparison.failed() {
        0 => Ok(()),
        lost => Err(format!("{lost} events did not arrive").into()),
    }
}

/// A run takes minutes: who waits sees that it goes on.
fn progress(name: &str, round: usize, took: Duration) {
    eprintln!("round {round}, {name}: {:.1} s", took.as_secs_f64());
}

/// Everything that needs no server, for a moment, without judging a number.
pub(crate) fn smoke() -> Result<()> {
    for carrier in [Carrier::Memory, Carrier::Http] {
        run(&Options {
            carrier,
            address: String::new(),
            rounds: 1,
            events: 500,
            in_flight: 8,
            bytes: 20,
            only: Vec::new(),
        })?;
    }
    Ok(())
}
