//! Three servers of one cluster, each of which has every event.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use micro_runtime::Deadline;
use micro_runtime::broker::{Broker as _, Nats};
use micro_tests::nats::{Hub, NEW};
use micro_tests::servers::free_ports;
use tokio::task::JoinSet;

use crate::kit::{LEAST, LONG, close, drain, next, numbered, publish, subscribe, topic, until};

/// The events of each publisher, every other one of which publishes ten together.
const EACH: u32 = 250;
const TOGETHER: u32 = 10;

async fn cluster() -> [Hub; 3] {
    let routes: [u16; 3] = free_ports();
    let all = routes.map(|port| format!("nats://127.0.0.1:{port}"));
    let routes = all.join(",");
    let start = async |number: usize| {
        let name = format!("n{number}");
        let route = all.get(number).cloned().unwrap_or_default();
        let further = [
            ["-js", ""],
            ["-sd", "{dir}/data"],
            ["--server_name", &name],
            ["--cluster_name", "tests"],
            ["--cluster", &route],
            ["--routes", &routes],
        ];
        let further: Vec<_> = further
            .concat()
            .into_iter()
            .filter(|one| !one.is_empty())
            .collect();
        Hub::with(NEW, &further).await
    };
    // None of them is well before it has heard of another one.
    let (one, two, three) = tokio::join!(start(0), start(1), start(2));
    [one, two, three]
}

/// Kill -9 of one server after another, while events are published and consumed: nothing that was confirmed is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_are_killed_one_by_one_lose_nothing() {
    let mut hubs = cluster().await;
    let addresses = hubs.each_ref().map(Hub::address);
    let broker = || Nats::try_new(&addresses).unwrap().replicas(3);
    for queue in [true, false] {
        let name = if queue { "shared" } else { "own" };
        let wanted = topic(name).concurrency(32).ack_wait(Duration::from_secs(2));
        let wanted = if queue { wanted.queue("q") } else { wanted };
        let mut consumer = subscribe(&broker(), &wanted).await;
        let ours = broker();
        let confirmed = Arc::new(AtomicU32::new(0));
        let mut publishers = JoinSet::new();
        for part in 0..8 {
            let (ours, confirmed) = (ours.clone(), Arc::clone(&confirmed));
            publishers.spawn(async move {
                let mut numbers = part * EACH..(part + 1) * EACH;
                while let Some(number) = numbers.next() {
                    if part % 2 == 0 {
                        publish(&ours, numbered(name, number), LEAST).await;
                        confirmed.fetch_add(1, Ordering::Relaxed);
                        continue;
                    }
                    let more = numbers.by_ref().take(TOGETHER as usize - 1);
                    let messages = std::iter::once(number).chain(more);
                    let messages = messages.map(|number| numbered(name, number)).collect();
                    let failed = ours.publish_all(messages, LEAST, Deadline::after(LONG));
                    let failed = failed.await;
                    assert!(failed.is_empty(), "{failed:?}");
                    confirmed.fetch_add(TOGETHER, Ordering::Relaxed);
                }
            });
        }
        let received = tokio::spawn(async move {
            let twice = drain(&mut consumer, (0..8 * EACH).collect::<BTreeSet<u32>>()).await;
            close(consumer).await;
            twice
        });
        for (part, hub) in (1..).zip(&mut hubs) {
            until("a quarter is published", async || {
                confirmed.load(Ordering::Relaxed) >= part * 8 * EACH / 4
            })
            .await;
            hub.server.restart().await;
        }
        while let Some(published) = publishers.join_next().await {
            published.unwrap();
        }
        let twice = received.await.unwrap();
        println!(
            "cluster, queue {queue}: {} events, 3 kills, lost 0, twice {twice}",
            8 * EACH
        );
        assert!(twice <= 3 * 32, "{twice} came twice");
    }
}

/// A server that is away is no reason to wait: the other two have what there is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_of_three_go_on_and_one_alone_does_not() {
    let mut hubs = cluster().await;
    let addresses = hubs.each_ref().map(Hub::address);
    let ours = Nats::try_new(&addresses).unwrap().replicas(3);
    let mut consumer = subscribe(&ours, &topic("t").queue("q")).await;
    publish(&ours, numbered("t", 0), LEAST).await;
    let [one, two, _three] = &mut hubs;
    one.server.kill9().await;
    publish(&ours, numbered("t", 1), LEAST).await;
    two.server.kill9().await;
    let alone = ours.publish(
        numbered("t", 2),
        LEAST,
        Deadline::after(Duration::from_secs(3)),
    );
    let error = alone.await.unwrap_err();
    println!("{error}");
    one.server.spawn().await;
    two.server.spawn().await;
    one.server.ready().await;
    publish(&ours, numbered("t", 3), LEAST).await;
    // The one that was given up may have been kept.
    let mut missing = BTreeSet::from([0, 1, 3]);
    while !missing.is_empty() {
        let event = next(&mut consumer).await;
        missing.remove(&crate::kit::number(&event));
        event.ack().await.unwrap();
    }
}
