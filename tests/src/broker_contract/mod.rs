//! The behaviour that every broker must show, whatever stands behind it.
//!
//! ```no_run
//! # async fn example(make: impl Fn() -> micro_runtime::broker::AnyBroker) {
//! use micro_tests::broker_contract::{self, Abilities};
//!
//! let able = Abilities { counts: false, ..Abilities::default() };
//! broker_contract::run("memory", make, able).await;
//! # }
//! ```
//!
//! | file | cases |
//! |---|---|
//! | `messages.rs` | what is published arrives, and as it was; what is refused |
//! | `sharing.rs` | who gets an event: every subscriber, or one of a queue |
//! | `settling.rs` | what becomes of an event that was handed out |
//! | `load.rs` | many at once, given up, in order, closed and opened |
//! | `unreachable.rs` | a broker that is not there |

mod load;
mod messages;
mod settling;
mod sharing;
mod unreachable;

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Poll;
use std::time::Duration;

use micro_runtime::broker::{Broker, Consumer, Delivery, Event, Message, Topic};
use micro_runtime::{Deadline, Error};
use tokio::time::timeout;

use crate::contract::Report;

pub use unreachable::unreachable;

/// What a broker can do, as its documentation says.
#[derive(Clone, Copy, Debug)]
pub struct Abilities {
    /// Whether it delivers at most once. Default: yes.
    pub at_most_once: bool,
    /// Whether it delivers at least once. Default: yes.
    pub at_least_once: bool,
    /// Whether events that are delivered at most once can be shared by a queue. Default: yes.
    pub queues_at_most_once: bool,
    /// Whether it counts attempts; if not, every one after the first is 2. Default: yes.
    pub counts: bool,
    /// Whether a publish at most once resolves only when the subscribers have settled the event. Default: no.
    pub answers: bool,
    /// Whether an event goes to any member of a queue that has room; if not, where it goes depends on the
    /// event alone. Default: yes.
    pub spreads: bool,
    /// Whether names of topics may differ in `.` and `_` alone. Default: yes.
    pub tells_dots_from_underscores: bool,
    /// Whether publishers elsewhere know of a subscription when it is there; if not, they do a moment later.
    /// Default: yes.
    pub known_at_once: bool,
    /// The largest body that it takes, in bytes. Default: 1 MiB.
    pub largest: usize,
    /// A body that it refuses, in bytes, if it refuses any. Default: none.
    pub too_large: Option<usize>,
    /// How long an event stays with a subscriber that is silent. Default: 1 s, the least there is.
    pub ack_wait: Duration,
    /// How long what one client did may take until another sees it. Default: 20 s.
    pub patience: Duration,
}

impl Default for Abilities {
    fn default() -> Abilities {
        Abilities::DEFAULT
    }
}

type Case = Result<(), String>;

/// How long a single request may take before it counts as hung.
const HUNG: Duration = Duration::from_secs(30);

/// How long nothing must come for it to count as nothing: what is wrong here comes at once.
const CALM: Duration = Duration::from_millis(250);

/// What the cases get: a way to make clients, and names that nobody else uses.
struct Kit<F> {
    make: F,
    able: Abilities,
    prefix: String,
}

/// Runs every case that a broker of these abilities must pass, one after another, and prints how many passed.
/// `make` gives a client of its own each time: with its own connections, as another process has. Returns the
/// number of cases.
///
/// # Panics
/// A case failed; all that did are named.
pub async fn run<B: Broker>(name: &str, make: impl Fn() -> B, able: Abilities) -> usize {
    let kit = Kit {
        make,
        able,
        prefix: prefix(),
    };
    let mut report = Report::new(format!("contract {name}"));
    report.case("levels", messages::levels(&kit)).await;
    for level in able.levels() {
        let title = |what: &str| format!("{what}, {level}");
        report
            .case(
                &title("publish and receive"),
                messages::round_trip(&kit, level),
            )
            .await;
        report
            .case(&title("headers"), messages::headers(&kit, level))
            .await;
        report
            .case(&title("bodies"), messages::bodies(&kit, level))
            .await;
        if able.too_large.is_some() {
            report
                .case(&title("too large"), messages::too_large(&kit, level))
                .await;
        }
        report
            .case(&title("bad names"), messages::bad_names(&kit, level))
            .await;
        report
            .case(&title("broadcast"), sharing::broadcast(&kit, level))
            .await;
        report
            .case(
                &title("nothing missed"),
                sharing::nothing_missed(&kit, level),
            )
            .await;
        if able.queues(level) {
            report
                .case(&title("a queue"), sharing::queue(&kit, level))
                .await;
            report
                .case(&title("two queues"), sharing::two_queues(&kit, level))
                .await;
            report
                .case(&title("given up subscribing"), load::ghosts(&kit, level))
                .await;
            if level == Delivery::AtMostOnce {
                report
                    .case(&title("a member stops"), sharing::stopped(&kit))
                    .await;
            }
        } else {
            report
                .case(&title("no queues"), sharing::no_queues(&kit, level))
                .await;
        }
        report
            .case(&title("topics apart"), sharing::topics_apart(&kit, level))
            .await;
        report.case(&title("order"), load::order(&kit, level)).await;
        report
            .case(&title("1,000 at once"), load::at_once(&kit, level))
            .await;
        report
            .case(&title("given up publishing"), load::given_up(&kit, level))
            .await;
        report
            .case(&title("many together"), load::together(&kit, level))
            .await;
        report
            .case(&title("close and again"), load::closed(&kit, level))
            .await;
    }
    if able.at_least_once {
        settle(&kit, &mut report).await;
    }
    report.finish()
}

/// The cases of events that have to be acknowledged.
async fn settle<B: Broker>(kit: &Kit<impl Fn() -> B>, report: &mut Report) {
    report
        .case("in-flight bound", settling::in_flight(kit))
        .await;
    if kit.able.spreads {
        report
            .case("one for each member", sharing::spread(kit))
            .await;
    }
    report.case("ack is final", settling::acked(kit)).await;
    report.case("retry", settling::retry(kit)).await;
    report
        .case("a retry holds up nobody", settling::retry_aside(kit))
        .await;
    report.case("return", settling::dropped_event(kit)).await;
    report.case("a long handler", settling::held(kit)).await;
    report
        .case("a member dropped", settling::dropped_member(kit))
        .await;
    report
        .case(
            "a member dropped, its events held",
            settling::dropped_member_holds(kit),
        )
        .await;
    report.case("close", settling::closed(kit)).await;
    report
        .case("close while acknowledging", settling::close_acking(kit))
        .await;
    report
        .case("a queue without members", settling::kept(kit))
        .await;
}

fn prefix() -> String {
    static RUNS: AtomicU32 = AtomicU32::new(0);
    let run = RUNS.fetch_add(1, Ordering::Relaxed);
    format!("contract.{}-{run}", std::process::id())
}

// ===== impl Abilities =====

impl Abilities {
    /// Everything.
    pub const DEFAULT: Abilities = Abilities {
        at_most_once: true,
        at_least_once: true,
        queues_at_most_once: true,
        counts: true,
        answers: false,
        spreads: true,
        tells_dots_from_underscores: true,
        known_at_once: true,
        largest: 1 << 20,
        too_large: None,
        ack_wait: Duration::from_secs(1),
        patience: Duration::from_secs(20),
    };

    fn levels(&self) -> Vec<Delivery> {
        let levels = [
            (self.at_most_once, Delivery::AtMostOnce),
            (self.at_least_once, Delivery::AtLeastOnce),
        ];
        levels
            .into_iter()
            .filter_map(|(able, level)| able.then_some(level))
            .collect()
    }

    fn queues(&self, level: Delivery) -> bool {
        level == Delivery::AtLeastOnce || self.queues_at_most_once
    }
}

// ===== impl Kit =====

impl<B: Broker, F: Fn() -> B> Kit<F> {
    fn client(&self) -> B {
        (self.make)()
    }

    /// A topic of this run, one for each level.
    fn topic(&self, what: &str, level: Delivery) -> Topic {
        let level_name = match level {
            Delivery::AtLeastOnce => "least",
            _ => "most",
        };
        Topic::new(format!("{}.{what}.{level_name}", self.prefix))
            .delivery(level)
            .ack_wait(self.able.ack_wait)
            .concurrency(16)
    }

    /// A topic that is delivered at least once to a queue.
    fn work(&self, what: &str, concurrency: usize) -> Topic {
        self.topic(what, Delivery::AtLeastOnce)
            .queue(format!("{what}-queue"))
            .concurrency(concurrency)
    }

    /// The next event.
    async fn next(&self, consumer: &mut B::Consumer) -> Result<Event, String> {
        next(consumer, self.able.patience).await
    }

    /// The next events, as many as these, none of them settled, with no more than these bodies.
    async fn take(
        &self,
        consumer: &mut B::Consumer,
        bodies: &[String],
    ) -> Result<Vec<Event>, String> {
        let mut events = Vec::new();
        while events.len() < bodies.len() {
            let event = self
                .next(consumer)
                .await
                .map_err(|error| format!("{error}; before it came {:?}", texts(&events)))?;
            events.push(event);
        }
        let mut found = texts(&events);
        found.sort();
        let mut expected = bodies.to_vec();
        expected.sort();
        if found == expected {
            Ok(events)
        } else {
            Err(format!("expected {expected:?}, found {found:?}"))
        }
    }

    /// Waits until these members together have had each of these bodies once. Every event is acknowledged.
    async fn gather(&self, members: &mut [B::Consumer], bodies: &[String]) -> Case {
        let mut missing: BTreeSet<&String> = bodies.iter().collect();
        while !missing.is_empty() {
            let Ok((_, event)) = timeout(self.able.patience, any(members)).await else {
                return Err(format!(
                    "expected {} events, {} of them did not come within {:?}: {:?} …",
                    bodies.len(),
                    missing.len(),
                    self.able.patience,
                    missing.iter().take(5).collect::<Vec<_>>()
                ));
            };
            let event = event?;
            let body = text(&event);
            if !missing.remove(&body) {
                return Err(format!(
                    "expected each of {} events once, found {body:?}, attempt {}, beside them, with {} missing",
                    bodies.len(),
                    event.attempt(),
                    missing.len()
                ));
            }
            ack(&event).await?;
        }
        Ok(())
    }

    /// The same, and then looks that nothing more comes.
    async fn shared(&self, members: &mut [B::Consumer], bodies: &[String]) -> Case {
        self.gather(members, bodies).await?;
        nothing(members, "after all had come", CALM).await
    }

    /// Waits until each of these subscribers has had each of its bodies once, and looks that nothing more comes.
    async fn each(
        &self,
        subscribers: &mut [B::Consumer],
        bodies: impl Fn(usize) -> Vec<String>,
    ) -> Case {
        let mut running: Vec<_> = subscribers
            .iter_mut()
            .enumerate()
            .map(|(number, subscriber)| {
                let bodies = bodies(number);
                Box::pin(async move {
                    let got = self.gather(std::slice::from_mut(subscriber), &bodies).await;
                    got.map_err(|error| format!("subscriber {number}: {error}"))
                })
            })
            .collect();
        let mut answers = Vec::new();
        poll_fn(|cx| {
            running.retain_mut(|one| match one.as_mut().poll(cx) {
                Poll::Ready(answer) => {
                    answers.push(answer);
                    false
                }
                Poll::Pending => true,
            });
            if running.is_empty() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
        drop(running);
        answers.into_iter().collect::<Case>()?;
        nothing(subscribers, "after all had come", CALM).await
    }

    /// The same with a single member.
    async fn all(&self, consumer: &mut B::Consumer, bodies: &[String]) -> Case {
        self.shared(std::slice::from_mut(consumer), bodies).await
    }
}

/// What this many events carry.
fn bodies(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("event {number}")).collect()
}

/// A message with what every publisher of ours writes.
fn message(topic: &Topic, body: impl Into<Vec<u8>>) -> Message {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let id = format!(
        "{}-{}",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    );
    Message::new(topic.name(), body.into())
        .header("content-type", "application/octet-stream")
        .header("micro-topic", topic.name())
        .header("micro-id", id.clone())
        .id(id)
}

async fn publish(broker: &impl Broker, topic: &Topic, body: impl Into<Vec<u8>>) -> Case {
    send(broker, topic, message(topic, body)).await
}

async fn send(broker: &impl Broker, topic: &Topic, message: Message) -> Case {
    let deadline = Deadline::after(HUNG);
    in_time("publish", broker.publish(message, topic.level(), deadline)).await
}

async fn publish_all(broker: &impl Broker, topic: &Topic, bodies: &[String]) -> Case {
    for body in bodies {
        publish(broker, topic, body.clone()).await?;
    }
    Ok(())
}

/// Publishes, and receives meanwhile: some brokers' publishes wait for the handlers.
async fn both<T>(
    publishing: impl Future<Output = Case>,
    receiving: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    let (published, received) = tokio::join!(publishing, receiving);
    published.and(received)
}

async fn subscribe<B: Broker>(broker: &B, topic: &Topic) -> Result<B::Consumer, String> {
    in_time("subscribe", broker.subscribe(topic)).await
}

async fn ack(event: &Event) -> Case {
    in_time("ack", event.ack()).await
}

async fn close(consumer: impl Consumer) -> Case {
    timeout(HUNG, consumer.close())
        .await
        .map_err(|_| format!("close: not done within {HUNG:?}"))
}

async fn next(consumer: &mut impl Consumer, patience: Duration) -> Result<Event, String> {
    match timeout(patience, any(std::slice::from_mut(consumer))).await {
        Ok((_, event)) => event,
        Err(_) => Err(format!("no event within {patience:?}")),
    }
}

/// Looks that nothing comes for this long.
async fn nothing<C: Consumer>(members: &mut [C], why: &str, during: Duration) -> Case {
    match timeout(during, any(members)).await {
        Ok((member, Ok(event))) => Err(format!(
            "expected nothing {why}, found {:?}, attempt {}, at member {member}",
            text(&event),
            event.attempt()
        )),
        Ok((_, Err(error))) => Err(error),
        Err(_) => Ok(()),
    }
}

/// The next event of any of them, and whose it is.
async fn any<C: Consumer>(members: &mut [C]) -> (usize, Result<Event, String>) {
    poll_fn(|cx| {
        for (member, consumer) in members.iter_mut().enumerate() {
            if let Poll::Ready(item) = Pin::new(consumer).poll_next(cx) {
                let event = match item {
                    Some(Ok(event)) => Ok(event),
                    Some(Err(error)) => Err(format!("the subscription ended: {error:?}")),
                    None => Err("the subscription ended".to_owned()),
                };
                return Poll::Ready((member, event));
            }
        }
        Poll::Pending
    })
    .await
}

fn text(event: &Event) -> String {
    String::from_utf8_lossy(event.body()).into_owned()
}

fn texts(events: &[Event]) -> Vec<String> {
    events.iter().map(text).collect()
}

async fn in_time<T>(
    what: &str,
    request: impl Future<Output = Result<T, Error>>,
) -> Result<T, String> {
    match timeout(HUNG + Duration::from_secs(5), request).await {
        Ok(result) => result.map_err(|error| format!("{what}: {error:?}")),
        Err(_) => Err(format!("{what}: no answer within {HUNG:?}")),
    }
}
