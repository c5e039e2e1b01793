use std::collections::BTreeMap;

use tokio::time::advance;

use super::lookup::{Kind, Records, Srv};
use super::*;
use crate::exchange::BoxFuture;
use crate::registry::Action;

/// A zone: what each question is answered with. What is not in it does not exist.
#[derive(Clone, Default)]
struct Zone(Arc<ZoneInner>);

/// Records, or why there are none.
type Scripted = Result<Records, &'static str>;

#[derive(Default)]
struct ZoneInner {
    records: Mutex<HashMap<(String, &'static str), Scripted>>,
    asked: Mutex<Vec<String>>,
}

fn key(kind: Kind) -> &'static str {
    match kind {
        Kind::Srv => "SRV",
        Kind::A => "A",
        Kind::Aaaa => "AAAA",
    }
}

impl Zone {
    fn set(&self, name: &str, kind: &'static str, answer: Result<Records, &'static str>) {
        self.0
            .records
            .lock()
            .unwrap()
            .insert((name.to_owned(), kind), answer);
    }

    fn a(&self, name: &str, addresses: &[&str], ttl: u64) {
        for (kind, six) in [("A", false), ("AAAA", true)] {
            let of_kind = addresses.iter().filter(|a| a.contains(':') == six);
            let list: Vec<_> = of_kind.map(|a| a.parse().unwrap()).collect();
            let mut records = Records::default();
            if !list.is_empty() {
                let plain = name.strip_suffix('.').unwrap().to_owned();
                records.addresses.insert(plain, list);
                records.ttl = Duration::from_secs(ttl);
            }
            self.set(name, kind, Ok(records));
        }
    }

    /// Each `priority weight port target`, or `target=address` of what comes along.
    fn srv(&self, name: &str, lines: &[&str], ttl: u64) {
        let mut records = Records {
            ttl: Duration::from_secs(ttl),
            ..Records::default()
        };
        for line in lines {
            if let Some((target, address)) = line.split_once('=') {
                let of = records.addresses.entry(target.to_owned()).or_default();
                of.push(address.parse().unwrap());
                continue;
            }
            let parts: Vec<_> = line.split(' ').collect();
            records.srv.push(Srv {
                priority: parts[0].parse().unwrap(),
                weight: parts[1].parse().unwrap(),
                port: parts[2].parse().unwrap(),
                target: parts[3].to_owned(),
            });
        }
        self.set(name, "SRV", Ok(records));
    }

    fn fails(&self, name: &str, kinds: &[&'static str]) {
        for kind in kinds {
            self.set(name, kind, Err("SERVFAIL"));
        }
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.0.asked.lock().unwrap())
    }

    fn registry(&self, pattern: &str) -> Dns {
        let config = Config::parse([pattern.to_owned()].into_iter());
        let config = config.map_err(|error| error.to_string());
        Dns::with_lookup(config, MIN_INTERVAL, Box::new(self.clone()))
    }
}

impl Lookup for Zone {
    fn ask<'a>(&'a self, name: &'a str, kind: Kind) -> BoxFuture<'a, Result<Records, Error>> {
        self.0
            .asked
            .lock()
            .unwrap()
            .push(format!("{name} {}", key(kind)));
        let records = self.0.records.lock().unwrap();
        let answer = records.get(&(name.to_owned(), key(kind))).cloned();
        Box::pin(async move {
            match answer {
                None => Ok(Records::default()),
                Some(answer) => answer.map_err(Error::registry),
            }
        })
    }
}

async fn found(registry: &Dns) -> Result<Vec<String>, String> {
    let services = Registry::get(registry, "greeter").await;
    let services = services.map_err(|error| error.to_string())?;
    let nodes = services.iter().flat_map(|service| &service.nodes);
    Ok(nodes.map(|node| node.address.clone()).collect())
}

async fn next(watcher: &mut Watcher) -> (Option<Action>, String) {
    match watcher.next().await {
        Some(Ok(event)) => {
            let nodes = event.service.nodes.iter().map(|node| node.address.as_str());
            (Some(event.action), nodes.collect::<Vec<_>>().join(" "))
        }
        Some(Err(error)) => (None, error.to_string()),
        None => (None, "the end".to_owned()),
    }
}

#[tokio::test(start_paused = true)]
async fn addresses_of_both_families_with_the_port_of_the_pattern() {
    let zone = Zone::default();
    zone.a(
        "greeter.test.",
        &["10.0.0.2", "10.0.0.1", "fd00::1", "10.0.0.1"],
        60,
    );
    let registry = zone.registry("{service}.test:8080");
    let services = Registry::get(&registry, "greeter").await.unwrap();
    assert_eq!(services.len(), 1);
    assert_eq!(services[0].version, "latest");
    let first = &services[0].nodes[0];
    assert_eq!(first.id, "greeter-10.0.0.1:8080");
    assert_eq!(
        first.metadata,
        BTreeMap::from([("host".into(), "greeter.test".into())])
    );
    assert_eq!(
        found(&registry).await.unwrap(),
        ["10.0.0.1:8080", "10.0.0.2:8080", "[fd00::1]:8080"]
    );
    assert_eq!(zone.asked(), ["greeter.test. A", "greeter.test. AAAA"]);
    // One family is enough, but then it is asked for again soon, and the other one stays as it was.
    zone.a("greeter.test.", &["10.0.0.2"], 60);
    zone.fails("greeter.test.", &["AAAA"]);
    advance(Duration::from_secs(60)).await;
    let kept = ["10.0.0.2:8080", "[fd00::1]:8080"];
    assert_eq!(found(&registry).await.unwrap(), kept);
    let fresh = zone.registry("{service}.test:8080");
    assert_eq!(found(&fresh).await.unwrap(), ["10.0.0.2:8080"]);
    zone.a("greeter.test.", &["10.0.0.3"], 60);
    advance(MIN_INTERVAL).await;
    assert_eq!(found(&registry).await.unwrap(), ["10.0.0.3:8080"]);
    // The same of the target of an SRV record.
    let registry = zone.registry("{service}.srv");
    zone.srv("greeter.srv.", &["1 1 1 a.test", "1 1 2 a.test"], 60);
    zone.a("a.test.", &["10.0.0.1", "fd00::1"], 60);
    let all = ["10.0.0.1:1", "10.0.0.1:2", "[fd00::1]:1", "[fd00::1]:2"];
    assert_eq!(found(&registry).await.unwrap(), all);
    zone.fails("a.test.", &["A"]);
    advance(Duration::from_secs(60)).await;
    assert_eq!(found(&registry).await.unwrap(), all);
}

#[tokio::test(start_paused = true)]
async fn srv_targets_of_the_lowest_priority_with_weights() {
    let zone = Zone::default();
    let name = "_grpc._tcp.greeter.test.";
    zone.srv(
        name,
        &[
            "10 5 9001 a.test",
            "10 0 9002 b.test",
            "20 1 9003 c.test",
            "10 1 0 d.test",
            "10 1 9005 nobody.test",
            "a.test=10.0.0.1",
        ],
        60,
    );
    zone.a("b.test.", &["10.0.0.2", "fd00::2"], 30);
    zone.a("c.test.", &["10.0.0.3"], 60);
    let registry = zone.registry("_grpc._tcp.{service}.test.");
    let services = Registry::get(&registry, "greeter").await.unwrap();
    let shown: Vec<String> = services[0]
        .nodes
        .iter()
        .map(|node| {
            let of = |key: &str| node.metadata[key].clone();
            format!(
                "{} {} {} {}",
                node.address,
                of("host"),
                of("weight"),
                of("priority")
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            "10.0.0.1:9001 a.test 5 10",
            "10.0.0.2:9002 b.test 0 10",
            "[fd00::2]:9002 b.test 0 10"
        ]
    );
    // The shortest of all times holds.
    zone.asked();
    advance(Duration::from_secs(29)).await;
    found(&registry).await.unwrap();
    assert!(zone.asked().is_empty());
    // Where the lowest has no address, the next one stands in; without weights none are written.
    zone.srv(name, &["10 0 9001 gone.test", "20 0 9003 c.test"], 60);
    advance(Duration::from_secs(1)).await;
    let services = Registry::get(&registry, "greeter").await.unwrap();
    assert_eq!(services[0].nodes[0].address, "10.0.0.3:9003");
    assert_eq!(
        services[0].nodes[0].metadata,
        BTreeMap::from([("host".into(), "c.test".into())])
    );
    // "." says that there is no such service (RFC 2782).
    zone.srv(name, &["0 0 0 "], 60);
    advance(Duration::from_secs(60)).await;
    assert!(found(&registry).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_target_that_fails_keeps_its_former_addresses() {
    let zone = Zone::default();
    let registry = zone.registry("{service}.test");
    zone.srv("greeter.test.", &["1 1 1 a.test", "1 1 2 b.test"], 60);
    zone.a("a.test.", &["10.0.0.1"], 60);
    zone.fails("b.test.", &["A", "AAAA"]);
    assert_eq!(
        found(&registry).await.unwrap(),
        ["10.0.0.1:1"],
        "b was never known"
    );
    zone.a("b.test.", &["10.0.0.2"], 60);
    advance(MIN_INTERVAL).await;
    assert_eq!(
        found(&registry).await.unwrap(),
        ["10.0.0.1:1", "10.0.0.2:2"]
    );
    zone.fails("b.test.", &["A", "AAAA"]);
    zone.a("a.test.", &["10.0.0.9"], 60);
    advance(Duration::from_secs(60)).await;
    assert_eq!(
        found(&registry).await.unwrap(),
        ["10.0.0.2:2", "10.0.0.9:1"]
    );
    // None at all is an error, not "none".
    let other = zone.registry("{service}.test");
    zone.fails("a.test.", &["A", "AAAA"]);
    assert_eq!(found(&other).await.unwrap_err(), "SERVFAIL");
}

#[tokio::test(start_paused = true)]
async fn an_answer_holds_as_long_as_it_says_within_bounds() {
    let zone = Zone::default();
    let registry = zone.registry("{service}.test:1");
    for (ttl, holds) in [(0, 5), (20, 20), (86_400, 300)] {
        zone.a("greeter.test.", &["10.0.0.1"], ttl);
        found(&registry).await.unwrap();
        zone.asked();
        advance(Duration::from_secs(holds) - Duration::from_millis(1)).await;
        found(&registry).await.unwrap();
        assert!(zone.asked().is_empty(), "{ttl}");
        advance(Duration::from_millis(1)).await;
        found(&registry).await.unwrap();
        assert_eq!(zone.asked().len(), 2, "{ttl}");
        advance(Duration::from_secs(300)).await;
    }
    // So does "none".
    zone.a("greeter.test.", &[], 0);
    assert!(found(&registry).await.unwrap().is_empty());
    zone.asked();
    assert!(found(&registry).await.unwrap().is_empty());
    assert!(zone.asked().is_empty());
    advance(MIN_INTERVAL).await;
    found(&registry).await.unwrap();
    assert_eq!(zone.asked().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_fails_is_an_error_and_asked_again_at_once() {
    let zone = Zone::default();
    let registry = zone.registry("{service}.test:1");
    zone.fails("greeter.test.", &["A", "AAAA"]);
    assert_eq!(found(&registry).await.unwrap_err(), "SERVFAIL");
    zone.a("greeter.test.", &[], 60);
    zone.fails("greeter.test.", &["AAAA"]);
    assert_eq!(
        found(&registry).await.unwrap_err(),
        "SERVFAIL",
        "half a none is no none"
    );
    zone.a("greeter.test.", &["10.0.0.1"], 60);
    assert_eq!(found(&registry).await.unwrap(), ["10.0.0.1:1"]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_tells_what_changed_when_the_time_ends() {
    let zone = Zone::default();
    let registry = zone.registry("{service}.test:1");
    zone.a("greeter.test.", &["10.0.0.1", "10.0.0.2"], 10);
    let mut watcher = Registry::watch(&registry, Some("greeter")).await.unwrap();
    let started = Instant::now();
    zone.a("greeter.test.", &["10.0.0.2", "10.0.0.3"], 10);
    assert_eq!(
        next(&mut watcher).await,
        (Some(Action::Create), "10.0.0.3:1".into())
    );
    assert_eq!(started.elapsed().as_secs(), 10);
    assert_eq!(
        next(&mut watcher).await,
        (Some(Action::Delete), "10.0.0.1:1".into())
    );
    // A failure removes nothing.
    zone.fails("greeter.test.", &["A", "AAAA"]);
    sleep(Duration::from_secs(600)).await;
    zone.a("greeter.test.", &["10.0.0.2", "10.0.0.3", "10.0.0.4"], 10);
    let returned = Instant::now();
    assert_eq!(
        next(&mut watcher).await,
        (Some(Action::Create), "10.0.0.4:1".into())
    );
    assert!(returned.elapsed() <= MIN_INTERVAL.mul_f64(1.2));
    // Most of them at once are not believed to be gone.
    zone.a("greeter.test.", &["10.0.0.2"], 10);
    let (none, doubt) = next(&mut watcher).await;
    assert!(
        none.is_none() && doubt.starts_with("DNS names 2 of the 3 nodes"),
        "{doubt}"
    );
    drop(registry);
    assert_eq!(next(&mut watcher).await, (None, "the end".into()));
}

#[tokio::test(start_paused = true)]
async fn the_least_time_has_a_floor() {
    let dns = Dns::new(["{service}.test:1"]).min_interval(Duration::ZERO);
    assert_eq!(dns.0.min_interval, INTERVAL_FLOOR);
    let zone = Zone::default();
    let config = Config::parse(["{service}.test:1".to_owned()].into_iter());
    let config = config.map_err(|error| error.to_string());
    let dns = Dns::with_lookup(config, Duration::ZERO, Box::new(zone.clone()));
    zone.a("greeter.test.", &["10.0.0.1"], 0);
    let _watcher = Registry::watch(&dns, Some("greeter")).await.unwrap();
    for failing in [false, true] {
        zone.asked();
        if failing {
            zone.fails("greeter.test.", &["A", "AAAA"]);
        }
        sleep(Duration::from_secs(1)).await;
        let asked = zone.asked().len();
        assert!(asked > 0 && asked <= 2 * 11, "{failing}: {asked}");
    }
}

#[tokio::test(start_paused = true)]
async fn dropping_the_watcher_ends_its_task() {
    let zone = Zone::default();
    let registry = zone.registry("{service}.test:1");
    let watcher = Registry::watch(&registry, Some("greeter")).await.unwrap();
    drop(watcher);
    sleep(Duration::from_millis(1)).await;
    zone.asked();
    sleep(Duration::from_secs(600)).await;
    assert!(zone.asked().is_empty());
    let error = Registry::watch(&registry, None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let error = Registry::list(&registry).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    Registry::register(&registry, &Service::default(), Duration::ZERO)
        .await
        .unwrap();
    Registry::deregister(&registry, &Service::default())
        .await
        .unwrap();
    assert!(zone.asked().is_empty());
}

#[tokio::test]
async fn settings_are_read_and_what_is_wrong_is_named() {
    let dns = Dns::try_new([
        "dns://10.0.0.2",
        "{service}.test",
        "[fd00::2]:5353",
        "dns.host",
    ])
    .unwrap();
    let shown = format!("{dns:?}");
    assert_eq!(
        shown,
        "Dns { pattern: \"{service}.test\", servers: [\"10.0.0.2:53\", \"[fd00::2]:5353\", \"dns.host:53\"] }"
    );
    for (addresses, expected) in [
        (
            &["10.0.0.2"][..],
            "the registry dns needs a name pattern beside its name servers",
        ),
        (
            &["{service}.a", "{service}.b"],
            "the registry dns takes one name pattern, found more than one",
        ),
        (
            &["{service}.a", "https://10.0.0.2"],
            "expected one of dns before ://, found \"https\"",
        ),
        (
            &["{service}.a", "10.0.0.2/x"],
            "expected a name server such as",
        ),
    ] {
        let error = Dns::try_new(addresses.iter().copied()).unwrap_err();
        assert!(error.to_string().starts_with(expected), "{error}");
        assert_eq!(error.kind(), ErrorKind::Config);
        let later = Registry::get(&Dns::new(addresses.iter().copied()), "greeter").await;
        assert_eq!(later.unwrap_err().to_string(), error.to_string());
    }
    let dns = Dns::new(["{service}.test:1"]).min_interval(Duration::from_secs(1));
    let error = Registry::get(&dns, "a/b").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
}
