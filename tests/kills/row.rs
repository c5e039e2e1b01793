//! A producer, three consumers and a broker, which are killed.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use micro_tests::servers::{Ready, Server};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::judge::{Figures, Logs};
use crate::{Ask, events, serve};

const CONSUMERS: usize = 3;

/// The most events that the producer has published and not noted as acknowledged.
const PUBLISHING: usize = 48;

/// The events that a consumer handles at once.
const CONCURRENCY: usize = 4;

/// How many events a second there are at most.
const RATE: u32 = 400;

/// How long a handler works: so long that events wait with the broker while a consumer is away.
const WORK: Duration = Duration::from_millis(40);

/// How many events a consumer handles at once at most once, and for how long: so many and so long that each kill
/// hits some, also where the broker is told five times a second alone.
const CONTROL: (usize, Duration) = (200, Duration::from_secs(1));

/// How many events may be acknowledged and not yet known to be so: Kafka is told five times a second.
const KAFKA_UNTOLD: usize = RATE as usize / 5;

/// How long an event stays with a consumer that died without a word.
const WAIT: Duration = Duration::from_secs(3);

/// How long nothing must be handed out at the end for what is missing to be lost: longer than an event stays
/// with a dead consumer, and than a group takes to notice one.
const QUIET: Duration = Duration::from_secs(12);

/// The longest that the rest of the events may take.
const DRAIN: Duration = Duration::from_secs(90);

/// What a row is to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// At least once: nothing is lost.
    Kept,
    /// The same, with consumers that have names over their restarts.
    Named,
    /// At most once: something is lost, or the test would prove nothing.
    Control,
    /// At least once, with a broker that forgets: something is lost.
    Forgets,
}

/// A process that is killed and started again.
struct Victim {
    server: Arc<Mutex<Server>>,
    /// Whether it is dead, or starting.
    down: Arc<AtomicBool>,
    /// Whether it counts as started only when it is ready.
    awaited: bool,
    kills: usize,
}

/// Everything that runs.
struct Fleet {
    broker: Victim,
    producer: Victim,
    consumers: Vec<Victim>,
    acked: PathBuf,
    begun: Vec<PathBuf>,
    done: Vec<PathBuf>,
}

/// Who is to be killed.
#[derive(Clone, Copy, Debug)]
enum Whom {
    Broker,
    Producer,
    Consumer,
}

/// How often a control is run whose consumers happened to die with nothing in their hands.
const CONTROLS: u64 = 3;

/// A row's figures, or what does not hold.
pub(crate) async fn run(kind: Kind, broker: &'static str, ask: Ask) -> Result<String, String> {
    let mut before = String::new();
    for more in 0..CONTROLS {
        let seed = ask.seed + more;
        match once(kind, broker, Ask { seed, ..ask }).await {
            Ok(line) => return Ok(line + &before),
            Err(Broken::Harmless(line)) if matches!(kind, Kind::Control) => {
                before += &format!("; {line}");
            }
            Err(Broken::Harmless(line) | Broken::Otherwise(line)) => return Err(line),
        }
    }
    Err(format!("in each of {CONTROLS} runs{before}"))
}

/// What does not hold.
enum Broken {
    /// Only that nothing was lost for the reason that is looked for.
    Harmless(String),
    Otherwise(String),
}

impl From<String> for Broken {
    fn from(line: String) -> Broken {
        Broken::Otherwise(line)
    }
}

async fn once(kind: Kind, broker: &'static str, ask: Ask) -> Result<String, Broken> {
    let mut random = fastrand::Rng::with_seed(ask.seed);
    let (mut fleet, slow) = Fleet::start(kind, broker, ask.seed).await?;
    let (kills, took) = fleet.kill(&mut random, ask, slow).await?;
    let figures = fleet.drain(kind).await?;
    fleet.end().await;

    let untold = if broker == "kafka" { KAFKA_UNTOLD } else { 0 };
    let bound = (CONSUMERS * CONCURRENCY + PUBLISHING + untold) * kills;
    let lost = figures.lost.len();
    let consumers: usize = fleet.consumers.iter().map(|one| one.kills).sum();
    let line = format!(
        "seed {}, {kills} kills in {took:.1?} ({} producer, {consumers} consumer, {} broker), {} acked, {lost} lost \
         ({} with their consumer), {} duplicates (bound {bound}), {} out of order, longest gap {:.1?}, at most {} \
         attempts",
        ask.seed,
        fleet.producer.kills,
        fleet.broker.kills,
        figures.acked,
        figures.died,
        figures.duplicates,
        figures.out_of_order,
        figures.longest,
        figures.attempts,
    );
    let mut broken = Vec::new();
    let expected_kills = usize::try_from(ask.seconds / 2).unwrap_or(usize::MAX);
    let each = [fleet.broker.kills, fleet.producer.kills, consumers];
    if kills < expected_kills || each.contains(&0) || took > Duration::from_secs(ask.seconds) {
        broken.push(format!(
            "expected at least {expected_kills} kills in {} s, some of each",
            ask.seconds
        ));
    }
    // An event each 40 ms: enough that some were on their way at every kill.
    let expected_events = usize::try_from(ask.seconds * 25).unwrap_or(usize::MAX);
    if figures.acked < expected_events {
        broken.push(format!("expected at least {expected_events} acked events"));
    }
    let keeps = matches!(kind, Kind::Kept | Kind::Named);
    if keeps && lost > 0 {
        let some = &figures.lost[..lost.min(10)];
        broken.push(format!("expected nothing to be lost, found {some:?} …"));
    }
    if keeps && figures.duplicates > bound {
        broken.push("expected no more duplicates than the bound".to_owned());
    }
    // Each for its own reason: what is acknowledged before it is handled dies with its consumer, what a broker
    // forgets was not handed out.
    let for_its_reason = match kind {
        Kind::Kept | Kind::Named => true,
        Kind::Control => figures.died > 0,
        Kind::Forgets => lost > figures.died,
    };
    match (broken.as_slice(), for_its_reason) {
        ([], true) => Ok(line),
        ([], false) => Err(Broken::Harmless(format!(
            "expected such loss, without which the test proves nothing: {line}"
        ))),
        _ => Err(format!("{}: {line}", broken.join("; ")).into()),
    }
}

// ===== impl Kind =====

impl Kind {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Kind::Kept => "kills",
            Kind::Named => "kills, named members:",
            Kind::Control => "control",
            Kind::Forgets => "self: a forgetful",
        }
    }
}

// ===== impl Victim =====

impl Victim {
    fn new(server: Server, awaited: bool) -> Victim {
        Victim {
            server: Arc::new(Mutex::new(server)),
            down: Arc::default(),
            awaited,
            kills: 0,
        }
    }

    fn is_down(&self) -> bool {
        self.down.load(Ordering::Acquire)
    }

    /// Kills it, and starts it again after this time, in a task.
    fn kill(&mut self, pause: Duration, tasks: &mut JoinSet<()>) {
        self.kills += 1;
        self.down.store(true, Ordering::Release);
        let (server, down, awaited) = (
            Arc::clone(&self.server),
            Arc::clone(&self.down),
            self.awaited,
        );
        tasks.spawn(async move {
            let mut server = server.lock().await;
            server.kill9().await;
            sleep(pause).await;
            server.spawn().await;
            if awaited {
                server.ready().await;
            }
            down.store(false, Ordering::Release);
        });
    }
}

// ===== impl Fleet =====

impl Fleet {
    /// All of it, at work; and whether the broker is slow to come back.
    async fn start(kind: Kind, broker: &str, seed: u64) -> Result<(Fleet, bool), String> {
        let served = serve(broker, kind == Kind::Forgets).await?;
        let level = if kind == Kind::Control {
            "most"
        } else {
            "least"
        };
        let shared = [format!("topic=kills.{seed}"), format!("level={level}")];
        let (concurrency, work) = if kind == Kind::Control {
            CONTROL
        } else {
            (CONCURRENCY, WORK)
        };
        // Channels of Redis have no queues: at most once, there is a single consumer, which is handed every event.
        let alone = broker == "redis" && kind == Kind::Control;
        let queue = if alone { "queue=" } else { "queue=workers" };
        let count = if alone { 1 } else { CONSUMERS };
        let (mut consumers, mut begun, mut done) = (Vec::new(), Vec::new(), Vec::new());
        for number in 0..count {
            let mut consumer = events("consumer", &served);
            if kind == Kind::Named {
                consumer = consumer.arg(format!("instance=consumer-{number}"));
            }
            let consumer = consumer
                .args(shared.clone())
                .args(["begun={dir}/begun", "log={dir}/done", queue])
                .arg(format!("concurrency={concurrency}"))
                .arg(format!("work={}", work.as_millis()))
                .arg(format!("wait={}", WAIT.as_millis()))
                .start(Ready::Log("subscribed".to_owned()))
                .await;
            begun.push(consumer.folder().join("begun"));
            done.push(consumer.folder().join("done"));
            consumers.push(Victim::new(consumer, false));
        }
        let producer = events("producer", &served)
            .args(shared)
            .arg("log={dir}/acked")
            .arg(format!("in-flight={PUBLISHING}"))
            .arg(format!("rate={RATE}"))
            .start(Ready::Log("produces".to_owned()))
            .await;
        let slow = served.is_slow();
        let fleet = Fleet {
            acked: producer.folder().join("acked"),
            begun,
            done,
            broker: Victim::new(served.server, true),
            producer: Victim::new(producer, false),
            consumers,
        };
        Ok((fleet, slow))
    }

    /// Kills for so long, one every 1 to 3 s, and has all of them up again; how many kills there were, and when the
    /// last one was.
    async fn kill(
        &mut self,
        random: &mut fastrand::Rng,
        ask: Ask,
        slow: bool,
    ) -> Result<(usize, Duration), String> {
        let begun = Instant::now();
        // One kill in each slot of time, a tenth more than have to be: sometimes nobody is up who could be killed.
        let slots = u32::try_from(ask.seconds * 11 / 20 + 1).unwrap_or(u32::MAX);
        let slot = Duration::from_secs(ask.seconds) / slots;
        // Each block has its broker once; one that needs 10 s to come back is spared for as long.
        let block: &[Whom] = if slow {
            &[
                Whom::Broker,
                Whom::Producer,
                Whom::Producer,
                Whom::Consumer,
                Whom::Consumer,
                Whom::Consumer,
                Whom::Consumer,
            ]
        } else {
            &[Whom::Broker, Whom::Producer, Whom::Consumer, Whom::Consumer]
        };
        let (mut kills, mut row, mut tasks) = (0, Vec::new(), JoinSet::new());
        let mut took = Duration::ZERO;
        for number in 0..slots {
            let within = slot.mul_f64(random.f64() * 0.6 + 0.2);
            sleep_until(begun + slot * number + within).await;
            if row.is_empty() {
                row = block.to_vec();
                random.shuffle(&mut row);
            }
            let Some(whom) = row.pop() else { continue };
            let pause = Duration::from_millis(random.u64(500..2000));
            let consumer = random.usize(..self.consumers.len());
            let chosen = match whom {
                Whom::Broker => &mut self.broker,
                Whom::Producer => &mut self.producer,
                Whom::Consumer => &mut self.consumers[consumer],
            };
            let victim = if chosen.is_down() {
                self.consumers.iter_mut().find(|one| !one.is_down())
            } else {
                Some(chosen)
            };
            if let Some(victim) = victim {
                victim.kill(pause, &mut tasks);
                kills += 1;
                took = begun.elapsed();
            }
            while let Some(ended) = tasks.try_join_next() {
                ended.map_err(|error| format!("a process did not come back: {error}"))?;
            }
        }
        while let Some(ended) = tasks.join_next().await {
            ended.map_err(|error| format!("a process did not come back: {error}"))?;
        }
        Ok((kills, took))
    }

    /// Ends the producer, and waits until all that it was promised has come, or nothing comes any more.
    async fn drain(&mut self, kind: Kind) -> Result<Figures, String> {
        self.producer.server.lock().await.stop().await;
        let begun = Instant::now();
        let (mut handed, mut last) = (0, Instant::now());
        loop {
            let logs = Logs::read(&self.acked, &self.begun, &self.done)?;
            if logs.handed() > handed {
                (handed, last) = (logs.handed(), Instant::now());
            }
            let figures = logs.figures();
            // Late duplicates count, too.
            let whole = figures.lost.is_empty() && last.elapsed() > Duration::from_secs(1);
            let quiet = if kind == Kind::Control {
                QUIET / 3
            } else {
                QUIET
            };
            if whole || last.elapsed() > quiet || begun.elapsed() > DRAIN {
                return Ok(figures);
            }
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// Ends the consumers as a service ends.
    async fn end(&mut self) {
        for consumer in &self.consumers {
            consumer.server.lock().await.stop().await;
        }
    }
}
