//! A server that dies, is away, takes nothing, says nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use micro_runtime::broker::{Broker, Consumer, Message, RabbitMq, Topic};
use micro_runtime::{Deadline, ErrorKind};
use micro_tests::proxy::Proxy;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::kit::{CALM, LONG, at_least_once, next, publish, take, text, within};
use crate::server::Rabbit;

/// A confirmed event is there when the server has died between its confirm and the subscriber's return; so is
/// the subscriber's own queue without a name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_confirmed_outlives_the_server() {
    let mut rabbit = Rabbit::start().await;
    let (ours, theirs) = (rabbit.broker(), rabbit.broker());
    let (named, own) = (
        at_least_once("o.kept").queue("o-kept").concurrency(10),
        at_least_once("o.kept").concurrency(10),
    );
    let go = Topic::new("o.kept").queue("o-go").concurrency(10);
    drop(theirs.subscribe(&named).await.unwrap());
    let mut broadcast = theirs.subscribe(&own).await.unwrap();
    let mut seen = theirs.subscribe(&go).await.unwrap();
    let sent: Vec<_> = (0..10).map(|number| number.to_string()).collect();
    for body in &sent {
        publish(&ours, &named, body.clone()).await.unwrap();
    }
    assert_eq!(take(&mut seen, 10).await, sent);
    let held = next(&mut broadcast).await;
    let broadcast_queue = format!("{broadcast:?}");
    let broadcast_queue = broadcast_queue
        .split('"')
        .find(|word| word.starts_with("o.kept/"));
    rabbit
        .knows(&["o.kept/o-kept", broadcast_queue.unwrap()])
        .await;
    rabbit.server.kill9().await;
    let error = held.ack().await;
    println!("an acknowledgement to a dead server: {error:?}");
    rabbit.server.restart().await;
    let mut again = theirs.subscribe(&named).await.unwrap();
    assert_eq!(take(&mut again, 10).await, sent);
    assert_eq!(take(&mut broadcast, 10).await, sent);
    // What is not durable is made again with the connections: from then on both levels reach both.
    let begun = Instant::now();
    loop {
        let listed = rabbit.ctl(&["list_queues", "name", "consumers"]).await;
        if listed
            .lines()
            .any(|line| line.split_whitespace().eq(["o-go", "1"]))
        {
            break;
        }
        assert!(begun.elapsed() < LONG, "{listed}");
    }
    publish(&ours, &named, "durable").await.unwrap();
    publish(&ours, &go, "transient").await.unwrap();
    for consumer in [&mut again, &mut broadcast, &mut seen] {
        assert_eq!(take(consumer, 2).await, ["durable", "transient"]);
        assert!(within(consumer, CALM).await.is_none());
    }
    // Closed, it leaves nothing behind.
    broadcast.close().await;
    let listed = rabbit.ctl(&["list_queues", "name"]).await;
    let of_topic = listed.lines().filter(|line| line.starts_with("o.kept/"));
    assert_eq!(of_topic.collect::<Vec<_>>(), ["o.kept/o-kept"], "{listed}");
}

/// Publishing and consuming at least once while the server is killed: what was confirmed is handled.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_confirmed_is_lost_over_kills() {
    let mut rabbit = Rabbit::start().await;
    let topic = at_least_once("o.kills").queue("o-kills").concurrency(20);
    let (running, number) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU32::new(0)));
    let ours = rabbit.broker();
    let mut consumer = rabbit.broker().subscribe(&topic).await.unwrap();
    let mut publishing = JoinSet::new();
    for _ in 0..8 {
        let (ours, topic) = (ours.clone(), topic.clone());
        let (running, number) = (Arc::clone(&running), Arc::clone(&number));
        publishing.spawn(async move {
            let mut confirmed = Vec::new();
            while running.load(Ordering::Relaxed) {
                let next = number.fetch_add(1, Ordering::Relaxed);
                publish(&ours, &topic, next.to_string()).await.unwrap();
                confirmed.push(next.to_string());
            }
            confirmed
        });
    }
    let consuming = tokio::spawn(async move {
        let mut seen = BTreeMap::<String, u32>::new();
        loop {
            let event = next(&mut consumer).await;
            let body = text(&event);
            // It comes again if this does not arrive.
            let acked = event.ack().await;
            if body == "end" {
                acked.unwrap();
                return seen;
            }
            *seen.entry(body).or_default() += 1;
        }
    });
    for _ in 0..2 {
        let before = number.load(Ordering::Relaxed);
        let grown = async {
            while number.load(Ordering::Relaxed) < before + 200 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(LONG, grown).await.expect("publishing stands still");
        rabbit.knows(&["o.kills/o-kills"]).await;
        rabbit.server.kill9().await;
        rabbit.server.restart().await;
    }
    running.store(false, Ordering::Relaxed);
    let mut confirmed = Vec::new();
    while let Some(done) = publishing.join_next().await {
        confirmed.append(&mut done.unwrap());
    }
    publish(&ours, &topic, "end").await.unwrap();
    let seen = timeout(LONG * 2, consuming).await.unwrap().unwrap();
    let lost: Vec<_> = confirmed
        .iter()
        .filter(|body| !seen.contains_key(*body))
        .collect();
    let again: u32 = seen.values().map(|count| count - 1).sum();
    println!(
        "{} confirmed, {} lost, {again} handled again",
        confirmed.len(),
        lost.len()
    );
    assert!(confirmed.len() > 400 && lost.is_empty(), "{lost:?}");
    // In flight: 8 to be confirmed and 20 to be acknowledged, twice.
    assert!(again <= 2 * (8 + 20), "{again}");
}

/// Away at the start, and for half a minute: what is asked for meanwhile waits, up to its deadline.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_gets_what_it_asked_for() {
    let mut rabbit = Rabbit::start().await;
    let address = rabbit.address();
    rabbit.server.kill9().await;
    let broker = RabbitMq::new([&address]);
    let topic = at_least_once("o.away").queue("o-away").concurrency(100);
    let begun = Instant::now();
    let deadline = Deadline::after(Duration::from_millis(700));
    let published = broker.publish(Message::new("o.away", "x"), topic.level(), deadline);
    let error = published.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Broker);
    assert!(begun.elapsed() < Duration::from_secs(3));
    let said = error.to_string();
    assert!(
        said.contains("by its deadline") && said.contains("cannot connect"),
        "{said}"
    );
    let (waiting, waiting_for) = (broker.clone(), topic.clone());
    let subscribing = tokio::spawn(async move { waiting.subscribe(&waiting_for).await });
    tokio::time::sleep_until(begun + Duration::from_secs(30)).await;
    assert!(!subscribing.is_finished());
    rabbit.server.restart().await;
    let mut consumer = timeout(LONG, subscribing).await.unwrap().unwrap().unwrap();
    publish(&broker, &topic, "first").await.unwrap();
    assert_eq!(take(&mut consumer, 1).await, ["first"]);

    // Publications that are made during the outage arrive after it.
    rabbit.knows(&["o.away/o-away"]).await;
    rabbit.server.kill9().await;
    let mut publishing = JoinSet::new();
    for number in 10..60 {
        let (broker, topic) = (broker.clone(), topic.clone());
        publishing.spawn(async move { publish(&broker, &topic, number.to_string()).await });
    }
    let gone = Instant::now();
    rabbit.server.restart().await;
    let back = gone.elapsed();
    while let Some(done) = publishing.join_next().await {
        done.unwrap().unwrap();
    }
    let published = gone.elapsed();
    println!("the server was back {back:?} after its death, all was published after {published:?}");
    let sent: Vec<_> = (10..60).map(|number| number.to_string()).collect();
    let mut found = take(&mut consumer, 50).await;
    found.dedup();
    // The acknowledgement before the outage may not have arrived.
    if found.contains(&"first".to_owned()) {
        found.extend(take(&mut consumer, 1).await);
        found.retain(|body| body != "first");
        found.sort();
    }
    assert_eq!(found, sent);

    // Without memory the server takes nothing from those who publish; those who subscribe go on.
    publish(&broker, &topic, "before").await.unwrap();
    rabbit
        .ctl(&["set_vm_memory_high_watermark", "absolute", "1"])
        .await;
    let deadline = Deadline::after(Duration::from_secs(2));
    let message = Message::new("o.away", "blocked");
    let error = broker
        .publish(message, topic.level(), deadline)
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("takes no publications for now"),
        "{error}"
    );
    assert_eq!(take(&mut consumer, 1).await, ["before"]);
    let later = publish(&broker, &topic, "after");
    rabbit
        .ctl(&["set_vm_memory_high_watermark", "absolute", "512MB"])
        .await;
    later.await.unwrap();
    // What was given up may have been sent all the same.
    let mut rest = take(&mut consumer, 1).await;
    if rest == ["blocked"] {
        rest = take(&mut consumer, 1).await;
    }
    assert_eq!(rest, ["after"]);

    // A cut connection: unacknowledged events come again, and the subscription with them.
    let proxy = Proxy::to(format!("127.0.0.1:{}", rabbit.port)).await;
    let through = RabbitMq::new([proxy.address()]);
    let topic = at_least_once("o.cut").queue("o-cut").concurrency(5);
    let mut consumer = through.subscribe(&topic).await.unwrap();
    publish(&through, &topic, "cut").await.unwrap();
    let event = next(&mut consumer).await;
    proxy.cut();
    let again = next(&mut consumer).await;
    assert_eq!((text(&again).as_str(), again.attempt()), ("cut", 2));
    assert!(event.ack().await.is_err());
    again.ack().await.unwrap();
    publish(&through, &topic, "healed").await.unwrap();
    assert_eq!(take(&mut consumer, 1).await, ["healed"]);
}

/// One that takes connections and says nothing, or something else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_none_is_tried_on() {
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let garbage = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addresses = [&mute, &garbage].map(|on| on.local_addr().unwrap().to_string());
    let speaking = tokio::spawn(async move {
        loop {
            let (mut stream, _) = garbage.accept().await.unwrap();
            // A frame that says it is four gigabytes long, and then bytes.
            let _ = tokio::io::AsyncWriteExt::write_all(
                &mut stream,
                &[[1, 0, 0, 255, 255, 255, 255].as_slice(), &[7; 4096]].concat(),
            )
            .await;
        }
    });
    let before = threads();
    let topic = at_least_once("o.none");
    for address in addresses {
        let broker = RabbitMq::new([&address]);
        let deadline = Deadline::after(Duration::from_secs(8));
        let begun = Instant::now();
        let published = broker.publish(Message::new("o.none", "x"), topic.level(), deadline);
        let error = published.await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Broker);
        println!("{error}");
        assert!(begun.elapsed() < Duration::from_secs(10), "{error}");
        timeout(LONG, broker.close()).await.unwrap();
        drop(broker);
    }
    speaking.abort();
    drop(mute);
    // Each attempt has a thread, which ends with it.
    let ended = async {
        while threads() > before + 1 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let ended = timeout(LONG, ended).await;
    assert!(ended.is_ok(), "{} threads, {before} before", threads());
}

/// The threads of the library's connections.
fn threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    tasks
        .flatten()
        .filter(|task| {
            let name = std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
            name.starts_with("lapin")
        })
        .count()
}
