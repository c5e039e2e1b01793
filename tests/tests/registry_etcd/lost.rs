//! Leases and keys that are lost, servers that are killed, hang, and come back empty.

use std::time::Duration;

use micro_runtime::registry::{Etcd, Registry};
use micro_tests::proxy::Proxy;
use tokio::time::{Instant, sleep};

use crate::kit::{Member, VERSIONS, View, nodes, service, until};

/// So long that nothing here is mended by a renewal of its own.
const TTL: Duration = Duration::from_secs(600);

/// The id of the only lease there is.
async fn lease(etcd: &Member) -> String {
    let leases = etcd.ctl(&["lease", "list"]).await;
    leases.lines().last().unwrap().trim().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_lease_and_a_removed_key_are_back_at_once() {
    for version in VERSIONS {
        let etcd = Member::start(version).await;
        let (ours, theirs) = (Etcd::new([etcd.address()]), Etcd::new([etcd.address()]));
        ours.register(&service("a", "1", 1), TTL).await.unwrap();
        let before = lease(&etcd).await;
        etcd.ctl(&["lease", "revoke", &before]).await;
        let took = until(&theirs, "a", 1).await;
        println!("{version}: back {took:?} after its lease was revoked");
        assert!(took < Duration::from_secs(2), "{took:?}");
        assert_ne!(lease(&etcd).await, before);

        // The second time within a moment it waits for a second.
        etcd.ctl(&["del", "--prefix", "/micro/"]).await;
        let took = until(&theirs, "a", 1).await;
        println!("{version}: back {took:?} after its key was removed");
        assert!(took < Duration::from_secs(3), "{took:?}");

        ours.deregister(&service("a", "1", 1)).await.unwrap();
        assert!(nodes(&theirs, "a").await.is_empty());
        let leases = etcd.ctl(&["lease", "list"]).await;
        assert!(leases.contains("found 0 leases"), "{leases}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_somebody_else_wrote_is_put_right_by_the_next_registration() {
    let etcd = Member::start("etcd-3.4").await;
    let ours = Etcd::new([etcd.address()]);
    let mut service = service("a", "1", 1);
    ours.register(&service, TTL).await.unwrap();
    etcd.ctl(&["put", "/micro/registry/a/a-1", "nonsense"])
        .await;
    assert!(
        nodes(&ours, "a").await.is_empty(),
        "what cannot be read is left out"
    );
    ours.register(&service, TTL).await.unwrap();
    assert_eq!(nodes(&ours, "a").await.len(), 1);
    // Changed endpoints are written, although the node is the same.
    service.endpoints.push(micro_runtime::registry::Endpoint {
        name: "A.B".to_owned(),
        ..Default::default()
    });
    ours.register(&service, TTL).await.unwrap();
    assert_eq!(ours.get("a").await.unwrap()[0].endpoints.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_crash_registrations_and_watches_go_on() {
    for version in VERSIONS {
        let mut etcd = Member::start(version).await;
        let (ours, theirs) = (Etcd::new([etcd.address()]), Etcd::new([etcd.address()]));
        ours.register(&service("a", "1", 1), TTL).await.unwrap();
        let mut view = View::of(&theirs, "a").await;
        let mut expected = view.nodes.clone();
        etcd.server.kill9().await;
        // What nobody could register meanwhile is made up for as soon as the server is there again.
        ours.register(&service("a", "2", 2), TTL).await.unwrap_err();
        etcd.server.restart().await;
        expected.insert("a-2".to_owned(), "127.0.0.1:2".to_owned());
        let took = view.becomes(&expected).await;
        println!(
            "{version}: the watch saw {took:?} after the return what was registered during the outage"
        );
        assert!(took < Duration::from_secs(3), "{took:?}");
        assert_eq!(view.errors, 1, "one outage is told once");
        assert_eq!(nodes(&theirs, "a").await, expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_comes_back_empty_is_filled_again() {
    for version in VERSIONS {
        let mut etcd = Member::start(version).await;
        let (ours, theirs) = (Etcd::new([etcd.address()]), Etcd::new([etcd.address()]));
        for node in ["1", "2", "3"] {
            ours.register(&service("a", node, 1), TTL).await.unwrap();
        }
        let gone = service("a", "gone", 1);
        etcd.ctl(&[
            "put",
            "/micro/registry/a/a-gone",
            &serde_json::to_string(&gone).unwrap(),
        ])
        .await;
        let mut view = View::of(&theirs, "a").await;
        assert_eq!(view.nodes.len(), 4);
        etcd.server.kill9().await;
        std::fs::remove_dir_all(etcd.server.folder().join("data")).unwrap();
        etcd.server.restart().await;
        let took = until(&theirs, "a", 3).await;
        println!("{version}: three registrations are back {took:?} after an empty return");
        assert!(took < Duration::from_secs(3), "{took:?}");
        let truth = nodes(&theirs, "a").await;
        view.becomes(&truth).await;
    }
}

/// A server that hangs answers no call; one that hung goes on where it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_is_found_out() {
    let etcd = Member::start("etcd-3.6").await;
    let ours = Etcd::new([etcd.address()]);
    ours.register(&service("a", "1", 1), TTL).await.unwrap();
    let mut view = View::of(&ours, "a").await;
    etcd.server.pause();
    let begun = Instant::now();
    let error = ours.get("a").await.unwrap_err();
    assert!(
        begun.elapsed() < Duration::from_secs(7),
        "{:?}",
        begun.elapsed()
    );
    assert!(error.to_string().contains(&etcd.address()), "{error}");
    etcd.server.resume();
    until(&ours, "a", 1).await;
    ours.register(&service("a", "2", 2), TTL).await.unwrap();
    let truth = nodes(&ours, "a").await;
    assert_eq!(truth.len(), 2);
    view.becomes(&truth).await;
}

/// Nothing tells a watch that its connection is half-open, but the sign of life that it asks for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_half_open_connection_is_found_out_by_a_watch_alone() {
    let etcd = Member::start("etcd-3.4").await;
    let proxy = Proxy::to(etcd.address()).await;
    let (ours, theirs) = (Etcd::new([etcd.address()]), Etcd::new([proxy.address()]));
    let mut view = View::of(&theirs, "a").await;
    proxy.swallow();
    let begun = Instant::now();
    while view.errors == 0 {
        assert!(view.next().await);
    }
    println!(
        "a half-open connection was found out after {:?}",
        begun.elapsed()
    );
    assert!(
        begun.elapsed() < Duration::from_secs(15),
        "{:?}",
        begun.elapsed()
    );
    ours.register(&service("a", "1", 1), TTL).await.unwrap();
    proxy.heal();
    let took = view.becomes(&nodes(&ours, "a").await).await;
    assert!(took < Duration::from_secs(2), "{took:?}");
    // etcd has not minded the questions: the connection stays.
    let before = proxy.accepted();
    sleep(Duration::from_secs(20)).await;
    assert_eq!(proxy.accepted(), before, "etcd closed the connection");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_outlives_the_registry() {
    let etcd = Member::start("etcd-3.4").await;
    let proxy = Proxy::to(etcd.address()).await;
    let ours = Etcd::new([proxy.address()]);
    ours.register(&service("a", "1", 1), Duration::from_secs(2))
        .await
        .unwrap();
    let mut watcher = ours.watch(None).await.unwrap();
    assert_eq!(proxy.open(), 1, "one connection serves everything");
    drop(ours);
    while watcher.next().await.is_some() {}
    let begun = Instant::now();
    while proxy.open() > 0 {
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "the connection is still open"
        );
        sleep(Duration::from_millis(10)).await;
    }
}
