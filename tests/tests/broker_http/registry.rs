//! Registries that are away, and those over the network.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use micro_runtime::broker::{Broker, Consumer, Event, Http, Topic};
use micro_runtime::registry::{Mdns, Memory, Registry, Service, Watcher};
use micro_runtime::{Error, ErrorKind};
use micro_tests::events::{Acking, PATIENCE, publish};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::{broker, entries, entry, message, one_of, publish_within};

/// A registry that can be out of reach.
#[derive(Clone, Default)]
struct Away {
    inner: Memory,
    is_away: Arc<watch::Sender<bool>>,
    asked: Arc<AtomicUsize>,
}

impl Away {
    fn go(&self, away: bool) {
        self.is_away.send_replace(away);
    }

    fn check(&self) -> Result<(), Error> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        match *self.is_away.borrow() {
            true => Err(Error::new(ErrorKind::Registry, "nobody answers there")),
            false => Ok(()),
        }
    }
}

impl Registry for Away {
    fn name(&self) -> &'static str {
        "away"
    }

    async fn register(&self, service: &Service, ttl: Duration) -> Result<(), Error> {
        self.check()?;
        self.inner.register(service, ttl).await
    }

    async fn deregister(&self, service: &Service) -> Result<(), Error> {
        self.check()?;
        self.inner.deregister(service).await
    }

    async fn get(&self, name: &str) -> Result<Vec<Service>, Error> {
        self.check()?;
        self.inner.get(name).await
    }

    async fn list(&self) -> Result<Vec<Service>, Error> {
        self.check()?;
        self.inner.list().await
    }

    async fn watch(&self, name: Option<&str>) -> Result<Watcher, Error> {
        self.check()?;
        let mut watcher = self.inner.watch(name).await?;
        let (sender, receiver) = mpsc::channel(1);
        let mut is_away = self.is_away.subscribe();
        tokio::spawn(async move {
            loop {
                let event = tokio::select! {
                    event = watcher.next() => event,
                    _ = is_away.wait_for(|away| *away) => break,
                    () = sender.closed() => break,
                };
                let Some(event) = event else { break };
                if sender.send(event).await.is_err() {
                    break;
                }
            }
        });
        Ok(Watcher::from_channel(receiver))
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_is_away_does_not_matter_later() {
    let registry = Away::default();
    let ours = Http::new().registry(registry.clone());
    let mut open = Acking::subscribe(&ours, &Topic::new("t")).await.unwrap();
    let publisher = Http::new().registry(registry.clone());
    publish(&publisher, message("t")).await.unwrap();
    registry.go(true);
    // The entry's time passes unrenewed; who knows of it goes on.
    for _ in 0..40 {
        tokio::time::sleep(Duration::from_secs(5)).await;
        publish(&publisher, message("t")).await.unwrap();
    }
    assert!(entries(&registry.inner).await.is_empty());
    registry.go(false);
    let begun = Instant::now();
    while entries(&registry.inner).await.is_empty() {
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(begun.elapsed() < Duration::from_secs(10));
    }
    publish(&publisher, message("t")).await.unwrap();
    for _ in 0..42 {
        open.next().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_is_away_at_the_start_is_waited_for() {
    let registry = Away::default();
    registry.go(true);
    let publisher = Http::new().registry(registry.clone());
    let begun = Instant::now();
    let error = publish_within(&publisher, message("t"), Duration::from_secs(8)).await;
    let words = error.unwrap_err().to_string();
    assert!(
        words.contains("registry away") && words.contains("nobody answers there"),
        "{words}"
    );
    assert_eq!(begun.elapsed().as_secs(), 8);
    let ours = Http::new().registry(registry.clone());
    let topic = Topic::new("t");
    let subscribing = Acking::subscribe(&ours, &topic);
    let mut subscribing = std::pin::pin!(subscribing);
    let waited = tokio::time::timeout(Duration::from_secs(30), &mut subscribing).await;
    assert!(waited.is_err());
    // With pauses, not as fast as it can.
    assert!(
        registry.asked.load(Ordering::SeqCst) < 60,
        "{:?}",
        registry.asked
    );
    registry.go(false);
    let mut open = subscribing.await.unwrap();
    publish(&publisher, message("t")).await.unwrap();
    open.next().await.unwrap();
}

/// While it is away nobody knows whether somebody subscribed meanwhile.
#[tokio::test(start_paused = true)]
async fn one_that_is_away_does_not_mean_that_nobody_is_there() {
    let registry = Away::default();
    let publisher = Http::new().registry(registry.clone());
    publish(&publisher, message("t")).await.unwrap();
    registry.go(true);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let begun = Instant::now();
    let error = publish_within(&publisher, message("t"), Duration::from_secs(8)).await;
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Broker);
    let words = error.to_string();
    assert!(
        words.contains("registry away") && words.contains("nobody answers there"),
        "{words}"
    );
    assert_eq!(begun.elapsed().as_secs(), 8);
    // Somebody for whom it is not away.
    let theirs = Http::new().registry(registry.inner.clone());
    let mut open = Acking::subscribe(&theirs, &Topic::new("t")).await.unwrap();
    let (published, ()) = tokio::join!(publish(&publisher, message("t")), async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        registry.go(false);
    });
    published.unwrap();
    open.next().await.unwrap();
}

/// A registry that takes no entries.
struct ReadOnly;

impl Registry for ReadOnly {
    fn name(&self) -> &'static str {
        "read-only"
    }

    async fn register(&self, _: &Service, _: Duration) -> Result<(), Error> {
        Err(Error::new(ErrorKind::Unsupported, "it is read only"))
    }

    async fn deregister(&self, _: &Service) -> Result<(), Error> {
        Ok(())
    }

    async fn get(&self, _: &str) -> Result<Vec<Service>, Error> {
        Ok(Vec::new())
    }

    async fn list(&self) -> Result<Vec<Service>, Error> {
        Ok(Vec::new())
    }

    async fn watch(&self, _: Option<&str>) -> Result<Watcher, Error> {
        Err(Error::new(ErrorKind::Unsupported, "it tells of nothing"))
    }
}

#[tokio::test]
async fn one_that_takes_no_entries_is_an_error() {
    let ours = Http::new().registry(ReadOnly);
    let error = ours.subscribe(&Topic::new("t")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    publish(&ours, message("t")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn entries_are_refreshed_while_they_are_wanted() {
    let registry = Memory::new();
    let ours = broker(&registry);
    let open = ours.subscribe(&Topic::new("t")).await.unwrap();
    let before = entry(&registry).await;
    for _ in 0..30 {
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(entry(&registry).await, before);
    }
    open.close().await;
    assert!(entries(&registry).await.is_empty());
    let open = ours.subscribe(&Topic::new("t")).await.unwrap();
    assert_ne!(entry(&registry).await.id, before.id);
    // Dropped, it goes too, with nobody waiting.
    drop(open);
    let begun = Instant::now();
    while !entries(&registry).await.is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert!(begun.elapsed() < Duration::from_secs(1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_find_each_other_by_mdns() {
    let make = || Http::new().registry(Mdns::new().loopback_only());
    let mut all = Acking::subscribe(&make(), &Topic::new("events.over.mdns"))
        .await
        .unwrap();
    let topic = Topic::new("events.over.mdns").queue("q");
    let (one, two) = (make(), make());
    let mut members = [
        Acking::subscribe(&one, &topic).await.unwrap(),
        Acking::subscribe(&two, &topic).await.unwrap(),
    ];
    let publisher = make().require_subscriber(true);
    // Who answers late is found late: until each has had one.
    let begun = Instant::now();
    let mut found = [false; 3];
    while found != [true; 3] {
        let first = message("events.over.mdns").header("x-first", "yes");
        // The first answer may be of nobody.
        let _ = publish_within(&publisher, first, Duration::from_secs(5)).await;
        let [one, two] = &mut members;
        for (found, open) in found.iter_mut().zip([&mut all, one, two]) {
            *found |= open.events.try_recv().is_ok();
        }
        assert!(begun.elapsed() < PATIENCE, "{found:?}");
    }
    for _ in 0..20 {
        publish(&publisher, message("events.over.mdns"))
            .await
            .unwrap();
    }
    let is_first = |event: &Event| event.headers().get("x-first").is_some();
    for _ in 0..20 {
        while is_first(&all.next().await.unwrap()) {}
        while is_first(&one_of(&mut members).await) {}
    }
    for open in [&mut all].into_iter().chain(&mut members) {
        assert!(open.events.try_recv().is_err());
    }
}
