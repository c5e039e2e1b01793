//! Two hosts that give the same name to different nodes.

use std::time::Duration;

use super::super::engine::Port;
use super::sim::{Link, Sent, service, service_as};
use crate::registry::{Action, Event, Registry, Watcher};

const FOREVER: Duration = Duration::ZERO;

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// What a watcher has been told until now.
async fn told(watcher: &mut Watcher) -> Vec<Event> {
    let mut events = Vec::new();
    while let Ok(event) = tokio::time::timeout(secs(0), watcher.next()).await {
        events.push(event.expect("the watch ended").unwrap());
    }
    events
}

#[tokio::test(start_paused = true)]
async fn one_of_two_nodes_of_the_same_name_stays() {
    let link = Link::new();
    let (client, first, second) = (link.host(1), link.host(2), link.host(3));
    let mut watcher = client.watch(Some("a")).await.unwrap();
    first.register(&service("a", 2), FOREVER).await.unwrap();
    tokio::time::sleep(secs(100)).await;
    assert_eq!(told(&mut watcher).await.len(), 1);

    let late = service_as("a", 3, 2);
    second.register(&late, FOREVER).await.unwrap();
    tokio::time::sleep(secs(30)).await;
    let events = told(&mut watcher).await;
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(events[0].action, Action::Update);
    assert_eq!(events[0].service, late, "whoever announced last");

    tokio::time::sleep(secs(6000)).await;
    assert_eq!(told(&mut watcher).await, [], "both answer every question");
    let found = client.get("a").await.unwrap();
    assert_eq!(found, std::slice::from_ref(&late), "one node, as Go has it");
    // Each sees its own.
    assert_eq!(first.get("a").await.unwrap(), [service("a", 2)]);

    // Once it is gone, the other is found at once.
    second.deregister(&late).await.unwrap();
    tokio::time::sleep(secs(3)).await;
    let events = told(&mut watcher).await;
    assert_eq!(events.last().unwrap().action, Action::Create, "{events:?}");
    assert_eq!(events.last().unwrap().service, service("a", 2));
    assert_eq!(events.len(), 2);

    // And if it just falls silent, too.
    tokio::time::sleep(secs(30)).await;
    second.register(&late, FOREVER).await.unwrap();
    tokio::time::sleep(secs(100)).await;
    link.cut_off(3, true);
    tokio::time::sleep(secs(120)).await;
    let events = told(&mut watcher).await;
    assert_eq!(events.len(), 2, "{events:?}");
    assert_eq!(events[0].service, late);
    assert_eq!(events[1].service, service("a", 2));
    assert!(events.iter().all(|event| event.action == Action::Update));
}

#[tokio::test(start_paused = true)]
async fn two_that_announce_at_the_same_time_take_few_turns() {
    let link = Link::new();
    let (client, first, second) = (link.host(1), link.host(2), link.host(3));
    let mut watcher = client.watch(Some("a")).await.unwrap();
    first.register(&service("a", 2), FOREVER).await.unwrap();
    let late = service_as("a", 3, 2);
    second.register(&late, FOREVER).await.unwrap();
    tokio::time::sleep(secs(30)).await;
    let turns = told(&mut watcher).await.len();
    assert!(turns <= 10, "{turns}: one for each announcement at most");
    tokio::time::sleep(secs(6000)).await;
    assert_eq!(told(&mut watcher).await, []);
}

#[tokio::test(start_paused = true)]
async fn a_goodbye_of_other_data_takes_nobody_out() {
    let link = Link::new();
    let (client, first, second) = (link.host(1), link.host(2), link.host(3));
    let late = service_as("a", 3, 2);
    second.register(&late, FOREVER).await.unwrap();
    tokio::time::sleep(secs(30)).await;
    let mut watcher = client.watch(Some("a")).await.unwrap();
    tokio::time::sleep(secs(30)).await;
    first.register(&service("a", 2), FOREVER).await.unwrap();
    tokio::time::sleep(secs(30)).await;
    assert_eq!(told(&mut watcher).await.len(), 2);
    link.sent();
    second.deregister(&late).await.unwrap();
    tokio::time::sleep(secs(300)).await;
    assert_eq!(told(&mut watcher).await, []);
    // Those who believed the other hear of this one again, a bounded number of times.
    let mut sent = link.sent();
    sent.retain(|sent| sent.is_announcement() && sent.from == super::sim::ip(2));
    assert!((1..=10).contains(&sent.len()), "{}", sent.len());
    let goodbye = sent.iter().find(|sent| sent.message().answers[0].ttl == 0);
    assert!(goodbye.is_none());

    // A forged stream of goodbyes does not make it announce without end.
    first.deregister(&service("a", 2)).await.unwrap();
    let forged = link.sent();
    let forged = forged
        .iter()
        .find(|sent| Sent::is_announcement(sent))
        .unwrap();
    first.register(&service("a", 2), FOREVER).await.unwrap();
    tokio::time::sleep(secs(30)).await;
    link.sent();
    for _ in 0..1000 {
        link.inject(2, Port::Mdns, forged.bytes());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut sent = link.sent();
    sent.retain(Sent::is_announcement);
    assert!((1..=12).contains(&sent.len()), "{} in 10 s", sent.len());
}
