//! What a watch missed: a cut connection, compaction, more than fits one message.

use std::time::Duration;

use micro_runtime::registry::{Etcd, Registry};
use micro_tests::proxy::Proxy;
use tokio::time::{Instant, sleep_until};

use crate::kit::{LONG, Member, VERSIONS, View, nodes, service};

const TTL: Duration = Duration::from_secs(600);

/// The fault table's row: a cut, 1,000 changes behind it, and none of them left to be told.
async fn cut(version: &str, time: Duration, hold: bool) {
    let etcd = Member::start(version).await;
    let proxy = Proxy::to(etcd.address()).await;
    let (ours, theirs) = (Etcd::new([etcd.address()]), Etcd::new([proxy.address()]));
    for node in 0..100 {
        ours.register(&service("a", &node.to_string(), 1), TTL)
            .await
            .unwrap();
    }
    let mut view = View::of(&theirs, "a").await;
    assert_eq!(view.nodes.len(), 100);

    let until = Instant::now() + time;
    if hold {
        proxy.swallow();
    } else {
        proxy.refuse();
    }
    // 100 go, 300 come, 300 change, 300 come and go: 1,000 changes.
    for node in 0..100 {
        ours.deregister(&service("a", &node.to_string(), 1))
            .await
            .unwrap();
    }
    for node in 100..400 {
        let service = service("a", &node.to_string(), 2);
        ours.register(&service, TTL).await.unwrap();
    }
    for node in 100..400 {
        let service = service("a", &node.to_string(), 3);
        ours.register(&service, TTL).await.unwrap();
    }
    for node in 400..550 {
        let service = service("a", &node.to_string(), 4);
        ours.register(&service, TTL).await.unwrap();
        ours.deregister(&service).await.unwrap();
    }
    etcd.compact().await;
    let truth = nodes(&ours, "a").await;
    assert_eq!(truth.len(), 300);
    sleep_until(until).await;
    let lasted = Instant::now() - (until - time);
    proxy.heal();
    let took = view.becomes(&truth).await;
    println!(
        "{version}: cut for {lasted:.1?}, 1,000 changes, compaction: the view is the truth after {took:?}"
    );
    assert!(took < Duration::from_secs(2), "{took:?}");
    // And what comes after is told as ever.
    ours.register(&service("a", "last", 9), TTL).await.unwrap();
    let truth = nodes(&ours, "a").await;
    view.becomes(&truth).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_of_10_s_with_1000_changes_and_compaction() {
    let [old, new] = VERSIONS;
    tokio::join!(
        cut(old, Duration::from_secs(10), false),
        cut(new, Duration::from_secs(10), true)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_without_compaction_misses_nothing_and_lists_nothing() {
    for version in VERSIONS {
        let etcd = Member::start(version).await;
        let proxy = Proxy::to(etcd.address()).await;
        let (ours, theirs) = (Etcd::new([etcd.address()]), Etcd::new([proxy.address()]));
        ours.register(&service("a", "0", 1), TTL).await.unwrap();
        let mut view = View::of(&theirs, "a").await;
        for round in 1..=20 {
            proxy.cut();
            ours.register(&service("a", &round.to_string(), 1), TTL)
                .await
                .unwrap();
            ours.deregister(&service("a", &(round - 1).to_string(), 1))
                .await
                .unwrap();
            let truth = nodes(&ours, "a").await;
            view.becomes(&truth).await;
        }
    }
}

/// 3,000 nodes with 5 KB of endpoints are 15 MB, of which a message may have 4 MiB.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_fits_a_message_comes_in_pages_and_fragments() {
    for version in VERSIONS {
        let etcd = Member::start(version).await;
        let (ours, theirs) = (Etcd::new([etcd.address()]), Etcd::new([etcd.address()]));
        let mut view = View::of(&theirs, "big").await;
        let mut big = service("big", "0", 1);
        big.metadata.insert("text".to_owned(), "x".repeat(5_000));
        let node = big.nodes[0].clone();
        big.nodes = (0..3_000)
            .map(|number| {
                let mut node = node.clone();
                node.id = format!("big-{number:04}");
                node
            })
            .collect();
        let begun = Instant::now();
        for some in big.nodes.chunks(250) {
            let mut part = big.clone();
            part.nodes = some.to_vec();
            ours.register(&part, Duration::ZERO).await.unwrap();
        }
        println!("{version}: 3,000 registrations in {:.1?}", begun.elapsed());
        let begun = Instant::now();
        let truth = nodes(&theirs, "big").await;
        println!("{version}: 3,000 nodes of 5 KB in {:.1?}", begun.elapsed());
        assert_eq!(truth.len(), 3_000);
        view.becomes(&truth).await;

        // All in one change.
        etcd.ctl(&["del", "--prefix", "/micro/registry/big/"]).await;
        tokio::time::timeout(LONG, view.becomes(&super::kit::Nodes::new()))
            .await
            .unwrap();
    }
}
