//! Events between go-micro's brokers and ours.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use micro_runtime::broker::{AnyBroker, Broker, Event, Message, Payload, Publisher, Topic};
use micro_runtime::prost::Message as _;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::{Acking, PATIENCE, publish};
use crate::contract::Report;
use crate::go::{Process, Program};
use crate::peer::full_request;
use crate::peer::v1::Req;

/// The content types that both sides publish.
const GRPC: &str = "application/grpc+proto";
const PROTOBUF: &str = "application/protobuf";
const JSON: &str = "application/json";

/// A header that every event has, as Go writes its name, and its value.
const HEADER: &str = "X-Foo-Bar";
const VALUE: &str = "Baz <&> \"b\", c";

/// A header that go-micro alone sends: ours takes visible ASCII only.
const THEIR_HEADER: &str = "X-Gruss";
const THEIR_VALUE: &str = "Grüße\n";

/// Events of a case, and of one in which two share a queue.
const FEW: usize = 5;
const MANY: usize = 40;

/// What events are called that are sent until somebody is known to be there.
const WARM_UP: &str = "warm-up";

/// What is known of a broker.
struct Side<'a> {
    program: Program,
    flags: Vec<&'a str>,
    broker: AnyBroker,
    other: AnyBroker,
}

/// Events from go-micro to us and from us to go-micro, of each content type, alone and in queues: with each
/// version of go-micro that has this broker, which is told `--broker NAME --broker_address ADDRESS`; `http` has
/// no address, and finds subscribers by mDNS. `make` gives a broker of its own each time, as another process
/// has. Prints and returns the number of cases.
///
/// # Panics
/// A case failed, or a program is missing; `.ci/peers.sh` builds them.
pub async fn go<B: Broker>(name: &str, address: &str, make: impl Fn() -> B) -> usize {
    let mut report = Report::new(format!("events {name}"));
    let mut flags = vec!["--broker", name];
    if !address.is_empty() {
        flags.extend(["--broker_address", address]);
    }
    for program in programs(name) {
        let side = Side {
            program: Program::find(program).unwrap_or_else(|error| panic!("{error}")),
            flags: flags.clone(),
            broker: AnyBroker::new(make()),
            other: AnyBroker::new(make()),
        };
        // Redis has no queues with go-micro: every subscriber gets every event.
        let queues: &[Option<&str>] = match name {
            "redis" => &[None],
            _ => &[None, Some("billing")],
        };
        for queue in queues {
            for content_type in [GRPC, PROTOBUF, JSON] {
                side.run(&mut report, queue, content_type).await;
            }
            side.run_together(&mut report, *queue).await;
        }
        side.broker.close().await;
        side.other.close().await;
    }
    report.finish()
}

/// The programs that have a broker of this name.
fn programs(broker: &str) -> &'static [&'static str] {
    match broker {
        // Plugins that go-micro v5 does not have.
        "kafka" | "redis" => &["gomicro2"],
        _ => &["gomicro2", "gomicro5"],
    }
}

/// What events are published with.
enum By<'a> {
    Us(&'a str),
    Go(&'a str),
}

// ===== impl Side =====

impl Side<'_> {
    async fn run(&self, report: &mut Report, queue: &Option<&str>, content_type: &str) {
        let program = self.program.name;
        let of = of(*queue);
        report
            .case(
                &format!("{program} publishes {content_type}, we receive it{of}"),
                self.we_receive(*queue, content_type),
            )
            .await;
        report
            .case(
                &format!("we publish {content_type}, {program} receives it{of}"),
                self.they_receive(*queue, content_type),
            )
            .await;
    }

    /// Both subscribe, and each publishes: without a queue both get everything, else each event goes to one.
    async fn run_together(&self, report: &mut Report, queue: Option<&str>) {
        let program = self.program.name;
        let (what, of) = match queue {
            Some(_) => ("shares a queue with us", ""),
            None => ("and we both receive", ""),
        };
        let topic = unique(&format!("{program}.both"));
        let opened = self.open_both(&topic, queue).await;
        let mut both = match opened {
            Ok(both) => both,
            Err(error) => {
                let failed = std::future::ready(Err(error));
                report.case(&format!("{program} {what}{of}"), failed).await;
                return;
            }
        };
        for (who, by) in [
            ("we publish", By::Us(PROTOBUF)),
            (program, By::Go(PROTOBUF)),
        ] {
            let name = match by {
                By::Us(_) => format!("{program} {what}, {who}"),
                By::Go(_) => format!("{program} {what}, {who} publishes"),
            };
            let case = self.share(&mut both, &topic, queue, by);
            report.case(&name, case).await;
        }
        let (ours, theirs) = both;
        let closing = async {
            ours.close().await;
            theirs.stop().await
        };
        report
            .case(&format!("{program} {what}, and stops"), closing)
            .await;
    }

    async fn we_receive(&self, queue: Option<&str>, content_type: &str) -> Result<(), String> {
        let topic = unique(self.program.name);
        let mut members = Vec::new();
        for _ in queue.iter().chain([&""]) {
            members.push(self.subscribe(&topic, queue).await?);
        }
        let by = By::Go(content_type);
        let process = self.publish(&by, &topic, "one", FEW).await?;
        let mut names = BTreeSet::new();
        let begun = Instant::now();
        while names.len() < FEW {
            let mut came = Vec::new();
            for member in &mut members {
                came.extend(std::iter::from_fn(|| member.events.try_recv().ok()));
            }
            for event in came {
                let name = checked(&event, &topic, content_type)?;
                if !names.insert(name.clone()) {
                    return Err(format!("{name} came twice"));
                }
            }
            if begun.elapsed() > PATIENCE {
                return Err(format!("of {FEW} events only {names:?} came"));
            }
            sleep(Duration::from_millis(5)).await;
        }
        for (name, number) in names.iter().zip(0..) {
            same("a name", &format!("one-{number}"), name)?;
        }
        if let Some(process) = process {
            process.stop().await?;
        }
        for member in members {
            let rest = member.close().await;
            if !rest.is_empty() {
                return Err(format!("{} events came twice", rest.len()));
            }
        }
        Ok(())
    }

    async fn they_receive(&self, queue: Option<&str>, content_type: &str) -> Result<(), String> {
        let topic = unique(self.program.name);
        let mut theirs = self.start(&topic, queue).await?;
        let mut lines = Theirs::new(&mut theirs, &topic);
        self.warm_up(&topic, &mut lines, None).await?;
        self.publish(&By::Us(content_type), &topic, "one", FEW)
            .await?;
        let mut names = BTreeSet::new();
        for _ in 0..FEW {
            let (name, line) = lines.next().await?;
            same("the content type", content_type, &line["type"])?;
            same(
                "the header Content-Type",
                content_type,
                &line["headers"]["Content-Type"],
            )?;
            names.insert(name);
        }
        let expected: BTreeSet<_> = (0..FEW).map(|number| format!("one-{number}")).collect();
        same("the names", &expected, &names)?;
        theirs.stop().await
    }

    async fn open_both(
        &self,
        topic: &str,
        queue: Option<&str>,
    ) -> Result<(Acking, Process), String> {
        let mut theirs = self.start(topic, queue).await?;
        let mut ours = self.subscribe(topic, queue).await?;
        let mut lines = Theirs::new(&mut theirs, topic);
        self.warm_up(topic, &mut lines, Some(&mut ours)).await?;
        Ok((ours, theirs))
    }

    async fn share(
        &self,
        (ours, theirs): &mut (Acking, Process),
        topic: &str,
        queue: Option<&str>,
        by: By<'_>,
    ) -> Result<(), String> {
        let prefix = match by {
            By::Us(_) => "ours",
            By::Go(_) => "theirs",
        };
        let count = if queue.is_some() { MANY } else { FEW };
        let mut lines = Theirs::new(theirs, topic);
        let process = self.publish(&by, topic, prefix, count).await?;
        let expected: BTreeSet<_> = (0..count).map(|n| format!("{prefix}-{n}")).collect();
        let (mut we, mut they) = (BTreeSet::new(), BTreeSet::new());
        let wanted = if queue.is_some() { count } else { 2 * count };
        while we.len() + they.len() < wanted {
            let (set, name) = tokio::select! {
                event = ours.next() => (&mut we, name_of(&event?)?),
                line = lines.next() => (&mut they, line?.0),
            };
            if !name.starts_with(WARM_UP) && !set.insert(name.clone()) {
                return Err(format!("{name} came twice"));
            }
        }
        if queue.is_some() {
            if !we.is_disjoint(&they) {
                return Err(format!("both got {:?}", we.intersection(&they)));
            }
            if we.is_empty() || they.is_empty() {
                return Err(format!("we got {} and they {}", we.len(), they.len()));
            }
            we.append(&mut they);
            same("what came", &expected, &we)?;
        } else {
            same("what we got", &expected, &we)?;
            same("what they got", &expected, &they)?;
        }
        match process {
            Some(process) => process.stop().await,
            None => Ok(()),
        }
    }

    /// Subscribes with Go, which says so when it has told its broker.
    async fn start(&self, topic: &str, queue: Option<&str>) -> Result<Process, String> {
        let mut arguments = vec!["subscribe", "--topic", topic];
        let queue = queue.map(|queue| queue_of(queue, topic));
        if let Some(queue) = &queue {
            arguments.extend(["--queue", queue]);
        }
        arguments.extend(&self.flags);
        let mut process = self.program.start(&arguments)?;
        match process.line().await?.as_str() {
            "READY" => Ok(process),
            other => Err(format!("expected READY, found {other:?}")),
        }
    }

    async fn subscribe(&self, topic: &str, queue: Option<&str>) -> Result<Acking, String> {
        let mut wanted = Topic::new(topic);
        if let Some(queue) = queue {
            wanted = wanted.queue(queue_of(queue, topic));
        }
        let subscribed = Acking::subscribe(&self.other, &wanted).await;
        subscribed.map_err(|error| format!("we cannot subscribe: {error:?}"))
    }

    /// Publishes until it arrives: a broker may take a while until it knows of a new subscriber, and few say
    /// when they do.
    async fn warm_up(
        &self,
        topic: &str,
        theirs: &mut Theirs<'_>,
        mut ours: Option<&mut Acking>,
    ) -> Result<(), String> {
        let begun = Instant::now();
        let mut missing = if ours.is_some() { 2 } else { 1 };
        let mut why = None;
        theirs.warming = true;
        while missing > 0 {
            if begun.elapsed() > PATIENCE {
                return Err(format!("nothing came through within {PATIENCE:?}: {why:?}"));
            }
            // Some brokers say that nobody is there.
            let published = self.publish(&By::Us(PROTOBUF), topic, WARM_UP, 1).await;
            why = published.err().or(why);
            let soon = sleep(Duration::from_millis(200));
            tokio::select! {
                line = theirs.next(), if theirs.warming => {
                    line?;
                    theirs.warming = false;
                    missing -= 1;
                }
                event = next_of(&mut ours) => {
                    event?;
                    ours = None;
                    missing -= 1;
                }
                () = soon => {}
            }
        }
        theirs.warming = false;
        Ok(())
    }

    /// Publishes events of these names: `prefix-0` and so on. Go's process has to live until they have
    /// arrived.
    async fn publish(
        &self,
        by: &By<'_>,
        topic: &str,
        prefix: &str,
        count: usize,
    ) -> Result<Option<Process>, String> {
        let content_type = match by {
            By::Go(content_type) => {
                let count = count.to_string();
                let meta = format!("{HEADER}={VALUE}");
                let mut arguments = vec!["publish", "--topic", topic, "--name", prefix];
                arguments.extend(["--count", &count, "--content-type", content_type]);
                let their_meta = format!("{THEIR_HEADER}={THEIR_VALUE}");
                arguments.extend(["--meta", &meta, "--meta", &their_meta]);
                arguments.extend(&self.flags);
                let mut process = self.program.start(&arguments)?;
                let line = process.line().await?;
                return match line.as_str() {
                    "PUBLISHED" => Ok(Some(process)),
                    other => Err(format!("expected PUBLISHED, found {other:?}")),
                };
            }
            By::Us(content_type) => *content_type,
        };
        let publisher = Publisher::<Req>::new(&self.broker, topic).timeout(PATIENCE);
        let publisher = match content_type {
            JSON => publisher.json(),
            _ => publisher,
        };
        for number in 0..count {
            let req = Req {
                name: format!("{prefix}-{number}"),
                ..full_request()
            };
            let published = match content_type {
                // As go-micro's gRPC client writes it; our publisher has another name for the same.
                GRPC => {
                    let body = Bytes::from(req.encode_to_vec());
                    let message = Message::new(topic, body)
                        .header("content-type", GRPC)
                        .header("micro-topic", topic)
                        .header(HEADER, VALUE);
                    publish(&self.broker, message).await
                }
                _ => publisher.publish(&req).metadata(HEADER, VALUE).await,
            };
            published.map_err(|error| format!("we cannot publish: {error:?}"))?;
        }
        Ok(None)
    }
}

/// The lines of Go's subscriber.
struct Theirs<'a> {
    process: &'a mut Process,
    topic: &'a str,
    /// What is sent ahead is what is waited for.
    warming: bool,
}

// ===== impl Theirs =====

impl<'a> Theirs<'a> {
    fn new(process: &'a mut Process, topic: &'a str) -> Theirs<'a> {
        Theirs {
            process,
            topic,
            warming: false,
        }
    }

    /// The name of the next event, and its line, once it is seen to be whole.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    async fn next(&mut self) -> Result<(String, Value), String> {
        loop {
            let line = self.process.json().await?;
            let name = line["name"].as_str().unwrap_or_default().to_owned();
            same("what is whole", &true, &line["whole"])
                .and_then(|()| same("the topic", self.topic, &line["topic"]))
                .and_then(|()| same(HEADER, VALUE, &line["headers"][HEADER]))
                .and_then(|()| same("Micro-Topic", self.topic, &line["headers"]["Micro-Topic"]))
                .map_err(|error| format!("{error} in {line}"))?;
            if self.warming || !name.starts_with(WARM_UP) {
                return Ok((name, line));
            }
        }
    }
}

async fn next_of(ours: &mut Option<&mut Acking>) -> Result<Event, String> {
    match ours {
        Some(ours) => ours.next().await,
        None => std::future::pending().await,
    }
}

/// The name of an event, once it is seen to be whole.
fn checked(event: &Event, topic: &str, content_type: &str) -> Result<String, String> {
    let header = |name: &str| event.headers().get(name).unwrap_or_default();
    same("the topic", topic, event.topic())?;
    same(
        "the header content-type",
        content_type,
        header("content-type"),
    )?;
    same("the header micro-topic", topic, header("micro-topic"))?;
    same(HEADER, VALUE, header("x-foo-bar"))?;
    same(THEIR_HEADER, THEIR_VALUE, header("x-gruss"))?;
    let req = <Req as Payload>::decode(event).map_err(|status| status.to_string())?;
    let expected = Req {
        name: req.name.clone(),
        ..full_request()
    };
    same("the event", &expected, &req)?;
    Ok(req.name)
}

fn name_of(event: &Event) -> Result<String, String> {
    let req = <Req as Payload>::decode(event).map_err(|status| status.to_string())?;
    Ok(req.name)
}

fn same<T, U>(what: &str, expected: &T, found: &U) -> Result<(), String>
where
    T: ?Sized + Debug + PartialEq<U>,
    U: ?Sized + Debug,
{
    if expected == found {
        Ok(())
    } else {
        Err(format!("{what}: expected {expected:?}, found {found:?}"))
    }
}

/// A queue that no other topic has: with Kafka its members would be of one group.
fn queue_of(queue: &str, topic: &str) -> String {
    format!("{queue}.{topic}")
}

fn of(queue: Option<&str>) -> &'static str {
    match queue {
        Some(_) => " in a queue",
        None => "",
    }
}

/// A topic that nobody else uses.
fn unique(what: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("events.{what}.{}-{count}", std::process::id())
}
