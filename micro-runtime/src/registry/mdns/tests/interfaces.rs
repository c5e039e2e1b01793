//! Interfaces that go while nodes are announced and watched, and come back.

use std::time::Duration;

use tokio::time::Instant;

use super::sim::{Link, service};
use crate::registry::{Action, Registry, Watcher};

const FOREVER: Duration = Duration::ZERO;

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The next event: what happens, and to which node.
async fn next(watcher: &mut Watcher) -> (Action, String) {
    let event = watcher.next().await.expect("the watch ended").unwrap();
    (event.action, event.service.nodes[0].id.clone())
}

#[tokio::test(start_paused = true)]
async fn a_short_absence_is_not_noticed() {
    for gone in [1, 2] {
        let link = Link::new();
        let (client, server) = (link.host(1), link.host(2));
        let mut watcher = client.watch(Some("a")).await.unwrap();
        server.register(&service("a", 2), FOREVER).await.unwrap();
        assert_eq!(next(&mut watcher).await, (Action::Create, "a-2".to_owned()));
        for _ in 0..20 {
            link.interface_went(gone);
            tokio::time::sleep(secs(50)).await;
            link.interface_came(gone);
            tokio::time::sleep(secs(7)).await;
        }
        let more = tokio::time::timeout(secs(0), watcher.next()).await;
        assert!(more.is_err(), "{more:?}");
        assert_eq!(client.get("a").await.unwrap()[0].nodes.len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_long_absence_all_are_found_again() {
    for gone in [1, 2] {
        let link = Link::new();
        let (client, server) = (link.host(1), link.host(2));
        let mut watcher = client.watch(Some("a")).await.unwrap();
        // It goes between the first announcement and the others.
        server.register(&service("a", 2), FOREVER).await.unwrap();
        assert_eq!(next(&mut watcher).await, (Action::Create, "a-2".to_owned()));
        for round in 0..5 {
            link.interface_went(gone);
            let start = Instant::now();
            assert_eq!(next(&mut watcher).await, (Action::Delete, "a-2".to_owned()));
            let lived = start.elapsed();
            assert!(lived <= secs(120), "round {round}: {lived:?}");
            // Whatever is asked of either meanwhile has a result.
            server.register(&service("b", 2), FOREVER).await.unwrap();
            let known = client.get("a").await;
            assert!(known.is_err() || known.unwrap().is_empty());
            server.deregister(&service("b", 2)).await.unwrap();
            tokio::time::sleep(secs(300)).await;

            link.interface_came(gone);
            let start = Instant::now();
            assert_eq!(next(&mut watcher).await, (Action::Create, "a-2".to_owned()));
            let took = start.elapsed();
            assert!(took <= secs(5), "round {round}: {took:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_changed_meanwhile_is_learnt_at_the_return() {
    let link = Link::new();
    let (client, server) = (link.host(1), link.host(2));
    let mut watcher = client.watch(Some("a")).await.unwrap();
    let mut a = service("a", 2);
    server.register(&a, FOREVER).await.unwrap();
    assert_eq!(next(&mut watcher).await, (Action::Create, "a-2".to_owned()));
    link.interface_went(1);
    a.nodes[0].address = "10.0.0.2:9".to_owned();
    server.register(&a, FOREVER).await.unwrap();
    tokio::time::sleep(secs(20)).await;
    link.interface_came(1);
    let start = Instant::now();
    let event = watcher.next().await.unwrap().unwrap();
    assert_eq!((event.action, event.service), (Action::Update, a));
    assert!(start.elapsed() <= secs(5));
}
