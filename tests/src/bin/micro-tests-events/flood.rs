//! Many events, and a subscriber that does not get on.
//!
//! Brokers with a server keep the events for it. Where there is none, it pushes its publishers back: the handlers
//! sleep until no publish resolves any more, and then a millisecond for each event.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use micro_runtime::broker::{AnyBroker, Event, Http, Memory, Message, Publisher, subscribe};
use micro_runtime::{Context, Error, registry};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::{Settings, wrong};

/// What each event carries.
const BODY: [u8; 64] = [b'x'; 64];

/// How long nothing must be published for the publisher to stand still.
const STILL: Duration = Duration::from_secs(1);

/// How long a handler sleeps then.
const NAP: Duration = Duration::from_millis(1);

pub(crate) async fn run(settings: &Settings) -> Result<(), Error> {
    publish(settings, &settings.broker()?, &AtomicUsize::new(0)).await
}

/// Publishes all, and says how many were published.
async fn publish(
    settings: &Settings,
    broker: &AnyBroker,
    published: &AtomicUsize,
) -> Result<(), Error> {
    let publisher = Publisher::<String>::new(broker, settings.text("topic")?)
        .delivery(settings.level()?)?
        .timeout(Duration::from_secs(60));
    let in_flight: usize = settings.number("in-flight")?;
    let mut failed = 0_usize;
    let mut running = JoinSet::new();
    let mut count = |result: Result<Result<(), Error>, tokio::task::JoinError>| match result {
        Ok(Ok(())) => drop(published.fetch_add(1, Ordering::Relaxed)),
        Ok(Err(error)) => {
            failed += 1;
            if failed < 10 {
                println!("not published: {error:?}");
            }
        }
        Err(error) => println!("not published: {error}"),
    };
    for _ in 0..settings.number::<usize>("count")? {
        if running.len() >= in_flight
            && let Some(result) = running.join_next().await
        {
            count(result);
        }
        let message = Message::new(publisher.topic(), BODY.to_vec());
        running.spawn(publisher.publish_raw(message));
    }
    while let Some(result) = running.join_next().await {
        count(result);
    }
    let published = published.load(Ordering::Relaxed);
    println!("published {published}, failed {failed}");
    Ok(())
}

/// Both ends in this process, of a broker that has no server.
pub(crate) async fn push_back(settings: &Settings) -> Result<(), Error> {
    let (receiving, sending) = match settings.text("broker")? {
        "memory" => {
            let broker = AnyBroker::new(Memory::new());
            (broker.clone(), broker)
        }
        "http" => {
            let registry = registry::Memory::new();
            let broker = || AnyBroker::new(Http::new().registry(registry.clone()));
            (broker(), broker())
        }
        other => {
            return Err(wrong(format_args!(
                "expected memory or http, found {other:?}"
            )));
        }
    };
    let concurrency: usize = settings.number("concurrency")?;
    let (open, gate) = watch::channel(false);
    let running = Arc::new(AtomicUsize::new(0));
    let topic = settings.topic()?.queue("sleepers").concurrency(concurrency);
    let subscription = subscribe(&receiving, topic, move |_: Context, _: Event| {
        let (running, mut gate) = (Arc::clone(&running), gate.clone());
        async move {
            if running.fetch_add(1, Ordering::Relaxed) + 1 == concurrency {
                println!("holds {concurrency}");
            }
            // Its other end lives as long as the process.
            let _ = gate.wait_for(|open| *open).await;
            tokio::time::sleep(NAP).await;
            Ok(())
        }
    })?;
    subscription.ready().await?;
    println!("idle {}", resident()?);
    let published = Arc::new(AtomicUsize::new(0));
    let watched = Arc::clone(&published);
    tokio::spawn(async move {
        let mut before = None;
        loop {
            tokio::time::sleep(STILL).await;
            let now = watched.load(Ordering::Relaxed);
            if before == Some(now) {
                println!("stands still at {now}");
                open.send_replace(true);
                return;
            }
            before = Some(now);
        }
    });
    publish(settings, &sending, &published).await?;
    let stats = subscription.stats();
    println!("handled {}", stats.handled);
    std::future::pending().await
}

/// The resident memory of this process, in bytes (proc(5), `VmRSS`).
fn resident() -> Result<u64, Error> {
    let status = std::fs::read_to_string("/proc/self/status").map_err(wrong)?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.map(|kib| kib << 10)
        .ok_or_else(|| wrong(format_args!("expected VmRSS, found {status}")))
}

/// A subscriber whose handlers sleep. It tells when as many of them run as may.
pub(crate) async fn sleep(settings: &Settings) -> Result<(), Error> {
    let concurrency: usize = settings.number("concurrency")?;
    let topic = settings.topic()?.concurrency(concurrency);
    let running = Arc::new(AtomicUsize::new(0));
    let subscription = subscribe(&settings.broker()?, topic, move |_: Context, _: Event| {
        let running = Arc::clone(&running);
        async move {
            if running.fetch_add(1, Ordering::Relaxed) + 1 == concurrency {
                println!("holds {concurrency}");
            }
            std::future::pending().await
        }
    })?;
    subscription.ready().await?;
    println!("subscribed");
    std::future::pending().await
}
